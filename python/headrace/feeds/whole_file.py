"""WholeFile: a file of a recording that holds whole items, whatever happens while it is written.

Guarantees: a write that fails is cut off again; the error says how many bytes before it are whole.
Does not: decide what an item is, or sync to the disk.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from headrace.dispatch.run_file import new_run_file
from headrace.errors import OptionError, RecordingError
from headrace.feeds.files import path_text, write_all

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["WholeFile"]


class WholeFile:
    """A new file in a folder, mode 0600. stem, ending : of its name; a name that is taken gets a number.

    Raises OptionError when it cannot be made.
    """

    def __init__(self, folder: Path, stem: str, ending: str) -> None:
        try:
            self.path, self._file = new_run_file(f"{folder}{os.sep}", stem, ending)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            msg = f"recording into {path_text(folder)} failed: {reason}; see that there is room and permission"
            raise OptionError(msg, option="record") from error
        self.size = 0
        self._is_open = True

    def write(self, data: bytes) -> None:
        """Append an item, whole or not at all. Raises RecordingError."""
        try:
            write_all(self._file, data)
        except OSError as error:
            with suppress(OSError):  # On some systems a full disk refuses this, too; then half an item is left.
                os.ftruncate(self._file, self.size)
            raise self.unwritable(error) from error
        self.size += len(data)

    def close(self) -> None:
        """Close it. May be called twice. Raises RecordingError."""
        if self._is_open:
            self._is_open = False
            try:
                os.close(self._file)
            except OSError as error:
                raise self.unwritable(error) from error

    def unwritable(self, error: OSError) -> RecordingError:
        """Return the error of a write that failed."""
        msg = (
            f"recording into {path_text(self.path)} failed: {error.strerror or error}; the {self.size:,} bytes "
            f"before are whole and can be replayed; see that there is room"
        )
        return RecordingError(msg, path=str(self.path))
