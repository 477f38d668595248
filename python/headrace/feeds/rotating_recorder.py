"""RotatingRecorder: what one live feed brings, in compressed files that each replay alone.

::

    frame ─▶ buffer ─▶ one gzip member, or zstd frame, at 256 KiB or after a second
                        └▶ FOLDER/VENUE-20261130T170000Z.txt.gz
    the next interval begins ─▶ a new file: snapshots of our own books, then the frame

What happens when
    the process is killed: members are written whole, so a file ends with one; what is lost is the last second.
    the disk is full: the run ends with a RecordingError; the member that did not fit is cut off again.

Guarantees: every frame once, in order, over all files; a file is never changed once the next one was begun.
Does not: keep books; ``snapshots`` returns theirs.
"""

from __future__ import annotations

import asyncio
import gzip
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import headrace._native as _native
from headrace.errors import OptionError, RecordingError
from headrace.feeds.base import Frame
from headrace.feeds.recorder import bytes_of
from headrace.feeds.whole_file import WholeFile
from headrace.market.checks import one_of
from headrace.market.clock import END_OF_TIME_NS

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable

    from headrace.feeds.base import FeedItem

__all__ = ["FORMATS", "RotatingRecorder"]

MEMBER_BYTES = 256 << 10
FLUSH_EVERY_S = 1.0
# Text of a venue's frames becomes hardly smaller by higher ones, which take three times as long.
GZIP_LEVEL = 4
# What a file may be packed as, with the end of its name.
FORMATS = {"gzip": "txt.gz", "zstd": "txt.zst"}


class RotatingRecorder:
    """Records one live feed of frames.

    folder : made when it is missing. stem : begins each file's name. rotate_ns : a new file begins with each multiple
    of it in UTC; None: one file. snapshots : returns the frames that a new file begins with. packed : "gzip" or "zstd".

    Raises OptionError when a file cannot be made, RecordingError when it cannot be written.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        stem: str,
        *,
        rotate_ns: int | None = None,
        snapshots: Callable[[], Iterable[bytes]] = lambda: (),
        packed: str = "gzip",
    ) -> None:
        self._ending = FORMATS[one_of("packed", packed, FORMATS)]
        self._pack = _gzip_member if packed == "gzip" else _zstd_frame
        self._folder = Path(folder)
        self._stem = re.sub(r"[^\w.-]+", "_", stem)
        self._rotate_ns = rotate_ns
        self._snapshots = snapshots
        self.paths: list[Path] = []
        self.frames = 0
        # Of the files before this one, compressed.
        self._bytes_before = 0
        self._file: WholeFile | None = None
        self._next_ns = 0
        self._buffer = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        # Of a flush by the clock; the next item raises it.
        self._error: RecordingError | None = None

    @property
    def bytes_written(self) -> int:
        """Bytes in all files, compressed."""
        return self._bytes_before + (0 if self._file is None else self._file.size)

    def path_of(self, feed: str) -> None:
        """Return None: no single file holds what a feed brought."""

    def open(self, feed: str, *, has_frames: bool) -> Callable[[FeedItem], None]:
        """Begin with the one feed, and make the first file: a folder that cannot be used is an error at once."""
        if not has_frames or self.paths:
            msg = f"feed {feed} cannot be recorded here: this recorder takes one feed, of frames"
            raise OptionError(msg, option="record")
        self._begin(datetime.now(UTC))
        self._next_ns = 0
        self._flush_soon()
        return self._record

    def close(self) -> None:
        """Write what is buffered, and close the file. May be called twice."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        file, self._file = self._file, None
        if file is not None:
            try:
                if self._error is None:
                    self._write(file)
            finally:
                self._bytes_before += file.size
                file.close()

    def _record(self, item: FeedItem) -> None:
        if self._error is not None:
            raise self._error
        assert isinstance(item, Frame)
        if item.ts_init >= self._next_ns:
            self._rotate(item.ts_init)
        self._buffer += bytes_of(item)
        self.frames += 1
        if len(self._buffer) >= MEMBER_BYTES:
            self._flush()

    def _rotate(self, ts_ns: int) -> None:
        """Begin the file of this time; the first one is there already."""
        is_first, self._next_ns = self._next_ns == 0, END_OF_TIME_NS
        if self._rotate_ns is not None:
            self._next_ns = ts_ns - ts_ns % self._rotate_ns + self._rotate_ns
        if is_first:
            return
        self._flush()
        assert self._file is not None
        self._bytes_before += self._file.size
        self._file.close()
        self._begin(datetime.fromtimestamp(ts_ns // 1_000_000_000, UTC))
        for frame in self._snapshots():
            self._buffer += bytes_of(Frame(ts_ns, frame))

    def _begin(self, time: datetime) -> None:
        self._file = WholeFile(self._folder, f"{self._stem}-{time:%Y%m%dT%H%M%SZ}", self._ending)
        self.paths.append(self._file.path)

    def _flush(self) -> None:
        if self._file is not None:
            self._write(self._file)

    def _write(self, file: WholeFile) -> None:
        if self._buffer:
            member = self._pack(self._buffer)
            self._buffer.clear()
            file.write(member)

    def _flush_soon(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(FLUSH_EVERY_S, self._flush_by_clock)

    def _flush_by_clock(self) -> None:
        try:
            self._flush()
        except RecordingError as error:
            self._error = error
        else:
            self._flush_soon()


def _gzip_member(content: bytearray) -> bytes:
    # No time in it: the same frames make the same bytes.
    return gzip.compress(content, GZIP_LEVEL, mtime=0)


def _zstd_frame(content: bytearray) -> bytes:
    return _native.ZstdPacker().pack(content, is_last=True)
