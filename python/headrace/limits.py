"""Every default and bound, with its unit and its reason. ``docs/reference`` is generated from here.

Bounds of the native core are read from it, so that no number stands twice.

Guarantees: names end in their unit; relations between bounds are asserted below.
Does not: hold configuration; an option of the same name overrides a default for one object.
"""

from typing import NamedTuple

from headrace import _native

__all__ = ["LIMITS", "Limit"]


class Limit(NamedTuple):
    """One bound: its value, unit, and why it is that."""

    name: str
    value: int | float
    unit: str
    reason: str


_core = _native.limit_table()

LIMITS = (
    Limit("RING_CAPACITY", _core["RING_CAPACITY"], "ticks", "5 MiB: over a second of the busiest recorded minute"),
    Limit("INSTRUMENTS_MAX", _core["INSTRUMENTS_MAX"], "instruments", "three times what the largest venue lists"),
    Limit("SYMBOL_BYTES_MAX", _core["SYMBOL_BYTES_MAX"], "bytes", "the longest listed symbols have about 20"),
    Limit("KINDS_MAX", _core["KINDS_MAX"], "kinds", "a set of kinds is one 64-bit word"),
    Limit("FRAME_BYTES_MAX", _core["FRAME_BYTES_MAX"], "bytes", "ten times a 5,000-level snapshot"),
    Limit("FRAME_DEPTH_MAX", _core["FRAME_DEPTH_MAX"], "levels", "documented frames nest 4 deep"),
    Limit("RESTART_JUMP", _core["RESTART_JUMP"], "numbers", "no restored sequencer gives a number twice"),
    Limit("BATCH_MAX", 1_024, "ticks", "columns pay from about 19 ticks; beyond 1,024 they leave the first caches"),
    Limit("BATCH_MAX_MAX", 65_536, "ticks", "a batch is a copy: 4.5 MiB"),
    Limit("BLOCK_MAX_NS", 1_000_000_000, "ns", "a live reader that holds the feed longer than 1 s is demoted"),
    Limit("SLOW_HANDLER_MS", 100, "ms", "an inline handler that runs longer delays everybody: it is named in the log"),
    Limit("QUARANTINE_FAULTS", 3, "faults", "one may be bad data, two a coincidence"),
    Limit("QUARANTINE_CALLS", 1_000, "calls", "within which so many faults end a strategy in quarantine"),
    Limit("CLOSE_DEADLINE_S", 5.0, "s", "a thread that does not end by then is named in the log and left"),
    Limit("DEAD_LETTERS_MAX", 10_000, "letters", "a day of three faults a minute fits twice"),
    Limit("DEAD_LETTERS_BYTES_MAX", 16 << 20, "bytes", "what a process spares for the autopsy"),
    Limit("DEAD_FRAMES_MAX", _core["REJECTS_MAX"], "frames", "enough to see a pattern, of every source together"),
    Limit("LETTER_TEXT_MAX", 20_000, "characters", "a deep traceback fits; a text of megabytes does not"),
    Limit("LETTER_TICKS_MAX", 8, "ticks", "the first of a failed call, enough to repeat it"),
    Limit("WINDOW_MIN_NS", 1_000_000, "ns", "shorter windows are cheaper as singular handlers"),
    Limit("WATCH_EVERY_S", 0.1, "s", "a slow handler is named within 1 s"),
)

_values = {limit.name: limit.value for limit in LIMITS}


def _whole(name: str) -> int:
    return int(_values[name])


RING_CAPACITY = _whole("RING_CAPACITY")
INSTRUMENTS_MAX = _whole("INSTRUMENTS_MAX")
FRAME_BYTES_MAX = _whole("FRAME_BYTES_MAX")
FRAME_DEPTH_MAX = _whole("FRAME_DEPTH_MAX")
BATCH_MAX = _whole("BATCH_MAX")
BATCH_MAX_MAX = _whole("BATCH_MAX_MAX")
BLOCK_MAX_NS = _whole("BLOCK_MAX_NS")
SLOW_HANDLER_MS = _whole("SLOW_HANDLER_MS")
QUARANTINE_FAULTS = _whole("QUARANTINE_FAULTS")
QUARANTINE_CALLS = _whole("QUARANTINE_CALLS")
CLOSE_DEADLINE_S = float(_values["CLOSE_DEADLINE_S"])
DEAD_LETTERS_MAX = _whole("DEAD_LETTERS_MAX")
DEAD_LETTERS_BYTES_MAX = _whole("DEAD_LETTERS_BYTES_MAX")
DEAD_FRAMES_MAX = _whole("DEAD_FRAMES_MAX")
LETTER_TEXT_MAX = _whole("LETTER_TEXT_MAX")
LETTER_TICKS_MAX = _whole("LETTER_TICKS_MAX")
WINDOW_MIN_NS = _whole("WINDOW_MIN_NS")
WATCH_EVERY_S = float(_values["WATCH_EVERY_S"])

assert BATCH_MAX <= BATCH_MAX_MAX
assert LETTER_TICKS_MAX < BATCH_MAX
assert WATCH_EVERY_S + SLOW_HANDLER_MS / 1e3 < 1
assert RING_CAPACITY & (RING_CAPACITY - 1) == 0
