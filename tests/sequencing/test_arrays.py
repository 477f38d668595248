"""Arrays of ticks are a feed, and nothing else passes for one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

import headrace
from headrace import TICK_DTYPE
from headrace.errors import OptionError, RecordingError
from headrace.feeds import ArrayFeed, Feed, SizedFeed


async def items_of(feed: ArrayFeed) -> list[np.ndarray]:
    await feed.open()
    try:
        return [item async for item in feed]
    finally:
        await feed.close()


def numbered(count: int) -> np.ndarray:
    ticks = np.zeros(count, TICK_DTYPE)
    ticks["seq"] = np.arange(1, count + 1)
    return ticks


def test_an_array_is_yielded_in_small_items_in_order() -> None:
    ticks = numbered(100_001)
    items = asyncio.run(items_of(ArrayFeed(ticks)))
    assert max(map(len, items)) <= 16_384
    assert np.array_equal(np.concatenate(items), ticks)


def test_a_saved_array_comes_back_as_it_was(tmp_path: Path) -> None:
    ticks = numbered(20_000)
    np.save(tmp_path / "ticks.npy", ticks)
    items = asyncio.run(items_of(ArrayFeed(tmp_path / "ticks.npy")))
    assert np.array_equal(np.concatenate(items), ticks)


def test_a_strided_array_is_a_feed_too() -> None:
    ticks = numbered(10)[::2]
    (item,) = asyncio.run(items_of(ArrayFeed(ticks)))
    assert item.flags.c_contiguous
    assert item["seq"].tolist() == [1, 3, 5, 7, 9]


def test_the_view_of_one_kind_is_taken_as_the_ticks_it_is() -> None:
    ticks = numbered(5)
    (item,) = asyncio.run(items_of(ArrayFeed(ticks.view(headrace.QUOTE_DTYPE))))
    assert item.dtype == TICK_DTYPE
    assert np.array_equal(item, ticks)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (np.zeros(3), "float64"),
        (np.zeros(3, [("seq", "u8"), ("price", "f8")]), r"seq, price"),
        (np.zeros((2, 2), TICK_DTYPE), r"\(2, 2\)"),
    ],
    ids=["floats", "other_fields", "two_dimensions"],
)
def test_an_array_of_something_else_is_refused_at_once(wrong: np.ndarray, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        ArrayFeed(wrong)


def test_a_file_that_is_no_npy_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "ticks.npy").write_bytes(b"seq,price\n1,2.0\n")
    with pytest.raises(RecordingError, match=r"np\.save"):
        asyncio.run(items_of(ArrayFeed(tmp_path / "ticks.npy")))


def test_a_file_with_several_arrays_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "ticks.npy").open("wb") as file:
        np.savez(file, a=numbered(1), b=numbered(2))
    with pytest.raises(RecordingError, match="several arrays"):
        asyncio.run(items_of(ArrayFeed(tmp_path / "ticks.npy")))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"nowhere\.npy is missing"):
        asyncio.run(items_of(ArrayFeed(tmp_path / "nowhere.npy")))


def test_an_array_is_a_feed_with_a_known_size() -> None:
    feed = ArrayFeed(numbered(7))
    assert isinstance(feed, Feed)
    assert isinstance(feed, SizedFeed)
    asyncio.run(items_of(feed))
    assert feed.bytes_done == feed.bytes_total == 7 * 72
