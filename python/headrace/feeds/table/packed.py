"""Packed: the text in a file that is plain, .gz, .zst or .zip, and whether such a file is as it was written.

Guarantees: checksums are checked; closing the text closes all that was opened for it, also where reading raised.
Does not: look at the text.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from headrace.feeds.files import path_text
from headrace.feeds.table.arrow import arrow

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["DAMAGE", "PackedText", "damage_of", "opened"]

READ_BYTES = 2 << 20
PACKED = {".gz": "gzip", ".zst": "zstd"}
# What is raised by a packed file that is not as it was written.
DAMAGE = (OSError, EOFError, zipfile.BadZipFile, zlib.error)


def opened(path: Path) -> PackedText:
    """Open the text of a file; a .zip holds it as its one file. Raises OSError, ValueError, what is in ``DAMAGE``."""
    with ExitStack() as stack:
        if path.suffix == ".zip":
            archive = stack.enter_context(zipfile.ZipFile(path))
            info = _only_file(archive)
            # The archive is open as long as a file of it is.
            text = stack.enter_context(archive.open(info))
            # Of the packed bytes, as a share of the text that was read.
            return PackedText(text, lambda: info.compress_size * text.tell() // max(1, info.file_size), stack.pop_all())
        pa = arrow("", f"reading {path_text(path)}") if path.suffix in PACKED else None
        raw = stack.enter_context(path.open("rb"))
        plain = raw if pa is None else stack.enter_context(pa.CompressedInputStream(raw, PACKED[path.suffix]))
        return PackedText(plain, raw.tell, stack.pop_all())


def damage_of(path: Path) -> str:
    """Return how a packed file is damaged, by its checksums, after reading all of it; empty where it is whole."""
    if path.suffix != ".zip" and path.suffix not in PACKED:
        return ""
    try:
        with opened(path) as file:
            while file.read(READ_BYTES):
                pass
    except (*DAMAGE, ValueError) as error:
        return str(error)
    return ""


class PackedText(io.RawIOBase):
    """The text of a file. bytes_done : returns how many bytes of the file are read. files : closed with it."""

    def __init__(self, text: Any, bytes_done: Callable[[], int], files: ExitStack) -> None:
        self._text, self.bytes_done, self._files = text, bytes_done, files

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return up to so many bytes of text; all that are left, by default. Raises what is in ``DAMAGE``."""
        return bytes(self._text.read(size if size >= 0 else None))

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer, and return how many bytes came. Raises what is in ``DAMAGE``."""
        data = self._text.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the file, and all that reads it."""
        self._files.close()
        super().close()


def _only_file(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """Return the one file of an archive. Raises ValueError: it holds none, or several."""
    files = [info for info in archive.infolist() if not info.is_dir()]
    if len(files) != 1:
        msg = f"it holds {len(files)} files, and not one: unpack it, and name the files"
        raise ValueError(msg)
    return files[0]
