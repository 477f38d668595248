"""Every order ends, or is reported as 'outcome unknown', whatever its broker, its gates and its lane do."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from headrace import Engine, Instrument, Strategy, StrategySpec
from headrace.bus.lane import LaneOptions
from headrace.errors import LaneFullError
from headrace.limits import FLATTEN_S
from headrace.market.events import (
    Audit,
    Lane,
    OrderAccepted,
    OrderCanceled,
    OrderFilled,
    OrderRejected,
    PositionChanged,
)
from headrace.trading.brokers import SimulatedBroker
from headrace.trading.orders import OrderState
from tests.support.engines import LIMITS, START, Recorder, engine_over, market
from tests.support.feeding import BTC
from tests.support.trading import Desk, SilentBroker

D = Decimal


def silent() -> tuple[Desk, SilentBroker]:
    broker = SilentBroker()
    desk = Desk(broker=broker)
    desk.quote(99.0, 101.0)
    return desk, broker


def held(desk: Desk, quantity: int) -> None:
    """Have the strategy hold so much, by a fill that the broker reports."""
    order = desk.order(desk.ask(1 if quantity > 0 else -1, abs(quantity)))
    done: dict[str, Any] = {"quantity": order.quantity, "filled": order.quantity, "left": D(0), "side": order.side}
    ids: dict[str, Any] = {
        "order_id": order.order_id,
        "strategy": "A",
        "instrument": BTC,
        "execution_id": order.order_id,
    }
    desk.bus.publish_nowait(OrderFilled(**ids, **done, price=D(100), fee=D(0)))
    desk.drain()


# Flatten has a deadline


def test_flatten_closes_after_its_deadline_and_names_what_it_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    desk, broker = silent()
    held(desk, 5)
    stuck = desk.ask(1, 2, price=90)
    (closing,) = desk.orders.flatten()
    desk.advance(FLATTEN_S - 0.1)
    assert desk.orders.order(closing) is None
    desk.advance(0.2)
    sent = broker.submitted[-1]
    assert (sent.order_id, sent.side, sent.quantity, sent.reduce_only) == (closing, -1, D(5), True)
    (audit,) = desk.of(Audit)
    assert (audit.action, audit.target, audit.outcome) == ("Flatten", f"A {BTC}", "failed")
    assert f"{stuck} (pending_cancel) did not end within 5 s" in audit.reason
    assert audit.reason in caplog.text
    # It is done: the order is over later, and nothing is sent again.
    sent_before = len(broker.submitted)
    desk.bus.publish_nowait(OrderCanceled(order_id=stuck, strategy="A", instrument=BTC, left=D(2)))
    desk.drain()
    desk.advance(60)
    assert (len(broker.submitted), len(desk.of(Audit))) == (sent_before, 1)


def test_flatten_never_closes_what_a_stuck_order_may_close() -> None:
    desk, broker = silent()
    held(desk, 5)
    desk.ask(-1, 5, price=110)
    (closing,) = desk.orders.flatten()
    desk.advance(FLATTEN_S)
    assert (desk.order(closing).state, desk.order(closing).gate) == (OrderState.REJECTED, "permission")
    assert broker.submitted[-1].order_id != closing


def test_each_flatten_has_its_own_deadline() -> None:
    desk, _ = silent()
    stuck = [desk.ask(1, 2, price=90, strategy=name) for name in ("A", "B")]
    desk.orders.flatten(strategy="A")
    desk.advance(3)
    desk.orders.flatten(strategy="B")
    for seconds, overdue in ((1.9, 0), (0.1, 1), (2.9, 1), (0.1, 2)):
        desk.advance(seconds)
        assert [audit.reason.split()[0] for audit in desk.of(Audit)] == stuck[:overdue]


def test_flatten_in_time_says_nothing() -> None:
    desk, broker = silent()
    held(desk, 5)
    resting = desk.ask(1, 2, price=90)
    (closing,) = desk.orders.flatten()
    desk.bus.publish_nowait(OrderCanceled(order_id=resting, strategy="A", instrument=BTC, left=D(2)))
    desk.drain()
    assert broker.submitted[-1].order_id == closing
    desk.advance(FLATTEN_S)
    assert desk.of(Audit) == []


def test_flatten_says_that_the_outcome_of_an_order_is_unknown() -> None:
    desk, broker = silent()
    broker.raises = SystemExit(3)
    order = desk.ask(1, 2)
    broker.raises = None
    assert desk.orders.stats().unknown == 1
    assert desk.order(order).is_unknown
    desk.orders.flatten()
    desk.advance(FLATTEN_S)
    (audit,) = desk.of(Audit)
    assert f"{order} (pending_cancel: outcome unknown: broker silent raised SystemExit in" in audit.reason


def test_answer_of_the_broker_ends_the_unknown() -> None:
    desk, broker = silent()
    broker.raises = OSError("timeout")
    order = desk.ask(1, 2)
    desk.bus.publish_nowait(OrderAccepted(order_id=order, strategy="A", instrument=BTC))
    desk.drain()
    assert (desk.order(order).is_unknown, desk.order(order).reason, desk.orders.stats().unknown) == (False, "", 0)


class Deaf(SimulatedBroker):
    """Accepts orders, and answers no cancel."""

    def cancel(self, order_id: str, cause: object = None) -> None: ...


def test_flatten_ends_in_a_replay_without_another_event_of_an_order() -> None:
    """A timer of the clock ends the wait, since nothing else comes."""
    strategy = Recorder({1: lambda own: own.buy(BTC, 1), 3: lambda own: own.buy(BTC, 1, price="50")})
    engine = Engine(
        feeds=market([100.0] * 80),
        strategies=strategy,
        broker=Deaf(),
        instruments=[Instrument(BTC, D("0.01"), D("0.001"))],
        limits=LIMITS,
        mode="replay",
    )
    strategy.acts[5] = lambda _: engine.orders.flatten()
    engine.run()
    bought, sold = strategy.fills
    assert (bought.side, sold.side) == (1, -1)
    # At the quote of that time, which comes behind the timers of its time.
    assert sold.ts == START + 400_000_000 + int(FLATTEN_S * 1e9)


class Clocked(Strategy):
    """Sets a timer, as any strategy may, whatever it is called."""

    def on_start(self) -> None:
        self.set_timer("broker", after="1h")
        self.set_timer("due", after="1h")


def test_strategy_called_broker_takes_no_timer_of_the_broker() -> None:
    buyer = Recorder({1: lambda own: own.buy(BTC, 1, price="50", expires_after="1s")})
    broker_named = Clocked()
    buyer.acts[3] = lambda _: broker_named.set_timer("due", after="1h")

    engine = Engine(
        feeds=market([100.0] * 30),
        strategies=[buyer, StrategySpec(strategy=broker_named, name="broker")],
        broker=SimulatedBroker(),
        instruments=[Instrument(BTC, D("0.01"), D("0.001"))],
        limits=LIMITS,
        mode="replay",
    )
    engine.run()
    assert engine.orders.stats().expired == 1


# A full lane leaves no order without its end


def crowded(broker: Any) -> Desk:
    desk = Desk(broker=broker, lanes={Lane.ORDER: LaneOptions(capacity=4)})
    desk.quote(99.0, 101.0)
    return desk


def fill_lane(desk: Desk) -> None:
    """Publish events of no order until the lane takes no more."""
    zero: dict[str, Any] = dict.fromkeys(("quantity", "average_price", "realized_pnl", "fees"), D(0))
    with suppress(LaneFullError):
        while True:
            desk.bus.publish_consequence(PositionChanged(strategy="N", instrument=BTC, ts=1, **zero))


def test_order_canceled_before_it_was_sent_ends_though_the_lane_is_full() -> None:
    desk = crowded(SilentBroker())
    order = desk.submit(1, 1)
    desk.orders.cancel(order)
    fill_lane(desk)
    desk.drain()
    assert desk.order(order).state is OrderState.CANCELED


@pytest.mark.parametrize("quantity", [1, 2])
def test_simulated_broker_answers_later_where_the_lane_is_full(quantity: int) -> None:
    desk = crowded(SimulatedBroker())
    order = desk.submit(1, quantity)
    fill_lane(desk)
    desk.drain()
    assert not desk.order(order).is_unknown
    desk.quote(99.0, 101.0, ask_size=5.0)
    assert desk.told(order) == ["OrderRequested", "OrderAccepted", "OrderFilled"]
    assert desk.order(order).state is OrderState.FILLED
    assert desk.orders.refused_events == 0


def test_cancel_waits_behind_an_answer_that_found_no_room() -> None:
    desk = crowded(SimulatedBroker())
    order = desk.submit(1, 1, price=90)
    fill_lane(desk)
    desk.drain()
    desk.orders.cancel(order)
    desk.quote(99.0, 101.0)
    assert desk.told(order) == ["OrderRequested", "OrderAccepted", "OrderCanceled"]
    assert desk.orders.refused_events == 0


def test_rejection_of_the_broker_waits_for_room() -> None:
    broker = SimulatedBroker(slippage_ticks=1)
    desk = Desk(
        broker=broker, instruments=(Instrument(BTC, None, D("0.1")),), lanes={Lane.ORDER: LaneOptions(capacity=4)}
    )
    desk.quote(99.0, 101.0)
    order = desk.submit(1, 1)
    fill_lane(desk)
    desk.drain()
    desk.quote(99.0, 101.0)
    assert (desk.order(order).state, desk.order(order).gate) == (OrderState.REJECTED, "broker")
    assert [event.order_id for event in desk.of(OrderRejected)] == [order]


def test_report_says_how_many_outcomes_are_unknown() -> None:
    engine = Engine(
        feeds=market([100.0] * 3),
        strategies=Recorder({1: lambda own: own.buy(BTC, 1)}),
        broker=SilentBroker(raises=None),
        instruments=[Instrument(BTC, D("0.01"), D("0.001"))],
        limits=LIMITS,
        mode="replay",
    )
    assert isinstance(engine.orders.broker, SilentBroker)
    engine.orders.broker.raises = OSError("timeout")
    engine.orders.broker.attach = lambda _: None  # type: ignore[method-assign, assignment]
    report = engine.run()
    assert report.strategies["Recorder"].orders.unknown == 1
    assert "1 (1 unknown)" in str(report)
    assert report.to_dict()["strategies"]["Recorder"]["orders"]["unknown"] == 1


@pytest.mark.asyncio
async def test_repeat_closes_after_the_deadline_as_the_live_run_did(tmp_path: Path) -> None:
    log = tmp_path / "run.log"

    async def run(**options: Any) -> list[tuple[str, int, int]]:
        strategy = Recorder({1: lambda own: own.buy(BTC, 1), 3: lambda own: own.buy(BTC, 1, price="50")})
        engine = engine_over(market([100.0] * 80), [strategy], broker=Deaf(), dispatch_log=log, **options)
        strategy.acts[5] = lambda _: engine.orders.flatten()
        report = await engine.run_async()
        assert report.repeated is None or report.repeated.same, report.repeated
        return [(fill.order_id, fill.side, fill.quote.first) for fill in strategy.fills if fill.quote]

    live = await run(mode="live", speed=20.0, state_folder=tmp_path / "state")
    assert [side for _, side, _ in live] == [1, -1]
    assert await run(mode="repeat") == live
