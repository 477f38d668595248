"""Waking an event loop from native code: an eventfd, or a pipe where there is none.

Guarantees: what it opened is closed by ``close``; a wake-up costs one system call, however many ticks came.
Does not: know what changed; whoever waits looks again.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import headrace._native as _native

__all__ = ["LoopWakeup", "WakeupKind", "has_running_loop"]

WakeupKind = Literal["auto", "eventfd", "pipe"]


def has_running_loop() -> bool:
    """Say whether this thread runs an event loop, without importing asyncio to find out."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None  # noqa: SLF001 - no public look


class LoopWakeup:
    """An ``asyncio.Event`` of the running loop that native code can set.

    kind : "eventfd", "pipe", or "auto": an eventfd where the system has one.
    """

    def __init__(self, group: _native.DispatchGroup, kind: WakeupKind) -> None:
        import asyncio  # 20 ms that only who runs a loop pays

        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        if kind == "eventfd" or (kind == "auto" and hasattr(os, "eventfd")):
            self._read_fd = self._write_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        else:
            self._read_fd, self._write_fd = os.pipe()
            os.set_blocking(self._read_fd, False)
            os.set_blocking(self._write_fd, False)
        self._alarm = group.alarm(self._write_fd)
        self._loop.add_reader(self._read_fd, self._woken)

    def _woken(self) -> None:
        # An eventfd gives its 8-byte counter, a pipe whatever came: both are empty afterwards.
        with contextlib.suppress(BlockingIOError):
            os.read(self._read_fd, 4096)
        self._event.set()

    def arm(self) -> None:
        """Ask to be woken by the next ticks. Look for ticks after this, before waiting."""
        self._event.clear()
        self._alarm.arm()

    def set(self) -> None:
        """Wake the waiter from Python."""
        self._event.set()

    async def wait(self, timeout_s: float | None) -> None:
        """Wait until woken, at most ``timeout_s``."""
        import asyncio  # 20 ms that only who runs a loop pays

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._event.wait()

    def close(self) -> None:
        """Take it out of the loop and close the descriptors."""
        if self._read_fd < 0:
            return
        self._alarm.close()
        if not self._loop.is_closed():
            self._loop.remove_reader(self._read_fd)
        os.close(self._read_fd)
        if self._write_fd != self._read_fd:
            os.close(self._write_fd)
        self._read_fd = self._write_fd = -1
