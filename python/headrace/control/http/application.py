"""The application behind the guard: what every server has, and what is served, as one Litestar application.

::

    /health/live (open) · /health/ready · /v1/session · /openapi.json · /docs                        ours
    /v1/commands · POST /v1/commands/{name}                                                          ours
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

import headrace._native as _native
from headrace.commands import CommandEntry
from headrace.control.http.documents import docs_page, openapi_document
from headrace.control.http.exchange import PROBLEM_JSON, SCOPE_KEY, Exchange, shown
from headrace.control.http.page import page_handlers
from headrace.control.http.problems import ProblemError
from headrace.control.http.route_table import FRAMEWORK_PATHS
from headrace.control.plain import encoded

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from litestar.handlers import HTTPRouteHandler

    from headrace.control.http.command_calls import CommandCalls
    from headrace.control.http.server import Served

__all__ = ["application", "exchange_of"]

log = logging.getLogger(__name__)


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


class Session(msgspec.Struct, frozen=True):
    """Whose token a request has. may_command : whether it is not read-only. engines : others that a page may show."""

    name: str
    may_command: bool
    engines: list[str]


class CommandTable(msgspec.Struct, frozen=True):
    """The commands that are taken now. engine : by whom. version : how often they have changed it."""

    engine: str
    version: int
    items: list[CommandEntry]


def application(
    served: Served, calls: CommandCalls, stopping: asyncio.Event, *, engines: Sequence[str] = ()
) -> Litestar:
    """Return the application of one server. engines : origins of others that its page may show."""
    own = _own_handlers(served, calls, engines)
    handlers = [*own, *page_handlers(engines), *served.handlers(stopping)]
    return Litestar(
        handlers,
        openapi_config=OpenAPIConfig(served.title, str(_native.build_info()["version"]), path=FRAMEWORK_PATHS),
        exception_handlers={ProblemError: _on_problem, HTTPException: _on_framework_error, Exception: _on_error},
        logging_config=None,
        response_class=DocumentResponse,
    )


def exchange_of(request: Request[Any, Any, Any]) -> Exchange:
    """Return the exchange that the guard made for a request."""
    exchange = request.scope[SCOPE_KEY]  # type: ignore[literal-required]  # it is ours
    assert isinstance(exchange, Exchange)
    return exchange


def _own_handlers(served: Served, calls: CommandCalls, engines: Sequence[str]) -> list[HTTPRouteHandler]:
    @get("/health/live", opt={"is_open": True}, tags=["health"], summary="Whether the process answers")
    async def live() -> Live:
        return Live()

    @get("/health/ready", tags=["health"], summary="Whether it does its work, with the reasons when not")
    async def ready() -> Ready:
        if reasons := list(served.problems()):
            raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", "; ".join(reasons))
        return Ready("ready", [])

    @get("/v1/session", tags=["session"], summary="Whose token this is, and what it may do")
    async def session(request: Request[Any, Any, Any]) -> Session:
        actor = exchange_of(request).actor
        assert actor is not None  # The guard lets nobody else in.
        return Session(actor.name, actor.may_command, list(engines))

    @get("/v1/commands", tags=["commands"], summary="The commands that are taken, with their fields")
    async def commands() -> CommandTable:
        return CommandTable(served.name, served.commands.version, served.commands.table())

    @post("/v1/commands/{verb:str}", include_in_schema=False)
    async def command(request: Request[Any, Any, Any], verb: FromPath[str]) -> Response[bytes]:
        answer = await calls.call(verb, exchange_of(request))
        headers = {"idempotent-replayed": "true"} if answer.is_repeated else None
        media_type = answer.media_type.decode()
        return Response(answer.body, status_code=answer.status, media_type=media_type, headers=headers)

    @get("/openapi.json", include_in_schema=False)
    async def openapi(request: Request[Any, Any, Any]) -> Response[bytes]:
        # Its numbers are bounds, and stay numbers.
        document = msgspec.json.encode(openapi_document(request.app, served.commands.types()))
        return Response(document, media_type="application/json")

    @get("/docs", include_in_schema=False)
    async def docs(request: Request[Any, Any, Any]) -> Response[str]:
        return docs_page(openapi_document(request.app, served.commands.types()))

    return [live, ready, session, commands, command, openapi, docs]


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
    if status is HTTPStatus.NOT_FOUND:
        detail = f"there is no {shown(request.url.path)}: /openapi.json lists what there is"
        return _on_problem(request, ProblemError(status, "not-found", detail))
    return _on_problem(request, ProblemError(status, "invalid", error.detail))


def _on_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    log.error("the control API failed on %s %s", request.method, request.url.path, exc_info=error)
    detail = "an error of the engine's own: its log says which"
    return _on_problem(request, ProblemError(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", detail))
