"""An engine under high-frequency flow and random commands, against the laws that always hold.

Guarantees: every step comes from the run's seed; when a law breaks, Hypothesis finds a shortest failing case.
Does not: depend on how long anything takes; time is moved by hand.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import hypothesis
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from headrace.commands import (
    CancelAll,
    CancelOrder,
    Command,
    Flatten,
    Halt,
    PauseStrategy,
    Rearm,
    RestartStrategy,
    ResumeStrategy,
    SetSubscription,
    Status,
    StopStrategy,
)
from headrace.market.events import Gap, OrderFill, OrderRejected, StrategyStateChanged
from tests.support.engine_world import FAULTS, NAMES, RING, STRATEGIES, Checked, World
from tests.support.engines import SECOND

STEPS = 2_000
STEPS_DEEP = 100_000
STEPS_OF_ONE = 100

Draw: TypeAlias = Callable[[st.SearchStrategy[Any]], Any]

# The possible steps; a step that stands here more often is drawn more often.
WHAT = (
    *("steer", "steer", "steer", "command", "cancel_one", "trade", "trade", "trade", "signal", "cancel", "timer"),
    *("fault", "fault", "time_passes", "hold_the_data_lane", "burst", "turn", "turn", "settle"),
)
STEERING = (PauseStrategy, ResumeStrategy, ResumeStrategy, RestartStrategy, StopStrategy)
FAULTY = ("ticks", "ticks", "ticks", "callbacks", "on_start", "on_stop", "on_pause", "on_resume", "on_save", "on_load")
strategies = st.sampled_from(sorted(STRATEGIES))
sides = st.sampled_from([1, -1])
some_or_none = st.none() | strategies
commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(CancelAll, strategy=some_or_none, instrument=st.none() | st.sampled_from(NAMES)),
    st.builds(Flatten, strategy=some_or_none),
    st.sampled_from([Halt("machine"), Rearm(), Rearm(), Status(), PauseStrategy("nobody")]),
    st.builds(
        SetSubscription,
        strategy=strategies,
        batch_max=st.none() | st.integers(1, 64),
        overflow=st.sampled_from([None, "block", "drop_oldest", "conflate"]),
        lag_max_ticks=st.none() | st.integers(1, 200),
        on_lag=st.sampled_from([None, "warn", "skip"]),
    ),
)


class EngineMachine(RuleBasedStateMachine):
    """One engine's life. Counts over all lives prove that the laws were tested on something."""

    shown: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="headrace-")
        self.runner = asyncio.Runner()
        self.price = 100.0
        self.run(self._start())

    async def _start(self) -> None:
        self.world = World(Path(self.folder.name))
        await self.world.engine.__aenter__()

    def run(self, step: Any) -> None:
        """Take a step of the engine's loop."""
        self.runner.run(step)

    # Steps

    @initialize(seed=st.integers(0, 2**32))
    def market(self, seed: int) -> None:
        """Publish ticks before each step."""
        self.numbers = random.Random(seed)

    def flow(self, *, ticks_max: int = 12) -> None:
        """Publish some ticks."""
        for instrument in self.numbers.sample(NAMES, self.numbers.randrange(len(NAMES) + 1)):
            prices = []
            for _ in range(self.numbers.randrange(1, ticks_max)):
                self.price = max(50.0, min(200.0, self.price + self.numbers.randrange(-2, 3)))
                prices.append(self.price)
            self.world.flow(instrument, self.numbers.choice(["quote", "quote", "trade"]), prices)
        self.run(self.world.turn(self.numbers.randrange(3)))

    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        """One rule that draws its step: with many rules, Hypothesis would leave most of them out of each life."""
        getattr(self, data.draw(st.sampled_from(WHAT)))(data.draw)

    def burst(self, _: Draw) -> None:
        """Publish more ticks at once than the ring holds."""
        self.flow(ticks_max=3 * RING)

    def steer(self, draw: Draw) -> None:
        """Send commands faster than they are handled."""
        name = draw(strategies)
        for kind in draw(st.lists(st.sampled_from(STEERING), min_size=1, max_size=3)):
            self.world.submit(kind(name))
        self.run(self.world.turn(draw(st.integers(0, 4))))

    def command(self, draw: Draw) -> None:
        """Any other command."""
        self.world.submit(draw(commands))
        self.run(self.world.turn(draw(st.integers(0, 2))))

    def cancel_one(self, draw: Draw) -> None:
        """Cancel an order by command, open or not."""
        orders, pick = self.world.engine.orders.orders(), draw(st.integers(1, 20))
        self.world.submit(CancelOrder(orders[-min(pick, len(orders))].order_id if orders else "nobody's"))

    def trade(self, draw: Draw) -> None:
        """Let a strategy trade, in a callback or from outside; sometimes more than the lane holds."""
        instrument, side, count = draw(st.sampled_from(NAMES)), draw(sides), draw(st.sampled_from([1, 1, 1, 1, 70]))
        quantity = f"{draw(st.integers(1, 80)) / 10:.1f}"
        offset = draw(st.none() | st.integers(-3, 3))
        options: dict[str, Any] = {
            "price": None if offset is None else f"{self.price + offset:.2f}",
            "reduce_only": draw(st.sampled_from([False, False, True])),
            "expires_after": draw(st.sampled_from([None, None, "1ms", "1s"])),
        }

        def act(own: Checked) -> None:
            for _ in range(count):
                (own.buy if side > 0 else own.sell)(instrument, quantity, **options)

        self.world.act(draw(strategies), act, now=draw(st.booleans()))

    def signal(self, draw: Draw) -> None:
        """Let a strategy publish a signal."""
        self.world.act(draw(strategies), lambda own: own.signal(NAMES[0], 1), now=draw(st.booleans()))

    def cancel(self, draw: Draw) -> None:
        """Let a strategy cancel one of its orders."""

        def act(own: Checked) -> None:
            for order in self.world.engine.orders.orders(strategy=own.name, open_only=True)[-3:]:
                own.cancel(order.order_id)

        self.world.act(draw(strategies), act, now=draw(st.booleans()))

    def timer(self, draw: Draw) -> None:
        """Let a strategy set or cancel a timer."""
        on, now = draw(st.booleans()), draw(st.booleans())
        self.world.act(
            draw(strategies),
            lambda own: own.set_timer("extra", after="2ms") if on else own.cancel_timer("often"),
            now=now,
        )

    def fault(self, draw: Draw) -> None:
        """Make the next calls of a callback fail."""
        count = draw(st.integers(1, 5))
        self.world.planned[draw(strategies), draw(st.sampled_from(FAULTY))] = [draw(st.sampled_from(FAULTS))] * count

    def time_passes(self, draw: Draw) -> None:
        """Move the clock; the next turn fires the timers that are due."""
        self.world.clock.at_ns += draw(st.integers(1, 1_500)) * SECOND // 1_000

    def hold_the_data_lane(self, draw: Draw) -> None:
        """Make a handler of bars wait while bars close."""
        self.world.gate.clear()
        for _ in range(draw(st.integers(1, 8))):
            self.world.clock.at_ns += SECOND
            self.flow(ticks_max=3)

    def turn(self, draw: Draw) -> None:
        """Let the loop run."""
        self.run(self.world.turn(draw(st.integers(1, 30))))

    def settle(self, _: Draw) -> None:
        """Wait until the engine is idle, and check every law."""
        self.run(self.world.settle())

    @invariant()
    def always(self) -> None:
        """Check the laws that hold at every moment."""
        self.shown["steps"] += 1
        self.flow()
        self.world.check_always()

    # Shutdown

    def teardown(self) -> None:
        world = self.world
        try:
            self.run(world.settle())
            self.run(world.engine.__aexit__(None, None, None))
            self._check_end()
            self._count()
        finally:
            self.runner.close()
            self.folder.cleanup()

    def _check_end(self) -> None:
        world = self.world
        world.check()
        report = world.engine.report()
        assert report.left == {}
        assert all(lane.left == 0 for lane in report.lanes.values())
        for strategy in report.strategies.values():
            assert strategy.state in ("stopped", "failed")
            # An operator's closing order of a stopped strategy goes on; all other orders were canceled.
            assert world.closing >= set(strategy.open_orders)
            assert not any(law.pending for law in strategy.subscriptions.values())

    def _count(self) -> None:
        world, shown = self.world, self.shown
        report = world.engine.report()
        laws = [law for strategy in report.strategies.values() for law in strategy.subscriptions.values()]
        for term in ("delivered", "missed", "conflated", "skipped", "faults"):
            shown[term] += sum(getattr(law, term) for law in laws)
        shown["fills"] += sum(isinstance(event, OrderFill) for event in world.events)
        shown["dropped and told"] += sum(event.missed for event in world.events if isinstance(event, Gap))
        shown["gaps told"] += sum(world.told.values())
        shown["letters"] += report.dead_letters.total
        for event in world.events:
            if isinstance(event, StrategyStateChanged):
                shown[f"{event.before} -> {event.after}"] += 1
        for ack in world.acks:
            shown[f"ack {ack.status}"] += 1
        shown.update(f"gate {event.gate}" for event in world.events if isinstance(event, OrderRejected))
        shown.update(world.calls)


def drive(steps: int, seed: int) -> Counter[str]:
    """Take so many steps or more, in lives of ``STEPS_OF_ONE``, and return the counts of what happened."""
    shown = EngineMachine.shown = Counter()
    while shown["steps"] < steps:
        # Other lives in each round. Half as many more: some end early, where Hypothesis has no more numbers for them.
        hypothesis.seed(seed + shown["steps"])(EngineMachine)
        run_state_machine_as_test(
            EngineMachine,
            settings=settings(
                max_examples=(steps - shown["steps"]) * 3 // STEPS_OF_ONE // 2 + 1,
                stateful_step_count=STEPS_OF_ONE,
                suppress_health_check=list(HealthCheck),
            ),
        )
    return shown


def assert_shown(shown: Counter[str], steps: int) -> None:
    """Laws that hold because nothing happened prove nothing."""
    assert shown["steps"] >= steps, shown
    for what in ("delivered", "missed", "conflated", "skipped", "faults", "fills", "letters", "gaps told"):
        assert shown[what], (what, shown)
    for status in ("accepted", "noop", "rejected", "failed"):
        assert shown[f"ack {status}"], (status, shown)
    for change in (
        *("running -> paused", "paused -> running", "running -> quarantined"),
        *("running -> stopping", "stopping -> stopped", "stopped -> starting", "starting -> failed"),
    ):
        assert shown[change], (change, shown)


# A hang is found by the turns that ``settle`` may take; this much only ends a process that does nothing at all.
@pytest.mark.timeout(900)
def test_the_laws_hold_under_random_flow_and_commands(seed: int) -> None:
    assert_shown(drive(STEPS, seed), STEPS)


@pytest.mark.deep
def test_the_laws_hold_for_100000_random_steps(seed: int) -> None:
    assert_shown(drive(STEPS_DEEP, seed), STEPS_DEEP)
