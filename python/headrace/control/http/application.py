"""The application behind the guard: what every server has, and what is served, as one Litestar application.

::

    /health/live (open) · /health/ready · /v1/commands · POST /v1/commands/{name} · /openapi.json · /docs      ours
    /v1/status …                                                                                     the served one's
    / · /page/… (open)                                                                               the dashboard's

Guarantees: every error is a Problem; the document describes each command of the table as it is now, with its fields.
Does not: check tokens or bodies; the guard has done so.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Litestar, Request, Response, get, post
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi import OpenAPIConfig
from litestar.params import FromPath
from litestar.routes import HTTPRoute

import headrace._native as _native
from headrace.commands import CommandEntry
from headrace.control.http.documents import docs_page, openapi_document
from headrace.control.http.encoding import encoded
from headrace.control.http.exchange import PROBLEM_JSON, SCOPE_KEY, Exchange
from headrace.control.http.page import page_handlers
from headrace.control.http.problems import ProblemError
from headrace.control.http.route_table import RouteEntry, RouteTable

if TYPE_CHECKING:
    import asyncio

    from litestar.handlers import HTTPRouteHandler

    from headrace.control.http.command_calls import CommandCalls
    from headrace.control.http.server import Served

__all__ = ["application", "exchange_of", "json_answer", "route_table"]

log = logging.getLogger(__name__)

# Litestar's own pages about its document load scripts of other hosts: the guard's table leaves them out.
FRAMEWORK_PATHS = "/schema"


class DocumentResponse(Response[Any]):
    """An answer whose document is written as all of ours are; bytes and texts as they are."""

    def render(self, content: Any, media_type: str, enc_hook: Any = None) -> bytes:  # noqa: ARG002 - the framework's
        """Return the body."""
        if isinstance(content, bytes):
            return content
        return content.encode() if isinstance(content, str) else encoded(content)


class Live(msgspec.Struct, frozen=True):
    """The process answers. It says nothing else, since it needs no token."""

    status: str = "live"


class Ready(msgspec.Struct, frozen=True):
    """Whether it does its work. reasons : why not; empty: it is ready."""

    status: str
    reasons: list[str]


class CommandTable(msgspec.Struct, frozen=True):
    """The commands that are taken now."""

    items: list[CommandEntry]


def application(served: Served, calls: CommandCalls, stopping: asyncio.Event) -> Litestar:
    """Return the application of one server."""
    handlers = [*_own_handlers(served, calls), *page_handlers(), *served.handlers(stopping)]
    return Litestar(
        handlers,
        openapi_config=OpenAPIConfig(served.title, str(_native.build_info()["version"]), path=FRAMEWORK_PATHS),
        exception_handlers={ProblemError: _on_problem, HTTPException: _on_framework_error, Exception: _on_error},
        logging_config=None,
        response_class=DocumentResponse,
    )


def route_table(app: Litestar) -> RouteTable:
    """Return the paths of an application for its guard: methods, whether they need a token, and query parameters."""
    documented = app.openapi_schema.to_schema()["paths"]
    found = []
    for route in app.routes:
        if not isinstance(route, HTTPRoute) or route.path.startswith(FRAMEWORK_PATHS):
            continue
        # The framework adds one for OPTIONS of its own.
        handlers = [own for own in route.route_handlers if own.http_methods != {"OPTIONS"}]
        parameters = documented.get(route.path_format, {}).get("get", {}).get("parameters", ())
        found.append(
            RouteEntry(
                route.path_format,
                frozenset(str(method) for own in handlers for method in own.http_methods),
                frozenset(own["name"] for own in parameters if own["in"] == "query"),
                is_open=any(own.opt.get("is_open") for own in handlers),
            )
        )
    return RouteTable(found)


def exchange_of(request: Request[Any, Any, Any]) -> Exchange:
    """Return the exchange that the guard made for a request."""
    exchange = request.scope[SCOPE_KEY]  # type: ignore[literal-required]  # it is ours
    assert isinstance(exchange, Exchange)
    return exchange


def json_answer(value: object, status: int = HTTPStatus.OK) -> Response[bytes]:
    """Return a document as an answer."""
    return Response(encoded(value), status_code=status, media_type="application/json")


def _own_handlers(served: Served, calls: CommandCalls) -> list[HTTPRouteHandler]:
    @get("/health/live", opt={"is_open": True}, tags=["health"], summary="Whether the process answers")
    async def live() -> Live:
        return Live()

    @get("/health/ready", tags=["health"], summary="Whether it does its work, with the reasons when not")
    async def ready() -> Ready:
        if reasons := list(served.problems()):
            raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", "; ".join(reasons))
        return Ready("ready", [])

    @get("/v1/commands", tags=["commands"], summary="The commands that are taken, with their fields")
    async def commands() -> CommandTable:
        return CommandTable(served.commands.table())

    @post("/v1/commands/{verb:str}", include_in_schema=False)
    async def command(request: Request[Any, Any, Any], verb: FromPath[str]) -> Response[bytes]:
        answer = await calls.call(verb, exchange_of(request))
        headers = {"idempotent-replayed": "true"} if answer.is_repeated else None
        media_type = answer.media_type.decode()
        return Response(answer.body, status_code=answer.status, media_type=media_type, headers=headers)

    @get("/openapi.json", include_in_schema=False)
    async def openapi(request: Request[Any, Any, Any]) -> Response[bytes]:
        return json_answer(openapi_document(request.app, served.commands.types()))

    @get("/docs", include_in_schema=False)
    async def docs(request: Request[Any, Any, Any]) -> Response[str]:
        return docs_page(openapi_document(request.app, served.commands.types()))

    return [live, ready, commands, command, openapi, docs]


def _on_problem(_request: Request[Any, Any, Any], error: ProblemError) -> Response[bytes]:
    headers = {name.decode(): value.decode() for name, value in error.headers}
    return Response(
        encoded(error.problem),
        status_code=error.problem.status,
        media_type=PROBLEM_JSON.decode(),
        headers=headers,
    )


def _on_framework_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    if isinstance(error, ValidationException):
        first = error.extra[0] if isinstance(error.extra, list) and error.extra else {}
        field = str(first.get("key", ""))
        detail = f"{field}: {first.get('message', error.detail)}" if field else error.detail
        return _on_problem(request, ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", detail, field=field))
    status = HTTPStatus(error.status_code)
    kind = "not-found" if status is HTTPStatus.NOT_FOUND else "invalid"
    return _on_problem(request, ProblemError(status, kind, error.detail))


def _on_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    log.error("the control API failed on %s %s", request.method, request.url.path, exc_info=error)
    detail = "an error of the engine's own: its log says which"
    return _on_problem(request, ProblemError(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", detail))
