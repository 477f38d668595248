"""BookView: the book of one instrument, as deep as it was asked for.

Guarantees: all of it is of one moment; a book that is not in sync shows no levels.
Does not: have a book kept; a strategy that uses ``on_book`` does, or a route that carries FUSED.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from headrace.control.http.problems import ProblemError
from headrace.control.http.views import View
from headrace.market.checks import nearest_name

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from headrace.dispatch.books import BookDesk

__all__ = ["BookView", "book_view"]

STALE = "STALE"
NAME_CHARACTERS_MAX = 100


class BookView(View, frozen=True, kw_only=True):
    """The best levels of a book.

    state : SYNCING, LIVE or STALE; reason : why. quality : LIVE, DEGRADED where the best price comes near the end of
    the known depth, STALE where it is not in sync. update_id : the venue's, of the last event in it. resyncs : how
    often it was in sync again. levels : how many are known, of both sides. bids, asks : price and size, best first;
    none of a book that is not in sync.
    """

    instrument: str
    state: str
    reason: str
    quality: str
    update_id: str
    resyncs: int
    levels: int
    bids: list[tuple[float, float]]
    asks: list[tuple[float, float]]


def book_view(books: BookDesk, instrument: str, levels: int) -> BookView:
    """Return the best levels of each side, at most so many. Raises ProblemError: no book of it is kept."""
    book = books.copy_of(instrument)
    if book is None:
        raise _unknown(instrument, list(books.states))
    in_sync = book.quality != STALE
    bids, asks = book.bids(), book.asks()
    return BookView(
        instrument=instrument,
        state=book.state,
        reason=book.reason,
        quality=book.quality,
        update_id=str(book.update_id),
        resyncs=book.resyncs,
        levels=len(bids[0]) + len(asks[0]) if in_sync else 0,
        bids=_rows(bids, levels) if in_sync else [],
        asks=_rows(asks, levels) if in_sync else [],
    )


def _rows(side: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]], levels: int) -> list[tuple[float, float]]:
    prices, sizes = side
    return list(zip(prices[:levels].tolist(), sizes[:levels].tolist(), strict=True))


def _unknown(instrument: str, known: list[str]) -> ProblemError:
    name = instrument[:NAME_CHARACTERS_MAX]
    close = nearest_name(name, known)
    hint = f"did you mean {close}? " if close else ""
    there = f"there are {', '.join(known) or 'none'}"
    detail = f"no book of {name} is kept: {hint}{there}; a strategy with on_book keeps one, from its first snapshot on"
    return ProblemError(HTTPStatus.NOT_FOUND, "not-found", detail, nearest=close)
