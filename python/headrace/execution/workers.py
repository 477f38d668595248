"""Workers: several runners in one process, each on a thread, until what they are to do is done.

::

    once          one run each
    until_empty   runs until nothing is PENDING or PROCESSING, leases of other processes included; with a broker also
                  until the outcome of each order is known
    every         a run at each interval, and at once when a recommendation arrives

What happens when a run fails
    once, until_empty: the other workers finish their row, and the error is raised.
    every: the error is logged, and the next interval tries again.

Guarantees: ``stop`` ends all waits; each worker finishes the row in hand and releases the others.
Does not: handle signals; the caller does.
"""

from __future__ import annotations

import copy
import logging
import threading
import time
from typing import TYPE_CHECKING, Literal, TypeAlias

from headrace.errors import HeadraceError
from headrace.execution.counts import RunCounts
from headrace.execution.wakeup import Wakeup
from headrace.limits import STORE_POLL_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.execution.database.base import Database
    from headrace.execution.runner import Runner

__all__ = ["Workers"]

log = logging.getLogger(__name__)

Mode: TypeAlias = Literal["once", "until_empty", "every"]


class Workers:
    """Runs ``count`` runners. ``make`` returns a new one for each thread. every_s : between runs of mode "every"."""

    def __init__(
        self, database: Database, make: Callable[[], Runner], *, count: int, mode: Mode, every_s: float = 60.0
    ) -> None:
        self._make = make
        self._count = count
        self._mode = mode
        self._every_s = every_s
        self._wakeup = Wakeup(database)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._errors: list[BaseException] = []
        self._last_s = 0.0
        self.counts = RunCounts()
        self.halted = False

    def stop(self) -> None:
        """End soon; may be called from a signal handler's thread."""
        self._stop.set()

    @property
    def is_stopped(self) -> bool:
        """Whether ``stop`` was called, or a worker failed."""
        return self._stop.is_set()

    def snapshot(self) -> tuple[RunCounts, float]:
        """Return the counts of all runs that have ended, and how long the last one took, s; from any thread."""
        with self._lock:
            return copy.deepcopy(self.counts), self._last_s

    def run(self) -> RunCounts:
        """Work until the mode's end or ``stop``; return the counts of all runs. Raises what a worker raised."""
        threads = [
            threading.Thread(target=self._work, name=f"worker {number}", daemon=True) for number in range(self._count)
        ]
        with self._wakeup:
            for thread in threads:
                thread.start()
            for thread in threads:
                # In slices, so that the main thread's signal handlers run.
                while thread.is_alive():
                    thread.join(STORE_POLL_S)
        if self._errors:
            raise self._errors[0]
        return self.counts

    def _work(self) -> None:
        try:
            with self._make() as runner:
                {"once": self._run, "until_empty": self._until_empty, "every": self._every}[self._mode](runner)
        except BaseException as error:  # noqa: BLE001 - of a thread: it is raised in run
            self._errors.append(error)
            self._stop.set()
            self._wakeup.wake()

    def _run(self, runner: Runner) -> None:
        result = runner.run(self._stop)
        with self._lock:
            self.counts.add(result.counts)
            self._last_s = result.counts.seconds
            self.halted = result.halted

    def _until_empty(self, runner: Runner) -> None:
        while not self._stop.is_set():
            version = self._wakeup.version
            if runner.has_work():
                self._run(runner)
                continue
            backlog = runner.backlog()
            if not backlog.pending and not backlog.processing:
                if not (backlog.sent and runner.has_broker):
                    return
                self._run(runner)
            self._wait(version, STORE_POLL_S)

    def _every(self, runner: Runner) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            version = self._wakeup.version
            try:
                if time.monotonic() >= due:
                    # A run that took longer than the interval is followed at once, not by several.
                    due = max(due + self._every_s, time.monotonic())
                    self._run(runner)
                elif runner.has_work():
                    self._run(runner)
            except HeadraceError as error:
                left_s = max(0.0, due - time.monotonic())
                log.error("the run failed, the next is due in %g s: %s", left_s, error)  # noqa: TRY400 - its text says all
                self._stop.wait(STORE_POLL_S)
            self._wait(version, max(0.0, due - time.monotonic()))

    def _wait(self, version: int, timeout_s: float) -> None:
        """Wait for a wake-up, the time, or ``stop``."""
        deadline = time.monotonic() + timeout_s
        while not self._stop.is_set() and (left := deadline - time.monotonic()) > 0:
            if self._wakeup.wait(version, min(left, STORE_POLL_S)):
                return
