"""A strategy in an engine under random commands, against the life-cycle table: acks, states, versions, callbacks.

Guarantees: the model here knows the table and nothing of the engine; sequences come from the run's seed.
Does not: overlap commands; ``test_machine`` does.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace import Engine, StrategySpec
from headrace.commands import PauseStrategy, RestartStrategy, ResumeStrategy, StopStrategy
from headrace.limits import QUARANTINE_FAULTS
from headrace.market.events import StrategyStateChanged
from headrace.strategies.states import TRANSITIONS, StrategyState
from tests.support.engines import INSTRUMENTS, START, HandFeed, Recorder, market, until
from tests.support.feeding import HandClock

_S = StrategyState
COMMANDS = {"pause": PauseStrategy, "resume": ResumeStrategy, "stop": StopStrategy, "restart": RestartStrategy}
ALREADY = {"pause": _S.PAUSED, "resume": _S.RUNNING, "stop": _S.STOPPED}
ACTS = (*COMMANDS, "restart in vain", "tick", "faults")


class Model:
    """The expected states of one strategy, by the table."""

    def __init__(self) -> None:
        self.state = _S.CREATED
        self.changes: list[tuple[str, str]] = []
        self.calls: list[str] = []
        self.move("start")
        self.calls.append("start")
        self.move("started")

    def move(self, verb: str) -> None:
        after = TRANSITIONS[self.state, verb]
        self.changes.append((str(self.state), str(after)))
        self.state = after

    def command(self, verb: str, *, starts: bool) -> str:
        """Apply a command, and return the expected Ack status."""
        if verb == "restart":
            return self.restart(starts=starts)
        if self.state is ALREADY[verb]:
            return "noop"
        if (self.state, verb) not in TRANSITIONS:
            return "rejected"
        self.stop() if verb == "stop" else self.move(verb)
        if verb != "stop":
            self.calls.append(verb)
        return "accepted"

    def restart(self, *, starts: bool) -> str:
        is_saved = self.state in (_S.RUNNING, _S.PAUSED)
        if is_saved:
            self.calls.append("save")
        if (self.state, "stop") in TRANSITIONS:
            self.stop()
        self.move("start")
        if is_saved:
            self.calls.append("load")
        self.calls.append("start")
        self.move("started" if starts else "fail")
        return "accepted" if starts else "failed"

    def stop(self) -> None:
        if self.state in (_S.RUNNING, _S.PAUSED):
            self.calls.append("stop")
        self.move("stop")
        if self.state is not _S.STOPPED:
            self.move("stopped")


class Obedient(Recorder):
    """Raises where its plan has a failure."""

    def __init__(self, life: Life) -> None:
        super().__init__()
        self.life, self.calls = life, life.calls

    def on_start(self) -> None:
        super().on_start()
        if not self.life.starts:
            raise ValueError("in vain")

    def on_quote(self, seq: int, instrument: str, bid_price: float) -> None:
        super().on_quote(seq, instrument, bid_price)
        self.life.ticks += 1
        if self.life.is_faulty:
            raise ValueError("faulty")


class Life:
    """The strategy's life in an engine, beside the model of it."""

    def __init__(self, folder: Path) -> None:
        self.model, self.clock, self.feed = Model(), HandClock(START), HandFeed()
        self.calls: list[str] = []
        self.starts, self.is_faulty = True, False
        self.ticks = self.published = 0
        self.engine = Engine(
            feeds=[self.feed],
            strategies=[StrategySpec(strategy=Obedient, name="one", parameters={"life": self})],
            instruments=INSTRUMENTS,
            clock=self.clock,
            state_folder=folder,
        )
        self.changes: list[StrategyStateChanged] = []
        self.engine.bus.subscribe(StrategyStateChanged, self.changes.append, name="changes")

    async def act(self, act: str) -> None:
        """Do one act, and compare all visible results with the model."""
        before = self.model.state
        if act in ("tick", "faults"):
            seen = self.ticks
            await self.tick(is_faulty=act == "faults")
            assert self.ticks > seen or before is not _S.RUNNING
            assert self.ticks == seen or before is _S.RUNNING, "no tick handler runs unless it is running"
        else:
            await self.command(act.split(maxsplit=1)[0], starts=act != "restart in vain")
        assert self.engine.strategies["one"].state is self.model.state
        assert self.engine.strategies["one"].life.version == len(self.model.changes)
        assert self.calls == self.model.calls

    async def tick(self, *, is_faulty: bool) -> None:
        """Send as many ticks as a quarantine needs faults."""
        self.is_faulty = is_faulty
        for _ in range(QUARANTINE_FAULTS):
            self.clock.at_ns += 1_000
            self.feed.put(market([100.0], start_ns=self.clock.at_ns))
            self.published += 1
        if is_faulty and self.model.state is _S.RUNNING:
            self.model.move("quarantine")
        await self.settle()

    async def command(self, verb: str, *, starts: bool) -> None:
        """Send a command while ticks cause no fault."""
        self.starts, self.is_faulty = starts, False
        expected = self.model.command(verb, starts=starts)
        ack = await self.engine.commands.submit(COMMANDS[verb]("one"))
        assert (ack.status, ack.target_version) == (expected, len(self.model.changes)), ack
        await self.settle()

    async def settle(self) -> None:
        engine = self.engine
        await until(lambda: engine.dispatcher.ring.cursor >= self.published and engine.dispatcher.is_caught_up)
        await until(lambda: engine.bus.is_idle and engine._parts.driver.is_at_rest)

    async def live(self, acts: list[str]) -> None:
        """Start an engine, do all acts, and stop it."""
        async with self.engine:
            for act in acts:
                await self.act(act)
        model = self.model
        if (model.state, "stop") in TRANSITIONS:
            model.stop()
        assert self.engine.strategies["one"].state is model.state
        assert self.calls == model.calls
        assert [(change.before, change.after) for change in self.changes] == model.changes
        assert [change.version for change in self.changes] == list(range(1, len(model.changes) + 1))
        assert all(
            law.accounted == law.published for law in self.engine.report().strategies["one"].subscriptions.values()
        )


@settings(max_examples=25)
@given(acts=st.lists(st.sampled_from(ACTS), min_size=1, max_size=25))
def test_any_sequence_of_commands_goes_along_the_table(acts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(Life(Path(folder)).live(acts))


@pytest.mark.parametrize("first", ACTS)
@pytest.mark.parametrize("second", ["faults", "stop", "restart in vain", "pause"])
def test_each_pair_of_acts_goes_along_the_table_and_back(tmp_path: Path, first: str, second: str) -> None:
    acts = [second, first, "resume", second, "restart", "tick", first, second, "restart", "tick"]
    asyncio.run(Life(tmp_path).live(acts))
