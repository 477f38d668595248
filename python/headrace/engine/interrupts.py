"""Interrupts: signals as requests to an engine instead of exceptions in a handler.

::

    first  ─▶ calls[0]: a function that sets flags
    second ─▶ calls[1], if there is one; where the event loop does not run for half a second, because a handler spins or
              sleeps, KeyboardInterrupt in the main thread, until the loop runs again or the engine has ended
    next   ─▶ what the signal did before; SIGINT at least KeyboardInterrupt

Guarantees: off the main thread nothing is touched; several engines of a process each receive every signal; the last of
them restores the handlers that were there before. A SIGHUP that is ignored (``nohup``) or has a handler is left alone.
Does not: interrupt a native call that returns nothing to Python.
"""

from __future__ import annotations

import atexit
import signal
import threading
from typing import TYPE_CHECKING, Any, ClassVar, Self

from headrace.limits import DRAIN_RUNNING_S

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

__all__ = ["REQUESTS", "Interrupts"]

# What requests an end: of a terminal, of a process manager, and a terminal that is gone. Windows has no SIGHUP.
HANGUP = getattr(signal, "SIGHUP", None)
REQUESTS = (signal.SIGINT, signal.SIGTERM, *([] if HANGUP is None else [HANGUP]))


class Interrupts:
    """While inside, signals are requests. May be entered again inside of itself.

    calls : what the first signal calls, with its name, then the second. signals : which ones.
    in_loop : has the engine's event loop call a function; returns False when there is no loop.
    """

    _active: ClassVar[list[Interrupts]] = []
    _before: ClassVar[dict[signal.Signals, Any]] = {}

    def __init__(
        self,
        calls: Sequence[Callable[[str], None]],
        *,
        signals: Sequence[signal.Signals] = REQUESTS,
        in_loop: Callable[[Callable[[], object]], bool] = lambda _call: False,
    ) -> None:
        self._wanted = signals
        # Those of them that are taken, while inside.
        self.signals = signals
        self._calls = calls
        self._in_loop = in_loop
        self._depth = 0
        self._count = 0
        self._left = threading.Event()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._depth += 1
            if self._depth == 1:
                self.signals = [watched for watched in self._wanted if watched != HANGUP or _is_free(watched)]
                for watched in self.signals:
                    if not any(watched in other.signals for other in self._active):
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
                for watched in self.signals:
                    if not any(watched in other.signals for other in self._active):
                        _restore(watched)

    def until_exit(self) -> None:
        """Enter for the rest of the process: a signal that comes while it ends must not make a failure of its end."""
        self.__enter__()
        # Python restores the defaults first of all at its end, and then has its own clean-up to do.
        atexit.register(self._ignore)

    def _ignore(self) -> None:
        for watched in self.signals:
            signal.signal(watched, signal.SIG_IGN)

    def take(self, name: str) -> bool:
        """Take a signal; False: it was one too many."""
        self._count += 1
        if self._count > len(self._calls):
            return False
        self._calls[self._count - 1](name)
        if self._count == 2:
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


def _on_signal(number: int, frame: FrameType | None) -> None:
    concerned = [own for own in Interrupts._active if number in own.signals]  # noqa: SLF001 - the other half of it
    # Every engine receives it, whatever the others do with it.
    taken = [own.take(signal.Signals(number).name) for own in concerned]
    if not any(taken):
        before = Interrupts._before.get(signal.Signals(number))  # noqa: SLF001 - the other half of it
        if callable(before):
            before(number, frame)
            return
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        _restore(signal.Signals(number))
        signal.raise_signal(number)


def _is_free(watched: signal.Signals) -> bool:
    """Return whether a signal has no meaning yet, or the one that it has here."""
    return signal.getsignal(watched) in (signal.SIG_DFL, _on_signal)


def _restore(watched: signal.Signals) -> None:
    before = Interrupts._before.get(watched)  # noqa: SLF001 - the other half of it
    # None: a handler that was not set from Python, which Python cannot set again.
    signal.signal(watched, signal.SIG_DFL if before is None else before)
