"""Stops of real ``headrace run`` processes, at random moments and in every way: each one ends with a full account.

Guarantees: moments and ways come from the run's seed; a process that does not end is killed, and its test fails.
Does not: prove that every moment is safe; the deep test tries 200.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.bus.audit import read_audit
from headrace.commands import Drain
from headrace.control import ControlClient
from headrace.control.wire import Submit
from headrace.errors import ControlError
from headrace.market.events import EVENT_LANES, Control, Event, Gap, OrderFill
from tests.support.command import COMMAND

STRATEGIES = """
import asyncio, time
from contextlib import suppress
from headrace import Strategy
from headrace.errors import LaneFullError

class Trader(Strategy):
    bars = ("1s",)
    has_traded = False
    def on_start(self): self.set_timer("often", every="10ms")
    def on_timer(self, timer): self.signal("BTCUSDT.BINANCE", 1)
    def on_bar(self, bar): pass
    def on_quote(self, instrument, bid_price, seq):
        with suppress(LaneFullError):
            if seq % 10 < 2: (self.buy if seq % 2 else self.sell)(instrument, "0.001")
            if seq % 17 == 0: self.buy(instrument, "0.001", price=bid_price, expires_after="50ms")
    async def on_fill(self, fill):
        if not self.has_traded: self.log.info("has traded")
        self.has_traded = True
        await asyncio.sleep(0)
    def on_stop(self): self.log.info("asked to stop")

class Spins(Strategy):
    def on_quote(self, seq):
        self.log.info("in the handler")
        while True: pass

class Sleeps(Strategy):
    def on_quote(self, seq):
        self.log.info("in the handler")
        time.sleep(3600)

class Awaits(Strategy):
    async def on_quote(self, seq):
        self.log.info("in the handler")
        while True: pass

class NeverStarts(Strategy):
    async def on_start(self):
        self.log.info("in the handler")
        await asyncio.sleep(3600)

class NeverStops(Strategy):
    async def on_stop(self):
        self.log.info("in the handler")
        await asyncio.sleep(3600)
"""
CONFIG = """
[engine]
name = "tested"
audit = "audit.jsonl"
speed = {speed}
state_folder = "state"
[[feeds]]
kind = "synthetic"
options = {{ symbols = ["BTCUSDT", "ETHUSDT"], frames = {frames} }}
[[strategies]]
use = "strategies.py:{strategy}"
[broker]
use = "simulated"
[risk]
quantity_max = "10"
notional_max = "10000000"
price_collar = "0.5"
open_orders_max = 100
message_rate_max = 100000
stale_after_s = 60
[instruments."BTCUSDT.BINANCE"]
price_tick = "0.01"
lot_size = "0.001"
[instruments."ETHUSDT.BINANCE"]
price_tick = "0.01"
lot_size = "0.001"
"""
READY = "is ready"
FEEDS_END_FRAMES = 400


class Process:
    """A ``headrace run`` in a folder of its own."""

    def __init__(
        self, folder: Path, *, strategy: str = "Trader", frames: int = 1_000_000, speed: object = 20.0
    ) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        (folder / "strategies.py").write_text(STRATEGIES)
        (folder / "config.toml").write_text(CONFIG.format(strategy=strategy, frames=frames, speed=json.dumps(speed)))
        self.said: list[str] = []
        self._out = (folder / "out").open("w+")
        self.process = subprocess.Popen(
            [*COMMAND, "run", "config.toml", "--json"],
            cwd=folder,
            env={**os.environ, "HEADRACE_STATE": str(folder / "state")},
            stdout=self._out,
            stderr=subprocess.PIPE,
            text=True,
        )

    def until_it_says(self, text: str) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if text in line:
                return
        pytest.fail(f"it never said {text!r}:\n{''.join(self.said)}")

    def send(self, number: signal.Signals) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)

    def drain(self) -> None:
        """Send Drain over the control socket; an engine that has just ended sends no answer."""
        try:
            with ControlClient("tested", folder=self.folder / "state") as client:
                client.ask(Submit(command=msgspec.Raw(msgspec.json.encode(Drain()))), timeout=5.0)
        except ControlError:
            pass

    def end(self) -> int:
        """Read the rest of the output, and return the exit code."""
        assert self.process.stderr is not None
        self.said += self.process.stderr
        return self.process.wait()

    def report(self) -> dict[str, Any]:
        self._out.seek(0)
        text = self._out.read()
        assert text, "".join(self.said)
        document: dict[str, Any] = json.loads(text)
        return document

    def account(self) -> dict[str, Any]:
        """Check the report against the audit, and return the report."""
        report = self.report()
        events = list(read_audit(self.folder / "audit.jsonl"))
        for lane, own in report["lanes"].items():
            assert own["published"] == own["processed"] + own["dead"] + own["dropped"] + own["left"], (lane, own)
            assert own["left"] <= report["left"].get(lane, 0), (lane, own, report["left"])
        for name, strategy in report["strategies"].items():
            terms = ("delivered", "filtered", "missed", "conflated", "skipped", "pending")
            for ticks in (strategy, *strategy["subscriptions"].values()):
                assert ticks["published"] == sum(ticks[term] for term in terms), ticks
            orders = strategy["orders"]
            assert orders["submitted"] == sum(orders[s] for s in ("open", "filled", "canceled", "rejected", "expired"))
            assert orders["open"] == len(strategy["open_orders"])
            if not report["left"]:
                assert fills_of(events, name) == positions_of(strategy)
        if not report["left"]:
            assert Counter(EVENT_LANES[type(event)] for event in events if not isinstance(event, Gap)) >= Counter(
                {lane: own["processed"] for lane, own in report["lanes"].items()}
            )
        return report

    def account_drained(self, *, ended_by: str) -> dict[str, Any]:
        """Do as ``account``, for an engine that ended by a drain."""
        report = self.account()
        assert report["ended_by"] == ended_by
        assert report["left"] == {}, (report, "".join(self.said))
        for strategy in report["strategies"].values():
            assert strategy["state"] == "stopped"
            assert strategy["open_orders"] == []
            assert not strategy["pending"]
        told = [event.name for event in read_audit(self.folder / "audit.jsonl") if isinstance(event, Control)]
        assert "EOF" in told
        assert any("asked to stop" in line for line in self.said), self.said
        return report


def fills_of(events: list[Event], strategy: str) -> dict[str, Decimal]:
    held: dict[str, Decimal] = defaultdict(Decimal)
    seen = set()
    for event in events:
        if isinstance(event, OrderFill) and event.strategy == strategy:
            assert event.execution_id not in seen
            seen.add(event.execution_id)
            held[event.instrument] += event.side * event.quantity
    return dict(held)


def positions_of(strategy: dict[str, Any]) -> dict[str, Decimal]:
    return {own["instrument"]: Decimal(own["quantity"]) for own in strategy["positions"]}


@contextmanager
def running(folder: Path, **options: Any) -> Iterator[Process]:
    started = Process(folder, **options)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.process.kill()
        started.process.wait()
        assert started.process.stderr is not None
        started.process.stderr.close()
        started._out.close()


@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_drains_and_the_report_accounts_for_everything(tmp_path: Path, way: signal.Signals) -> None:
    with running(tmp_path / "run") as run:
        run.until_it_says(READY)
        run.until_it_says("has traded")
        run.send(way)
        assert run.end() == 0, run.said
        report = run.account_drained(ended_by=way.name)
        assert report["strategies"]["Trader"]["orders"]["fills"] > 0


@pytest.mark.parametrize("strategy", ["Spins", "Sleeps", "Awaits"])
def test_a_second_signal_ends_a_run_with_a_hanging_handler(tmp_path: Path, strategy: str) -> None:
    with running(tmp_path / "run", strategy=strategy) as run:
        run.until_it_says("in the handler")
        run.send(signal.SIGINT)
        # Again, as a person would: CPython may miss a signal that comes just before a sleep, until the next signal.
        time.sleep(0.1)
        run.send(signal.SIGTERM)
        assert run.end() == 130, run.said
        report = run.account()
        assert report["ended_by"].endswith(", forced")


@pytest.mark.parametrize("strategy", ["NeverStarts", "NeverStops"])
def test_a_second_signal_ends_a_run_with_a_hanging_callback(tmp_path: Path, strategy: str) -> None:
    with running(tmp_path / "run", strategy=strategy) as run:
        if strategy == "NeverStops":
            run.until_it_says(READY)
            run.send(signal.SIGTERM)
        run.until_it_says("in the handler")
        if strategy == "NeverStarts":
            run.send(signal.SIGTERM)
        run.send(signal.SIGINT)
        assert run.end() == 130, run.said
        assert run.account()["ended_by"].endswith(", forced")


def test_feeds_that_end_end_the_process_and_leave_nothing(tmp_path: Path) -> None:
    with running(tmp_path / "run", frames=FEEDS_END_FRAMES) as run:
        assert run.end() == 0, run.said
        run.account_drained(ended_by="feeds ended")


def test_a_signal_during_start_up_ends_the_process_cleanly(tmp_path: Path) -> None:
    numbers = random.Random(0)
    for number in range(3):
        with running(tmp_path / str(number)) as run:
            time.sleep(numbers.random() * 0.2)
            run.send(numbers.choice([signal.SIGINT, signal.SIGTERM]))
            if run.end() == 0:
                run.account_drained(ended_by=run.report()["ended_by"])
            else:
                assert not any(READY in line for line in run.said), run.said


def stop_at_random(folder: Path, seed: int) -> str:
    """Start a run, stop it at a random moment in a random way, and check its laws; return the way."""
    numbers = random.Random(seed)
    way = numbers.choice(["SIGINT", "SIGTERM", "drain", "feeds end", "twice"])
    frames = numbers.randrange(10, 2 * FEEDS_END_FRAMES) if way == "feeds end" else 1_000_000
    with running(folder, frames=frames, speed=numbers.choice([1.0, 20.0, 500.0])) as run:
        run.until_it_says(READY)
        time.sleep(numbers.random() ** 2 * 0.5)
        if way == "drain":
            run.drain()
        elif way in ("SIGINT", "SIGTERM"):
            run.send(signal.Signals[way])
        elif way == "twice":
            run.send(signal.SIGINT)
            time.sleep(numbers.random() ** 3 * 0.05)
            run.send(signal.SIGTERM)
        code = run.end()
        if way == "twice" and code == 130:
            assert run.account()["ended_by"].endswith("forced"), run.said
        else:
            # The second signal may come after the report, while the process exits.
            assert code == 0 or (way == "twice" and code == -signal.SIGTERM), run.said
            ended_by = {"drain": "drained by command", "feeds end": "feeds ended", "twice": "SIGINT"}.get(way, way)
            run.account_drained(ended_by=ended_by)
    return way


@pytest.mark.parametrize("number", range(8))
def test_a_stop_at_a_random_moment_is_accounted_for(tmp_path: Path, seed: int, number: int) -> None:
    stop_at_random(tmp_path / "run", seed + number)


@pytest.mark.deep
def test_200_stops_at_random_moments_are_accounted_for(tmp_path: Path, seed: int) -> None:
    with ThreadPoolExecutor(4) as pool:
        ways = Counter(pool.map(lambda number: stop_at_random(tmp_path / str(number), seed + number), range(200)))
    assert len(ways) == 5, ways


EMBEDDED = """
import asyncio, sys
from headrace import Engine
from headrace import Strategy
from headrace.market.events import Control
from tests.support.engines import INSTRUMENTS, HandFeed, market

class Watching(Strategy):
    def on_quote(self, seq): pass

async def main():
    ticking = 0
    async def tick():
        nonlocal ticking
        while True:
            ticking += 1
            await asyncio.sleep(0.001)
    other = asyncio.create_task(tick())
    engine = Engine(feeds=[feed := HandFeed()], strategies=[Watching()], instruments=INSTRUMENTS)
    feed.put(market(range(100, 110)))
    engine.bus.subscribe(Control, lambda event: print(event.name, flush=True))
    report = await engine.run_async()
    before = ticking
    await asyncio.sleep(0.01)
    assert ticking > before, "the loop's other tasks go on"
    other.cancel()
    print(report.ended_by, flush=True)

if sys.argv[1] == "async":
    asyncio.run(main())
else:
    engine = Engine(feeds=[HandFeed()], strategies=[Watching()])
    engine.bus.subscribe(Control, lambda event: print(event.name, flush=True))
    print(engine.run().ended_by, flush=True)
"""


@pytest.mark.parametrize("how", ["async", "plain"])
def test_an_embedded_engine_drains_on_a_signal(tmp_path: Path, root: Path, how: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", EMBEDDED, how],
        env={**os.environ, "HEADRACE_STATE": str(tmp_path / "state"), "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ENGINE_READY\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert out.split("\n") == ["STOPPING", "EOF", "SIGINT", ""], err
    assert process.returncode == 0
    assert err == ""


@pytest.mark.timeout(120)
def test_a_signal_while_the_process_ends_changes_nothing(tmp_path: Path) -> None:
    numbers = random.Random(0)
    for number in range(8):
        folder = tmp_path / str(number)
        with running(folder) as run:
            run.until_it_says(READY)
            run.send(signal.SIGINT)
            while not (folder / "out").stat().st_size and run.process.poll() is None:
                time.sleep(0.001)
            time.sleep(numbers.random() * 0.03)
            run.send(signal.SIGTERM)
            assert run.end() == 0, run.said
            assert run.report()["ended_by"] == "SIGINT"
