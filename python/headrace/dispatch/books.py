"""BookDesk: the states of the books that strategies use, and the requests for their snapshots.

::

    a book changes its state ─▶ on_state ─▶ state(instrument) ─▶ gates
                                         └▶ copy_of(instrument) ─▶ an operator
    a book needs a snapshot ─▶ on_snapshot_needed ─▶ fetch        the feed's answer comes as a frame among the others

Guarantees: costs nothing while no book changes its state.
Does not: keep books; each native group does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from headrace._native import Book, BookHandle

__all__ = ["BookDesk"]

UNKNOWN: Final = "SYNCING"


class BookDesk:
    """The books of one dispatcher. Native code calls ``on_state`` and ``on_snapshot_needed``, in any thread."""

    def __init__(self) -> None:
        self._states: dict[str, str] = {}
        # The books of each instrument, one of each group; the one that spoke last stands last.
        self._kept: dict[str, tuple[BookHandle, ...]] = {}
        # Has an instrument's snapshot fetched; replays have none.
        self.fetch: Callable[[str], object] = _no_feed

    def state(self, instrument: str) -> str:
        """Return SYNCING, LIVE or STALE: what a book of this instrument that is kept now said last."""
        return self._states[instrument] if _still_kept(self._kept.get(instrument, ())) else UNKNOWN

    @property
    def states(self) -> Mapping[str, str]:
        """The state of each instrument's book that is kept now and was in sync once."""
        return {name: self._states[name] for name, kept in list(self._kept.items()) if _still_kept(kept)}

    def copy_of(self, instrument: str) -> Book | None:
        """Return a copy of an instrument's book as it is now; None: none that was in sync once is kept.

        Of the books of several groups it is the one whose state changed last. In any thread. O(levels).
        """
        for handle in reversed(self._kept.get(instrument, ())):
            if (book := handle.copy()) is not None:
                return book
        return None

    def disconnect(self) -> None:
        """Fetch no more: native code keeps this object alive, and with it the feeds."""
        self.fetch = _no_feed

    def on_state(self, instrument: str, state: str, book: BookHandle) -> None:
        """Note a book's new state."""
        self._states[instrument] = state
        others = (own for own in _still_kept(self._kept.get(instrument, ())) if own != book)
        self._kept[instrument] = (*others, book)

    def on_snapshot_needed(self, instrument: str) -> None:
        """Have a snapshot fetched."""
        self.fetch(instrument)


def _still_kept(handles: tuple[BookHandle, ...]) -> tuple[BookHandle, ...]:
    return tuple(own for own in handles if own.is_kept)


def _no_feed(_instrument: str) -> None:
    pass
