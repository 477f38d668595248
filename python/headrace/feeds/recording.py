"""A recording on disk as a feed; gzip, zstd or plain, one line per frame: receive time, a space, the frame's JSON text.

::

    file ─▶ native thread: read, unpack ─▶ worker thread: cut at a line's end ─▶ blocks ─▶ async for
                                                                  └─▶ native thread: frames read ─▶ ``blocks(made)``

Guarantees: every line is yielded whole and once; the worker is at most ``blocks_ahead`` blocks ahead, and the thread
that unpacks three more, so memory does not grow with the file; damage raises an error that names the file, after every
whole line before the damage.
A line longer than any frame is cut just after that bound, so that the decoder rejects and counts it.

Does not: parse lines; it only looks for the venue in them when no venue is set.
"""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import headrace._native as _native
from headrace.errors import OptionError, RecordingError, VenueError
from headrace.feeds.files import path_text, refuse_endless
from headrace.feeds.lines import WrongTimeError, may_be_text, without_marks, wrong_time
from headrace.limits import FRAME_BYTES_MAX
from headrace.market.checks import of_type, whole

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

__all__ = ["RecordingFeed", "checked_venue"]

Made = TypeVar("Made")

# One read of the worker: so large that passing it between threads (about 50 µs) is cheap compared with unpacking it.
BLOCK_BYTES = 1 << 20
BLOCK_BYTES_MAX = 1 << 30
# Blocks the worker may read ahead: two keep both threads busy, two more cover an uneven strategy.
BLOCKS_AHEAD = 4
BLOCKS_AHEAD_MAX = 1_024
# The venue is looked for in so many frames, and in no more than so many bytes: 1,000 of the longest frames are 4 GB.
DETECT_FRAMES = 1_000
DETECT_BYTES = 4 * FRAME_BYTES_MAX
# The longest line: a receive time, a space, and a frame longer than its bound, so that the decoder rejects it.
LINE_BYTES_MAX = FRAME_BYTES_MAX + 32


class RecordingFeed:
    """Blocks of recorded lines from one file.

    path : the file; gzip and zstd are recognised by their first bytes, not by the name.
    venue : the sender of the frames, or None to find it from the first 1,000 frames, or 16 MiB of them.
    block_bytes : size of one read after unpacking, 1 to 1 GiB.
    blocks_ahead : blocks that the worker may read ahead, 1 to 1,024.

    Raises ``OptionError`` (a value that is not allowed) at once; ``RecordingError`` (missing, unreadable, empty,
    truncated, damaged) and ``VenueError`` (undecided) from ``open`` or while iterating.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        venue: str | None = None,
        block_bytes: int = BLOCK_BYTES,
        blocks_ahead: int = BLOCKS_AHEAD,
    ) -> None:
        of_type("path", path, str, os.PathLike)
        whole("block_bytes", block_bytes, 1, BLOCK_BYTES_MAX, "bytes")
        whole("blocks_ahead", blocks_ahead, 1, BLOCKS_AHEAD_MAX, "blocks")
        self._path = Path(path)
        self._venue = checked_venue(venue)
        self._block_bytes = block_bytes
        self._blocks_ahead = blocks_ahead
        self._worker: ThreadPoolExecutor | None = None
        self._reader: _LineBlocks | None = None
        self._head: list[tuple[bytes, int]] = []
        self._bytes_done = 0

    @property
    def name(self) -> str:
        """The path, as in the option; what cannot be printed is written as an escape."""
        return path_text(self._path)

    @property
    def venue(self) -> str | None:
        """The sender of the frames; None until ``open`` has found it."""
        return self._venue

    @property
    def bytes_done(self) -> int:
        """Bytes of the file, before unpacking, that the blocks yielded so far came from."""
        return self._bytes_done

    @property
    def bytes_total(self) -> int:
        """Bytes of the file; 0 before ``open``."""
        return self._reader.bytes_total if self._reader else 0

    async def open(self) -> None:
        """Open the file, read its first lines and, when no venue is set, find the venue."""
        await self.close()
        self._bytes_done = 0
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="headrace-recording")
        import asyncio  # 20 ms, spent only where a loop runs

        loop = asyncio.get_running_loop()
        try:
            self._reader = await loop.run_in_executor(self._worker, _LineBlocks, self._path, self._block_bytes)
            self._head = await loop.run_in_executor(self._worker, self._read_head, self._reader)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close the file and end the worker; blocks read ahead are dropped."""
        worker, self._worker = self._worker, None
        reader, self._reader = self._reader, None
        self._head = []
        if worker is not None:
            import asyncio  # 20 ms, spent only where a loop runs

            await asyncio.to_thread(worker.shutdown, wait=True, cancel_futures=True)
        if reader is not None:
            reader.close()

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield blocks of whole lines; only the last line of the file may lack its line break."""
        return self.blocks(bytes)

    async def blocks(self, made: Callable[[bytes], Made]) -> AsyncIterator[Made]:
        """Yield what a function makes of each block: in the worker's thread, as far ahead as that reads."""
        worker, reader, head = self._worker, self._reader, self._head
        if worker is None or reader is None:
            raise self._not_open()
        import asyncio  # 20 ms, spent only where a loop runs

        def next_block() -> tuple[Made | None, int]:
            block, position = head.pop(0) if head else reader.next_block()
            return made(block) if block else None, position

        ahead: deque[Future[tuple[Made | None, int]]] = deque()
        while True:
            if worker is not self._worker:  # Closed since the last block: the worker accepts no more jobs.
                raise self._not_open()
            while len(ahead) < self._blocks_ahead:
                ahead.append(worker.submit(next_block))
            block, position = await asyncio.wrap_future(ahead.popleft())
            if block is None:
                return
            self._bytes_done = position
            yield block

    def damage(self, sign: str) -> RecordingError | None:
        """Return the damage that the checksums or ends of the file's parts show; None: it is what was written.

        sign : what showed first that something is wrong. Reads the whole file.
        """
        try:
            damage = _damage_of(_native.PackedFile(self._path))
        except OSError:
            return None
        if damage is None:
            return None
        return self._refused(f"is damaged ({damage}): {sign} was its first sign: copy it again")

    def _not_open(self) -> RecordingError:
        return self._refused("is not open: await feed.open() first")

    def _read_head(self, reader: _LineBlocks) -> list[tuple[bytes, int]]:
        """Read the first block, and when it does not show the venue, as many as may show it."""
        head = [reader.next_block()]
        if not head[0][0]:
            raise self._refused("is empty: it holds no line")
        self._venue = self._venue or self._detected(head[0][0])
        if self._venue is None:
            self._venue = self._detected_in_more(reader, head)
        return head

    def _detected_in_more(self, reader: _LineBlocks, head: list[tuple[bytes, int]]) -> str:
        """Return the venue that more blocks show, which are added to the head. Raises VenueError, RecordingError."""
        damage: RecordingError | None = None
        lines, size = head[0][0].count(b"\n"), len(head[0][0])
        try:
            while lines < DETECT_FRAMES and size < DETECT_BYTES and (block := reader.next_block())[0]:
                head.append(block)
                lines, size = lines + block[0].count(b"\n"), size + len(block[0])
        except RecordingError as error:  # Raised again behind the blocks before it, if they show the venue.
            damage = error
        together = b"".join(block for block, _ in head)
        venue = self._detected(together)
        if venue is None:
            raise damage or self._undecided(together)
        return venue

    def _detected(self, lines: bytes) -> str | None:
        try:
            return _native.detect_venue(lines)
        except VenueError as error:  # Frames of two markets; the native error has no path.
            msg = f"recording {self.name}: {error}"
            raise VenueError(msg, path=str(self._path)) from error

    def _undecided(self, lines: bytes) -> RecordingError:
        """Return a VenueError, or a RecordingError when the file is no recording."""
        decoder = _native.Decoder("BINANCE", _native.Instruments())
        frames = (line.partition(b" ")[2] for line in lines.splitlines()[:DETECT_FRAMES])
        if not any(decoder.decode(frame, 0)[0] == "accepted" for frame in frames):
            return self._refused("holds no accepted frame: a line is a receive time in ns, a space, JSON")
        msg = (
            f"recording {self.name} holds no depthUpdate and no bookTicker among its first {DETECT_FRAMES:,} frames "
            f"or {DETECT_BYTES >> 20} MiB, so its venue is unknown: set it with FILE@VENUE or --venue "
            f"({', '.join(_native.VENUES)})"
        )
        return VenueError(msg, path=str(self._path))

    def _refused(self, what: str) -> RecordingError:
        return RecordingError(f"recording {self.name} {what}", path=str(self._path))


def checked_venue(venue: str | None) -> str | None:
    """Return a venue that is known, or None. Raises OptionError."""
    if venue is not None and venue not in _native.VENUES:
        msg = f"venue {venue!r} is unknown: choose one of {', '.join(_native.VENUES)}"
        raise OptionError(msg, option="venue")
    return venue


def _damage_of(file: _native.PackedFile) -> ValueError | EOFError | None:
    """Return the damage in the rest of a file.

    Packed data may go on after a changed byte, up to its checksum; or beyond its end, where the byte said the end.
    """
    try:
        while file.read(BLOCK_BYTES)[0]:
            pass
    except (ValueError, EOFError) as error:
        return error
    except OSError:
        pass
    return None


class _LineBlocks:
    """The blocking part of a recording, used by one thread at a time."""

    def __init__(self, path: Path, block_bytes: int) -> None:
        self._path = path
        self._block_bytes = block_bytes
        self._carry = b""
        self._lines_bytes = 0
        self._skipping = False
        # Raised when everything before it was returned.
        self._wrong: WrongTimeError | None = None
        try:
            self.bytes_total = refuse_endless(path)
            path.open("rb").close()  # Where the system refuses, Python has its words.
            self._file = _native.PackedFile(path)
        except ValueError as error:  # No file has such a path.
            raise self._refused(OSError(str(error))) from error
        except OSError as error:
            raise self._refused(error) from error

    def next_block(self) -> tuple[bytes, int]:
        """Return whole lines and the file position after them; empty at the end.

        Raises RecordingError: damage, or a receive time in another unit, behind every whole line before it.
        """
        block, position = b"", 0
        while not block:
            data, position = self._read()
            if not data:
                block, self._carry = without_marks(self._carry), b""
                break
            if self._skipping:
                data = self._skip_line(data)
            edge = data.rfind(b"\n") + 1
            if edge:
                block, self._carry = without_marks(self._carry + data[:edge]), data[edge:]
            else:
                self._carry += data
                if len(self._carry) > LINE_BYTES_MAX:
                    block, self._carry, self._skipping = self._carry[:LINE_BYTES_MAX] + b"\n", b"", True
        if (wrong := wrong_time(block)) is not None:
            self._wrong, block = wrong, block[: wrong.offset]
            if not block:
                raise self._refused(wrong) from wrong
        self._lines_bytes += len(block)
        return block, position

    def close(self) -> None:
        """Close the file. May be called twice, but not while a block is read."""
        self._file.close()

    def _read(self) -> tuple[bytes, int]:
        """Return a block's worth of bytes, fewer at the end or before damage, and the file position after them."""
        try:
            if self._wrong is not None:
                raise self._wrong
            data, position = self._file.read(self._block_bytes)
        except (OSError, EOFError, ValueError) as error:
            raise self._refused(error) from error
        if not self._lines_bytes and not self._carry and not may_be_text(data):
            # A packed file with a change in the bytes that say how it is packed.
            raise self._refused(ValueError("its first bytes are those of no gzip, no zstd and no text"))
        return data, position

    def _skip_line(self, data: bytes) -> bytes:
        """Return the data after the line whose start was returned already."""
        edge = data.find(b"\n") + 1
        if not edge:
            return b""
        self._skipping = False
        return data[edge:]

    def _refused(self, error: Exception) -> RecordingError:
        whole = f"{self._lines_bytes:,} bytes of whole lines"
        match error:
            case WrongTimeError() if (damage := _damage_of(self._file)) is not None:
                what = f"is damaged after {whole} ({damage}): copy it again"
            case WrongTimeError():
                what = str(error)
            case FileNotFoundError():
                what = "is missing: check the path"
            case IsADirectoryError():
                what = "is a folder: name a file in it"
            case EOFError():
                what = f"is truncated: {error}, after {whole}: copy it again"
            case ValueError():
                what = f"is damaged after {whole} ({error}): copy it again"
            case _:
                what = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        return RecordingError(f"recording {path_text(self._path)} {what}", path=str(self._path))
