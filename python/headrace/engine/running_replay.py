"""RunningReplay: a replay while it runs, as an operator sees an engine.

Guarantees: it has what a state document is read from, by the names that an Engine has.
Does not: run or change anything but by ``stop``. It is read on the replay's own thread: from its ``progress``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.engine.report import report_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.bus import EventBus
    from headrace.dispatch.dispatcher import Dispatcher
    from headrace.engine.parts import EngineParts
    from headrace.engine.report import Report
    from headrace.engine.run import EngineRun
    from headrace.engine.supervisor import Supervisor
    from headrace.feeds.base import AnyFeed
    from headrace.market.clock import EngineClock, Mode
    from headrace.strategies.plots import Plots
    from headrace.trading.orders import OrderManager

__all__ = ["RunningReplay"]


class RunningReplay:
    """The parts and the run of a replay."""

    def __init__(self, parts: EngineParts, run: EngineRun) -> None:
        self._parts = parts
        self._run = run
        self.mode: Mode = parts.mode
        self.bus: EventBus = parts.bus
        self.clock: EngineClock = parts.clock
        self.dispatcher: Dispatcher = parts.dispatcher
        self.orders: OrderManager = parts.orders
        self.plots: Plots = parts.plots
        self.services: Supervisor = parts.services
        self.feeds: Sequence[AnyFeed] = parts.feeds
        # Nothing of a replay leaves it, so there is nothing to halt.
        self.kill_switch: None = None

    @property
    def is_stopping(self) -> bool:
        """Whether it ends, or was asked to."""
        return bool(self._run.ended_by)

    def stop(self, reason: str) -> None:
        """End at a quiet point; from any thread."""
        self._run.stop(reason)

    def report(self, *, with_metrics: bool = True) -> Report:
        """Return what happened so far. with_metrics : whether the services are asked for their metrics."""
        return report_of(self._parts, self._run, with_metrics=with_metrics)
