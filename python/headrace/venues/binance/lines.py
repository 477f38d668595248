"""Lines: the connections of one feed, and which of its streams each of them carries.

::

    names ─▶ by route ─▶ the line that has a name, else one with room, else a new one ─▶ Line

Guarantees: a stream is on one line; a line never has more streams than the venue allows a connection.
Does not: know what is wanted; its feed does.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from headrace.venues.binance.line import Line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence

    from headrace.venues.binance.line import LineOwner
    from headrace.venues.binance.rules import VenueRules
    from headrace.venues.binance.transport import Transport

__all__ = ["Lines"]


class Lines:
    """The lines of one feed. owner : receives what happens on them. quiet_s : as ``Line`` has it."""

    def __init__(
        self, rules: VenueRules, new_transport: Callable[[], Transport], owner: LineOwner, *, quiet_s: float
    ) -> None:
        self._rules = rules
        self._new_transport = new_transport
        self._owner = owner
        self._quiet_s = quiet_s
        self._lines: dict[Line, asyncio.Task[None] | None] = {}
        self._tasks: asyncio.TaskGroup | None = None

    def __iter__(self) -> Iterator[Line]:
        return iter(list(self._lines))

    def open(self, tasks: asyncio.TaskGroup) -> None:
        """Keep lines in tasks of this group from now on."""
        self._tasks = tasks

    def close(self) -> None:
        """Forget every line: the group has ended their tasks."""
        self._tasks = None
        self._lines = {}

    def want(self, urls: Mapping[str, str]) -> None:
        """Subscribe to streams as soon as their lines are up. urls : the address with the route of each stream."""
        for line, names in self._placed(urls).items():
            line.want(names)

    async def add(self, urls: Mapping[str, str]) -> None:
        """Subscribe to streams, and wait until the venue has confirmed all. Raises VenueRequestError."""
        await _all(line.add(names) for line, names in self._placed(urls).items())

    async def remove(self, names: Iterable[str]) -> None:
        """Unsubscribe, and wait for the venue where a line is up. Raises VenueRequestError."""
        gone = set(names)
        held = [(line, [name for name in line.names if name in gone]) for line in self._lines]
        try:
            await _all(line.remove(own) for line, own in held if own)
        finally:
            self._close_empty()

    def epoch_of(self, name: str) -> int:
        """Return the epoch of the line that carries a stream; 0 when none does."""
        return next((line.epoch for line in self._lines if name in line.names), 0)

    def has(self, name: str) -> bool:
        """Return whether a stream is wanted on some line."""
        return any(name in line.names for line in self._lines)

    def replace(self, name: str, reason: str) -> None:
        """Have the connection of a stream replaced."""
        for line in self._lines:
            if name in line.names:
                line.replace(reason)

    def hold(self) -> None:
        """Read no more until ``release``."""
        for line in self._lines:
            line.hold()

    def release(self) -> None:
        """Read again."""
        for line in self._lines:
            line.release()

    def _placed(self, urls: Mapping[str, str]) -> dict[Line, list[str]]:
        """Return streams by the line that has them, or has room for them; new lines are started."""
        placed: dict[Line, list[str]] = {}
        for name, url in urls.items():
            placed.setdefault(self._line_for(name, url, placed), []).append(name)
        if self._tasks is not None:
            for line in placed:
                if self._lines[line] is None:
                    self._lines[line] = self._tasks.create_task(line.keep(), name=f"headrace line {line.url}")
        return placed

    def _line_for(self, name: str, url: str, placed: Mapping[Line, Sequence[str]]) -> Line:
        on_route = [line for line in self._lines if line.url == url]
        for line in on_route:
            if line.carries(name):
                return line
        for line in on_route:
            if line.room > len(placed.get(line, ())):
                return line
        line = Line(self._rules, url, self._new_transport, self._owner, quiet_s=self._quiet_s)
        self._lines[line] = None
        return line

    def _close_empty(self) -> None:
        """Close lines without a stream, except the last of each route: connects are limited."""
        for line in [own for own in self._lines if not own.names]:
            if any(other is not line and other.url == line.url for other in self._lines):
                task = self._lines.pop(line)
                if task is not None:
                    task.cancel()


async def _all(waits: Iterable[Awaitable[None]]) -> None:
    """Await several at once; raise the first error when all have ended."""
    for outcome in await asyncio.gather(*waits, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
