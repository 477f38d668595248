"""Orders in an engine: from a strategy's request through gates and broker to its position and its callbacks."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import ClassVar

import msgspec

from headrace import Instruments, Strategy, ticks
from headrace.engine.engine import Engine
from headrace.feeds import ArrayFeed
from headrace.market.events import Event, OrderEvent, OrderFill, OrderRejected
from headrace.trading.brokers import BrokerContext, SimulatedBroker
from headrace.trading.orders import OrderState
from tests.support.engines import FAST
from tests.support.feeding import BTC
from tests.support.trading import KNOWN, WIDE, S

D = Decimal


class Resting(Strategy):
    """Rests an order for two seconds that no quote reaches, and notes each order event with its time."""

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
    engine = Engine(feeds=quotes, strategies=[strategy], broker=broker, instruments=KNOWN, limits=WIDE, mode="replay")
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
    """Buys at the first quote, and keeps the cause of each fill."""

    def __init__(self) -> None:
        self.decided: int | None = None
        self.fills: list[object] = []

    def on_quote(self, instrument, seq):
        if self.decided is None:
            self.decided = seq
            self.buy(instrument, 2)

    def on_fill(self, fill: OrderFill):
        self.fills.append((fill.cause and fill.cause.last, fill.quote and fill.quote.last, self.position(BTC).quantity))


def test_a_fill_has_its_cause_and_the_position_after_it() -> None:
    once = Once()
    replayed(once, [1, 2, 3, 4], [99.0] * 4, SimulatedBroker())
    assert once.decided == 1
    assert once.fills == [(1, 2, D(1)), (1, 3, D(2))]


class Double(SimulatedBroker):
    """A broker that publishes every fill twice."""

    def attach(self, desk: BrokerContext) -> None:
        publish = desk.publish

        def twice(event: Event) -> None:
            publish(event)
            if isinstance(event, OrderFill):
                publish(event)

        desk.publish = twice
        super().attach(desk)


def test_a_fill_that_was_refused_reaches_no_strategy() -> None:
    once = Once()
    engine = replayed(once, [1, 2, 3, 4], [99.0] * 4, Double())
    assert once.fills == [(1, 2, D(1)), (1, 3, D(2))]
    assert engine.orders.refused_events == 2
    assert len(engine.dead_letters) == 2
    assert engine.positions.position("Once", BTC).quantity == 2


class Hasty(Strategy):
    """In its own thread, sends an order at every quote and cancels the one before."""

    subscription: ClassVar[dict[str, object]] = {"mode": "thread", "overflow": "block"}

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.answers: list[str] = []

    def on_quote(self, instrument, bid_price):
        if self.ids:
            self.answers.append(self.cancel(self.ids[-1]))
        self.ids.append(self.buy(instrument, D("0.1"), price=bid_price - 5))


def test_a_threads_orders_are_neither_lost_nor_doubled(tmp_path: Path) -> None:
    hasty, broker = Hasty(), SimulatedBroker()
    count = 300
    quotes = ticks(
        instrument=BTC,
        ts_init=range(S, S + count),
        bid_price=[99.0] * count,
        ask_price=[100.0] * count,
        bid_size=1.0,
        ask_size=1.0,
    )
    limits = msgspec.structs.replace(WIDE, message_rate_max=1e6, stale_after_s=1e9, open_orders_max=count)
    engine = Engine(
        feeds=quotes,
        strategies=[hasty],
        broker=broker,
        instruments=KNOWN,
        limits=limits,
        speed=FAST,
        state_folder=tmp_path / "state",
    )
    engine.run()
    stats = engine.orders.stats("Hasty")
    assert len(hasty.ids) == len(set(hasty.ids)) == stats.submitted == count
    assert hasty.answers == ["accepted"] * (count - 1)
    assert stats.submitted == stats.open + stats.canceled
    assert engine.orders.refused_events == 0
    assert set(broker.open_orders) <= {order.order_id for order in engine.orders.orders(open_only=True)}


def test_slippage_in_ticks_uses_the_engines_instruments() -> None:
    engine = replayed(Once(), [1, 2, 3, 4], [99.0] * 4, SimulatedBroker(slippage_ticks=2))
    assert engine.positions.position("Once", BTC).average_price == 101


class OnTrades(Strategy):
    """Takes trades, and buys on each quote."""

    def __init__(self) -> None:
        self.rejected: list[str] = []

    def on_trade(self, price: float) -> None: ...

    def on_quote(self, instrument):
        self.buy(instrument, 1)

    def on_order(self, event: OrderEvent):
        if isinstance(event, OrderRejected):
            self.rejected.append(event.reason)


def test_an_old_trade_refuses_the_order_of_a_strategy_that_uses_trades() -> None:
    names = Instruments([BTC])
    times = [round(at * S) for at in (1, 4, 60)]
    quotes = ticks(
        instrument=BTC,
        instruments=names,
        ts_init=times,
        bid_price=99.0,
        ask_price=100.0,
        bid_size=1.0,
        ask_size=1.0,
    )
    trades = ticks(
        instrument=BTC, instruments=names, kind="trade", ts_init=[3 * S], price=99.5, size=1.0, aggressor_side=1
    )
    strategy = OnTrades()
    limits = msgspec.structs.replace(WIDE, stale_after_s=5.0)
    feeds, broker = [ArrayFeed(quotes), ArrayFeed(trades)], SimulatedBroker()
    Engine(feeds=feeds, strategies=[strategy], broker=broker, instruments=KNOWN, limits=limits, mode="replay").run()
    # None had come at 1 s, one a second ago at 4 s, and one 57 s ago at 60 s.
    assert [reason.partition(":")[0] for reason in strategy.rejected] == [
        f"{BTC} has had no trade yet, and OnTrades uses them",
        f"{BTC} is stale",
    ]
