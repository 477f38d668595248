"""Progress: how far the feeds of a run are read, reported about ten times a second.

Guarantees: a report is made only when one is due; what the user's function raises names it.
Does not: show anything (``engine.tables``), or wait: a run that calls nothing reports nothing.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from headrace.feeds.base import SizedFeed
from headrace.market.user_errors import called

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headrace.feeds.base import AnyFeed

__all__ = ["PROGRESS_EVERY_NS", "Progress", "ProgressReports"]

PROGRESS_EVERY_NS = 100_000_000


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a replay is.

    bytes_done, bytes_total : of the files' bytes; the total is 0 when a feed has no size.
    ticks : published so far. now_ns : the time of the market, ns since 1970-01-01 UTC.
    """

    bytes_done: int
    bytes_total: int
    ticks: int
    now_ns: int = 0


class ProgressReports:
    """Calls a function with the progress of feeds."""

    def __init__(self, call: Callable[[Progress], object], feeds: Sequence[AnyFeed]) -> None:
        self._call = call
        self._feeds = feeds
        self._due_ns = 0

    def report(self, *, ticks: int, now_ns: int) -> None:
        """Report how far the feeds are read, if that is due. ticks : published so far. now_ns : by the run's clock."""
        real_ns = time.monotonic_ns()
        if real_ns < self._due_ns:
            return
        self._due_ns = real_ns + PROGRESS_EVERY_NS
        sized = [feed for feed in self._feeds if isinstance(feed, SizedFeed)]
        total = sum(feed.bytes_total for feed in sized) if len(sized) == len(self._feeds) else 0
        done = sum(feed.bytes_done for feed in sized)
        called(self._call, "progress", Progress(bytes_done=done, bytes_total=total, ticks=ticks, now_ns=now_ns))
