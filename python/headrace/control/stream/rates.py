"""Rates: how fast counters grow, and since when they stand still.

Guarantees: a rate is over the last whole second or more, so that ten looks a second do not make it jump; a counter that
is not looked at for a minute is forgotten.
Does not: count.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Rates"]

WINDOW_NS = 1_000_000_000
FORGET_NS = 60 * WINDOW_NS


@dataclass(slots=True)
class _Counter:
    """since_ns, value : at the beginning of the window. changed_ns : when it was last seen to have grown."""

    since_ns: int
    value: int
    newest: int
    changed_ns: int
    seen_ns: int
    per_s: float | None = None


class Rates:
    """The rates of counters by name. ``begin`` each reading with its time."""

    def __init__(self) -> None:
        self._now_ns = 0
        self._counters: dict[str, _Counter] = {}
        self._swept_ns = 0

    def begin(self, now_ns: int) -> None:
        """Set the time of what is read from now on."""
        self._now_ns = now_ns
        if now_ns - self._swept_ns >= FORGET_NS:
            self._swept_ns = now_ns
            old_ns = now_ns - FORGET_NS
            self._counters = {name: own for name, own in self._counters.items() if own.seen_ns >= old_ns}

    def per_s(self, name: str, value: int) -> float | None:
        """Return how fast a counter grows; None in its first second."""
        own = self._seen(name, value)
        elapsed_ns = self._now_ns - own.since_ns
        if elapsed_ns >= WINDOW_NS:
            own.per_s = round((value - own.value) * 1e9 / elapsed_ns, 3)
            own.since_ns, own.value = self._now_ns, value
        return own.per_s

    def changed_ns(self, name: str, value: int) -> int:
        """Return when a counter was last seen to have changed; its first time, where it never did."""
        return self._seen(name, value).changed_ns

    def _seen(self, name: str, value: int) -> _Counter:
        now_ns = self._now_ns
        own = self._counters.get(name)
        if own is None:
            own = self._counters[name] = _Counter(now_ns, value, value, now_ns, now_ns)
        if value != own.newest:
            own.newest, own.changed_ns = value, now_ns
        own.seen_ns = now_ns
        return own
