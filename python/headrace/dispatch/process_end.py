"""Process end: every open dispatcher is closed before the interpreter ends, and a forked child is marked.

Guarantees: exit waits for the threads of dispatchers, and for calls in threads that are not their own, 5 s together;
native code parks a thread whose call is not over then. A child of a fork waits for no thread: none came along.
Does not: end an engine, or a thread that a user started.
"""

from __future__ import annotations

import atexit
import logging
import os
import time
import weakref
from typing import TYPE_CHECKING

import headrace._native as _native
from headrace.limits import CLOSE_DEADLINE_S

if TYPE_CHECKING:
    from headrace.dispatch.dispatcher import Dispatcher

__all__ = ["open_dispatchers"]

log = logging.getLogger(__name__)

# With the group that threads share.
open_dispatchers: weakref.WeakKeyDictionary[Dispatcher, _native.DispatchGroup] = weakref.WeakKeyDictionary()


def _close_all() -> None:
    dispatchers = list(open_dispatchers.items())
    for dispatcher, _ in dispatchers:
        dispatcher.close()
    deadline_s = time.monotonic() + CLOSE_DEADLINE_S
    for _, group in dispatchers:
        _wait_for_call(group, deadline_s)


def _wait_for_call(group: _native.DispatchGroup, deadline_s: float) -> None:
    """Wait until no thread dispatches a group any more; name the call that goes on."""
    while group.is_busy:
        if time.monotonic() > deadline_s:
            _, name = group.running() or (0, "a handler")
            log.error("%s is still running when the process ends: its thread is left behind", name)
            return
        time.sleep(0.001)


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_native.mark_forked)
