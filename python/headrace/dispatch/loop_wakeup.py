"""Waking an event loop from native code: an eventfd, or a pipe where there is none.

Guarantees: ``close`` closes the descriptors; a wake-up costs one system call, however many ticks came.
Does not: report what changed; the woken task checks again.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import headrace._native as _native

__all__ = ["LoopWakeup", "WakeupKind"]

WakeupKind = Literal["auto", "eventfd", "pipe"]


class LoopWakeup:
    """An ``asyncio.Event`` of the running loop that native code can set.

    kind : "eventfd", "pipe", or "auto": an eventfd where the system has one.
    """

    def __init__(self, group: _native.DispatchGroup, kind: WakeupKind) -> None:
        import asyncio  # 20 ms, spent only where a loop runs

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
        # An eventfd returns its 8-byte counter, a pipe all its bytes: both are empty afterwards.
        with contextlib.suppress(BlockingIOError):
            os.read(self._read_fd, 4096)
        self._event.set()

    def arm(self) -> None:
        """Arm the wake-up for the next ticks. After this call, check for ticks once more before waiting."""
        self._event.clear()
        self._alarm.arm()

    def set(self) -> None:
        """Wake the waiter from Python."""
        self._event.set()

    async def wait(self, timeout_s: float | None) -> None:
        """Wait until woken, at most ``timeout_s``."""
        import asyncio  # 20 ms, spent only where a loop runs

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._event.wait()

    def close(self) -> None:
        """Remove it from the loop and close the descriptors."""
        if self._read_fd < 0:
            return
        self._alarm.close()
        if not self._loop.is_closed():
            self._loop.remove_reader(self._read_fd)
        os.close(self._read_fd)
        if self._write_fd != self._read_fd:
            os.close(self._write_fd)
        self._read_fd = self._write_fd = -1
