"""Row 20: depth frames to a book, and ``on_book`` with its best prices, per level.

    frame ─▶ publish_frame, dispatch ─▶ on_book(bid_price, ask_price)
    frame ─▶ msgspec ─▶ SortedDict ─▶ best prices, a plain call         what a strategy writes without us

Guarantees: both have the same best prices at the end, or there is no time.
Does not: compare with a BTreeMap in Rust; `cargo bench -p headrace-core --bench book` does.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from functools import cache

import headrace
from benches.baselines.sorted_book import SortedBook
from benches.bench import Bench, Row, Work
from benches.frames import recordings
from headrace.feeds import SyntheticFeed

FRAMES_MIN = 40_000


@cache
def depth_frames(count: int) -> tuple[list[bytes], int]:
    """Return a session's depth frames, recorded where there are some, and how many levels they hold."""
    files = [file for file in recordings() if "spot_btcusdt" in file.name]
    lines = gzip.decompress(files[0].read_bytes()).splitlines() if files else SyntheticFeed(frames=FRAMES_MIN).lines()
    frames = [line.partition(b" ")[2].strip() for line in lines]
    frames = [frame for frame in frames if b"depthUpdate" in frame[:200] or b"lastUpdateId" in frame[:200]]
    begin = next(index for index, frame in enumerate(frames) if b"lastUpdateId" in frame[:200])
    # What came before the snapshot is older, or joins it: the first frame names the symbol.
    frames = [frames[0], frames[begin], *frames[1:begin], *frames[begin + 1 :]][:count]
    return frames, sum(frame.count(b'["') for frame in frames)


class Best(headrace.Strategy):
    """Keeps the newest best prices."""

    def __init__(self) -> None:
        self.newest = (0.0, 0.0)

    def on_book(self, bid_price: float, ask_price: float) -> None:
        self.newest = (bid_price, ask_price)


def on_book(frames: list[bytes]) -> Iterator[Work]:
    """Ours: each frame published and dispatched as a live feed does."""
    best = Best()
    with headrace.Dispatcher(instruments_max=16) as dispatcher:
        decoder = headrace.Decoder("BINANCE", dispatcher.instruments)
        dispatcher.subscribe(best)

        def work() -> None:
            for row, frame in enumerate(frames, 1):
                dispatcher.publish_frame(decoder, frame, row)
                dispatcher.dispatch()

        yield work
        peer = SortedBook()
        wanted = [peer.frame(frame) for frame in frames[1:]]
        assert best.newest == wanted[-1]


def sorted_containers(frames: list[bytes]) -> Iterator[Work]:
    """The same with msgspec and sortedcontainers."""
    book, seen = SortedBook(), [0]

    def strategy(_bid_price: float, _ask_price: float) -> None:
        seen[0] += 1

    def work() -> None:
        for frame in frames[1:]:
            strategy(*book.frame(frame))

    yield work
    assert seen[0] == len(frames) - 1


class TestBooks:
    """Times are per level."""

    rows = (Row("20", "depth frames to on_book", "on_book", "sorted_containers", at_least=20.0),)

    def test_on_book(self, bench: Bench) -> None:
        _measured(bench, on_book)

    def test_sorted_containers(self, bench: Bench) -> None:
        _measured(bench, sorted_containers)


def _measured(bench: Bench, case: Callable[[list[bytes]], Iterator[Work]]) -> None:
    frames, levels = depth_frames(bench.size.frames)
    bench.items(levels)(case, frames)
