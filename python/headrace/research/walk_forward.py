"""Walk-forward: parameters are chosen on one span and used on the next, again and again, as one run.

::

    rolling    [train    ][test][train    ][test]          anchored   [train    ][test]
                     [train    ][test]                                [train          ][test]
    each test begins with the equity at which the one before ended ─▶ one out-of-sample curve

Guarantees: no test span is part of the span on which its parameters were chosen; test spans follow each other without a
hole, each from its own start without positions.
Does not: carry positions from one test span to the next: each ends flat in value, at its last marks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

import numpy as np

from headrace.engine.tables import Table, tables_html, tables_text, time_text
from headrace.errors import OptionError
from headrace.market.checks import whole
from headrace.research.curve import CURVE_DTYPE
from headrace.research.rows import plain
from headrace.research.statistics import Statistics, drawdowns, statistics_of
from headrace.research.sweep import sweep
from headrace.research.trial import run_with

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

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

    parameters : None: no trial had a value. value : of the metric, on the train span.
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
    while test <= last_ns:
        spans.append(Span(first_ns if anchored else test - train_ns, test, min(test + test_ns, last_ns + 1)))
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
    times = past.times
    spans = spans_of(int(times[0]), int(times[-1]), train_ns=train_ns, test_ns=test_ns, anchored=anchored)
    windows: list[Window] = []
    metric = options.get("metric", "sharpe")
    for span in spans:
        best = sweep(recipe, past.between(span.train_ns, span.test_ns), space, **options).best
        result = None
        if best is not None:
            result = run_with(recipe, past.between(span.test_ns, span.end_ns), best.parameters)
        parameters, value = (None, None) if best is None else (best.parameters, best.value)
        windows.append(Window(span, parameters, value, result))
        if on_window is not None:
            on_window(len(windows), len(spans))
    curve = stitched([own.result for own in windows if own.result is not None])
    trips = [trip for own in windows if own.result is not None for trip in own.result.trades]
    fills = [fill for own in windows if own.result is not None for fill in own.result.fills]
    return WalkForward(
        windows=tuple(windows), metric=metric, curve=curve, statistics=statistics_of(curve, trips, fills)
    )


def stitched(results: list[BacktestResult]) -> np.ndarray:
    """Return one curve: each part is scaled so that it begins at the equity at which the part before ended."""
    parts = list(_scaled(results))
    curve = np.concatenate(parts) if parts else np.empty(0, CURVE_DTYPE)
    curve["drawdown"] = drawdowns(curve["equity"])
    return curve


def _scaled(results: list[BacktestResult]) -> Iterator[np.ndarray]:
    equity = benchmark = 0.0
    for number, result in enumerate(results):
        part = result.equity.copy()
        if not len(part):
            continue
        if number:
            for names, end in ((("equity", "cash"), equity), (("benchmark",), benchmark)):
                start = float(part[names[0]][0])
                for name in names:
                    part[name] *= end / start if start else 1.0
            # The first point of a part is the last of the one before.
            part = part[1:] if len(part) > 1 else part
        equity, benchmark = float(part["equity"][-1]), float(part["benchmark"][-1])
        yield part
