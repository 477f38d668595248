"""Which streams each market has, with their intervals.

::

    check("BINANCE", "btcusdt@bookTicke") ─▶ OptionError: did you mean bookTicker?

What happens without this check
    The venue confirms a stream that it does not have, and nothing ever comes.

Guarantees: a name that passes is one that the venue documents for that market.
Does not: know symbols; the venue's list does.

Source: the venue's public documentation of web-socket streams, read in November 2026.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.errors import OptionError
from headrace.market.checks import nearest
from headrace.venues.binance.rules import BY_VENUE, StreamName

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["check_streams"]

NONE = frozenset({""})
SPOT_DEPTHS = frozenset({"", "100ms", "1000ms"})
FUTURES_DEPTHS = frozenset({"", "100ms", "250ms", "500ms"})
MARKS = frozenset({"", "1s", "3s"})
CANDLES = frozenset({"1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M"})
PLAIN = ("bookTicker", "trade", "aggTrade", "miniTicker", "ticker")
DEPTHS = ("depth", "depth5", "depth10", "depth20")
FUTURES = (
    *("openInterest", "fundingRate", "rpiDepth", "compositeIndex", "contractInfo", "assetIndex", "tradingSession"),
    *(f"continuousKline_{interval}" for interval in CANDLES),
)
COINM = (
    "indexPrice",
    *(f"{kind}_{interval}" for kind in ("indexPriceKline", "markPriceKline") for interval in CANDLES),
)
# By kind: the intervals that there are, "" for none; None: any.
SPOT_KINDS: dict[str, frozenset[str] | None] = {
    **dict.fromkeys(PLAIN, NONE),
    **dict.fromkeys(DEPTHS, SPOT_DEPTHS),
    **dict.fromkeys(("avgPrice", "ticker_1h", "ticker_4h", "ticker_1d", "blockTrade", "referencePrice"), None),
    "kline": CANDLES | {"1s"},
}
USDM_KINDS: dict[str, frozenset[str] | None] = {
    **dict.fromkeys((*PLAIN, "forceOrder"), NONE),
    **dict.fromkeys(DEPTHS, FUTURES_DEPTHS),
    **dict.fromkeys(FUTURES, None),
    "kline": CANDLES,
    "markPrice": MARKS,
}
KINDS = {
    "BINANCE": SPOT_KINDS,
    "BINANCE_USDM": USDM_KINDS,
    "BINANCE_COINM": USDM_KINDS | dict.fromkeys(COINM, None),
}
assert KINDS.keys() == BY_VENUE.keys(), "every market has its streams"


def check_streams(venue: str, names: Iterable[str]) -> None:
    """Refuse the name of a stream, ``"btcusdt@trade"``, that a market does not have. Raises OptionError."""
    kinds = KINDS[venue]
    for name in names:
        stream = StreamName.parse(name)
        shown = name.removeprefix(f"{stream.symbol}@")
        if stream.kind not in kinds:
            others = [own for own, there in KINDS.items() if stream.kind in there]
            hint = f": it is of {' and '.join(others)}" if others else nearest(stream.kind, kinds)
            msg = f"{venue} has no stream {shown!r}{hint}"
            raise OptionError(msg, option="streams")
        intervals = kinds[stream.kind]
        if intervals is not None and stream.interval not in intervals:
            there = ", ".join(sorted(intervals - NONE)) or "none"
            msg = f"{venue} has no stream {shown!r}: the intervals of {stream.kind} are {there}"
            raise OptionError(msg, option="streams")
