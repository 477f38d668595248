"""Dispatch log: the dispatch calls of a live run, so that a repeat makes every strategy the same calls.

::

    live        Dispatcher ─▶ each dispatch call ┐
                engine ─────▶ marks (turns, …)   ┴▶ DispatchLog ─▶ FILE, one JSON line each
    repetition  FILE ─▶ LoggedRun ─▶ Repetition: publish up to the cursor ─▶ the same call, compared ─▶ next line

Ticks that were dropped, folded or jumped over live are so again: the ring, its cursor at each call and the time are the
same. When a repeat diverges, DispatchLogError names the line, the subscription's position, and its position live.

Guarantees: a log that was cut off is read to its last whole line; a damaged one is refused, with path and line.
Does not: hold ticks, which come from the same sources, or the actions of handlers. A pause of a subscription with
``mode="thread"`` is not repeated at its exact time: it takes effect with the next call.
"""

from __future__ import annotations

import itertools
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import msgspec

import headrace._native as _native
from headrace._native import PumpStatus
from headrace.dispatch.awaited_calls import AwaitedCall
from headrace.dispatch.members import INLINE
from headrace.dispatch.run_file import new_run_file
from headrace.errors import DispatchLogError
from headrace.market.clock import EngineClock
from headrace.market.user_functions import close_unfinished

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

    from headrace.dispatch.dispatcher import Dispatcher
    from headrace.dispatch.subscription import Subscription

__all__ = ["DispatchLog", "LoggedFeed", "LoggedRun", "Mark", "Repetition"]

VERSION = 2
# Bits of a call's flags, as the native side writes them.
NESTED, CONTINUED = 1, 8
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

    group: int
    name: str
    is_pull: bool
    is_async: bool
    options: dict[str, Any]


class Call(msgspec.Struct, frozen=True, array_like=True, tag="call"):
    """A dispatch call of a group, or a part of one; with ring positions.

    cursor : of the ring, at the beginning. start : of the group, at the beginning. read : how far it had read at the
    end. end : of the group, at the end. flags : see above. lost : ticks overrun. calls : handler calls.
    """

    group: int
    cursor: int
    now_ns: int
    start: int
    read: int
    end: int
    flags: int
    lost: int
    calls: int


class Mark(msgspec.Struct, frozen=True, array_like=True, tag="mark"):
    """An action of the engine between two calls: a turn, a command and the like."""

    cursor: int
    now_ns: int
    kind: str
    payload: Any = None


class End(msgspec.Struct, frozen=True, array_like=True, tag="end"):
    """The last line, at the end of the run. left : calls that were still running, and are not in the log."""

    cursor: int
    left: int


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
        self._file.write(_encoder.encode(header) + b"\n")
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
        self._put("", _subscribed(subscription))

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
        try:
            self._file.write(_encoder.encode_lines(lines))
            self._file.flush()
        except OSError as error:
            raise self._unwritable(error) from error

    def close(self) -> None:
        """Write the rest, and the last line. May be called twice; close the dispatcher's threads before."""
        if self._file.closed:
            return
        try:
            self.flush()
            self._stop_gathering()
            end = End(self._dispatcher.ring.cursor, self._calls.waiting())
            self._file.write(_encoder.encode(end) + b"\n")
            self._file.flush()
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            self._stop_gathering()
            with suppress(OSError):  # Raised already, when the buffered lines still cannot be written.
                self._file.close()

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


def _subscribed(subscription: Subscription) -> Subscribed:
    options = msgspec.json.decode(_encoder.encode(subscription.options))
    return Subscribed(
        subscription.group.number, subscription.name, subscription.is_pull, subscription.is_async, options
    )


class LoggedRun:
    """A written log, to read.

    path : the file. Raises DispatchLogError: the file has no header, or is damaged; also while it is read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.line = 0
        # Whether its last line was read: the run had ended.
        self.is_whole = False
        self._decoder = msgspec.json.Decoder(Line)
        try:
            with self.path.open("rb") as file:
                self.header = msgspec.json.decode(file.readline(), type=Header)
        except OSError as error:
            msg = f"the dispatch log cannot be read ({error.strerror}): name a file that --dispatch-log wrote"
            raise self.error(msg) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self.error(f"no dispatch log ({error}): name a file that --dispatch-log wrote") from None
        if self.header.dispatch_log != VERSION:
            found = self.header.dispatch_log
            msg = f"written in version {found}, only version {VERSION} can be read: use the headrace that wrote it"
            raise self.error(msg)

    def error(self, what: str) -> DispatchLogError:
        """Return an error with its place in the log."""
        where = f"{self.path}, line {self.line + 1}" if self.line else str(self.path)
        return DispatchLogError(f"{where}: {what}", path=str(self.path), line=self.line + 1 if self.line else 0)

    def __iter__(self) -> Iterator[Line]:
        """Yield the lines after the header, without a last line that was cut off. Raises DispatchLogError."""
        cursor = 0
        with self.path.open("rb") as file:
            for self.line, text in enumerate(file):
                if self.line == 0 or not text.endswith(b"\n"):
                    continue
                try:
                    line = self._decoder.decode(text)
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    raise self.error(f"damaged ({error}): the lines before it can be repeated") from None
                if not isinstance(line, Subscribed):
                    if line.cursor < cursor:
                        raise self.error(f"position {line.cursor} behind {cursor} of the line above: lines were moved")
                    cursor = line.cursor
                self.is_whole = isinstance(line, End)
                yield line


class Repetition:
    """Repeats a logged run on a dispatcher made with ``driven=True`` and an EngineClock, with the same subscriptions.

    pump : over the same sources. give : passes it the next block of a source, or its end. drain : called where the
    live engine drained between two calls.
    Iterate over it: it repeats call after call, and yields the marks at their places. Raises DispatchLogError where it
    diverges, and a strategy's exception under ``on_fault="raise"``.
    """

    def __init__(
        self,
        log: LoggedRun,
        dispatcher: Dispatcher,
        pump: _native.Pump,
        *,
        give: Callable[[int], Awaitable[None]],
        drain: Callable[[], object] = lambda: None,
    ) -> None:
        clock = dispatcher.clock
        if not isinstance(clock, EngineClock):
            raise log.error("a repeat moves the clock: make the dispatcher with clock=EngineClock()")
        if dispatcher.ring.capacity != log.header.ring_capacity:
            have, had = dispatcher.ring.capacity, log.header.ring_capacity
            raise log.error(f"the ring held {had} ticks, this one {have}: repeat it with ring_capacity={had}")
        self.calls = 0
        self._log = log
        self._dispatcher = dispatcher
        self._clock = clock
        self._pump = pump
        self._give = give
        # By name, each as it joined, until the log's line of it is compared.
        self._joined: dict[str, list[Subscribed]] = {}
        for subscription in dispatcher.subscriptions.values():
            self._note_joined(subscription)
        dispatcher.on_joined = self._note_joined
        self._drain = drain

    async def __aiter__(self) -> AsyncIterator[Mark]:
        """Repeat the run; yield each mark when everything before it was repeated."""
        pulled: set[int] = set()
        # A mark is written after its action, so a subscription that the action made comes with a later line.
        expected: list[Subscribed] = []
        for line in self._log:
            if isinstance(line, Subscribed):
                if not self._has_joined(line, by_now=False):
                    expected.append(line)
                if line.is_pull:
                    pulled.add(line.group)
                continue
            if not isinstance(line, Mark):
                by_now = not self.calls or isinstance(line, End)
                expected = [own for own in expected if not self._has_joined(own, by_now=by_now)]
            await self._publish_to(line.cursor)
            if isinstance(line, End):
                continue
            self._clock.advance_to(line.now_ns)
            if isinstance(line, Mark):
                yield line
            elif line.group not in pulled:
                await self._repeat(line)
                self.calls += 1

    def _note_joined(self, subscription: Subscription) -> None:
        self._joined.setdefault(subscription.name, []).append(_subscribed(subscription))

    def _has_joined(self, line: Subscribed, *, by_now: bool) -> bool:
        """Refuse a subscription that differs from the log; False: it does not exist yet."""
        joined = self._joined.get(line.name)
        if not joined:
            if not by_now:
                return False
            raise self._log.error(f"subscription {line.name!r} is missing here: subscribe as the live run did")
        now = joined.pop(0)
        if not joined:
            del self._joined[line.name]
        if now != line:
            named = zip(
                line.__struct_fields__, msgspec.structs.astuple(line), msgspec.structs.astuple(now), strict=True
            )
            different = "; ".join(f"{name} was {was!r}, is {is_now!r}" for name, was, is_now in named if was != is_now)
            raise self._log.error(f"subscription {line.name!r} differs: {different}")
        return True

    async def _publish_to(self, cursor: int) -> None:
        while True:
            status, argument = self._pump.ingest_to(cursor)
            if status is PumpStatus.NEED:
                await self._give(argument)
            elif status is PumpStatus.REACHED:
                return
            else:
                have = self._dispatcher.ring.cursor
                why = {
                    PumpStatus.END: "the sources end",
                    PumpStatus.HELD: "a reader holds the ring",
                    PumpStatus.STOPPED: "it was stopped",
                }[status]
                raise self._log.error(f"{why} at position {have}, before {cursor}: repeat it over the same sources")

    async def _repeat(self, call: Call) -> None:
        groups = self._dispatcher._members.groups()  # noqa: SLF001 - part of the same wall
        found = groups.get(call.group)
        if found is None:
            raise self._log.error(f"group {call.group} has no subscription here: subscribe as the live run did")
        name, group, subscription = found
        position, lost, calls, awaiting = group.repeat(call.now_ns, call.read, call.end, call.flags)
        for what, is_now, was in (
            ("stands at position", position, call.end),
            ("lost", lost, call.lost),
            ("made handler calls:", calls, call.calls),
        ):
            if is_now != was:
                for _, awaitable, _ in awaiting:
                    close_unfinished(awaitable)
                raise self._log.error(f"{name} {what} {is_now}, live {was}: the run diverges here")
        if subscription is not None:
            await subscription.awaited.run([AwaitedCall(*made) for made in awaiting])
        elif name == INLINE and not call.flags & (NESTED | CONTINUED):
            await self._dispatcher._members.drain_owed()  # noqa: SLF001 - as above
            # Live, events from threads and tasks are drained in a turn, which has its own mark.
            self._drain()
