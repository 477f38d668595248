"""A size below 0 is refused on every road: it made the volume of a bar smaller."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from headrace import TICK_DTYPE, Dispatcher, Sequencer, replay, ticks
from headrace.errors import FeedError, PublishError
from tests.field.test_wrong_items import WAYS, Yields, bids_of
from tests.support.engines import INSTRUMENTS, START, market
from tests.support.feeding import BTC, ETH


def made(kind: str, place: int) -> np.ndarray:
    """Two ticks of a kind, of which the second has a value below 0 at this place."""
    prices = {"bid_price": 1.0, "ask_price": 2.0} if kind == "quote" else {"price": 1.0}
    array = ticks(instrument=BTC, instruments=[BTC, ETH], ts_init=[START, START + 1], kind=kind, **prices)
    array["values"][1, place] = -0.5
    return array


SIZES = [("quote", 2), ("quote", 3), ("trade", 1), ("agg_trade", 1), ("level", 1)]


@pytest.mark.parametrize(("kind", "place"), SIZES)
def test_negative_size_is_not_published(kind: str, place: int) -> None:
    with Dispatcher(instruments=[BTC, ETH]) as dispatcher:
        with pytest.raises(PublishError, match="row 1: a size is below 0") as caught:
            dispatcher.publish(made(kind, place))
        assert caught.value.row == 1  # type: ignore[attr-defined]
        assert dispatcher.ring.cursor == 0
        with pytest.raises(PublishError, match="row 1: a size is below 0"):
            Sequencer(dispatcher.instruments).sequence(np.asarray(made(kind, place)))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("kind", "place"), SIZES)
def test_negative_size_is_the_feeds_error(way: type[Yields], kind: str, place: int, tmp_path: Any) -> None:
    with pytest.raises(FeedError, match=r"feed odd yielded ticks, row [01]: a size is below 0") as caught:
        bids_of(way, [market([1.0]), made(kind, place)], venue=None, tmp_path=tmp_path)
    assert caught.value.feed == "odd"


def test_negative_size_of_an_array_is_refused_in_a_replay() -> None:
    with pytest.raises(FeedError, match=r"feed array yielded ticks, row [01]: a size is below 0"):
        replay(made("trade", 1), instruments=INSTRUMENTS)


def test_price_below_zero_and_unknown_size_are_no_negative_size() -> None:
    array = market([-5.0, -4.0])
    array["values"][:, 2:] = np.nan
    assert replay(array).ticks == {"quote": 2}


@pytest.mark.parametrize("wrong", [{"kind": 0}, {"kind": 99}, {"kind": 1, "instrument": 9}])
@pytest.mark.parametrize("way", WAYS)
def test_unknown_kind_and_id_are_the_feeds_error(way: type[Yields], wrong: dict[str, int], tmp_path: Any) -> None:
    array = np.zeros(1, TICK_DTYPE)
    for name, value in wrong.items():
        array[name] = value
    with pytest.raises(FeedError, match=r"feed odd yielded ticks, row 0: (kind|instrument id) "):
        bids_of(way, [array], venue=None, tmp_path=tmp_path)
