"""Dispatch log: the dispatch calls of a live run, so that a repeat makes every strategy the same calls.

::

    Dispatcher ─▶ each dispatch call ┐
    engine ─────▶ marks (turns, …)   ┴▶ DispatchLog ─▶ FILE, one JSON line each; ``repetition`` reads it

Each part that is written ends with a check: the CRC-32 of everything before it, which a change of any byte changes.

Guarantees: mode 0600; an existing file is never changed; whole lines only, except the last line of a killed process.
Does not: hold ticks, which come from the same sources, or the actions of handlers.
"""

from __future__ import annotations

import itertools
import os
import zlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeAlias

import msgspec

import headrace._native as _native
from headrace.dispatch.run_file import new_run_file, remove_empty
from headrace.errors import DispatchLogError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.dispatch.dispatcher import Dispatcher
    from headrace.dispatch.subscription import Subscription

__all__ = [
    "VERSION",
    "Call",
    "Check",
    "DispatchLog",
    "End",
    "Header",
    "Line",
    "LoggedFeed",
    "Mark",
    "Subscribed",
    "Time",
    "subscribed",
]

VERSION = 4
# What the native side takes; a damaged log may hold any number.
Position: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
Time: TypeAlias = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
Group: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=(1 << 32) - 1)]
# Marks that are buffered before an automatic flush.
LINES_AT_ONCE = 1_000


class LoggedFeed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A feed of the live run. recording : where its items were written, ``FILE`` or ``FILE@VENUE``; empty: nowhere."""

    name: str
    is_live: bool = False
    recording: str = ""


class Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first line of a log. feeds : in their order."""

    dispatch_log: int
    run_id: str
    ring_capacity: int
    feeds: tuple[LoggedFeed, ...] = ()


class Subscribed(msgspec.Struct, frozen=True, array_like=True, tag="subscription"):
    """A subscription, before its first call. group : its number in the lines of calls; inline ones share a number."""

    group: Group
    name: str
    is_pull: bool
    is_async: bool
    options: dict[str, Any]


class Call(msgspec.Struct, frozen=True, array_like=True, tag="call"):
    """A dispatch call of a group, or a part of one; with ring positions.

    cursor : of the ring, at the beginning. start : of the group, at the beginning. read : how far it had read at the
    end. end : of the group, at the end. flags : ``call_log.rs`` has them. lost : ticks overrun. calls : handler calls.
    """

    group: Group
    cursor: Position
    now_ns: Time
    start: Position
    read: Position
    end: Position
    flags: Annotated[int, msgspec.Meta(ge=0, le=255)]
    lost: Position
    calls: Position


class Mark(msgspec.Struct, frozen=True, array_like=True, tag="mark"):
    """An action of the engine between two calls: a turn, a command and the like."""

    cursor: Position
    now_ns: Time
    kind: str
    payload: Any = None


class End(msgspec.Struct, frozen=True, array_like=True, tag="end"):
    """The last line, at the end of the run. left : calls that were still running, and are not in the log."""

    cursor: Position
    left: Position


class Check(msgspec.Struct, frozen=True, array_like=True, tag="check"):
    """The end of a part. crc : CRC-32 of everything in the file before this line."""

    crc: int


# What a reader gets; the checks are between them.
Line: TypeAlias = Subscribed | Call | Mark | End

_encoder = msgspec.json.Encoder()


class DispatchLog:
    """Writes a live run's log. A context manager.

    path : a new file, or a folder with one file for each run. feeds : of the run, in their order.
    Make it before the first publish; a dispatcher has one log at a time. Raises DispatchLogError, also in later calls,
    when the file cannot be written: an incomplete log cannot be repeated.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        dispatcher: Dispatcher,
        *,
        run_id: str = "",
        feeds: Sequence[LoggedFeed] = (),
    ) -> None:
        self.path = Path(path)
        self._dispatcher = dispatcher
        if dispatcher.ring.cursor:
            msg = f"{dispatcher.ring.cursor} ticks were published before the log was made: make the log first"
            raise DispatchLogError(msg, path=str(path), line=0)
        self._calls = _native.CallLog(dispatcher._ingest)  # noqa: SLF001 - its native half
        self._payloads: dict[int, tuple[str, object]] = {}
        self._numbers = itertools.count()
        try:
            self.path, file = new_run_file(path, run_id, "dispatch.jsonl")
            self._file = os.fdopen(file, "wb")
        except FileExistsError as error:
            self._calls.close()
            advice = "name another file, or a folder for one file per run"
            msg = f"dispatch log {self.path} exists already and is not changed: {advice}"
            raise DispatchLogError(msg, path=str(self.path), line=0) from error
        except OSError as error:
            self._calls.close()
            raise self._unwritable(error) from error
        header = Header(dispatch_log=VERSION, run_id=run_id, ring_capacity=dispatcher.ring.capacity, feeds=tuple(feeds))
        self._crc = 0
        self._write(_encoder.encode(header) + b"\n")
        for subscription in dispatcher.subscriptions.values():
            self._joined(subscription)
        dispatcher.on_joined = self._joined

    def mark(self, kind: str, payload: object = None) -> None:
        """Write an action between two calls; ``payload`` is any object that msgspec can encode."""
        self._put(kind, payload)
        if len(self._payloads) >= LINES_AT_ONCE:
            self.flush()

    def _joined(self, subscription: Subscription) -> None:
        """Write a new subscription at its place, with its first options; called in any thread."""
        self._put("", subscribed(subscription))

    def _put(self, kind: str, payload: object) -> None:
        number = next(self._numbers)
        self._payloads[number] = (kind, payload)
        self._calls.mark(number, self._dispatcher.clock.now_ns())

    def flush(self) -> None:
        """Write all ended calls and marks. Cheap when there are few; an idle engine calls it."""
        lines: list[Line] = []
        for taken in self._calls.take():
            if len(taken) == 3:
                number, cursor, now_ns = taken
                kind, payload = self._payloads.pop(number)
                lines.append(payload if isinstance(payload, Subscribed) else Mark(cursor, now_ns, kind, payload))
            else:
                lines.append(Call(*taken))
        if not lines:
            return
        try:
            self._write(_encoder.encode_lines(lines))
            self._write(_encoder.encode(Check(self._crc)) + b"\n")
            self._file.flush()
        except OSError as error:
            raise self._unwritable(error) from error

    def _write(self, data: bytes) -> None:
        self._crc = zlib.crc32(data, self._crc)
        self._file.write(data)

    def close(self) -> None:
        """Write the rest, and the last line. May be called twice; close the dispatcher's threads before."""
        if self._file.closed:
            return
        try:
            self.flush()
            self._stop_gathering()
            end = End(self._dispatcher.ring.cursor, self._calls.waiting())
            self._write(_encoder.encode_lines([end, Check(zlib.crc32(_encoder.encode(end) + b"\n", self._crc))]))
            self._file.flush()
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            self._stop_gathering()
            with suppress(OSError):  # Raised already, when the buffered lines still cannot be written.
                self._file.close()
            remove_empty(self.path)

    def _stop_gathering(self) -> None:
        self._dispatcher.on_joined = None
        self._calls.close()

    def _unwritable(self, error: OSError) -> DispatchLogError:
        reason = error.strerror or error
        msg = f"dispatch log {self.path} cannot be written: {reason}; check the free space and the write permission"
        return DispatchLogError(msg, path=str(self.path), line=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def subscribed(subscription: Subscription) -> Subscribed:
    """Return the line of a subscription."""
    options = msgspec.json.decode(_encoder.encode(subscription.options))
    return Subscribed(
        subscription.group.number, subscription.name, subscription.is_pull, subscription.is_async, options
    )
