"""What a strategy keeps stays as it was: floats, ticks, columns and slices of columns, across ten laps of the ring.

Guarantees: what is kept, for how long and in which form is drawn from the run's seed; each kept value is compared with
a copy that was made while the handler ran.
Does not: compare with the ring, of which no view ever reaches Python; a kept value that changes would show one.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from headrace import Dispatcher, Strategy, Subscription
from tests.feeding import BTC, ETH, quotes, read_all, trades

RING = 256
LAPS = 10


class Keeper:
    """Keeps some of what it is given, beside a copy of its content, and lets some of it go again."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.kept: list[tuple[Any, Callable[[Any], object], object]] = []
        self.compared = 0

    def keep(self, value: Any, content: Callable[[Any], object]) -> None:
        if self.random.random() < 0.4:
            self.kept.append((value, content, content(value)))
        if self.kept and self.random.random() < 0.1:
            self.compare(self.kept.pop(self.random.randrange(len(self.kept))))

    def compare(self, kept: tuple[Any, Callable[[Any], object], object]) -> None:
        value, content, before = kept
        assert content(value) == before
        self.compared += 1

    def array(self, column: np.ndarray) -> None:
        """The column itself, or a slice of it, of which NumPy makes the column's owner the base."""
        start = self.random.randrange(len(column))
        part = self.random.choice([column, column[start:], column[: start + 1], column[::2], column[start:][:1]])
        self.keep(part, np.ndarray.tobytes)


def bits(value: float) -> bytes:
    """The float's bits; a copy of a float would be the same object."""
    return struct.pack("d", value)


def fields(tick: Any) -> tuple[object, ...]:
    """Every field of a whole tick, floats as bits."""
    return (tick.seq, tick.position, tick.ts_init, tick.symbol, bits(tick.bid_price), bits(tick.ask_price))


class KeepsFloats(Strategy):
    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper

    def on_quote(self, bid_price, mid, spread, seq):
        for value in (bid_price, mid, spread):
            self.keeper.keep(value, bits)
        self.keeper.keep(seq, int)


class KeepsTicks(Strategy):
    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper

    def on_quote(self, tick):
        self.keeper.keep(tick, fields)
        self.keeper.keep(tick.bid_price, bits)


class KeepsColumns(Strategy):
    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper

    def on_quotes(self, bid_price, ask_price, mid, seq):
        for column in (bid_price, ask_price, mid, seq):
            self.keeper.array(column)

    def on_trades(self, price, ticks):
        self.keeper.array(price)
        self.keeper.array(ticks)


def pulled(subscription: Subscription, keeper: Keeper) -> None:
    batch = read_all(subscription)
    if len(batch):
        keeper.array(batch)


def run(seed: int) -> None:
    random_ = random.Random(seed)
    keepers = [Keeper(seed + number) for number in range(5)]
    with Dispatcher(instruments=[BTC, ETH], ring_capacity=RING, on_fault="raise") as dispatcher:
        dispatcher.subscribe(KeepsFloats(keepers[0]))
        dispatcher.subscribe(KeepsTicks(keepers[1]))
        dispatcher.subscribe(KeepsColumns(keepers[2]), batch_max=random_.choice([1, 7, 64, 1_024]))
        # A filter of its own: columns that are shared with nobody.
        dispatcher.subscribe(KeepsColumns(keepers[3]), instruments=BTC, name="apart")
        pull = dispatcher.subscribe(overflow="drop_oldest")
        price = 0.0
        while dispatcher.ring.cursor < LAPS * RING:
            for _ in range(random_.randrange(1, 4)):
                count = random_.randrange(1, 90)
                bids = price + np.arange(count)
                price += count
                instrument = random_.choice([BTC, ETH])
                made = quotes if random_.random() < 0.5 else trades
                dispatcher.publish(made(dispatcher, bids, instrument=instrument))
            dispatcher.dispatch()
            pulled(pull, keepers[4])
    for keeper in keepers:
        for kept in keeper.kept:
            keeper.compare(kept)
        assert keeper.compared, "nothing was kept: the test shows nothing"


@pytest.mark.parametrize("case", range(10))
def test_what_a_strategy_keeps_stays_as_it_was_across_ten_laps(case: int, seed: int) -> None:
    run(seed + case)


@pytest.mark.parametrize(("callback", "parameter"), [("on_quotes", "bid_price"), ("on_ticks", "ticks")])
def test_columns_are_read_only_and_cannot_be_made_writeable(callback: str, parameter: str) -> None:
    kept: list[np.ndarray] = []
    scope: dict[str, Any] = {"kept": kept}
    exec(f"def keep({parameter}): kept.append({parameter})", scope)
    with Dispatcher(instruments=[BTC], on_fault="raise") as dispatcher:
        dispatcher.subscribe(scope["keep"], callback=callback)
        dispatcher.publish(quotes(dispatcher, [1.0, 2.0]))
        dispatcher.dispatch()
    (column,) = kept
    for array in (column, column[:1]):
        assert not array.flags.writeable
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True
