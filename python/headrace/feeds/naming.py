"""Naming: an exception out of a feed names the feed and the method that raised it.

Guarantees: an Exception keeps its type, and gets a note; what asyncio or the engine would take for something else
becomes a FeedError (``market.user_errors``).
Does not: change errors of Headrace, which name what they are about, or an interrupt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.errors import FeedError, HeadraceError
from headrace.market.user_errors import problem_of

if TYPE_CHECKING:
    from types import TracebackType

    from headrace.feeds.base import AnyFeed

__all__ = ["NamedFeed"]


class NamedFeed:
    """A context manager around a call of a feed's method."""

    def __init__(self, feed: AnyFeed, method: str) -> None:
        self._feed = feed
        self._method = method

    def __enter__(self) -> None:
        """Begin the call."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Name the feed in what the call raised. Raises FeedError."""
        # Errors of Headrace name what they are about.
        if error is None or isinstance(error, HeadraceError):
            return
        where = f"in {type(self._feed).__name__}.{self._method} of feed {self._feed.name}"
        if problem := problem_of(error, where):
            msg = f"{problem}; a feed ends by returning, or raises one plain Exception"
            raise FeedError(msg, feed=self._feed.name) from error
