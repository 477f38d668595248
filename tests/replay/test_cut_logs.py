"""A dispatch log of a killed run: it is repeated up to its cut, and what lies behind the cut is not compared."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from headrace import Engine, Strategy, StrategySpec
from headrace.engine.repeat import RepeatReport
from headrace.errors import DispatchLogError
from tests.support.engines import SECOND, engine_over, market
from tests.support.feeding import BTC

CUTS = 60
DECISION = b'"decision"'


class Buys(Strategy):
    """Decides at every fourth quote, and when it stops."""

    every = 4

    def on_quote(self, seq: int, instrument: str) -> None:
        if seq % self.every == 0:
            self.buy(instrument, "0.5")

    def on_stop(self) -> None:
        self.signal(BTC, 0)


class BuysLess(Buys):
    every = 12


class Watches(Strategy):
    def on_quote(self, seq: int) -> None: ...


def engine(strategy: Strategy, **options: Any) -> Engine:
    prices = (100 + number % 7 for number in range(400))
    named = StrategySpec(strategy=strategy, name="trader")
    return engine_over(market(prices, every_ns=SECOND // 2_000), [named], **options)


@pytest.fixture
def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The lines of a live run's log."""
    monkeypatch.setenv("HEADRACE_STATE", str(tmp_path / "state"))
    log = tmp_path / "whole.log"
    asyncio.run(engine(Buys(), mode="live", speed=5.0, dispatch_log=log).run_async())
    return log.read_bytes().splitlines(keepends=True)


def repeated(folder: Path, data: bytes, strategy: Strategy) -> RepeatReport:
    log = folder / "cut.log"
    log.write_bytes(data)
    report = engine(strategy, mode="repeat", dispatch_log=log).run().repeated
    assert report is not None
    return report


def test_a_log_that_is_cut_anywhere_is_accused_of_nothing(tmp_path: Path, lines: list[bytes], seed: int) -> None:
    draw = random.Random(seed)
    # Behind a call whose decisions were cut, between two decisions of one step, and anywhere else.
    has = [DECISION in line for line in lines]
    edges = [number for number in range(3, len(lines)) if has[number] != has[number - 1]]
    for number in [*draw.sample(edges, CUTS // 2), *draw.sample(range(3, len(lines) - 2), CUTS // 2)]:
        torn = lines[number][: draw.randrange(len(lines[number]))]
        report = repeated(tmp_path, b"".join(lines[:number]) + torn, Buys())
        assert (report.difference, report.same, report.whole) == ("", True, False), (number, torn)
        assert report.torn_bytes == len(torn)


@pytest.mark.parametrize("strategy", [BuysLess, Watches])
def test_a_cut_log_hides_no_other_decision(tmp_path: Path, lines: list[bytes], strategy: type[Strategy]) -> None:
    cut = b"".join(lines[: len(lines) // 2])
    try:
        difference = repeated(tmp_path, cut, strategy()).difference
    except DispatchLogError as error:  # The calls differ before a decision does.
        difference = str(error)
    assert "live" in difference


def test_a_run_that_is_whole_is_compared_to_its_end(tmp_path: Path, lines: list[bytes]) -> None:
    assert repeated(tmp_path, b"".join(lines), Buys()).same

    class SaysNothingAtTheEnd(Buys):
        def on_stop(self) -> None: ...

    report = repeated(tmp_path, b"".join(lines), SaysNothingAtTheEnd())
    assert (report.same, "nothing more" in report.difference) == (False, True)
