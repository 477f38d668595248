"""Walk-forward: parameters are chosen on one span and used on the next, again and again, as one run.

::

    rolling    [train    ][test][train    ][test]          anchored   [train    ][test]
                     [train    ][test]                                [train          ][test]
    each test begins with the equity at which the one before ended ─▶ one out-of-sample curve

Guarantees: no test span is part of the span on which its parameters were chosen; test spans follow each other without a
hole, each from its own start without positions; spans are counted from the first candle's open, so that candles whose
length divides theirs end at their edges.
Does not: carry positions from one test span to the next: each ends flat in value, at its last marks; or use a candle
that crosses an edge.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

import msgspec
import numpy as np

from headrace.engine.tables import Table, tables_html, tables_text, time_text
from headrace.errors import OptionError
from headrace.market.checks import whole
from headrace.market.money import MONEY, decimal_of
from headrace.research.curve import CURVE_DTYPE
from headrace.research.rows import plain
from headrace.research.statistics import Statistics, drawdowns, statistics_of
from headrace.research.sweep import sweep
from headrace.research.trial import run_with

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from decimal import Decimal

    from headrace.research.past import Past
    from headrace.research.result import BacktestResult
    from headrace.research.space import Axis
    from headrace.research.sweep import SweepOptions
    from headrace.research.trial import Recipe

__all__ = ["Span", "WalkForward", "Window", "spans_of", "walk_forward"]


class Span(NamedTuple):
    """Where parameters are chosen and used: ns, ``train_ns <= t < test_ns < end_ns``."""

    train_ns: int
    test_ns: int
    end_ns: int


class Window(NamedTuple):
    """One span with what was chosen.

    parameters : None: no trial had a value. value : of the metric, on the train span. result : None: there were no
    parameters, or no data to use them on.
    """

    span: Span
    parameters: Mapping[str, Any] | None
    value: float | None
    result: BacktestResult | None


@dataclass(frozen=True, kw_only=True, slots=True)
class WalkForward:
    """What came of it. curve : of all test spans, dtype CURVE_DTYPE. statistics : of that curve and its trades."""

    windows: tuple[Window, ...]
    metric: str
    curve: np.ndarray
    statistics: Statistics

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "metric": self.metric,
            "windows": [
                {
                    **own.span._asdict(),
                    "parameters": own.parameters,
                    "value": own.value,
                    "total_return": None if own.result is None else plain(own.result.statistics.total_return),
                }
                for own in self.windows
            ],
            "statistics": {name: plain(getattr(self.statistics, name)) for name in Statistics.__struct_fields__},
            "curve": [[int(row["ts"]), float(row["equity"])] for row in self.curve],
        }

    def tables(self) -> list[Table]:
        """Return the windows and the figures of the stitched curve."""
        rows = [
            (
                *(time_text(own.span.test_ns), time_text(own.span.end_ns)),
                ", ".join(f"{name}={value}" for name, value in (own.parameters or {}).items()) or "-",
                "-" if own.value is None else f"{own.value:,.4g}",
                "-" if own.result is None else f"{own.result.statistics.total_return:.2%}",
            )
            for own in self.windows
        ]
        own = self.statistics
        facts = [
            ("total return", f"{own.total_return:.2%}"),
            ("sharpe", f"{own.sharpe:.3f}"),
            ("max drawdown", f"{own.max_drawdown:.2%}"),
            ("trades", f"{own.trades:,}"),
        ]
        columns = ("test from", "to", "parameters", f"{self.metric} in training", "return")
        return [Table("walk-forward", columns, rows, texts=3), Table("out of sample", ("", ""), facts)]

    def __str__(self) -> str:
        return tables_text(self.tables())

    def _repr_html_(self) -> str:
        return tables_html(self.tables())


def spans_of(first_ns: int, last_ns: int, *, train_ns: int, test_ns: int, anchored: bool = False) -> list[Span]:
    """Return the spans of a walk over data from ``first_ns`` to ``last_ns``; the last test span may be shorter.

    anchored : every training begins with the data. Raises OptionError: no test span fits.
    """
    for name, value in (("train_ns", train_ns), ("test_ns", test_ns)):
        whole(name, value, 1, 1 << 62, "ns")
    spans, test = [], first_ns + train_ns
    while test < last_ns:
        # The last one has the last tick, too.
        end = test + test_ns if test + test_ns < last_ns else last_ns + 1
        spans.append(Span(first_ns if anchored else test - train_ns, test, end))
        test += test_ns
    if not spans:
        msg = f"train of {train_ns:,} ns leaves nothing to test: the data have {last_ns - first_ns:,} ns"
        raise OptionError(msg, option="train_ns")
    return spans


def walk_forward(
    recipe: Recipe,
    past: Past,
    space: Mapping[str, Axis],
    *,
    train_ns: int,
    test_ns: int,
    anchored: bool = False,
    on_window: Callable[[int, int], object] | None = None,
    **options: Unpack[SweepOptions],
) -> WalkForward:
    """Choose parameters on each training span by a sweep, and use the best on the test span behind it.

    recipe, past, space, options : as ``sweep`` takes them. on_window : called with windows done and all windows.
    Raises what ``sweep`` raises, and OptionError: no test span fits.
    """
    spans = spans_of(past.begin_ns, int(past.times[-1]), train_ns=train_ns, test_ns=test_ns, anchored=anchored)
    windows: list[Window] = []
    metric = options.get("metric", "sharpe")
    for span in spans:
        best = sweep(recipe, past.between(span.train_ns, span.test_ns), space, **options).best
        test, result = past.between(span.test_ns, span.end_ns), None
        if best is not None and len(test.times):
            result = run_with(recipe, test, best.parameters)
        parameters, value = (None, None) if best is None else (best.parameters, best.value)
        windows.append(Window(span, parameters, value, result))
        if on_window is not None:
            on_window(len(windows), len(spans))
    results = [own.result for own in windows if own.result is not None]
    parts = list(_scaled(results))
    curve = np.concatenate([own.curve for own in parts]) if parts else np.empty(0, CURVE_DTYPE)
    curve["drawdown"] = drawdowns(curve["equity"])
    return WalkForward(windows=tuple(windows), metric=metric, curve=curve, statistics=_statistics(curve, parts))


class _Part(NamedTuple):
    """What one test span adds: its curve, and its result, whose amounts count ``factor`` times."""

    curve: np.ndarray
    result: BacktestResult
    factor: Decimal


def _scaled(results: list[BacktestResult]) -> Iterator[_Part]:
    """Yield parts of one curve: each is scaled so that it begins at the equity at which the part before ended."""
    equity = benchmark = 0.0
    for number, result in enumerate(results):
        part, factor = result.equity.copy(), 1.0
        if not len(part):
            continue
        if number:
            factor = _ratio(equity, float(part["equity"][0]))
            for name in ("equity", "cash"):
                part[name] *= factor
            part["benchmark"] *= _ratio(benchmark, float(part["benchmark"][0]))
            # The first point of a part is the last of the one before.
            part = part[1:] if len(part) > 1 else part
        equity, benchmark = float(part["equity"][-1]), float(part["benchmark"][-1])
        yield _Part(part, result, decimal_of(factor))


def _ratio(end: float, start: float) -> float:
    return end / start if start else 1.0


def _statistics(curve: np.ndarray, parts: list[_Part]) -> Statistics:
    """Return the figures of all parts, in the currency and at the scale of the curve."""
    trips = [
        msgspec.structs.replace(trip, net_pnl=MONEY.multiply(trip.net_pnl, own.factor))
        for own in parts
        for trip in own.result.trades
        if trip.currency == own.result.currency
    ]
    fills = [
        msgspec.structs.replace(
            fill, fee=MONEY.multiply(fill.fee, own.factor), notional=MONEY.multiply(fill.notional, own.factor)
        )
        for own in parts
        for fill in own.result.fills
        if fill.currency == own.result.currency
    ]
    made = statistics_of(curve, trips, fills)
    # What a part holds at its end, no fill closes: each has its own exposure.
    held = [(own.result.statistics.exposure, np.ptp(own.result.equity["ts"])) for own in parts]
    elapsed_ns = int(curve["ts"][-1] - curve["ts"][0]) if len(curve) else 0
    exposure = sum(part * span_ns for part, span_ns in held if span_ns) / elapsed_ns if elapsed_ns else math.nan
    return msgspec.structs.replace(made, exposure=float(exposure))
