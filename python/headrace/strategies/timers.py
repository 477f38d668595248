"""Timers: callbacks at times of the engine's clock, in the order (due, creation).

::

    set ─▶ heap by (due, number) ─▶ fire_next(now) ─▶ callback(Timer)        an interval's timer goes back into the heap

What happens when the clock jumps over several due times of an interval
    Live, the timer fires once, with the number that it ``missed``. In a replay the clock stops at each due time, so the
    timer fires at each.

What happens when a timer is set for now again and again
    Each one that is set for the time at which a timer of the same strategy fired makes a chain of them longer by one.
    A chain of more than TIMER_CHAIN_MAX is refused: the time would never go on.

Guarantees: one order for all timers, the same in every run; a timer that is replaced or cancelled never fires again.
Does not: wait; the engine's driver reads ``due_ns`` and calls ``fire_next``.
"""

from __future__ import annotations

import heapq
import threading
from typing import TYPE_CHECKING, NamedTuple

from headrace.errors import EngineError
from headrace.limits import TIMER_CHAIN_MAX
from headrace.market.clock import Mode

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Timer", "Timers"]


# So many ended entries stay in the heap at most, and one for each that lives.
ENDED_MAX = 64


class Timer(NamedTuple):
    """One firing of a timer, the argument of its callback.

    name : as it was set. due_ns : when it was due. interval_ns : 0 for a timer that fires once.
    missed : the number of due times before this one that the clock jumped over.
    """

    name: str
    due_ns: int
    interval_ns: int
    missed: int


class _Entry(NamedTuple):
    """An entry of the heap; its number is unique, so that the fields after it are never compared."""

    due_ns: int
    number: int
    owner: str
    name: str
    interval_ns: int
    callback: Callable[[Timer], object]
    chain: int


class Timers:
    """All timers of an engine.

    mode : in a replay the clock stops at every due time. on_due : called with the earliest due time when it may have
    changed. advance_to : moves the clock to a timer's time before its callback.
    """

    def __init__(self, *, mode: Mode, on_due: Callable[[int | None], None], advance_to: Callable[[int], None]) -> None:
        self._mode = mode
        self._on_due = on_due
        self._advance_to = advance_to
        self._heap: list[_Entry] = []
        # (owner, name) -> number of the valid entry; other entries in the heap are replaced or cancelled ones.
        self._living: dict[tuple[str, str], int] = {}
        self._numbers = 0
        # The time at which timers fired last, and how long each owner's chain of timers for that time is.
        self._now_ns = 0
        self._chains: dict[str, int] = {}
        # Strategies in their own threads set timers, too.
        self._lock = threading.RLock()

    def set(
        self, owner: str, name: str, due_ns: int, callback: Callable[[Timer], object], *, interval_ns: int = 0
    ) -> None:
        """Set a timer, or replace the owner's timer of this name. Raises EngineError for a chain without end."""
        with self._lock:
            chain = self._chains.get(owner, 0) + 1 if due_ns <= self._now_ns else 0
            if chain > TIMER_CHAIN_MAX:
                msg = (
                    f"timer {name!r} of {owner} is due at {due_ns} ns, which is not after the time now, and came after "
                    f"{TIMER_CHAIN_MAX:,} such timers in a row: set it for a later time"
                )
                raise EngineError(msg)
            self._numbers += 1
            self._living[owner, name] = self._numbers
            heapq.heappush(self._heap, _Entry(due_ns, self._numbers, owner, name, interval_ns, callback, chain))
            self._drop_ended()
            self._on_due(self.due_ns)

    def cancel(self, owner: str, name: str) -> bool:
        """Cancel a timer; False: there was none."""
        with self._lock:
            was_set = self._living.pop((owner, name), None) is not None
            self._drop_ended()
            self._on_due(self.due_ns)
        return was_set

    def cancel_all(self, owner: str) -> None:
        """Cancel all timers of an owner."""
        with self._lock:
            owned = [key for key in self._living if key[0] == owner]
            for key in owned:
                del self._living[key]
            if owned:
                self._drop_ended()
                self._on_due(self.due_ns)

    def _drop_ended(self) -> None:
        """Rebuild the heap when most of its entries are replaced or cancelled: each is dropped at a constant cost."""
        if len(self._heap) > 2 * len(self._living) + ENDED_MAX:
            self._heap = [entry for entry in self._heap if self._living.get(entry[2:4]) == entry.number]
            heapq.heapify(self._heap)

    @property
    def due_ns(self) -> int | None:
        """The due time of the earliest timer, ns; None: there is none."""
        with self._lock:
            while self._heap and self._living.get(self._heap[0][2:4]) != self._heap[0].number:
                heapq.heappop(self._heap)
            return self._heap[0].due_ns if self._heap else None

    def fire_next(self, now_ns: int) -> bool:
        """Fire the earliest due timer; False: none is due. Raises what its callback raises, with the timer rearmed."""
        with self._lock:
            due_ns = self.due_ns
            if due_ns is None or due_ns > now_ns:
                return False
            if now_ns != self._now_ns:
                self._now_ns = now_ns
                self._chains.clear()
            entry = heapq.heappop(self._heap)
            if entry.chain:
                self._chains[entry.owner] = entry.chain
            missed = 0
            if entry.interval_ns:
                if self._mode is not Mode.REPLAY:
                    missed = (now_ns - entry.due_ns) // entry.interval_ns
                fired_ns = entry.due_ns + missed * entry.interval_ns
                # The number stays: of two timers due at the same time, the one set first always fires first.
                heapq.heappush(self._heap, entry._replace(due_ns=fired_ns + entry.interval_ns))
            else:
                fired_ns = entry.due_ns
                del self._living[entry.owner, entry.name]
            self._on_due(self.due_ns)
        self._advance_to(fired_ns)
        entry.callback(Timer(entry.name, fired_ns, entry.interval_ns, missed))
        return True
