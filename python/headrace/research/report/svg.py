"""Charts as inline SVG: lines, areas, dots and bars that stretch to any width, with labels that keep their size.

::

    <figure> ─ <svg viewBox="0 0 1000 1000" preserveAspectRatio="none">  paths, strokes of fixed width
             └ <span style="top: 25%">  labels: HTML, so that a phone shows them as large as a desk

Guarantees: colours are CSS variables, so a chart follows light and dark; a line has at most POINTS_MAX points, and
keeps the highest and the lowest of those that it stands for; all text is escaped.
Does not: need a script, a font or a network.
"""

from __future__ import annotations

import itertools
import math
from datetime import UTC, datetime
from html import escape
from typing import NamedTuple

import numpy as np

__all__ = [
    "POINTS_MAX",
    "Scale",
    "bars",
    "chart",
    "dots",
    "line",
    "thinned",
    "time_scale",
    "value_scale",
]

POINTS_MAX = 1_600
SIZE = 1_000
TICKS = 4
STEPS_S = (1, 5, 15, 60, 300, 900, 3_600, 14_400, 86_400, 7 * 86_400)
STEPS_MONTHS = (1, 3, 6, 12)
# The part of the width in which no label of the x axis stands.
EDGE = 0.06


class Scale(NamedTuple):
    """From values to 0..1000. ticks : values with their texts."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]

    def at(self, values: np.ndarray) -> np.ndarray:
        """Return the places of values."""
        placed: np.ndarray = (values - self.low) / ((self.high - self.low) or 1.0) * SIZE
        return placed


def thinned(times: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return at most POINTS_MAX points: of each group the lowest and the highest, in their order."""
    if len(times) <= POINTS_MAX:
        return times, values
    edges = np.linspace(0, len(times), POINTS_MAX // 2 + 1).astype(int)
    kept: set[int] = set()
    for first, last in itertools.pairwise(edges.tolist()):
        part = values[first:last]
        kept.update((first + int(part.argmin()), first + int(part.argmax())))
    rows = np.array(sorted({0, *kept, len(times) - 1}))
    return times[rows], values[rows]


def value_scale(*series: np.ndarray, zero: bool = False, percent: bool = False) -> Scale:
    """Return the scale of values, with round ticks. zero : 0 is in it. percent : values are parts of 1."""
    finite = [own[np.isfinite(own)] for own in series]
    lows = [float(own.min()) for own in finite if len(own)] + [0.0] * zero
    highs = [float(own.max()) for own in finite if len(own)] + [0.0] * zero
    low, high = min(lows, default=0.0), max(highs, default=1.0)
    if low == high:
        low, high = low - (abs(low) * 0.01 or 1.0), high + (abs(high) * 0.01 or 1.0)
    step = _round_step((high - low) / TICKS)
    first = math.ceil(low / step)
    ticks = [step * number for number in range(first, math.floor(high / step) + 1)]
    room = (high - low) * 0.04
    return Scale(low - room, high + room, tuple((own, _tick_text(own, step, percent=percent)) for own in ticks))


def _round_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return next(own * power for own in (1, 2, 2.5, 5, 10) if step <= own * power * 1.0001)


def _tick_text(value: float, step: float, *, percent: bool) -> str:
    if percent:
        return f"{value * 100:,.{max(0, -math.floor(math.log10(step * 100)))}f} %"
    return _number_text(value, max(0, -math.floor(math.log10(step))))


def _number_text(value: float, decimals: int) -> str:
    """Return a number with so many decimals, and without a minus for 0."""
    return f"{value:z,.{decimals}f}"


def time_scale(first_ns: int, last_ns: int) -> Scale:
    """Return the scale of times, with ticks at round ones: of seconds to weeks, or of whole months and years."""
    span_s = max((last_ns - first_ns) / 1e9, 1e-9)
    step_s = next((own for own in STEPS_S if span_s / own <= TICKS + 1), None)
    if step_s is None:
        first, last = (int(np.datetime64(own, "ns").astype("datetime64[M]").astype(int)) for own in (first_ns, last_ns))
        step = next((own for own in STEPS_MONTHS if (last - first) / own <= TICKS + 1), 12 * ((last - first) // 48 + 1))
        months = np.arange(-(-first // step) * step, last + 1, step).astype("datetime64[M]")
        ticks = [(int(own.astype("datetime64[ns]").astype(int)), "%b %Y") for own in months]
    else:
        step_ns = step_s * 10**9
        form = "%H:%M:%S" if step_s < 60 else "%d %b %H:%M" if step_s < 86_400 else "%d %b %Y"
        ticks = [(own, form) for own in range(-(-first_ns // step_ns) * step_ns, last_ns + 1, step_ns)]
    low, high = float(first_ns), float(max(last_ns, first_ns + 1))
    # A label at the very edge would stand outside of the chart.
    inside = [(own, form) for own, form in ticks if EDGE < (own - first_ns) / max(last_ns - first_ns, 1) < 1 - EDGE / 2]
    texts = tuple((float(own), datetime.fromtimestamp(own // 10**9, UTC).strftime(form)) for own, form in inside)
    return Scale(low, high, texts)


def line(x: Scale, y: Scale, times: np.ndarray, values: np.ndarray, name: str, *, fill: bool = False) -> str:
    """Return a line; with ``fill`` also the area between it and 0. name : the CSS class, which has the colour."""
    is_there = np.isfinite(values)
    times, values = thinned(times[is_there], values[is_there])
    if not len(times):
        return ""
    points = _points(x, y, times, values)
    path = f'<path class="line {name}" d="M{points}"/>'
    if fill:
        base = SIZE - float(np.clip(y.at(np.array([0.0]))[0], 0, SIZE))
        left, right = x.at(times[[0, -1]])
        path = f'<path class="area {name}" d="M{left:.1f} {base:.1f}L{points}L{right:.1f} {base:.1f}Z"/>{path}'
    return path


def dots(x: Scale, y: Scale, times: np.ndarray, values: np.ndarray, name: str) -> str:
    """Return a dot of fixed size for each point."""
    each = zip(x.at(times), SIZE - y.at(values), strict=True)
    return f'<path class="dot {name}" d="{"".join(f"M{left:.1f} {top:.1f}h0" for left, top in each)}"/>'


def bars(x: Scale, y: Scale, edges: np.ndarray, heights: np.ndarray, name: str | None = None) -> str:
    """Return a bar from 0 for each height. name : the CSS class; None: by the x scale, below 0 that of losses."""
    lefts, base = x.at(edges), SIZE - float(y.at(np.array([0.0]))[0])
    parts = []
    for left, right, height, edge in zip(lefts[:-1], lefts[1:], heights, edges[:-1], strict=True):
        top = SIZE - float(y.at(np.array([float(height)]))[0])
        own = name or ("loss" if edge < -1e-12 else "gain")
        shape = (
            f'x="{left + 1:.1f}" width="{max(right - left - 2, 1):.1f}" y="{top:.1f}" height="{max(base - top, 0):.1f}"'
        )
        parts.append(f'<rect class="{own}" {shape}/>')
    return "".join(parts)


def chart(
    x: Scale, y: Scale, body: str, *, title: str, legend: str = "", zoom: bool = False, tall: bool = False
) -> str:
    """Return a whole chart. title : also for a reader that does not see it. zoom : its x axis can be zoomed."""
    grid = "".join(f'<path class="grid" d="M0 {place:.1f}H{SIZE}"/>' for place in _tops(y))
    rows = "".join(
        f'<span class="y" style="top:{place / 10:.2f}%">{escape(text)}</span>'
        for place, (_, text) in zip(_tops(y), y.ticks, strict=True)
    )
    places = x.at(np.array([own for own, _ in x.ticks], np.float64))
    columns = "".join(
        f'<span class="x" style="left:{place / 10:.2f}%">{escape(text)}</span>'
        for place, (_, text) in zip(places, x.ticks, strict=True)
    )
    kind = f"chart{' tall' if tall else ''}"
    data = f' data-first="{int(x.low)}" data-last="{int(x.high)}"' if zoom else ""
    return (
        f'<figure><figcaption><b>{escape(title)}</b>{legend}</figcaption><div class="{kind}"{data}>'
        f'<svg viewBox="0 0 {SIZE} {SIZE}" preserveAspectRatio="none" role="img" aria-label="{escape(title)}">'
        f"{grid}{body}</svg>{rows}{columns}</div></figure>"
    )


def _tops(y: Scale) -> np.ndarray:
    return SIZE - y.at(np.array([own for own, _ in y.ticks])) if y.ticks else np.empty(0)


def _points(x: Scale, y: Scale, times: np.ndarray, values: np.ndarray) -> str:
    return "L".join(f"{left:.1f} {top:.1f}" for left, top in zip(x.at(times), SIZE - y.at(values), strict=True))
