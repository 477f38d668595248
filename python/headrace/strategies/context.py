"""Desk: what an engine lends each of its strategies: orders, signals, positions, timers, subscriptions, its clock.

Guarantees: what a strategy decides carries the tick that it decided on, without the strategy's help.
Does not: judge orders (``risk``), or know the life cycle (``runner``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from headrace.errors import EngineError, OptionError
from headrace.limits import WINDOW_MIN_NS
from headrace.market.checks import TIME_MAX_NS, Duration, duration_ns, number, of_type, refuse
from headrace.market.events import Cause, Event, Signal
from headrace.market.times import YEAR_2000_NS, time_problem
from headrace.strategies.own_log import log_of

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Mapping
    from decimal import Decimal

    from headrace.bus import EventBus
    from headrace.dispatch.dispatcher import Dispatcher
    from headrace.dispatch.faults import FaultRecord
    from headrace.dispatch.options import SubscriptionOptions
    from headrace.dispatch.signature import BoundHandler
    from headrace.dispatch.subscription import Subscription
    from headrace.market.bar_history import BarArrays
    from headrace.market.bars import Bars
    from headrace.market.clock import Clock
    from headrace.market.money import Amount
    from headrace.strategies.callbacks import Callbacks
    from headrace.strategies.past_ticks import PastTicks
    from headrace.strategies.plots import Plots
    from headrace.strategies.strategy import Strategy
    from headrace.strategies.timers import Timers
    from headrace.trading.account import Account
    from headrace.trading.known_names import KnownNames
    from headrace.trading.orders import OrderManager
    from headrace.trading.orders.amends import AmendOptions
    from headrace.trading.orders.request import OrderOptions
    from headrace.trading.positions import Position, Positions

__all__ = ["ContextParts", "StrategyContext"]


@dataclass(frozen=True, kw_only=True)
class ContextParts:
    """What the strategies of one engine share. publish : publishes an event, now or when there is room."""

    bus: EventBus
    dispatcher: Dispatcher
    orders: OrderManager
    positions: Positions
    account: Account
    names: KnownNames
    clock: Clock
    timers: Timers
    bars: Bars
    plots: Plots
    run_id: str
    publish: Callable[[Event], None]


class StrategyContext:
    """What an engine provides to one strategy, for as long as its object lives.

    generation : 1 for the first object of this name, one more after each restart. record : counts its calls and faults.
    callbacks : what its timers call. past_ticks : counts the subscriptions that it drops.
    """

    def __init__(
        self,
        name: str,
        strategy: Strategy | Callable[..., object],
        parts: ContextParts,
        *,
        generation: int,
        record: FaultRecord,
        callbacks: Callbacks,
        past_ticks: PastTicks,
    ) -> None:
        self.name = name
        self.subscriptions: list[Subscription] = []
        self._strategy = strategy
        self._parts = parts
        self._generation = generation
        self._record = record
        self._made = 0
        self._is_retired = False
        self._callbacks = callbacks
        self._past_ticks = past_ticks

    @property
    def clock(self) -> Clock:
        """The engine's clock."""
        return self._parts.clock

    @cached_property
    def log(self) -> logging.Logger:
        """Its own logger."""
        return log_of(self.name)

    @cached_property
    def account(self) -> Account:
        """Its own account."""
        return self._parts.account.of(self.name)

    def cause(self) -> Cause | None:
        """Return the tick that is being handled, or that the event that is being handled goes back to."""
        for subscription in self.subscriptions:
            cause = subscription.cause()
            if cause is not None:
                return cause
        return self._parts.bus.current_cause()

    def signal(self, instrument: str, side: int, strength: float, price: float | None, reason: str) -> None:
        """Publish a signal. Raises InstrumentError for an unknown instrument, OptionError."""
        self._refuse_retired()
        self._parts.names.check_instrument(instrument)
        of_type("reason", reason, str)
        self._parts.bus.publish_nowait(
            Signal(
                source=self.name,
                ts=self._parts.clock.now_ns(),
                run_id=self._parts.run_id,
                cause=self.cause(),
                instrument=instrument,
                side=side,
                strength=number("strength", strength),
                price=None if price is None else number("price", price),
                reason=reason,
            )
        )

    def submit(self, instrument: str, side: Literal[1, -1], quantity: Amount, options: OrderOptions) -> str:
        """Send an order and return its id. Raises EngineError without a broker, and what the order manager raises."""
        self._refuse_retired()
        if self._parts.orders.broker is None:
            msg = f"strategy {self.name} has no broker for its orders: run it in headrace.Engine(broker=…), or with"
            raise EngineError(f"{msg} `headrace backtest`, which has a simulated one")
        if options:
            self._parts.orders.check_names(options)
        return self._parts.orders.submit(
            strategy=self.name, instrument=instrument, side=side, quantity=quantity, cause=self.cause(), **options
        )

    def cancel(self, order_id: str, reason: str) -> str:
        """Cancel one of its orders."""
        return self._parts.orders.cancel(order_id, strategy=self.name, reason=reason, cause=self.cause())

    def amend(self, order_id: str, options: AmendOptions) -> str:
        """Change one of its orders. Raises what the order manager raises."""
        self._refuse_retired()
        return self._parts.orders.amend(order_id, strategy=self.name, cause=self.cause(), **options)

    def position(self, instrument: str) -> Position:
        """Return its position in an instrument."""
        return self._parts.positions.position(self.name, instrument)

    def history(self, instrument: str, timeframe: str, count: int, price: str) -> BarArrays:
        """Return the latest bars of an instrument as arrays."""
        self._parts.names.check_instrument(instrument)
        return self._parts.bars.history(instrument, timeframe, count, price=price)

    def plot(self, name: str, value: float | Decimal | None, instrument: str | None) -> None:
        """Set the newest value of one of its lines. Raises InstrumentError, OptionError."""
        self._parts.plots.put(self.name, instrument, name, value)

    def set_timer(self, name: str, every: Duration | None, after: Duration | None, at_ns: int | None) -> None:
        """Set or replace a timer."""
        self._refuse_retired()
        of_type("name", name, str)
        if sum(given is not None for given in (every, after, at_ns)) != 1:
            msg = f"timer {name!r} has every={every!r}, after={after!r}, at_ns={at_ns!r}: give exactly one of them"
            raise OptionError(msg, option="every")
        now_ns = self._parts.clock.now_ns()
        interval_ns = 0
        if every is not None:
            interval_ns = duration_ns("every", every)
            if interval_ns < WINDOW_MIN_NS:
                refuse("every", every, f"a time from {WINDOW_MIN_NS:,} ns on, like '1s'")
            due_ns = (now_ns // interval_ns + 1) * interval_ns
        elif after is not None:
            due_ns = now_ns + _positive_ns("after", after)
        else:
            due_ns = _positive_ns("at_ns", at_ns or 0)
            # A clock that starts at 0, over ticks of a test, knows no unit.
            if now_ns >= YEAR_2000_NS and (problem := time_problem(due_ns)):
                msg = f"timer {name!r} has at_ns={at_ns}, {problem}"
                raise OptionError(msg, option="at_ns")
        if due_ns > TIME_MAX_NS:
            refuse("after", after, "a time that ends before the year 2262")
        self._parts.timers.set(self.name, name, due_ns, self._callbacks.on_timer, interval_ns=interval_ns)

    def cancel_timer(self, name: str) -> bool:
        """Take a timer away."""
        of_type("name", name, str)
        return self._parts.timers.cancel(self.name, name)

    def subscribe(self, options: Mapping[str, Any], callback: str | None = None) -> Subscription:
        """Add a subscription, from the newest tick on."""
        self._refuse_retired()
        return self.join(*self._parts.dispatcher.check(self._strategy, callback=callback, **options))

    def join(self, options: SubscriptionOptions, handlers: list[BoundHandler]) -> Subscription:
        """Add a subscription of what was checked before."""
        self._made += 1
        first = self._made == 1 and self._generation == 1
        name = self.name if first else f"{self.name}@{self._generation}.{self._made}"
        subscription = self._parts.dispatcher.subscribe_checked(options, handlers, name=name, record=self._record)
        self.subscriptions.append(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Drop a subscription of its own."""
        if subscription not in self.subscriptions:
            msg = f"{subscription!r} is no open subscription of {self.name}: drop what subscribe() gave, once"
            raise EngineError(msg)
        self.subscriptions.remove(subscription)
        subscription.close()
        self._past_ticks.add_dropped(subscription.stats())

    def retire(self) -> None:
        """Lend nothing more but cancels: another object has the strategy's name now."""
        self._is_retired = True

    def _refuse_retired(self) -> None:
        if self._is_retired:
            msg = (
                f"this object of strategy {self.name!r} was stopped, and a fresh one runs: let its tasks end in on_stop"
            )
            raise EngineError(msg)

    def hand_over(self) -> list[Subscription]:
        """Let go of the timers, and return the subscriptions for whoever comes next."""
        self._parts.timers.cancel_all(self.name)
        subscriptions, self.subscriptions = self.subscriptions, []
        return subscriptions


def _positive_ns(option: str, value: Duration) -> int:
    ns = duration_ns(option, value)
    if ns <= 0:
        msg = f"{option}={value!r} is not allowed: give a time above 0"
        raise OptionError(msg, option=option)
    return ns
