"""Naming: an exception out of a feed names the feed and the method that raised it.

Guarantees: an Exception keeps its type, and gets a note; what asyncio or the engine would take for something else
becomes a FeedError (``market.user_errors``).
Does not: change errors of Headrace's own feeds, which name what they are about, or an interrupt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from headrace.errors import FeedError, HeadraceError
from headrace.market.user_errors import problem_of
from headrace.market.user_waits import returned

if TYPE_CHECKING:
    from types import TracebackType

    from headrace.feeds.base import AnyFeed

__all__ = ["NamedFeed", "called"]


class NamedFeed:
    """A context manager around a call of a feed's method."""

    def __init__(self, feed: AnyFeed, method: str) -> None:
        self._feed = feed
        self.where = f"{type(feed).__name__}.{method} of feed {feed.name}"

    def __enter__(self) -> Self:
        """Begin the call."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Name the feed in what the call raised. Raises FeedError."""
        # What our own feeds raise names the file.
        is_ours = isinstance(error, HeadraceError) and type(self._feed).__module__.startswith("headrace.")
        if error is None or is_ours:
            return
        if problem := problem_of(error, f"in {self.where}"):
            msg = f"{problem}; a feed ends by returning, or raises one plain Exception"
            raise FeedError(msg, feed=self._feed.name) from error


async def called(feed: AnyFeed, method: str, *arguments: object, within_s: float | None = None) -> None:
    """Call a feed's async method, and wait until it returns. Raises what it raises; TimeoutError after ``within_s``."""
    with NamedFeed(feed, method) as named:
        await returned(getattr(feed, method)(*arguments), named.where, within_s)
