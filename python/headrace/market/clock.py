"""Clocks: where the time comes from, live and in replay.

::

    WallClock      the machine's time                  PacedClock    a recording's time, at a set speed
    EngineClock    stands still until its engine       ReplayClock   the time T that a replay resolves
                   moves it: one value per step

Guarantees: a clock never goes back; ``now_ns`` is int64 ns since 1970-01-01 UTC.
Does not: sleep or run timers.
"""

from __future__ import annotations

import time
from enum import StrEnum
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np

import headrace._native as _native
from headrace.errors import EngineError, OptionError
from headrace.market.user_errors import called

__all__ = [
    "END_OF_TIME_NS",
    "Clock",
    "EngineClock",
    "Mode",
    "ModeName",
    "PacedClock",
    "ReplayClock",
    "UserClock",
    "WallClock",
    "seconds_until",
]

# A time after every tick.
END_OF_TIME_NS = (1 << 63) - 1


@runtime_checkable
class Clock(Protocol):
    """An object with a time."""

    def now_ns(self) -> int:
        """Return the time, ns since 1970-01-01 UTC; never less than the call before returned."""


class WallClock:
    """The machine's clock; it stands still while the machine's clock, set back, is behind it."""

    __slots__ = ("_latest_ns",)

    def __init__(self) -> None:
        self._latest_ns = 0

    def now_ns(self) -> int:
        """Return the time, ns since 1970-01-01 UTC."""
        self._latest_ns = max(self._latest_ns, time.time_ns())
        return self._latest_ns


class Mode(StrEnum):
    """How an engine goes on.

    LIVE : by the clock, as ticks come. REPLAY : by the ticks' own times; T is resolved fully before T + 1.
    REPEAT : by the log of a live run, call for call, with the bounds of that run.
    """

    LIVE = "live"
    REPLAY = "replay"
    REPEAT = "repeat"


# A mode, or its name.
ModeName: TypeAlias = Mode | Literal["live", "replay", "repeat"]


class RealClock:
    """The real time of a live engine, once in a turn; what is due behind a stall is handled at its own time.

    Orders are judged and stamped by it. In a replay both are one time.
    """

    __slots__ = ("now_ns",)

    def __init__(self, native: _native.ReplayTime) -> None:
        self.now_ns = native.real_ns


class EngineClock:
    """A clock that stands still until ``advance_to`` moves it, so that everything in one step has one time.

    real : the time by which orders are judged; behind a stall it is ahead.
    """

    __slots__ = ("native", "now_ns", "real")

    def __init__(self, now_ns: int = 0) -> None:
        # The same time, readable by native code.
        self.native = _native.ReplayTime(now_ns)
        self.now_ns = self.native.now_ns
        self.real = RealClock(self.native)

    def advance_to(self, now_ns: int) -> None:
        """Move to a later time; an earlier one changes nothing."""
        self.native.advance_to(now_ns)

    def set_alarm(self, due_ns: int | None) -> None:
        """Set when a timer or bar is due: a replay stops before the ticks of that time. None: nothing is due."""
        self.native.set_alarm(due_ns)


class ReplayClock(EngineClock):
    """The time T of a replay: the receive time of the ticks that it resolves.

    Native code moves it before anything of T happens.
    """

    __slots__ = ()


class UserClock:
    """A clock of the user's: what it raises, or returns that is no time, names it. Raises EngineError."""

    __slots__ = ("_clock", "_where")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._where = f"{type(clock).__name__}.now_ns of the clock"

    def now_ns(self) -> int:
        """Return the time, ns since 1970-01-01 UTC."""
        now_ns = called(self._clock.now_ns, self._where)
        if type(now_ns) is not int or not 0 <= now_ns <= END_OF_TIME_NS:
            msg = f"{self._where} returned {now_ns!r}: return an int, ns since 1970-01-01 UTC"
            raise EngineError(msg)
        return now_ns


class PacedClock:
    """A live clock in a recording's time: it starts at ``first_ns`` and runs at ``speed``.

    first_ns : the recording's first ``ts_init``. speed : how many seconds of the recording pass in one second; with
    "max" the clock stands at the newest published time, which ``follow`` sets.
    Raises OptionError.
    """

    __slots__ = ("_first_ns", "_latest_ns", "_speed", "_started_ns")

    def __init__(self, first_ns: int, speed: float | Literal["max"] = 1.0) -> None:
        if speed != "max" and not _is_speed(speed):
            msg = f"speed={speed!r} is not allowed: use 'max' or a number above 0, 1.0 for real time"
            raise OptionError(msg, option="speed")
        self._first_ns = self._latest_ns = first_ns
        self._speed = None if speed == "max" else float(speed)
        self._started_ns = time.monotonic_ns()

    def now_ns(self) -> int:
        """Return the recording's time, ns since 1970-01-01 UTC."""
        if self._speed is not None:
            self._latest_ns = max(self._latest_ns, self.due_ns())
        return self._latest_ns

    def due_ns(self) -> int:
        """Return the receive time up to which ticks are due now; with "max" all ticks are due."""
        if self._speed is None:
            return END_OF_TIME_NS
        passed_ns = (time.monotonic_ns() - self._started_ns) * self._speed
        return min(END_OF_TIME_NS, self._first_ns + int(min(passed_ns, 2.0 * END_OF_TIME_NS)))

    def wait_s(self, ts_ns: int) -> float:
        """Return the seconds until ``ts_ns`` is due; 0.0 when it is due."""
        return 0.0 if self._speed is None else max(0.0, (ts_ns - self.due_ns()) / self._speed / 1e9)

    def follow(self, ts_ns: int) -> None:
        """Move to the time of a published tick; an earlier one changes nothing."""
        self._latest_ns = max(self._latest_ns, ts_ns)


def seconds_until(clock: Clock, due_ns: int) -> float:
    """Return the seconds until a clock reaches ``due_ns``; 0.0 when it has reached it."""
    return clock.wait_s(due_ns) if isinstance(clock, PacedClock) else max(0.0, (due_ns - clock.now_ns()) / 1e9)


def _is_speed(speed: object) -> bool:
    if isinstance(speed, bool) or not isinstance(speed, int | float | np.floating | np.integer):
        return False
    return 0 < float(speed) < float("inf")
