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
