"""The command bus under random commands, handlers and moments, against its invariants.

Guarantees: commands, keys, handlers that hang or raise, timeouts, cancellations and halts come from the run's seed.
Does not: depend on how long anything takes; the test releases a handler that hangs, or its timeout ends it.
"""

from __future__ import annotations

import asyncio
import random

import pytest

from headrace.bus import EventBus
from headrace.commands import Ack, Command, CommandBus, Halt, Outcome, Rearm, default_middleware
from headrace.market.events import Audit, Event
from tests.support.commanding import ACCEPTED, Note
from tests.support.feeding import HandClock

STEPS = 2_000
TARGETS = 7
WORKERS = 4
MALFORMED = (b"{", b'{"command": "Note"}', b'{"command": "Note", "subject": 1}')


class Handlers:
    """Act by a command's text, and check that commands of a target run alone and in order."""

    def __init__(self, numbers: random.Random) -> None:
        self.numbers = numbers
        self.hung: list[asyncio.Event] = []
        self.at_work: dict[str, str] = {}
        self.newest: dict[str, int] = {}
        self.calls: dict[str, int] = {}
        self.repeated: set[str] = set()
        self.wrong: list[str] = []
        self.is_halted = False

    async def note(self, command: Note) -> Outcome:
        subject, (number, what) = command.subject, command.text.split()
        if subject in self.at_work:
            self.wrong.append(f"{command.text} overlaps {self.at_work[subject]}")
        if len(self.at_work) >= WORKERS:
            self.wrong.append(f"{command.text} is at work beside {len(self.at_work)} others")
        # A command that expired and is submitted again comes later than its number says.
        if command.text not in self.repeated:
            if self.newest.get(subject, 0) >= int(number):
                self.wrong.append(f"{command.text} comes after {self.newest[subject]}")
            self.newest[subject] = int(number)
        self.calls[command.text] = self.calls.get(command.text, 0) + 1
        self.at_work[subject] = command.text
        try:
            return await self.act(what)
        finally:
            del self.at_work[subject]

    async def act(self, what: str) -> Outcome:
        if what == "hang":
            self.hung.append(asyncio.Event())
            await self.hung[-1].wait()
        elif what == "raise":
            raise ValueError(what)
        elif what == "yield":
            for _ in range(self.numbers.randrange(5)):
                await asyncio.sleep(0)
        return Outcome("noop" if what == "noop" else "rejected" if what == "reject" else "accepted")

    def halt(self, _: Halt) -> Outcome:
        self.is_halted = True
        return ACCEPTED

    def rearm(self, _: Rearm) -> Outcome:
        self.is_halted = False
        return ACCEPTED


class Session:
    """One bus, and the random steps of a test."""

    def __init__(self, seed: int) -> None:
        self.numbers = random.Random(seed)
        self.clock = HandClock(1)
        self.handlers = Handlers(self.numbers)
        self.events = EventBus(clock=self.clock)
        self.audits: list[Audit] = []
        self.events.subscribe(Audit, self.keep)
        middleware = default_middleware(rate_max=1e9)
        self.bus = CommandBus(bus=self.events, clock=self.clock, workers=WORKERS, middleware=middleware)
        self.bus.register(Note, self.handlers.note)
        self.bus.register(Halt, self.handlers.halt)
        self.bus.register(Rearm, self.handlers.rearm)
        self.tasks: list[asyncio.Task[Ack]] = []
        self.cancelled: set[asyncio.Task[Ack]] = set()
        self.keys: dict[str, Note] = {}
        self.number = 0

    def keep(self, event: Event) -> None:
        assert isinstance(event, Audit)
        self.audits.append(event)

    def submit(self, command: Command | bytes, key: str | None = None, timeout: float = 30.0) -> None:
        self.tasks.append(asyncio.ensure_future(self.bus.submit(command, key=key, timeout=timeout)))

    async def note(self) -> None:
        what = self.numbers.choice(("plain", "yield", "yield", "noop", "reject", "raise", "hang"))
        note = Note(f"s{self.numbers.randrange(TARGETS)}", f"{self.number} {what}")
        key = f"k{self.number}" if self.numbers.random() < 0.3 else None
        if key:
            self.keys[key] = note
        self.submit(note, key, timeout=0.05 if what == "hang" and self.numbers.random() < 0.1 else 30.0)

    async def repeat(self) -> None:
        if self.keys:
            key = self.numbers.choice(list(self.keys))
            self.handlers.repeated.add(self.keys[key].text)
            self.submit(self.keys[key] if self.numbers.random() < 0.7 else Halt("another"), key)

    async def malform(self) -> None:
        self.submit(self.numbers.choice(MALFORMED))

    async def halt(self) -> None:
        ack = await self.bus.submit(Halt("enough"))
        assert ack.status == "accepted"
        assert self.handlers.is_halted

    async def rearm(self) -> None:
        self.submit(Rearm())

    async def let_go(self) -> None:
        hung = self.handlers.hung
        for _ in range(min(len(hung), 3)):
            hung.pop(self.numbers.randrange(len(hung))).set()

    async def cancel(self) -> None:
        await asyncio.sleep(0)  # A task that never started submitted no command.
        if self.tasks and (task := self.numbers.choice(self.tasks)).cancel():
            self.cancelled.add(task)

    async def turn(self) -> None:
        for _ in range(self.numbers.randrange(4)):
            await asyncio.sleep(0)
        self.clock.at_ns += self.numbers.randrange(10**8)
        self.events.drain()

    async def step(self) -> None:
        self.number += 1
        steps = (self.note, self.repeat, self.malform, self.halt, self.rearm, self.let_go, self.cancel, self.turn)
        await self.numbers.choices(steps, (40, 8, 4, 4, 4, 15, 3, 30))[0]()
        stats = self.bus.stats()
        assert stats.submitted == stats.answered + stats.in_flight
        assert not self.handlers.wrong

    async def finish(self) -> None:
        while not all(task.done() for task in self.tasks):
            while self.handlers.hung:
                self.handlers.hung.pop().set()
            await asyncio.sleep(0)
            self.events.drain()
        await self.bus.stop()
        self.events.drain()


@pytest.mark.asyncio
@pytest.mark.timeout(60)
async def test_every_command_is_answered_once_in_order_per_target(seed: int) -> None:
    session = Session(seed)
    await session.bus.start()
    for _ in range(STEPS):
        await session.step()
    await session.finish()

    stats = session.bus.stats()
    assert stats.submitted == stats.answered == len(session.audits)
    assert stats.answered == sum(outcome.count for outcome in stats.outcomes.values())
    assert not session.handlers.wrong
    assert set(session.handlers.calls.values()) == {1}, "a command was handled twice"
    assert {task for task in session.tasks if task.cancelled()} <= session.cancelled
    # A repeated command gets its first Ack, with the version of that time.
    versions = [audit.version for audit in session.audits if "repeats" not in audit.detail]
    assert versions == sorted(versions)
    assert max(versions) == session.bus.version
    acks: dict[int, set[int]] = {}
    for task in session.tasks:
        if not task.cancelled():
            acks.setdefault(task.result().command_id, set()).add(id(task.result()))
    assert all(len(same) == 1 for same in acks.values()), "one command has two Acks"
