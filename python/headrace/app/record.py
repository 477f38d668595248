"""Recording: an engine whose only work is to write what a venue sends, in files that each replay alone.

::

    feed ─▶ recorder ─▶ file          a new file begins with our own book of each instrument that is LIVE, else with a
      └──▶ ring ─▶ books ─▶ snapshots ─┘  snapshot that is fetched then

Guarantees: whatever ends it, what was received before is in the files.
Does not: show anything; ``headrace record`` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from headrace.engine.engine import Engine
from headrace.errors import BookError
from headrace.feeds.rotating_recorder import RotatingRecorder
from headrace.strategies.strategy import Strategy

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from headrace import Book
    from headrace.venues import BinanceFeed

__all__ = ["Books", "Recording", "recording_of"]


class Books(Strategy):
    """Keeps the newest book of each instrument, for the beginning of the next file."""

    def __init__(self, feed: BinanceFeed) -> None:
        self._feed = feed
        self._books: dict[str, Book] = {}
        self.live: set[str] = set()
        self.gaps = 0

    def on_book(self, instrument: str, book: Book) -> None:
        """Keep a book until the next one comes."""
        self._books[instrument] = book

    def on_status(self, instrument: str, stream: str | None, state: str) -> None:
        """Count the books that are LIVE."""
        if stream == "depth":
            (self.live.add if state == "LIVE" else self.live.discard)(instrument)

    def on_gap(self) -> None:
        """Count a gap."""
        self.gaps += 1

    def snapshots(self) -> Iterator[bytes]:
        """Yield a frame for each book as it is now; have a snapshot fetched where there is none."""
        for instrument in self._feed.instruments:
            try:
                book = self._books[instrument].snapshot()
            except (KeyError, BookError):
                # It is not in sync, or changed without being applied: one that joins the next event.
                self._feed.renew_snapshot(instrument)
            else:
                yield self._feed.snapshot_frame(instrument, book)


class Recording(NamedTuple):
    """The parts of a recording run."""

    engine: Engine
    recorder: RotatingRecorder
    books: Books


def recording_of(
    feed: BinanceFeed, folder: str | os.PathLike[str], *, rotate_ns: int | None = None, packed: str = "gzip"
) -> Recording:
    """Return an engine that records one feed, made with ``snapshots="always"``.

    rotate_ns : a new file begins with each multiple of it in UTC; None: one file. packed : "gzip" or "zstd".

    Raises OptionError, MissingExtraError.
    """
    books = Books(feed)
    recorder = RotatingRecorder(folder, feed.venue, rotate_ns=rotate_ns, snapshots=books.snapshots, packed=packed)
    engine = Engine(name="record", feeds=[feed], strategies=[books], record=recorder)
    return Recording(engine, recorder, books)
