"""SimulatedBroker: executes orders against quotes, trades, books or candles, live in paper mode and in a replay.

::

    submit ─▶ Matching ◀─ meet · trigger ─ FillModel ◀─ quotes, trades, books, candles
    amend ─▶     └▶ OrderAccepted · OrderRejected · OrderTriggered · fills · OrderAmended · OrderCanceled · OrderExpired

Which model fills an order
    The one of the option ``fill``, for its instrument. Without it: "next_open" for an instrument that has candles and
    has had no quote, "quote" for every other one. The orders of one instrument that are open together have one model.

Guarantees: what is random follows from a seed; money is Decimal; an order that the model cannot simulate is rejected at
its submission.
Does not: simulate outages, or an effect of its orders on the market.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from headrace.errors import EngineError, OptionError, OrderError
from headrace.market.checks import nearest, of_type
from headrace.market.clock import Mode
from headrace.market.events import Cause, OrderRejected
from headrace.market.tick import NEVER_NEWEST, Flags
from headrace.trading.brokers.costs import Costs, fees_at
from headrace.trading.brokers.fees import Fees, FeeTiers, share_of
from headrace.trading.brokers.fill_models import FILL_MODELS, FillModel, NextOpenFill, QuoteFill
from headrace.trading.brokers.fill_models.base import LastCandle, Trade
from headrace.trading.brokers.latency import AnyLatency, Delays
from headrace.trading.brokers.matching import Matching
from headrace.trading.brokers.outbox import Outbox
from headrace.trading.brokers.resting import NEVER_NS, ShownSide, ShownSides
from headrace.trading.own_reader import subscribe_own

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from decimal import Decimal

    from headrace._native import Book
    from headrace.dispatch.dispatcher import Dispatcher
    from headrace.dispatch.subscription import Subscription
    from headrace.market.candles import CandleOpen
    from headrace.market.events import Bar, OrderAmendRequested, OrderRequested
    from headrace.market.instrument import Instrument
    from headrace.market.money import Amount
    from headrace.trading.brokers.base import BrokerContext
    from headrace.trading.brokers.resting import RestingOrder, RestingOrders

__all__ = ["SimulatedBroker"]


# Quotes that say nothing new: repeated on join or after a loss, sent again by the venue, or overtaken by a newer one.
OLD_QUOTE = int(Flags.SNAPSHOT | NEVER_NEWEST)


class SimulatedBroker:
    """A broker that needs nothing but quotes or candles.

    latency_ns : how long an order, an amend or a cancel is on its way; 0: an order meets the next quote. Also a
        NormalLatency, a FileLatency, or these by venue or instrument, "*" for all others.
    maker_fee, taker_fee : a part of the notional (0.001: ten basis points), in the instrument's settlement currency; a
        maker's may be negative. An order is a taker where it fills against the first data that it meets, and with
        every fill of a market order.
    fees : by venue or instrument, in place of these two: {"BINANCE_USDM": Fees("0.0002", "0.0005")}; or FeeTiers.
    slippage_ticks, slippage_bps : how much worse than the quote a taker is filled, never beyond its limit.
    fill : "quote", "trade_through", "queue", "book_walk", "next_open", "close_slip", "path", or a FillModel of your
        own; or these by venue or instrument, "*" for all others; None: as the data allows, see above.
    volume_share_max : the part of a candle's volume that orders may fill, all together, as 0.1; None: they fill whole.

    Raises OptionError.
    """

    is_paper: Final = True

    def __init__(
        self,
        *,
        latency_ns: AnyLatency | Mapping[str, AnyLatency] = 0,
        maker_fee: Amount = 0,
        taker_fee: Amount = 0,
        slippage_ticks: int = 0,
        slippage_bps: Amount = 0,
        fill: str | FillModel | Mapping[str, str | FillModel] | None = None,
        fees: Mapping[str, Fees | FeeTiers] = MappingProxyType({}),
        volume_share_max: Amount | None = None,
        name: str = "simulated",
    ) -> None:
        self._costs = Costs(fees_at(maker_fee, taker_fee), fees, slippage_ticks, slippage_bps)
        of_type("name", name, str)
        self._name = name
        self._fills = _models(fill)
        self._for_quotes, self._for_candles = QuoteFill(), NextOpenFill()
        self._outbox = Outbox(name)
        share = None if volume_share_max is None else share_of(volume_share_max)
        self._matching = Matching(self._outbox, self._costs, Delays(latency_ns), self._doze, share)
        # Those that sleep while there are no orders, that of quotes first; a book needs every level.
        self._subscriptions: list[Subscription] = []
        # A model that sees each quote looks at those of instruments without orders, too.
        self._sees_each_quote = any(model.sees_each_quote for model in self._fills.values())
        self._books: Subscription | None = None
        self._with_books: set[str] = set()
        # By instrument, the kind of trade that came first: the other one tells the same trades again.
        self._trade_kinds: dict[str, str] = {}

    @property
    def name(self) -> str:
        """What events and reports call it."""
        return self._name

    @property
    def open_orders(self) -> tuple[str, ...]:
        """The ids of the orders that it has, in the order in which they came."""
        return tuple(self._matching.orders)

    @property
    def orders(self) -> Mapping[str, RestingOrder]:
        """The orders that it has, by id, as they are at each look; where there are none, candles change nothing."""
        return self._matching.orders

    def fee(self, instrument: Instrument, quantity: Decimal, price: Decimal) -> Decimal:
        """Return what an execution would cost at most: the fee of a taker."""
        return self._costs.fee(instrument, quantity, price, "taker")

    # The broker's protocol

    def attach(self, context: BrokerContext) -> None:
        """Subscribe to quotes, before the strategies, so that orders meet a quote before its handlers run.

        Raises EngineError: another engine had this broker.
        """
        if self._outbox.is_attached:
            msg = (
                f"the {self._name} broker keeps orders and positions of the engine that had it: "
                "make a new SimulatedBroker for each engine"
            )
            raise EngineError(msg)
        self._outbox.attach(context)
        self._matching.known = context.instruments
        if context.dispatcher is not None:
            self._subscribe(context.dispatcher, context.mode)

    def _subscribe(self, dispatcher: Dispatcher, mode: Mode) -> None:
        """Subscribe to what the fill models see. A trade comes behind the quotes that were published before it."""
        seen = {data for model in self._fills.values() for data in model.sees}
        handlers: dict[str, Callable[..., None]] = {"on_quote": self._on_quote}
        if "trade" in seen:
            handlers |= {"on_trade": self._on_trade, "on_agg_trade": self._on_agg_trade}
        if "book" in seen:
            handlers["on_book"] = self._on_book
        for callback, handler in handlers.items():
            what = "" if callback == "on_quote" else f" {callback.removeprefix('on_')}s"
            # Live a quote that is lost to it is one that nobody traded on.
            name = f"{self._name} broker{what}"
            subscription = subscribe_own(dispatcher, mode, handler, callback=callback, name=name)
            if callback == "on_book":
                self._books = subscription
            else:
                self._subscriptions.append(subscription)
                subscription.doze()

    def submit(self, order: OrderRequested) -> None:
        """Take an order; it meets data from the next on. Raises OrderError (an id twice)."""
        matching = self._matching
        if order.order_id in matching.orders:
            msg = f"the {self._name} broker has an order {order.order_id!r} already: each order has an id of its own"
            raise OrderError(msg, field="order_id")
        model = self._model_of(order.instrument)
        if refusal := self._refusal(order, model):
            observed, reason = refusal
            matching.answer(
                OrderRejected(
                    **self._outbox.said(order),
                    gate="broker",
                    observed=observed,
                    threshold="what can be filled",
                    reason=reason,
                )
            )
            return
        accepted = matching.add(order, model)
        if order.instrument in self._with_books:
            self._use_book(matching.at[order.instrument])
        self._wake(order.instrument)
        last = LastCandle(*self._outbox.context.newest_candles(order.instrument))
        matching.at[order.instrument].model.on_order(accepted, last, matching)

    def fill_at(self, order: OrderRequested, price: Decimal) -> None:
        """Take an order that closes a position, and fill all of it at this price, now, as a taker; in a liquidation."""
        accepted = self._matching.add(order, self._model_of(order.instrument))
        self._matching.fill_at(accepted, price)

    def cancel(self, order_id: str, cause: Cause | None = None) -> None:
        """Cancel an order, after the latency; one that is over stays as it is. Raises LaneFullError."""
        self._matching.cancel(order_id, cause)

    def amend(self, change: OrderAmendRequested) -> None:
        """Change an order, after the latency; one that is over stays as it is."""
        self._matching.amend(change)

    def close(self) -> None:
        """Leave the ticks; open orders stay as they are."""
        for subscription in (*self._subscriptions, *([] if self._books is None else [self._books])):
            subscription.close()
        self._subscriptions, self._books = [], None

    def on_candles_open(self, opens: Sequence[CandleOpen]) -> None:
        """Fill what the opens of candles allow."""
        matching = self._matching
        if matching.look_ns != NEVER_NS:
            matching.end_due()
        for own in opens:
            orders = matching.at.get(own.instrument)
            if orders is not None and not orders.is_empty:
                orders.model.on_open(orders, own, matching)

    def on_candles_close(self, candles: Sequence[Bar]) -> None:
        """Fill what whole candles allow. What ends at a close was open in all of its candle: its timer comes later."""
        matching = self._matching
        for own in candles:
            orders = matching.at.get(own.instrument)
            if orders is not None and not orders.is_empty:
                orders.model.on_close(orders, own, matching)

    def _model_of(self, instrument: str) -> FillModel:
        """Return the model for an instrument that has no open orders."""
        if self._fills:
            own = self._fills.get(instrument) or self._fills.get(instrument.rpartition(".")[2]) or self._fills.get("*")
            if own is not None:
                return own
        context = self._outbox.context
        if instrument not in context.candles:
            return self._for_quotes
        return self._for_quotes if self._has_quotes(instrument) else self._for_candles

    def _has_quotes(self, instrument: str) -> bool:
        """Return whether there was a quote."""
        dispatcher = self._outbox.context.dispatcher
        return dispatcher is not None and dispatcher.newest.quote(instrument) is not None

    def _refusal(self, order: OrderRequested, model: FillModel) -> tuple[str, str] | None:
        """Return what it sees, and why it cannot fill this order."""
        if not self._subscriptions:
            return "no quotes", "the simulated broker fills against quotes: give the engine a feed"
        if order.order_type not in model.order_types:
            known = ", ".join(sorted(model.order_types))
            return (
                order.order_type,
                f"the fill model {model.name} simulates {known} orders: choose one, or another fill=",
            )
        if "quote" not in model.sees and order.instrument not in self._outbox.context.candles:
            return "no candles", f"the fill model {model.name} fills from candles: give the engine a CandleFeed of it"
        is_of_candles = order.instrument in self._outbox.context.candles and not self._has_quotes(order.instrument)
        if is_of_candles and "candle" not in model.sees:
            advice = "choose next_open, close_slip or path, or give the engine its quotes, too"
            return "no quotes", f"the fill model {model.name} fills from no candles: {advice}"
        if self._costs.needs_tick(self._matching.known.get(order.instrument)):
            lines = f'[instruments."{order.instrument}"]\nprice_tick = "0.01"'
            return "no price_tick", f"slippage_ticks needs the instrument's price_tick; add:\n{lines}"
        return None

    def _on_quote(
        self,
        instrument: str,
        bid_price: float,
        ask_price: float,
        bid_size: float,
        ask_size: float,
        seq: int,
        ts_init: int,
        flags: int,
    ) -> None:
        matching = self._matching
        if matching.look_ns != NEVER_NS:
            matching.end_due()
        orders = matching.at.get(instrument)
        if orders is None or flags & OLD_QUOTE or not orders.sees_quotes:
            return
        if not (orders.concerns(bid_price, ask_price) or orders.sees_each_quote):
            return
        quote = Cause(instrument, "quote", seq, seq, ts_init)
        orders.model.on_quote(orders, quote, ShownSides(bid_price, bid_size, ask_price, ask_size), matching)

    def _on_trade(
        self, instrument: str, price: float, size: float, aggressor_side: int, seq: int, ts_init: int, flags: int
    ) -> None:
        if not flags & NEVER_NEWEST and self._trade_kinds.setdefault(instrument, "trade") == "trade":
            self._see_trade(Cause(instrument, "trade", seq, seq, ts_init), price, size, aggressor_side)

    def _on_agg_trade(
        self, instrument: str, price: float, size: float, aggressor_side: int, seq: int, ts_init: int, flags: int
    ) -> None:
        if not flags & NEVER_NEWEST and self._trade_kinds.setdefault(instrument, "agg_trade") == "agg_trade":
            self._see_trade(Cause(instrument, "agg_trade", seq, seq, ts_init), price, size, aggressor_side)

    def _see_trade(self, seen: Cause, price: float, size: float, aggressor_side: int) -> None:
        matching = self._matching
        if matching.look_ns != NEVER_NS:
            matching.end_due()
        assert seen.instrument is not None  # A trade is of one instrument.
        orders = matching.at.get(seen.instrument)
        if orders is None or orders.is_empty or "trade" not in orders.model.sees:
            return
        shown = ShownSide(price, size)
        orders.model.on_trade(orders, Trade(seen, shown.price, shown.left, aggressor_side), matching)

    def _on_book(self, instrument: str, book: Book, seq: int, ts_init: int) -> None:
        matching = self._matching
        if matching.look_ns != NEVER_NS:
            matching.end_due()
        orders = matching.at.get(instrument)
        self._with_books.add(instrument)
        if orders is None or orders.is_empty:
            return
        self._use_book(orders)
        if "book" in orders.model.sees:
            orders.model.on_book(orders, Cause(instrument, "level", seq, seq, ts_init), book, matching)

    @staticmethod
    def _use_book(orders: RestingOrders) -> None:
        """Show orders no quotes where their model sees the book, of which quotes are a part."""
        orders.sees_quotes = orders.sees_quotes and "book" not in orders.model.sees

    def _wake(self, instrument: str) -> None:
        """Take what an order may meet: quotes of its instrument, and trades; without timers it ends by any quote."""
        quotes, *trades = self._subscriptions
        needs_each = self._sees_each_quote or self._outbox.context.call_at is None
        quotes.wake(None if needs_each else instrument)
        for subscription in trades:
            subscription.wake()

    def _doze(self, instrument: str) -> None:
        """Take no quotes of an instrument without orders, and nothing while there are no orders at all."""
        one = instrument if self._matching.orders else None
        for subscription in self._subscriptions[: 1 if one else None]:
            subscription.doze(one)


def _models(fill: object) -> dict[str, FillModel]:
    """Return fill models by venue or instrument, "*" for all others. Raises OptionError."""
    if fill is None:
        return {}
    return {name: _model(own) for name, own in (fill if isinstance(fill, Mapping) else {"*": fill}).items()}


def _model(fill: object) -> FillModel:
    """Return a fill model by its name, or as it is. Raises OptionError."""
    if isinstance(fill, str):
        if fill not in FILL_MODELS:
            msg = f"fill={fill!r} is unknown{nearest(fill, FILL_MODELS)}: use {', '.join(FILL_MODELS)}, or a FillModel"
            raise OptionError(msg, option="fill")
        return FILL_MODELS[fill]()
    of_type("fill", fill, FillModel)
    assert isinstance(fill, FillModel)
    return fill
