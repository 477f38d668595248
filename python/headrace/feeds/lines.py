r"""Lines: blocks of recorded lines as bytes, and the one check of their receive times.

::

    1723161254087891268 {"stream":"btcusdt@bookTicker","data":{…}}\n

Guarantees: a block whose times are in another unit, or of another age, is never read as one of 1970; a line that is
torn, also inside its time, is left to the decoder, which rejects and counts it.
Does not: look at every line. Times never go back in a source, so the first and the last of a block show the unit.
"""

from __future__ import annotations

from codecs import BOM_UTF8, getincrementaldecoder
from typing import TYPE_CHECKING

from headrace.market.times import time_problem

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["WrongTimeError", "may_be_text", "without_marks", "wrong_time"]

# An int64 has so many digits at most; more are no receive time, and so a bad line.
DIGITS_MAX = 19


class WrongTimeError(ValueError):
    """A receive time in another unit or of another age; ``offset`` is where its line begins in the block."""

    def __init__(self, ts_ns: int, problem: str, offset: int) -> None:
        super().__init__(f"has the receive time {ts_ns}, {problem}")
        self.offset = offset


def may_be_text(block: bytes) -> bool:
    """Return whether a block may be of a text file, by its first bytes: UTF-8 without control characters but spaces."""
    head = block[:4]
    try:
        # The last character may be cut.
        text = getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return all(own >= " " or own.isspace() for own in text)


def wrong_time(block: bytes) -> WrongTimeError | None:
    """Return what is wrong with the first wrong receive time of a block; None when its times are of this age."""
    for offsets in (_forward(block), _backward(block)):
        for offset in offsets:
            if (ts_ns := _time_at(block, offset)) is not None:
                if time_problem(ts_ns):
                    return _first_wrong(block)
                break
    return None


def without_marks(block: bytes) -> bytes:
    """Return a block of whole lines without the byte order marks before them: each file put into it may have one."""
    # One byte is found ten times as fast as three, and recorded text has it almost never.
    if BOM_UTF8[:1] not in block or BOM_UTF8 not in block:
        return block
    return (b"\n" + block).replace(b"\n" + BOM_UTF8, b"\n")[1:]


def _first_wrong(block: bytes) -> WrongTimeError | None:
    for offset in _forward(block):
        ts_ns = _time_at(block, offset)
        if ts_ns is not None and (problem := time_problem(ts_ns)):
            return WrongTimeError(ts_ns, problem, offset)
    return None


def _forward(block: bytes) -> Iterator[int]:
    """Yield where each line begins."""
    offset = 0
    while offset < len(block):
        yield offset
        offset = block.find(b"\n", offset) + 1 or len(block)


def _backward(block: bytes) -> Iterator[int]:
    """Yield where each line begins, the last one first."""
    end = len(block)
    while end > 0:
        offset = block.rfind(b"\n", 0, end - 1) + 1
        yield offset
        end = offset


def _time_at(block: bytes, offset: int) -> int | None:
    """Return the receive time of the line that begins here; None when the line has none."""
    digits, blank, _ = block[offset : offset + DIGITS_MAX + 1].partition(b" ")
    return int(digits) if blank and digits.isdigit() else None
