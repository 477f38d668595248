"""What has nothing to do adds no call to a tick: counted, not timed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, ClassVar

import numpy as np
import pytest

import headrace
from headrace import BarSpec, Strategy
from headrace.market.events import Bar

MANY = 300
# Behind the first bar: whether a strategy takes the bars of a kind is found out once.
FIRST, LAST = 30, 80


class Active(Strategy):
    """Has every tick of one instrument, a bar and a timer now and then; counts the calls between two of its ticks."""

    subscription: ClassVar[dict[str, object]] = {"instruments": "A.X"}
    bars: ClassVar[list[BarSpec]] = [BarSpec("A.X", "20ms", price="mid")]

    def __init__(self) -> None:
        self.calls = 0

    def on_start(self) -> None:
        self.set_timer("every", every="15ms")

    def on_timer(self, timer: object) -> None: ...

    def on_bar(self, bar: Bar) -> None: ...

    def on_quote(self, seq: int) -> None:
        if seq == FIRST:
            sys.setprofile(self.count)
        elif seq == LAST:
            sys.setprofile(None)

    def count(self, _frame: FrameType, event: str, _argument: object) -> None:
        self.calls += event in ("call", "c_call")


class Idle(Strategy):
    """Waits for an instrument that has no tick, with bars and a timer that is far away."""

    subscription: ClassVar[dict[str, object]] = {"instruments": "IDLE.X", "every": "1s"}
    bars: ClassVar[list[BarSpec]] = [BarSpec("IDLE.X", "1s", price="mid")]

    def on_start(self) -> None:
        self.set_timer("late", after="1d")

    def on_timer(self, timer: object) -> None: ...

    def on_bar(self, bar: Bar) -> None: ...

    def on_quotes(self, bid_price: np.ndarray) -> None: ...


class Cancels(Strategy):
    """Had many timers: half of them are cancelled, half have fired before the count begins."""

    subscription: ClassVar[dict[str, object]] = {"instruments": "IDLE.X"}

    def on_start(self) -> None:
        for number in range(MANY):
            self.set_timer(f"cancelled {number}", after="1h")
            self.cancel_timer(f"cancelled {number}")
            self.set_timer(f"fires {number}", after="1ms")

    def on_timer(self, timer: object) -> None: ...

    def on_quote(self, bid_price: float) -> None: ...


def calls_between(beside: list[Any], others: int = 0) -> int:
    start = 1_767_571_200_000_000_000
    ticks = headrace.ticks(
        kind="quote",
        instrument="A.X",
        ts_init=start + 1_000_000 * np.arange(LAST + 5),
        bid_price=1.0,
        ask_price=2.0,
        bid_size=1.0,
        ask_size=1.0,
    )
    active = Active()
    before = sys.getprofile()
    try:
        headrace.replay(ticks, [active, *beside], instruments=["A.X", "IDLE.X", *(f"B{n}.X" for n in range(others))])
    finally:
        sys.setprofile(before)
    return active.calls


BESIDE: dict[str, Callable[[], int]] = {
    "idle strategies": lambda: calls_between([Idle() for _ in range(MANY)]),
    "ended timers": lambda: calls_between([Cancels()]),
    "other instruments": lambda: calls_between([], others=MANY),
}


@pytest.mark.parametrize("what", BESIDE)
def test_bystanders_add_no_call_to_a_tick(what: str) -> None:
    alone = calls_between([])
    assert alone > LAST - FIRST
    assert BESIDE[what]() == alone


def test_closed_subscriptions_add_no_call_to_a_tick() -> None:
    def calls(closed: int) -> int:
        counted = Active()
        with headrace.Dispatcher(instruments=["A.X", "IDLE.X"]) as dispatcher:
            dispatcher.subscribe(lambda seq: counted.on_quote(seq), callback="on_quote")
            for _ in range(closed):
                dispatcher.subscribe(lambda bid_price: None, callback="on_quote").close()
            ticks = headrace.ticks(
                kind="quote", instrument="A.X", ts_init=np.arange(1, LAST + 5), bid_price=1.0, ask_price=2.0
            )
            before = sys.getprofile()
            try:
                for number in range(len(ticks)):
                    dispatcher.publish(ticks[number : number + 1])
                    dispatcher.dispatch()
            finally:
                sys.setprofile(before)
        return counted.calls

    assert calls(MANY) == calls(0) > LAST - FIRST
