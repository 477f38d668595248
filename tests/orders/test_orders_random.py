"""Orders under random flow: submissions, cancels, quotes, pauses, halts, full lanes; and the laws that hold meanwhile.

Guarantees: every episode draws its steps from the run's seed; positions and sizes are recomputed from the events alone.
Does not: run an engine, or several threads.
"""

from __future__ import annotations

import random
from collections import defaultdict
from contextlib import suppress
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from headrace.bus.lane import LaneOptions
from headrace.errors import EventTypeError, LaneFullError
from headrace.market.event_json import encode_event
from headrace.market.events import (
    Cause,
    Lane,
    OrderAccepted,
    OrderCanceled,
    OrderEvent,
    OrderExpired,
    OrderFill,
    OrderFilled,
    OrderRejected,
    OrderRequested,
)
from headrace.trading.brokers import SimulatedBroker
from headrace.trading.orders import FINAL
from tests.support.feeding import BTC, ETH, quotes
from tests.support.trading import WIDE, Desk, S

D = Decimal
EPISODES = 40
STEPS = 150
NAMES = (BTC, ETH)
STRATEGIES = ("A", "B")
ENDS = (OrderFilled, OrderCanceled, OrderExpired, OrderRejected)


class Episode:
    """One random session, and the counts of what happened."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.broker = SimulatedBroker(
            latency_ns=self.random.choice([0, 0, 3_000_000]),
            taker_fee="0.001",
            slippage_ticks=self.random.choice([0, 2]),
        )
        capacity = self.random.choice([3, 10, 50])
        self.desk = Desk(
            broker=self.broker,
            limits=msgspec.structs.replace(WIDE, open_orders_max=8, quantity_max=D(4)),
            lanes={Lane.ORDER: LaneOptions(capacity=capacity)},
        )
        # (instrument, seq) -> the sizes that were shown, by side of the order.
        self.shown: dict[tuple[str, int], dict[int, Decimal]] = {}
        self.seqs: dict[str, int] = defaultdict(int)
        self.ids: list[str] = []
        for name in NAMES:
            self.quote(name)

    def step(self) -> None:
        """Do one random step; sometimes drain the bus only later."""
        action = self.random.choices(
            [self.submit, self.quote, self.cancel, self.permit, self.halt, self.flatten, self.cancel_all, self.again],
            [30, 40, 12, 4, 2, 3, 2, 2],
        )[0]
        action()
        if self.random.random() < 0.7:
            self.desk.bus.drain()

    def quote(self, name: str | None = None) -> None:
        name = name or self.random.choice(NAMES)
        bid = self.random.randrange(180, 220) / 2
        sizes = [self.random.randrange(0, 30) / 10 for _ in range(2)]
        self.desk.clock.at_ns += 1_000_000
        tick = quotes(
            self.desk.dispatcher,
            [bid],
            instrument=name,
            ts_init=self.desk.clock.at_ns,
            ask_price=bid + self.random.choice([0.5, 1.0]),
            bid_size=sizes[0],
            ask_size=sizes[1],
        )
        self.seqs[name] += 1
        self.shown[name, self.seqs[name]] = {1: D(repr(sizes[1])), -1: D(repr(sizes[0]))}
        self.desk.dispatcher.publish(tick)
        self.desk.dispatcher.dispatch()

    def submit(self) -> None:
        name = self.random.choice(NAMES)
        seq = self.seqs[name]
        more: dict[str, Any] = {"cause": Cause(name, "quote", seq, seq, self.desk.clock.at_ns)}
        if self.random.random() < 0.6:
            more["price"] = D(self.random.randrange(180, 220)) / 2
        if self.random.random() < 0.4:
            more["expires_ns"] = self.desk.clock.at_ns + self.random.randrange(1, 20_000_000)
        more["time_in_force"] = self.random.choice(["gtc", "gtc", "ioc"])
        more["reduce_only"] = self.random.random() < 0.3
        quantity = D(self.random.randrange(1, 45)) / 10
        with suppress(LaneFullError):
            self.ids.append(
                self.desk.submit(
                    self.random.choice([1, -1]),
                    quantity,
                    instrument=name,
                    strategy=self.random.choice(STRATEGIES),
                    **more,
                )
            )

    def cancel(self) -> None:
        if self.ids:
            self.desk.orders.cancel(self.random.choice(self.ids[-10:]))

    def permit(self) -> None:
        self.desk.orders.set_permission(
            self.random.choice(STRATEGIES), self.random.choice(["all", "all", "reduce", "none"])
        )

    def halt(self) -> None:
        self.desk.switch.is_halted = self.random.random() < 0.3

    def flatten(self) -> None:
        self.ids += self.desk.orders.flatten(strategy=self.random.choice([None, *STRATEGIES]))

    def cancel_all(self) -> None:
        self.desk.orders.cancel_all(instrument=self.random.choice([None, *NAMES]))

    def again(self) -> None:
        """Publish a request again, without the manager."""
        requests = self.desk.of(OrderRequested)
        if requests:
            with pytest.raises(EventTypeError):
                self.desk.bus.publish_nowait(self.random.choice(requests))

    def finish(self) -> None:
        """Drain and wait until no order or event is in flight."""
        self.desk.switch.is_halted = False
        self.desk.bus.drain()
        self.desk.orders.cancel_all()
        for _ in range(10):
            self.quote(BTC)
            self.desk.bus.drain()
            self.quote(ETH)
            self.desk.bus.drain()


def played(seed: int) -> Episode:
    episode = Episode(seed)
    for _ in range(STEPS):
        episode.step()
    episode.desk.bus.drain()
    return episode


@pytest.fixture(scope="module")
def episodes(seed: int) -> list[Episode]:
    """Run the episodes once, for all laws."""
    return [played(seed + number) for number in range(EPISODES)]


def test_the_episodes_reach_every_end_and_every_gate(episodes: list[Episode]) -> None:
    """Laws that hold because nothing happened prove nothing."""
    ends = {type(event) for episode in episodes for event in episode.desk.of(OrderEvent)}
    assert ends >= {*ENDS, OrderAccepted}
    gates = {event.gate for episode in episodes for event in episode.desk.of(OrderRejected)}
    assert gates >= {"halted", "permission", "quantity_max"}
    assert any(fill.left for episode in episodes for fill in episode.desk.of(OrderFill))
    assert any(order.request.reduce_only for episode in episodes for order in filled(episode))


def filled(episode: Episode) -> list[Any]:
    return [order for order in episode.desk.orders.orders() if order.filled]


def test_no_order_is_lost_and_each_ends_once(episodes: list[Episode]) -> None:
    for episode in episodes:
        stats = episode.desk.orders.stats()
        assert stats.submitted == stats.open + stats.filled + stats.canceled + stats.rejected + stats.expired
        assert stats.submitted == len(episode.desk.orders.orders())
        ends: dict[str, list[str]] = defaultdict(list)
        for event in episode.desk.of(OrderEvent):
            assert not ends[event.order_id], event
            if isinstance(event, ENDS):
                ends[event.order_id].append(type(event).__name__)
        for order in episode.desk.orders.orders():
            assert len(ends[order.order_id]) == (order.state in FINAL), order


def test_no_order_is_sent_twice_and_the_broker_has_all_open(episodes: list[Episode]) -> None:
    for episode in episodes:
        accepted = [event.order_id for event in episode.desk.of(OrderAccepted)]
        assert len(accepted) == len(set(accepted))
        is_open = {order.order_id for order in episode.desk.orders.orders(open_only=True)}
        assert set(episode.broker.open_orders) <= is_open


def test_positions_are_the_sum_of_fills_and_no_order_overfills(episodes: list[Episode]) -> None:
    for episode in episodes:
        held: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
        of_order: dict[str, Decimal] = defaultdict(Decimal)
        for fill in episode.desk.of(OrderFill):
            held[fill.strategy, fill.instrument] += fill.side * fill.quantity
            of_order[fill.order_id] += fill.quantity
        for (strategy, instrument), quantity in held.items():
            assert episode.desk.position(strategy, instrument).quantity == quantity
        for order in episode.desk.orders.orders():
            assert of_order[order.order_id] == order.filled <= order.quantity


def test_no_displayed_size_is_taken_twice_and_no_limit_is_passed(episodes: list[Episode]) -> None:
    for episode in episodes:
        taken: dict[tuple[str, int, int], Decimal] = defaultdict(Decimal)
        for fill in episode.desk.of(OrderFill):
            assert fill.quote is not None
            taken[fill.instrument, fill.quote.first, fill.side] += fill.quantity
            limit = episode.desk.order(fill.order_id).price
            assert limit is None or (fill.price - limit) * fill.side <= 0
        for (instrument, seq, side), quantity in taken.items():
            assert quantity <= episode.shown[instrument, seq][side]


def test_no_order_fills_against_what_caused_it_or_came_before(episodes: list[Episode]) -> None:
    for episode in episodes:
        for fill in episode.desk.of(OrderFill):
            if fill.cause is not None and fill.quote is not None:
                assert fill.quote.first > fill.cause.last


def test_reduce_only_never_adds_exposure_and_never_flips(episodes: list[Episode]) -> None:
    for episode in episodes:
        held: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
        for fill in episode.desk.of(OrderFill):
            key = (fill.strategy, fill.instrument)
            before = held[key]
            held[key] += fill.side * fill.quantity
            if episode.desk.order(fill.order_id).request.reduce_only:
                assert before * fill.side < 0
                assert held[key] * before >= 0


def test_each_order_is_requested_once_and_nothing_is_refused(episodes: list[Episode]) -> None:
    for episode in episodes:
        requests = [event.order_id for event in episode.desk.of(OrderRequested)]
        assert len(requests) == len(set(requests))
        assert episode.desk.orders.refused_events == len(episode.desk.bus.dead_letters) == 0


def test_every_request_has_a_verdict_and_each_refusal_follows_it(episodes: list[Episode]) -> None:
    for episode in episodes:
        verdicts = {event.order_id: event.verdict for event in episode.desk.of(OrderRequested)}
        assert set(verdicts.values()) <= {"passed", "refused"}
        rejected = {
            event.order_id for event in episode.desk.of(OrderRejected) if event.gate not in ("broker", "halted")
        }
        refused = {order_id for order_id, verdict in verdicts.items() if verdict == "refused"}
        assert rejected <= refused
        assert all(str(episode.desk.order(order_id).state) == "rejected" for order_id in refused)


def test_the_same_flow_makes_the_same_bytes(seed: int) -> None:
    for number in range(5):
        first, second = played(seed + number), played(seed + number)
        assert list(map(encode_event, first.desk.events)) == list(map(encode_event, second.desk.events))
        assert first.desk.events


def test_every_open_order_can_be_canceled_in_the_end(episodes: list[Episode], seed: int) -> None:
    for number in range(10):
        episode = played(seed + number)
        episode.finish()
        assert episode.desk.orders.orders(open_only=True) == []
        assert episode.broker.open_orders == ()
        assert episode.desk.clock.at_ns > S
