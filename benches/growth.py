"""Rows 13 and 13r: what more strategies, more instruments and more ticks cost.

Row 13r times whole replays, set-up and report included: quotes 1 µs apart, alone and beside idle strategies.
Memory is measured in a process of its own (this module run): it prints how much its resident memory grew from the
first million ticks to the last.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np

import headrace
from benches.fan_out import PerBatch, PerQuote, quotes, through_ring
from benches.harness import Case, Patience, Rounds, Row, Span, Timer, interleave, rate
from benches.workload import CYCLE, check, instrument_names

ROOT = Path(__file__).resolve().parents[1]
MANY = 64
IDLE = 500
MILLION = 1_000_000
MEMORY_MIB_MAX = 16
MEMORY_TIMEOUT_S = 300


def rows(calls: int, rounds: int, patience: Patience, *, memory_ticks: int) -> list[Row]:
    """Measure with ``calls`` handler calls a case; memory up to ``memory_ticks``."""
    cases = [
        Case("one", partial(through_ring, PerQuote, calls)),
        Case("many", partial(through_ring, PerQuote, calls // MANY, MANY)),
        Case("bystanders", partial(through_ring, PerQuote, calls, bystanders=MANY - 1)),
        Case("10 instruments", partial(through_ring, PerQuote, calls, instruments=10)),
        Case("10,000 instruments", partial(through_ring, PerQuote, calls, instruments=10_000)),
        Case("replay", partial(replayed, calls)),
        Case("replay, idle", partial(replayed, calls, idle=IDLE)),
    ]
    return [*_rows(interleave(cases, rounds, patience)), _memory_row(memory_ticks)]


def _rows(result: Rounds) -> Iterator[Row]:
    def row(name: str, what: str, against: str, to: str, limit: float, share: int = 1, number: str = "13") -> Row:
        growth = 1 / result.speed(name, against) / share
        return Row(number, what, rate(result.median_ns(name)), growth, to, limit, at_most=True)

    yield row("many", f"time at {MANY} strategies", "one", f"{MANY} x one", 1.15, MANY)
    yield row("bystanders", f"time with {MANY - 1} that don't match", "one", "one alone", 1.05)
    yield row("10,000 instruments", "time at 10,000 instruments", "10 instruments", "ten", 1.5)
    yield row("replay, idle", f"replay beside {IDLE} idle strategies", "replay", "one alone", 1.05, number="13r")


class Idle(PerQuote):
    """Subscribed to an instrument that never ticks."""

    subscription: ClassVar[Mapping[str, object]] = {"instruments": "IDLE.BINANCE"}


def replayed(count: int, *, idle: int = 0) -> Span:
    """Time per tick of a replay of quotes, each at a time of its own."""
    ticks = quotes(count).copy()
    ticks["ts_init"] = 1_000 * np.arange(1, count + 1)
    strategy = PerQuote()
    idlers = [headrace.StrategySpec(strategy=Idle, name=f"idle-{number}") for number in range(idle)]
    with Timer() as timer:
        headrace.replay(ticks, [strategy, *idlers], instruments=[*instrument_names(), "IDLE.BINANCE"])
    check([strategy], count)
    return timer.per(count)


def _memory_row(ticks: int) -> Row:
    done = subprocess.run(
        [sys.executable, "-m", "benches.growth", str(ticks)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=MEMORY_TIMEOUT_S,
        check=True,
    )
    grown_mib = float(done.stdout)
    what = f"resident memory from 10^6 to {ticks:.0e} ticks, MiB".replace("1e+0", "10^")
    return Row("13", what, f"{grown_mib:.2f} MiB", grown_mib, "MiB", MEMORY_MIB_MAX, at_most=True)


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4_096 / 2**20


def memory_growth(ticks: int) -> float:
    """Publish so many ticks to a singular and a plural strategy; return the growth after the first million, in MiB."""
    block = quotes(CYCLE)
    with headrace.Dispatcher(instruments=instrument_names()) as dispatcher:
        handlers: list[PerQuote | PerBatch] = [PerQuote(), PerBatch()]
        for handler in handlers:
            dispatcher.subscribe(handler)
        first_mib = 0.0
        for start in range(0, ticks, CYCLE):
            dispatcher.publish(block)
            dispatcher.dispatch()
            block["venue_seq"] += CYCLE
            block["ts_init"] += CYCLE
            if start <= MILLION < start + CYCLE:
                first_mib = _resident_mib()
        published = -(-ticks // CYCLE) * CYCLE
        assert [handler.count for handler in handlers] == [published, published], "ticks were lost on the way"
        return _resident_mib() - first_mib


if __name__ == "__main__":
    print(memory_growth(int(sys.argv[1])))
