"""Watch: logs the name of a handler that runs too long; it needs its own thread, since the slow one is busy.

Guarantees: each slow call is named once, within a second; the thread ends with its dispatcher, or when that is gone.
Does not: interrupt a handler.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from typing import Protocol

from headrace.limits import WATCH_EVERY_S

__all__ = ["RunsHandlers", "Watch"]

log = logging.getLogger(__name__)


class RunsHandlers(Protocol):
    """A dispatch group or an event bus: an object that reports its running handler."""

    def running(self) -> tuple[int, str] | None:
        """Return a number that differs for each handler call, and the handler's name; None when none runs."""


class Watch:
    """Names handlers that run too long. watched : where they run. effect : what a slow one does to the others."""

    def __init__(self, slow_s: float, effect: str) -> None:
        self.watched: list[RunsHandlers] = []
        self._slow_s = slow_s
        self._effect = effect
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
        """Compare the running calls with those of the last look: by place, the call, since when, whether named."""
        now_s = time.monotonic()
        for place in list(self.watched):
            running = place.running()
            if running is None:
                seen.pop(id(place), None)
                continue
            number, name = running
            before, since_s, is_named = seen.get(id(place), (None, now_s, False))
            if before != number:
                since_s, is_named = now_s, False
            elif not is_named and now_s - since_s >= self._slow_s:
                is_named = True
                log.warning("%s has been running for %.1f s and %s", name, now_s - since_s, self._effect)
            seen[id(place)] = (number, since_s, is_named)


def _watch(watch: weakref.ref[Watch], end: threading.Event) -> None:
    seen: dict[int, tuple[int, float, bool]] = {}
    while not end.wait(WATCH_EVERY_S):
        alive = watch()
        if alive is None:
            return
        alive.look(seen)
        del alive
