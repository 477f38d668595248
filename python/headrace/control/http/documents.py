"""The OpenAPI document of a server, and the page made of it.

::

    handlers ─▶ the framework's document ─┬▶ /openapi.json      commands ─▶ their fields, as msgspec describes them ─┘
                                          └▶ /docs, without a script and without another host

Guarantees: each path, its parameters, its answers and its refusals; commands of a user's own included.
Does not: validate by the document; handlers do, and a test compares the two.
"""

from __future__ import annotations

import base64
import hashlib
import html
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Response

from headrace.commands import Ack, entry_of
from headrace.control.http.command_calls import TIMEOUT_HEADER, TIMEOUT_S_MAX
from headrace.control.http.guard import KEY_CHARACTERS_MAX, KEY_PATTERN
from headrace.control.http.problems import Problem
from headrace.control.http.route_table import route_table
from headrace.limits import COMMAND_TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from litestar import Litestar

    from headrace.commands import Command

__all__ = ["docs_page", "openapi_document"]

COMPONENTS = "#/components/schemas/{name}"
BEARER = "token"
# The refusals of the guard, on every path.
EVERYWHERE = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.MISDIRECTED_REQUEST,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
OF_COMMANDS = (HTTPStatus.CONFLICT, HTTPStatus.UNSUPPORTED_MEDIA_TYPE, HTTPStatus.GATEWAY_TIMEOUT)
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem;"
    "color-scheme:light dark}code{font-size:.95em}h2{font-size:1rem;margin:1.5rem 0 .25rem}"
    "table{border-collapse:collapse}td,th{text-align:left;padding:.1rem 1rem .1rem 0;vertical-align:top}"
)


def openapi_document(app: Litestar, commands: Iterable[type[Command]]) -> dict[str, Any]:
    """Return the document of an application, with the commands that are taken now."""
    document = app.openapi_schema.to_schema()
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    types = list(commands)
    _, found = msgspec.json.schema_components([*types, Ack, Problem], ref_template=COMPONENTS)
    schemas |= found
    open_paths = {entry.path for entry in route_table(app).entries if entry.is_open}
    paths = {path: _with_problems(item, is_open=path in open_paths) for path, item in document["paths"].items()}
    for kind in types:
        own = schemas[kind.__name__]
        # The path says which command it is.
        own["properties"].pop("command")
        own["required"] = [name for name in own.get("required", ()) if name != "command"]
        paths[f"/v1/commands/{kind.verb}"] = {"post": _command_operation(kind)}
    document["paths"] = dict(sorted(paths.items()))
    document["components"]["schemas"] = dict(sorted(schemas.items()))
    document["components"]["securitySchemes"] = {
        BEARER: {"type": "http", "scheme": "bearer", "description": "a line of the token file"}
    }
    document["security"] = [{BEARER: []}]
    document["servers"] = [{"url": "/"}]
    return document


def _with_problems(item: Mapping[str, Any], *, is_open: bool) -> dict[str, Any]:
    """Return a path with the refusals that every path has, in place of the framework's own."""
    operation = dict(item["get"])
    responses = {"200": operation["responses"]["200"], **_problems(EVERYWHERE)}
    if operation.get("parameters"):
        responses |= _problems([HTTPStatus.NOT_FOUND])
    operation["responses"] = responses
    if is_open:
        operation["security"] = []
    return {"get": operation}


def _problems(statuses: Iterable[HTTPStatus]) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": {"$ref": COMPONENTS.format(name="Problem")}}}
    return {str(int(own)): {"description": own.phrase, "content": content} for own in statuses}


def _command_operation(kind: type[Command]) -> dict[str, Any]:
    entry = entry_of(kind)
    key = {
        "name": "Idempotency-Key",
        "in": "header",
        "required": True,
        "description": "a text of your own; repeated with the same key and body, the command is handled once",
        "schema": {"type": "string", "minLength": 1, "maxLength": KEY_CHARACTERS_MAX, "pattern": KEY_PATTERN},
    }
    wait = {
        "name": TIMEOUT_HEADER,
        "in": "header",
        "required": False,
        "description": f"seconds, after which the outcome is unknown; by default {COMMAND_TIMEOUT_S:g}",
        "schema": {"type": "number", "exclusiveMinimum": 0, "maximum": TIMEOUT_S_MAX},
    }
    ack = {"application/json": {"schema": {"$ref": COMPONENTS.format(name="Ack")}}}
    return {
        "tags": ["commands"],
        "summary": entry.meaning,
        "operationId": f"Command{kind.__name__}",
        "parameters": [*([key] if entry.changes else []), wait],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": COMPONENTS.format(name=kind.__name__)}}},
        },
        "responses": {
            "200": {"description": "accepted, or it was so already", "content": ack},
            **_problems((*EVERYWHERE, *OF_COMMANDS)),
        },
    }


# The page


def docs_page(document: Mapping[str, Any]) -> Response[str]:
    """Return the document as a page of plain HTML, which loads nothing."""
    parts = [f"<h1>{_text(document['info']['title'])}</h1>"]
    for path, item in document["paths"].items():
        for method, operation in item.items():
            parts.append(f"<h2><code>{method.upper()} {_text(path)}</code></h2><p>{_text(operation['summary'])}</p>")
            rows = [*_parameter_rows(operation), *_field_rows(operation, document["components"]["schemas"])]
            if rows:
                parts.append(f"<table>{''.join(rows)}</table>")
    style = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    body = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{_text(document['info']['title'])}</title><style>{STYLE}</style>{''.join(parts)}</html>"
    )
    policy = f"default-src 'none'; style-src 'sha256-{style}'; frame-ancestors 'none'"
    return Response(body, media_type="text/html", headers={"content-security-policy": policy})


def _parameter_rows(operation: Mapping[str, Any]) -> list[str]:
    return [_row(own["name"], own["in"], own.get("description", "")) for own in operation.get("parameters", ())]


def _field_rows(operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> list[str]:
    if "requestBody" not in operation:
        return []
    reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    schema = schemas[reference.rpartition("/")[2]]
    required = schema.get("required", ())
    return [
        _row(name, "field, required" if name in required else "field", _meaning(own))
        for name, own in schema["properties"].items()
    ]


def _meaning(schema: Mapping[str, Any]) -> str:
    return str(schema.get("description") or next((_meaning(own) for own in schema.get("anyOf", ())), ""))


def _row(name: str, kind: str, meaning: str) -> str:
    return f"<tr><td><code>{_text(name)}</code></td><td>{_text(kind)}</td><td>{_text(meaning)}</td></tr>"


def _text(value: str) -> str:
    return html.escape(str(value))
