"""Shutdown: the end of a run, step by step, and what is left when its time is over.

::

    feeds close ─▶ ring and lanes drain (10 s) ─▶ commands end ─▶ on_stop ─▶ EOF ─▶ services leave ─▶ bus, audit close

What happens when
    a step raises: the error is logged, the other steps run all the same, and the first error ends the run.
    a step hangs: it has until the deadline, half a second at least; then it is cancelled, named in the log, and left.
    the end is forced: nothing is drained and no strategy is called; what waits is left, and counted.

Guarantees: feeds, services, commands and bus are closed, and the audit is synced, however the run ended.
Does not: decide when a run ends (``run``).
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from headrace.limits import DRAIN_LAST_S, DRAIN_RUNNING_S, DRAIN_S
from headrace.market.events import EVENT_LANES
from headrace.market.user_errors import called
from headrace.market.user_waits import UserWaits
from headrace.market.wording import counted
from headrace.strategies.states import ENGINE_ENDS, StrategyState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from headrace.engine.parts import EngineParts
    from headrace.feeds.sources import Sources
    from headrace.market.events import Lane

__all__ = ["Shutdown"]

log = logging.getLogger(__name__)


class Shutdown:
    """The end of one run. left : events that no handler received, by lane. waits : for what users' objects do."""

    def __init__(self, parts: EngineParts, sources: Sources) -> None:
        self.left: Mapping[Lane, int] = {}
        self.waits = UserWaits()
        self._parts = parts
        self._sources = sources
        self._deadline_s = 0.0
        # Since when nothing but calls that are being awaited is left.
        self._only_runs_since_s: float | None = None
        self._errors: list[Exception] = []

    @property
    def is_forced(self) -> bool:
        """Whether nothing is drained, and hardly waited for."""
        return self.waits.is_forced

    async def leave(self, reason: str, *, has_failed: bool) -> None:
        """Feeds stop, ring and lanes drain, strategies stop, services leave.

        has_failed : an error ends the run already. Raises the first error of a step otherwise.
        """
        parts, driver = self._parts, self._parts.driver
        self._begin()
        await self._close_feeds()
        parts.driver.publish_control("STOPPING", {"reason": reason})
        log.info("engine %s stops: %s", parts.name, reason)
        if not self.is_forced:
            await self._drain()
        # From here on no strategy may start again.
        await parts.commands.stop(self.waits.within_s(DRAIN_RUNNING_S))
        if not self.is_forced:
            driver.mark("stop")
            await self.stop_strategies()
            self._drain_lanes()
        parts.driver.publish_control("EOF")
        if not (has_failed or self.is_forced or self._errors):
            await driver.settle_end()
        await parts.services.stop(self._left_s())
        if not self.is_forced:
            self._drain_lanes()
        await self._close_bus()
        if self._errors and not has_failed:
            raise self._errors[0]

    async def close(self) -> None:
        """Close what is still open; also when setting up failed. Raises AuditError."""
        parts = self._parts
        await self._close_feeds()
        await parts.commands.stop(self.waits.within_s(DRAIN_RUNNING_S))
        if not self.is_forced:
            await self.stop_strategies()
        await parts.services.stop(DRAIN_RUNNING_S)
        await self._close_bus()
        await self.waits.end_all()
        if parts.recorder is not None:
            with self._kept("closing the recordings"):
                parts.recorder.close()
        if parts.audit is not None:
            called(parts.audit.close, f"{type(parts.audit).__name__}.close")

    def is_drained(self) -> bool:
        """Whether nothing is left to do, or the time to drain is over; it begins with the first call."""
        self._begin()
        return self.is_quiet() or self._remaining_s() <= 0

    def is_quiet(self) -> bool:
        """Whether no part has anything left to do, strategies in threads and tasks of their own included.

        Calls that are being awaited while nothing else waits have DRAIN_RUNNING_S to end.
        """
        parts = self._parts
        ticks = [own for runner in parts.strategies.values() for own in runner.subscriptions]
        # What waits for the end of a window or an interval is delivered at the end, and not waited for.
        behind = any(own.state in ("running", "resuming") and own.membership.is_behind() for own in ticks)
        behind = behind or any(own.awaited.waiting for own in ticks)
        if behind or not parts.driver.is_at_rest or parts.bus.has_waiting:
            self._only_runs_since_s = None
            return False
        if parts.bus.is_idle and not any(own.awaited.is_running for own in ticks):
            return True
        now_s = time.monotonic()
        self._only_runs_since_s = self._only_runs_since_s or now_s
        return now_s - self._only_runs_since_s >= DRAIN_RUNNING_S

    def _begin(self) -> None:
        self._deadline_s = self._deadline_s or time.monotonic() + DRAIN_S

    # The steps

    async def _drain(self) -> None:
        self._drain_lanes()
        # A strategy under on_fault="raise" ends it: what it left stays where it is.
        with self._kept("draining the ring"):
            await self._parts.driver.drain_all(self.is_quiet, self._remaining_s)

    async def stop_strategies(self) -> None:
        """Stop those that live; a repetition does so where its log says."""
        for runner in self._parts.strategies.values():
            state = runner.state
            if state is StrategyState.STARTING:
                runner.fail(ENGINE_ENDS)
            elif runner.life.allows("stop") and state is not StrategyState.CREATED:
                await runner.stop(ENGINE_ENDS, within_s=self._left_s())

    async def _close_bus(self) -> None:
        over_s = 0.0 if self.is_forced else DRAIN_LAST_S
        within_s = over_s if self.is_forced or self.is_quiet() else max(over_s, self._remaining_s())
        left = Counter(await self._parts.bus.shutdown(within_s))
        if not self.left:
            # The engine's own events that found no room are as lost as those that wait in a lane.
            left.update(EVENT_LANES[type(event)] for event in self._parts.driver.unpublished)
            self.left = dict(left)
            for lane, count in self.left.items():
                log.warning("%s of the %s lane left", counted(count, "event is", "events are"), lane)

    def _drain_lanes(self) -> None:
        with self._kept("draining the lanes"):
            self._parts.driver.drain()

    async def _close_feeds(self) -> None:
        for error in await self._sources.close(self._left_s()):
            with self._kept("a feed's close()"):
                raise error

    @contextmanager
    def _kept(self, what: str) -> Iterator[None]:
        """Log an error of a step, and keep it for the end of the run."""
        try:
            yield
        except Exception as error:
            log.exception("%s failed while the engine ended", what)
            self._errors.append(error)

    def _remaining_s(self) -> float:
        return self._deadline_s - time.monotonic()

    def _left_s(self) -> float:
        return max(DRAIN_RUNNING_S, self._remaining_s())
