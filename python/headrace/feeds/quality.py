"""Quality: what is wrong with data, found block by block in the pass that reads it.

::

    block of ticks or candles ─▶ QualityCheck.see ─▶ Findings: kind, instrument, count, the first place

    stops a backtest    backward (time), unit, missing (NaN, infinite), zero_price
    is a warning        gap, duplicate, crossed, negative_price, negative_size, outlier, shape, overlap

Guarantees: memory holds one row for each instrument and kind of data; the same data gives the same findings, whatever
its blocks are.
Does not: correct anything.
"""

from __future__ import annotations

import logging
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from headrace.errors import DataError
from headrace.market.candles import CANDLE_DTYPE
from headrace.market.tick import KINDS, NO_INSTRUMENT, dtype_of
from headrace.market.times import YEAR_2000_NS, YEAR_2200_NS, column_problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["STOPPING", "WORDS", "Finding", "QualityCheck", "SourceQuality"]

log = logging.getLogger(__name__)

STOPPING = ("backward", "unit", "missing", "zero_price")
# A price that is further from the one before it than by this factor is an outlier.
OUTLIER = 1.5
# Prices, and sizes that may not be negative, by kind of tick.
PRICES = {"quote": ("bid_price", "ask_price"), "trade": ("price",), "agg_trade": ("price",), "level": ("price",)}
SIZES = {"quote": ("bid_size", "ask_size"), "trade": ("size",), "agg_trade": ("size",), "level": ("size",)}
WORDS = {
    "backward": "time goes back",
    "unit": "a time is of no unit",
    "missing": "a price is missing",
    "zero_price": "a price is 0",
    "negative_price": "a price is below 0",
    "negative_size": "a size is below 0",
    "gap": "data is missing",
    "duplicate": "a row is repeated",
    "crossed": "the bid is above the ask",
    "outlier": "a price jumps",
    "shape": "high and low do not hold open and close",
    "overlap": "a candle opens before the one before it closed",
}


class Named(Protocol):
    """A feed, as far as a finding needs it."""

    @property
    def name(self) -> str:
        """What errors call it."""


class Finding(NamedTuple):
    """What was found of one kind in one instrument.

    total : how often. row : of the first, from 1. ts : its time, ns. value : there.
    """

    kind: str
    instrument: str
    total: int
    row: int
    ts: int
    value: str

    @property
    def stops(self) -> bool:
        """Whether a backtest ends at it."""
        return self.kind in STOPPING

    def __str__(self) -> str:
        where = f" of {self.instrument}" if self.instrument else ""
        return f"{WORDS[self.kind]}{where} at row {self.row:,}: {self.value} ({self.total:,} times)"


class QualityCheck:
    """Checks the data of one source. last : what is kept between blocks, by instrument and kind."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Finding] = {}
        self._rows = 0
        self._last_ns = 0
        self._ids: dict[tuple[str, int], int] = {}
        self._prices: dict[tuple[str, str], float] = {}
        self._closes: dict[str, int] = {}

    @property
    def rows(self) -> int:
        """How many rows were seen."""
        return self._rows

    @property
    def findings(self) -> list[Finding]:
        """What was found, by kind, those first that stop a backtest."""
        order = list(WORDS)
        return sorted(self._found.values(), key=lambda own: (order.index(own.kind), own.instrument))

    def see(self, block: np.ndarray, names: Sequence[str] = ()) -> None:
        """Check a block: dtype TICK_DTYPE, or CANDLE_DTYPE. names : of the instrument ids, or of the candles."""
        if not len(block):
            return
        if block.dtype == CANDLE_DTYPE:
            self._see_candles(block, names[0] if names else "")
        else:
            self._see_ticks(np.asarray(block), names)
        self._rows += len(block)

    # Ticks

    def _see_ticks(self, ticks: np.ndarray, names: Sequence[str]) -> None:
        times = ticks["ts_init"]
        self._times(times, "")
        for number in np.unique(ticks["kind"]).tolist():
            kind = KINDS[number].name
            of_kind = np.flatnonzero(ticks["kind"] == number)
            if kind == "gap":
                self._each_instrument(ticks, of_kind, names, self._gaps)
            elif kind in PRICES:
                self._each_instrument(ticks, of_kind, names, self._market)

    def _each_instrument(self, ticks: np.ndarray, rows: np.ndarray, names: Sequence[str], check: object) -> None:
        ids = ticks["instrument"][rows]
        for own in np.unique(ids).tolist():
            name = "" if own == NO_INSTRUMENT else names[own] if own < len(names) else str(own)
            check(ticks, rows[ids == own], name)  # type: ignore[operator]

    def _gaps(self, ticks: np.ndarray, rows: np.ndarray, name: str) -> None:
        """Gaps that a run published: they stand in the data."""
        self._add("gap", name, rows, ticks["ts_init"], ["published as a gap"] * len(rows))

    def _market(self, ticks: np.ndarray, rows: np.ndarray, name: str) -> None:
        own = ticks[rows]
        kind = KINDS[int(own["kind"][0])]
        typed = own.view(dtype_of(kind.number))
        times = ticks["ts_init"]
        for field in PRICES[kind.name]:
            prices = typed[field]
            self._where("missing", name, rows, times, prices, ~np.isfinite(prices))
            is_zero = (prices == 0) & (kind.name != "quote")
            self._where("zero_price", name, rows, times, prices, is_zero)
            self._where("negative_price", name, rows, times, prices, prices < 0)
            if kind.name != "level":
                self._jumps(name, field, rows, times, prices)
        for field in SIZES[kind.name]:
            self._where("negative_size", name, rows, times, typed[field], typed[field] < 0)
        if kind.name == "quote":
            bid, ask = typed["bid_price"], typed["ask_price"]
            crossed = (bid > ask) & (bid > 0) & (ask > 0)
            self._where("crossed", name, rows, times, bid - ask, crossed)
        self._numbers(kind.number, kind.venue_ids, own, rows, times, name)

    def _numbers(self, number: int, rule: str, own: np.ndarray, rows: np.ndarray, times: np.ndarray, name: str) -> None:
        """Find holes and repetitions in the venue's numbers, where they are without holes."""
        counted = own["venue_seq"] != 0
        if rule != "contiguous" or not counted.any():
            return
        ids, at = own["venue_seq"][counted].astype("i8"), rows[counted]
        before = self._ids.get((name, number))
        steps = np.diff(ids, prepend=ids[0] - 1 if before is None else before)
        self._where("gap", name, at, times, steps - 1, steps > 1)
        self._where("duplicate", name, at, times, ids, steps == 0)
        self._ids[name, number] = int(max(ids.max(), before or 0))

    # Candles

    def _see_candles(self, candles: np.ndarray, name: str) -> None:
        # Each beside its like: a look at a field of rows of 64 bytes takes several times as long.
        columns = {field: np.ascontiguousarray(candles[field]) for field in CANDLE_DTYPE.names or ()}
        times, rows = columns["ts_open"], np.arange(len(candles))
        if self._follow_each_other(times, columns["ts_close"], name) and _are_shaped(columns):
            # Mostly: nothing of what the looks below find can be there.
            self._last_ns = int(times[-1])
        else:
            self._look_at_candles(columns, rows, name)
        self._jumps(name, "close", rows, times, columns["close"])
        self._closes[name] = int(columns["ts_close"][-1])

    def _follow_each_other(self, opens: np.ndarray, closes: np.ndarray, name: str) -> bool:
        """Return whether each candle opens when the one before it closes, in years that data are of."""
        first = int(opens[0])
        is_next = max(self._last_ns, YEAR_2000_NS) <= first == self._closes.get(name, first)
        is_timed = is_next and opens[-1] < YEAR_2200_NS
        return bool(is_timed and (opens[1:] == closes[:-1]).all() and (opens < closes).all())

    def _look_at_candles(self, columns: Mapping[str, np.ndarray], rows: np.ndarray, name: str) -> None:
        times, closes, opening, closing = (columns[field] for field in ("ts_open", "ts_close", "open", "close"))
        self._times(times, name)
        for field in ("open", "high", "low", "close"):
            prices = columns[field]
            self._where("missing", name, rows, times, prices, ~np.isfinite(prices))
            self._where("zero_price", name, rows, times, prices, prices == 0)
            self._where("negative_price", name, rows, times, prices, prices < 0)
        self._where("negative_size", name, rows, times, columns["volume"], columns["volume"] < 0)
        low, high = np.minimum(opening, closing), np.maximum(opening, closing)
        is_wrong = (columns["high"] < high) | (columns["low"] > low)
        self._where("shape", name, rows, times, columns["high"], is_wrong)
        before = np.append([self._closes.get(name, int(times[0]))], closes[:-1])
        is_late = times > before
        if is_late.any():
            missing = (times - before) // np.maximum(1, closes - times)
            self._where("gap", name, rows, times, missing, is_late)
        self._where("overlap", name, rows, times, times, times < before)

    # Both

    def _times(self, times: np.ndarray, name: str) -> None:
        rows = np.arange(len(times))
        newest = np.maximum.accumulate(np.append([self._last_ns], times[:-1]))
        self._where("backward", name, rows, times, times, times < newest)
        self._last_ns = max(self._last_ns, int(times.max()))
        # Times that begin at 0, as those of a test do, are of no age: then the whole block shows the unit.
        if self._last_ns >= YEAR_2000_NS:
            self._where("unit", name, rows, times, times, (times < YEAR_2000_NS) | (times >= YEAR_2200_NS))
        elif column_problem(times):
            self._where("unit", name, rows, times, times, times > 0)

    def _jumps(self, name: str, field: str, rows: np.ndarray, times: np.ndarray, prices: np.ndarray) -> None:
        """Find prices that are far from the one before, up or down."""
        known = prices > 0
        if not known.any():
            return
        if not known.all():
            rows, prices = rows[known], prices[known]
        before = np.append([self._prices.get((name, field), prices[0])], prices[:-1])
        ratio = prices / before
        self._where("outlier", name, rows, times, prices, (ratio > OUTLIER) | (ratio < 1 / OUTLIER))
        self._prices[name, field] = float(prices[-1])

    def _where(
        self, kind: str, name: str, rows: np.ndarray, times: np.ndarray, values: np.ndarray, wrong: np.ndarray
    ) -> None:
        if wrong.any():
            self._add(kind, name, rows[wrong], times, values[wrong].tolist())

    def _add(self, kind: str, name: str, rows: np.ndarray, times: np.ndarray, values: Sequence[object]) -> None:
        """Count rows of a block as a finding; the first one keeps its place."""
        row = int(rows[0])
        first = Finding(kind, name, len(rows), self._rows + row + 1, int(times[row]), str(values[0]))
        before = self._found.get((kind, name))
        if before is not None:
            # Another field of this block may have had it further down.
            first = min(first, before, key=attrgetter("row"))._replace(total=before.total + len(rows))
        self._found[kind, name] = first


def _are_shaped(columns: Mapping[str, np.ndarray]) -> bool:
    """Return whether prices are finite, above 0 and within low and high, and volumes not below 0. NaN is none of it."""
    low, high, opening, closing = (columns[field] for field in ("low", "high", "open", "close"))
    is_bounded = low.min() > 0 and high.max() < np.inf and columns["volume"].min() >= 0
    return bool(
        is_bounded and (np.minimum(opening, closing) >= low).all() and (np.maximum(opening, closing) <= high).all()
    )


class SourceQuality:
    """Checks the sources of one run while they are read: what stops a backtest is raised, the rest is logged once."""

    def __init__(self) -> None:
        # By feed: two may have one name.
        self._checks: dict[int, tuple[str, QualityCheck]] = {}
        self._logged: set[tuple[int, str, str]] = set()

    def see(self, feed: Named, block: np.ndarray, names: Sequence[str]) -> None:
        """Check a block of a feed. names : as in ``QualityCheck.see``. Raises DataError."""
        source, check = self._checks.setdefault(id(feed), (feed.name, QualityCheck()))
        check.see(block, names)
        for finding in check.findings:
            if finding.stops:
                msg = f"{source}: {finding}; correct the data, or leave the check out (check=False, --no-check)"
                raise DataError(msg, path=source, row=finding.row, column=finding.kind)
            key = (id(feed), finding.kind, finding.instrument)
            if key not in self._logged:
                self._logged.add(key)
                log.warning("%s: %s", source, finding)

    @property
    def findings(self) -> dict[str, tuple[Finding, ...]]:
        """What was found, by the names of the sources."""
        found: dict[str, tuple[Finding, ...]] = {}
        for source, check in self._checks.values():
            if check.findings:
                found[source] = (*found.get(source, ()), *check.findings)
        return found
