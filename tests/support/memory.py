"""How much memory this process holds."""

from __future__ import annotations

import resource
from pathlib import Path


def rss_bytes() -> int:
    """Resident memory, bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
