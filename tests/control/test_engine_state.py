"""The state document of a running engine: what it says is what the engine says."""

from __future__ import annotations

import asyncio
import json
import math
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pytest

from headrace import Engine, RiskLimits
from headrace.commands import Halt, PauseStrategy
from headrace.control.plain import plain
from headrace.control.stream.engine_state import EngineState
from headrace.trading.brokers.simulated import SimulatedBroker
from tests.support.engines import FAST, LIMITS, SECOND, START, Recorder, engine_over, market
from tests.support.feeding import BTC

pytestmark = pytest.mark.asyncio


def buying(strategy: Recorder) -> None:
    strategy.buy(BTC, 1)


def resting(strategy: Recorder) -> None:
    strategy.buy(BTC, 2, price=50)


async def drained(engine: Engine, strategy: Recorder, quotes: int) -> None:
    async with asyncio.timeout(20):
        while len(strategy.quotes) < quotes:  # noqa: ASYNC110 - a strategy has no event to wait for
            await asyncio.sleep(0.01)
        while engine.bus.unfinished:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)


def live_engine(*strategies: Recorder, **options: Any) -> Engine:
    """Five quotes, and one of months later, for which it waits."""
    ticks = [market([100.0, 101.0, 102.0, 103.0, 104.0]), market([104.0], start_ns=START + 10**7 * SECOND)]
    return engine_over(np.concatenate(ticks), list(strategies), mode="live", speed=FAST, **options)


async def test_document_agrees_with_the_engine() -> None:
    strategy = Recorder({1: buying, 3: resting})
    engine = live_engine(strategy, cash={"USDT": 1_000}, services=[Waiting()])
    state = EngineState(engine)
    async with engine:
        await drained(engine, strategy, 5)
        document, report = state.read(), engine.report()
    own, row = report.strategies["Recorder"], document["strategies"]["Recorder"]
    for name in ("published", "delivered", "filtered", "missed", "conflated", "skipped", "pending"):
        assert row[name] == getattr(own, name)
    assert (
        row["published"]
        == sum(row[name] for name in ("delivered", "filtered", "missed", "conflated", "skipped")) + (row["pending"])
    )
    assert row["orders"]["submitted"] == 2
    assert row["orders"]["open"] == document["engine"]["open_orders"] == 1
    (order_id,) = own.open_orders
    order = document["orders"][order_id]
    assert (order["side"], order["quantity"], order["price"], order["left"]) == ("buy", "2", "50", "2")
    position = document["positions"][f"Recorder/{BTC}"]
    assert Decimal(position["quantity"]) == 1
    account = document["accounts"]["paper/USDT"]
    assert Decimal(account["equity"]) == engine.account.balance("USDT").equity
    assert account["deposit"] == "1000"
    quote = document["instruments"][BTC]
    assert (quote["bid_price"], quote["ask_price"], quote["spread"]) == (104.0, 105.0, 1.0)
    assert document["lanes"]["order"]["published"] == report.lanes["order"].published  # type: ignore[index]
    assert document["services"]["Waiting"]["health"] == "ok"


class Waiting:
    """A service that waits to be stopped."""

    name = "Waiting"
    restart = "never"

    async def setup(self, context: object) -> None:
        self.stopped = asyncio.Event()

    async def run(self) -> None:
        await self.stopped.wait()

    async def stop(self) -> None:
        self.stopped.set()

    def health(self) -> str:
        return "ok"

    def metrics(self) -> dict[str, float]:
        return {}


class Measured(Waiting):
    """Counts how often it is asked for its metrics."""

    name = "measured"
    asked = 0

    def metrics(self) -> dict[str, float]:
        self.asked += 1
        return {"asked": self.asked}


async def test_services_are_asked_for_their_metrics_by_who_shows_them_alone() -> None:
    service, strategy = Measured(), Recorder()
    engine = live_engine(strategy, services=[service])
    state = EngineState(engine)
    async with engine:
        await drained(engine, strategy, 5)
        assert [state.read()["services"]["measured"]["health"] for _ in range(10)] == ["ok"] * 10
        assert service.asked == 0
        assert engine.report().services["measured"].metrics == {"asked": 1}


async def test_halt_pause_and_money_are_shown(tmp_path: Any) -> None:
    strategy = Recorder()
    engine = live_engine(strategy, state_folder=tmp_path)
    state = EngineState(engine)
    async with engine:
        await drained(engine, strategy, 5)
        before = state.read()["engine"]
        await engine.commands.submit(PauseStrategy("Recorder"), actor="me")
        await engine.commands.submit(Halt("too risky"), actor="me@here/1")
        document = state.read()
    assert (before["state"], before["halted"], before["halt"], before["money"]) == ("running", False, None, "paper")
    assert document["engine"]["halted"]
    assert document["engine"]["halt"]["reason"] == "too risky"
    assert document["engine"]["halt"]["actor"] == "me@here/1"
    assert document["strategies"]["Recorder"]["state"] == "paused"
    assert state.read()["engine"]["state"] == "stopping"


class LiveBroker:
    """Fills orders as a simulated broker does, and does not call its money paper."""

    name = "live"

    def __init__(self) -> None:
        self._inner = SimulatedBroker()
        self.attach = self._inner.attach
        self.submit = self._inner.submit
        self.cancel = self._inner.cancel
        self.close = self._inner.close


async def test_paper_and_live_money_have_rows_of_their_own() -> None:
    rows = []
    for broker in (SimulatedBroker(), LiveBroker()):
        strategy = Recorder({1: buying})
        engine = live_engine(strategy, broker=broker)
        state = EngineState(engine)
        async with engine:
            await drained(engine, strategy, 5)
            rows.append(state.read()["accounts"].keys())
    assert rows == [{"paper/USDT"}, {"live/USDT"}]


async def test_refused_orders_are_counted_by_gate() -> None:
    strategy = Recorder({1: buying})
    limits = msgspec.structs.replace(LIMITS, quantity_max=Decimal("0.5"))
    engine = live_engine(strategy, limits=limits)
    state = EngineState(engine)
    async with engine:
        await drained(engine, strategy, 5)
        document = state.read()
    assert document["strategies"]["Recorder"]["refusals"] == {"quantity_max": 1}
    assert document["gates"]["quantity_max"] == {"passed": 0, "refused": 1}
    assert document["engine"]["refused_orders"] == 1


async def test_document_is_json_that_a_browser_reads_without_loss() -> None:
    strategy = Recorder({1: buying, 3: resting})
    engine = live_engine(strategy, limits=RiskLimits())
    state = EngineState(engine)
    async with engine:
        await drained(engine, strategy, 5)
        document = state.read()
    read = json.loads(json.dumps(document, allow_nan=False))
    assert read == document
    assert list(_wrong(read)) == []
    assert document["clock"]["now_ns"].isdigit()


def _wrong(value: Any) -> Any:
    if isinstance(value, dict):
        for own in value.values():
            yield from _wrong(own)
    elif isinstance(value, int) and abs(value) > 2**53:
        yield value


async def test_plain_values_lose_nothing() -> None:
    assert plain({"a": 2**53 + 1, "b": Decimal("1E-7"), "c": [math.nan, math.inf, 1.5], "d": True, 5: None}) == {
        "a": "9007199254740993",
        "b": "0.0000001",
        "c": [None, None, 1.5],
        "d": True,
        "5": None,
    }


async def test_every_instrument_gets_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    strategy = Recorder()
    names = [f"S{number}.ARRAY" for number in range(50)]
    ticks = [
        market([100.0, 101.0], instrument=name, names=names, start_ns=START + row) for row, name in enumerate(names)
    ]
    last = market([1.0], instrument=names[0], names=names, start_ns=START + 10**7 * SECOND)
    merged = np.concatenate([*ticks, last])
    feed = merged[np.argsort(merged["ts_init"], kind="stable")]
    engine = engine_over(named(feed, names), [strategy], mode="live", speed=FAST, instruments=())
    state = EngineState(engine)
    async with engine:
        await drained(engine, strategy, 100)
        assert all(row["bid_price"] == 101.0 for row in state.read()["instruments"].values())
        monkeypatch.setattr(engine.dispatcher.newest, "quote", lambda _: None)
        counts = [sum("bid_price" in row for row in state.read()["instruments"].values()) for _ in range(3)]
    assert counts == [30, 10, 0]


def named(ticks: Any, names: list[str]) -> Any:
    """An array with the names of its instruments."""
    found = market([1.0], instrument=names[0], names=names).repeat(len(ticks))
    found[:] = ticks
    return found
