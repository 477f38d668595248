"""Process end: every open dispatcher is closed before the interpreter ends, and a forked child is marked.

Guarantees: exit waits for the threads of dispatchers, and for calls in threads that are not their own, 5 s together;
native code parks a thread whose call is not over then. A child of a fork waits for no thread: none came along.
Does not: end an engine, or a thread that a user started.
"""

from __future__ import annotations

import atexit
import os
import time
import weakref
from typing import TYPE_CHECKING

import headrace._native as _native
from headrace.limits import CLOSE_DEADLINE_S

if TYPE_CHECKING:
    from headrace.dispatch.dispatcher import Dispatcher

__all__ = ["open_dispatchers"]

open_dispatchers: weakref.WeakSet[Dispatcher] = weakref.WeakSet()


def _close_all() -> None:
    dispatchers = list(open_dispatchers)
    for dispatcher in dispatchers:
        dispatcher.close()
    deadline_s = time.monotonic() + CLOSE_DEADLINE_S
    for dispatcher in dispatchers:
        dispatcher._wait_for_call(deadline_s)  # noqa: SLF001 - the end of the process is no business of a user's


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_native.mark_forked)
