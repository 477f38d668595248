"""Setting up many strategies: the work grows with their number, not with its square."""

from __future__ import annotations

import gc
import sys
from types import FrameType
from typing import ClassVar

import numpy as np

import headrace
from headrace.dispatch.names import Names
from headrace.strategies.spec import named_specs

CALLS_A_STRATEGY_MAX = 325


class Idle(headrace.Strategy):
    subscription: ClassVar[dict[str, object]] = {"instruments": "IDLE.X"}

    def on_quote(self, symbol: str, bid_price: float, ask_price: float) -> None: ...


def ticks() -> np.ndarray:
    return headrace.ticks(
        kind="quote", instrument="A.X", ts_init=[1], bid_price=[1.0], ask_price=[2.0], bid_size=[1.0], ask_size=[1.0]
    )


def calls_of_a_replay(strategies: int) -> int:
    """Return how many calls, of Python and of C, a replay of one tick beside so many strategies makes."""
    data, idle = ticks(), [Idle() for _ in range(strategies)]
    counted = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    before = sys.getprofile()
    # What other tests left behind is not finalized, and counted, here.
    gc.collect()
    gc.disable()
    sys.setprofile(count)
    try:
        headrace.replay(data, idle, instruments=["A.X", "IDLE.X"])
    finally:
        sys.setprofile(before)
        gc.enable()
    return counted


def test_set_up_takes_the_same_work_for_each_strategy() -> None:
    calls_of_a_replay(400)  # The first one imports, makes loggers, and finds out what is the same for a whole class.
    none, some, many = map(calls_of_a_replay, (0, 50, 400))
    # The loop sleeps while it waits for the feed: on a busy machine, too, it has no turns of its own.
    assert calls_of_a_replay(50) == some
    first, later = (some - none) / 50, (many - some) / 350
    assert later < first * 1.1
    assert later < CALLS_A_STRATEGY_MAX


def test_default_names_are_found_without_a_walk_over_all() -> None:
    looks = 0

    class Counted(dict[str, object]):
        def __contains__(self, name: object) -> bool:
            nonlocal looks
            looks += 1
            return super().__contains__(name)

    taken = Counted()
    names = Names(taken)
    for _ in range(500):
        taken[names.first_free("Idle")] = None
    assert looks < 3 * 500
    assert list(named_specs([Idle] * 500)) == list(taken)
