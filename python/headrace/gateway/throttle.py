"""Throttle: at most one event of a route in a window of time; what comes in between is consolidated into one.

::

    window   │ 1 · · 2 3 4 · · · │ · · · · · │ 5
    passes   │ 1                 │ 2..4      │ 5       at the end of a window: the newest, with what it stands for

What a consolidated event holds
    Its payload is the newest one's, and ``consolidated``: how many events it stands for. Trades have the sum of their
    sizes as ``volume``. Changes of a book have ``levels``, and of one that is not in sync ``deltas``: the newest size
    of each side and price.

Guarantees: events are emitted in their order; none waits longer than a window; one that is not emitted is counted.
Does not: filter.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.market.canonical import CanonicalType

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.market.canonical import CanonicalEvent

__all__ = ["Throttle"]

TRADES = frozenset({CanonicalType.TRADE, CanonicalType.AGG_TRADE})


class Throttle:
    """The window of one route. window_ns : 0 lets everything through. emit : receives what passes."""

    def __init__(self, window_ns: int, emit: Callable[[CanonicalEvent], None]) -> None:
        self._window_s = window_ns / 1e9
        self._emit = emit
        self._loop = asyncio.get_running_loop()
        self._open_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._newest: CanonicalEvent | None = None
        self._count = 0
        self._volume = 0.0
        self._levels: dict[tuple[int, float], float] = {}

    @property
    def is_holding(self) -> bool:
        """Whether an event waits for the end of its window."""
        return self._newest is not None

    def offer(self, event: CanonicalEvent) -> bool:
        """Emit an event now, or at the end of the window; return whether it replaces one that waited: suppressed."""
        if not self._window_s:
            self._emit(event)
            return False
        now = self._loop.time()
        if self._newest is None and now >= self._open_at:
            self._open_at = now + self._window_s
            self._emit(event)
            return False
        is_suppressing = self._newest is not None
        self._fold(event)
        if self._timer is None:
            self._timer = self._loop.call_at(self._open_at, self.flush)
        return is_suppressing

    def flush(self) -> None:
        """Emit what waits; called at the end of a window, and before the route changes."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        newest, self._newest = self._newest, None
        if newest is None:
            return
        payload = {**newest.payload, **self._consolidated(newest)} if self._count > 1 else newest.payload
        self._count, self._volume, self._levels = 0, 0.0, {}
        self._open_at = self._loop.time() + self._window_s
        self._emit(msgspec.structs.replace(newest, payload=payload))

    def _fold(self, event: CanonicalEvent) -> None:
        self._newest = event
        self._count += 1
        if event.canonical_type in TRADES:
            self._volume += event.payload["size"]
        elif event.canonical_type is CanonicalType.BOOK_DELTA:
            self._levels[event.payload["side"], event.payload["price"]] = event.payload["size"]
        elif event.canonical_type is CanonicalType.FUSED:
            if "deltas" not in event.payload:
                # A book that is in sync holds them.
                self._levels.clear()
            for side, price, size in event.payload.get("deltas", ()):
                self._levels[side, price] = size

    def _consolidated(self, newest: CanonicalEvent) -> dict[str, Any]:
        found: dict[str, Any] = {"consolidated": self._count}
        if self._volume:
            found["volume"] = self._volume
        if self._levels:
            name = "levels" if newest.canonical_type is CanonicalType.BOOK_DELTA else "deltas"
            found[name] = [[side, price, size] for (side, price), size in self._levels.items()]
        return found
