"""Items: what a feed may yield, checked before anything else looks at it: recording, pump or ring.

::

    Frame        int ns of 2000..2200, and bytes        of a feed with a venue
    lines        bytes of whole recorded lines, as above    of a feed with a venue
    array        TICK_DTYPE, one dimension              of a feed without one

Guarantees: what is wrong with an item is the feed's error, a FeedError with the feed, the item and what it may yield;
nothing of it was written or published. Bytes that can still change (bytearray, memoryview) are copied.
Does not: decode. A frame of any bytes is an item; the decoder rejects and counts it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from headrace.errors import FeedError, HeadraceError
from headrace.feeds.arrays import ArrayFeed
from headrace.feeds.base import Frame
from headrace.feeds.lines import wrong_time
from headrace.market.tick import is_tick_dtype
from headrace.market.times import column_problem, time_problem

if TYPE_CHECKING:
    from headrace.feeds.base import AnyFeed, FeedItem
    from headrace.market.tick_array import InstrumentIds

__all__ = ["Items"]

MAY_YIELD = "a feed yields Frame(ts_init, data), bytes of whole recorded lines, or arrays of TICK_DTYPE"
# Of an item in an error's text.
SHOWN_MAX = 80


class Items:
    """Checks the items of one feed, once it is open.

    ids : writes the engine's into ticks. pump_looks : a pump takes each item next, and refuses ids without a name, too.
    """

    def __init__(self, feed: AnyFeed, ids: InstrumentIds, *, pump_looks: bool = False) -> None:
        self._name = feed.name
        self._has_frames = feed.venue is not None
        self._ids = ids
        self._pump_looks = pump_looks
        # The first times show the unit: later a clock that began at 0 passes by such numbers, too. An ArrayFeed has
        # looked at its own.
        self._shows_unit = not isinstance(feed, ArrayFeed)

    def checked(self, item: object) -> FeedItem:
        """Return an item as recording and pump take it. Raises FeedError."""
        if isinstance(item, Frame):
            return self._frame(*item)
        if isinstance(item, np.ndarray):
            return self._ticks(item)
        if isinstance(item, bytes | bytearray | memoryview):
            return self._lines(item)
        raise self._refused(f"{_shown(item)}: {MAY_YIELD}")

    def _frame(self, ts_init: object, data: object) -> Frame:
        if not isinstance(ts_init, int | np.integer) or isinstance(ts_init, bool):
            raise self._refused(f"Frame(ts_init={_shown(ts_init)}, …): it is a whole number, ns since 1970-01-01 UTC")
        if problem := time_problem(int(ts_init)):
            raise self._refused(f"Frame(ts_init={_shown(ts_init)}, …), {problem}")
        if not isinstance(data, bytes | bytearray | memoryview):
            what = f"Frame(…, data={_shown(data)}): data is bytes, as they came; encode a text with .encode()"
            raise self._refused(what)
        self._refuse_without_venue("a frame")
        return Frame(int(ts_init), self._bytes(data))

    def _lines(self, item: bytes | bytearray | memoryview) -> bytes:
        block = self._bytes(item)
        self._refuse_without_venue("lines")
        if (wrong := wrong_time(block)) is not None:
            raise self._refused(f"a block of lines that {wrong}")
        # A block is followed by another one, in a recording, too.
        return block if not block or block.endswith(b"\n") else block + b"\n"

    def _bytes(self, item: bytes | bytearray | memoryview) -> bytes:
        if isinstance(item, memoryview) and (item.itemsize != 1 or item.ndim != 1):
            raise self._refused(f"a memoryview of format {item.format!r} with {item.ndim} dimension(s): give its bytes")
        return bytes(item)

    def _ticks(self, item: np.ndarray) -> np.ndarray:
        if isinstance(item, np.ma.MaskedArray) or not is_tick_dtype(item.dtype) or item.ndim != 1:
            what = f"an array of dtype {_shown(item.dtype)} and shape {item.shape}"
            raise self._refused(f"{what}: ticks have TICK_DTYPE and one dimension; build them with headrace.ticks(…)")
        if self._has_frames:
            what = "ticks, and names a venue, which decodes frames"
            raise self._refused(f"{what}: a feed of ticks has venue = None")
        if self._shows_unit and len(item):
            self._shows_unit = False
            if problem := column_problem(item["ts_init"]):
                raise self._refused(f"ticks whose ts_init is {problem}")
        try:
            made = np.require(item, requirements=["C", "A"])
            return self._ids.of_table(made, is_looked_at=self._pump_looks)
        except HeadraceError as error:
            raise self._refused(f"ticks, {error}") from error

    def _refuse_without_venue(self, what: str) -> None:
        if not self._has_frames:
            raise self._refused(f"{what} and names no venue: give the feed one, so that it can be decoded")

    def _refused(self, what: str) -> FeedError:
        msg = f"feed {self._name} yielded {what}"
        return FeedError(msg, feed=self._name)


def _shown(value: object) -> str:
    """Return a value for an error's text, whatever its repr does."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - of a user's class
        text = f"an object of {type(value).__name__}"
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"
