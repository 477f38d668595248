"""Files that belong to one run: its audit, its dispatch log, its recordings.

Guarantees: mode 0600; an existing file is never touched; in a folder each run has a file of its own.
Does not: write anything.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

__all__ = ["LINE_BYTES_MAX", "is_run_folder", "lines_of", "new_run_file", "remove_empty"]


# A line holds a configuration or an event; a longer one is none of ours.
LINE_BYTES_MAX = 16 << 20


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a file that a run wrote; one that is too long comes in parts of LINE_BYTES_MAX."""
    return iter(partial(file.readline, LINE_BYTES_MAX), b"")


def is_run_folder(path: str | os.PathLike[str]) -> bool:
    """Whether a path names a folder with a file for each run: it is one, or ends in a slash."""
    text = os.fspath(path)
    # Path.is_dir raises where a name is too long.
    return text.endswith(os.sep) or os.path.isdir(text)  # noqa: PTH112 - as above


def new_run_file(path: str | os.PathLike[str], run_id: str, ending: str) -> tuple[Path, int]:
    """Make a new file and return its path and its descriptor, open for writing.

    path : the file; or a folder, in which the file is ``RUN_ID.ENDING``, then ``RUN_ID-2.ENDING`` and so on.
    Folders on the way are made, mode 0700. Raises OSError; FileExistsError when ``path`` itself is there already.
    """
    is_folder = is_run_folder(path)
    file = Path(path, f"{run_id}.{ending}") if is_folder else Path(path)
    if "\0" in str(file):
        raise OSError(errno.EINVAL, "its name holds a NUL character", str(file))
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError as error:
        # Not the file itself: something on the way to it is no folder.
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(file.parent)) from error
    for number in itertools.count(2):
        try:
            return file, os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            if not is_folder and not file.is_file():
                # A device or a pipe, which nothing overwrites. A pipe that is not read is an error, and not waited for.
                descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK)
                os.set_blocking(descriptor, True)
                return file, descriptor
            if not is_folder:
                raise
            file = file.with_name(f"{run_id}-{number}.{ending}")
    raise AssertionError  # The count has no end.


def remove_empty(path: Path) -> None:
    """Remove a file that was made and could not be written, so that the next run can make it."""
    with suppress(OSError):
        if path.is_file() and not path.stat().st_size:
            path.unlink()
