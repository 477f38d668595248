"""Recorder: writes what live feeds bring, so that a live run can be replayed and repeated.

::

    frame ─▶ FOLDER/RUN_ID-FEED.txt   receive time, a space, the frame: a line each, as ``RecordingFeed`` reads them
    ticks ─▶ FOLDER/RUN_ID-FEED.npy   rows of TICK_DTYPE, as ``ArrayFeed`` reads them

What happens when
    the process is killed: each item is written before it is published, so a recording is never behind the ring. A text
    file may end in half a line; the row count of an ``.npy`` file may be behind its rows, which ``close`` corrects.
    the disk is full: the run ends with a RecordingError; what was begun is cut off again, and whole items are left.

Guarantees: mode 0600; an existing file is never touched.
Does not: check items (``items``), compress, or record feeds of the past, which have files of their own.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from headrace.dispatch.run_file import new_run_file
from headrace.errors import OptionError, RecordingError
from headrace.feeds.base import Frame
from headrace.feeds.files import path_text
from headrace.market.tick import TICK_DTYPE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from headrace.feeds.base import FeedItem

__all__ = ["Recorder"]

# A multiple of 64, as the format wants, with room for any number of rows.
HEADER_BYTES = 384


class Recorder:
    """Records the live feeds of one run. folder : made when it is missing. run_id : begins each file's name.

    Raises OptionError when a file cannot be made, RecordingError when it cannot be written.
    """

    def __init__(self, folder: str | os.PathLike[str], run_id: str) -> None:
        self._folder = Path(folder)
        self._run_id = run_id
        self._paths: dict[str, Path] = {}
        self._files: dict[int, tuple[Path, bool]] = {}
        # By file: the bytes of whole items in it.
        self._sizes: dict[int, int] = {}

    @property
    def paths(self) -> Mapping[str, Path]:
        """The file of each feed by the feed's name."""
        return self._paths

    def open(self, feed: str, *, has_frames: bool) -> Callable[[FeedItem], None]:
        """Make the file of a feed, and return the function that writes one item of it."""
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", feed) or "feed"
        ending = "txt" if has_frames else "npy"
        try:
            path, file = new_run_file(f"{self._folder}{os.sep}", f"{self._run_id}-{name}", ending)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            msg = f"recording into {path_text(self._folder)} failed: {reason}; see that there is room and permission"
            raise OptionError(msg, option="record") from error
        self._paths[feed] = path
        self._files[file] = (path, has_frames)
        self._sizes[file] = 0
        if not has_frames:
            self._write(file, _header(0))
        return lambda item: self._write(file, _bytes_of(item))

    def close(self) -> None:
        """Complete and close every file. May be called twice."""
        while self._files:
            file, (path, has_frames) = self._files.popitem()
            try:
                os.close(file)
                if not has_frames:
                    # Opened again: a file that is open for appending has no other place to write to.
                    with path.open("r+b") as reopened:
                        reopened.write(_header(self._rows_of(file)))
            except OSError as error:
                raise self._unwritable(error, path, file) from error

    def _rows_of(self, file: int) -> int:
        return max(0, self._sizes[file] - HEADER_BYTES) // TICK_DTYPE.itemsize

    def _write(self, file: int, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(file, rest) :]
        except OSError as error:
            with suppress(OSError):  # On some systems a full disk refuses this, too; then half an item is left.
                os.ftruncate(file, self._sizes[file])
            raise self._unwritable(error, self._files[file][0], file) from error
        self._sizes[file] += len(data)

    def _unwritable(self, error: OSError, path: Path, file: int) -> RecordingError:
        msg = (
            f"recording into {path_text(path)} failed: {error.strerror or error}; the {self._sizes[file]:,} bytes "
            f"before are whole and can be replayed; see that there is room"
        )
        return RecordingError(msg, path=str(path))


def _bytes_of(item: FeedItem) -> bytes:
    if isinstance(item, Frame):
        return item.as_line()
    return item if isinstance(item, bytes) else np.ascontiguousarray(item, TICK_DTYPE).tobytes()


def _header(rows: int) -> bytes:
    """Return the header of an .npy file, version 1.0; its length does not depend on the number of rows."""
    described = {"descr": np.lib.format.dtype_to_descr(TICK_DTYPE), "fortran_order": False, "shape": (rows,)}
    prefix = np.lib.format.magic(1, 0)
    text = repr(described).ljust(HEADER_BYTES - len(prefix) - 3) + "\n"
    return prefix + len(text).to_bytes(2, "little") + text.encode("latin1")
