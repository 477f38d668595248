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

import headrace._native as _native
from headrace.bus.subscription import taken_apart
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

__all__ = ["EVENTS", "Deliveries"]

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
# Those that need no look at the event: native code calls them.
GATED = frozenset({"on_bar", "on_signal"})


def _never(_event: object) -> bool:
    return False


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
        self._skipped: dict[str, int] = {}
        # By callback: those that native code calls while the state allows it.
        self._gated: dict[str, _native.GatedCall] = {}
        self._life = life
        self._bus = bus
        self._record = record
        self._is_refused = is_refused
        self._judge = judge
        self._subscriptions: list[BusSubscription] = []
        # Of the awaited calls of its object.
        self._limits: set[asyncio.Timeout] = set()
        # Of ``finish``: set when none of them is awaited any more.
        self._at_rest: asyncio.Event | None = None

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
                handler: Callable[..., Any]
                if callback in GATED:
                    handler = self._gate(callback, own, states)
                else:
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
        at_rest = self._at_rest = self._at_rest or asyncio.Event()
        at_rest.clear()
        if self.is_at_rest:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(end_s + DRAIN_RUNNING_S):
                await at_rest.wait()

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
        if not self._gated:
            return
        self._skipped = self.skipped
        for gated in self._gated.values():
            self._life.leave(gated)
            self._record.leave(gated)
        self._gated = {}

    @property
    def skipped(self) -> dict[str, int]:
        """How many events were not delivered, by callback."""
        if not self._gated:
            return self._skipped
        skipped = dict(self._skipped)
        for name, gated in self._gated.items():
            if gated.skipped:
                skipped[name] = skipped.get(name, 0) + gated.skipped
        return skipped

    def _gate(
        self, name: str, callback: Callable[..., Any], states: frozenset[StrategyState]
    ) -> Callable[..., Awaitable[object] | None]:
        """Return a callback that native code calls while the state is one of these, and counts."""
        ended = self._ended(name)

        def end(returned: object) -> Awaitable[object] | None:
            return ended(returned) if inspect.isawaitable(returned) else None

        function, receiver = taken_apart(callback)
        gated = _native.GatedCall(function, receiver, ended=end, failed=partial(self._fail, name))
        self._gated[name] = gated
        self._life.keep_open(gated, states)
        self._record.join(gated)
        return gated

    def _ended(self, name: str) -> Callable[[Awaitable[object]], Awaitable[object]]:
        """Return what awaits what a callback returned."""

        async def ended(returned: Awaitable[object]) -> None:
            limits, limit = self._limits, asyncio.timeout(None)
            limits.add(limit)
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
                if self._at_rest is not None and not self._limits:
                    self._at_rest.set()

        return ended

    def _handler(
        self,
        name: str,
        callback: Callable[..., Any],
        states: frozenset[StrategyState],
        takes: Callable[[tuple[str, str, str, str, bool]], bool] | None,
    ) -> Callable[..., Any]:
        ended = self._ended(name)
        life, record = self._life, self._record
        is_refused = self._is_refused if name in ("on_order", "on_fill") else _never

        def call(event: Any) -> Awaitable[object] | None:
            part = event if takes is None else event.of(takes)
            if part is None or is_refused(part):
                return None
            if life.state not in states:
                self._skipped[name] = self._skipped.get(name, 0) + 1
                return None
            record.callbacks += 1
            try:
                returned = callback(part)
                if returned is None:
                    return None
                refuse_generator(returned)
            except BaseException as error:
                self._fail(name, error)
                raise
            return ended(returned) if inspect.isawaitable(returned) else None

        return call

    def _fail(self, name: str, error: BaseException) -> None:
        if not is_requested(error):
            self._judge(name, error)
