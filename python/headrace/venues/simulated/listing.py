"""A listed symbol: its market, the streams made from it, and the history that REST answers from.

Guarantees: history is bounded; a frozen book stays as it was.
Does not: send anything.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

from headrace.market.instrument import Instrument
from headrace.venues.simulated.derived import DerivedStreams
from headrace.venues.simulated.market import Book, Market

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.venues.simulated.timeline import Moment

__all__ = ["Listed"]

TRADES_KEPT = 100_000


class Listed:
    """One symbol of one market. quote_currency and base come from the instrument, where it has them."""

    def __init__(self, venue: str, symbol: str) -> None:
        self.market = Market(venue, symbol)
        self.derived = DerivedStreams(self.market)
        self.status = "TRADING"
        self._trades: deque[bytes] = deque(maxlen=TRADES_KEPT)
        self._agg_trades: deque[bytes] = deque(maxlen=TRADES_KEPT)
        self._frozen: Book | None = None
        # Subtracted from update ids once they began anew.
        self.update_offset = 0

    def keep(self, moment: Moment) -> None:
        """Keep a trade for the history."""
        if moment.kind == "trade":
            self._trades.append(moment.data)
        elif moment.kind == "aggTrade":
            self._agg_trades.append(moment.data)

    def freeze_book(self) -> None:
        """Remember the book as it is now, for stale answers."""
        book = self.market.book
        self._frozen = None if book is None else Book(book.last, dict(book.bids), dict(book.asks))

    def book(self, *, is_stale: bool) -> Book | None:
        """Return the book to answer with; None before there is one."""
        book = self._frozen if is_stale else self.market.book
        return None if book is None else book._replace(last=book.last - self.update_offset)

    def trades(self, first: int | None, limit: int) -> list[dict[str, object]]:
        """Return trades from an id on, or the latest."""
        return [
            {"id": row["t"], "price": row["p"], "qty": row["q"], "time": row["T"], "isBuyerMaker": row["m"]}
            for row in _chosen(self._trades, "t", first, limit)
        ]

    def agg_trades(self, first: int | None, limit: int) -> list[dict[str, object]]:
        """Return aggregates from an id on, or the latest."""
        return [{key: row[key] for key in "apqflTm"} for row in _chosen(self._agg_trades, "a", first, limit)]

    def open_interest(self) -> str:
        """Return the number of open contracts: an invented, steady one."""
        return f"{10_000 + len(self._trades)}.000"

    def info(self) -> dict[str, object]:
        """Return the symbol's row of exchangeInfo."""
        market = self.market
        instrument = Instrument(f"{market.symbol}.{market.venue}")
        filters = [
            {"filterType": "PRICE_FILTER", "tickSize": f"{market.price_tick:f}"},
            {"filterType": "LOT_SIZE", "stepSize": f"{market.lot_size:f}", "minQty": f"{market.lot_size:f}"},
        ]
        row: dict[str, object] = {"symbol": market.symbol, "status": self.status, "filters": filters}
        if currencies := instrument.currencies:
            row |= {"baseAsset": currencies.base, "quoteAsset": currencies.quote}
        if market.venue != "BINANCE":
            row |= {"contractType": "PERPETUAL", "contractStatus": self.status, "marginAsset": instrument.settles}
            row |= {"pair": market.symbol.partition("_")[0]}
        if market.venue == "BINANCE_COINM" and instrument.size is not None:
            row |= {"contractSize": int(instrument.size)}
        return row


def _chosen(kept: Sequence[bytes], key: str, first: int | None, limit: int) -> list[dict[str, object]]:
    wanted = kept if first is not None else [kept[-place] for place in range(min(limit, len(kept)), 0, -1)]
    rows = [msgspec.json.decode(data, type=dict[str, object]) for data in wanted]
    if first is None:
        return rows
    return [row for row in rows if isinstance(own := row[key], int) and own >= first][:limit]
