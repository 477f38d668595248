"""What a strategy keeps stays as it was: floats, ticks, columns, slices of them, for ten laps of the ring and more.

Guarantees: everything kept is compared with a copy made by value at the time of the call.
Does not: look into the native side; a reused float, object or array shows as a changed value.
"""

from __future__ import annotations

import functools
import random
import sys
import sysconfig
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import headrace._native as _native
from headrace import Dispatcher, Strategy
from tests.support.feeding import ETH, quotes, trades

RING = 64
LAPS = 12


def laps(dispatcher: Dispatcher, random_: random.Random) -> None:
    """Publish twelve laps of the ring: ticks of two kinds and two instruments, in batches of random length."""
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
    """Keeps every float, int and text; sometimes only one of them."""

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
    """Keeps whole ticks, and reads their values later."""

    def __init__(self, random_: random.Random) -> None:
        self.random = random_
        self.kept: list[tuple[Any, str]] = []

    def on_tick(self, tick):
        if self.random.random() < 0.7:
            self.kept.append((tick, repr(tick)))


class KeepsColumns(Strategy):
    """Keeps columns, slices whose column is gone, views of slices, and whole batches."""

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


# From CPython 3.14 on, a call passes locals as borrowed references. Each of these keeps its parameter beyond the call.
def _in_generator(value: Any) -> Iterator[Any]:
    yield value


def _in_begun_generator(value: Any) -> Iterator[Any]:
    def values() -> Iterator[Any]:
        yield None
        yield value

    generator = values()
    next(generator)
    return generator


def _in_coroutine(value: Any) -> Callable[[], Any]:
    async def coroutine(value: Any) -> Any:
        return value

    waiting = coroutine(value)

    def look() -> Any:
        with pytest.raises(StopIteration) as ended:
            waiting.send(None)
        return ended.value.value

    return look


def _in_frame(value: Any) -> Callable[[], Any]:
    frame = sys._getframe()
    return lambda: frame.f_locals["value"]


def _in_frame_of_a_frame(value: Any) -> Callable[[], Any]:
    def inner(inner_value: Any) -> Any:
        return sys._getframe()

    frame = inner(value)
    return lambda: frame.f_locals["inner_value"]


def _in_traceback(value: Any) -> Callable[[], Any]:
    def fails(value: Any) -> None:
        raise LookupError

    with pytest.raises(LookupError) as caught:
        fails(value)
    return lambda: caught.traceback[-1].frame.f_locals["value"]


def _in_moved_local(value: Any) -> Callable[[], Any]:
    pair = (value, value := None)
    return lambda: pair[0]


def _in_cell(value: Any) -> Callable[[], Any]:
    moved = value
    del value
    return lambda: moved


def _in_arguments(*values: Any) -> Callable[[], Any]:
    return lambda: values[0]


def _in_keywords(value: Any) -> Callable[[], Any]:
    def taken(**values: Any) -> dict[str, Any]:
        return values

    kept = taken(value=value)
    return lambda: kept["value"]


def _in_locals(value: Any) -> Callable[[], Any]:
    kept = locals()
    return lambda: kept["value"]


HOLDERS: dict[str, Callable[[Any], Callable[[], Any]]] = {
    "generator": lambda value: functools.partial(next, _in_generator(value)),
    "begun generator": lambda value: functools.partial(next, _in_begun_generator(value)),
    "coroutine": _in_coroutine,
    "frame": _in_frame,
    "frame of a frame": _in_frame_of_a_frame,
    "traceback": _in_traceback,
    "moved local": _in_moved_local,
    "cell": _in_cell,
    "arguments": _in_arguments,
    "keywords": _in_keywords,
    "locals": _in_locals,
}


@pytest.mark.parametrize("how", HOLDERS)
def test_values_held_by_a_helper_are_not_overwritten(how: str) -> None:
    hold = HOLDERS[how]
    floats: list[Callable[[], Any]] = []
    members: list[Callable[[], Any]] = []
    ticks: list[Callable[[], Any]] = []

    def on_quote(bid_price, tick):
        floats.append(hold(bid_price))
        if len(floats) % 3:
            members.append(hold(tick.bid_price))
        else:
            ticks.append(hold(tick))

    with Dispatcher(on_fault="raise") as dispatcher:
        dispatcher.subscribe(on_quote)
        # Enough calls for the interpreter to specialise them.
        dispatcher.publish(quotes(dispatcher, range(300)))
        dispatcher.dispatch()
    numbers = [float(number) for number in range(300)]
    assert [look() for look in floats] == numbers
    assert [look() for look in members] == [number for number in numbers if (number + 1) % 3]
    assert [look().bid_price for look in ticks] == numbers[2::3]


def test_the_interpreter_counts_what_a_running_handler_holds() -> None:
    """Writes in place rely on this: the slot holds one reference, so a value in use has a count of 2 or more."""
    counts: list[int] = []

    def look(value: object) -> None:
        counts.append(sys.getrefcount(value))

    def on_quote(bid_price, tick):
        counts.extend([sys.getrefcount(bid_price), sys.getrefcount(tick), sys.getrefcount(tick.bid_price)])
        look(bid_price)
        look(tick)
        look(tick.bid_price)

    with Dispatcher(on_fault="raise") as dispatcher:
        dispatcher.subscribe(on_quote)
        dispatcher.publish(quotes(dispatcher, range(300)))
        dispatcher.dispatch()
    assert len(counts) == 1_800
    assert min(counts) >= 2


def test_floats_are_in_place_only_on_tested_python_versions() -> None:
    places: set[int] = set()

    def on_quote(bid_price):
        places.add(id(bid_price))

    with Dispatcher(on_fault="raise") as dispatcher:
        dispatcher.subscribe(on_quote)
        dispatcher.publish(quotes(dispatcher, range(1_000)))
        dispatcher.dispatch()
    in_place = _native.build_info()["floats_in_place"]
    assert in_place == (sys.version_info < (3, 15) and not sysconfig.get_config_var("Py_GIL_DISABLED"))
    assert (len(places) == 1) or not in_place


def test_a_builtin_that_dispatches_again_sees_its_own_argument() -> None:
    """A C callable holds its arguments only on its own stack, so they must not be overwritten while it runs."""
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
    """A handler dispatches another dispatcher, whose handler declares the same fields."""
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
