"""EngineApi: what of an engine is served over HTTP: its state as documents, read when they are asked for.

::

    GET /v1/ status · strategies · subscriptions · routes · lanes · orders · positions · account · dead-letters
             audit · config

Guarantees: reading changes nothing; amounts are strings, times are RFC 3339 and ns; lists come in pages, by a cursor.
Does not: keep anything; the parts of the engine do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litestar import get

from headrace.control.http.stream_api import stream_handlers
from headrace.control.http.views import StatusView, status_view
from headrace.control.stream.engine_state import EngineState
from headrace.control.stream.service import StreamService

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator, Mapping

    from litestar.handlers import HTTPRouteHandler

    from headrace.commands import CommandBus
    from headrace.engine.engine import Engine
    from headrace.gateway import Gateway

__all__ = ["EngineApi"]


class EngineApi:
    """An engine, served. Made before the engine runs; it adds its stream to the engine's services.

    config : as plain tables, with secrets masked. gateway : None: there is none.
    """

    title = "Headrace engine"

    def __init__(
        self, engine: Engine, *, config: Mapping[str, Any] | None = None, gateway: Gateway | None = None
    ) -> None:
        self._engine = engine
        self._config = config or {}
        self._gateway = gateway
        self.stream = StreamService(EngineState(engine, gateway=gateway).read)
        engine.services.add(self.stream)

    @property
    def name(self) -> str:
        """The engine's name."""
        return self._engine.name

    @property
    def commands(self) -> CommandBus:
        """The engine's commands."""
        return self._engine.commands

    def problems(self) -> Iterator[str]:
        """Yield why the engine is not ready."""
        if self._engine.is_stopping:
            yield "the engine is stopping"
        for name, health in self._engine.services.health().items():
            if health != "ok":
                yield f"service {name}: {health}"

    def handlers(self, stopping: asyncio.Event) -> list[HTTPRouteHandler]:
        """Return the handlers of the engine's documents."""
        self.stream.end_clients_with(stopping)
        engine = self._engine

        @get("/v1/status", tags=["engine"], summary="What runs, and how it is")
        async def status() -> StatusView:
            return status_view(engine)

        return [status, *stream_handlers(self.stream)]
