"""Deliveries: the events of the bus that one strategy's callbacks get, and no others.

::

    order event ─ its strategy ─┐
    bar ─ instrument and kind ──┼▶ key ─▶ (the bus keeps who takes it) ─▶ on_order · on_fill · on_bar · on_signal
    signal ─ its source ────────┘

Guarantees: another strategy's event or another bar adds nothing to this strategy's cost; an event that the strategy's
state does not allow is skipped and counted by callback; what a callback raises is judged once, and goes on to the bus,
which keeps the letter.
Does not: deliver skipped events later.
"""

from __future__ import annotations

import asyncio
import inspect
from functools import partial
from operator import eq, ne
from typing import TYPE_CHECKING, Any, NamedTuple

from headrace.dispatch.loop_wakeup import has_running_loop
from headrace.market.events import (
    Bar,
    Event,
    OrderAccepted,
    OrderCanceled,
    OrderEvent,
    OrderExpired,
    OrderFill,
    OrderRejected,
    OrderRequested,
    Signal,
)
from headrace.strategies.states import StrategyState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headrace.bus import BusSubscription, EventBus
    from headrace.market.bars import BarSpec
    from headrace.strategies.states import LifeCycle

__all__ = ["Deliveries", "is_ours"]

RUNNING = frozenset({StrategyState.RUNNING})
# A paused or stopping strategy gets the events of its orders, too.
OF_ITS_ORDERS = frozenset({StrategyState.RUNNING, StrategyState.PAUSED, StrategyState.STOPPING})
NOT_FILLS = (OrderRequested, OrderAccepted, OrderRejected, OrderCanceled, OrderExpired)


class _Delivery(NamedTuple):
    """The events of one callback. where : chooses by key. states : the states in which they are delivered."""

    what: type[Event] | tuple[type[Event], ...]
    where: Callable[[Any], bool]
    states: frozenset[StrategyState]


class Deliveries:
    """One strategy's subscriptions to the bus.

    is_refused : returns whether the order manager refused an order event. judge : judges what a callback raised.
    """

    def __init__(
        self,
        life: LifeCycle,
        bus: EventBus,
        *,
        is_refused: Callable[[OrderEvent], bool],
        judge: Callable[[str, BaseException], None],
    ) -> None:
        # Events that were not delivered, by callback.
        self.skipped: dict[str, int] = {}
        # Callbacks called, those that the runner calls itself included.
        self.calls = 0
        self._life = life
        self._bus = bus
        self._is_refused = is_refused
        self._judge = judge
        self._subscriptions: list[BusSubscription] = []

    def open(self, name: str, callbacks: dict[str, Callable[..., Any]], bars: Sequence[BarSpec]) -> None:
        """Subscribe the callbacks of a strategy. bars : what ``on_bar`` gets."""
        specs = tuple(bars)
        mine = partial(eq, name)
        deliveries = {
            "on_bar": _Delivery(Bar, lambda key: any(spec.takes_key(key) for spec in specs), RUNNING),
            "on_signal": _Delivery(Signal, partial(ne, name), RUNNING),
            "on_order": _Delivery(NOT_FILLS, mine, OF_ITS_ORDERS),
            "on_fill": _Delivery(OrderFill, mine, OF_ITS_ORDERS),
        }
        for callback, delivery in deliveries.items():
            if callback in callbacks:
                handler = self._handler(callback, callbacks[callback], delivery.states)
                subscribed = self._bus.subscribe(
                    delivery.what,
                    handler,
                    where=delivery.where,
                    name=f"{name}.{callback}",
                    # Once: a bar that raises behind a buy() would buy again at the next attempt.
                    max_attempts=1,
                )
                self._subscriptions.append(subscribed)

    def close(self) -> None:
        """Deliver nothing more."""
        for subscribed in self._subscriptions:
            subscribed.close()
        self._subscriptions = []

    def _handler(self, name: str, callback: Callable[..., Any], states: frozenset[StrategyState]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(callback):

            async def awaited(event: Event) -> None:
                if self._delivers(name, event, states):
                    try:
                        await callback(event)
                    except BaseException as error:
                        self._fail(name, error)
                        raise

            return awaited

        def plain(event: Event) -> None:
            if self._delivers(name, event, states):
                try:
                    callback(event)
                except BaseException as error:
                    self._fail(name, error)
                    raise

        return plain

    def _delivers(self, name: str, event: Event, states: frozenset[StrategyState]) -> bool:
        """Return whether an event is delivered now, and count it."""
        if isinstance(event, OrderEvent) and self._is_refused(event):
            return False
        if self._life.state not in states:
            self.skipped[name] = self.skipped.get(name, 0) + 1
            return False
        self.calls += 1
        return True

    def _fail(self, name: str, error: BaseException) -> None:
        if not is_ours(error):
            self._judge(name, error)


def is_ours(error: BaseException) -> bool:
    """Return whether a callback's exception is no failure of it: its own task was cancelled, or the process ends."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task() if has_running_loop() else None
        return task is not None and task.cancelling() > 0
    return isinstance(error, KeyboardInterrupt | GeneratorExit)
