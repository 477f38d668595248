"""Callbacks: the calls of one strategy's life-cycle callbacks and timers; what they raise is judged as its own fault.

::

    runner ─▶ on_start · on_stop · on_save …        clock ─▶ on_timer (running: now; paused: at the resume)

Guarantees: what a callback raises is kept as a letter and judged, and ends nothing else.
Does not: call tick handlers, which native code does, or event callbacks (``deliveries``).
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from headrace.market.user_errors import is_requested
from headrace.market.user_functions import refuse_generator, refuse_unfinished
from headrace.market.user_waits import returned
from headrace.strategies.own_log import log_of
from headrace.strategies.states import StrategyState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from headrace.dispatch.faults import FaultDesk, FaultRecord
    from headrace.strategies.states import LifeCycle
    from headrace.strategies.timers import Timer

__all__ = ["CallbackError", "Callbacks"]


class CallbackError(Exception):
    """A callback raised: its name, and what it ``raised``. Never leaves the runner."""

    def __init__(self, callback: str) -> None:
        super().__init__(callback)
        self.callback = callback

    @property
    def raised(self) -> BaseException:
        """What the callback raised."""
        assert self.__cause__ is not None
        return self.__cause__


class Callbacks:
    """The callbacks of one strategy without ticks. known : those of the object that runs now, by name."""

    def __init__(self, life: LifeCycle, faults: FaultDesk, record: FaultRecord) -> None:
        self.known: Mapping[str, Callable[..., Any]] = {}
        self._life = life
        self._faults = faults
        self._record = record
        # Timers that were due while it was paused, by name.
        self._held: dict[str, Timer] = {}
        # Timers that fired without an ``on_timer``, each logged once.
        self._unheard: tuple[str, ...] = ()

    async def call(self, name: str, *arguments: object, within_s: float | None = None) -> object:
        """Call a callback, await what it returns, and return that. Raises CallbackError, for whatever it raised.

        within_s : longer is its fault, and it is cancelled.
        """
        callback = self.known.get(name)
        if callback is None:
            return None
        self._record.callbacks += 1
        try:
            result = callback(*arguments)
            if inspect.isawaitable(result):
                result = await returned(result, f"{name} of strategy {self._life.name}", within_s)
            return refuse_generator(result)
        except BaseException as error:
            if is_requested(error):
                raise
            # A StopIteration, for one, would be another error outside of this coroutine.
            raise CallbackError(name) from error

    async def call_isolated(self, name: str, within_s: float | None = None) -> BaseException | None:
        """Call a callback, as ``call`` does; its failure is judged, and returned."""
        try:
            await self.call(name, within_s=within_s)
        except CallbackError as failure:
            self.fail(name, failure.raised)
            return failure.raised
        return None

    def fail(self, name: str, error: BaseException) -> None:
        """Keep a letter of a failed callback, and have it judged."""
        self._faults.keep(self._life.name, name, error)
        self.judge(name, error)

    def judge(self, name: str, error: BaseException) -> None:
        """Have a failed callback judged like a failed tick handler."""
        self._faults.judge(self._record, name, error)

    # Timers

    def on_timer(self, timer: Timer) -> None:
        """Call ``on_timer``; while paused, keep the timer for the resume."""
        if self._life.state is StrategyState.PAUSED:
            held = self._held.get(timer.name)
            missed = timer.missed + (held.missed + 1 if held else 0)
            self._held[timer.name] = timer._replace(missed=missed)
        elif self._life.state is StrategyState.RUNNING:
            self._fire(timer)

    def _fire(self, timer: Timer) -> None:
        callback = self.known.get("on_timer")
        if callback is None:
            if timer.name not in self._unheard:
                self._unheard = (*self._unheard, timer.name)
                log_of(self._life.name).warning("timer %r fires, and %s has no on_timer", timer.name, self._life.name)
            return
        self._record.callbacks += 1
        try:
            refuse_unfinished(callback(timer), "between ticks: start a task in it")
        except BaseException as error:
            if is_requested(error):
                raise
            self.fail("on_timer", error)

    def fire_held(self) -> None:
        """Fire the timers that were due while it was paused, in the order of their times."""
        held, self._held = self._held, {}
        for timer in sorted(held.values(), key=lambda timer: timer.due_ns):
            self.on_timer(timer)

    def forget_held(self) -> None:
        """Drop the timers that were due while it was paused."""
        self._held = {}
