"""Dispatch logs that were changed by hand."""

from __future__ import annotations

import zlib


def resealed(data: bytes) -> bytes:
    """Return a log whose checks fit what it holds now."""
    crc, lines = 0, []
    for line in data.splitlines(keepends=True):
        text = b'["check",%d]\n' % crc if line.startswith(b'["check",') else line
        crc = zlib.crc32(text, crc)
        lines.append(text)
    return b"".join(lines)
