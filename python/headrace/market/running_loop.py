"""The running loop: whether this thread runs an event loop, without importing asyncio.

Guarantees: a program without an event loop never pays for the import (20 ms).
Does not: start, stop or return a loop.
"""

from __future__ import annotations

import sys

__all__ = ["has_running_loop"]


def has_running_loop() -> bool:
    """Return whether this thread runs an event loop."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None  # noqa: SLF001 - no public look
