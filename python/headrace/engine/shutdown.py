"""Shutdown: the end of a run, step by step, and what is left when its time is over.

::

    feeds close ─▶ ring and lanes drain (10 s) ─▶ commands end ─▶ on_stop ─▶ EOF ─▶ services leave ─▶ bus, audit close

What happens when
    a step raises: it is logged, the other steps are taken all the same, and the first error ends the run.
    a step hangs: it has until the deadline, half a second at least; then it is cancelled, named, and left.
    it is forced: nothing is drained and no strategy is asked; what waits is left, and counted.

Guarantees: feeds, services, commands and bus are closed, and the audit is synced, however the run ended.
Does not: decide when a run ends (``engine_run``).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from typing import TYPE_CHECKING

from headrace.engine.loop import LiveTurns, ReplayTurns
from headrace.errors import ReentrantDispatchError
from headrace.limits import DRAIN_RUNNING_S, DRAIN_S
from headrace.market.events import EVENT_LANES
from headrace.strategies.states import StrategyState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from headrace.engine.parts import EngineParts
    from headrace.feeds.sources import Intake
    from headrace.market.events import Lane

__all__ = ["LOOK_S", "Shutdown"]

log = logging.getLogger(__name__)

# How often it is looked whether asynchronous consumers have caught up, when everything else has.
LOOK_S = 0.002


class Shutdown:
    """The end of one run. left : events that nobody got, by lane. is_forced : nothing is waited for any more."""

    def __init__(self, engine: EngineParts, intake: Intake) -> None:
        self.left: Mapping[Lane, int] = {}
        self.is_forced = False
        self._engine = engine
        self._intake = intake
        self._deadline_s = 0.0
        self._errors: list[Exception] = []

    async def leave(self, reason: str, *, has_failed: bool) -> None:
        """Feeds stop, ring and lanes drain, strategies stop, services leave.

        has_failed : an error ends the run already. Raises the first error of a step otherwise.
        """
        engine, turns = self._engine, self._engine.turns
        self._deadline_s = time.monotonic() + DRAIN_S
        await self._step("a feed's close()", self._intake.close())
        engine.tell_control("STOPPING", {"reason": reason})
        log.info("engine %s stops: %s", engine.name, reason)
        if not self.is_forced:
            await self._drain()
        # From here on nobody may start a strategy again.
        await engine.commands.stop()
        if not self.is_forced:
            if isinstance(turns, LiveTurns) and turns.log is not None:
                turns.log.mark("stop")
            await self.stop_strategies()
            self._do(turns.drain)
        engine.tell_control("EOF")
        if isinstance(turns, ReplayTurns) and not (has_failed or self.is_forced or self._errors):
            await turns.barrier()
        await engine.services.stop(self._left_s())
        if not self.is_forced:
            self._do(turns.drain)
        await self._close_bus()
        if self._errors and not has_failed:
            raise self._errors[0]

    async def close(self) -> None:
        """Close what is open still; also when setting up failed. Raises AuditError."""
        engine = self._engine
        await self._step("a feed's close()", self._intake.close())
        await engine.commands.stop()
        if not self.is_forced:
            await self.stop_strategies()
        await engine.services.stop(DRAIN_RUNNING_S)
        await self._close_bus()
        if engine.options.audit is not None:
            engine.options.audit.close()

    def is_quiet(self) -> bool:
        """Whether nobody of ours has anything left to do, those who work in threads and tasks of their own included."""
        engine = self._engine
        ticks = [own for runner in engine.strategies.values() for own in runner.subscriptions]
        behind = any(own.state in ("running", "resuming") and own.stats().pending for own in ticks)
        return not behind and engine.turns.is_at_rest and engine.bus.is_idle

    # The steps

    async def _drain(self) -> None:
        turns, dispatcher = self._engine.turns, self._engine.dispatcher
        self._do(turns.drain)
        if not isinstance(turns, LiveTurns):
            return
        try:
            # Looked at again and again: a task that comes to rest tells nobody.
            while self._remaining_s() > 0 and (turns.turn() or not self.is_quiet()):  # noqa: ASYNC110
                await asyncio.sleep(0 if not dispatcher.is_caught_up else LOOK_S)
            if turns.log is not None:
                turns.log.mark("leave")
            await self._hand_out_windows()
        except Exception as error:  # noqa: BLE001 - kept, and raised at the end
            # A strategy under on_fault="raise": what it left stays where it is.
            self._keep(error, "draining the ring")

    async def _hand_out_windows(self) -> None:
        while True:
            try:
                self._engine.dispatcher.finish()
            except ReentrantDispatchError:
                if self._remaining_s() <= 0:
                    log.warning("a strategy is still in its handler, in a thread of its own: its windows are left")
                    return
                await asyncio.sleep(LOOK_S)
            else:
                return

    async def stop_strategies(self) -> None:
        """Stop those that live; a repetition does so where its log says."""
        for runner in self._engine.strategies.values():
            if runner.state is StrategyState.STARTING:
                runner.give_up("the engine ends")
            elif runner.life.allows("stop") and runner.state is not StrategyState.CREATED:
                await runner.stop("the engine ends", within_s=self._left_s())

    async def _close_bus(self) -> None:
        left = Counter(await self._engine.bus.shutdown(0.0 if self.is_forced else max(0.0, self._remaining_s())))
        if not self.left:
            # What the engine itself had to tell and found no room for is as lost as what waits in a lane.
            left.update(EVENT_LANES[type(event)] for event in self._engine.turns.untold)
            self.left = dict(left)
            for lane, count in self.left.items():
                log.warning("%d events of the %s lane are left", count, lane)

    async def _step(self, what: str, done: Awaitable[object]) -> None:
        try:
            async with asyncio.timeout(self._left_s()):
                await done
        except TimeoutError as error:
            self._keep(error, f"{what}, which did not end within its time,")
        except Exception as error:  # noqa: BLE001 - kept, and raised at the end
            self._keep(error, what)

    def _do(self, step: Callable[[], object]) -> None:
        try:
            step()
        except Exception as error:  # noqa: BLE001 - kept, and raised at the end
            self._keep(error, "draining the lanes")

    def _keep(self, error: Exception, what: str) -> None:
        log.error("%s failed while the engine ended", what, exc_info=error)
        self._errors.append(error)

    def _remaining_s(self) -> float:
        return self._deadline_s - time.monotonic()

    def _left_s(self) -> float:
        return max(DRAIN_RUNNING_S, self._remaining_s())
