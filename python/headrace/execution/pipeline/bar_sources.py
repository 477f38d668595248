"""BarSource: where bars come from: a file, Alpaca's REST, or a running engine.

Guarantees: a bar's ``ts`` is its end; only bars that have ended are given; an answer has a deadline and a bound.
Does not: write anything.

Source: Alpaca's public documentation of market data (``/v2/stocks/bars``), read in November 2026.
"""

from __future__ import annotations

import datetime as dt
import logging
import threading
from collections import deque
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol
from urllib.parse import urlencode

import msgspec

from headrace.errors import RecommendationError, VenueRequestError
from headrace.execution.csv_file import CsvFile
from headrace.execution.loadable import BARS
from headrace.execution.pipeline.fetching import fetched
from headrace.limits import ENGINE_BARS_MAX
from headrace.market.bars import BarSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from headrace.execution.database.base import Value
    from headrace.execution.pipeline.settings import PipelineSettings
    from headrace.market.events import Bar

__all__ = ["AlpacaBars", "BarSource", "EngineBars", "FileBars", "bar_source_of"]

log = logging.getLogger(__name__)

# Alpaca stamps the begin of a minute.
_MINUTE = dt.timedelta(minutes=1)
# A run that was missed is made up for, an outage of a day is not.
_BACK = dt.timedelta(hours=2)


class BarSource(Protocol):
    """Gives bars, by ticker. A bar that is given again replaces the first."""

    def bars(self, tickers: Sequence[str]) -> Iterator[Mapping[str, Value]]:
        """Yield rows that ``BARS.checked`` returned. Raises RecommendationError, VenueRequestError, OSError."""


class FileBars:
    """A CSV file with the columns of lane_telemetry; rows of other tickers are left out."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def bars(self, tickers: Sequence[str]) -> Iterator[Mapping[str, Value]]:
        """Yield the rows; one that is wrong is named by its line."""
        with CsvFile(self._path) as file:
            for own in file.rows(BARS.check_columns):
                if own.values["ticker"] in tickers:
                    try:
                        yield BARS.checked(own.values)
                    except RecommendationError as error:
                        raise file.error(own.line, error, error.field) from None


class _AlpacaBar(msgspec.Struct):
    """A bar as Alpaca's answers hold it."""

    t: Annotated[dt.datetime, msgspec.Meta(tz=True)]
    o: Decimal
    h: Decimal
    l: Decimal  # noqa: E741 - the venue's name
    c: Decimal
    v: Decimal

    def checked(self, ticker: str, end: dt.datetime) -> Iterator[Mapping[str, Value]]:
        """Yield it as a row. One that cannot be is left out: it must not hold up all others as long as it is given."""
        prices = {"open": self.o, "high": self.h, "low": self.l, "close": self.c, "volume": self.v}
        try:
            yield BARS.checked({"ticker": ticker, "ts": end, **prices})
        except RecommendationError as error:
            log.warning("a bar of %s that ended at %s is left out: %s", ticker, end.isoformat(), error)


class _Answer(msgspec.Struct):
    """A page of bars."""

    bars: dict[str, list[_AlpacaBar]] | None = None
    next_page_token: str | None = None


class AlpacaBars:
    """Minute bars of Alpaca's market data."""

    def __init__(self, url: str, key: str, secret: str) -> None:
        self._url = url.rstrip("/")
        self._headers = {"APCA-API-KEY-ID": key, "APCA-API-SECRET-KEY": secret}

    def bars(self, tickers: Sequence[str]) -> Iterator[Mapping[str, Value]]:
        """Yield the bars of the last two hours."""
        start = dt.datetime.now(dt.UTC) - _BACK
        token: str | None = ""
        while token is not None:
            query = {"symbols": ",".join(tickers), "timeframe": "1Min", "start": start.isoformat(), "limit": "10000"}
            url = f"{self._url}/v2/stocks/bars?{urlencode(query | ({'page_token': token} if token else {}))}"
            try:
                document = msgspec.json.decode(fetched(url, self._headers), type=_Answer)
            except msgspec.DecodeError as error:
                raise VenueRequestError(f"{url} gave no bars: {error}", url=url, status=None) from error
            for ticker, rows in (document.bars or {}).items():
                for own in rows:
                    end = own.t + _MINUTE
                    if end <= dt.datetime.now(dt.UTC):
                        yield from own.checked(ticker, end)
            token = document.next_page_token


class EngineBars:
    """Bars that an engine closed, kept until they are stored. Safe to use from two threads.

    tickers : the instruments whose bars are kept. timeframe, price : of the bars. Beyond ``ENGINE_BARS_MAX`` the oldest
    is dropped, and counted.
    """

    def __init__(self, tickers: Sequence[str], timeframe: str = "1m", price: str = "trade") -> None:
        self._tickers = frozenset(tickers)
        self._spec = BarSpec(timeframe=timeframe, price=price)  # type: ignore[arg-type]  # it checks the price
        self._lock = threading.Lock()
        self._rows: deque[Mapping[str, Value]] = deque()
        self._given = 0
        self.dropped = 0
        self.partial = 0

    def __len__(self) -> int:
        """How many bars wait."""
        return len(self._rows)

    def add(self, bar: Bar) -> None:
        """Keep a bar. One without ticks, or whose interval began before the data did, is no bar of this interval."""
        if bar.instrument not in self._tickers or (bar.timeframe, bar.price) != (
            self._spec.timeframe,
            self._spec.price,
        ):
            return
        if bar.is_empty or bar.partial:
            self.partial += bar.partial
            return
        prices = {name: getattr(bar, name) for name in ("open", "high", "low", "close", "volume")}
        row = BARS.checked({"ticker": bar.instrument, "ts": bar.ts_close, **prices})
        with self._lock:
            self._rows.append(row)
            if len(self._rows) > ENGINE_BARS_MAX:
                self._rows.popleft()
                self._given = max(0, self._given - 1)
                self.dropped += 1

    def bars(self, tickers: Sequence[str]) -> Iterator[Mapping[str, Value]]:
        """Yield what waits; it stays until ``done``."""
        with self._lock:
            rows = list(self._rows)
            self._given = len(rows)
        return (row for row in rows if row["ticker"] in tickers)

    def done(self) -> None:
        """Take off what ``bars`` gave: it is stored."""
        with self._lock:
            for _ in range(self._given):
                self._rows.popleft()
            self._given = 0


def bar_source_of(settings: PipelineSettings) -> BarSource | None:
    """Return the source that the settings name; None: there is none."""
    if settings.bars is not None:
        return FileBars(Path(settings.bars))
    if settings.alpaca_key and settings.alpaca_secret:
        return AlpacaBars(settings.alpaca_url, settings.alpaca_key, settings.alpaca_secret)
    return None
