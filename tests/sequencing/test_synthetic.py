"""The generated session keeps the venue's rules; an independent book that follows these rules checks it."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from hashlib import sha256
from pathlib import Path

import pytest

from headrace.feeds import Feed, SyntheticFeed, synthetic_session

VENUES = ("BINANCE", "BINANCE_USDM", "BINANCE_COINM")
FRAMES = 20_000


def frames(feed: SyntheticFeed) -> Iterator[dict]:
    for line in feed.lines():
        frame = json.loads(line.split(b" ", 1)[1])
        yield frame.get("data", frame)


def is_snapshot(frame: dict) -> bool:
    return "lastUpdateId" in frame


def is_book_ticker(frame: dict) -> bool:
    return not is_snapshot(frame) and frame.get("e", "bookTicker") == "bookTicker"


class Book:
    """The oracle: the venue's procedure in decimals; slow and simple."""

    def __init__(self, *, futures: bool) -> None:
        self.futures = futures
        self.sides: tuple[dict[Decimal, Decimal], dict[Decimal, Decimal]] = ({}, {})
        self.id: int | None = None
        self.applied = 0

    def snapshot(self, frame: dict) -> None:
        self.id = frame["lastUpdateId"]
        for side, key in zip(self.sides, ("bids", "asks"), strict=True):
            side.clear()
            side.update({Decimal(price): Decimal(size) for price, size in frame[key]})

    def update(self, frame: dict) -> bool:
        if self.id is None or (frame["u"] < self.id if self.futures else frame["u"] <= self.id):
            return False
        if not self.futures:
            assert frame["U"] == self.id + 1 or (not self.applied and frame["U"] <= self.id + 1)
        elif self.applied:
            assert frame["pu"] == self.id
        else:
            assert frame["U"] <= self.id <= frame["u"]
        self.id = frame["u"]
        self.applied += 1
        for side, key in zip(self.sides, ("b", "a"), strict=True):
            for price, size in frame[key]:
                if Decimal(size):
                    side[Decimal(price)] = Decimal(size)
                else:
                    side.pop(Decimal(price), None)
        return True

    def best(self) -> tuple[Decimal, Decimal, Decimal, Decimal]:
        bids, asks = self.sides
        return max(bids), bids[max(bids)], min(asks), asks[min(asks)]


@pytest.mark.parametrize("venue", VENUES)
def test_the_book_is_a_chain_and_equals_its_book_tickers(venue: str) -> None:
    book = Book(futures=venue != "BINANCE")
    tickers: dict[int, tuple[Decimal, ...]] = {}
    compared = 0
    for frame in frames(SyntheticFeed(venue=venue, frames=FRAMES)):
        if is_snapshot(frame):
            book.snapshot(frame)
        elif is_book_ticker(frame):
            tickers[frame["u"]] = tuple(Decimal(frame[key]) for key in "bBaA")
        elif frame["e"] == "depthUpdate" and book.update(frame) and frame["u"] in tickers:
            compared += 1
            assert book.best() == tickers[frame["u"]]
    assert book.applied > 100
    assert compared > 50


@pytest.mark.parametrize("venue", VENUES)
def test_trade_ids_are_contiguous_and_aggregates_cover_them(venue: str) -> None:
    trades, aggregates = [], []
    for frame in frames(SyntheticFeed(venue=venue, frames=FRAMES)):
        if frame.get("e") == "trade":
            trades.append(frame["t"])
        elif frame.get("e") == "aggTrade":
            aggregates.append(frame)
    assert trades == list(range(trades[0], trades[0] + len(trades)))
    assert [frame["a"] for frame in aggregates] == list(range(aggregates[0]["a"], aggregates[0]["a"] + len(aggregates)))
    assert all(after["f"] == before["l"] + 1 for before, after in itertools.pairwise(aggregates))


def test_receive_times_strictly_rise() -> None:
    times = [int(line[:19]) for line in SyntheticFeed(frames=FRAMES).lines()]
    assert all(before < after for before, after in itertools.pairwise(times))


def test_books_are_never_crossed() -> None:
    for frame in frames(SyntheticFeed(frames=FRAMES, seed=9)):
        if is_book_ticker(frame):
            assert Decimal(frame["b"]) < Decimal(frame["a"])


def test_the_same_seed_is_the_same_bytes_in_another_process() -> None:
    code = (
        "import sys; from hashlib import sha256; from headrace.feeds import SyntheticFeed; "
        "print(sha256(b''.join(SyntheticFeed(frames=5000, seed=4).lines())).hexdigest())"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert told == sha256(b"".join(SyntheticFeed(frames=5_000, seed=4).lines())).hexdigest()
    assert told != sha256(b"".join(SyntheticFeed(frames=5_000, seed=5).lines())).hexdigest()


def test_every_frame_type_is_there_and_one_snapshot() -> None:
    seen = [
        "snapshot" if is_snapshot(frame) else frame.get("e", "bookTicker")
        for frame in frames(SyntheticFeed(frames=5_000))
    ]
    assert set(seen) == {"bookTicker", "trade", "aggTrade", "depthUpdate", "snapshot"}
    assert seen.count("snapshot") == 1
    assert len(seen) == 5_000


def test_a_session_divides_its_frames_among_the_symbols() -> None:
    feeds = synthetic_session(("BTCUSDT", "ETHUSDT", "SOLUSDT"), frames=1_000)
    assert [sum(1 for _ in feed.lines()) for feed in feeds] == [334, 333, 333]
    assert len({feed.name for feed in feeds}) == 3


def test_a_written_session_is_the_same_file_twice(tmp_path: Path) -> None:
    feed = SyntheticFeed(frames=1_000)
    assert feed.write(tmp_path / "a.gz").read_bytes() == feed.write(tmp_path / "b.gz").read_bytes()
    assert feed.write(tmp_path / "plain").read_bytes() == b"".join(feed.lines())


def test_an_unknown_venue_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="BINANCE_USDM"):
        SyntheticFeed(venue="KRAKEN")


def test_a_generator_is_a_feed() -> None:
    assert isinstance(SyntheticFeed(), Feed)
