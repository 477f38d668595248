"""Orders: their states, the strategies that may send one, and that none is lost, doubled or wrongly filled."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from headrace.bus.lane import LaneOptions
from headrace.errors import BrokerError, EventTypeError, LaneFullError, OptionError, OrderError
from headrace.limits import ORDERS_KEPT_MAX
from headrace.market.events import (
    Audit,
    Cause,
    Event,
    Lane,
    OrderAccepted,
    OrderCanceled,
    OrderEvent,
    OrderExpired,
    OrderFilled,
    OrderPartiallyFilled,
    OrderRejected,
    OrderRequested,
    PositionChanged,
    Signal,
)
from headrace.market.instrument import Instrument
from headrace.trading.orders import FINAL, ORDER_TRANSITIONS, FixedQuantity, OrderManager, OrderState
from headrace.trading.orders.crossing import Crossing
from headrace.trading.orders.notices import REFUSED_KEPT
from headrace.trading.orders.table import OrderTable
from headrace.trading.risk import GateVerdict
from tests.support.feeding import BTC, ETH
from tests.support.trading import KNOWN, WIDE, Desk, S, SilentBroker

D = Decimal
TICK = Cause(BTC, "quote", 7, 7, 5)


class Talk(Desk):
    """A world whose broker publishes the events that the test passes to it."""

    def __init__(self, **options: Any) -> None:
        self.silent = SilentBroker()
        super().__init__(broker=self.silent, **options)
        self.quote(99.5, 100.5, at_ns=S)

    def say(self, kind: type[OrderEvent], order_id: str, **facts: Any) -> OrderEvent:
        event = kind(**{"order_id": order_id, "strategy": "A", "instrument": BTC, "ts": self.clock.now_ns(), **facts})
        self.bus.publish_nowait(event)
        self.bus.drain()
        return event

    def accept(self, order_id: str) -> None:
        self.say(OrderAccepted, order_id, broker_order_id="b1")

    def fill(self, order_id: str, quantity: str, price: str = "100", **facts: Any) -> OrderEvent:
        """Return the next execution, with the sums that it must have."""
        order = self.order(order_id)
        filled = order.filled + D(quantity)
        left = order.quantity - filled
        told = {
            "execution_id": f"{order_id}/{filled}",
            "side": order.side,
            "quantity": D(quantity),
            "price": D(price),
            "fee": D(0),
            "filled": filled,
            "left": left,
        }
        return self.say(OrderPartiallyFilled if left > 0 else OrderFilled, order_id, **{**told, **facts})

    def cancels(self, order_id: str, **facts: Any) -> None:
        self.say(OrderCanceled, order_id, **{"left": self.order(order_id).left, **facts})


@pytest.fixture
def desk() -> Talk:
    return Talk()


# From submission to a final state


def test_an_order_passes_accepted_and_partly_filled_to_filled(desk: Talk) -> None:
    order_id = desk.submit(1, 3)
    assert desk.order(order_id).state is OrderState.SUBMITTED
    assert desk.silent.submitted == []
    desk.bus.drain()
    assert [request.order_id for request in desk.silent.submitted] == [order_id]
    desk.accept(order_id)
    assert (desk.order(order_id).state, desk.order(order_id).broker_order_id) == (OrderState.ACCEPTED, "b1")
    desk.fill(order_id, "1", "100", fee=D("0.1"))
    assert desk.order(order_id).state is OrderState.PARTIALLY_FILLED
    desk.fill(order_id, "2", "103", fee=D("0.2"))
    order = desk.order(order_id)
    assert (order.state, order.left, order.is_open) == (OrderState.FILLED, D(0), False)
    assert (order.filled, order.average_price, order.fees) == (D(3), D(102), D("0.3"))
    assert desk.position().quantity == 3


def test_each_fill_is_followed_by_the_position_after_it(desk: Talk) -> None:
    order_id = desk.ask(1, 3, cause=TICK)
    desk.accept(order_id)
    desk.fill(order_id, "1", cause=TICK)
    desk.fill(order_id, "2", "103", cause=TICK)
    assert [type(event).__name__ for event in desk.events] == [
        *("OrderRequested", "OrderAccepted", "OrderPartiallyFilled", "PositionChanged"),
        *("OrderFilled", "PositionChanged"),
    ]
    assert [(event.quantity, event.average_price) for event in desk.of(PositionChanged)] == [
        (D(1), D(100)),
        (D(3), D(102)),
    ]
    assert all(event.cause == TICK for event in desk.of(PositionChanged))


def test_a_request_carries_every_option(desk: Talk) -> None:
    order_id = desk.ask(
        -1, 0.3, price=100.5, time_in_force="ioc", expires_ns=9 * S, reduce_only=False, cause=TICK, instrument=BTC
    )
    assert desk.events[0] == OrderRequested(
        source="A",
        ts=S,
        run_id="run",
        cause=TICK,
        order_id=order_id,
        strategy="A",
        instrument=BTC,
        side=-1,
        order_type="limit",
        quantity=D("0.3"),
        price=D("100.5"),
        time_in_force="ioc",
        expires_ns=9 * S,
        verdict="passed",
    )
    order = desk.order(order_id)
    assert (order.price, order.cause, order.side, order.instrument) == (D("100.5"), TICK, -1, BTC)


def test_an_order_from_a_handler_carries_its_cause(desk: Talk) -> None:

    def on_signal(signal: Event) -> None:
        desk.submit(1, 1)

    desk.bus.subscribe(Signal, on_signal)
    desk.bus.publish_nowait(Signal(source="A", instrument=BTC, side=1, cause=TICK))
    desk.bus.drain()
    assert desk.of(OrderRequested)[0].cause == TICK


def test_final_states_have_no_exit_and_all_others_do() -> None:
    assert {state for state, _ in ORDER_TRANSITIONS} == set(OrderState) - FINAL
    assert set(ORDER_TRANSITIONS.values()) == set(OrderState) - {OrderState.SUBMITTED}


# Ids


def test_ids_of_a_replay_are_the_strategys_own_numbers(desk: Talk) -> None:
    assert [desk.submit(), desk.submit(strategy="B"), desk.submit()] == ["A-1", "B-1", "A-2"]


def test_order_ids_of_a_live_run_begin_with_its_digest() -> None:
    first, again, other = (Talk(mode="live", run_id=run_id).submit() for run_id in ("r7", "r7", "r8"))
    assert first == again != other
    assert (len(first), first[6:]) == (10, "-A-1")
    assert Talk(mode="live", run_id="").submit() == "A-1"


def test_similar_strategy_names_still_get_unique_order_ids(desk: Talk) -> None:
    assert [desk.submit(strategy="A-1"), desk.submit(), desk.submit(strategy="A-1")] == ["A-1-1", "A-1", "A-1-2"]


# Invalid orders


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("quantity", value) for value in (0, -1, float("nan"), float("inf"), D("NaN"), "much", True, None)),
        *(("price", value) for value in (0, -1.0, float("nan"), "cheap")),
        *(("side", value) for value in (0, 2, "buy", None)),
        *(("strategy", value) for value in ("", None)),
        ("instrument", ""),
        ("time_in_force", "day"),
        ("expires_ns", S),
        ("expires_ns", 1 << 63),
    ],
)
def test_an_invalid_order_raises_with_field_and_value(desk: Talk, field: str, value: Any) -> None:
    with pytest.raises(OrderError, match="cannot be ordered") as raised:
        desk.submit(**{field: value})
    assert raised.value.field == field
    assert repr(value) in str(raised.value)
    assert desk.orders.orders() == []
    assert desk.submit() == "A-1"


def test_a_limit_order_has_a_price_and_a_market_order_has_none(desk: Talk) -> None:
    requests = [desk.order(desk.submit(price=price)).request for price in (100, None)]
    assert [(request.order_type, request.price) for request in requests] == [("limit", D(100)), ("market", None)]


def test_a_float_counts_as_the_shortest_text_that_names_it(desk: Talk) -> None:
    order = desk.order(desk.submit(1, 0.1, price=61837.65))
    assert (order.quantity, order.price) == (D("0.1"), D("61837.65"))


def test_a_repeated_quantity_keeps_its_own_digits(desk: Talk) -> None:
    given: list[Any] = ["1", D("1"), D("1.0"), "1.0", 1, D("1.00"), 1.0, "1"]
    orders = [desk.order(desk.submit(1, quantity)) for quantity in given]
    assert [str(order.quantity) for order in orders] == ["1", "1", "1.0", "1.0", "1", "1.00", "1.0", "1"]
    with pytest.raises(OrderError, match="True"):
        desk.submit(1, True)


# Refused


def test_a_refused_order_is_never_sent_and_has_the_gates_facts(desk: Talk) -> None:
    order_id = desk.ask(1, 101)
    (rejected,) = desk.of(OrderRejected)
    assert (rejected.order_id, rejected.gate, rejected.observed, rejected.threshold) == (
        *(order_id, "quantity_max"),
        *("101", "100"),
    )
    order = desk.order(order_id)
    assert (order.state, order.gate, order.is_sent) == (OrderState.REJECTED, "quantity_max", False)
    assert order.reason == rejected.reason
    assert desk.silent.submitted == []


def test_a_quantity_off_the_lot_is_refused_without_an_error(desk: Talk) -> None:
    assert desk.order(desk.ask(1, 0.15)).gate == "tick_and_lot"


def test_without_a_broker_an_order_is_rejected_after_the_gates() -> None:
    desk = Desk()
    assert desk.order(desk.ask(1, 101)).gate == "instrument"
    desk.quote(99.5, 100.5)
    order = desk.order(desk.ask())
    assert (order.state, order.gate) == (OrderState.REJECTED, "broker")
    assert order.reason.startswith("no broker")


def test_while_halted_an_order_is_refused_where_it_is_submitted(desk: Talk) -> None:
    desk.switch.is_halted = True
    order_id = desk.submit()
    desk.bus.drain()
    assert desk.told(order_id) == ["OrderRequested", "OrderRejected"]
    assert desk.order(order_id).gate == "halted"
    assert [record.gate for record in desk.gates.records()] == ["halted"]


def test_a_halt_after_submission_still_stops_the_order(desk: Talk) -> None:
    order_id = desk.submit()
    desk.switch.is_halted = True
    desk.bus.drain()
    assert desk.told(order_id) == ["OrderRequested", "OrderRejected"]
    assert desk.silent.submitted == []


def test_while_halted_cancels_pass(desk: Talk) -> None:
    order_id = desk.ask()
    desk.switch.is_halted = True
    assert desk.orders.cancel(order_id) == "accepted"
    assert desk.silent.canceled == [(order_id, None)]


def test_a_full_lane_raises_and_makes_no_order() -> None:
    desk = Talk(lanes={Lane.ORDER: LaneOptions(capacity=2)})
    ids = [desk.submit(), desk.submit()]
    with pytest.raises(LaneFullError):
        desk.submit()
    assert [order.order_id for order in desk.orders.orders()] == ids
    assert desk.orders.stats().submitted == 2
    desk.switch.is_halted = True
    with pytest.raises(LaneFullError):
        desk.submit()
    desk.bus.drain()
    assert len(desk.silent.submitted) == 0
    assert desk.orders.stats()[:2] == (2, 0)


# Judged at its submit


def test_submit_judges_at_once_and_the_next_drain_sends(desk: Talk) -> None:
    passed, refused = desk.submit(), desk.submit(1, 101)
    assert desk.gates.counts()["quantity_max"] == (1, 1)
    assert [desk.order(order_id).request.verdict for order_id in (passed, refused)] == ["passed", "refused"]
    assert (desk.silent.submitted, desk.events) == ([], [])
    desk.bus.drain()
    assert [(type(event).__name__, event.order_id) for event in desk.of(OrderEvent)] == [
        *(("OrderRequested", passed), ("OrderRequested", refused), ("OrderRejected", refused)),
    ]
    assert [request.verdict for request in desk.of(OrderRequested)] == ["passed", "refused"]
    assert [request.order_id for request in desk.silent.submitted] == [passed]
    assert desk.silent.submitted[0] is desk.of(OrderRequested)[0]


def test_a_judged_order_counts_as_open_before_it_is_sent() -> None:
    desk = Talk(limits=msgspec.structs.replace(WIDE, open_orders_max=3))
    ids = [desk.submit(1, 101), *(desk.submit() for _ in range(5))]
    desk.bus.drain()
    assert [desk.order(order_id).gate for order_id in ids] == ["quantity_max", "", "", "", "open_orders", "open_orders"]
    assert len(desk.silent.submitted) == 3


def test_a_judged_order_is_a_message_before_it_is_sent() -> None:
    desk = Talk(limits=msgspec.structs.replace(WIDE, message_rate_max=2.0))
    ids = [desk.submit() for _ in range(3)]
    desk.bus.drain()
    assert [desk.order(order_id).gate for order_id in ids] == ["", "", "message_rate"]


def test_an_order_without_room_is_no_message() -> None:
    desk = Talk(limits=msgspec.structs.replace(WIDE, message_rate_max=2.0), lanes={Lane.ORDER: LaneOptions(capacity=1)})
    desk.submit()
    for _ in range(3):
        with pytest.raises(LaneFullError):
            desk.submit()
    desk.bus.drain()
    assert desk.order(desk.ask()).is_sent
    assert desk.order(desk.ask()).gate == "message_rate"


def test_a_rejection_without_room_follows_its_request() -> None:
    desk = Talk(lanes={Lane.ORDER: LaneOptions(capacity=2)})
    passed, refused = desk.submit(), desk.submit(1, 101)
    desk.bus.drain()
    assert desk.told(passed) == ["OrderRequested"]
    assert desk.told(refused) == ["OrderRequested", "OrderRejected"]
    assert desk.order(refused).gate == "quantity_max"
    assert desk.orders.stats("A")[:2] == (2, 1)


def test_an_order_whose_gate_is_interrupted_does_not_exist(desk: Talk) -> None:

    class Interrupted:
        name = "interrupted"

        def check(self, _: Any) -> Any:
            raise KeyboardInterrupt

    desk.gates.add(Interrupted())
    with pytest.raises(KeyboardInterrupt):
        desk.submit()
    desk.bus.drain()
    assert (desk.orders.orders(), desk.events) == ([], [])


def test_a_cancel_of_a_sent_order_is_a_message() -> None:
    desk = Talk(limits=msgspec.structs.replace(WIDE, message_rate_max=2.0))
    first = desk.ask(1, 1, price=90)
    desk.orders.cancel(first)
    assert desk.order(desk.ask()).gate == "message_rate"
    # A cancel passes whatever its rate, and one of an order that was not sent is none.
    assert desk.orders.cancel(first) == "noop"
    desk = Talk(limits=msgspec.structs.replace(WIDE, message_rate_max=2.0))
    desk.orders.cancel(desk.submit())
    assert desk.order(desk.ask()).is_sent


def test_open_orders_of_both_sides_count() -> None:
    desk = Talk(limits=msgspec.structs.replace(WIDE, open_orders_max=2))
    desk.ask(1, 1, price=90)
    desk.ask(-1, 1, price=110)
    assert [desk.order(desk.ask(side)).gate for side in (1, -1)] == ["open_orders", "open_orders"]
    assert desk.order(desk.ask(1, 1, strategy="B")).is_sent


# Permissions


def test_paused_may_only_reduce_and_stopped_sends_nothing(desk: Talk) -> None:
    desk.accept(held := desk.ask(1, 5))
    desk.fill(held, "5")
    desk.orders.set_permission("A", "reduce")
    assert desk.order(desk.ask(1, 1)).gate == "permission"
    assert desk.order(desk.ask(-1, 6)).gate == "permission"
    assert desk.order(desk.ask(-1, 5)).is_sent
    desk.orders.set_permission("A", "none")
    assert desk.order(desk.ask(-1, 1)).gate == "permission"
    assert desk.order(desk.ask(1, 1, strategy="B")).is_sent
    desk.orders.set_permission("A", "all")
    assert desk.order(desk.ask(1, 1)).is_sent


def test_two_orders_that_each_reduce_may_not_flip_together(desk: Talk) -> None:
    desk.accept(held := desk.ask(1, 5))
    desk.fill(held, "5")
    first, second, third = (desk.submit(-1, quantity, reduce_only=True) for quantity in (3, 3, 2))
    desk.bus.drain()
    assert [desk.order(order_id).is_sent for order_id in (first, second, third)] == [True, False, True]
    # The filled part is no longer open, and the position is smaller by it.
    desk.fill(first, "2")
    assert desk.order(desk.ask(-1, 1, reduce_only=True)).gate == "permission"
    desk.orders.cancel(third)
    desk.cancels(third)
    assert desk.order(desk.ask(-1, 2, reduce_only=True)).is_sent


def test_an_order_in_cancel_may_still_fill_and_counts_as_open(desk: Talk) -> None:
    desk.accept(held := desk.ask(1, 5))
    desk.fill(held, "5")
    desk.orders.cancel(closing := desk.ask(-1, 5, reduce_only=True))
    assert desk.order(desk.ask(-1, 5, reduce_only=True)).gate == "permission"
    desk.cancels(closing)
    assert desk.order(desk.ask(-1, 5, reduce_only=True)).is_sent


# Cancels


def test_a_cancel_waits_for_the_brokers_answer(desk: Talk) -> None:
    order_id = desk.ask(1, 3, price=100)
    desk.accept(order_id)
    assert desk.orders.cancel(order_id, reason="enough", cause=TICK) == "accepted"
    assert desk.order(order_id).state is OrderState.PENDING_CANCEL
    assert desk.silent.canceled == [(order_id, TICK)]
    desk.cancels(order_id)
    order = desk.order(order_id)
    assert (order.state, order.reason, order.left) == (OrderState.CANCELED, "enough", D(3))


def test_broker_events_from_before_a_cancel_still_arrive(desk: Talk) -> None:
    order_id = desk.ask(1, 3)
    desk.orders.cancel(order_id)
    desk.accept(order_id)
    desk.fill(order_id, "1")
    assert desk.order(order_id).state is OrderState.PENDING_CANCEL
    desk.fill(order_id, "2")
    assert desk.order(order_id).state is OrderState.FILLED
    rejected = desk.ask()
    desk.orders.cancel(rejected)
    desk.say(OrderRejected, rejected, gate="broker", observed="", threshold="", reason="closed")
    assert desk.order(rejected).state is OrderState.REJECTED


def test_cancel_is_a_noop_when_ended_and_rejected_when_unknown(desk: Talk) -> None:
    order_id = desk.ask()
    for never_given in ("A-2", "A-0", "A-01", "nothing", "", None, 5, "A-" + "9" * 5_000):
        with pytest.raises(OrderError, match="no order is called"):
            desk.orders.cancel(never_given)  # type: ignore[arg-type]
    assert desk.orders.cancel(order_id, strategy="B") == "rejected"
    assert desk.orders.cancel(order_id) == "accepted"
    assert desk.orders.cancel(order_id) == "noop"
    desk.fill(order_id, "1")
    assert desk.orders.cancel(order_id) == "noop"
    assert len(desk.silent.canceled) == 1


def test_an_order_canceled_before_it_was_sent_is_never_sent(desk: Talk) -> None:
    order_id = desk.submit(1, 3)
    assert desk.orders.cancel(order_id) == "accepted"
    desk.bus.drain()
    assert desk.told(order_id) == ["OrderRequested", "OrderCanceled"]
    assert desk.order(order_id).state is OrderState.CANCELED
    assert (desk.silent.submitted, desk.silent.canceled) == ([], [])


def test_a_cancel_the_broker_raises_on_changes_no_order(desk: Talk) -> None:
    order_id = desk.ask()
    desk.accept(order_id)
    desk.silent.raises = OSError("not connected")
    with pytest.raises(BrokerError, match="not connected"):
        desk.orders.cancel(order_id)
    assert desk.order(order_id).state is OrderState.ACCEPTED


def test_cancel_all_cancels_its_strategy_and_instrument_only(desk: Talk) -> None:
    ids = [desk.ask(), desk.ask(strategy="B")]
    done = desk.ask()
    desk.fill(done, "1")
    desk.quote(99.5, instrument=ETH)
    ids.append(desk.ask(instrument=ETH))
    assert desk.orders.cancel_all(strategy="A", instrument=BTC) == [ids[0]]
    assert desk.orders.cancel_all(instrument=BTC) == [ids[1]]
    assert desk.orders.cancel_all() == [ids[2]]
    assert desk.orders.cancel_all() == []


def test_cancel_all_tries_each_and_then_raises_the_first_error(desk: Talk, caplog: pytest.LogCaptureFixture) -> None:
    ids = [desk.ask(), desk.ask()]
    desk.silent.raises = OSError("not connected")
    with pytest.raises(BrokerError, match="not connected"):
        desk.orders.cancel_all()
    assert all(order_id in caplog.text for order_id in ids)
    desk.silent.raises = None
    assert desk.orders.cancel_all() == ids


def test_a_cancel_whose_answer_finds_no_room_is_sent_again(desk: Talk) -> None:
    ids = [desk.ask() for _ in range(3)]
    desk.silent.raises = LaneFullError("full", lane="order", capacity=50, waited_s=0.0)
    assert desk.orders.cancel_all() == ids
    assert all(desk.order(order_id).state is OrderState.PENDING_CANCEL for order_id in ids)
    desk.say(OrderAccepted, ids[0])
    desk.silent.raises = None
    desk.fill(ids[1], "1")
    assert [order_id for order_id, _ in desk.silent.canceled] == [ids[0], ids[2]]


# Other threads


def in_thread(call: Callable[[], object]) -> None:
    thread = threading.Thread(target=call)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


def test_concurrent_submits_get_unique_ids_and_lose_no_order() -> None:
    desk = Talk(limits=msgspec.structs.replace(WIDE, open_orders_max=10_000, message_rate_max=1e9))
    ids: list[str] = []
    start = threading.Barrier(5)

    def submit() -> None:
        start.wait(10)
        # A submit waits for room among crossing orders, since another thread takes them out.
        ids.extend(desk.submit() for _ in range(200))

    threads = [threading.Thread(target=submit) for _ in range(4)]
    for thread in threads:
        thread.start()
    start.wait(10)
    while any(thread.is_alive() for thread in threads):
        desk.drain()
    desk.drain()
    assert len(set(ids)) == len(ids) == 800
    assert sorted(request.order_id for request in desk.silent.submitted) == sorted(ids)
    assert desk.orders.stats().submitted == 800


def test_another_threads_order_is_judged_on_the_bus_thread() -> None:
    desk = Talk()
    ids: list[str] = []
    judged_in: list[int] = []

    class Where:
        name = "where"

        def check(self, _: Any) -> GateVerdict:
            judged_in.append(threading.get_ident())
            return GateVerdict(passed=True, observed="", threshold="")

    desk.gates.add(Where())
    in_thread(lambda: ids.extend((desk.submit(), desk.submit(1, 101))))
    assert ids == ["A-1", "A-2"]
    assert [desk.order(order_id).state for order_id in ids] == [OrderState.SUBMITTED] * 2
    assert (desk.order("A-1").request.verdict, desk.gates.records()) == (None, [])
    # A crossing order does not count before it is judged, so the next one is judged without it.
    assert desk.submit() == "A-3"
    assert desk.gates.records()[-3].observed == "1"
    desk.drain()
    assert [(type(event).__name__, event.order_id) for event in desk.of(OrderEvent)] == [
        *(("OrderRequested", "A-3"), ("OrderRequested", "A-1"), ("OrderRequested", "A-2"), ("OrderRejected", "A-2")),
    ]
    assert [request.order_id for request in desk.silent.submitted] == ["A-3", "A-1"]
    assert set(judged_in) == {threading.get_ident()}


def test_an_invalid_order_raises_in_its_own_thread(desk: Talk) -> None:
    raised: list[str] = []

    def submit() -> None:
        try:
            desk.submit(1, -1)
        except OrderError as error:
            raised.append(error.field)

    in_thread(submit)
    assert (raised, desk.orders.orders()) == (["quantity"], [])


def test_an_order_canceled_while_it_crosses_is_never_sent(desk: Talk) -> None:
    answers: list[str] = []
    in_thread(lambda: answers.append(desk.orders.cancel(desk.submit(), reason="enough")))
    desk.drain()
    assert answers == ["accepted"]
    assert desk.told("A-1") == ["OrderRequested", "OrderCanceled"]
    assert (desk.order("A-1").reason, desk.silent.submitted) == ("enough", [])


def test_orders_that_cross_wait_for_room_in_the_lane() -> None:
    desk = Talk(lanes={Lane.ORDER: LaneOptions(capacity=2)})
    in_thread(lambda: [desk.submit(1, quantity) for quantity in (1, 101, 1, 1, 101, 1, 1)])
    desk.drain()
    assert [request.order_id for request in desk.silent.submitted] == ["A-1", "A-3", "A-4", "A-6", "A-7"]
    assert [request.order_id for request in desk.of(OrderRequested)] == [f"A-{number}" for number in range(1, 8)]
    assert desk.orders.stats("A").rejected == 2
    # Judged once each, whatever they waited for.
    assert desk.gates.counts()["halted"] == (7, 0)


def test_orders_that_cross_are_bounded(desk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.trading.orders.crossing.ORDERS_CROSSING_MAX", 2)
    monkeypatch.setattr("headrace.trading.orders.crossing.LANE_WAIT_S", 0.01)
    raised: list[LaneFullError] = []

    def submit() -> None:
        for _ in range(3):
            try:
                desk.submit()
            except LaneFullError as error:
                raised.append(error)

    in_thread(submit)
    assert [(error.lane, error.capacity) for error in raised] == [("order", 2)]
    assert desk.orders.stats("A").submitted == 2
    desk.drain()
    assert [request.order_id for request in desk.silent.submitted] == ["A-1", "A-2"]


def test_an_order_that_crosses_to_a_closed_bus_stays_open(desk: Talk) -> None:
    in_thread(desk.submit)
    asyncio.run(desk.bus.shutdown(0.1))
    desk.drain()
    order = desk.order("A-1")
    assert (order.is_open, order.is_sent, order.reason[:9]) == (True, False, "not sent:")


def test_another_threads_cancel_is_sent_on_the_bus_thread() -> None:
    desk = Talk()
    order_id = desk.ask()
    in_thread(lambda: desk.orders.cancel(order_id, reason="enough"))
    assert (desk.order(order_id).state, desk.silent.canceled) == (OrderState.PENDING_CANCEL, [])
    desk.drain()
    assert desk.silent.canceled == [(order_id, None)]
    in_thread(lambda: desk.orders.flatten())
    desk.cancels(order_id)
    assert desk.order(order_id).reason == "enough"


def test_another_threads_cancel_is_sent_with_the_next_event(desk: Talk) -> None:
    order_id = desk.ask()
    in_thread(lambda: desk.orders.cancel(order_id))
    assert desk.silent.canceled == []
    desk.ask(strategy="B")
    assert desk.silent.canceled == [(order_id, None)]


def test_a_later_cancel_the_broker_raises_on_changes_no_order(desk: Talk, caplog: pytest.LogCaptureFixture) -> None:
    order_id = desk.ask()
    in_thread(lambda: desk.orders.cancel(order_id))
    desk.silent.raises = OSError("not connected")
    desk.accept(desk.ask(1, 101))
    assert desk.order(order_id).state is OrderState.SUBMITTED
    assert "could not cancel" in caplog.text
    desk.silent.raises = None
    assert desk.orders.cancel(order_id) == "accepted"


# Flatten


def held(desk: Talk, quantity: str, side: int = 1, **more: Any) -> None:
    order_id = desk.ask(side, D(quantity), **more)
    desk.fill(order_id, quantity, **more)


def test_flatten_closes_by_a_market_order_that_only_reduces(desk: Talk) -> None:
    held(desk, "3")
    (order_id,) = desk.orders.flatten()
    desk.bus.drain()
    request = desk.silent.submitted[-1]
    assert (request.order_id, request.side, request.quantity) == (order_id, -1, D(3))
    assert (request.order_type, request.reduce_only) == ("market", True)
    desk.fill(order_id, "3")
    assert desk.position().is_flat
    assert desk.orders.flatten() == []


def test_flatten_waits_for_its_cancels_then_closes_the_rest(desk: Talk) -> None:
    held(desk, "3", side=-1)
    resting = desk.ask(-1, 5, price=110)
    (order_id,) = desk.orders.flatten(strategy="A", reason="enough")
    assert desk.orders.flatten(strategy="A") == [order_id]
    desk.bus.drain()
    assert desk.orders.order(order_id) is None
    desk.fill(resting, "2")
    desk.cancels(resting)
    assert desk.order(resting).reason == "enough"
    assert (desk.order(order_id).side, desk.order(order_id).quantity) == (1, D(5))


def test_flatten_sends_nothing_when_flat_after_its_cancels(desk: Talk) -> None:
    resting = desk.ask(1, 5, price=90)
    (order_id,) = desk.orders.flatten()
    desk.cancels(resting)
    assert desk.orders.order(order_id) is None
    assert len(desk.silent.submitted) == 1
    assert desk.orders.submit(strategy="A", instrument=BTC, side=1, quantity=1) != order_id


def test_flatten_works_for_a_strategy_without_permission(desk: Talk) -> None:
    held(desk, "3")
    desk.orders.set_permission("A", "none")
    (order_id,) = desk.orders.flatten(strategy="A")
    desk.bus.drain()
    assert desk.order(order_id).is_sent


def test_while_halted_flatten_cancels_and_its_order_is_refused(desk: Talk) -> None:
    held(desk, "3")
    resting = desk.ask(1, 1, price=90)
    desk.switch.is_halted = True
    (order_id,) = desk.orders.flatten()
    assert desk.order(resting).state is OrderState.PENDING_CANCEL
    desk.cancels(resting)
    assert desk.order(order_id).gate == "halted"


def test_flatten_treats_strategies_and_instruments_separately(desk: Talk) -> None:
    desk.quote(99.5, instrument=ETH)
    held(desk, "1")
    held(desk, "2", strategy="B")
    held(desk, "3", instrument=ETH)
    assert len(desk.orders.flatten(instrument=BTC)) == 2
    desk.bus.drain()
    assert [(request.strategy, request.quantity) for request in desk.silent.submitted[-2:]] == [
        ("A", D(1)),
        ("B", D(2)),
    ]


def test_a_closing_order_without_room_is_sent_later() -> None:
    desk = Talk(lanes={Lane.ORDER: LaneOptions(capacity=1)})
    held(desk, "3")
    desk.submit(1, 1, strategy="B", price=90)
    (order_id,) = desk.orders.flatten(strategy="A")
    assert desk.orders.order(order_id) is None
    desk.bus.drain()
    assert desk.order(order_id).is_sent


# Broker events that are refused


def refusals(desk: Talk) -> tuple[int, list[str]]:
    return desk.orders.refused_events, [letter.reason for letter in desk.bus.dead_letters.list()]


def wrong(desk: Talk, order_id: str) -> dict[str, Any]:
    """Impossible events for an order of 3 of which 1 is filled."""
    good = {
        "execution_id": "x",
        "side": 1,
        "quantity": D(1),
        "price": D(100),
        "fee": D(0),
        "filled": D(2),
        "left": D(1),
    }
    part, whole = OrderPartiallyFilled, OrderFilled
    return {
        "unknown order": (part, {"order_id": "A-99", **good}),
        "another strategy's": (part, {"strategy": "B", **good}),
        "another instrument": (part, {"instrument": ETH, **good}),
        "wrong side": (part, {**good, "side": -1}),
        "too much": (part, {**good, "quantity": D(3), "filled": D(4), "left": D(-1)}),
        "nothing": (part, {**good, "quantity": D(0), "filled": D(1), "left": D(2)}),
        "no number": (part, {**good, "quantity": D("NaN")}),
        "no price": (part, {**good, "price": D("NaN")}),
        "a price of 0": (part, {**good, "price": D(0)}),
        "a price below 0": (part, {**good, "price": D(-5)}),
        "a float as price": (part, {**good, "price": 100.5}),
        "text as quantity": (part, {**good, "quantity": "1"}),
        "text as side": (part, {**good, "side": "buy"}),
        "None as fee": (part, {**good, "fee": None}),
        "no fee": (part, {**good, "fee": D("Infinity")}),
        "told before": (part, {**good, "execution_id": f"{order_id}/1"}),
        "another sum": (part, {**good, "filled": D(1)}),
        "another rest": (part, {**good, "left": D(2)}),
        "not the last": (whole, good),
        "the last": (part, {**good, "quantity": D(2), "filled": D(3), "left": D(0)}),
        "accepted again": (OrderAccepted, {}),
        "rejected": (OrderRejected, {"gate": "broker", "observed": "", "threshold": "", "reason": ""}),
        "canceled with another rest": (OrderCanceled, {"left": D(3)}),
        "expired with another rest": (OrderExpired, {"left": D(1)}),
    }


@pytest.mark.parametrize("what", wrong(Talk(), "A-1"))
def test_an_impossible_event_is_refused_and_counted(desk: Talk, what: str, caplog: pytest.LogCaptureFixture) -> None:
    order_id = desk.ask(1, 3)
    desk.accept(order_id)
    desk.fill(order_id, "1")
    before = desk.order(order_id), desk.position(), desk.orders.stats()
    kind, facts = wrong(desk, order_id)[what]
    event = desk.say(kind, **{"order_id": order_id, **facts})
    assert (desk.order(order_id), desk.position(), desk.orders.stats()) == before
    count, letters = refusals(desk)
    assert (count, len(letters)) == (1, 1)
    assert "is refused" in letters[0]
    assert "is refused" in caplog.text
    (audit,) = desk.of(Audit)
    assert (audit.action, audit.target, audit.outcome) == (kind.__name__, event.order_id, "rejected")
    assert desk.orders.is_refused(event)
    assert not desk.orders.is_refused(msgspec.structs.replace(event))


@pytest.mark.parametrize("end", ["filled", "canceled", "rejected", "expired"])
def test_nothing_follows_a_final_state(desk: Talk, end: str) -> None:
    order_id = desk.ask(1, 3)
    if end == "rejected":
        desk.say(OrderRejected, order_id, gate="broker", observed="", threshold="", reason="closed")
    elif end == "filled":
        desk.fill(order_id, "3")
    else:
        desk.say(OrderCanceled if end == "canceled" else OrderExpired, order_id, left=D(3))
    assert str(desk.order(order_id).state) == end
    good = {"execution_id": "x", "side": 1, "quantity": D(1), "price": D(1), "fee": D(0), "filled": D(1), "left": D(2)}
    desk.say(OrderPartiallyFilled, order_id, **good)
    desk.say(OrderCanceled, order_id, left=desk.order(order_id).left)
    assert str(desk.order(order_id).state) == end
    assert desk.orders.refused_events == 2
    assert desk.position().quantity == (3 if end == "filled" else 0)


def test_a_refusal_whose_audit_finds_no_room_is_still_a_refusal(caplog: pytest.LogCaptureFixture) -> None:
    desk = Talk(lanes={Lane.CONTROL: LaneOptions(capacity=1)})
    for number in range(12):
        desk.bus.publish_nowait(OrderAccepted(order_id=f"{number}", strategy="A", instrument=BTC, ts=1))
    caplog.set_level(logging.ERROR)
    core_publish = desk.bus.publish_nowait

    def full(event: Any) -> None:
        raise LaneFullError("full", lane="control", capacity=1, waited_s=0.0)

    desk.bus.publish_nowait = full
    desk.bus.drain()
    desk.bus.publish_nowait = core_publish
    assert desk.orders.refused_events == 12
    assert "found no room" in caplog.text


def test_the_remembered_refusals_are_bounded(desk: Talk) -> None:
    events = [desk.say(OrderAccepted, f"x{number}") for number in range(REFUSED_KEPT + 1)]
    assert not desk.orders.is_refused(events[0])
    assert desk.orders.is_refused(events[1])


# Never twice


def test_a_request_that_others_publish_is_refused_with_advice(desk: Talk) -> None:

    class Own(OrderRequested, frozen=True, kw_only=True):
        pass

    request = desk.order(desk.ask(1, 3)).request
    desk.bus.declare(Own, Lane.ORDER)
    own = Own(order_id="A-2", strategy="A", instrument=BTC, side=1, order_type="market", quantity=D(1), ts=1)
    for again in (request, msgspec.structs.replace(request, order_id="mine", ts=0), own):
        with pytest.raises(EventTypeError, match=r"call engine\.orders\.submit") as raised:
            desk.bus.publish_nowait(again)
        assert raised.value.event_type == type(again).__name__
        with pytest.raises(EventTypeError, match=r"call engine\.orders\.submit"):
            asyncio.run(desk.bus.publish(again))
    desk.bus.drain()
    assert len(desk.of(OrderRequested)) == len(desk.silent.submitted) == len(desk.orders.orders()) == 1


def test_a_bus_has_one_manager_of_orders(desk: Talk) -> None:
    with pytest.raises(OptionError, match="OrderRequested has an owner"):
        OrderManager(
            bus=desk.bus,
            gates=desk.gates,
            positions=desk.positions,
            clock=desk.clock,
            call_soon=desk.soon.append,
            call_at=lambda *_: None,
        )


def test_an_order_the_broker_raised_on_stays_open_unsent(desk: Talk) -> None:
    desk.silent.raises = OSError("timeout")
    order_id = desk.ask(1, 3)
    desk.silent.raises = None
    order = desk.order(order_id)
    assert (order.state, order.is_open) == (OrderState.SUBMITTED, True)
    assert order.reason.startswith("outcome unknown")
    assert len(desk.bus.dead_letters.list()) == 1
    desk.fill(order_id, "3")
    assert desk.order(order_id).state is OrderState.FILLED


@pytest.mark.parametrize("then", ["open", "filled", "forgotten"])
def test_a_redriven_letter_sends_no_order_twice(desk: Talk, then: str, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.silent.raises = OSError("timeout")
    order_id = desk.ask(1, 3)
    desk.silent.raises = None
    if then != "open":
        desk.fill(order_id, "3")
    if then == "forgotten":
        monkeypatch.setattr("headrace.trading.orders.table.ORDERS_KEPT_MAX", 1)
        desk.fill(desk.ask(strategy="B"), "1", strategy="B")
    letter = desk.bus.dead_letters.list()[0]
    sent = len(desk.silent.submitted)
    desk.bus.dead_letters.redrive(letter.id)
    desk.bus.drain()
    assert len(desk.silent.submitted) == sent
    assert desk.orders.refused_events == 1
    assert "submit a new one" in desk.bus.dead_letters.list()[-1].reason
    assert desk.of(OrderRejected) == []
    if then == "open":
        assert desk.order(order_id).is_open


def test_a_redriven_letter_of_a_refused_order_changes_nothing(desk: Talk) -> None:
    fails = [OSError("no")]

    def journal(_: OrderRequested) -> None:
        if fails:
            raise fails.pop()

    desk.bus.subscribe(OrderRequested, journal)
    order_id = desk.ask(1, 101)
    desk.bus.dead_letters.redrive(desk.bus.dead_letters.list()[0].id)
    desk.bus.drain()
    assert desk.order(order_id).state is OrderState.REJECTED
    assert (desk.silent.submitted, desk.orders.refused_events) == ([], 0)


def test_old_orders_are_forgotten_but_not_their_ids(desk: Talk) -> None:
    table = OrderTable()
    template = desk.order(desk.submit()).request

    def over(number: int) -> None:
        table.new_id("A")
        table.add(msgspec.structs.replace(template, order_id=f"A-{number}"))
        table.apply(
            OrderRejected(
                order_id=f"A-{number}", strategy="A", instrument=BTC, gate="", observed="", threshold="", reason=""
            )
        )

    table.new_id("A")
    table.add(msgspec.structs.replace(template, order_id="A-1"))
    for number in range(2, ORDERS_KEPT_MAX + 4):
        over(number)
    assert table.get("A-1") is not None
    assert table.get("A-3") is None
    assert table.get("A-4") is not None
    assert (table.owner("A-3"), table.owner("A-4")) == ("A", "A")
    assert table.owner(f"A-{ORDERS_KEPT_MAX + 4}") is None
    assert len(table.select(None, None, open_only=False)) == ORDERS_KEPT_MAX + 1
    stats = table.stats("A")
    assert (stats.submitted, stats.open, stats.rejected) == (ORDERS_KEPT_MAX + 3, 1, ORDERS_KEPT_MAX + 2)


def test_to_cancel_an_order_that_was_forgotten_is_a_noop(desk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.trading.orders.table.ORDERS_KEPT_MAX", 1)
    first, second = desk.ask(), desk.ask()
    desk.fill(first, "1")
    desk.fill(second, "1")
    assert desk.orders.order(first) is None
    assert desk.orders.cancel(first) == "noop"


def test_the_last_id_counts_as_given_when_its_order_is_forgotten(desk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.trading.orders.table.ORDERS_KEPT_MAX", 0)
    last = desk.ask()
    desk.fill(last, "1")
    assert desk.orders.order(last) is None
    assert desk.orders.cancel(last) == "noop"
    assert desk.orders.cancel(last, strategy="B") == "rejected"
    # No later order takes its id, and none is taken before it was given.
    with pytest.raises(OrderError, match="no order is called 'A-2'"):
        desk.orders.cancel("A-2")
    assert desk.submit() == "A-2"


@pytest.mark.parametrize("order_id", ["A-" + "9" * 18, "A-999999", "S-1", "A-1" + "0" * 5_000])
def test_an_id_of_another_moves_no_counter(desk: Talk, order_id: str) -> None:
    desk.say(OrderAccepted, order_id)
    with pytest.raises(OrderError) as raised:
        desk.orders.cancel(order_id)
    assert len(str(raised.value)) < 400
    assert (desk.submit(), desk.submit()) == ("A-1", "A-2")


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"execution_id": ["1"]}, "TypeError"),
        ({"execution_id": None}, ""),
        ({"filled": D("sNaN")}, "InvalidOperation"),
        ({"left": "0"}, "left"),
    ],
)
def test_an_event_that_holds_anything_changes_nothing(desk: Talk, facts: dict[str, Any], words: str) -> None:
    order_id = desk.ask(1, 1)
    desk.say(OrderAccepted, ["A-1"])  # type: ignore[arg-type]
    assert desk.orders.refused_events == 1
    desk.fill(order_id, "1", **facts)
    if not words:
        assert desk.order(order_id).state is OrderState.FILLED
        return
    assert (desk.order(order_id).state, desk.position().is_flat) == (OrderState.SUBMITTED, True)
    assert desk.orders.refused_events == 2
    assert words in desk.of(Audit)[-1].reason
    desk.fill(order_id, "1")
    assert desk.order(order_id).state is OrderState.FILLED


def test_refusals_under_names_without_end_are_counted_together(desk: Talk) -> None:
    for number in range(150):
        desk.say(OrderRejected, desk.ask(), gate=f"mine {number}", observed="", threshold="", reason=None)
    refusals = desk.orders.refusals("A")
    assert (len(refusals), refusals["others"].times, refusals["mine 0"].times) == (101, 50, 1)


# Counts and lists


def test_every_submitted_order_is_open_or_has_one_end(desk: Talk) -> None:
    filled, canceled, expired, rejected, pending = (desk.ask() for _ in range(5))
    desk.fill(filled, "1")
    desk.cancels(canceled)
    desk.say(OrderExpired, expired, left=D(1))
    desk.say(OrderRejected, rejected, gate="broker", observed="", threshold="", reason="closed")
    desk.orders.cancel(pending)
    desk.ask(strategy="B")
    stats = desk.orders.stats("A")
    assert stats == (5, 1, 1, 1, 1, 1, 1, 1, 0)
    assert stats.submitted == stats.open + stats.filled + stats.canceled + stats.rejected + stats.expired
    assert desk.orders.stats().submitted == 6
    with pytest.raises(OptionError, match="strategy='C' is unknown"):
        desk.orders.stats("C")
    assert [order.order_id for order in desk.orders.orders(strategy="A", open_only=True)] == [pending]
    assert len(desk.orders.orders(instrument=BTC)) == 6
    assert desk.order(expired).reason == "expired"


def test_a_returned_order_does_not_change(desk: Talk) -> None:
    order_id = desk.ask(1, 3)
    before = desk.order(order_id)
    desk.fill(order_id, "3")
    assert (before.state, before.filled) == (OrderState.SUBMITTED, D(0))


# Signals


def test_a_signal_becomes_an_order_of_one_lot_with_its_cause(desk: Talk) -> None:
    order_id = desk.orders.from_signal(Signal(source="A", instrument=BTC, side=-1, cause=TICK))
    assert order_id is not None
    order = desk.order(order_id)
    assert (order.strategy, order.side, order.quantity, order.price, order.cause) == ("A", -1, D("0.1"), None, TICK)


def test_a_sizing_returns_a_quantity_or_none(desk: Talk) -> None:
    class Strong:
        def quantity(self, signal: Signal, position: Any, instrument: Instrument | None) -> Decimal | None:
            return D(2) * D(str(signal.strength)) if signal.strength >= 1 and position.is_flat else None

    buy = Signal(source="A", instrument=BTC, side=1, strength=1.5)
    order_id = desk.orders.from_signal(buy, Strong())
    assert desk.order(order_id or "").quantity == 3
    assert desk.orders.from_signal(msgspec.structs.replace(buy, strength=0.5), Strong()) is None
    assert desk.order(desk.orders.from_signal(buy, FixedQuantity("0.7")) or "").quantity == D("0.7")


@pytest.mark.parametrize("sized", [False, True, "", "two", -1])
def test_a_sizing_that_returns_no_quantity_raises(desk: Talk, sized: Any) -> None:
    class Wrong:
        def quantity(self, _signal: Signal, _position: Any, _instrument: Instrument | None) -> Any:
            return sized

    with pytest.raises(OrderError, match="quantity"):
        desk.orders.from_signal(Signal(source="A", instrument=BTC, side=1), Wrong())


def test_a_signal_of_side_0_closes_only_an_open_position(desk: Talk) -> None:
    out = Signal(source="A", instrument=BTC, side=0)
    assert desk.orders.from_signal(out) is None
    held(desk, "3", side=-1)
    order = desk.order(desk.orders.from_signal(out) or "")
    assert (order.side, order.quantity, order.request.reduce_only) == (1, D(3), True)
    held(desk, "7")
    order = desk.order(desk.orders.from_signal(out) or "")
    assert (order.side, order.quantity) == (-1, D(4))


def test_a_signal_without_a_lot_size_raises_with_the_line_to_add(desk: Talk) -> None:
    with pytest.raises(OrderError, match="lot_size") as raised:
        desk.orders.from_signal(Signal(source="A", instrument="XRPUSDT.BINANCE", side=1))
    assert '[instruments."XRPUSDT.BINANCE"]' in str(raised.value)
    bare = Talk(instruments=(Instrument(BTC), *KNOWN[1:]), limits=WIDE)
    with pytest.raises(OrderError, match="lot_size"):
        bare.orders.from_signal(Signal(source="A", instrument=BTC, side=1))


def test_an_accepted_order_in_cancel_is_never_rejected(desk: Talk) -> None:
    order_id = desk.submit(1, 3)
    desk.bus.drain()
    desk.accept(order_id)
    desk.fill(order_id, "1")
    desk.orders.cancel(order_id)
    desk.say(OrderRejected, order_id, gate="broker", observed="", threshold="", reason="too late to cancel")
    assert desk.order(order_id).state is OrderState.PENDING_CANCEL
    desk.fill(order_id, "2")
    assert desk.order(order_id).state is OrderState.FILLED
    assert desk.positions.position("A", BTC).quantity == 3


def test_a_failed_cancel_restores_the_state_of_the_fills() -> None:
    table = OrderTable()
    request = OrderRequested(order_id="A-1", strategy="A", instrument=BTC, side=1, order_type="market", quantity=D(3))
    table.add(request)
    table.mark_cancel("A-1", "", 0)
    said: dict[str, Any] = {"order_id": "A-1", "strategy": "A", "instrument": BTC}
    table.apply(OrderAccepted(**said, broker_order_id="b"))
    numbers: dict[str, Any] = {"quantity": D(1), "price": D(5), "fee": D(0), "filled": D(1), "left": D(2)}
    table.apply(OrderPartiallyFilled(**said, execution_id="1", side=1, **numbers))
    table.unmark_cancel("A-1")
    order = table.get("A-1")
    assert order is not None
    assert order.state is OrderState.PARTIALLY_FILLED


def test_orders_of_another_thread_call_the_engine_once_until_it_comes() -> None:
    calls: list[Any] = []
    crossing = Crossing(calls.append, lambda: None)
    request: Any = object()
    for _ in range(3):
        crossing.put(request)
    assert len(calls) == 1
    calls[0]()
    crossing.put(request)
    assert len(calls) == 2
    assert [crossing.next() for _ in range(5)] == [request] * 4 + [None]
