"""Clocks: where the time comes from, live and in replay.

Guarantees: a clock never goes back; ``now_ns`` is int64 ns since 1970-01-01 UTC.
Does not: sleep or run timers.
"""

from __future__ import annotations

import time
from typing import Protocol, runtime_checkable

from headrace import _native

__all__ = ["Clock", "ReplayClock", "WallClock"]


@runtime_checkable
class Clock(Protocol):
    """Anything that tells the time."""

    def now_ns(self) -> int:
        """Return the time, ns since 1970-01-01 UTC; never less than the call before."""


class WallClock:
    """The machine's clock; held where it is when the machine's is set back."""

    __slots__ = ("_latest_ns",)

    def __init__(self) -> None:
        self._latest_ns = 0

    def now_ns(self) -> int:
        """Return the time, ns since 1970-01-01 UTC."""
        self._latest_ns = max(self._latest_ns, time.time_ns())
        return self._latest_ns


class ReplayClock:
    """The time T of a replay: the receive time of what is being resolved.

    Moved natively, before anything of T happens.
    """

    __slots__ = ("_time", "now_ns")

    def __init__(self, now_ns: int = 0) -> None:
        self._time = _native.ReplayTime(now_ns)
        self.now_ns = self._time.now_ns

    def advance_to(self, now_ns: int) -> None:
        """Move to a later time; an earlier one changes nothing."""
        self._time.advance_to(now_ns)
