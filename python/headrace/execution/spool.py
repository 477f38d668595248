"""Spool: records on disk between a producer that may not wait and a database that may be away, in order and bounded.

::

    append ─▶ NAME.jsonl   one line a record           first() ─▶ records ─▶ done() ─▶ NAME.offset

What happens when
    the process is killed: the next one goes on at the offset; a record may be taken twice, so its taker is idempotent.
    its last line is torn: the line is cut off; the record was never acknowledged.
    it is full: append refuses, and says so.

Guarantees: records are taken in the order in which they were appended; a drained spool takes no space.
Does not: sync to the disk: a loss of power may cost the last records.
"""

from __future__ import annotations

import fcntl
import os
import threading
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.errors import StateFolderError
from headrace.limits import SPOOL_BYTES_MAX
from headrace.trading.state_folder import checked_folder

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Spool"]


class Spool:
    """One spool, of one process at a time. Raises StateFolderError.

    folder : made if it is not there. name : of its files. bytes_max : what it holds at most.
    """

    def __init__(self, folder: Path, name: str, *, bytes_max: int = SPOOL_BYTES_MAX) -> None:
        path = checked_folder(folder) / f"{name}.jsonl"
        self._bytes_max = bytes_max
        self._offset_path = path.with_suffix(".offset")
        # One thread appends, another one takes.
        self._lock = threading.Lock()
        self._file = -1
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._begin = int(self._offset_path.read_text()) if self._offset_path.exists() else 0
        except (OSError, ValueError) as error:
            self.close()
            why = "another process uses it" if isinstance(error, BlockingIOError) else error
            msg = f"the spool {path} cannot be used ({why}): give it another name"
            raise StateFolderError(msg, path=str(path)) from error
        self._end = self._whole_lines()
        self._taken = self._begin = min(self._begin, self._end)

    def __len__(self) -> int:
        """How many bytes wait."""
        return self._end - self._begin

    def append(self, record: dict[str, Any]) -> bool:
        """Append a record; False: it is full, and the record is not in it. Raises OSError when the disk is full."""
        line = msgspec.json.encode(record) + b"\n"
        with self._lock:
            if self._end - self._begin + len(line) > self._bytes_max:
                return False
            written = os.write(self._file, line)
            if written != len(line):
                os.ftruncate(self._file, self._end)
                return False
            self._end += written
        return True

    def first(self, most: int) -> list[dict[str, Any]]:
        """Return at most so many of the oldest records; they stay until ``done``."""
        found: list[dict[str, Any]] = []
        # What is appended meanwhile is taken next time.
        end, at, pending = self._end, self._begin, b""
        self._taken = at
        while len(found) < most and at < end:
            block = os.pread(self._file, min(1 << 16, end - at), at)
            at += len(block)
            *lines, pending = (pending + block).split(b"\n")
            for line in lines[: most - len(found)]:
                found.append(msgspec.json.decode(line))
                self._taken += len(line) + 1
        return found

    def done(self) -> None:
        """Take off what ``first`` returned."""
        with self._lock:
            self._begin = self._taken
            if self._begin == self._end:
                self._begin = self._taken = self._end = 0
            new = self._offset_path.with_suffix(".new")
            new.write_text(str(self._begin))
            new.replace(self._offset_path)
            if not self._end:
                # After the offset: between the two, records would be taken again, and none would be left out.
                os.ftruncate(self._file, 0)

    def close(self) -> None:
        """Close the file; what waits stays in it. May be called twice."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def _whole_lines(self) -> int:
        """Return where the last whole line ends, and cut off what follows."""
        size = os.fstat(self._file).st_size
        end = size
        while end and os.pread(self._file, 1, end - 1) != b"\n":
            end -= 1
        if end != size:
            os.ftruncate(self._file, end)
        return end
