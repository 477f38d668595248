"""Watch: names a handler that runs too long, from a thread of its own, because the slow one cannot do it itself.

Guarantees: each slow call is named once, within a second; the thread ends with its dispatcher, or when that is gone.
Does not: interrupt anybody.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from typing import TYPE_CHECKING, Protocol

from headrace.limits import WATCH_EVERY_S

if TYPE_CHECKING:
    import headrace._native as _native

__all__ = ["RunsHandlers", "Watch"]

log = logging.getLogger(__name__)


class RunsHandlers(Protocol):
    """Something that can say what runs on it now."""

    def running(self) -> tuple[int, str] | None:
        """Return a number that is another one at each call, and the handler's name; None when nothing runs."""


class Watch:
    """Names handlers that run too long.

    groups : whose calls are watched. handlers : by subscription, its handlers' names in the order of their numbers.
    buses : whose handlers are watched.
    """

    def __init__(self, slow_s: float) -> None:
        self.groups: list[_native.DispatchGroup] = []
        self.handlers: dict[str, list[str]] = {}
        self.buses: list[RunsHandlers] = []
        self._slow_s = slow_s
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to watch, if nobody does yet."""
        if self._thread is None:
            self._thread = threading.Thread(target=_watch, args=(weakref.ref(self), self._end), daemon=True)
            self._thread.name = "headrace-watch"
            self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._end.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(1.0)
        self._thread = None

    def look(self, seen: dict[int, tuple[int, float, bool]]) -> None:
        """Compare what runs with what ran at the last look."""
        now_s = time.monotonic()
        for group in list(self.groups):
            running = group.running()
            slow_s = self._slow_for(seen, id(group), None if running is None else running[0], now_s)
            if running is not None and slow_s is not None:
                _, member, handler = running
                names = group.member_names()
                name = names[member] if member < len(names) else "?"
                known = self.handlers.get(name, [])
                called = known[handler] if handler < len(known) else f"handler {handler}"
                log.warning(
                    "%s.%s has been running for %.1f s and holds up everybody dispatched with it", name, called, slow_s
                )
        for bus in list(self.buses):
            at = bus.running()
            slow_s = self._slow_for(seen, id(bus), None if at is None else at[0], now_s)
            if at is not None and slow_s is not None:
                log.warning("%s has been at an event for %.1f s and holds up the event loop", at[1], slow_s)

    def _slow_for(
        self, seen: dict[int, tuple[int, float, bool]], whose: int, mark: int | None, now_s: float
    ) -> float | None:
        """Return how long the call has been running that is to be named now; None when none is."""
        if mark is None:
            seen.pop(whose, None)
            return None
        before = seen.get(whose)
        if before is None or before[0] != mark:
            seen[whose] = (mark, now_s, False)
            return None
        if before[2] or now_s - before[1] < self._slow_s:
            return None
        seen[whose] = (mark, before[1], True)
        return now_s - before[1]


def _watch(watch: weakref.ref[Watch], end: threading.Event) -> None:
    seen: dict[int, tuple[int, float, bool]] = {}
    while not end.wait(WATCH_EVERY_S):
        alive = watch()
        if alive is None:
            return
        alive.look(seen)
        del alive
