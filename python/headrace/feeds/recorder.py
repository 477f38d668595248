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

import re
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from headrace.feeds.base import Frame
from headrace.feeds.whole_file import WholeFile
from headrace.market.tick import TICK_DTYPE

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from headrace.feeds.base import FeedItem

__all__ = ["AnyRecorder", "Recorder", "bytes_of"]

# A multiple of 64, as the format wants, with room for any number of rows.
HEADER_BYTES = 384


@runtime_checkable
class AnyRecorder(Protocol):
    """Writes what live feeds bring. Used in one event loop."""

    def open(self, feed: str, *, has_frames: bool) -> Callable[[FeedItem], None]:
        """Begin with a feed, and return the function that writes one item of it before it is published."""

    def path_of(self, feed: str) -> Path | None:
        """Return the one file that holds what a feed brought; None where there is none."""

    def close(self) -> None:
        """Complete and close every file. May be called twice."""


class Recorder:
    """Records the live feeds of one run. folder : made when it is missing. run_id : begins each file's name.

    Raises OptionError when a file cannot be made, RecordingError when it cannot be written.
    """

    def __init__(self, folder: str | os.PathLike[str], run_id: str) -> None:
        self._folder = Path(folder)
        self._run_id = run_id
        self._paths: dict[str, Path] = {}
        self._files: list[tuple[WholeFile, bool]] = []

    def path_of(self, feed: str) -> Path | None:
        """Return the file of a feed; None: it is not recorded."""
        return self._paths.get(feed)

    def open(self, feed: str, *, has_frames: bool) -> Callable[[FeedItem], None]:
        """Make the file of a feed, and return the function that writes one item of it."""
        name = re.sub(r"[^\w.-]+", "_", feed) or "feed"
        file = WholeFile(self._folder, f"{self._run_id}-{name}", "txt" if has_frames else "npy")
        self._paths[feed] = file.path
        self._files.append((file, has_frames))
        if not has_frames:
            file.write(_header(0))
        return lambda item: file.write(bytes_of(item))

    def close(self) -> None:
        """Complete and close every file. May be called twice."""
        while self._files:
            file, has_frames = self._files.pop()
            file.close()
            if not has_frames:
                _complete(file)


def _complete(file: WholeFile) -> None:
    """Write the number of rows into a file of ticks. Raises RecordingError."""
    try:
        # Opened again: a file that is open for appending has no other place to write to.
        with file.path.open("r+b") as reopened:
            reopened.write(_header(max(0, file.size - HEADER_BYTES) // TICK_DTYPE.itemsize))
    except OSError as error:
        raise file.unwritable(error) from error


def bytes_of(item: FeedItem) -> bytes:
    """Return an item as a recording holds it."""
    if isinstance(item, Frame):
        return item.as_line()
    return item if isinstance(item, bytes) else np.ascontiguousarray(item, TICK_DTYPE).tobytes()


def _header(rows: int) -> bytes:
    """Return the header of an .npy file, version 1.0; its length does not depend on the number of rows."""
    described = {"descr": np.lib.format.dtype_to_descr(TICK_DTYPE), "fortran_order": False, "shape": (rows,)}
    prefix = np.lib.format.magic(1, 0)
    text = repr(described).ljust(HEADER_BYTES - len(prefix) - 3) + "\n"
    return prefix + len(text).to_bytes(2, "little") + text.encode("latin1")
