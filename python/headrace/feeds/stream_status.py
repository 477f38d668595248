"""Stream status: the items that say how a stream stands, between the items of its feed.

::

    feed with a venue ─▶ Frame {"e": "headraceStatus", "s": SYMBOL, "stream": KIND, "state": …, "reason": …}
    feed of ticks     ─▶ rows of TICK_DTYPE, kind status                       each becomes one call of ``on_status``

Guarantees: a recording holds them at their place, so that a replay and a repeat make the same calls.
Does not: decide how a stream stands; the feed does, and ``live`` when the feed itself is over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

import headrace._native as _native
from headrace.feeds.base import Frame
from headrace.market.tick import STATUS_DTYPE, STATUS_REASONS, STREAM_STATES, TICK_DTYPE, Flags, kind_named

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from headrace.feeds.base import FeedItem

__all__ = ["end_items", "status_frame"]

# A stream's name that no kind of tick has: the status concerns every stream of its instrument.
EVERY_STREAM = "*"


def status_frame(symbol: str, stream: str, state: str, reason: str, *, epoch: int = 0, is_lost: bool = False) -> bytes:
    """Return a status as a frame of the venue's combined form.

    stream : the stream's kind as the venue names it, such as ``"depth"``. state : one of STREAM_STATES.
    reason : one of STATUS_REASONS. epoch : the number of the connection, 0 without one.
    is_lost : whether frames may be missing before the next one.
    """
    status: dict[str, object] = {"e": "headraceStatus", "s": symbol, "stream": stream}
    status |= {"state": state, "reason": reason, "epoch": epoch, "lost": is_lost}
    return msgspec.json.encode({"stream": f"{symbol.lower()}@status", "data": status})


def end_items(
    instrument_ids: Sequence[int], instruments: _native.Instruments, venue: str | None, ts_init: int
) -> Iterable[FeedItem]:
    """Return the items that say that nothing comes of these instruments any more: DOWN, FEED_ENDED.

    venue : of the feed that ended; None when its items are ticks.
    """
    if venue is None:
        return [_end_rows(instrument_ids, ts_init)] if instrument_ids else []
    names = [(instruments.name(own) or "").rpartition(".") for own in instrument_ids]
    return [
        Frame(ts_init, status_frame(symbol, EVERY_STREAM, "DOWN", "FEED_ENDED"))
        for symbol, _, of_venue in names
        if of_venue == venue
    ]


def _end_rows(instrument_ids: Sequence[int], ts_init: int) -> np.ndarray:
    rows = np.zeros(len(instrument_ids), STATUS_DTYPE)
    rows["ts_init"], rows["instrument"], rows["kind"] = ts_init, instrument_ids, kind_named("status").number
    rows["flags"] = Flags.FIRST_IN_EVENT | Flags.LAST_IN_EVENT | Flags.NO_VENUE_TIME
    rows["state"] = _number_of("DOWN", STREAM_STATES)
    rows["reason"] = _number_of("FEED_ENDED", STATUS_REASONS)
    return rows.view(TICK_DTYPE)


def _number_of(name: str, names: dict[int, str]) -> int:
    return next(number for number, own in names.items() if own == name)
