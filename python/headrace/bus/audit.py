"""Audit: every event of a run in a file, one JSON object per line, in the order of delivery.

::

    bus ─▶ AuditSink ─▶ buffer ─▶ FILE   line 1  {"type":"AuditHeader","run_id":…,"version":…,"ts":…,"config":…}
                          each second,   line 2  {"type":"StrategyStateChanged",…}
                          full, or close

What happens when the file cannot be written (disk full)
    Live: the buffered events are lost, counted, logged and published as a Status event; the bus goes on. When writing
    works again, a Gap of lane "audit" stands in the file where lines are missing. In a replay: ``check`` and ``close``
    raise AuditError, and nothing more is written.

Guarantees: mode 0600; an existing file is never changed; whole lines only, except the last line of a killed process;
synced by ``close``; in a replay the same bytes every time.
Does not: restore a run; a killed process loses up to a second of events.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, Self, runtime_checkable

import msgspec

import headrace._native as _native
from headrace.dispatch.run_file import LINE_BYTES_MAX, is_run_folder, lines_of, new_run_file, remove_empty
from headrace.errors import AuditError, ClosedError
from headrace.limits import AUDIT_BUFFER_BYTES, AUDIT_FLUSH_S
from headrace.market.clock import Mode, ModeName
from headrace.market.event_json import decode_event, encode_event
from headrace.market.events import Event, Gap, Status
from headrace.market.running_loop import has_running_loop
from headrace.market.wording import counted

if TYPE_CHECKING:
    from types import TracebackType

    from headrace.bus.bus import EventBus
    from headrace.bus.subscription import BusSubscription

__all__ = [
    "AuditHeader",
    "AuditRunner",
    "AuditSink",
    "AuditStats",
    "audit_header",
    "audit_path",
    "event_lines",
    "event_of_line",
    "read_audit",
    "replay_events",
]

log = logging.getLogger(__name__)

# The sink's name in its own events, and its "lane" in a Gap.
SOURCE = "audit"


class AuditHeader(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag=True, forbid_unknown_fields=True):
    """The first line of an audit, which identifies the run.

    run_id : the engine's. version : of headrace. ts : when the run began, by the wall clock, ns; 0 in a replay.
    config : the configuration's digest; empty for an engine made without a configuration.
    """

    run_id: str
    version: str
    ts: int = 0
    config: str = ""


class AuditStats(msgspec.Struct, frozen=True, kw_only=True):
    """The counts of an audit: ``written + buffered + lost`` is every event of the bus.

    bytes : in the file. state : "ok", "failing" (the last write failed) or "closed". reason : of the last failure.
    """

    written: int
    buffered: int
    lost: int
    bytes: int
    state: Literal["ok", "failing", "closed"]
    reason: str


@runtime_checkable
class AuditRunner(Protocol):
    """Records the events of an engine's bus. Write your own in place of the file: an object with these methods."""

    def attach(self, bus: EventBus) -> None:
        """Record every event of a bus from now on; called once, before the first publish. Its error ends the run."""

    def check(self) -> None:
        """Raise what ends a replay whose events are not recorded; called after each time T, so it is cheap."""

    def close(self) -> None:
        """Let nothing be lost that was recorded; may be called twice."""

    def stats(self) -> AuditStats:
        """Return the counts so far."""


class AuditSink:
    """Writes every event of a bus to a new file. A context manager, which closes it.

    path : a file that does not exist; or a folder, which exists or ends in a slash: there the file is RUN_ID.jsonl,
        then RUN_ID-2.jsonl and so on. run_id, config : for the header.
    mode : in any but "live" a failed write ends the run, see ``check``.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, run_id: str = "", config: str = "", mode: ModeName = Mode.LIVE
    ) -> None:
        self.path = audit_path(path, run_id)
        self._given = path
        self._header = AuditHeader(
            run_id=run_id,
            version=str(_native.build_info()["version"]),
            ts=time.time_ns() if mode == Mode.LIVE else 0,
            config=config,
        )
        self._is_live = mode == Mode.LIVE
        self._bus: EventBus | None = None
        self._subscription: BusSubscription | None = None
        self._file: int | None = None
        self._buffer = bytearray()
        self._buffered = self._written = self._lost = 0
        # Lost since the last line of the file.
        self._hole = 0
        self._size = 0
        self._reason = ""
        self._failure: AuditError | None = None
        self._timer: asyncio.TimerHandle | None = None

    def attach(self, bus: EventBus) -> None:
        """Make the file, and write every event of a bus from now on. Attach before the first publish.

        Raises AuditError: the file exists already, or cannot be written.
        """
        self._file = self._make_file()
        try:
            self._append(msgspec.json.encode(self._header) + b"\n")
        except OSError as error:
            os.close(self._file)
            self._file = None
            remove_empty(self.path)
            raise _unwritable(self.path, error) from error
        self._bus = bus
        self._subscription = bus.subscribe(Event, self._take, name=SOURCE, max_attempts=1)

    def check(self) -> None:
        """Raise the AuditError that ends a replay, if there is one. O(1)."""
        if self._failure is not None:
            raise self._failure

    def flush(self) -> None:
        """Write the buffered events. On failure they are lost; live, a Status says so; in a replay, see ``check``."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._file is None or not (self._buffer or self._hole) or self._failure is not None:
            return
        data = self._hole_line() + self._buffer
        try:
            self._append(data)
        except OSError as error:
            self._lose(error)
        else:
            self._written += self._buffered
            self._hole = 0
            if self._reason:
                self._reason = ""
                lost = counted(self._lost, "event was lost", "events were lost")
                log.warning("audit %s is written again, after %s", self.path, lost)
                self._tell("ok", lost)
        self._buffer.clear()
        self._buffered = 0

    def close(self) -> None:
        """Write what is left, sync, and close; may be called twice. Raises AuditError in a replay that lost events."""
        if self._file is None:
            return
        if self._subscription is not None:
            self._subscription.close()
        self.flush()
        file, self._file = self._file, None
        try:
            os.fsync(file)
        except OSError as error:
            if error.errno != errno.EINVAL:  # A pipe or a device, which has nothing to sync.
                self._fail(error)
        finally:
            os.close(file)
        self.check()

    def stats(self) -> AuditStats:
        """Return the counts so far."""
        state: Literal["ok", "failing", "closed"] = "failing" if self._reason else "ok"
        return AuditStats(
            written=self._written,
            buffered=self._buffered,
            lost=self._lost,
            bytes=self._size,
            state="closed" if self._file is None else state,
            reason=self._reason,
        )

    def _make_file(self) -> int:
        try:
            self.path, file = new_run_file(self._given, self._header.run_id, "jsonl")
        except FileExistsError as error:
            advice = "name another file, or a folder for one file per run"
            msg = f"audit {self.path} exists already and is not changed: {advice}"
            raise AuditError(msg, path=str(self.path), line=0) from error
        except OSError as error:
            raise _unwritable(self.path, error) from error
        return file

    def _take(self, event: Event) -> None:
        if self._failure is not None:
            self._lost += 1
            return
        try:
            line = encode_event(event)
        except Exception as error:
            self._refuse(event, error)
            raise
        if not self._buffered and self._is_live and has_running_loop():
            self._timer = asyncio.get_running_loop().call_later(AUDIT_FLUSH_S, self.flush)
        self._buffer += line
        self._buffer += b"\n"
        self._buffered += 1
        if len(self._buffer) >= AUDIT_BUFFER_BYTES:
            self.flush()

    def _append(self, data: bytes | bytearray) -> None:
        """Write all of the data, or leave the file as it was. Raises OSError."""
        assert self._file is not None
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            # Half a line in the middle would make the file unreadable.
            with suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise
        self._size += len(data)

    def _hole_line(self) -> bytes:
        if not self._hole:
            return b""
        first = self._written + self._lost - self._hole + 1
        gap = Gap(source=SOURCE, lane=SOURCE, missed=self._hole, first=first, last=first + self._hole - 1)
        return encode_event(gap) + b"\n"

    def _lose(self, error: OSError) -> None:
        is_news = not self._reason
        self._lost += self._buffered
        self._hole += self._buffered
        self._fail(error)
        if is_news and self._is_live:
            self._tell("failing", self._reason)

    def _refuse(self, event: Event, error: Exception) -> None:
        """Count an event that JSON cannot hold as lost, at its place; the bus keeps it as a dead letter."""
        self.flush()
        self._lost += 1
        self._hole += 1
        if not self._is_live:
            msg = f"audit {self.path} cannot hold a {type(event).__name__}: {error}; use fields that JSON can hold"
            self._failure = AuditError(msg, path=str(self.path), line=0)

    def _fail(self, error: OSError) -> None:
        if not self._reason:
            log.error("audit %s cannot be written, events are lost: %s", self.path, error.strerror)
        self._reason = error.strerror or str(error)
        if not self._is_live:
            self._failure = _unwritable(self.path, error)

    def _tell(self, state: str, reason: str) -> None:
        if self._bus is not None and self._subscription is not None and self._subscription.is_open:
            with suppress(ClosedError):  # The bus may be shut down.
                self._bus.publish_nowait(Status(source=SOURCE, subject=SOURCE, state=state, reason=reason))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def audit_path(path: str | os.PathLike[str], run_id: str) -> Path:
    """Return the path of a run's first audit: ``path``, or ``path/RUN_ID.jsonl`` for a folder or a final slash."""
    return Path(path, f"{run_id}.jsonl") if is_run_folder(path) else Path(path)


def _unwritable(path: Path, error: OSError) -> AuditError:
    msg = f"audit {path} cannot be written: {error.strerror}; check the free space and the write permission"
    return AuditError(msg, path=str(path), line=0)


# Reading


def audit_header(path: str | os.PathLike[str]) -> AuditHeader:
    """Return the first line of an audit. Raises AuditError."""
    for number, line in _lines(Path(path), allow_torn=False):
        return _header(Path(path), number, line)
    msg = f"audit {path} is empty: its process ended before the first write"
    raise AuditError(msg, path=str(path), line=1)


def read_audit(
    path: str | os.PathLike[str], *, own_types: Iterable[type[Event]] = (), allow_torn: bool = False
) -> Iterator[Event]:
    """Yield the events of an audit, in the order in which they were delivered.

    own_types : event types beside the built-in ones. allow_torn : an incomplete last line, which a killed process
        leaves, is logged and skipped, and an empty file has no events; without it, both raise.
    Raises AuditError, with the line: a file that is missing, no audit, damaged or torn.
    """
    types = tuple(own_types)
    for number, line in event_lines(path, allow_torn=allow_torn):
        yield event_of_line(path, number, line, types)


def event_lines(path: str | os.PathLike[str], *, allow_torn: bool = False) -> Iterator[tuple[int, bytes]]:
    """Yield the lines behind the header as they are, each with its number. As ``read_audit``."""
    lines = _lines(Path(path), allow_torn=allow_torn)
    if (first := next(lines, None)) is not None:
        _header(Path(path), *first)
    elif not allow_torn:
        audit_header(path)
    yield from lines


def event_of_line(path: str | os.PathLike[str], number: int, line: bytes, types: Iterable[type[Event]] = ()) -> Event:
    """Return the event of a line. Raises AuditError."""
    try:
        return decode_event(line, types)
    except msgspec.DecodeError as error:
        msg = f"audit {path} line {number} is no event: {error}; pass your own event types as own_types="
        raise AuditError(msg, path=str(path), line=number) from error


async def replay_events(
    path: str | os.PathLike[str], bus: EventBus, *, own_types: Iterable[type[Event]] = (), allow_torn: bool = False
) -> int:
    """Publish the events of an audit on a bus again, each one handled before the next; return their number.

    They keep source, time, run id and cause. A handler that trades on events would trade again: do not subscribe it to
    this bus. Raises what ``read_audit`` and ``EventBus.publish`` raise, and DeadlockError.
    """
    count = 0
    for event in read_audit(path, own_types=own_types, allow_torn=allow_torn):
        await bus.publish(event)
        await bus.wait_until_idle()
        count += 1
    return count


def _lines(path: Path, *, allow_torn: bool) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(lines_of(file), 1):
                if line.endswith(b"\n"):
                    yield number, line
                    continue
                if len(line) == LINE_BYTES_MAX:
                    what = f"line {number} has more than {LINE_BYTES_MAX:,} bytes"
                    raise AuditError(f"audit {path} {what}: name a file that a run wrote", path=str(path), line=number)
                msg = f"audit {path} line {number} is torn after {len(line)} bytes: its process was killed"
                if not allow_torn:
                    raise AuditError(f"{msg}; allow_torn=True reads the lines before it", path=str(path), line=number)
                log.warning("%s; the lines before it were read", msg)
    except (OSError, ValueError) as error:  # A NUL in a path is a ValueError.
        why = getattr(error, "strerror", None) or error
        msg = f"audit {path} cannot be read: {why}; name the file that a run wrote"
        raise AuditError(msg, path=str(path), line=0) from error


def _header(path: Path, number: int, line: bytes) -> AuditHeader:
    try:
        return msgspec.json.decode(line, type=AuditHeader)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        msg = f"audit {path} line {number} is no AuditHeader ({error}): name a file that a run wrote"
        raise AuditError(msg, path=str(path), line=number) from error
