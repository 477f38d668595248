"""What tests of commands share: a started command bus, handlers that wait until the test opens them, and probes.

Guarantees: nothing here sleeps; a test releases each handler that it made wait.
Does not: replace any part; the bus, its queues and its middleware are the real ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from headrace.commands import Command, CommandBus, Middleware, Outcome
from tests.support.feeding import HandClock

ACCEPTED = Outcome("accepted")


class Note(Command, frozen=True):
    """Write something down about a subject."""

    verb = "note"

    subject: str
    text: str = ""

    @property
    def target(self) -> str:
        return self.subject


class Gate:
    """An async handler that waits until it is opened, and remembers what it was called with.

    stubborn : it ignores its cancellation.
    """

    def __init__(self, *, stubborn: bool = False) -> None:
        self.began: list[Command] = []
        self.ended: list[Command] = []
        self.cancelled: list[Command] = []
        self._open = asyncio.Event()
        self._changed = asyncio.Condition()
        self._stubborn = stubborn

    def open(self) -> None:
        self._open.set()

    async def __call__(self, command: Command) -> Outcome:
        self.began.append(command)
        await self._tell()
        while not self._open.is_set():
            try:
                await self._open.wait()
            except asyncio.CancelledError:
                self.cancelled.append(command)
                if not self._stubborn:
                    raise
        self.ended.append(command)
        await self._tell()
        return ACCEPTED

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def has_begun(self, count: int) -> None:
        """Wait until so many calls have begun."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.began) >= count)


@asynccontextmanager
async def running(
    *,
    middleware: Iterable[Middleware] | None = None,
    workers: int = 4,
    clock: HandClock | None = None,
) -> AsyncIterator[CommandBus]:
    """A command bus without an event bus."""
    bus = CommandBus(bus=None, clock=clock or HandClock(), middleware=middleware, workers=workers)
    await bus.start()
    try:
        yield bus
    finally:
        await bus.stop(0.0)


async def turns(count: int = 10) -> None:
    """Let all ready tasks run, several times."""
    for _ in range(count):
        await asyncio.sleep(0)
