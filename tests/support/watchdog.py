"""Watchdog: ends a test that takes too long, and names it, whatever it hangs in.

::

    timeout ─▶ interrupts of the main thread until the test ends ─▶ it fails, the run goes on
       └─ ``grace_s`` ─▶ a native call never returned: the process ends, with every thread's stack
    the process has ended ─▶ a shell, which waits for that, writes the name of the last test

What happens in an event loop
    asyncio keeps any other exception of a callback to itself, so that the test would run on. An interrupt passes
    through it, and through a task; pytest gets it as the failure of the test.

Guarantees: setup, call and teardown share one timeout, and teardown has an alarm, too, behind a test that failed.
Does not: choose the timeout; pytest-timeout does, by its option and its marker.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from types import FrameType
from typing import Protocol

import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key
from _pytest.outcomes import Failed

# Between two interrupts: one of them may come while nothing can pass it on, as in ``__del__``.
AGAIN_S = 2.0
TASK_FRAMES = 8
# Its input ends with the process that runs the tests, however that ends; a test that is over leaves an empty line.
NAMING = 'while IFS= read -r name; do last=$name; done; [ -z "$last" ] || echo "the run ended in $last" >&2'


class Settings(Protocol):
    """What pytest-timeout found out for a test. timeout : s."""

    timeout: float


class TimedOut(Failed, KeyboardInterrupt):
    """A test took too long. For asyncio, and for every handler of errors, it is an interrupt."""


class Watchdog:
    """A plugin of pytest. grace_s : how long after the timeout the process is ended."""

    def __init__(self, *, grace_s: float) -> None:
        self._grace_s = grace_s
        self._stderr = sys.__stderr__.fileno() if sys.__stderr__ is not None else 2
        self._naming: subprocess.Popen[bytes] | None = None
        # The test whose setup, call or teardown runs now.
        self._phase_of: pytest.Item | None = None

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Start the shell that names the last test."""
        self._stderr = session.config.stash[fault_handler_stderr_fd_key]
        self._naming = subprocess.Popen(["sh", "-c", NAMING], stdin=subprocess.PIPE, stderr=self._stderr, bufsize=0)

    def pytest_unconfigure(self) -> None:
        """End the shell."""
        if self._naming is not None:
            self._naming.communicate()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Name the test to the shell while it runs, and end its alarms behind it."""
        self._name(item.nodeid)
        try:
            return (yield)
        finally:
            _disarm()
            self._name("")

    @pytest.hookimpl(tryfirst=True)
    def pytest_timeout_set_timer(self, item: pytest.Item, settings: Settings) -> bool:
        """Set the alarms of a test, in place of pytest-timeout's own."""

        def interrupt(_number: int, _frame: FrameType | None) -> None:
            if self._phase_of is item:
                self._show(item)
                msg = f"Timeout (>{settings.timeout:g} s) of {item.nodeid}"
                raise TimedOut(msg)

        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, settings.timeout, AGAIN_S)
        self._arm_watchdog(settings.timeout)
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_timeout_cancel_timer(self, item: pytest.Item) -> bool:
        """Leave the alarms on behind a test that failed: its teardown may hang. A debugger ends them."""
        if item.config.getoption("usepdb"):
            _disarm()
        return True

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        """Let the alarm reach a setup."""
        return (yield from self._phase(item))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Let the alarm reach a call."""
        return (yield from self._phase(item))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        """Let the alarm reach a teardown."""
        return (yield from self._phase(item))

    def _phase(self, item: pytest.Item) -> Generator[None, object, object]:
        """Turn an interrupt by the alarm into a failure of the test."""
        self._phase_of = item
        try:
            return (yield)
        except TimedOut as error:
            self._phase_of = None
            # It came to an end; what is left to do, on a slow machine, has its own time.
            self._arm_watchdog(0.0)
            raise Failed(str(error)) from error
        finally:
            self._phase_of = None

    def _arm_watchdog(self, after_s: float) -> None:
        faulthandler.dump_traceback_later(after_s + self._grace_s, exit=True, file=self._stderr)

    def _name(self, test: str) -> None:
        if self._naming is not None and self._naming.stdin is not None:
            self._naming.stdin.write(test.encode() + b"\n")

    def _show(self, item: pytest.Item) -> None:
        """Write every thread's stack, and what each task of the loop waits for."""
        os.write(self._stderr, f"\n{item.nodeid} takes too long\n".encode())
        faulthandler.dump_traceback(file=self._stderr, all_threads=True)
        try:
            tasks = asyncio.all_tasks()
        except RuntimeError:  # No loop runs.
            return
        with open(self._stderr, "w", closefd=False, encoding="utf-8") as stderr:
            for task in tasks:
                task.print_stack(limit=TASK_FRAMES, file=stderr)


def _disarm() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    faulthandler.cancel_dump_traceback_later()
