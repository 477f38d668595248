"""Board: the newest state document, which of its rows changed when, and lists to which entries are added.

::

    document ─▶ update ─▶ version + 1 of the rows that differ ─┐
    events ───▶ Tail ───▶ number + 1 ──────────────────────────┴▶ Follower.take: all that came since its last take

What happens when a follower is slow
    It keeps nothing in the board but its place. Its next take has the newest value of each row that changed meanwhile,
    and says how many versions it stands for; entries that a tail has dropped meanwhile are counted as lost.

Guarantees: a follower that merges what it takes has the document; memory is bounded by the document, the tails and
REMOVALS_MAX removed rows, whatever followers do.
Does not: make documents or send anything; ``engine_state`` and ``service`` do.
"""

from __future__ import annotations

import secrets
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["CLOCK", "Board", "Document", "Follower", "Place", "Tail", "Update"]

# Section -> key -> row; a row is plain values, as JSON has them.
Document: TypeAlias = "dict[str, dict[str, Any]]"

# The section of a document that says when it was read: it goes with every update, and makes none by itself.
CLOCK = "clock"
# Removed rows that are remembered; a follower that was away for longer gets the whole document.
REMOVALS_MAX = 10_000
# Entries of each tail in a whole document.
FIRST_ENTRIES = 100


class Tail:
    """The newest entries of one list, numbered from 1. May be added to in any thread.

    capacity : how many are kept. shown : makes plain values of an entry, when it is taken; None: they are plain.
    """

    def __init__(self, capacity: int, shown: Callable[[Any], dict[str, Any]] | None = None) -> None:
        self._entries: deque[Any] = deque(maxlen=capacity)
        self._shown = shown
        self._lock = threading.Lock()
        self.count = 0

    def add(self, entry: object) -> None:
        """Add an entry; the oldest goes when there is no room."""
        with self._lock:
            self._entries.append(entry)
            self.count += 1

    def between(self, number: int, newest: int) -> tuple[list[dict[str, Any]], int]:
        """Return the entries behind a number, up to the newest one, each with its own as "n"; and how many are gone."""
        with self._lock:
            oldest = self.count - len(self._entries) + 1
            first = max(number + 1, oldest)
            entries = list(self._entries)[first - oldest : newest - oldest + 1]
        shown = entries if self._shown is None else map(self._shown, entries)
        return [{"n": first + index, **entry} for index, entry in enumerate(shown)], first - number - 1


class Place(NamedTuple):
    """How far a follower has come: a version of the document, and the number of the last entry of each tail."""

    version: int
    numbers: tuple[int, ...]


class Update(NamedTuple):
    """What a follower takes.

    place : where it stands with it. whole : a document, in place of what the follower has; otherwise ``sections`` are
    the rows that changed, None for those that are gone. conflated : versions between that were not taken.
    clock : when the document was read. entries : of each tail that has new ones. lost : how many of its entries are
    gone, by tail.
    """

    place: Place
    whole: bool
    conflated: int
    clock: Mapping[str, Any]
    sections: Mapping[str, Mapping[str, Any]]
    entries: Mapping[str, Sequence[Mapping[str, Any]]]
    lost: Mapping[str, int]


class Board:
    """One state document and its tails, by name. Used on one thread; tails are added to in any."""

    def __init__(self, tails: Mapping[str, Tail]) -> None:
        # Places of another board, of a process before this one, mean nothing here.
        self.board_id = secrets.token_hex(4)
        self.tails = dict(tails)
        self.version = 0
        self.clock: Mapping[str, Any] = {}
        self._rows: dict[str, dict[str, tuple[int, Any]]] = {}
        self._removed: deque[tuple[int, str, str]] = deque()
        # Up to this version, removed rows are forgotten.
        self._forgotten = 0
        self._kept: tuple[Place, Update] | None = None

    def update(self, document: Document) -> bool:
        """Take a newer document; False: nothing but its clock differs. O(rows)."""
        self.clock = document.get(CLOCK, {})
        version = self.version + 1
        has_changed = False
        for section in [own for own in self._rows if own not in document]:
            self._remove(version, section, list(self._rows.pop(section)))
            has_changed = True
        for section, rows in document.items():
            if section == CLOCK:
                continue
            known = self._rows.setdefault(section, {})
            gone = [key for key in known if key not in rows] if known.keys() != rows.keys() else []
            for key, row in rows.items():
                before = known.get(key)
                if before is None or before[1] != row:
                    known[key] = (version, row)
                    has_changed = True
            for key in gone:
                del known[key]
                has_changed = True
            self._remove(version, section, gone)
        self.version += has_changed
        return has_changed

    def _remove(self, version: int, section: str, keys: Iterable[str]) -> None:
        self._removed.extend((version, section, key) for key in keys)
        while len(self._removed) > REMOVALS_MAX:
            self._forgotten = self._removed.popleft()[0]

    @property
    def document(self) -> Document:
        """The document as it is now, without its clock."""
        return {section: {key: row for key, (_, row) in rows.items()} for section, rows in self._rows.items()}

    @property
    def place(self) -> Place:
        """The newest place."""
        return Place(self.version, tuple(tail.count for tail in self.tails.values()))

    def since(self, place: Place | None) -> Update | None:
        """Return what came after a place, None where nothing did; the whole document for a place that is unknown.

        Followers of one place share an answer.
        """
        now = self.place
        if place is None or not self._is_known(place, now):
            return self._whole(now)
        if place == now:
            return None
        if self._kept is not None and self._kept[0] == place and self._kept[1].place == now:
            return self._kept[1]
        sections: dict[str, dict[str, Any]] = {}
        if place.version < now.version:
            for version, section, key in reversed(self._removed):
                if version <= place.version:
                    break
                sections.setdefault(section, {})[key] = None
            for section, rows in self._rows.items():
                changed = {key: row for key, (version, row) in rows.items() if version > place.version}
                if changed:
                    sections.setdefault(section, {}).update(changed)
        entries, lost = self._entries(place.numbers, now.numbers)
        conflated = max(0, now.version - place.version - 1)
        update = Update(now, False, conflated, self.clock, sections, entries, lost)  # noqa: FBT003 - its field is called whole
        self._kept = (place, update)
        return update

    def _is_known(self, place: Place, now: Place) -> bool:
        return (
            len(place.numbers) == len(now.numbers)
            and self._forgotten <= place.version <= now.version
            and all(0 <= own <= newest for own, newest in zip(place.numbers, now.numbers, strict=True))
        )

    def _whole(self, now: Place) -> Update:
        numbers = tuple(max(0, number - FIRST_ENTRIES) for number in now.numbers)
        entries, _ = self._entries(numbers, now.numbers)
        return Update(now, True, 0, self.clock, self.document, entries, {})  # noqa: FBT003 - as above

    def _entries(
        self, numbers: Sequence[int], newest: Sequence[int]
    ) -> tuple[dict[str, list[dict[str, Any]]], dict[str, int]]:
        entries: dict[str, list[dict[str, Any]]] = {}
        lost: dict[str, int] = {}
        for name, number, last in zip(self.tails, numbers, newest, strict=True):
            if last > number:
                entries[name], gone = self.tails[name].between(number, last)
                if gone:
                    lost[name] = gone
        return entries, lost


class Follower:
    """One client of a board. place : where it stands; None: it has nothing."""

    def __init__(self, board: Board, place: Place | None = None) -> None:
        self._board = board
        self.place = place

    def take(self) -> Update | None:
        """Return what came since the last take, None where nothing did."""
        update = self._board.since(self.place)
        if update is not None:
            self.place = update.place
        return update
