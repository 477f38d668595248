"""An order costs the same beside other strategies, instruments and orders, and leaves nothing behind."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from types import FrameType
from typing import Any, Self

import msgspec
import pytest

import headrace
from headrace import Engine, Instrument, SimulatedBroker, Strategy, ticks
from headrace.limits import GATE_RECORDS_MAX, ORDERS_KEPT_MAX
from headrace.market.events import OrderFill
from headrace.trading.orders import OrderState
from tests.support.feeding import BTC, ETH
from tests.support.trading import WIDE, Desk, S, simulated

D = Decimal
PACKAGE = str(Path(headrace.__file__).parent)
LIMITS = msgspec.structs.replace(WIDE, open_orders_max=100_000, message_rate_max=1e9, stale_after_s=1e9)
MANY = 1_000


class Lines:
    """Counts the lines of the package that run, so that each turn of a loop counts."""

    def __init__(self) -> None:
        self.count = 0
        # That of the coverage of the whole run, for example.
        self._before = sys.gettrace()

    def __enter__(self) -> Self:
        sys.settrace(self._call)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _call(self, frame: FrameType, _event: str, _argument: object) -> Any:
        return self._line if frame.f_code.co_filename.startswith(PACKAGE) else None

    def _line(self, _frame: FrameType, event: str, _argument: object) -> Any:
        self.count += event == "line"
        return self._line


def nothing(_: Desk) -> None:
    pass


def resting_of_others(desk: Desk) -> None:
    for number in range(MANY):
        desk.ask(1, "0.1", price=D(60) + D(number % 20) / 2, strategy=f"other-{number % 200}")
    desk.quote(99.0, 101.0)


def in_another_instrument(desk: Desk) -> None:
    desk.quote(99.0, 101.0, instrument=ETH)
    for number in range(MANY):
        desk.ask(1, "0.1", price=80, instrument=ETH, strategy=f"other-{number % 200}")
    desk.quote(99.0, 101.0, instrument=ETH)


def own_that_expire_later(desk: Desk) -> None:
    for number in range(MANY):
        desk.ask(1, "0.1", price=60, expires_ns=desk.clock.at_ns + (number + 1) * 3_600 * S)
    desk.quote(99.0, 101.0)


def finished(desk: Desk) -> None:
    for _ in range(MANY):
        desk.ask(1, "0.1")
        desk.ask(-1, "0.1")
        desk.quote(99.0, 101.0)


def refused(desk: Desk) -> None:
    for _ in range(MANY):
        desk.ask(1, 1_000_000)


@pytest.mark.parametrize(
    "before",
    [resting_of_others, in_another_instrument, own_that_expire_later, finished, refused],
    ids=lambda own: own.__name__,
)
def test_an_order_costs_the_same_after(before: Callable[[Desk], None]) -> None:
    assert lines_of_an_order(before) <= lines_of_an_order(nothing) + 20


def lines_of_an_order(before: Callable[[Desk], None]) -> int:
    """Count the lines from an order to its fill, its cancel beside it."""
    desk = simulated(limits=LIMITS, timers=True)
    desk.quote(99.0, 101.0)
    for _ in range(2):
        desk.ask(1, "0.1")
        desk.quote(99.0, 101.0)
    before(desk)
    with Lines() as lines:
        filled, resting = desk.ask(1, "0.1"), desk.ask(1, "0.1", price=70)
        desk.quote(99.0, 101.0)
        desk.orders.cancel(resting)
        desk.drain()
    assert (desk.order(filled).state, desk.order(resting).state) == (OrderState.FILLED, OrderState.CANCELED)
    return lines.count


class Buyer(Strategy):
    """Buys at the fourth quote, and counts the lines to its fill."""

    def __init__(self) -> None:
        self.lines = Lines()
        self.fills = 0

    def on_quote(self, seq: int) -> None:
        if seq in (2, 4):
            if seq == 4:
                self.lines.__enter__()
            self.buy(BTC, "0.1")

    def on_fill(self, fill: OrderFill) -> None:
        self.lines.__exit__()
        self.fills += 1


class Idle(Strategy):
    """Waits for quotes that never come; would like each fill, order, bar and signal of its own."""

    subscription = {"instruments": ETH}  # noqa: RUF012 - as users write it
    bars = ("1s",)

    def on_quote(self, seq: int) -> None: ...
    def on_fill(self, fill: OrderFill) -> None: ...
    def on_order(self, event: object) -> None: ...
    def on_bar(self, bar: object) -> None: ...
    def on_signal(self, signal: object) -> None: ...


def lines_beside(idle: int) -> int:
    buyer = Buyer()
    engine = Engine(
        mode="replay",
        feeds=ticks(
            instrument=BTC,
            ts_init=[number * S // 100 for number in range(1, 8)],
            bid_price=[99.0] * 7,
            ask_price=[100.0] * 7,
            bid_size=[1.0] * 7,
            ask_size=[1.0] * 7,
        ),
        strategies=[buyer, *((Idle, {}) for _ in range(idle))],
        broker=SimulatedBroker(),
        instruments=[Instrument(BTC, D("0.5"), D("0.1")), Instrument(ETH, D("0.01"), D("0.1"))],
        limits=LIMITS,
    )
    engine.run()
    assert buyer.fills == 2
    return buyer.lines.count


def test_an_order_costs_the_same_beside_idle_strategies() -> None:
    assert lines_beside(200) <= lines_beside(0) + 20


def resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4_096 / (1 << 20)


def many_orders(desk: Desk, count: int) -> None:
    """Orders that fill, in one part and in three, are canceled, expire, are refused and are flattened, by turns."""
    for number in range(count):
        size = 1.0
        match number % 6:
            case 0:
                desk.ask((-1) ** (number // 6), "0.1")
            case 1:
                desk.orders.cancel(desk.ask(1, "0.1", price=70))
            case 2:
                desk.ask(1, "0.1", price=70, expires_ns=desk.clock.at_ns + 1)
            case 3:
                desk.ask(1, 1_000_000)
            case 4:
                desk.ask(1, "0.3", strategy="B")
                size = 0.1
            case _:
                desk.orders.flatten()
        for _ in range(3 if size < 1 else 1):
            desk.quote(99.0, 101.0, bid_size=size, ask_size=size)
        desk.positions.currencies  # noqa: B018 - what reports read
        desk.events.clear()
        desk.alarms.clear()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.deep)])
def test_finished_orders_leave_no_bookkeeping_behind(count: int) -> None:
    desk = simulated(limits=LIMITS, timers=True)
    desk.quote(99.0, 101.0)
    before_mib, before = 0.0, 0
    # Until as many ended orders are kept as ever will be.
    for more in (ORDERS_KEPT_MAX * 5 // 4, count):
        before_mib, before = resident_mib(), len(gc.get_objects())
        many_orders(desk, more)
        gc.collect()
    assert len(gc.get_objects()) - before < 500
    assert resident_mib() - before_mib < 8
    stats = desk.orders.stats()
    assert stats.open == 0
    assert stats.submitted > ORDERS_KEPT_MAX + count
    assert len(desk.orders.orders()) == ORDERS_KEPT_MAX
    assert len(desk.gates.records()) == GATE_RECORDS_MAX
