"""BookDesk: the states of the books that strategies use, and the requests for their snapshots.

::

    a book changes its state ─▶ on_state ─▶ state(instrument) ─▶ gates
    a book needs a snapshot ─▶ on_snapshot_needed ─▶ fetch        the feed's answer comes as a frame among the others

Guarantees: costs nothing while no book changes its state.
Does not: keep books; each native group does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["BookDesk"]

UNKNOWN: Final = "SYNCING"


class BookDesk:
    """The books of one dispatcher. Native code calls ``on_state`` and ``on_snapshot_needed``, in any thread."""

    def __init__(self) -> None:
        self._states: dict[str, str] = {}
        # Has an instrument's snapshot fetched; replays have none.
        self.fetch: Callable[[str], object] = _no_feed

    def state(self, instrument: str) -> str:
        """Return SYNCING, LIVE or STALE: what a book of this instrument said last."""
        return self._states.get(instrument, UNKNOWN)

    @property
    def states(self) -> Mapping[str, str]:
        """The state of each instrument's book that there is."""
        return dict(self._states)

    def disconnect(self) -> None:
        """Fetch no more: native code keeps this object alive, and with it the feeds."""
        self.fetch = _no_feed

    def on_state(self, instrument: str, state: str) -> None:
        """Note a book's new state."""
        self._states[instrument] = state

    def on_snapshot_needed(self, instrument: str) -> None:
        """Have a snapshot fetched."""
        self.fetch(instrument)


def _no_feed(_instrument: str) -> None:
    pass
