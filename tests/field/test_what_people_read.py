"""What a person reads: enough digits, one and several, times and durations, states of a run that has ended."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import Engine, Report, SimulatedBroker, Strategy
from headrace.commands import CancelAll, Flatten, StopStrategy
from headrace.engine.tables import duration_text, named_text
from headrace.feeds import ArrayFeed
from headrace.market.events import OrderFill
from headrace.market.wording import amount_text, counted
from tests.support.command import COMMAND
from tests.support.engines import FAST, INSTRUMENTS, LIMITS, market
from tests.support.feeding import BTC


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        *(("0", "0.00"), ("-0.0", "0.00"), ("0.0004", "0.0004"), ("0.00181818", "0.001818"), ("-0.00005", "-0.00005")),
        *(("1.5", "1.50"), ("0.1", "0.10"), ("12345678.909", "12,345,678.91"), ("1E-18", "0.000000000000000001")),
        *(("0.99999", "1.00"), ("1000", "1,000.00"), ("NaN", "NaN")),
    ],
)
def test_an_amount_has_enough_digits(amount: str, shown: str) -> None:
    assert amount_text(Decimal(amount)) == shown


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**15), max_value=10**15, places=18))
def test_an_amount_never_looks_like_another(amount: Decimal) -> None:
    shown = Decimal(amount_text(amount).replace(",", ""))
    assert abs(shown - amount) <= min(Decimal("0.005"), abs(amount) / 1_000)


def test_one_thing_is_singular() -> None:
    assert [counted(number, "order") for number in (0, 1, 2, 1_000)] == [
        "0 orders",
        "1 order",
        "2 orders",
        "1,000 orders",
    ]
    assert [counted(number, "strategy") for number in (1, 2)] == ["1 strategy", "2 strategies"]
    assert counted(2, "event was lost", "events were lost") == "2 events were lost"


def test_nanoseconds_are_a_time_or_a_duration() -> None:
    assert named_text("now_ns", 1_767_571_200_123_456_789) == ("now", "2026-01-05 00:00:00 UTC")
    assert named_text("queued_ns", 1_500) == ("queued", "1.5 µs")
    assert named_text("lag_max_ns", 120 * 10**9) == ("lag_max", "2 min 0 s")
    assert named_text("ticks", 12_345) == ("ticks", "12,345")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        *((0, "0 ns"), (5e-10, "0.5 ns"), (1.5e-6, "1.5 µs"), (0.0025, "2.5 ms"), (99.9, "99.9 s")),
        *((100, "1 min 40 s"), (119.6, "2 min 0 s"), (7_199, "119 min 59 s"), (7_200, "2 h 0 min")),
        *((90_000, "25 h 0 min"), (172_800, "2 d 0 h"), (3_000_000, "34 d 17 h")),
    ],
)
def test_a_duration_has_units_of_its_size(seconds: float, shown: str) -> None:
    assert duration_text(seconds * 1e9) == shown


class Buys(Strategy):
    """Buys once, and rests an order."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def on_quote(self, instrument: str, bid_price: float) -> None:
        if not self.ids:
            self.ids.append(self.buy(instrument, 1))
            self.ids.append(self.buy(instrument, 1, price="50"))


class Raises(Strategy):
    def on_quote(self, bid_price: float) -> None:
        raise KeyError("x")


def engine_of(folder: Path, *strategies: Strategy, run_id: str | None = None) -> Engine:
    return Engine(
        name="desk",
        run_id=run_id,
        feeds=ArrayFeed(market([100.0] * 200)),
        strategies=list(strategies),
        broker=SimulatedBroker(taker_fee="0.0000001"),
        instruments=INSTRUMENTS,
        limits=LIMITS,
        speed=FAST,
        state_folder=folder,
    )


def ids_of(folder: Path, run_id: str | None = None) -> list[str]:
    strategy = Buys()
    engine_of(folder, strategy, run_id=run_id).run()
    return strategy.ids


def test_order_ids_are_short_and_differ_between_runs(tmp_path: Path) -> None:
    first, second = ids_of(tmp_path), ids_of(tmp_path)
    assert all(re.fullmatch(r"[a-z2-7]{6}-Buys-[12]", own) for own in first + second)
    assert len({*first, *second}) == 4
    assert ids_of(tmp_path, "fixed") == ids_of(tmp_path, "fixed")


async def commanded(folder: Path) -> tuple[list[str], Report]:
    strategies = [Buys(), Raises()]
    engine = engine_of(folder, *strategies)
    filled = asyncio.Event()
    engine.bus.subscribe(OrderFill, lambda _: filled.set())
    running = asyncio.create_task(engine.run_async())
    await filled.wait()
    said = [
        (await engine.commands.submit(CancelAll(strategy="Buys"))).reason,
        (await engine.commands.submit(Flatten(instrument=BTC))).reason,
        (await engine.commands.submit(StopStrategy("Buys"))).reason,
    ]
    return said, await running


def test_states_say_how_each_strategy_ended(tmp_path: Path) -> None:
    said, report = asyncio.run(commanded(tmp_path))
    assert said[0] == "1 order"
    rows = dict(
        re.findall(r"^(Buys|Raises) +(\D*?) +\d+ +\d+ +\d+ ", str(report).partition("trading")[2], re.MULTILINE)
    )
    assert rows == {"Buys": "stopped by command", "Raises": "quarantined"}
    ended = engine_of(tmp_path / "other", Buys()).run()
    assert "Buys      ran to the end" in str(ended).replace("strategy            ", "")


def test_a_small_fee_is_shown(tmp_path: Path) -> None:
    shown = str(engine_of(tmp_path, Buys()).run())
    assert re.search(r"^Buys +USDT .* 0\.0000101 ", shown, re.MULTILINE), shown


def test_status_is_shown_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_STATE", str(tmp_path))
    (tmp_path / "paper.toml").write_text(
        '[[feeds]]\nkind = "synthetic"\n[[strategies]]\nuse = "headrace.examples.spread_watch:SpreadWatch"\n'
    )
    engine = subprocess.Popen([*COMMAND, "run", str(tmp_path / "paper.toml")], stderr=subprocess.PIPE, text=True)
    try:
        assert engine.stderr is not None
        while " is ready" not in engine.stderr.readline():
            assert engine.poll() is None
        watch = subprocess.Popen([*COMMAND, "ctl", "status", "--watch"], stdout=subprocess.PIPE, text=True)
        assert watch.stdout is not None
        times: list[str] = []
        while len(times) < 2:
            line = watch.stdout.readline()
            assert line
            times += [line.split(maxsplit=1)[1]] if line.startswith("now ") else []
        watch.send_signal(signal.SIGINT)
        watch.communicate()
        assert watch.returncode == 130
    finally:
        engine.kill()
        engine.communicate()
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC\n", time) for time in times)
    assert times[0] < times[1]
