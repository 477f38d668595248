"""Interrupts: SIGINT and SIGTERM as requests to an engine, not as exceptions in somebody's handler.

::

    first  ─▶ on_first: a function that sets flags
    second ─▶ on_second: the same; and where the event loop does not hear of it for half a second, because a handler
              spins or sleeps, KeyboardInterrupt in the main thread, until the loop hears again or the engine has ended
    third  ─▶ SIGINT: KeyboardInterrupt; SIGTERM: what it did before us

Guarantees: off the main thread nothing is touched; several engines of a process each get every signal; the handlers of
before come back with the last of them.
Does not: interrupt what gives Python nothing back, such as a native call that computes.
"""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any, ClassVar, Self

from headrace.limits import DRAIN_RUNNING_S

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["Interrupts"]

WATCHED = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """While inside, signals are requests. May be entered again inside of itself.

    on_first, on_second : called with the signal's name. in_loop : has the engine's event loop call something;
    False: there is none, or no more.
    """

    _active: ClassVar[list[Interrupts]] = []
    _before: ClassVar[dict[signal.Signals, Any]] = {}

    def __init__(
        self,
        on_first: Callable[[str], None],
        on_second: Callable[[str], None],
        in_loop: Callable[[Callable[[], object]], bool],
    ) -> None:
        self._calls = [on_first, on_second]
        self._in_loop = in_loop
        self._depth = 0
        self._signals = 0
        self._left = threading.Event()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._depth += 1
            if self._depth == 1:
                if not self._active:
                    for watched in WATCHED:
                        self._before[watched] = signal.getsignal(watched)
                        signal.signal(watched, _on_signal)
                self._active.append(self)
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._depth and threading.current_thread() is threading.main_thread():
            self._depth -= 1
            if not self._depth:
                self._left.set()
                self._active.remove(self)
                if not self._active:
                    for watched in WATCHED:
                        _give_back(watched)

    def take(self, name: str) -> bool:
        """Take a signal; False: it was one too many."""
        self._signals += 1
        if self._signals > len(self._calls):
            return False
        self._calls[self._signals - 1](name)
        if self._signals == len(self._calls):
            threading.Thread(target=self._insist, name="headrace-interrupts", daemon=True).start()
        return True

    def _insist(self) -> None:
        """Interrupt the main thread as long as the loop does not call back."""
        main = threading.main_thread().ident
        assert main is not None
        while not self._left.is_set():
            heard = threading.Event()
            is_looping = self._in_loop(heard.set)
            if not self._left.wait(DRAIN_RUNNING_S) and is_looping and not heard.is_set():
                signal.pthread_kill(main, signal.SIGINT)


def _on_signal(number: int, _frame: FrameType | None) -> None:
    # Every engine is told, whatever the others make of it.
    taken = [own.take(signal.Signals(number).name) for own in Interrupts._active]  # noqa: SLF001 - the other half of it
    if not any(taken):
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        _give_back(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)


def _give_back(watched: signal.Signals) -> None:
    before = Interrupts._before.get(watched)  # noqa: SLF001 - the other half of it
    # None: a handler that was not set from Python, which Python cannot set again.
    signal.signal(watched, signal.SIG_DFL if before is None else before)
