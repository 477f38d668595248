"""What a user's broker or gate raises, of whatever type, names that object, fails closed and stops no strategy."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from headrace import Engine, Instrument, Strategy, ticks
from headrace.cli.app import run
from headrace.errors import BrokerError, OptionError
from headrace.market.events import Cause, OrderRequested
from headrace.trading.brokers import BrokerContext, SimulatedBroker
from headrace.trading.orders import OrderState
from headrace.trading.risk import GateRequest, GateVerdict
from tests.support.trading import WIDE, Desk, SilentBroker, simulated

D = Decimal
S = 1_000_000_000
ACME = "ACME.BINANCE"


class HostileError(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


RAISED: list[BaseException] = [
    ValueError("no"),
    StopIteration("no"),
    StopAsyncIteration("no"),
    GeneratorExit("no"),
    asyncio.CancelledError("no"),
    SystemExit(3),
    BaseExceptionGroup("no", [SystemExit(1)]),
    ExceptionGroup("no", [ValueError("no")]),
    HostileError(),
    AssertionError(),
]
IDS = [type(error).__name__ for error in RAISED]


class Trader(Strategy):
    """Buys at each quote."""

    def on_quote(self) -> None:
        self.buy(ACME, 1)


class Watcher(Strategy):
    def __init__(self) -> None:
        self.quotes = 0

    def on_quote(self) -> None:
        self.quotes += 1


class Mine:
    """A broker that raises in one method."""

    name = "mine"

    def __init__(self, place: str, error: BaseException) -> None:
        self.place = place
        self.error = error

    def _at(self, place: str) -> None:
        if place == self.place:
            raise self.error

    def attach(self, context: BrokerContext) -> None:
        self._at("attach")
        if self.place == "call_at":
            assert context.call_at is not None
            context.call_at(2 * S, lambda: self._at("call_at"))

    def submit(self, order: OrderRequested) -> None:
        self._at("submit")

    def cancel(self, order_id: str, cause: Cause | None = None) -> None:
        self._at("cancel")

    def close(self) -> None:
        self._at("close")


def engine_with(broker: Any, *more: Strategy) -> Engine:
    return Engine(
        mode="replay",
        feeds=ticks(
            instrument=ACME,
            ts_init=[S, 2 * S, 3 * S],
            bid_price=[100.0] * 3,
            ask_price=[100.1] * 3,
            bid_size=[5.0] * 3,
            ask_size=[5.0] * 3,
        ),
        strategies=[Trader(), *more],
        broker=broker,
        instruments=[Instrument(ACME, price_tick=D("0.01"), lot_size=D("0.1"))],
        limits=WIDE,
    )


@pytest.mark.parametrize("error", RAISED, ids=IDS)
@pytest.mark.parametrize("place", ["attach", "close", "call_at"])
def test_a_broker_that_raises_beside_orders_ends_the_run_by_its_name(place: str, error: BaseException) -> None:
    with pytest.raises(BrokerError, match=f"broker mine raised {type(error).__name__} in Mine.{place}: ") as raised:
        engine_with(Mine(place, error)).run()
    assert (raised.value.broker, raised.value.call, raised.value.__cause__) == ("mine", place, error)


@pytest.mark.parametrize("error", RAISED, ids=IDS)
def test_a_submit_that_raises_leaves_the_order_open_and_stops_no_strategy(error: BaseException) -> None:
    watcher = Watcher()
    engine = engine_with(Mine("submit", error), watcher)
    engine.run()
    orders = engine.orders.orders()
    assert len(orders) == 3
    # Whether the broker has them is unknown, so they are not over.
    assert all(order.is_open and order.is_sent for order in orders)
    named = f"broker mine raised {type(error).__name__} in Mine.submit"
    assert all(order.reason.startswith(f"outcome unknown: {named}") for order in orders)
    assert [letter.reason.startswith(f"BrokerError: {named}") for letter in engine.dead_letters] == [True] * 3
    assert (watcher.quotes, engine.report().strategies["Trader"].faults) == (3, 0)


@pytest.mark.parametrize("error", RAISED, ids=IDS)
def test_a_cancel_that_raises_leaves_the_order_as_it_was(error: BaseException) -> None:
    broker = SilentBroker()
    desk = Desk(broker=broker)
    desk.quote(99.0, 101.0)
    order = desk.ask()
    broker.raises = error
    with pytest.raises(BrokerError, match=f"broker silent raised {type(error).__name__} in SilentBroker.cancel"):
        desk.orders.cancel(order)
    assert desk.order(order).state is OrderState.SUBMITTED
    with pytest.raises(BrokerError):
        desk.orders.cancel_all()


def test_a_broker_whose_methods_return_awaitables_is_named() -> None:
    class Wrapped(SilentBroker):
        def submit(self, order: OrderRequested) -> None:
            async def later() -> None:
                raise AssertionError("never awaited")

            return later()  # type: ignore[return-value]

    engine = engine_with(Wrapped())
    engine.run()
    assert "since a broker's methods return at once" in engine.orders.orders()[0].reason


def test_the_command_line_does_not_call_it_an_error_of_headrace(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    monkeypatch.chdir(tmp_path)
    assert run(["config", "new", "mine.toml"]) == 0
    text = (tmp_path / "mine.toml").read_text()
    (tmp_path / "broken.py").write_text(
        "class Broken:\n    name = 'broken'\n"
        "    def attach(self, context):\n        raise StopIteration('no')\n"
        "    def submit(self, order): ...\n    def cancel(self, order_id, cause=None): ...\n    def close(self): ...\n"
    )
    (tmp_path / "mine.toml").write_text(text.replace('use = "simulated"', 'use = "broken:Broken"'))
    monkeypatch.syspath_prepend(str(tmp_path))
    capsys.readouterr()
    assert run(["backtest", "mine.toml"]) == 1
    told = capsys.readouterr().err
    assert "broker broken raised StopIteration in Broken.attach: no" in told
    assert "error of headrace" not in told


class Own:
    """A gate of a user's."""

    name = "own"

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def check(self, request: GateRequest) -> GateVerdict:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer  # type: ignore[no-any-return]


class NoText:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


async def later() -> GateVerdict:
    return GateVerdict(passed=True, observed=0, threshold=0)


def answers() -> list[Any]:
    """What no gate may answer, and what it may raise."""
    wrong = [None, True, False, 1, "passed", (True, 0, 0, ""), GateVerdict(1, 0, 0), GateVerdict(None, 0, 0)]  # type: ignore[arg-type]
    texts = [GateVerdict(False, NoText(), 0), GateVerdict(True, 0, NoText()), NoText()]
    return [*RAISED, *wrong, *texts]


@pytest.mark.parametrize("answer", answers(), ids=lambda answer: type(answer).__name__)
def test_a_gate_that_gives_no_verdict_refuses_and_is_named(answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    desk = simulated()
    desk.quote(99.0, 101.0)
    desk.gates.add(Own(answer))
    order = desk.order(desk.ask())
    assert (order.state, order.gate) == (OrderState.REJECTED, "own")
    assert "gate own raised" in order.reason
    assert "in Own.check: correct it" in order.reason
    assert "gate own raised on order" in caplog.text
    assert desk.gates.counts()["own"] == (0, 1)
    assert desk.gates.records()[-1].gate == "own"


def test_a_gate_that_returns_an_awaitable_refuses() -> None:
    class Wrapped:
        name = "own"

        def check(self, request: GateRequest) -> GateVerdict:
            async def later() -> GateVerdict:
                return GateVerdict(passed=True, observed=0, threshold=0)

            return later()  # type: ignore[return-value]

    desk = simulated()
    desk.quote(99.0, 101.0)
    desk.gates.add(Wrapped())
    order = desk.order(desk.ask())
    assert (order.gate, "since a gate answers at once" in order.reason) == ("own", True)


def test_a_gate_that_says_no_in_its_own_values_refuses_with_their_text() -> None:
    desk = simulated()
    desk.quote(99.0, 101.0)
    desk.gates.add(Own(GateVerdict(False, D(5), None, reason="wait")))
    order = desk.order(desk.ask())
    assert (order.gate, order.reason) == ("own", "wait")


@pytest.mark.parametrize("gate", [None, object(), Own, SimulatedBroker()])
def test_what_is_no_gate_is_not_added(gate: Any) -> None:
    with pytest.raises(OptionError, match="is no gate"):
        simulated().gates.add(gate)


def test_a_gate_keeps_the_name_it_was_added_with() -> None:
    desk, gate = simulated(), Own(GateVerdict(True, 0, 0))
    desk.quote(99.0, 101.0)
    desk.gates.add(gate)
    gate.name = "other"
    desk.ask()
    assert desk.gates.counts()["own"] == (1, 0)
