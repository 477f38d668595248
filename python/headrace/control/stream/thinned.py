"""Thinned: figures over any span of time, in memory that never grows: when it is full, every second point goes.

Guarantees: at most POINTS_MAX points, evenly spread over the span, the first and the last one among them.
Does not: keep the lowest and highest between two points; ``History`` does, for spans that are known before.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from headrace.control.plain import plain_whole

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["POINTS_MAX", "Thinned"]

POINTS_MAX = 2_000


class Thinned:
    """Points of several series at common times. Added to on one thread, read on another."""

    def __init__(self) -> None:
        self._points: list[tuple[int, Mapping[str, float]]] = []
        # Of so many points that are added, one is kept.
        self._every = 1
        self._count = 0
        self._last: tuple[int, Mapping[str, float]] | None = None
        self._lock = threading.Lock()

    def add(self, ts_ns: int, values: Mapping[str, float]) -> None:
        """Add the values of a time, which is not before the last one's."""
        with self._lock:
            self._last = (ts_ns, values)
            if self._count % self._every == 0:
                self._points.append(self._last)
                if len(self._points) == POINTS_MAX:
                    self._points = self._points[::2]
                    self._every *= 2
            self._count += 1

    def document(self) -> dict[str, Any]:
        """Return the times, ns, and the values of each series; None where one has none."""
        with self._lock:
            points = list(self._points)
            if self._last is not None and self._last is not points[-1]:
                points.append(self._last)
        names = dict.fromkeys(name for _, values in points for name in values)
        return {
            "ts_ns": [plain_whole(ts_ns) for ts_ns, _ in points],
            "series": {name: [values.get(name) for _, values in points] for name in names},
        }
