"""BacktestApi: a backtest while it runs, and its report when it has ended, served on a thread of its own.

::

    the backtest's thread ─ progress ─▶ look(): state, equity ─▶ Relay ─▶ GET /v1/stream · /v1/equity
                          ─ finish(document) ───────────────────────────▶ GET /v1/report       another thread

What happens when
    reading the state takes long: it happens less often, so that it takes no more than 2 % of the backtest's time.
    an operator drains it: it ends at a quiet point, and the report is that of what ran.

Guarantees: nothing that is asked for changes what the backtest decides: there is no other command.
Does not: run the backtest, or end with it: who looks at the report may go on.
"""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from litestar import get

from headrace.commands import CommandBus, Drain, Outcome
from headrace.control.http.problems import ProblemError
from headrace.control.http.stream_api import stream_handlers
from headrace.control.plain import plain_whole
from headrace.control.stream.engine_state import API_VERSION, EngineState
from headrace.control.stream.relay import Relay
from headrace.control.stream.thinned import Thinned
from headrace.engine.service import Service
from headrace.limits import STREAM_EVERY_S, STREAM_SHARE_MAX
from headrace.market.clock import WallClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from litestar.handlers import HTTPRouteHandler

    from headrace.control.stream.board import Document
    from headrace.engine.running_replay import RunningReplay
    from headrace.engine.service import ServiceContext
    from headrace.feeds.progress import Progress

__all__ = ["BacktestApi"]


class BacktestApi(Service):
    """One backtest, served; as a service it opens and closes its command bus and its stream."""

    title = "Headrace backtest"
    events = None

    def __init__(self) -> None:
        self._replay: RunningReplay | None = None
        self._state: EngineState | None = None
        self._due_s = 0.0
        self._newest: Document = {"engine": {"api": API_VERSION, "kind": "backtest", "name": "backtest"}}
        self._relay = Relay(self._newest)
        self._equity = Thinned()
        self._report: dict[str, Any] | None = None
        self.commands = CommandBus(bus=None, clock=WallClock())
        self.commands.register(Drain, self._drain)

    @property
    def name(self) -> str:
        """What files and reports call it."""
        return "backtest"

    async def setup(self, context: ServiceContext) -> None:
        """Take commands, and begin to stream."""
        await self.commands.start()
        await self._relay.setup(context)

    async def stop(self) -> None:
        """Take no more."""
        await self._relay.stop()
        await self.commands.stop()

    def problems(self) -> Iterator[str]:
        """Yield nothing: a backtest is ready, and its report too."""
        yield from ()

    # On the backtest's thread

    def begin(self, replay: RunningReplay) -> None:
        """Show this replay, before it runs."""
        self._replay = replay
        self._state = EngineState(replay)
        self._relay.stream.tails.follow(replay.bus)

    def look(self, progress: Progress) -> None:
        """Read the state, if it is time to."""
        began_s = time.monotonic()
        if self._state is None or began_s < self._due_s:
            return
        document = self._state.read()
        share = progress.bytes_done / progress.bytes_total if progress.bytes_total else None
        self._put(document, {"progress": share, "market_ns": plain_whole(progress.now_ns)})
        accounts = {key: float(row["equity"]) for key, row in document["accounts"].items() if row["equity"] is not None}
        self._equity.add(progress.now_ns, accounts)
        took_s = time.monotonic() - began_s
        self._due_s = began_s + max(STREAM_EVERY_S, took_s / STREAM_SHARE_MAX)

    def finish(self, report: dict[str, Any]) -> None:
        """Show how it ended. report : the document that ``--json`` prints."""
        self._report = report
        document = self._newest if self._state is None else self._state.read()
        self._put(document, {"progress": 1.0, "state": "ended", "ended_by": str(report.get("ended_by", ""))})

    def _put(self, document: Document, more: dict[str, Any]) -> None:
        engine = {**self._newest["engine"], **document["engine"], "kind": "backtest", "mode": "backtest", **more}
        self._newest = {**document, "engine": engine}
        self._relay.put(self._newest)

    # On the server's thread

    def _drain(self, _command: Drain) -> Outcome:
        if self._replay is None or self._replay.is_stopping:
            return Outcome("noop", "it does not run")
        self._replay.stop("drained by command")
        return Outcome("accepted")

    def handlers(self, stopping: asyncio.Event) -> list[HTTPRouteHandler]:
        """Return the handlers of its documents, and of the stream."""
        self._relay.stream.end_clients_with(stopping)

        @get("/v1/equity", tags=["backtest"], summary="Equity by account over the time of the market, thinned")
        async def equity() -> dict[str, Any]:
            return self._equity.document()

        @get("/v1/report", tags=["backtest"], summary="What --json prints, when it has ended")
        async def report() -> dict[str, Any]:
            if self._report is None:
                detail = "the backtest still runs: its report comes at the end"
                raise ProblemError(HTTPStatus.NOT_FOUND, "not-found", detail)
            return self._report

        return [equity, report, *stream_handlers(self._relay.stream)]
