"""Orders in an engine: what a strategy asks for, through gates and broker, to its position and its callbacks."""

from __future__ import annotations

from decimal import Decimal

from headrace import Strategy, ticks
from headrace.brokers import SimulatedBroker
from headrace.engine import Engine
from headrace.events import OrderEvent, OrderFill
from headrace.orders import OrderState
from tests.feeding import BTC
from tests.trading import KNOWN, WIDE, S

D = Decimal


class Resting(Strategy):
    """Rests an order that no quote will reach, for two seconds, and writes down what it hears and when."""

    def __init__(self) -> None:
        self.order = ""
        self.heard: list[tuple[str, int]] = []

    def on_quote(self, instrument):
        if not self.order:
            self.order = self.buy(instrument, 1, price=90, expires_after="2s")

    def on_order(self, event: OrderEvent):
        self.heard.append((type(event).__name__, self.clock.now_ns()))


def replayed(strategy: Strategy, seconds: list[float], bids: list[float], broker: SimulatedBroker) -> Engine:
    quotes = ticks(
        instrument=BTC,
        ts_init=[round(at * S) for at in seconds],
        bid_price=bids,
        ask_price=[bid + 1 for bid in bids],
        bid_size=1.0,
        ask_size=1.0,
    )
    engine = Engine(feeds=quotes, strategies=[strategy], broker=broker, instruments=KNOWN, limits=WIDE, replay=True)
    engine.run()
    return engine


def test_an_order_expires_at_its_own_time_between_two_quotes() -> None:
    resting = Resting()
    engine = replayed(resting, [1, 10], [99.0, 99.0], SimulatedBroker())
    assert resting.heard == [("OrderRequested", S), ("OrderAccepted", S), ("OrderExpired", 3 * S)]
    order = engine.orders.order(resting.order)
    assert order is not None
    assert order.state is OrderState.EXPIRED


class Once(Strategy):
    """Buys at the first quote, and follows each fill back to the tick it decided on."""

    def __init__(self) -> None:
        self.decided: int | None = None
        self.fills: list[object] = []

    def on_quote(self, instrument, seq):
        if self.decided is None:
            self.decided = seq
            self.buy(instrument, 2)

    def on_fill(self, fill: OrderFill):
        self.fills.append((fill.cause and fill.cause.last, fill.quote and fill.quote.last, self.position(BTC).quantity))


def test_a_fill_names_the_tick_it_goes_back_to_and_the_position_is_that_after_it() -> None:
    once = Once()
    replayed(once, [1, 2, 3, 4], [99.0] * 4, SimulatedBroker())
    assert once.decided == 1
    assert once.fills == [(1, 2, D(1)), (1, 3, D(2))]


def test_slippage_in_ticks_knows_the_engines_instruments() -> None:
    engine = replayed(Once(), [1, 2, 3, 4], [99.0] * 4, SimulatedBroker(slippage_ticks=2))
    assert engine.positions.position("Once", BTC).average_price == 101
