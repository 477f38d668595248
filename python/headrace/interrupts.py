"""Interrupts: SIGINT and SIGTERM as requests to an engine, not as exceptions in somebody's handler.

Guarantees: off the main thread nothing is touched; the handlers of before come back; a third signal does what it did
before us.
Does not: raise; a request is a call of a function that only sets flags.
"""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["Interrupts"]

WATCHED = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """While inside, the first signal calls ``on_first``, the second ``on_second``; both with the signal's name."""

    def __init__(self, on_first: Callable[[str], None], on_second: Callable[[str], None]) -> None:
        self._calls = [on_first, on_second]
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for watched in WATCHED:
                self._before[watched] = signal.getsignal(watched)
                signal.signal(watched, self._on_signal)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._give_back()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        call = self._calls.pop(0)
        if not self._calls:
            self._give_back()
        call(signal.Signals(number).name)

    def _give_back(self) -> None:
        for watched, before in self._before.items():
            # None: a handler that was not set from Python, which Python cannot set again.
            signal.signal(watched, signal.SIG_DFL if before is None else before)
        self._before = {}
