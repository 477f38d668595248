"""A side of a quote without size or price is not there: gates refuse, marks keep the last good mid, nothing fills."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest

from headrace import Dispatcher, Engine, Flags, Instrument, SimulatedBroker, Strategy, ticks
from headrace.market.events import OrderFill
from headrace.trading.orders import OrderState
from tests.support.feeding import BTC, quotes
from tests.support.trading import WIDE, simulated

D = Decimal
S = 1_000_000_000
ACME = "ACME.BINANCE"
# bid, ask, bid_size, ask_size
ABSENT = [
    (100.0, 0.0, 5.0, 0.0),
    (100.0, 101.0, 5.0, 0.0),
    (0.0, 101.0, 0.0, 5.0),
    (100.0, 101.0, 0.0, 5.0),
    (0.0, 0.0, 0.0, 0.0),
]


@pytest.mark.parametrize(("bid", "ask", "bid_size", "ask_size"), ABSENT)
@pytest.mark.parametrize("price", [None, D(100)])
def test_the_gates_refuse_while_the_newest_quote_lacks_a_side(
    bid: float, ask: float, bid_size: float, ask_size: float, price: Decimal | None
) -> None:
    desk = simulated()
    desk.quote(99.0, 101.0)
    desk.quote(bid, ask, bid_size=bid_size, ask_size=ask_size)
    for side in (1, -1):
        order = desk.order(desk.ask(side, 1, price=price))
        assert (order.state, order.gate) == (OrderState.REJECTED, "instrument")
        assert "has no two sides" in order.reason
    desk.quote(99.0, 101.0)
    assert desk.order(desk.ask(1, 1, price=price)).gate == ""


@pytest.mark.parametrize(("bid", "ask", "bid_size", "ask_size"), ABSENT)
def test_nothing_fills_against_a_side_that_is_absent(bid: float, ask: float, bid_size: float, ask_size: float) -> None:
    desk = simulated()
    desk.quote(99.0, 101.0)
    for side in (1, -1):
        for price in (None, D(99) if side > 0 else D(102), D(120) if side > 0 else D(80)):
            desk.ask(side, "0.1", price=price)
    desk.quote(bid, ask, bid_size=bid_size, ask_size=ask_size)
    there = {-1: bid > 0 < bid_size, 1: ask > 0 < ask_size}
    assert all(there[fill.side] for fill in desk.of(OrderFill))


def test_a_size_that_is_unknown_bounds_no_fill() -> None:
    desk = simulated()
    desk.quote(99.0, 101.0, bid_size=float("nan"), ask_size=float("nan"))
    order = desk.ask(1, 50)
    desk.quote(99.0, 100.0, bid_size=float("nan"), ask_size=float("nan"))
    assert (desk.order(order).filled, desk.order(order).average_price) == (D(50), D(100))
    assert desk.dispatcher.newest.mid(BTC) == D("99.5")


class BuysOnce(Strategy):
    def on_quote(self, seq: int) -> None:
        if seq == 1:
            self.buy(ACME, 1)


def unrealized(*last: tuple[float, float, float, float]) -> Decimal | None:
    """Of a position bought at 100.1."""
    rows = [(100.0, 100.1, 5.0, 5.0)] * 2 + list(last)
    bids, asks, bid_sizes, ask_sizes = zip(*rows, strict=True)
    engine = Engine(
        mode="replay",
        feeds=ticks(
            instrument=ACME,
            ts_init=[number * S for number in range(1, len(rows) + 1)],
            bid_price=list(bids),
            ask_price=list(asks),
            bid_size=list(bid_sizes),
            ask_size=list(ask_sizes),
        ),
        strategies=BuysOnce(),
        broker=SimulatedBroker(),
        instruments=[Instrument(ACME, price_tick=D("0.01"), lot_size=D("0.1"))],
        limits=WIDE,
    )
    engine.run()
    (position,) = engine.report().strategies["BuysOnce"].positions
    return position.unrealized_pnl


@pytest.mark.parametrize("last", ABSENT)
def test_a_mark_is_the_last_mid_of_two_sides(last: tuple[float, float, float, float]) -> None:
    assert unrealized() == D("-0.05")
    assert unrealized(last) == D("-0.05")
    assert unrealized((102.0, 102.2, 1.0, 1.0), last, last) == D(2)


def test_the_last_mid_is_that_of_a_plain_model(seed: int) -> None:
    dice = random.Random(seed)
    with Dispatcher(instruments=[BTC]) as dispatcher:
        mid, now_ns = None, 0
        for _ in range(300):
            burst = []
            for _ in range(dice.randrange(1, 6)):
                now_ns += 1
                bid, ask = dice.choice([0.0, 99.0, 99.5]), dice.choice([0.0, 100.0, 100.5])
                sizes = dice.choice([0.0, 1.0]), dice.choice([0.0, 1.0])
                flags = dice.choice([0, 0, 0, int(Flags.LATE)])
                tick = quotes(dispatcher, [bid], ts_init=now_ns, ask_price=ask, bid_size=sizes[0], ask_size=sizes[1])
                tick["flags"] |= flags
                burst.append(tick)
                if not flags and all((bid, ask, *sizes)):
                    mid = (D(repr(bid)) + D(repr(ask))) / 2
            for tick in burst:
                dispatcher.publish(tick)
            assert dispatcher.newest.mid(BTC) == mid, f"seed {seed}"


@pytest.mark.parametrize("flag", [Flags.LATE, Flags.DUPLICATE])
def test_a_late_quote_is_no_gate_s_no_mark_s_and_no_fill_s_newest(flag: Flags) -> None:
    desk = simulated()
    desk.quote(99.0, 101.0)
    desk.quote(50.0, 51.0, flags=int(flag))
    assert desk.dispatcher.newest.mid(BTC) == 100
    # The collar is about the mid of the newest quote.
    assert desk.order(desk.ask(1, 1, price=60)).gate == ""
    assert desk.order(desk.ask(1, 1, price=40)).gate == "price_collar"
    market = desk.ask(1, 1)
    desk.quote(50.0, 51.0, flags=int(flag))
    assert desk.order(market).state is OrderState.ACCEPTED
