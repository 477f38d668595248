"""An array of ticks keeps the names of its instruments. Two arrays, each with the id 0, were one market."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace import Dispatcher, replay, ticks
from headrace.errors import OptionError
from headrace.feeds import ArrayFeed
from headrace.market.tick import NO_INSTRUMENT
from tests.support.feeding import BTC, ETH

BOTH = {(BTC, 60_000.0), (ETH, 3_000.0)}


def trades(name: str, price: float, *at: int) -> np.ndarray:
    """Trades of one instrument, whose id is 0."""
    return ticks(instrument=name, ts_init=list(at), price=price)


def seen_in(sources: Any, **options: Any) -> set[tuple[str, float]]:
    """The instruments and prices of a replay."""
    seen = set()

    def on_trade(instrument: str, price: float) -> None:
        seen.add((instrument, price))

    replay(sources, on_trade, **options)
    return seen


@pytest.mark.parametrize("names", [(), (BTC, ETH), (ETH, BTC), ("SOLUSDT.BINANCE",)])
def test_arrays_of_two_instruments_stay_two(names: tuple[str, ...]) -> None:
    assert seen_in([trades(BTC, 60_000.0, 1, 3), trades(ETH, 3_000.0, 2, 4)], instruments=names) == BOTH


@pytest.mark.parametrize(
    "made_from",
    [
        lambda array: array[::2],
        lambda array: array[array["price"] > 0] if "price" in (array.dtype.names or ()) else array[[0]],
        lambda array: array.copy(),
        copy.deepcopy,
        lambda array: pickle.loads(pickle.dumps(array)),
        lambda array: np.concatenate([array[:1], array[1:]]),
    ],
)
def test_names_survive_what_is_made_from_an_array(made_from: Callable[[np.ndarray], np.ndarray]) -> None:
    assert seen_in([made_from(trades(BTC, 60_000.0, 1, 3)), made_from(trades(ETH, 3_000.0, 2, 4))]) == BOTH


def test_arrays_with_other_names_are_not_put_together() -> None:
    with pytest.raises(OptionError, match="other names for the same ids"):
        np.concatenate([trades(BTC, 60_000.0, 1), trades(ETH, 3_000.0, 2)])


@pytest.mark.parametrize(
    "put_together",
    [
        lambda ours, theirs: np.concatenate([ours, theirs]),
        lambda ours, theirs: np.append(ours, theirs),
        lambda ours, theirs: np.insert(ours, 1, theirs),
        lambda ours, theirs: np.where([True, False], ours, theirs),
        lambda ours, theirs: np.choose([0, 1], [ours, theirs]),
        lambda ours, theirs: np.r_[ours, theirs],
        lambda ours, theirs: np.copyto(ours, theirs),
        lambda ours, theirs: np.place(ours, [True, False], theirs),
        lambda ours, theirs: ours.__setitem__(slice(None), theirs),
        lambda ours, theirs: ours.__setitem__(0, theirs[0]),
        lambda ours, theirs: ours.__setitem__(slice(None), [theirs[0], theirs[1]]),
    ],
)
@pytest.mark.parametrize("theirs", [trades(ETH, 3_000.0, 2, 4), np.zeros(2, trades(BTC, 1.0, 1).dtype)])
def test_ticks_of_other_names_are_not_mixed_in(put_together: Callable[..., Any], theirs: np.ndarray) -> None:
    ours = trades(BTC, 60_000.0, 1, 3)
    before = ours.copy()
    with pytest.raises(OptionError, match="other names for the same ids"):
        put_together(ours, theirs)
    assert ours.tobytes() == before.tobytes()


def test_ticks_of_the_same_names_may_be_put_together() -> None:
    both = ticks(instrument=[BTC, ETH], ts_init=[1, 2], price=1.0)
    made = np.insert(both, 1, both[1])
    made[0] = made[2]
    made[:2] = both
    made["price" if "price" in (made.dtype.names or ()) else "venue_seq"] = 7
    assert getattr(made, "instruments", ()) == (BTC, ETH)
    assert made["instrument"].tolist() == [0, 1, 1]
    assert not np.array_equal(both, trades(ETH, 1.0, 1, 2))
    with pytest.raises(OptionError, match="more names than the 1"):
        trades(BTC, 1.0, 1)[:] = both[:1]


def test_tick_of_no_instrument_keeps_having_none() -> None:
    made = ticks(instrument=[ETH, BTC], ts_init=[1, 2], price=1.0)
    made["instrument"][1] = NO_INSTRUMENT
    with Dispatcher(instruments=[BTC, ETH]) as dispatcher:
        seen: list[str | None] = []
        dispatcher.subscribe(lambda instrument: seen.append(instrument), callback="on_trade")
        dispatcher.publish(made)
        dispatcher.dispatch()
    assert seen == [ETH, None]


def test_files_without_names_are_refused_and_can_be_named(tmp_path: Path) -> None:
    files = [tmp_path / "a.npy", tmp_path / "b.npy"]
    for path, array in zip(files, [trades(BTC, 60_000.0, 1), trades(ETH, 3_000.0, 2)], strict=True):
        np.save(path, array)
    with pytest.raises(OptionError, match="one of 2 arrays, and its ids have no names"):
        seen_in(files, instruments=[BTC, ETH])
    named = [ArrayFeed(path, instruments=[name]) for path, name in zip(files, (BTC, ETH), strict=True)]
    assert seen_in(named) == BOTH
    # One array alone cannot be confused with another.
    assert seen_in(files[1], instruments=[ETH]) == {(ETH, 3_000.0)}


def test_published_array_means_its_names() -> None:
    seen = set()
    with Dispatcher(instruments=[BTC]) as dispatcher:
        dispatcher.subscribe(lambda instrument, price: seen.add((instrument, price)), callback="on_trade")
        for array in (trades(BTC, 60_000.0, 1), trades(ETH, 3_000.0, 2)):
            dispatcher.publish(array)
        dispatcher.dispatch()
    assert seen == BOTH
