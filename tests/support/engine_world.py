"""A live engine under full test: strategies check each of their calls, and the laws are checked over all that they saw.

::

    ticks, commands, orders, faults ─▶ Engine over a HandFeed, on a clock moved by hand ─▶ World.check()

Guarantees: every engine, bus, broker and command here is the real one; each error is kept until ``check`` reports it.
Does not: choose the steps; the test that drives it does.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

from headrace import Engine, Flags, Strategy, StrategySpec, Subscription
from headrace.bus.lane import LaneOptions
from headrace.commands import Ack, Command, Flatten, default_middleware
from headrace.errors import HeadraceError
from headrace.market.events import (
    EVENT_LANES,
    Audit,
    Bar,
    Event,
    Gap,
    Lane,
    OrderAccepted,
    OrderCanceled,
    OrderEvent,
    OrderExpired,
    OrderFill,
    OrderFilled,
    OrderRejected,
    OrderRequested,
    Signal,
    StrategyStateChanged,
)
from headrace.strategies.states import TRANSITIONS, StrategyState
from headrace.strategies.timers import Timer
from headrace.trading.brokers.simulated import SimulatedBroker
from headrace.trading.orders import FINAL
from tests.support.engines import INSTRUMENTS, LIMITS, SECOND, START, HandFeed
from tests.support.feeding import BTC, ETH, HandClock, quotes, trades

RUNNING = StrategyState.RUNNING
OF_ITS_ORDERS = (StrategyState.RUNNING, StrategyState.PAUSED, StrategyState.STOPPING)
ENDS = (OrderFilled, OrderCanceled, OrderExpired, OrderRejected)
NAMES = (BTC, ETH)
RING = 128
# Of the loop, until it is quiet; some 100 are needed.
TURNS_MAX = 20_000
FAULTS: tuple[type[BaseException], ...] = (ValueError, SystemExit, asyncio.CancelledError, RecursionError)


class Checked(Strategy):
    """Checks at each call that the call is allowed now and that ticks come in order; acts as the test decides."""

    # In its own thread, a call may be in flight when the state changes.
    is_inline: ClassVar = True

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.newest: dict[tuple[object, str], int] = {}
        world.made[name] += 1

    def called(self, callback: str, states: Sequence[StrategyState] = (RUNNING,)) -> None:
        world = self.world
        world.calls[callback] += 1
        runner = world.engine.strategies[self.name]
        if runner.state not in states and self.is_inline:
            world.wrong.append(f"{self.name}.{callback} is called while it is {runner.state}")
        if runner.strategy is not self and callback.startswith("tick") and self.is_inline:
            world.wrong.append(f"{self.name}.{callback} is called on the object before the restart")
        acts = world.acts[self.name]
        while acts:
            with suppress(HeadraceError):
                acts.popleft()(self)
        world.raise_planned(self.name, callback)

    def came(self, instrument: object, kind: str, seqs: Sequence[int], flags: Sequence[int]) -> None:
        """Count a tick before ``called``, which may raise. A snapshot may repeat the newest quote."""
        before = self.newest.get((instrument, kind), 0)
        for seq, flag in zip(seqs, flags, strict=True):
            if seq < before + (not flag & Flags.SNAPSHOT):
                self.world.wrong.append(f"{self.name} gets {instrument} {kind} {seq} after {before}")
            before = seq
        self.newest[instrument, kind] = before

    async def on_start(self) -> None:
        self.set_timer("often", every="3ms")
        self.world.raise_planned(self.name, "on_start")
        await asyncio.sleep(0)

    def on_stop(self) -> None:
        self.world.raise_planned(self.name, "on_stop")

    async def on_pause(self) -> None:
        await asyncio.sleep(0)
        self.world.raise_planned(self.name, "on_pause")

    async def on_resume(self) -> None:
        await asyncio.sleep(0)
        self.world.raise_planned(self.name, "on_resume")

    def on_save(self) -> object:
        self.world.raise_planned(self.name, "on_save")
        return {"generation": self.world.made[self.name]}

    def on_load(self, state: object) -> None:
        self.world.raise_planned(self.name, "on_load")
        if state != {"generation": self.world.made[self.name] - 1}:
            self.world.wrong.append(f"{self.name} loads {state} as number {self.world.made[self.name]}")

    def on_timer(self, timer: Timer) -> None:
        self.called("on_timer")

    def on_order(self, event: OrderEvent) -> None:
        self.called("on_order", OF_ITS_ORDERS)

    def on_fill(self, fill: OrderFill) -> None:
        self.called("on_fill", OF_ITS_ORDERS)

    def on_gap(self, missing: int | None) -> None:
        self.world.told[self.name] += 1


class Every(Checked):
    """Gets every tick, one by one."""

    def on_quote(self, instrument: str, seq: int, flags: int) -> None:
        self.came(instrument, "quote", [seq], [flags])
        self.called("ticks: on_quote")

    def on_trade(self, instrument: str, seq: int, flags: int) -> None:
        self.came(instrument, "trade", [seq], [flags])
        self.called("ticks: on_trade")


class Lossy(Checked):
    """Gets batches of ticks, and loses the oldest when it is too slow."""

    subscription: ClassVar = {"overflow": "drop_oldest", "batch_max": 16}
    bars: ClassVar = ("1s",)

    def on_quotes(self, instrument_id: Any, seq: Any, flags: Any) -> None:
        for one in set(instrument_id.tolist()):
            mine = instrument_id == one
            self.came(one, "quote", seq[mine].tolist(), flags[mine].tolist())
        self.called("ticks: on_quotes")

    def on_bar(self, bar: Bar) -> None:
        self.called("on_bar")

    def on_signal(self, signal: Signal) -> None:
        self.called("on_signal")


class Newest(Checked):
    """Gets the newest quotes."""

    subscription: ClassVar = {"overflow": "conflate"}

    def on_quote(self, instrument: str, seq: int, flags: int) -> None:
        self.came(instrument, "quote", [seq], [flags])
        self.called("ticks: on_quote")


class Awaiting(Checked):
    """Handles its ticks in an async handler."""

    async def on_trade(self, instrument: str, seq: int, flags: int) -> None:
        self.came(instrument, "trade", [seq], [flags])
        self.called("ticks: on_trade")
        await asyncio.sleep(0)


class Threaded(Every):
    """Gets every tick in a thread of its own, and trades there."""

    is_inline: ClassVar = False
    subscription: ClassVar = {"mode": "thread"}

    def on_quote(self, instrument: str, seq: int, flags: int) -> None:
        super().on_quote(instrument, seq, flags)
        with suppress(HeadraceError):
            (self.buy if seq % 2 else self.sell)(instrument, "0.1", price="50" if seq % 5 == 0 and seq % 2 else None)


STRATEGIES: dict[str, type[Checked]] = {"every": Every, "lossy": Lossy, "newest": Newest, "awaiting": Awaiting}


class World:
    """One running engine, and all that was seen of it."""

    def __init__(self, folder: Path, strategies: Mapping[str, type[Checked]] | None = None) -> None:
        self.clock = HandClock(START)
        self.feed = HandFeed()
        self.wrong: list[str] = []
        self.calls: Counter[str] = Counter()
        self.made: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        self.acts: dict[str, deque[Callable[[Checked], object]]] = defaultdict(deque)
        # (strategy, callback) -> what its next calls raise.
        self.planned: dict[tuple[str, str], list[type[BaseException]]] = defaultdict(list)
        self.events: list[Event] = []
        self.acks: list[Ack] = []
        self.closing: set[str] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.asked = self.put = 0
        self.added: dict[str, list[Subscription]] = defaultdict(list)
        self.gate = asyncio.Event()
        self.gate.set()
        self.engine = Engine(
            feeds=[self.feed],
            strategies=[
                StrategySpec(strategy=own, name=name, parameters={"world": self, "name": name})
                for name, own in (strategies or STRATEGIES).items()
            ],
            broker=SimulatedBroker(),
            instruments=INSTRUMENTS,
            limits=LIMITS,
            clock=self.clock,
            ring_capacity=RING,
            state_folder=folder,
            lanes={Lane.DATA: LaneOptions(capacity=8, full="drop_oldest", max_attempts=3)},
            middleware=default_middleware(rate_max=1e9),
        )
        self.engine.bus.subscribe(Event, self.events.append, name="witness")
        self.engine.bus.subscribe(Bar, self.hold, name="holding")

    async def hold(self, _: Event) -> None:
        """Hold up the data lane while the gate is closed."""
        await self.gate.wait()

    def raise_planned(self, name: str, callback: str) -> None:
        for key in (callback, "ticks" if callback.startswith("ticks") else "callbacks"):
            if self.planned[name, key]:
                raise self.planned[name, key].pop()(f"planned for {callback}")

    # What is done to it

    def flow(self, instrument: str, kind: str, prices: Sequence[float]) -> None:
        """Publish ticks with the current time."""
        make = quotes if kind == "quote" else trades
        size = {"bid_size": 3.0, "ask_size": 3.0} if kind == "quote" else {}
        self.clock.at_ns += 1_000
        self.feed.put(make(self.engine.dispatcher, prices, instrument=instrument, ts_init=self.clock.at_ns, **size))
        self.put += len(prices)

    def submit(self, command: Command) -> None:
        """Submit a command, and keep its Ack."""
        self.asked += 1
        task = asyncio.ensure_future(self._answered(command, self.engine.commands.version))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _answered(self, command: Command, version_before: int) -> None:
        ack = await self.engine.commands.submit(command)
        self.acks.append(ack)
        if isinstance(command, Flatten):
            self.closing.update(ack.detail.get("orders", ()))
        if not version_before <= ack.version <= self.engine.commands.version:
            now = self.engine.commands.version
            self.wrong.append(f"{command} is answered with version {ack.version}, between {version_before} and {now}")
        # What a strategy raises at its start or its end is its own: the commands say so.
        planned = ("failed to start again", "raised: its dead letter says why")
        if ack.status == "failed" and not any(own in ack.reason for own in planned):
            self.wrong.append(f"{command} failed: {ack.reason}")

    def act(self, name: str, act: Callable[[Checked], object], *, now: bool) -> None:
        """Let a strategy act: now, from outside, or in its next callback."""
        strategy = self.engine.strategies[name].strategy
        if not now:
            self.acts[name].append(act)
        elif isinstance(strategy, Checked):
            with suppress(HeadraceError):
                act(strategy)

    async def turn(self, times: int) -> None:
        """Let the loop run for some turns."""
        for _ in range(times):
            await asyncio.sleep(0)

    # Laws

    async def settle(self) -> None:
        """Wait until all requests are done, and check every law."""
        self.gate.set()
        deadline, turns = asyncio.get_running_loop().time() + 10.0, 0
        while not self.is_quiet():
            await asyncio.sleep(0)
            turns += 1
            # By turns: a busy machine is no fault of the engine. By time: a thread has its share, too.
            assert turns < TURNS_MAX or asyncio.get_running_loop().time() < deadline, self.why_not_quiet()
        # Checked at once: the next step of the loop ends the quiet moment.
        self.check()

    def is_quiet(self) -> bool:
        engine = self.engine
        return (
            not self.tasks
            and engine.dispatcher.ring.cursor >= self.put
            and engine.dispatcher.is_caught_up
            and engine.bus.is_idle
            and engine._parts.driver.is_at_rest
            and not any(
                own.state in ("running", "resuming", "paused") and own.stats().pending
                for runner in engine.strategies.values()
                for own in runner.subscriptions
            )
        )

    def why_not_quiet(self) -> str:
        engine = self.engine
        states = {name: str(runner.state) for name, runner in engine.strategies.items()}
        facts = (len(self.tasks), engine.dispatcher.ring.cursor, self.put, engine.dispatcher.is_caught_up)
        return f"{facts} {engine.bus.stats().lanes} {engine.commands.stats()} {states}"

    def check_always(self) -> None:
        """What holds at every moment."""
        assert not self.wrong, self.wrong
        stats = self.engine.commands.stats()
        assert stats.submitted == stats.answered + stats.in_flight
        orders = self.engine.orders.stats()
        assert orders.submitted == orders.open + orders.filled + orders.canceled + orders.rejected + orders.expired

    def check(self) -> None:
        """What holds at every quiet moment."""
        self.check_always()
        self.check_ticks()
        self.check_lanes()
        self.check_orders()
        self.check_commands()
        self.check_life()

    def check_ticks(self) -> None:
        """Check the loss law for every subscription, closed ones included."""
        report = self.engine.report()
        for name, strategy in report.strategies.items():
            for law in strategy.subscriptions.values():
                assert law.accounted == law.published, (name, law)

    def check_lanes(self) -> None:
        """Every event is processed, dead, dropped and told, or left."""
        seen = Counter(EVENT_LANES[type(event)] for event in self.events if not _is_gap(event))
        for lane, own in self.engine.bus.stats().lanes.items():
            assert own.published == own.processed + own.dead + own.dropped + own.left, (lane, own)
            assert seen[lane] == own.processed + own.dead, (lane, own, seen)
            if lane is not Lane.DATA:
                assert not own.dropped, (lane, own)
        told = sum(event.missed for event in self.events if isinstance(event, Gap))
        assert told == self.engine.bus.stats().lanes[Lane.DATA].dropped

    def check_orders(self) -> None:
        """No order lost or doubled: each id one end, each execution once, positions the sum of the fills."""
        orders = {order.order_id: order for order in self.engine.orders.orders()}
        ends: Counter[str] = Counter()
        requested: Counter[str] = Counter()
        accepted: Counter[str] = Counter()
        executions: Counter[str] = Counter()
        filled: dict[str, Decimal] = defaultdict(Decimal)
        held: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
        for event in self.events:
            if isinstance(event, OrderEvent):
                assert event.order_id in orders, event
                ends[event.order_id] += isinstance(event, ENDS)
                requested[event.order_id] += isinstance(event, OrderRequested)
                accepted[event.order_id] += isinstance(event, OrderAccepted)
            if isinstance(event, OrderFill):
                executions[event.execution_id] += 1
                filled[event.order_id] += event.quantity
                held[event.strategy, event.instrument] += event.side * event.quantity
        assert max([*requested.values(), *accepted.values(), *executions.values()], default=0) <= 1
        for order_id, order in orders.items():
            assert ends[order_id] == (order.state in FINAL), (order, ends[order_id])
            assert filled[order_id] == order.filled <= order.quantity, order
        for (strategy, instrument), quantity in held.items():
            assert self.engine.positions.position(strategy, instrument).quantity == quantity
        is_open = {order_id for order_id, order in orders.items() if order.is_open}
        assert set(self.engine._parts.broker.open_orders) <= is_open  # type: ignore[union-attr]
        for name, runner in self.engine.strategies.items():
            if runner.state in (StrategyState.STOPPED, StrategyState.FAILED, StrategyState.QUARANTINED):
                orders_left = self.engine.orders.orders(strategy=name, open_only=True)
                # An operator may close what a stopped strategy holds.
                assert self.closing >= {order.order_id for order in orders_left}, (name, runner.state, orders_left)

    def check_commands(self) -> None:
        """Each command one answer, one audit, one id."""
        assert len(self.acks) == self.asked
        stats = self.engine.commands.stats()
        assert stats.submitted == stats.answered == self.asked
        assert len({ack.command_id for ack in self.acks}) == self.asked
        audits = sum(isinstance(event, Audit) for event in self.events)
        assert audits + stats.audits_waiting + stats.audits_lost == self.asked

    def check_life(self) -> None:
        """Check that each change of state is published once, follows the table, and has the next version."""
        for name, runner in self.engine.strategies.items():
            state, version = StrategyState.CREATED, 0
            for event in self.events:
                if isinstance(event, StrategyStateChanged) and event.strategy == name:
                    version += 1
                    assert (event.before, event.version) == (state, version), event
                    after = StrategyState(event.after)
                    assert after in [TRANSITIONS[key] for key in TRANSITIONS if key[0] is state], event
                    state = after
            assert (state, version) == (runner.state, runner.life.version), name

    def state(self, name: str) -> StrategyState:
        """Return where a strategy is in its life."""
        return self.engine.strategies[name].state


def _is_gap(event: Event) -> bool:
    return isinstance(event, Gap) and event.source == "bus"


ONE_SECOND = SECOND
