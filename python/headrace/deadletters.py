"""DeadLetters: the one store of what was refused or failed.

::

    rejected frame ─┐
    failed call ────┴▶ letters, newest last, bounded in number and bytes: the oldest go first

Guarantees: bounded memory; every letter says why, where and when, and holds what is needed to try again; any thread
may add and look.
Does not: lose count: ``total`` counts what was pushed out, too.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Literal, NamedTuple

from headrace.limits import DEAD_FRAMES_MAX, DEAD_LETTERS_BYTES_MAX, DEAD_LETTERS_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

__all__ = ["DeadLetter", "DeadLetters"]


class DeadLetter(NamedTuple):
    """One of them.

    id : rises by one. kind : "frame" or "call". reason : of the closed list, or the exception's own text.
    source : the feed, or the subscription. row : line of a recording, 0 elsewhere.
    ts_ns : receive time, or the clock's. frame : the bytes of a rejected frame.
    handler, instrument, tick_kind : of a failed call. positions : of its ticks. ticks : at most 8, dtype TICK_DTYPE.
    ticks_total : how many the call had. traceback : as Python prints it.
    """

    id: int
    kind: Literal["frame", "call"]
    reason: str
    source: str
    row: int
    ts_ns: int
    frame: bytes
    handler: str
    instrument: str | None
    tick_kind: str | None
    positions: tuple[int, ...]
    ticks: np.ndarray | None
    ticks_total: int
    traceback: str

    @property
    def nbytes(self) -> int:
        """About what it costs to keep."""
        ticks = 0 if self.ticks is None else self.ticks.nbytes
        return len(self.frame) + ticks + len(self.traceback) + len(self.reason) + 256


class DeadLetters:
    """The store.

    letters_max, bytes_max, frames_max : bounds; the oldest letters go first, frames among themselves.
    """

    def __init__(
        self,
        *,
        letters_max: int = DEAD_LETTERS_MAX,
        bytes_max: int = DEAD_LETTERS_BYTES_MAX,
        frames_max: int = DEAD_FRAMES_MAX,
    ) -> None:
        # Reentrant: a finaliser that runs while a letter is added may add one.
        self._lock = threading.RLock()
        self._letters: deque[DeadLetter] = deque()
        self._letters_max = letters_max
        self._bytes_max = bytes_max
        self._frames_max = frames_max
        self._bytes = 0
        self._frames = 0
        self._total = 0

    @property
    def total(self) -> int:
        """How many there ever were, those pushed out included."""
        return self._total

    def __len__(self) -> int:
        return len(self._letters)

    def __iter__(self) -> Iterator[DeadLetter]:
        return iter(self._snapshot())

    def list(self, *, kind: Literal["frame", "call"] | None = None) -> list[DeadLetter]:
        """Return the letters kept, oldest first."""
        return [letter for letter in self._snapshot() if kind in (None, letter.kind)]

    def get(self, letter_id: int) -> DeadLetter | None:
        """Return the letter with this id, None when it is unknown or was pushed out."""
        return next((letter for letter in self._snapshot() if letter.id == letter_id), None)

    def add_frame(self, *, source: str, row: int, reason: str, ts_ns: int, frame: bytes) -> DeadLetter:
        """Keep a rejected frame."""
        return self._add(DeadLetter(0, "frame", reason, source, row, ts_ns, frame, "", None, None, (), None, 0, ""))

    def add_call(
        self,
        *,
        source: str,
        handler: str,
        reason: str,
        ts_ns: int,
        instrument: str | None,
        tick_kind: str | None,
        positions: tuple[int, ...],
        ticks: np.ndarray,
        ticks_total: int,
        traceback: str,
    ) -> DeadLetter:
        """Keep a failed call."""
        return self._add(
            DeadLetter(
                *(0, "call", reason, source, 0, ts_ns, b"", handler),
                *(instrument, tick_kind, positions, ticks, ticks_total, traceback),
            )
        )

    def _snapshot(self) -> tuple[DeadLetter, ...]:
        with self._lock:
            return tuple(self._letters)

    def _add(self, unnumbered: DeadLetter) -> DeadLetter:
        with self._lock:
            self._total += 1
            letter = unnumbered._replace(id=self._total)
            self._letters.append(letter)
            self._bytes += letter.nbytes
            self._frames += letter.kind == "frame"
            if self._frames > self._frames_max:
                self._drop(next(index for index, kept in enumerate(self._letters) if kept.kind == "frame"))
            while len(self._letters) > self._letters_max or (self._bytes > self._bytes_max and len(self._letters) > 1):
                self._drop(0)
            return letter

    def _drop(self, index: int) -> None:
        dropped = self._letters[index]
        del self._letters[index]
        self._bytes -= dropped.nbytes
        self._frames -= dropped.kind == "frame"
