"""The laws of the event bus under random publishers, handlers and moments, against what the handlers themselves saw.

Guarantees: types, handlers, their failures, lanes, capacities, plain and async, consumers, closings, redrives and
drains are drawn from the run's seed; the law is checked at every quiet moment.
Does not: depend on time; the test releases each handler that waits.
"""

from __future__ import annotations

import asyncio
import random
import resource
from collections import Counter
from collections.abc import Iterator

import pytest

from headrace.bus.bus import BusSubscription, EventBus
from headrace.bus.lane import LANE_OPTIONS, LaneOptions
from headrace.errors import ClosedError, LaneFullError, LetterError
from headrace.market.clock import ReplayClock
from headrace.market.events import Event, Gap, Lane, OrderCanceled, Signal, Status
from tests.support.busing import S, event_of, lanes, number_of, status

STEPS = 5_000
# Each player answers some events. With more players, one event would cause hundreds.
PLAYERS_MAX = 6


class Player:
    """A random handler: it fails, publishes and yields at random, and keeps its events."""

    def __init__(self, session: Session, name: str) -> None:
        self.session = session
        self.name = name
        self.got: list[tuple[Lane, int]] = []
        self.open = True

    def take(self, event: Event) -> None:
        lane, number = lane_of(event), number_of(event)
        session, dice = self.session, self.session.dice
        if not isinstance(event, Gap):
            self.got.append((lane, number))
        if dice.random() < 0.15 and session.generation[lane, number] < 3:
            for _ in range(dice.randrange(1, 4)):
                session.publish(dice.choice(list(Lane)), generation=session.generation[lane, number] + 1)
        if dice.random() < 0.1:
            raise dice.choice([ValueError("dice"), SystemExit(1), asyncio.CancelledError()])

    async def take_async(self, event: Event) -> None:
        for _ in range(self.session.dice.randrange(3)):
            await asyncio.sleep(0)
        self.take(event)


class Session:
    """A bus, its players, and what was published."""

    def __init__(self, dice: random.Random, *, replay: bool) -> None:
        self.dice = dice
        capacities = {str(lane): dice.randrange(1, 9) for lane in Lane}
        self.bus = EventBus(mode="replay" if replay else "live", clock=ReplayClock(S), lanes=lanes(**capacities))
        self.numbers = Counter[Lane]()
        self.generation: dict[tuple[Lane, int], int] = {}
        self.refused = 0
        self.players: list[Player] = []
        self.told: list[Gap] = []
        self.subscriptions: list[tuple[Player, BusSubscription]] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.heard: dict[Lane, list[int]] = {lane: [] for lane in Lane}
        self.accepted: dict[Lane, list[int]] = {lane: [] for lane in Lane}
        self.bus.subscribe(Event, self.listen, name="listener")
        self.bus.subscribe(Gap, self.on_gap, name="gaps")

    def listen(self, event: Event) -> None:
        """Subscribe a handler to all events that never fails."""
        if not isinstance(event, Gap):
            self.heard[lane_of(event)].append(number_of(event))

    def on_gap(self, event: Gap) -> None:
        self.told.append(event)

    def publish(self, lane: Lane, generation: int = 0) -> None:
        number = self.numbers[lane] + 1
        # Counted before the publish: in a replay a handler may get it at once.
        self.numbers[lane] = number
        self.generation[lane, number] = generation
        ts = self.dice.choice([0, 7])
        try:
            self.bus.publish_nowait(event_of(lane, number, ts=ts))
        except LaneFullError:
            self.refused += 1
        else:
            self.accepted[lane].append(number)

    def join(self) -> None:
        if len(self.subscriptions) + len(self.tasks) >= PLAYERS_MAX:
            return
        player = Player(self, f"p{len(self.players)}")
        self.players.append(player)
        what = self.dice.choice([Event, Signal, Status, OrderCanceled])
        match self.dice.randrange(5):
            case 0 if len(self.tasks) < 2:
                self.tasks.append(asyncio.create_task(self.pull(player)))
            case 1 | 2:
                handler = player.take_async
                self.subscriptions.append(
                    (player, self.bus.subscribe(what, handler, idempotent=self.dice.random() < 0.5))
                )
            case _:
                self.subscriptions.append((player, self.bus.subscribe(what, player.take, name=player.name)))

    async def pull(self, player: Player) -> None:
        consumer = self.bus.consumer(self.dice.choice([Signal, Status]))
        while True:
            try:
                async with consumer.consume() as envelope:
                    await player.take_async(envelope.event)
            except ClosedError:
                return
            except (ValueError, SystemExit, asyncio.CancelledError):
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise

    def leave(self) -> None:
        if self.subscriptions:
            player, subscription = self.subscriptions.pop(self.dice.randrange(len(self.subscriptions)))
            player.open = False
            subscription.close()

    def redrive(self) -> None:
        letters = self.bus.dead_letters.list(kind="event")
        if letters:
            try:
                self.bus.dead_letters.redrive(self.dice.choice(letters).id)
            except (LetterError, LaneFullError):
                return

    def check(self) -> None:
        stats = self.bus.stats()
        for lane, own in stats.lanes.items():
            assert own.published == own.processed + own.dead + own.dropped + own.left, lane
            assert own.left - own.depth in (0, 1), lane
            assert own.depth_max <= 8 * own.capacity * (8 if lane is Lane.ORDER else 1)
        assert self.bus.unfinished == sum(own.left for own in stats.lanes.values())


def lane_of(event: Event) -> Lane:
    match event:
        case Signal():
            return Lane.SIGNAL
        case Status() | Gap():
            return Lane.DATA
        case OrderCanceled():
            return Lane.ORDER
        case _:
            return Lane.CONTROL


def in_order(numbers: Iterator[int]) -> bool:
    """Return whether numbers rise; each stands as often as it was attempted."""
    last = 0
    for number in numbers:
        if number < last:
            return False
        last = number
    return True


@pytest.mark.asyncio
@pytest.mark.timeout(90)
@pytest.mark.parametrize("replay", [False, True])
async def test_every_event_is_processed_dead_dropped_or_left(seed: int, replay: bool) -> None:
    for round_number in range(5):
        session = Session(random.Random(seed + round_number), replay=replay)
        dice, bus = session.dice, session.bus
        await bus.start()
        for _ in range(STEPS // 5):
            match dice.randrange(12):
                case 0:
                    session.join()
                case 1:
                    session.leave()
                case 2:
                    bus.drain()
                case 3:
                    await asyncio.sleep(0)
                case 4:
                    await bus.wait_until_idle()
                    assert bus.is_idle
                    session.check()
                case _:
                    session.publish(dice.choice(list(Lane)))
            session.check()
        await bus.wait_until_idle()
        session.check()
        stats = bus.stats()
        assert all(own.left == 0 for own in stats.lanes.values())
        assert sum(own.published for own in stats.lanes.values()) == sum(session.numbers.values()) - session.refused
        assert sum(gap.missed for gap in session.told) == stats.lanes[Lane.DATA].dropped
        assert all(own.dropped == 0 for lane, own in stats.lanes.items() if replay or lane is not Lane.DATA)
        assert sum(own.dead for own in stats.lanes.values()) <= bus.dead_letters.total
        lost = {number for gap in session.told for number in range(gap.first, gap.last + 1)}
        for lane in Lane:
            places = list(enumerate(session.accepted[lane], 1))
            arrived = [number for place, number in places if lane is not Lane.DATA or place not in lost]
            assert session.heard[lane] == arrived
            order = {number: place for place, number in places}
            for player in session.players:
                assert in_order(order[number] for own, number in player.got if own is lane), (player.name, lane)
        for _ in range(20):
            session.redrive()
        await bus.wait_until_idle()
        session.check()
        assert await bus.shutdown() == {}
        await asyncio.gather(*session.tasks)


def test_order_events_survive_ten_times_overload(seed: int) -> None:
    """A tenth of the deep test's events."""
    overload(seed, orders=100_000, data=1_000_000)


@pytest.mark.deep
@pytest.mark.timeout(1_800)
def test_order_events_survive_ten_times_overload_deep(seed: int) -> None:
    """All events; minutes."""
    overload(seed, orders=1_000_000, data=10_000_000)


def overload(seed: int, *, orders: int, data: int) -> None:
    """Publish ten times the data lane's capacity between two drains, and as many orders as their lane accepts."""
    dice = random.Random(seed)
    bus = EventBus(clock=ReplayClock(S))
    got: list[int] = []
    seen = [0, 0, 0]

    def on_order(event: OrderCanceled) -> None:
        got.append(int(event.order_id))
        if len(got) > 1_000:
            check()

    def check() -> None:
        assert got == list(range(seen[0], seen[0] + len(got)))
        seen[0] += len(got)
        got.clear()

    def on_data(event: Status) -> None:
        assert int(event.subject) >= max(seen[1], 9 * capacity), "data goes back, or is not the newest"
        seen[1] = int(event.subject)

    def on_gap(event: Gap) -> None:
        seen[2] += event.missed

    bus.subscribe(OrderCanceled, on_order)
    bus.subscribe(Status, on_data)
    bus.subscribe(Gap, on_gap)
    capacity = LANE_OPTIONS[Lane.DATA].capacity
    ready = [status(number, ts=1) for number in range(10 * capacity)]
    before_kib = None
    sent = refused = rounds = 0
    while sent < orders or rounds * len(ready) < data:
        for event in ready:
            bus.publish_nowait(event)
        rounds += 1
        wanted = min(
            orders - sent, dice.randrange(orders * len(ready) // data * 2 + 1) if rounds * len(ready) < data else orders
        )
        while wanted > 0:
            try:
                bus.publish_nowait(event_of(Lane.ORDER, sent, ts=1))
            except LaneFullError:
                refused += 1
                bus.drain()
                continue
            sent += 1
            wanted -= 1
        bus.drain()
        seen[1] = 0
        if rounds == 10:
            before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    check()
    stats = bus.stats().lanes
    assert seen[0] == sent == orders
    assert (stats[Lane.ORDER].processed, stats[Lane.ORDER].dropped, stats[Lane.ORDER].dead) == (orders, 0, 0)
    assert stats[Lane.ORDER].refused == refused > 0
    assert stats[Lane.DATA].dropped == seen[2] == rounds * 9 * capacity
    assert before_kib is not None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 64 * 1_024


@pytest.mark.parametrize("lane", [Lane.SIGNAL, Lane.ORDER, Lane.CONTROL])
def test_a_full_lane_is_a_typed_error_never_a_silent_drop(seed: int, lane: Lane) -> None:
    """Causes are refused beyond the capacity, consequences beyond eight times the capacity; all others arrive."""
    dice = random.Random(seed)
    for _ in range(100):
        answer_in_full(lane, capacity=dice.randrange(1, 20), answers=dice.randrange(12), dice=dice)


def answer_in_full(lane: Lane, *, capacity: int, answers: int, dice: random.Random) -> None:
    """Overfill a lane whose handler answers each cause with more events of its type."""
    bus = EventBus(lanes={lane: LaneOptions(capacity=capacity)}, clock=ReplayClock(S))
    got: list[int] = []
    accepted: list[int] = []
    capacities: list[int] = []

    def publish(number: int) -> None:
        try:
            bus.publish_nowait(event_of(lane, number))
        except LaneFullError as error:
            capacities.append(error.capacity)
        else:
            accepted.append(number)

    def answer(event: Event) -> None:
        got.append(number_of(event))
        if number_of(event) < 1_000:
            for more in range(answers):
                publish(1_000 * (1 + number_of(event)) + more)

    bus.subscribe(type(event_of(lane)), answer)
    causes = dice.randrange(1, 2 * capacity + 2)
    for number in range(causes):
        publish(number)
    assert capacities == [capacity] * max(0, causes - capacity)
    bus.drain()
    assert got == accepted
    stats = bus.stats().lanes[lane]
    assert (stats.processed, stats.refused, stats.dropped, stats.left) == (len(accepted), len(capacities), 0, 0)
    answered = capacities[max(0, causes - capacity) :]
    assert answered == [8 * capacity] * len(answered)
    assert len(accepted) == fitting(min(causes, capacity), answers, 8 * capacity)


def fitting(causes: int, answers: int, room: int) -> int:
    """Return how many events fit: each cause leaves the queue before its answers come."""
    waiting = total = causes
    for _ in range(causes):
        more = min(answers, room - (waiting - 1))
        waiting += more - 1
        total += more
    return total
