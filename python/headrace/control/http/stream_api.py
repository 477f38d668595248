"""The stream over HTTP: the state document, once or as events, and its history.

::

    GET /v1/state    GET /v1/history?series=rates/lag_s&span=15m    GET /v1/stream (Last-Event-ID)

What happens when a client breaks off
    Its generator is closed at once, also in the middle of a write: nothing of it is left.

Guarantees: headers and the first event are sent at once; nothing is compressed or kept by a proxy on the way.
Does not: decide what changed; ``control.stream`` does.
"""

from __future__ import annotations

from contextlib import aclosing
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any

from litestar import Request, get
from litestar.datastructures import ResponseHeader
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter
from litestar.response.streaming import ASGIStreamingResponse
from litestar.types import ASGIApp

from headrace.control.dashboard import page_files
from headrace.control.http.problems import ProblemError
from headrace.control.stream.history import SPANS
from headrace.errors import ControlError, OptionError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from litestar.handlers import HTTPRouteHandler
    from litestar.types import Receive, Send

    from headrace.control.stream.service import StreamService

__all__ = ["stream_handlers"]

EVENT_STREAM = "text/event-stream"
# With it a page notices that it is older than the server.
PAGE_HEADER = "headrace-page"
# A proxy in between passes events on as they come.
HEADERS = {"cache-control": "no-store, no-transform", "x-accel-buffering": "no"}
SERIES_MAX = 64
RETRY_S = 5


def stream_handlers(stream: StreamService) -> list[HTTPRouteHandler]:
    """Return the handlers of a stream."""

    @get("/v1/state", tags=["stream"], summary="The state document that the stream begins with")
    async def state() -> dict[str, Any]:
        return dict(stream.document())

    @get("/v1/history", tags=["stream"], summary="Figures of the last 15 minutes to 24 hours")
    async def history(
        series: Annotated[
            list[str],
            QueryParameter(
                min_items=1, max_items=SERIES_MAX, description="names of series, or their beginnings with *"
            ),
        ],
        span: Annotated[
            str, QueryParameter(pattern=f"^({'|'.join(SPANS)})$", description=f"one of {', '.join(SPANS)}")
        ] = "15m",
    ) -> dict[str, Any]:
        try:
            return stream.history.read(series, span)
        except OptionError as error:
            raise ProblemError(HTTPStatus.NOT_FOUND, "not-found", str(error), field=error.option or "") from error

    @get(
        "/v1/stream",
        tags=["stream"],
        summary="The state document as server-sent events: whole, then what changes, ten times a second at most",
        responses={
            200: ResponseSpec(
                str, media_type=EVENT_STREAM, generate_examples=False, description="events: state, update, heartbeat"
            )
        },
        response_headers=[
            ResponseHeader(name="cache-control", value=HEADERS["cache-control"], documentation_only=True)
        ],
    )
    async def events(request: Request[Any, Any, Any]) -> ASGIApp:
        try:
            iterator = stream.events(request.headers.get("last-event-id", ""))
        except ControlError as error:
            headers = ((b"retry-after", b"%d" % RETRY_S),)
            raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", str(error), headers=headers) from error
        return _EventStream(iterator)

    return [state, history, events]


class _EventStream(ASGIStreamingResponse):
    """Server-sent events as an answer."""

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        headers = {**HEADERS, PAGE_HEADER: page_files().version}
        super().__init__(iterator=events, headers=headers, media_type=EVENT_STREAM)
        self._events = events

    async def send_body(self, send: Send, receive: Receive) -> None:
        """Send events until the client is gone, or the engine ends."""
        async with aclosing(self._events):
            await super().send_body(send, receive)
