"""Strategy: a plain class that declares handlers, and in an Engine has orders, signals, timers and a life cycle.

::

    class Momentum(headrace.Strategy):
        bars = ("1m",)
        def on_start(self): self.set_timer("report", every="1m")
        def on_quote(self, instrument, bid_price, ask_price): ...  # `handlers` says what handlers may take
        def on_bar(self, bar): self.buy(bar.instrument, "0.01")
        def on_fill(self, fill): self.log.info("%s at %s", fill.quantity, fill.price)

Guarantees: nothing is wrapped or registered: ``strategy.on_quote("BTCUSDT.BINANCE", 1.0, 2.0)`` is a unit test; what
needs an engine says so without one.
Does not: read handlers (``handlers``) or run (``runner``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal, TypedDict, Unpack

from headrace.errors import EngineError
from headrace.market.money import Amount

if TYPE_CHECKING:
    import logging

    from headrace.dispatch.subscription import SubscribeOptions, Subscription
    from headrace.market.checks import Duration
    from headrace.market.clock import Clock
    from headrace.strategies.context import StrategyContext
    from headrace.trading.positions import Position

__all__ = ["OrderOptions", "Strategy"]


class OrderOptions(TypedDict, total=False):
    """What ``buy`` and ``sell`` take beside instrument and quantity; there it says what each means."""

    price: Amount | None
    time_in_force: Literal["gtc", "ioc"]
    expires_after: Duration | None
    reduce_only: bool


class Strategy:
    """A trading strategy: subclass it and write handlers. It declares none itself.

    subscription : options that ``Dispatcher.subscribe`` takes for this class unless the call says otherwise, e.g.
        ``{"instruments": "BTCUSDT.*", "every": "100ms"}``.
    bars : timeframes of the bars that ``on_bar`` gets, of its instruments: ``("1m", "100t")``, or BarSpec objects.

    What follows needs an Engine, and raises EngineError without one.
    """

    subscription: ClassVar[Mapping[str, object]] = {}
    bars: ClassVar[Sequence[object]] = ()

    _context: StrategyContext | None = None

    def signal(
        self, instrument: str, side: int, *, strength: float = 1.0, price: float | None = None, reason: str = ""
    ) -> None:
        """Publish a Signal: side +1 buy, -1 sell, 0 get out. Its cause is the tick that is being handled.

        Raises LaneFullError: then it was not published.
        """
        self._lent("signal").signal(instrument, side, strength, price, reason)

    def buy(self, instrument: str, quantity: Amount, **options: Unpack[OrderOptions]) -> str:
        """Send an order to buy and return its id; what becomes of it comes to ``on_order`` and ``on_fill``.

        quantity : Decimal, int, text, or a float, which counts as the shortest text that names it.
        price : the limit; none: a market order. time_in_force : "gtc" rests until it is canceled, "ioc" fills at once
            what it can. expires_after : "30s", or ns: a resting order ends then. reduce_only : may not add exposure.

        Raises OrderError (what cannot be an order) and LaneFullError; then there is no order.
        """
        return self._lent("buy").submit(instrument, 1, quantity, options)

    def sell(self, instrument: str, quantity: Amount, **options: Unpack[OrderOptions]) -> str:
        """Send an order to sell; as ``buy``."""
        return self._lent("sell").submit(instrument, -1, quantity, options)

    def cancel(self, order_id: str, *, reason: str = "") -> str:
        """Cancel one of its orders: "accepted" (on its way), "noop" (over already), "rejected" (not its order)."""
        return self._lent("cancel").cancel(order_id, reason)

    def position(self, instrument: str) -> Position:
        """Return its position in an instrument; flat when it never had one."""
        return self._lent("position").position(instrument)

    # Cached, and with it open to assignment: a strategy may have a ``log`` of its own.
    @cached_property
    def clock(self) -> Clock:
        """The engine's clock, which stands still while ticks of one turn are handled."""
        return self._lent("clock").clock

    @cached_property
    def log(self) -> logging.Logger:
        """A logger of its own, ``headrace.strategies.strategy.NAME``."""
        return self._lent("log").log

    def set_timer(
        self,
        name: str,
        *,
        every: Duration | None = None,
        after: Duration | None = None,
        at_ns: int | None = None,
    ) -> None:
        """Have ``on_timer`` called: every "1s" (aligned to the clock), after "500ms", or once at ``at_ns``.

        A timer of the same name is replaced. Raises OptionError.
        """
        self._lent("set_timer").set_timer(name, every, after, at_ns)

    def cancel_timer(self, name: str) -> bool:
        """Take a timer away; False: there was none of that name."""
        return self._lent("cancel_timer").cancel_timer(name)

    def subscribe(self, **options: Unpack[SubscribeOptions]) -> Subscription:
        """Add a subscription to its handlers, from the newest tick on; ``Dispatcher.subscribe`` says the options.

        Where two of its subscriptions want the same tick, the handlers are called twice.
        """
        return self._lent("subscribe").subscribe(options)

    def unsubscribe(self, subscription: Subscription) -> None:
        """Drop a subscription that ``subscribe`` gave."""
        self._lent("unsubscribe").unsubscribe(subscription)

    def _lent(self, what: str) -> StrategyContext:
        if self._context is None:
            name = type(self).__name__
            msg = f"{name}.{what} needs an engine: run it with headrace.Engine(strategies=[{name}(...)])"
            raise EngineError(msg)
        return self._context
