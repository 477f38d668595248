"""Watch: logs the name of a handler that runs too long; it needs its own thread, since the slow one is busy.

Guarantees: each slow call is named once, within a second; the thread ends with its dispatcher, or when that is gone.
Does not: interrupt a handler.
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
    """An object that reports its running handler."""

    def running(self) -> tuple[int, str] | None:
        """Return a number that differs for each handler call, and the handler's name; None when none runs."""


class Watch:
    """Names handlers that run too long.

    groups : the dispatch groups to watch. handlers : by subscription, its handlers' names in order of their numbers.
    buses : the event buses to watch.
    """

    def __init__(self, slow_s: float) -> None:
        self.groups: list[_native.DispatchGroup] = []
        self.handlers: dict[str, list[str]] = {}
        self.buses: list[RunsHandlers] = []
        self._slow_s = slow_s
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, if it does not run."""
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
        """Compare the running calls with those of the last look."""
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
                    "%s.%s has been running for %.1f s and delays all handlers of its thread", name, called, slow_s
                )
        for bus in list(self.buses):
            at = bus.running()
            slow_s = self._slow_for(seen, id(bus), None if at is None else at[0], now_s)
            if at is not None and slow_s is not None:
                log.warning("%s has been handling an event for %.1f s and blocks the event loop", at[1], slow_s)

    def _slow_for(
        self, seen: dict[int, tuple[int, float, bool]], whose: int, mark: int | None, now_s: float
    ) -> float | None:
        """Return how long a call has been running that must be named now; None when none must."""
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
