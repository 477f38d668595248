"""Files that feeds read: their names as text, and the refusal of what has no end.

Guarantees: a pipe or a device is refused before it is opened, which could wait for ever; a name can be printed and
written, whatever its bytes are.
Does not: read a file.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["path_text", "refuse_endless"]


def path_text(path: Path) -> str:
    r"""Return a path as text; bytes that are no UTF-8, and what cannot be printed, as ``\xNN``."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return text if text.isprintable() else "".join(own if own.isprintable() else ascii(own)[1:-1] for own in text)


def refuse_endless(path: Path) -> int:
    """Return the size of a regular file, bytes. Raises OSError: missing, a folder, a pipe or a device; ValueError."""
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    if not stat.S_ISREG(status.st_mode):
        msg = "it is a pipe or a device, which cannot be read twice; write it to a file first"
        raise OSError(msg)
    return status.st_size
