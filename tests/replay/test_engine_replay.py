"""An engine in a replay: T is resolved before T + 1, in one order, with the same bytes twice."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import headrace
from headrace import BarSpec, Engine, Strategy
from headrace.bus import replay_events
from headrace.engine.service import Service, ServiceContext
from headrace.errors import EngineError, ServiceError
from headrace.market.events import (
    Bar,
    Control,
    Event,
    Lane,
    OrderAccepted,
    OrderFilled,
    OrderRequested,
    PositionChanged,
    Signal,
    StrategyStateChanged,
)
from tests.support.engines import FAST, SECOND, START, Recorder, all_events, audit_lines, engine_over, market
from tests.support.feeding import BTC, ETH


def test_a_fill_names_the_quote_that_caused_the_order() -> None:
    strategy = Recorder({3: lambda own: own.buy(BTC, "0.5")})
    engine = engine_over(market([100, 101, 102, 103, 104]), [strategy])
    events = all_events(engine)
    report = engine.run()
    (fill,) = strategy.fills
    assert isinstance(fill, OrderFilled)
    # Quote 3 has bid 102; the next one asks 104.
    assert (fill.price, fill.quantity) == (Decimal(104), Decimal("0.5"))
    assert fill.cause is not None
    assert (fill.cause.instrument, fill.cause.kind, fill.cause.first, fill.cause.last) == (BTC, "quote", 3, 3)
    assert fill.cause.ts_init == START + 2 * SECOND // 10
    assert fill.quote is not None
    assert fill.quote.first == 4
    of_order = [type(event) for event in events if getattr(event, "order_id", "") == fill.order_id]
    assert of_order == [OrderRequested, OrderAccepted, OrderFilled]
    assert [event.quantity for event in events if isinstance(event, PositionChanged)] == [Decimal("0.5")]
    own = report.strategies["Recorder"]
    assert own.orders.filled == 1
    assert own.positions[0].quantity == Decimal("0.5")
    # Bought at 104, the last quote is 104 at 105.
    assert own.positions[0].unrealized_pnl == Decimal("0.25")


def test_the_order_of_a_run_is_setup_wiring_execution_teardown() -> None:
    said: list[str] = []

    class Watcher(Service):
        async def setup(self, desk: ServiceContext) -> None:
            said.append("service set up")
            desk.bus.subscribe(Control, lambda event: said.append(event.name), name="watcher")
            self.over = asyncio.Event()

        async def run(self) -> None:
            said.append("service runs")
            await self.over.wait()

        async def stop(self) -> None:
            said.append("service stops")
            self.over.set()

    class Starting(Strategy):
        def on_start(self) -> None:
            said.append("on_start")

        def on_quote(self, seq: int) -> None:
            if seq == 1:
                said.append("first tick")

        def on_stop(self) -> None:
            said.append("on_stop")

    engine_over(market(range(100, 110)), [Starting()], services=[Watcher()]).run()
    assert said.index("service set up") < said.index("on_start") < said.index("ENGINE_READY")
    assert [entry for entry in said if not entry.startswith("service ")][-5:] == [
        "ENGINE_READY",
        "first tick",
        "STOPPING",
        "on_stop",
        "EOF",
    ]
    assert said.index("service runs") < said.index("STOPPING")
    assert said.index("service stops") > said.index("EOF")


def test_timers_and_bars_due_at_t_come_before_the_ticks_of_t() -> None:
    said: list[tuple[str, int]] = []

    class Clocked(Strategy):
        bars = (BarSpec(BTC, "1s", price="mid"),)

        def on_start(self) -> None:
            self.set_timer("each", every="1s")
            self.set_timer("half", after="500ms")

        def on_timer(self, timer) -> None:
            said.append((timer.name, self.clock.now_ns() - START))

        def on_bar(self, bar: Bar) -> None:
            said.append(("bar", bar.ts_close - START))

        def on_quote(self, seq: int) -> None:
            said.append(("quote", self.clock.now_ns() - START))

    # Two quotes within the first second, then one 3 s later.
    engine_over(
        [market([100, 101], every_ns=SECOND // 4), market([102], start_ns=START + 3 * SECOND)], [Clocked()]
    ).run()
    assert said == [
        ("quote", 0),
        ("quote", SECOND // 4),
        ("half", SECOND // 2),
        ("bar", SECOND),
        ("each", SECOND),
        ("each", 2 * SECOND),
        ("each", 3 * SECOND),
        ("quote", 3 * SECOND),
    ]


def test_what_is_published_at_t_is_resolved_at_t() -> None:
    chain: list[tuple[str, int]] = []

    class Second(Strategy):
        def on_signal(self, signal: Signal) -> None:
            chain.append(("signal", self.clock.now_ns() - START))
            self.buy(signal.instrument, 1)

        def on_order(self, event: Event) -> None:
            chain.append((type(event).__name__, self.clock.now_ns() - START))

    class First(Strategy):
        def on_quote(self, instrument: str, seq: int) -> None:
            chain.append((f"quote {seq}", self.clock.now_ns() - START))
            if seq == 1:
                self.signal(instrument, 1)

    engine_over(market([100, 101], every_ns=7), [First(), Second()]).run()
    assert chain == [
        ("quote 1", 0),
        ("signal", 0),
        ("OrderRequested", 0),
        ("OrderAccepted", 0),
        ("quote 2", 7),
    ]


def test_5000_bars_of_one_timestamp_drop_nothing() -> None:
    names = [f"S{number}.BINANCE" for number in range(5_000)]
    from headrace import Instruments, ticks

    table = Instruments(names, instruments_max=6_000)
    quotes = ticks(
        instrument=names * 2,
        ts_init=[START] * 5_000 + [START + 2 * SECOND] * 5_000,
        instruments=table,
        kind="quote",
        bid_price=1.0,
        ask_price=2.0,
        bid_size=1.0,
        ask_size=1.0,
    )

    class Counting(Strategy):
        bars = (BarSpec("*", "1s", price="mid"),)

        def __init__(self) -> None:
            self.closes: list[str] = []

        def on_bar(self, bar: Bar) -> None:
            self.closes.append(bar.instrument)

    counting = Counting()
    engine = Engine(feeds=[quotes], strategies=[counting], mode="replay", instruments=names)
    report = engine.run()
    assert sorted(counting.closes) == sorted(names)
    assert report.lanes[Lane.DATA].dropped == 0


def test_two_replays_write_the_same_audit_to_the_byte(tmp_path: Path) -> None:
    def audited(path: Path) -> bytes:
        strategy = Recorder({n: (lambda own: own.buy(BTC, "0.25")) for n in range(5, 400, 7)})
        engine_over(market(100 + (n * 37 % 11) for n in range(400)), [strategy], audit=path).run()
        return path.read_bytes()

    assert audited(tmp_path / "one") == audited(tmp_path / "two")


def test_events_of_an_audit_can_be_published_again(tmp_path: Path) -> None:
    strategy = Recorder({n: (lambda own: own.sell(BTC, "0.25")) for n in range(5, 100, 7)})
    engine_over(market(range(100, 200)), [strategy], audit=tmp_path / "audit").run()

    from headrace import EventBus

    bus = EventBus(mode="replay")
    again: list[bytes] = []
    from headrace.market.event_json import encode_event

    bus.subscribe(Event, lambda event: again.append(encode_event(event)), name="again")
    asyncio.run(replay_events(tmp_path / "audit", bus))
    assert again == audit_lines(tmp_path / "audit")


def test_a_raising_service_ends_a_replay_with_its_error(tmp_path: Path) -> None:
    class Failing(Service):
        async def run(self) -> None:
            raise RuntimeError("no disk")

    strategy = Recorder()
    engine = engine_over(market(range(100, 200)), [strategy], services=[Failing()], audit=tmp_path / "audit")
    with pytest.raises(ServiceError, match="Failing failed: RuntimeError: no disk"):
        engine.run()
    assert any(b"StrategyStateChanged" in line for line in audit_lines(tmp_path / "audit"))
    assert strategy.calls[-1] == "stop"


def test_a_raising_strategy_ends_a_replay_with_its_error() -> None:
    class Odd(Strategy):
        def on_bar(self, bar: Bar) -> None:
            raise ZeroDivisionError("odd")

        bars = (BarSpec(BTC, "1s", price="mid"),)

    with pytest.raises(ZeroDivisionError, match="odd"):
        engine_over(market(range(100, 200)), [Odd()]).run()


def test_run_inside_of_a_loop_says_what_to_use() -> None:
    async def inside() -> None:
        with pytest.raises(EngineError, match=r"use: await engine.run_async\(\)"):
            engine_over(market([100])).run()

    asyncio.run(inside())


def test_one_object_is_not_taken_as_two_strategies() -> None:
    strategy = Recorder()
    with pytest.raises(EngineError, match=r"Recorder-2 is the same object as Recorder: make another Recorder"):
        engine_over(market([100]), [strategy, strategy])
    assert list(engine_over(market([100]), [Recorder, Recorder]).strategies) == ["Recorder", "Recorder-2"]


def test_an_engine_runs_once() -> None:
    engine = engine_over(market([100]))
    engine.run()
    with pytest.raises(EngineError, match="has run already"):
        engine.run()


@pytest.mark.parametrize("absent", ["feeds", "strategies", "services"])
def test_an_engine_runs_without_feeds_strategies_or_services(absent: str) -> None:
    class Idle(Service):
        ran = False

        async def run(self) -> None:
            self.ran = True

    idle, strategy = Idle(), Recorder({1: lambda own: own.buy(BTC, 1)})
    options: dict[str, Any] = {"services": [idle], "strategies": [strategy]}
    if absent == "feeds":
        engine = Engine(mode="replay", **options)
    elif absent == "strategies":
        engine = engine_over(market([100, 101]), [], services=[idle])
    else:
        engine = engine_over(market([100, 101]), [strategy])
    states: list[str] = []
    engine.bus.subscribe(StrategyStateChanged, lambda event: states.append(event.after), name="states")
    report = engine.run()
    assert report.ended_by == "feeds ended"
    assert idle.ran == (absent != "services")
    assert ("stopped" in states) == (absent != "strategies")
    if absent == "strategies":
        assert sum(report.ticks.values()) == 2


@pytest.mark.parametrize("trade", [Strategy.buy, Strategy.sell])
def test_an_order_without_a_broker_says_where_there_is_one(trade: Callable[..., str]) -> None:
    strategy = Recorder({1: lambda own: trade(own, BTC, 1)})
    with pytest.raises(EngineError, match=r"no broker .* headrace\.Engine\(broker=…\), or with `headrace backtest`"):
        headrace.replay(market([100, 101]), strategy, instruments=BTC)
    engine = engine_over(market([100, 101]), [Recorder()], broker=None)
    assert engine.run().strategies["Recorder"].orders.submitted == 0


def test_two_instruments_are_kept_apart() -> None:
    strategy = Recorder({1: lambda own: (own.buy(BTC, 1), own.sell(ETH, 2))})
    engine = engine_over([market([100, 101, 102]), market([50, 51, 52], instrument=ETH)], [strategy])
    report = engine.run()
    positions = {own.instrument: own.quantity for own in report.strategies["Recorder"].positions}
    assert positions[BTC] > 0 > positions[ETH]


@pytest.mark.parametrize("replay", [False, True], ids=["live", "replay"])
def test_an_engine_that_has_run_is_freed_whole(replay: bool, tmp_path: Path) -> None:
    """Its ring alone is 5 MiB. Native parts hold Python objects, which hides a cycle from the collector."""

    def run() -> weakref.ref[Engine]:
        strategy = Recorder({3: lambda own: own.buy(BTC, 1)})
        options: dict[str, Any] = {} if replay else {"speed": FAST, "state_folder": tmp_path / "state"}
        engine = engine_over(market(range(100, 200)), [strategy], mode="replay" if replay else "live", **options)
        engine.run()
        return weakref.ref(engine)

    gone = run()
    gc.collect()
    assert gone() is None
