"""Times: whether integers are nanoseconds, or a time of this age in another unit.

::

    recorded lines, frames, DataFrames      2000..2200            ``time_problem``
    columns and arrays of ticks             from 0 on, as tests   ``column_problem``

Guarantees: a time in s, ms or µs is never read as one of 1970: one table of units decides for every way in.
Does not: convert; what is refused comes with the factor to multiply it by.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from headrace.market.checks import UNITS_NS, refuse

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["YEAR_2000_NS", "YEAR_2200_NS", "column_problem", "moment_ns", "time_problem", "times_of_texts"]

YEAR_2000_NS, YEAR_2200_NS = 946_684_800 * 10**9, 7_258_118_400 * 10**9
# The units that receive times come in by mistake.
UNIT_WORDS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds"}
# What a missing time is as an integer.
NAT_NS = -(1 << 63)
# What stands behind a time of the day, and how far that is ahead of UTC.
BEHIND_TIME = re.compile(r"[T ][0-9:.]+([+-].*)$")
ZONE = re.compile(r"([+-])([01][0-9]|2[0-3])(?::?([0-5][0-9]))?")
# How near is near to a whole millisecond.
NEAR_NS = 1_000


def time_problem(ts_ns: int) -> str:
    """Return what is wrong with a time that must be of this age; empty when it is between 2000 and 2200."""
    if YEAR_2000_NS <= ts_ns < YEAR_2200_NS:
        return ""
    unit = likely_unit(ts_ns, ts_ns)
    if unit:
        return f"which looks like {UNIT_WORDS[unit]}: multiply it by {UNITS_NS[unit]:,}"
    return "which is not between 2000 and 2200: give ns since 1970"


def times_of_texts(texts: Sequence[str]) -> np.ndarray:
    """Return ISO texts as times, dtype M8[ns]; NaT where int64 holds no such ns. Raises ValueError.

    A text is in UTC, or ends with its distance from it: "Z", "+02:00", "-0500".
    """
    plain = [text.removesuffix("Z").removesuffix("+00:00") for text in texts]
    ahead = np.zeros(len(plain), "m8[m]")
    for row, text in enumerate(plain):
        found = BEHIND_TIME.search(text)
        if found is not None:
            plain[row], ahead[row] = text[: found.start(1)], _minutes_ahead(found[1])
    times = np.array(plain, "M8[ns]")
    # Beyond its range NumPy wraps in silence: "20250131" is a year, and would be a day of 1733.
    times[times.astype("M8[s]") != np.array(plain, "M8[s]")] = np.datetime64("NaT")
    return times - ahead


def _minutes_ahead(zone: str) -> int:
    """Return how far a zone is ahead of UTC. Raises ValueError. NumPy reads it, too, and warns each time."""
    read = ZONE.fullmatch(zone)
    if read is None:
        msg = f"{zone!r} is no distance from UTC: write +02:00"
        raise ValueError(msg)
    minutes = 60 * int(read[2]) + int(read[3] or 0)
    return minutes if read[1] == "+" else -minutes


def moment_ns(option: str, value: str | int) -> int:
    """Return a moment that a user names, ns: ISO text in UTC, "2025-01-31T12:00", or ns. Raises OptionError."""
    if isinstance(value, str) and not (value.isdecimal() and len(value) > len("2025")):
        try:
            moment_ns = int(times_of_texts([value]).astype("i8")[0])
        except ValueError:
            moment_ns = NAT_NS
        if moment_ns == NAT_NS:
            refuse(option, value, "a time in UTC, like '2025-01-31' or '2025-01-31T12:00', or ns since 1970")
        return moment_ns
    if type(value) is bool or time_problem(int(value)):
        refuse(option, value, "a time in UTC, like '2025-01-31', or ns since 1970, between 2000 and 2200")
    return int(value)


def column_problem(times: np.ndarray) -> str:
    """Return what is wrong with a column of times that may start at 0; empty when nothing is.

    Times next to whole milliseconds are accepted as ns of a test: no s or ms lie there by accident.
    """
    if not len(times):
        return ""
    first = int(times.argmin())
    if times[first] == NAT_NS:
        return f"NaT at row {first}, which is no time: correct or drop the row"
    if times[first] < 0:
        return f"{int(times[first])} at row {first}, which lies before 1970: give ns since 1970"
    # What is ns and no other unit by its first time needs no second look at all of them.
    unit = "" if times[first] >= YEAR_2200_NS // UNITS_NS["us"] else likely_unit(int(times[first]), int(times.max()))
    # As µs, times next to whole milliseconds are whole seconds, which is no accident.
    if not unit or (unit != "us" and not ((times + NEAR_NS) % UNITS_NS["ms"] > 2 * NEAR_NS).any()):
        return ""
    return f"{int(times[0])} at row 0, which looks like {UNIT_WORDS[unit]}: multiply the column by {UNITS_NS[unit]:,}"


def likely_unit(first: int, last: int) -> str:
    """Return the unit in which two times lie between the years 2000 and 2200; empty for none but ns."""
    for unit in UNIT_WORDS:
        if YEAR_2000_NS // UNITS_NS[unit] <= first and last < YEAR_2200_NS // UNITS_NS[unit]:
            return unit
    return ""
