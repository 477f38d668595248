"""Files: their names as text, the refusal of what has no end, and writing that leaves nothing half-written.

Guarantees: a pipe or a device is refused before it is opened, which could wait for ever; a name can be printed and
written, whatever its bytes are. What is written here has its name when it is whole, and never before.
Does not: read a file, or sync it to the disk.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from headrace.market.wording import printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from headrace.errors import RecordingError, ResultError

__all__ = ["path_text", "refuse_endless", "unwritable", "write_all", "write_whole", "written_whole"]


def path_text(path: Path) -> str:
    r"""Return a path as text; bytes that are no UTF-8, and what cannot be printed, as ``\xNN``."""
    return printable(os.fsencode(path).decode("utf-8", "backslashreplace"))


def refuse_endless(path: Path) -> int:
    """Return the size of a regular file, bytes. Raises OSError: missing, a folder, a pipe or a device; ValueError."""
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    if not stat.S_ISREG(status.st_mode):
        msg = "it is a pipe or a device, which cannot be read twice; write it to a file first"
        raise OSError(msg)
    return status.st_size


@contextmanager
def written_whole(target: Path, what: str, kind: type[RecordingError | ResultError]) -> Iterator[Path]:
    """Give the path of a new file, which takes the name of ``target`` when the block ends, or is removed.

    A file of that name stays as it was until then. what : the file is, in the error. Raises ``kind``: a write failed.
    """
    part = target.with_name(f".part-{os.getpid()}-{target.name}")
    try:
        yield part
        part.replace(target)
    except OSError as error:
        if hasattr(error, "__notes__"):
            raise  # Of a user's object, as the note says: a feed that is read while the file is written.
        raise unwritable(target, what, kind, error) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def write_whole(target: Path, data: bytes, what: str, kind: type[RecordingError | ResultError]) -> Path:
    """Write a file and return its path, as ``written_whole`` does."""
    with written_whole(target, what, kind) as part:
        part.write_bytes(data)
    return target


def unwritable(
    target: Path, what: str, kind: type[RecordingError | ResultError], error: OSError
) -> RecordingError | ResultError:
    """Return the error of a file that cannot be written: the system's words, whatever library came across it."""
    why = os.strerror(error.errno) if error.errno else error
    msg = f"{what} {path_text(target)} cannot be written: {why}; check the folder and the free space"
    return kind(msg, path=str(target))


def write_all(file: int, data: bytes) -> None:
    """Write bytes to an open file, all of them: a disk that fills takes a part first. Raises OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]
