"""Deliveries: the events of the bus that one strategy's callbacks get, and no others.

::

    order event ─ its strategy ─┐
    bar ─ instrument and kind ──┼▶ key ─▶ (the bus keeps who takes it) ─▶ on_order · on_fill · on_bar(s) · on_signal
    signal ─ its source ────────┘

Guarantees: another strategy's event or another bar adds nothing to this strategy's cost; an event that the strategy's
state does not allow is skipped and counted by callback; what a callback raises is judged once, and goes on to the bus,
which keeps the letter.
Does not: deliver skipped events later.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from functools import partial
from operator import eq, ne
from typing import TYPE_CHECKING, Any

from headrace.limits import DRAIN_RUNNING_S
from headrace.market.events import (
    Bar,
    BarFrame,
    Event,
    OrderAccepted,
    OrderAmended,
    OrderAmendRejected,
    OrderAmendRequested,
    OrderCanceled,
    OrderEvent,
    OrderExpired,
    OrderFill,
    OrderRejected,
    OrderRequested,
    OrderTriggered,
    Signal,
)
from headrace.market.user_errors import is_requested
from headrace.market.user_functions import refuse_generator
from headrace.strategies.states import StrategyState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from headrace.bus import BusSubscription, EventBus
    from headrace.dispatch.faults import FaultRecord
    from headrace.market.bars import BarSpec
    from headrace.strategies.states import LifeCycle

__all__ = ["Deliveries"]

RUNNING = frozenset({StrategyState.RUNNING})
# A paused or stopping strategy gets the events of its orders, too.
OF_ITS_ORDERS = frozenset({StrategyState.RUNNING, StrategyState.PAUSED, StrategyState.STOPPING})
NOT_FILLS = (
    *(OrderRequested, OrderAccepted, OrderRejected, OrderCanceled, OrderExpired, OrderTriggered),
    *(OrderAmendRequested, OrderAmended, OrderAmendRejected),
)
# The events of each callback, and the states in which they are delivered.
EVENTS: Mapping[str, tuple[type[Event] | tuple[type[Event], ...], frozenset[StrategyState]]] = {
    "on_bar": (Bar, RUNNING),
    "on_bars": (BarFrame, RUNNING),
    "on_signal": (Signal, RUNNING),
    "on_order": (NOT_FILLS, OF_ITS_ORDERS),
    "on_fill": (OrderFill, OF_ITS_ORDERS),
}


class Deliveries:
    """One strategy's subscriptions to the bus.

    record : counts its calls. is_refused : returns whether the order manager refused an order event. judge : judges
    what a callback raised.
    """

    def __init__(
        self,
        life: LifeCycle,
        bus: EventBus,
        record: FaultRecord,
        *,
        is_refused: Callable[[OrderEvent], bool],
        judge: Callable[[str, BaseException], None],
    ) -> None:
        # Events that were not delivered, by callback.
        self.skipped: dict[str, int] = {}
        self._life = life
        self._bus = bus
        self._record = record
        self._is_refused = is_refused
        self._judge = judge
        self._subscriptions: list[BusSubscription] = []
        # Of the awaited calls of its object.
        self._limits: set[asyncio.Timeout] = set()
        self._at_rest = asyncio.Event()

    def open(self, name: str, callbacks: Mapping[str, Callable[..., Any]], bars: Sequence[BarSpec]) -> None:
        """Subscribe the callbacks of a strategy. bars : what ``on_bar`` gets."""
        specs = tuple(bars)
        kinds = {(spec.timeframe, spec.price, spec.time) for spec in specs}

        def takes(key: tuple[str, str, str, str, bool]) -> bool:
            return any(spec.takes_key(key) for spec in specs)

        mine = partial(eq, name)
        keys: dict[str, Callable[[Any], bool]] = {
            "on_bar": takes,
            "on_bars": lambda kind: kind in kinds,
            "on_signal": partial(ne, name),
            "on_order": mine,
            "on_fill": mine,
        }
        for callback, (what, states) in EVENTS.items():
            if callback in callbacks:
                own = callbacks[callback]
                handler = self._handler(callback, own, states, takes if callback == "on_bars" else None)
                subscribed = self._bus.subscribe(
                    what,
                    handler,
                    where=keys[callback],
                    name=f"{name}.{callback}",
                    # Once: a bar that raises behind a buy() would buy again at the next attempt.
                    max_attempts=1,
                )
                self._subscriptions.append(subscribed)

    async def finish(self) -> None:
        """Wait for the calls that are being awaited, at most DRAIN_RUNNING_S; then cancel them."""
        end_s = asyncio.get_running_loop().time() + DRAIN_RUNNING_S
        for limit in self._limits:
            limit.reschedule(end_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(end_s + DRAIN_RUNNING_S):
                await self._at_rest.wait()

    @property
    def is_at_rest(self) -> bool:
        """Whether no call is being awaited."""
        return not self._limits

    def close(self) -> None:
        """Deliver nothing more; calls that are still being awaited count for nothing."""
        for subscribed in self._subscriptions:
            subscribed.close()
        self._subscriptions = []
        self._limits = set()

    def _handler(
        self,
        name: str,
        callback: Callable[..., Any],
        states: frozenset[StrategyState],
        takes: Callable[[tuple[str, str, str, str, bool]], bool] | None,
    ) -> Callable[..., Any]:
        async def ended(returned: Awaitable[object]) -> None:
            limits, limit = self._limits, asyncio.timeout(None)
            limits.add(limit)
            self._at_rest.clear()
            try:
                async with limit:
                    refuse_generator(await returned)
            except BaseException as error:
                if isinstance(error, TimeoutError) and limit.expired():
                    error.args = (f"{name} did not return before its strategy ended",)
                if limits is self._limits:
                    self._fail(name, error)
                raise
            finally:
                limits.discard(limit)
                if not self._limits:
                    self._at_rest.set()

        def call(event: Event) -> Awaitable[object] | None:
            part: Event | None = event
            if takes is not None and isinstance(event, BarFrame):
                part = event.of(takes)
            if part is None or not self._delivers(name, part, states):
                return None
            try:
                returned = refuse_generator(callback(part))
            except BaseException as error:
                self._fail(name, error)
                raise
            return ended(returned) if returned is not None and inspect.isawaitable(returned) else None

        return call

    def _delivers(self, name: str, event: Event, states: frozenset[StrategyState]) -> bool:
        """Return whether an event is delivered now, and count it."""
        if isinstance(event, OrderEvent) and self._is_refused(event):
            return False
        if self._life.state not in states:
            self.skipped[name] = self.skipped.get(name, 0) + 1
            return False
        self._record.callbacks += 1
        return True

    def _fail(self, name: str, error: BaseException) -> None:
        if not is_requested(error):
            self._judge(name, error)
