"""A wrong item of a feed is that feed's error: it names the feed and the item, and nothing of it is used.

A time in milliseconds was read as one of 1970, and None out of a feed was "an error of headrace itself".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from headrace import TICK_DTYPE, Engine, Strategy, ticks
from headrace.errors import FeedError
from headrace.feeds import Frame
from tests.support.engines import INSTRUMENTS, START, market
from tests.support.feeding import BTC, ETH


def quote(number: int) -> bytes:
    """The frame of a quote whose bid is its number."""
    return b'{"u":%d,"s":"BTCUSDT","b":"%d.0","B":"1","a":"%d.5","A":"1"}' % (number, number, number)


def line(number: int, ts: int = START) -> bytes:
    return b"%d %b" % (ts, quote(number))


class Odd:
    """What has no repr."""

    def __repr__(self) -> str:
        raise ValueError


class Yields:
    """A feed of the past that yields what a test gives it."""

    name = "odd"

    def __init__(self, items: list[Any], venue: str | None) -> None:
        self.venue = venue
        self._items = items

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def __aiter__(self) -> AsyncIterator[Any]:
        for item in self._items:
            yield item


class YieldsLive(Yields):
    """The same as a live feed."""

    is_live = True


class Pushes(Yields):
    """The same as a feed that pushes."""

    __aiter__ = None  # type: ignore[assignment]

    async def run(self, push: Any) -> None:
        for item in self._items:
            push(item)
        await asyncio.sleep(0)


WAYS = [Yields, YieldsLive, Pushes]


class Bids(Strategy):
    """Keeps the bids."""

    def __init__(self) -> None:
        self.bids: list[float] = []

    def on_quote(self, bid_price: float) -> None:
        self.bids.append(bid_price)


def bids_of(way: type[Yields], items: list[Any], *, venue: str | None, tmp_path: Any) -> list[float]:
    """The bids that a strategy sees of a feed's items."""
    bids = Bids()
    options: dict[str, Any] = {"mode": "replay"} if way is Yields else {"state_folder": tmp_path / "state"}
    Engine(feeds=way(items, venue), strategies=[bids], instruments=INSTRUMENTS, **options).run()
    return bids.bids


def rows(**columns: Any) -> np.ndarray:
    made = np.zeros(2, TICK_DTYPE)
    for name, column in columns.items():
        made[name] = column
    return made


WRONG: list[tuple[Any, str | None, str]] = [
    (None, "BINANCE", "None: a feed yields Frame"),
    ("1 {}", "BINANCE", "'1 {}': a feed yields Frame"),
    ((START, b"{}"), "BINANCE", "a feed yields Frame"),
    (Odd(), "BINANCE", "an object of Odd: a feed yields Frame"),
    (Frame(2**70, b"{}"), "BINANCE", "is not between 2000 and 2200"),
    (Frame(START // 10**9, b"{}"), "BINANCE", "looks like seconds: multiply it by 1,000,000,000"),
    (Frame(START // 10**6, b"{}"), "BINANCE", "looks like milliseconds"),
    (Frame(START // 10**3, b"{}"), "BINANCE", "looks like microseconds"),
    (Frame(-1, b"{}"), "BINANCE", "is not between 2000 and 2200"),
    (Frame(True, b"{}"), "BINANCE", "ts_init=True, ….: it is a whole number"),
    (Frame(1.5, b"{}"), "BINANCE", "ts_init=1.5, ….: it is a whole number"),  # type: ignore[arg-type]
    (Frame(float(START), b"{}"), "BINANCE", "it is a whole number"),  # type: ignore[arg-type]
    (Frame("x", b"{}"), "BINANCE", "ts_init='x', ….: it is a whole number"),  # type: ignore[arg-type]
    (Frame(START, "{}"), "BINANCE", "data='{}'.: data is bytes"),  # type: ignore[arg-type]
    (Frame(START, None), "BINANCE", "data=None.: data is bytes"),  # type: ignore[arg-type]
    (Frame(START, memoryview(np.zeros(2))), "BINANCE", "memoryview of format 'd'"),  # type: ignore[arg-type]
    (Frame(START, memoryview(np.zeros((2, 2), "u1"))), "BINANCE", "2 dimension"),  # type: ignore[arg-type]
    (Frame(START, b"{}"), None, "a frame and names no venue"),
    (line(1), None, "lines and names no venue"),
    (line(1, START // 10**6), "BINANCE", "has the receive time 1767571200000, which looks like milliseconds"),
    (line(1) + b"\n" + line(2, START // 10**9), "BINANCE", "which looks like seconds"),
    (b"\n\r\n" + line(1, START // 10**6) + b"\n \n", "BINANCE", "looks like milliseconds"),
    (market([1.0]), "BINANCE", "a feed of ticks has venue = None"),
    (np.zeros(2), None, "dtype dtype.'float64'. and shape .2,."),
    (market([1.0, 2.0]).reshape(1, 2), None, "shape .1, 2."),
    (market([1.0]).astype(TICK_DTYPE.newbyteorder()), None, "ticks have TICK_DTYPE"),
    (np.ma.masked_array(market([1.0])), None, "ticks have TICK_DTYPE"),
    (rows(kind=1, ts_init=START // 10**6 + 7), None, "ts_init is 1767571200007 at row 0, which looks like milli"),
    (rows(kind=1, ts_init=START // 10**9), None, "looks like seconds"),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("item", "venue", "said"), WRONG, ids=[str(number) for number in range(len(WRONG))])
def test_wrong_item_is_the_feeds_error(
    way: type[Yields], item: Any, venue: str | None, said: str, tmp_path: Any
) -> None:
    with pytest.raises(FeedError, match=f"feed odd yielded .*{said}") as caught:
        bids_of(way, [item], venue=venue, tmp_path=tmp_path)
    assert caught.value.feed == "odd"


@pytest.mark.parametrize("way", WAYS)
def test_bytes_of_every_kind_are_the_same_frames(way: type[Yields], tmp_path: Any) -> None:
    reused = bytearray(quote(2))
    items = [
        Frame(START, quote(1)),
        Frame(np.int64(START), reused),  # type: ignore[arg-type]
        Frame(START, memoryview(quote(3))),  # type: ignore[arg-type]
        line(4),
        bytearray(line(5) + b"\n"),
        memoryview(line(6)),
        b"",
        b"\n",
        Frame(START, memoryview(b"".join(bytes([byte, 0]) for byte in quote(7)))[::2]),  # type: ignore[arg-type]
    ]
    assert bids_of(way, items, venue="BINANCE", tmp_path=tmp_path) == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]


@pytest.mark.parametrize("way", WAYS)
def test_clock_from_zero_may_pass_by_milliseconds(way: type[Yields], tmp_path: Any) -> None:
    later = market([3.0], start_ns=0)
    later["ts_init"] = START // 10**6 + 7
    items = [market([1.0, 2.0], start_ns=0), later]
    assert bids_of(way, items, venue=None, tmp_path=tmp_path) == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("way", WAYS)
def test_array_of_any_layout_is_read(way: type[Yields], tmp_path: Any) -> None:
    many = market([1.0, 2.0, 3.0, 4.0])
    shifted = np.frombuffer(b"x" + many[:1].tobytes(), "u1")[1:].view(TICK_DTYPE)
    assert bids_of(way, [shifted, many[1::2]], venue=None, tmp_path=tmp_path) == [1.0, 2.0, 4.0]


@pytest.mark.parametrize("way", WAYS)
def test_id_without_a_name_is_the_feeds_error(way: type[Yields], tmp_path: Any) -> None:
    made = ticks(instrument=BTC, ts_init=[1, 2], bid_price=1.0, ask_price=2.0)
    made["instrument"][1] = 7
    for names in ((BTC,), (ETH,)):
        made.instruments = names  # type: ignore[attr-defined]
        with pytest.raises(FeedError, match=r"odd yielded ticks, row 1: instrument id 7 has no name"):
            bids_of(way, [made], venue=None, tmp_path=tmp_path)
