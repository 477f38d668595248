"""What a strategy keeps stays as it was: floats, ticks, columns, slices of them, for ten laps of the ring and more.

Guarantees: everything kept is compared with a copy made by value at the time of the call.
Does not: look into the native side; a reused float, object or array shows as a changed value.
"""

from __future__ import annotations

import functools
import random
from typing import Any

import numpy as np
import pytest

from headrace import Dispatcher, Strategy
from tests.support.feeding import ETH, quotes, trades

RING = 64
LAPS = 12


def laps(dispatcher: Dispatcher, random_: random.Random) -> None:
    """Ticks of two kinds and instruments, twelve times round the ring, in pieces of any length."""
    number = 0.0
    while dispatcher.ring.cursor < RING * LAPS:
        count = random_.randrange(1, 40)
        values = [number + step for step in range(count)]
        number += count
        if random_.random() < 0.6:
            dispatcher.publish(quotes(dispatcher, values))
        else:
            dispatcher.publish(trades(dispatcher, values, instrument=ETH))
        dispatcher.dispatch()


class KeepsValues(Strategy):
    """Every float, int and text, and now and then only one of them."""

    def __init__(self, random_: random.Random) -> None:
        self.random = random_
        self.kept: list[tuple[Any, str]] = []

    def _keep(self, *values: Any) -> None:
        for value in values:
            if self.random.random() < 0.7:
                self.kept.append((value, repr(value)))

    def on_quote(self, symbol, bid_price, ask_price, mid, seq, position, lag_ns):
        self._keep(symbol, bid_price, ask_price, mid, seq, position, lag_ns)

    def on_trade(self, price, size, notional, ts_init):
        self._keep(price, size, notional, ts_init)


class KeepsTicks(Strategy):
    """Whole ticks, and values read from them later."""

    def __init__(self, random_: random.Random) -> None:
        self.random = random_
        self.kept: list[tuple[Any, str]] = []

    def on_tick(self, tick):
        if self.random.random() < 0.7:
            self.kept.append((tick, repr(tick)))


class KeepsColumns(Strategy):
    """Columns, slices of columns whose column is gone, views of slices, and whole batches."""

    def __init__(self, random_: random.Random) -> None:
        self.random = random_
        self.kept: list[tuple[np.ndarray, bytes]] = []

    def _keep(self, column: np.ndarray) -> None:
        choice = self.random.randrange(6)
        parts = [column, column[1:], column[::2], column[::-1][:3], column[:5].view(), None]
        part = parts[choice]
        if part is not None:
            self.kept.append((part, part.tobytes()))

    def on_quotes(self, bid_price, ask_price, mid, seq, flags):
        for column in (bid_price, ask_price, mid, seq, flags):
            self._keep(column)

    def on_trades(self, price, ticks):
        self._keep(price)
        self._keep(ticks)
        self._keep(ticks["price"])

    def on_ticks(self, ticks, position):
        self._keep(ticks)
        self._keep(position)


@pytest.mark.parametrize("options", [{}, {"overflow": "drop_oldest", "rate_limit": 1e9}, {"every": "1ms"}])
def test_columns_and_slices_of_them_stay_as_they_were(options: dict[str, Any], seed: int) -> None:
    random_ = random.Random(seed)
    with Dispatcher(ring_capacity=RING, on_fault="raise") as dispatcher:
        keepers = [KeepsColumns(random_) for _ in range(2)]
        for keeper in keepers:
            dispatcher.subscribe(keeper, batch_max=random_.choice([7, 1_024]), **options)
        laps(dispatcher, random_)
        dispatcher.finish()
    for keeper in keepers:
        assert len(keeper.kept) > 40
        assert all(part.tobytes() == content for part, content in keeper.kept)


def test_a_slice_alone_keeps_its_memory_from_being_written_again() -> None:
    """The column of the slice is gone; only the owner's reference count shows that the slice is still used."""
    kept: list[tuple[np.ndarray, list[float]]] = []

    def on_quotes(bid_price):
        part = bid_price[2:5]
        kept.append((part, part.tolist()))

    with Dispatcher(on_fault="raise") as dispatcher:
        dispatcher.subscribe(on_quotes)
        for lap in range(50):
            dispatcher.publish(quotes(dispatcher, range(lap * 10, lap * 10 + 10)))
            dispatcher.dispatch()
    assert [part.tolist() for part, _ in kept] == [content for _, content in kept]
    assert len({part.__array_interface__["data"][0] for part, _ in kept}) == 50


def test_unreferenced_memory_is_reused() -> None:
    places: set[int] = set()

    def on_quotes(bid_price):
        places.add(bid_price.__array_interface__["data"][0])

    with Dispatcher(on_fault="raise") as dispatcher:
        dispatcher.subscribe(on_quotes)
        for _ in range(200):
            dispatcher.publish(quotes(dispatcher, range(10)))
            dispatcher.dispatch()
    assert len(places) < 5


@pytest.mark.parametrize(("form", "kept_at_least"), [(KeepsValues, 1_000), (KeepsTicks, 300)])
def test_floats_texts_and_ticks_stay_as_they_were(
    form: type[KeepsValues | KeepsTicks], kept_at_least: int, seed: int
) -> None:
    random_ = random.Random(seed)
    with Dispatcher(ring_capacity=RING, on_fault="raise") as dispatcher:
        keepers = [form(random_) for _ in range(3)]
        for keeper in keepers:
            dispatcher.subscribe(keeper)
        laps(dispatcher, random_)
    for keeper in keepers:
        assert len(keeper.kept) > kept_at_least
        assert all(repr(value) == text for value, text in keeper.kept)


def test_a_float_kept_once_in_a_while_is_never_written_to() -> None:
    kept: list[float] = []

    def on_quote(bid_price, position):
        if position % 7 == 0:
            kept.append(bid_price)

    with Dispatcher(on_fault="raise") as dispatcher:
        dispatcher.subscribe(on_quote)
        dispatcher.publish(quotes(dispatcher, range(1_000)))
        dispatcher.dispatch()
    assert kept == [float(number) for number in range(0, 1_000, 7)]


@pytest.mark.parametrize("how", ["closure", "default", "generator", "frame", "exception"])
def test_floats_held_by_other_means_are_not_written_to(how: str) -> None:
    held: list[Any] = []

    def on_quote(bid_price):
        if how == "closure":
            held.append(lambda: bid_price)
        elif how == "default":
            held.append(functools.partial(float, bid_price))
        elif how == "generator":
            generator = (value for value in [bid_price])
            held.append(lambda: next(generator))
        elif how == "frame":
            import sys

            frame = sys._getframe()
            held.append(lambda: frame.f_locals["bid_price"])
        else:
            try:
                raise ValueError(bid_price)
            except ValueError as error:
                caught = error
                held.append(lambda: caught.args[0])

    with Dispatcher(on_fault="raise") as dispatcher:
        dispatcher.subscribe(on_quote)
        dispatcher.publish(quotes(dispatcher, range(30)))
        dispatcher.dispatch()
    assert [look() for look in held] == [float(number) for number in range(30)]


def test_a_builtin_that_dispatches_again_sees_its_own_argument() -> None:
    """A C callable holds its arguments only on its own stack: what it gets must not be written while it runs."""
    inner: list[float] = []
    outer: list[float] = []
    with Dispatcher(on_fault="raise") as other:
        other.subscribe(lambda bid_price: inner.append(bid_price), callback="on_quote")

        def dispatches_again(bid_price: float) -> float:
            other.publish(quotes(other, [999.0]))
            other.dispatch()
            return bid_price

        with Dispatcher(on_fault="raise") as dispatcher:
            dispatcher.subscribe(functools.partial(_call_then_keep, outer, dispatches_again), callback="on_quote")
            dispatcher.publish(quotes(dispatcher, range(20)))
            dispatcher.dispatch()
    assert outer == [float(number) for number in range(20)]
    assert inner == [999.0] * 20


def _call_then_keep(outer: list[float], dispatches_again: Any, bid_price: float) -> None:
    dispatches_again(bid_price)
    outer.append(bid_price)


def test_nested_dispatchers_do_not_share_values() -> None:
    """A handler that dispatches another dispatcher, whose handler asks for the same fields."""
    got: list[tuple[float, float, float]] = []
    with Dispatcher(on_fault="raise") as inner, Dispatcher(on_fault="raise") as outer:
        inner.subscribe(lambda bid_price, tick: None, callback="on_quote")

        def on_quote(bid_price, ask_price, tick):
            inner.publish(quotes(inner, [999.0]))
            inner.dispatch()
            got.append((bid_price, ask_price, tick.bid_price))

        outer.subscribe(on_quote)
        outer.publish(quotes(outer, range(100)))
        outer.dispatch()
    assert got == [(float(number), number + 1.0, float(number)) for number in range(100)]


def test_handlers_of_a_tick_share_objects_and_kept_ones_stay() -> None:
    first: list[float] = []
    second: list[float] = []
    with Dispatcher(on_fault="raise") as dispatcher:
        dispatcher.subscribe(lambda bid_price: first.append(bid_price), callback="on_quote")
        dispatcher.subscribe(lambda bid_price: second.append(bid_price), callback="on_quote")
        dispatcher.publish(quotes(dispatcher, range(50)))
        dispatcher.dispatch()
    assert all(one is other for one, other in zip(first, second, strict=True))
    assert first == [float(number) for number in range(50)]


@pytest.mark.parametrize(("callback", "parameter"), [("on_quotes", "bid_price"), ("on_ticks", "ticks")])
def test_columns_are_read_only_and_cannot_be_made_writeable(callback: str, parameter: str) -> None:
    kept: list[np.ndarray] = []
    scope: dict[str, Any] = {"kept": kept}
    exec(f"def keep({parameter}): kept.append({parameter})", scope)
    with Dispatcher(on_fault="raise") as dispatcher:
        dispatcher.subscribe(scope["keep"], callback=callback)
        dispatcher.publish(quotes(dispatcher, [1.0, 2.0]))
        dispatcher.dispatch()
    (column,) = kept
    for array in (column, column[:1]):
        assert not array.flags.writeable
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True
