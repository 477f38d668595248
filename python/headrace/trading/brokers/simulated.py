"""SimulatedBroker: executes orders against quotes or candles, live in paper mode and in a replay.

::

    submit ─▶ Matching ◀─ meet · fill ─ FillModel ◀─ quotes, candles
                 └▶ OrderAccepted · OrderRejected · fills · OrderCanceled · OrderExpired

Which model fills an order
    The one of the option ``fill``. Without it: "next_open" for an instrument that has candles and has had no quote,
    "quote" for every other one. The orders of one instrument that are open together have one model.

Guarantees: nothing is random; money is Decimal; an order that the model cannot simulate is rejected at its submission.
Does not: simulate outages, or an effect of its orders on the market.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from headrace.errors import EngineError, OptionError, OrderError
from headrace.market.checks import nearest, of_type, whole
from headrace.market.clock import Mode
from headrace.market.events import Cause, OrderRejected
from headrace.market.tick import NEVER_NEWEST, Flags
from headrace.trading.brokers.costs import Costs, Fees, fees_at
from headrace.trading.brokers.fill_models import FILL_MODELS, FillModel, NextOpenFill, QuoteFill
from headrace.trading.brokers.fill_models.base import LastCandle
from headrace.trading.brokers.matching import Matching
from headrace.trading.brokers.outbox import Outbox
from headrace.trading.brokers.resting import NEVER_NS, ShownSides

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from headrace.dispatch.subscription import Subscription
    from headrace.market.candles import CandleOpen
    from headrace.market.events import Bar, OrderRequested
    from headrace.market.instrument import Instrument
    from headrace.market.money import Amount
    from headrace.trading.brokers.base import BrokerContext

__all__ = ["SimulatedBroker"]


# Quotes that say nothing new: repeated on join or after a loss, sent again by the venue, or overtaken by a newer one.
OLD_QUOTE = int(Flags.SNAPSHOT | NEVER_NEWEST)


class SimulatedBroker:
    """A broker that needs nothing but quotes or candles.

    latency_ns : how long an order or a cancel is on its way; 0: an order meets the next quote.
    maker_fee, taker_fee : a part of the notional (0.001: ten basis points), in the instrument's settlement currency; a
        maker's may be negative. An order is a taker where it fills against the first data that it meets, and with
        every fill of a market order.
    fees : by venue or instrument, in place of these two: {"BINANCE_USDM": Fees("0.0002", "0.0005")}.
    slippage_ticks, slippage_bps : how much worse than the quote a taker is filled, never beyond its limit.
    fill : "quote", "next_open", "close_slip", "path", or a FillModel of your own; None: as the data allows, see above.

    Raises OptionError.
    """

    is_paper: Final = True

    def __init__(
        self,
        *,
        latency_ns: int = 0,
        maker_fee: Amount = 0,
        taker_fee: Amount = 0,
        slippage_ticks: int = 0,
        slippage_bps: Amount = 0,
        fill: str | FillModel | None = None,
        fees: Mapping[str, Fees] = MappingProxyType({}),
        name: str = "simulated",
    ) -> None:
        self._costs = Costs(fees_at(maker_fee, taker_fee), fees, slippage_ticks, slippage_bps)
        of_type("name", name, str)
        self._name = name
        self._fill = None if fill is None else _model(fill)
        self._for_quotes, self._for_candles = QuoteFill(), NextOpenFill()
        self._outbox = Outbox(name)
        latency_ns = whole("latency_ns", latency_ns, 0, 1 << 62, "ns")
        self._matching = Matching(self._outbox, self._costs, latency_ns, self._doze)
        self._subscription: Subscription | None = None
        # By instrument, what is known of its candles.
        self._last_opens: dict[str, CandleOpen] = {}
        self._last_candles: dict[str, Bar] = {}

    @property
    def name(self) -> str:
        """What events and reports call it."""
        return self._name

    @property
    def open_orders(self) -> tuple[str, ...]:
        """The ids of the orders that it has, in the order in which they came."""
        return tuple(self._matching.orders)

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
            self._subscription = context.dispatcher.subscribe(
                self._on_quote,
                callback="on_quote",
                name=f"{self._name} broker",
                # Live it never holds the feed for others: a quote that is lost to it is one that nobody traded on.
                overflow="block" if context.mode is Mode.REPLAY else "drop_oldest",
            )
            self._subscription.doze()

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
        if self._subscription is not None:
            self._subscription.wake()
        last = LastCandle(self._last_opens.get(order.instrument), self._last_candles.get(order.instrument))
        matching.at[order.instrument].model.on_order(accepted, last, matching)

    def fill_at(self, order: OrderRequested, price: Decimal) -> None:
        """Take an order that closes a position, and fill all of it at this price, now, as a taker; in a liquidation."""
        accepted = self._matching.add(order, self._model_of(order.instrument))
        self._matching.fill_at(accepted, price)

    def cancel(self, order_id: str, cause: Cause | None = None) -> None:
        """Cancel an order, after the latency; one that is over stays as it is. Raises LaneFullError."""
        self._matching.cancel(order_id, cause)

    def close(self) -> None:
        """Leave the ticks; open orders stay as they are."""
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None

    def on_candles_open(self, opens: Sequence[CandleOpen]) -> None:
        """Fill what the opens of candles allow."""
        matching = self._matching
        if matching.look_ns != NEVER_NS:
            matching.end_due()
        for own in opens:
            self._last_opens[own.instrument] = own
            orders = matching.at.get(own.instrument)
            if orders is not None and not orders.is_empty:
                orders.model.on_open(orders, own, matching)

    def on_candles_close(self, candles: Sequence[Bar]) -> None:
        """Fill what whole candles allow."""
        matching = self._matching
        if matching.look_ns != NEVER_NS:
            matching.end_due()
        for own in candles:
            self._last_candles[own.instrument] = own
            orders = matching.at.get(own.instrument)
            if orders is not None and not orders.is_empty:
                orders.model.on_close(orders, own, matching)

    def _model_of(self, instrument: str) -> FillModel:
        """Return the model for an instrument that has no open orders."""
        if self._fill is not None:
            return self._fill
        context = self._outbox.context
        if instrument not in context.candles:
            return self._for_quotes
        has_quotes = context.dispatcher is not None and context.dispatcher.newest_quote(instrument) is not None
        return self._for_quotes if has_quotes else self._for_candles

    def _refusal(self, order: OrderRequested, model: FillModel) -> tuple[str, str] | None:
        """Return what it sees, and why it cannot fill this order."""
        if self._subscription is None:
            return "no quotes", "the simulated broker fills against quotes: give the engine a feed"
        if order.order_type not in model.order_types:
            known = ", ".join(sorted(model.order_types))
            return (
                order.order_type,
                f"the fill model {model.name} simulates {known} orders: choose one, or another fill=",
            )
        if "quote" not in model.sees and order.instrument not in self._outbox.context.candles:
            return "no candles", f"the fill model {model.name} fills from candles: give the engine a CandleFeed of it"
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
        if orders is None or flags & OLD_QUOTE or not orders.sees_quotes or not orders.concerns(bid_price, ask_price):
            return
        quote = Cause(instrument, "quote", seq, seq, ts_init)
        orders.model.on_quote(orders, quote, ShownSides(bid_price, bid_size, ask_price, ask_size), matching)

    def _doze(self) -> None:
        """Take no quotes while there are no orders."""
        if self._subscription is not None:
            self._subscription.doze()


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
