"""Services over the bus: what is built in and what replaces it, a user's own, and the order of a run with them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace
from headrace import Engine, EventBus, Strategy
from headrace.bus import Consumer
from headrace.bus.audit import AuditStats
from headrace.engine.service import Service, ServiceContext
from headrace.errors import AuditError, ClosedError, ConfigError, DeadlockError, EngineError, OptionError
from headrace.market.event_json import encode_event
from headrace.market.events import (
    Control,
    Event,
    Lane,
    OrderAccepted,
    OrderFilled,
    OrderRejected,
    OrderRequested,
    Signal,
)
from headrace.strategies.runner import StrategyRunner
from headrace.trading.risk import GateRequest, GateVerdict
from tests.support.engines import Recorder, all_events, audit_lines, engine_over, market
from tests.support.feeding import BTC

BUILT_IN = ["StrategyRunner", "RiskEngine", "ExecutionSimulator", "AuditRunner"]


class Half:
    """A risk engine that lets half of each order pass."""

    def __init__(self) -> None:
        self.asked: list[GateRequest] = []

    def judge(self, request: GateRequest) -> GateVerdict:
        self.asked.append(request)
        half = request.order.quantity / 2
        return GateVerdict(passed=True, observed=request.order.quantity, threshold=half, quantity=half)

    def metrics(self) -> dict[str, float]:
        return {"asked": len(self.asked)}


class Kept:
    """An audit in memory; it notes its life in ``said``."""

    def __init__(self, said: list[str] | None = None) -> None:
        self.said = [] if said is None else said
        self.lines: list[bytes] = []
        self.bus: EventBus | None = None
        self.failure: AuditError | None = None

    def attach(self, bus: EventBus) -> None:
        self.said.append("audit attached")
        self.bus = bus
        bus.subscribe(Event, lambda event: self.lines.append(encode_event(event)), name="kept")

    def check(self) -> None:
        if self.failure is not None:
            raise self.failure

    def close(self) -> None:
        assert self.bus is not None
        with pytest.raises(ClosedError):
            self.bus.publish_nowait(Control(name="LATE"))
        self.said.append("audit closed behind the bus")

    def stats(self) -> AuditStats:
        return AuditStats(written=len(self.lines), buffered=0, lost=0, bytes=0, state="ok", reason="")


# Built in


def test_the_four_built_in_services_are_listed_and_measured(tmp_path: Path) -> None:
    strategy = Recorder({2: lambda own: own.buy(BTC, 1), 3: lambda own: own.buy(BTC, 1_000_000)})
    engine = engine_over(market([100] * 5), [strategy], audit=tmp_path / "audit")
    report = engine.run()
    assert list(report.services) == BUILT_IN
    assert {own.health for own in report.services.values()} == {"ok"}
    measured = {name: own.metrics for name, own in report.services.items()}
    assert measured["StrategyRunner"]["strategies"] == 1
    heard = (strategy.quotes, strategy.calls, strategy.orders, strategy.fills)
    assert measured["StrategyRunner"]["calls"] == sum(len(own) for own in heard)
    assert measured["RiskEngine"] == {"passed": 1, "refused": 1}
    assert measured["ExecutionSimulator"] == {"orders": 1, "open": 0, "fills": 1}
    assert measured["AuditRunner"]["written"] == len(audit_lines(tmp_path / "audit"))
    samples = {(own.name, *own.labels): own.value for own in engine.metrics.snapshot()}
    assert all(samples["headrace_service_healthy", name] == 1 for name in BUILT_IN)
    assert samples["headrace_service_value", "RiskEngine", "refused"] == 1
    assert "ExecutionSimulator" in str(report)
    assert report.to_dict()["services"]["RiskEngine"]["metrics"] == {"passed": 1.0, "refused": 1.0}


def test_only_what_an_engine_has_is_listed() -> None:
    assert list(engine_over(market([100]), broker=None).run().services) == BUILT_IN[:2]


def test_a_service_may_not_have_the_name_of_a_built_in_one() -> None:
    class RiskEngine(Service):
        pass

    with pytest.raises(EngineError, match="service name 'RiskEngine' is taken"):
        engine_over(market([100]), services=[RiskEngine()])


def test_an_audit_that_fails_is_not_healthy() -> None:
    class Failing(Kept):
        def stats(self) -> AuditStats:
            return AuditStats(written=0, buffered=0, lost=7, bytes=0, state="failing", reason="disk full")

    report = engine_over(market([100]), audit=Failing()).run()
    assert report.services["AuditRunner"].health == "failing: disk full"


# Replaced at the same call


def test_a_risk_engine_judges_each_order_once_inside_of_buy() -> None:
    half, inside = Half(), []

    def buys(own: Recorder) -> None:
        own.buy(BTC, 4)
        inside.append(len(half.asked))

    strategy = Recorder({2: buys, 3: buys})
    engine = engine_over(market([100] * 5), [strategy], gates=half, limits=None)
    events = all_events(engine)
    report = engine.run()
    assert inside == [1, 2]
    assert len(half.asked) == 2
    (first, second) = [own for own in events if isinstance(own, OrderRequested)]
    assert (first.quantity, first.requested_quantity, first.verdict) == (Decimal(2), Decimal(4), "passed")
    of_first = [type(own) for own in events if getattr(own, "order_id", "") == first.order_id]
    assert of_first == [OrderRequested, OrderAccepted, OrderFilled]
    assert [fill.quantity for fill in strategy.fills] == [Decimal(2), Decimal(2)]
    assert second.cause is not None
    assert report.services["RiskEngine"].metrics == {"passed": 2, "refused": 0, "asked": 2}
    assert list(engine.orders.gates.counts()) == ["halted", "permission", "risk_engine"]


def test_events_are_the_same_with_a_risk_engine_in_place_of_limits() -> None:
    """No order makes another trip over the bus: neither an event nor a place in the order is added."""

    class Lenient:
        def judge(self, request: GateRequest) -> GateVerdict:
            return GateVerdict(passed=True, observed=1, threshold=1)

    def audited(**options: Any) -> list[bytes]:
        kept = Kept()
        strategy = Recorder({n: (lambda own: own.buy(BTC, "0.25")) for n in range(5, 100, 7)})
        engine_over(market(range(100, 200)), [strategy], audit=kept, **options).run()
        return kept.lines

    assert audited(gates=Lenient()) == audited()


def test_a_refusal_of_a_risk_engine_says_what_it_saw() -> None:
    class Closed:
        def judge(self, request: GateRequest) -> GateVerdict:
            return GateVerdict(passed=False, observed="sunday", threshold="a weekday", reason="closed: wait for monday")

    strategy = Recorder({1: lambda own: own.buy(BTC, 1)})
    engine_over(market([100] * 2), [strategy], gates=Closed()).run()
    (refused,) = [own for own in strategy.orders if isinstance(own, OrderRejected)]
    assert (refused.gate, refused.observed, refused.threshold) == ("risk_engine", "sunday", "a weekday")


def test_a_risk_engine_that_raises_refuses_and_is_named() -> None:
    class Broken:
        def judge(self, request: GateRequest) -> GateVerdict:
            raise ZeroDivisionError("no equity")

    strategy = Recorder({1: lambda own: own.buy(BTC, 1)})
    engine_over(market([100] * 2), [strategy], gates=Broken()).run()
    (refused,) = [own for own in strategy.orders if isinstance(own, OrderRejected)]
    assert "raised ZeroDivisionError: no equity, in Broken.judge" in refused.reason


@pytest.mark.parametrize("verdict", [True, None, GateVerdict(True, 1, 1, "", Decimal(5))])
def test_a_wrong_answer_of_a_risk_engine_refuses(verdict: object) -> None:
    class Odd:
        def judge(self, request: GateRequest) -> Any:
            return verdict

    strategy = Recorder({1: lambda own: own.buy(BTC, 1)})
    engine_over(market([100] * 2), [strategy], gates=Odd()).run()
    (refused,) = [own for own in strategy.orders if isinstance(own, OrderRejected)]
    assert "TypeError: judge" in refused.reason


def test_a_risk_engine_is_not_asked_for_what_no_broker_could_price() -> None:
    half = Half()
    strategy = Recorder({1: lambda own: own.buy("NOPE.NOWHERE", 1)})
    engine_over(market([100] * 2), [strategy], gates=half).run()
    (refused,) = [own for own in strategy.orders if isinstance(own, OrderRejected)]
    assert "NOPE.NOWHERE is unknown" in refused.observed
    assert not half.asked


def test_the_permission_holds_in_front_of_a_risk_engine() -> None:
    class Late(Recorder):
        def on_stop(self) -> None:
            self.buy(BTC, 1)

    half, strategy = Half(), Late()
    engine = engine_over(market([100] * 2), [strategy], gates=half)
    events = all_events(engine)
    engine.run()
    (refused,) = [own for own in events if isinstance(own, OrderRejected)]
    assert refused.gate == "permission"
    assert not half.asked


def test_cash_and_warm_up_come_behind_a_risk_engine() -> None:
    engine = engine_over(market([100]), gates=Half(), warmup="1d", cash={"USDT": 100})
    assert list(engine.orders.gates.counts()) == ["halted", "permission", "risk_engine", "warmup", "cash"]


def test_a_runner_of_ones_own_runs_each_strategy() -> None:
    begun: list[str] = []

    class Telling(StrategyRunner):
        async def begin(self, *, load: object = None) -> None:
            begun.append(self.name)
            await super().begin(load=load)

    first, second = Recorder(), Recorder()
    engine_over(market([100] * 3), [first, second], runner=Telling).run()
    assert begun == ["Recorder", "Recorder-2"]
    assert first.quotes == second.quotes == [1, 2, 3]


def test_an_audit_of_ones_own_gets_what_the_file_would(tmp_path: Path) -> None:
    def run(audit: object) -> None:
        strategy = Recorder({n: (lambda own: own.buy(BTC, "0.25")) for n in range(5, 40, 7)})
        engine_over(market(range(100, 140)), [strategy], audit=audit).run()

    kept = Kept()
    run(kept)
    run(tmp_path / "audit")
    assert kept.lines == audit_lines(tmp_path / "audit")


def test_an_audit_that_cannot_record_ends_a_replay() -> None:
    class Full(Kept):
        def attach(self, bus: EventBus) -> None:
            super().attach(bus)
            self.failure = AuditError("the queue is full", path="queue", line=0)

    with pytest.raises(AuditError, match="the queue is full"):
        engine_over(market(range(100, 200)), [Recorder()], audit=Full()).run()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"gates": object()}, "is no risk engine: pass an object with a method judge"),
        ({"gates": Half}, "is no risk engine: pass an object with a method judge"),
        ({"runner": Recorder}, "a subclass of headrace.strategies.runner.StrategyRunner"),
        ({"runner": "mine:Runner"}, "runner"),
        ({"audit": object()}, "audit"),
    ],
)
def test_what_is_no_such_part_is_refused(options: Mapping[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        engine_over(market([100]), **options)


PARTS = """
from headrace.bus.audit import AuditStats
from headrace.strategies.runner import StrategyRunner
from headrace.trading.risk import GateVerdict

class Telling(StrategyRunner):
    pass

class Share:
    def __init__(self, share: float) -> None:
        self.share = share

    def judge(self, request):
        return GateVerdict(request.order.quantity < 10, request.order.quantity, "below 10", "too large: send less")

class Counting:
    def attach(self, bus): self.bus = bus
    def check(self): pass
    def close(self): pass
    def stats(self): return AuditStats(written=42, buffered=0, lost=0, bytes=0, state="ok", reason="")
"""
CONFIG = """
[[feeds]]
kind = "synthetic"
options = { symbols = ["BTCUSDT"], frames = 200 }

[broker]

[runner]
use = "parts.py:Telling"

[gates]
use = "parts.py:Share"
parameters = { share = 0.5 }

[audit]
use = "parts.py:Counting"

[instruments."BTCUSDT.BINANCE"]
price_tick = 0.01
lot_size = 0.00001
"""


def test_each_part_is_replaced_by_its_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from headrace.app.build import past_options
    from headrace.app.check import findings
    from headrace.app.config import load_config

    monkeypatch.chdir(tmp_path)
    Path("parts.py").write_text(PARTS)
    Path("own.toml").write_text(CONFIG)
    config = load_config("own.toml")
    assert not [own for own in findings(config) if own.is_wrong]
    options = past_options(config)
    assert options["runner"].__name__ == "Telling"
    report = Engine(**options).run()
    assert report.services["AuditRunner"].metrics["written"] == 42
    assert type(options["gates"]).__name__ == "Share"
    Path("own.toml").write_text(CONFIG.replace("parts.py:Telling", "parts.py:Share"))
    with pytest.raises(ConfigError, match=r"\$\.runner: .*Share is no runner: derive a class from"):
        past_options(load_config("own.toml"))
    Path("own.toml").write_text(CONFIG.replace("parts.py:Share", "parts.py:Counting").replace("share = 0.5", ""))
    with pytest.raises(ConfigError, match=r"\$\.gates: .*Counting is no RiskEngine: it lacks judge"):
        past_options(load_config("own.toml"))


# A user's own


class Counted(Event, frozen=True, kw_only=True):
    """So many quotes were seen."""

    quotes: int


class Counting(Strategy):
    """Publishes the number of each quote."""

    def __init__(self, said: list[str]) -> None:
        self.said = said

    def on_quote(self, seq: int) -> None:
        self.said.append(f"quote {seq}")
        self.signal(BTC, 1, strength=1.0)


class Plain(Service):
    """Takes each signal by a plain handler and publishes an event of its own."""

    def __init__(self, said: list[str]) -> None:
        self.said, self.count = said, 0

    async def setup(self, context: ServiceContext) -> None:
        self.bus = context.bus
        context.bus.subscribe(Signal, self._take, name="plain")

    def _take(self, _signal: Event) -> None:
        self.count += 1
        self.bus.publish_nowait(Counted(quotes=self.count))


class Pulling(Service):
    """Pulls these events until EOF, and takes its time with each."""

    def __init__(self, said: list[str]) -> None:
        self.said, self.taken = said, 0

    async def setup(self, context: ServiceContext) -> None:
        self.events: Consumer = context.bus.consumer((Counted, Control), name="pulling")

    async def run(self) -> None:
        while True:
            async with self.events.consume() as envelope:
                event = envelope.event
                if isinstance(event, Control):
                    if event.name == "EOF":
                        self.said.append("EOF")
                        return
                    continue
                assert isinstance(event, Counted)
                for _ in range(3):
                    await asyncio.sleep(0)
                self.taken += 1
                self.said.append(f"counted {event.quotes}")

    def metrics(self) -> dict[str, float]:
        return {"taken": self.taken}


def test_the_barrier_waits_for_plain_and_pulling_services() -> None:
    said: list[str] = []
    engine = engine_over(
        market([100, 101, 102], every_ns=7),
        [Counting(said)],
        services=[Plain(said), Pulling(said)],
        event_types={Counted: Lane.SIGNAL},
    )
    report = engine.run()
    assert said == ["quote 1", "counted 1", "quote 2", "counted 2", "quote 3", "counted 3", "EOF"]
    assert report.services["Pulling"].health == "ended"
    assert report.services["Pulling"].metrics == {"taken": 3}
    assert list(report.services) == [*BUILT_IN[:3], "Plain", "Pulling"]


def test_services_of_a_backtest_end_with_its_data() -> None:
    said: list[str] = []
    result = headrace.backtest(
        Counting(said),
        market([100, 101, 102]),
        services=[Plain(said), Pulling(said)],
        event_types={Counted: Lane.SIGNAL},
        gates=Half(),
    )
    assert said[-2:] == ["counted 3", "EOF"]
    assert result.report is not None
    assert result.report.services["Pulling"].metrics == {"taken": 3}
    assert result.report.services["RiskEngine"].metrics["asked"] == 0


def test_a_service_that_never_releases_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Holding(Pulling):
        async def run(self) -> None:
            async with self.events.consume():
                await asyncio.Event().wait()

    monkeypatch.setattr("headrace.engine.loop.replay.BARRIER_S", 0.2)
    said: list[str] = []
    engine = engine_over(
        market([100, 101]),
        [Counting(said)],
        services=[Plain(said), Holding(said)],
        event_types={Counted: Lane.SIGNAL},
    )
    with pytest.raises(DeadlockError, match=r"pulling holds .* and is still handling it") as raised:
        engine.run()
    assert raised.value.holder == "pulling"


# The order of a run


class Told(Service):
    """Says what becomes of it."""

    def __init__(self, name: str, said: list[str]) -> None:
        self._name, self.said = name, said
        self.over = asyncio.Event()

    @property
    def name(self) -> str:
        return self._name

    async def setup(self, context: ServiceContext) -> None:
        self.said.append(f"{self.name} set up")

    async def run(self) -> None:
        self.said.append(f"{self.name} runs")
        await self.over.wait()
        self.said.append(f"{self.name} leaves")

    async def stop(self) -> None:
        self.over.set()


class ToldFeed:
    """A feed of two quotes that says when it is opened and closed."""

    name = "told"
    venue = None

    def __init__(self, said: list[str]) -> None:
        self.said = said

    async def open(self) -> None:
        self.said.append("feed opened")

    async def close(self) -> None:
        self.said.append("feed closed")

    async def __aiter__(self) -> AsyncIterator[np.ndarray]:
        yield market([100, 101])


class ToldStrategy(Strategy):
    def __init__(self, said: list[str]) -> None:
        self.said = said

    def on_start(self) -> None:
        self.said.append("on_start")

    def on_quote(self, seq: int) -> None:
        self.said.append(f"quote {seq}")

    def on_stop(self) -> None:
        self.said.append("on_stop")


def test_a_run_goes_through_its_phases_in_order(caplog: pytest.LogCaptureFixture) -> None:
    said: list[str] = []
    engine = Engine(
        feeds=[ToldFeed(said)],
        strategies=[ToldStrategy(said)],
        services=[Told("first", said), Told("second", said)],
        audit=Kept(said),
        mode="replay",
    )
    engine.bus.subscribe(Control, lambda event: said.append(event.name), name="controls")
    with caplog.at_level(logging.INFO):
        engine.run()
    assert said == [
        # Set up
        *("audit attached", "feed opened", "first set up", "second set up", "on_start"),
        # Wired: a task for each service
        *("first runs", "second runs", "ENGINE_READY"),
        # Executed
        *("quote 1", "quote 2"),
        # Torn down: services leave after EOF, last one first, and the audit is the last to be closed
        *("feed closed", "STOPPING", "on_stop", "EOF", "second leaves", "first leaves", "audit closed behind the bus"),
    ]
    assert "is ready: run replay" in caplog.text
