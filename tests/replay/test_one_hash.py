"""The same inputs make the same bytes: in ten runs, in two processes, at every ring capacity."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from headrace import BarSpec
from tests.support.engines import Recorder, engine_over, market
from tests.support.feeding import BTC, ETH

QUOTES = 2_000


class Trader(Recorder):
    """Trades on quotes, bars and timers, and so uses every part of an engine."""

    bars = (BarSpec("*", "100t", price="mid"),)

    def on_start(self) -> None:
        self.set_timer("each", every="3s")

    def on_quote(self, seq: int, instrument: str, bid_price: float) -> None:
        if seq % 31 == 0:
            self.buy(instrument, 0.5)
        if seq % 37 == 0:
            self.sell(instrument, 0.25, price=bid_price, expires_after="2s")

    def on_bar(self, bar) -> None:
        self.signal(bar.instrument, -1, price=bar.close)

    def on_timer(self, timer) -> None:
        self.signal(BTC, 1, strength=timer.due_ns % 1_000)


def audit_hash(path: Path, ring_capacity: int = 65_536) -> str:
    """Run once, and return a hash of all output of the run and of every tick."""
    prices = [100 + (n * n * 7 % 23) for n in range(QUOTES)]
    engine = engine_over(
        [market(prices), market(prices[::-1], instrument=ETH)],
        [Trader()],
        audit=path,
        hashing=True,
        ring_capacity=ring_capacity,
    )
    report = engine.run()
    (law,) = report.strategies["Trader"].subscriptions.values()
    assert report.strategies["Trader"].orders.fills > 50
    said = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{said} {report.input_hash} {law.delivered_hash}"


def test_ten_runs_at_every_capacity_make_the_same_hash(tmp_path: Path) -> None:
    hashes = {audit_hash(tmp_path / str(run), ring_capacity=1 << (1 + run % 10)) for run in range(10)}
    assert len(hashes) == 1


def said_under_each_hash_seed(root: Path, *arguments: str) -> list[str]:
    """What a Python prints in two processes whose hash seeds differ."""
    return [
        subprocess.run(
            [sys.executable, *(text.replace("SEED", seed) for text in arguments)],
            cwd=root,
            env={"PYTHONHASHSEED": seed, "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=25,
            check=True,
        ).stdout
        for seed in ("0", "12345")
    ]


def test_two_processes_agree_under_any_hash_seed(tmp_path: Path, root: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from tests.replay.test_one_hash import audit_hash; "
        "print(audit_hash(Path(sys.argv[1])))"
    )
    said = said_under_each_hash_seed(root, "-c", script, str(tmp_path / "SEED"))
    assert said[0] == said[1]
    assert said[0].strip() == audit_hash(tmp_path / "here")


def test_the_hashes_that_interpreters_are_compared_by_need_no_hash_seed(root: Path) -> None:
    said = said_under_each_hash_seed(root, "-m", "tests.support.hashes")
    assert said[0] == said[1]
    assert len(set(said[0].split())) == 9


@pytest.mark.deep
@pytest.mark.timeout(600)
def test_a_hundred_runs_make_the_same_hash(tmp_path: Path) -> None:
    assert len({audit_hash(tmp_path / str(run)) for run in range(100)}) == 1
