"""Repetition: a logged live run once more, call for call.

::

    FILE ─▶ LoggedRun ─▶ Repetition: publish up to the cursor ─▶ the same call, compared ─▶ next line

Ticks that were dropped, folded or jumped over live are so again: the ring, its cursor at each call and the time are the
same. When a repeat diverges, DispatchLogError names the line, the subscription's position, and its position live.

Guarantees: a log that was cut off is read to its last whole line; a damaged one is refused, with path and line.
Does not: repeat a pause of a subscription with ``mode="thread"`` at its exact time: it takes effect with the next call.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from headrace._native import PumpStatus
from headrace.dispatch.awaited_calls import AwaitedCall
from headrace.dispatch.log import VERSION, Check, End, Header, Line, Mark, Subscribed, subscribed
from headrace.dispatch.members import INLINE
from headrace.dispatch.run_file import LINE_BYTES_MAX, lines_of
from headrace.errors import DispatchLogError
from headrace.market.clock import EngineClock
from headrace.market.user_functions import close_unfinished

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    import headrace._native as _native
    from headrace.dispatch.dispatcher import Dispatcher
    from headrace.dispatch.log import Call
    from headrace.dispatch.subscription import Subscription

__all__ = ["LoggedRun", "Repetition"]

# Bits of a call's flags, as the native side writes them.
NESTED, CONTINUED = 1, 8
# How the line of a check begins.
CHECK = b'["check",'


class LoggedRun:
    """A written log, to read.

    path : the file. Raises DispatchLogError: the file has no header, or is damaged; also while it is read.
    Each part is checked as a whole before it is read; the lines behind the last check of a killed run, one by one.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.line = 0
        # Whether its last line was read: the run had ended.
        self.is_whole = False
        # Bytes of a last line that was cut off.
        self.torn_bytes = 0
        self._decoder: msgspec.json.Decoder[Line | Check] = msgspec.json.Decoder(Line | Check)
        try:
            with self.path.open("rb") as file:
                first = file.readline(LINE_BYTES_MAX)
                if not first.endswith(b"\n") and len(first) < LINE_BYTES_MAX:
                    raise self.error("it has no line: the live run was killed before its first write")
                self.header = msgspec.json.decode(first, type=Header)
                if self.header.dispatch_log != VERSION:
                    found = f"written in version {self.header.dispatch_log}"
                    raise self.error(f"{found}, only version {VERSION} can be read: use the headrace that wrote it")
                file.seek(0)
                self._check(file)
        except (OSError, ValueError, RecursionError) as error:
            if isinstance(error, msgspec.DecodeError | UnicodeDecodeError | RecursionError):
                raise self.error(f"no dispatch log ({error}): name a file that --dispatch-log wrote") from None
            why = getattr(error, "strerror", None) or error
            msg = f"the dispatch log cannot be read ({why}): name a file that --dispatch-log wrote"
            raise self.error(msg) from None
        self.line = 0

    def _check(self, file: BinaryIO) -> None:
        """Compare the checks with what is before them."""
        crc, first = 0, 1
        for self.line, text in enumerate(lines_of(file)):
            if text.startswith(CHECK) and text.endswith(b"\n"):
                if text != b"%b%d]\n" % (CHECK, crc):
                    raise self.error(f"damaged: a line from {first} to this one was changed; the log cannot be trusted")
                first = self.line + 2
            crc = zlib.crc32(text, crc)

    def error(self, what: str) -> DispatchLogError:
        """Return an error with its place in the log."""
        where = f"{self.path}, line {self.line + 1}" if self.line else str(self.path)
        return DispatchLogError(f"{where}: {what}", path=str(self.path), line=self.line + 1 if self.line else 0)

    def __iter__(self) -> Iterator[Line]:
        """Yield the lines after the header, without a last line that was cut off. Raises DispatchLogError."""
        cursor = 0
        with self.path.open("rb") as file:
            for self.line, text in enumerate(lines_of(file)):
                if self.line == 0:
                    continue
                if len(text) < LINE_BYTES_MAX and not text.endswith(b"\n"):
                    self.torn_bytes = len(text)
                    return
                try:
                    line = self._decoder.decode(text)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                    raise self.error(f"damaged ({error}): the lines before it can be repeated") from None
                if isinstance(line, Check):
                    continue
                if not isinstance(line, Subscribed):
                    if line.cursor < cursor:
                        raise self.error(f"position {line.cursor} behind {cursor} of the line above: lines were moved")
                    cursor = line.cursor
                self.is_whole = isinstance(line, End)
                yield line


class Repetition:
    """Repeats a logged run on a dispatcher made with ``driven=True`` and an EngineClock, with the same subscriptions.

    pump : over the same sources. give : passes it the next block of a source, or its end.
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
        self._joined.setdefault(subscription.name, []).append(subscribed(subscription))

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
            await self._dispatcher.drain_async()
