"""Strategy: a plain class that declares handlers, and in an Engine has orders, signals, timers and a life cycle.

::

    class Momentum(headrace.Strategy):
        bars = ("1m",)
        def on_start(self): self.set_timer("report", every="1m")
        def on_quote(self, instrument, bid_price, ask_price): ...  # `dispatch.signature`: what a handler may declare
        def on_bar(self, bar): self.buy(bar.instrument, "0.01")
        def on_fill(self, fill): self.log.info("%s at %s", fill.quantity, fill.price)

Guarantees: nothing is wrapped or registered: ``strategy.on_quote("BTCUSDT.BINANCE", 1.0, 2.0)`` is a unit test; a
method that needs an engine raises EngineError without one.
Does not: bind handlers (``dispatch.signature``) or run (``runner``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Generic, Never, Self, TypeVar, Unpack, overload

from headrace.errors import EngineError, OptionError, OrderError
from headrace.market.checks import unnamed

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable
    from decimal import Decimal

    from headrace.dispatch.options import SubscribeOptions
    from headrace.dispatch.subscription import Subscription
    from headrace.market.bar_history import BarArrays
    from headrace.market.checks import Duration
    from headrace.market.clock import Clock
    from headrace.market.money import Amount
    from headrace.strategies.context import StrategyContext
    from headrace.trading.account import Account
    from headrace.trading.orders.amends import AmendOptions
    from headrace.trading.orders.request import OrderOptions
    from headrace.trading.positions import Position

__all__ = ["Strategy"]

T = TypeVar("T")


class Provided(Generic[T]):
    """An attribute that the engine of the object provides: of another engine, another value.

    Not a property, so that a strategy may assign an attribute of its own with this name.
    """

    def __init__(self, read: Callable[[Strategy], T]) -> None:
        self.func = read
        self.__doc__ = read.__doc__

    @overload
    def __get__(self, strategy: None, owner: type) -> Self: ...

    @overload
    def __get__(self, strategy: Strategy, owner: type) -> T: ...

    def __get__(self, strategy: Strategy | None, owner: type) -> Self | T:
        return self if strategy is None else self.func(strategy)


class Strategy:
    """A trading strategy: subclass it and write handlers. The base class has none.

    subscription : this class's defaults for the options of ``Dispatcher.subscribe``, e.g.
        ``{"instruments": "BTCUSDT.*", "every": "100ms"}``.
    bars : the bars of its instruments that ``on_bar`` gets, and ``on_bars`` as frames of one time: timeframes,
        ``("1m", "100t")``, or BarSpec objects.

    The methods below need an Engine, and raise EngineError without one.
    """

    subscription: ClassVar[Mapping[str, object]] = {}
    bars: ClassVar[Sequence[object]] = ()

    _context: StrategyContext | None = None

    def signal(
        self,
        instrument: str,
        side: int,
        *values: Never,
        strength: float = 1.0,
        price: float | None = None,
        reason: str = "",
    ) -> None:
        """Publish a Signal: side +1 buy, -1 sell, 0 close the position. Its cause is the tick that is being handled.

        Raises OptionError, and LaneFullError: then it was not published.
        """
        if values:
            raise OptionError(unnamed("signal", values, "strength="), option="strength")
        self._lent("signal").signal(instrument, side, strength, price, reason)

    def buy(self, instrument: str, quantity: Amount, *values: Never, **options: Unpack[OrderOptions]) -> str:
        """Send an order to buy and return its id; ``on_order`` and ``on_fill`` report what becomes of it.

        quantity : Decimal, int, text, or a float of any width, which is read as its shortest decimal text.
        price : the limit; None: it takes the market's price. At most one of the next three makes the order wait:
            stop : until the market is at or beyond this price, on the losing side (a buy waits for a rise).
            take_profit : the same on the winning side (a buy waits for a fall). trail : a stop that follows the best
            price since the order's arrival at this distance, 5, or at this part of it, "2%". limit_offset : with
            trail, how far beyond the trigger the limit lies that the order has from then on.
        time_in_force : "gtc" rests until it is canceled, "gtd" until expires_after or expires_ns; "ioc" fills what it
            can at once, the rest is canceled; "fok" fills at once and whole, or is canceled.
            expires_after : "30s", or ns: a resting order expires then.
            expires_ns : the same, as a time of the engine's clock.
        reduce_only : the order may not add exposure. post_only : it is canceled where it would take.
            oco : the id of an open order of the strategy in the instrument: what one of both fills, the other loses.
            tag : a word of your own, up to 64 characters, that results show with the order and its round trip.

        Raises EngineError (no broker), OrderError (an invalid order) and LaneFullError; then there is no order.
        """
        if values:
            raise OrderError(unnamed("buy", values, "price="), field="price")
        return self._lent("buy").submit(instrument, 1, quantity, options)

    def sell(self, instrument: str, quantity: Amount, *values: Never, **options: Unpack[OrderOptions]) -> str:
        """Send an order to sell; as ``buy``."""
        if values:
            raise OrderError(unnamed("sell", values, "price="), field="price")
        return self._lent("sell").submit(instrument, -1, quantity, options)

    def cancel(self, order_id: str, *values: Never, reason: str = "") -> str:
        """Cancel an order: "accepted" (on its way), "noop" (it has ended), "rejected" (another strategy's order).

        Raises OrderError for an id that was never given.
        """
        if values:
            raise OrderError(unnamed("cancel", values, "reason="), field="reason")
        return self._lent("cancel").cancel(order_id, reason)

    def amend(self, order_id: str, *values: Never, **options: Unpack[AmendOptions]) -> str:
        """Change an open order: "accepted" (judged like an order; ``on_order`` reports the rest), else as ``cancel``.

        quantity : the whole, with what is filled already. price, stop, take_profit, trail : as in ``buy``, where the
            order has one; what is not given stays. A smaller quantity alone keeps the order's place in its queue.

        Raises OrderError (an id that was never given, a value that the order cannot have) and LaneFullError.
        """
        if values:
            raise OrderError(unnamed("amend", values, "price="), field="price")
        return self._lent("amend").amend(order_id, options)

    def position(self, instrument: str) -> Position:
        """Return the strategy's position in an instrument; flat when it never had one.

        instrument : ``SYMBOL.VENUE``, as handlers get it. Raises InstrumentError with the nearest name for one that is
        neither configured, named exactly in a subscription, announced by a feed nor seen.
        """
        return self._lent("position").position(instrument)

    # A cached property can be assigned: a strategy may have a ``log`` of its own.
    @Provided
    def account(self) -> Account:
        """The strategy's own profit, fees and equity, per currency."""
        return self._lent("account").account

    @Provided
    def clock(self) -> Clock:
        """The engine's clock, which stands still while ticks of one turn are handled."""
        return self._lent("clock").clock

    @Provided
    def log(self) -> logging.Logger:
        """The strategy's own logger, ``headrace.strategies.strategy.NAME``."""
        return self._lent("log").log

    def history(self, instrument: str, timeframe: str, n: int, *, price: str = "trade") -> BarArrays:
        """Return the latest ``n`` bars that have closed as read-only arrays, the oldest first.

        n : 1..10,000; fewer come where there are fewer. The bar that is being handled is the last one.
        Raises OptionError: no strategy takes such bars.
        """
        return self._lent("history").history(instrument, timeframe, n, price)

    def plot(self, name: str, value: float | Decimal | None, *values: Never, instrument: str | None = None) -> None:
        """Draw a line on the dashboard: set its newest value, which a served page samples once a second.

        name : of the line, 1 to 64 characters. value : None, NaN or an infinity breaks the line.
        instrument : on whose price chart it is drawn, beside its fills; None: on a chart of the strategy's own.
        It costs some 0.8 µs, also when nobody looks; values between two samples are not shown.
        Raises InstrumentError; OptionError for no number, and for more than 16 lines of one strategy.
        """
        if values:
            raise OptionError(unnamed("plot", values, "instrument="), option="instrument")
        self._lent("plot").plot(name, value, instrument)

    def set_timer(
        self,
        name: str,
        *values: Never,
        every: Duration | None = None,
        after: Duration | None = None,
        at_ns: int | None = None,
    ) -> None:
        """Set a timer that calls ``on_timer``: every "1s" (aligned to the clock), after "500ms", or once at ``at_ns``.

        A timer of the same name is replaced. Raises OptionError, and EngineError when timers were set for the time now
        10,000 times in a row, each by the one before.
        """
        if values:
            raise OptionError(unnamed("set_timer", values, "every="), option="every")
        self._lent("set_timer").set_timer(name, every, after, at_ns)

    def cancel_timer(self, name: str) -> bool:
        """Cancel a timer; False: there was none of that name."""
        return self._lent("cancel_timer").cancel_timer(name)

    def subscribe(self, **options: Unpack[SubscribeOptions]) -> Subscription:
        """Add a subscription of its handlers, from the newest tick on; ``Dispatcher.subscribe`` has the options.

        When two of its subscriptions match the same tick, the handlers are called twice.
        """
        return self._lent("subscribe").subscribe(options)

    def unsubscribe(self, subscription: Subscription) -> None:
        """Close a subscription that ``subscribe`` returned."""
        self._lent("unsubscribe").unsubscribe(subscription)

    def _lent(self, what: str) -> StrategyContext:
        if self._context is None:
            name = type(self).__name__
            msg = f"{name}.{what} needs an engine: run it with headrace.Engine(strategies=[{name}(...)])"
            raise EngineError(msg)
        return self._context
