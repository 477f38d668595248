"""DeadLetters: the one store of refused frames, failed calls and failed events.

::

    rejected frame ─┐
    failed call ────┼▶ letters, newest last, bounded in number and bytes: the oldest go first
    failed event ───┘      └▶ redrive: once more to the handler that failed on it

Guarantees: bounded memory; every letter holds the reason, the place and the time, and what is needed to try again; any
thread may add and read. A letter is redriven once. ``total`` counts dropped letters, too.
Does not: retry by itself.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import msgspec

from headrace.errors import LetterError
from headrace.limits import DEAD_FRAMES_MAX, DEAD_LETTERS_BYTES_MAX, DEAD_LETTERS_MAX
from headrace.market.checks import whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np

    from headrace.market.events import Event

__all__ = ["DeadLetter", "DeadLetters", "LetterKind"]

LetterKind: TypeAlias = Literal["frame", "call", "event"]
# The assumed size of an event that cannot be encoded.
_UNKNOWN_BYTES = 1_024


class DeadLetter(NamedTuple):
    """One refused frame, failed call or failed event.

    kind : "frame", "call" or "event". reason : one of the closed list, or the exception's own text.
    source : the feed, the subscription, or the bus's handler. ts_ns : receive time, or the clock's.
    id : rises by one; the store sets it. row : line of a recording. frame : the bytes of a rejected frame.
    handler, instrument, tick_kind : of a failed call. positions : ring positions of its ticks.
    ticks : its first ticks, at most 8, dtype TICK_DTYPE. ticks_total : how many the call had.
    traceback : as Python prints it.
    event, lane : of a failed event. attempts : how many times its handler was called with it.
    """

    kind: LetterKind
    reason: str
    source: str
    ts_ns: int
    id: int = 0
    row: int = 0
    frame: bytes = b""
    handler: str = ""
    instrument: str | None = None
    tick_kind: str | None = None
    positions: tuple[int, ...] = ()
    ticks: np.ndarray | None = None
    ticks_total: int = 0
    traceback: str = ""
    event: Event | None = None
    event_bytes: int = 0
    lane: str = ""
    attempts: int = 0

    @property
    def nbytes(self) -> int:
        """Its approximate size in memory."""
        ticks = 0 if self.ticks is None else self.ticks.nbytes
        return len(self.frame) + self.event_bytes + ticks + len(self.traceback) + len(self.reason) + 256


class DeadLetters:
    """A bounded store of dead letters.

    letters_max, bytes_max : bounds; above them the oldest letters are dropped. frames_max : the bound of frames; above
    it the oldest frame is dropped.
    """

    def __init__(
        self,
        *,
        letters_max: int = DEAD_LETTERS_MAX,
        bytes_max: int = DEAD_LETTERS_BYTES_MAX,
        frames_max: int = DEAD_FRAMES_MAX,
    ) -> None:
        for option, value in (("letters_max", letters_max), ("bytes_max", bytes_max), ("frames_max", frames_max)):
            whole(option, value, 0, 1 << 62, "letters" if option != "bytes_max" else "bytes")
        # Reentrant: a finaliser that runs while a letter is added may add one.
        self._lock = threading.RLock()
        self._letters: deque[DeadLetter] = deque()
        self._letters_max = letters_max
        self._bytes_max = bytes_max
        self._frames_max = frames_max
        self._bytes = 0
        self._frames = 0
        self._total = 0
        # What redelivers the event of a letter, by its id; the ids that were redriven.
        self._again: dict[int, Callable[[], None]] = {}
        self._redriven: set[int] = set()

    @property
    def total(self) -> int:
        """How many letters were added, dropped ones included."""
        return self._total

    def __len__(self) -> int:
        return len(self._letters)

    def __iter__(self) -> Iterator[DeadLetter]:
        return iter(self._snapshot())

    def list(self, *, kind: LetterKind | None = None) -> list[DeadLetter]:
        """Return the letters kept, oldest first."""
        return [letter for letter in self._snapshot() if kind in (None, letter.kind)]

    def get(self, letter_id: int) -> DeadLetter | None:
        """Return the letter with this id, None when it is unknown or was dropped."""
        return next((letter for letter in self._snapshot() if letter.id == letter_id), None)

    def add(self, letter: DeadLetter, *, redrive: Callable[[], None] | None = None) -> DeadLetter:
        """Keep a letter, and return it with its id. redrive : delivers its event to the handler again, or raises."""
        event_bytes = 0 if letter.event is None else _encoded_bytes(letter.event)
        with self._lock:
            self._total += 1
            letter = letter._replace(id=self._total, event_bytes=event_bytes)
            self._letters.append(letter)
            self._bytes += letter.nbytes
            self._frames += letter.kind == "frame"
            if redrive is not None:
                self._again[letter.id] = redrive
            if self._frames > self._frames_max:
                self._drop(next(index for index, kept in enumerate(self._letters) if kept.kind == "frame"))
            while len(self._letters) > self._letters_max or (self._bytes > self._bytes_max and len(self._letters) > 1):
                self._drop(0)
        return letter

    def redrive(self, letter_id: int) -> DeadLetter:
        """Deliver the event of a letter once more to the handler that failed on it, and return the letter.

        The event goes through the handler's lane again, behind the events that wait there. A letter is redriven once;
        an event that fails again makes a new letter. Raises LetterError; LaneFullError and ClosedError: it was not
        redriven, try again.
        """
        with self._lock:
            letter = self.get(letter_id)
            again = self._again.pop(letter_id, None)
        if letter is None:
            msg = f"there is no dead letter {letter_id}: it was dropped, or never existed"
            raise LetterError(msg)
        if again is None:
            why = "was redriven already" if letter_id in self._redriven else f"holds a {letter.kind}, not an event"
            msg = f"dead letter {letter_id} {why}: only events are redriven, each letter once"
            raise LetterError(msg)
        try:
            again()
        except BaseException:
            with self._lock:
                if self.get(letter_id) is not None:
                    self._again[letter_id] = again
            raise
        with self._lock:
            # It may have been dropped meanwhile.
            if self.get(letter_id) is not None:
                self._redriven.add(letter_id)
        return letter

    def snapshot(self) -> DeadLetters:
        """Return a copy with the letters of now; no letter of it can be redriven."""
        copied = DeadLetters()
        copied.__setstate__(self.__getstate__())
        return copied

    def __getstate__(self) -> dict[str, object]:
        """What is pickled and copied: the letters and counts, but no handler that could receive one again."""
        with self._lock:
            state = {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_again")}
            return {**state, "_letters": self._letters.copy(), "_redriven": set(self._redriven)}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state, _lock=threading.RLock(), _again={})

    def _snapshot(self) -> tuple[DeadLetter, ...]:
        with self._lock:
            return tuple(self._letters)

    def _drop(self, index: int) -> None:
        dropped = self._letters[index]
        del self._letters[index]
        self._bytes -= dropped.nbytes
        self._frames -= dropped.kind == "frame"
        self._again.pop(dropped.id, None)
        self._redriven.discard(dropped.id)


def _encoded_bytes(event: Event) -> int:
    try:
        return len(msgspec.json.encode(event))
    except (TypeError, ValueError, NotImplementedError, RecursionError):
        return _UNKNOWN_BYTES
