"""A repeat of a live run that dropped, folded, lagged and waited makes the same calls to every strategy.

Guarantees: live slices are of random length, on the wall's clock; the seed repeats the inputs.
Does not: repeat the live run by its seed; the log does that.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace._native as _native
from headrace import Dispatcher, Strategy, Subscription
from headrace._native import PumpStatus
from headrace.dispatch.log import DispatchLog, LoggedFeed
from headrace.dispatch.repetition import LoggedRun, Repetition
from headrace.market.clock import EngineClock, ModeName
from tests.support.feeding import BTC, ETH, holds_the_law, level_event, quotes, trades

RING = 256
SPAN_NS = 60_000_000


class Singular(Strategy):
    """Every argument of every call."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    def on_quote(self, instrument, seq, position, bid_price, flags, lag_ns):
        self.got.append(("quote", instrument, seq, position, bid_price, flags, lag_ns))

    def on_trade(self, instrument, seq, position, price, flags, lag_ns):
        self.got.append(("trade", instrument, seq, position, price, flags, lag_ns))

    def on_gap(self, cause, first, last, missing):
        self.got.append(("gap", cause, first, last, missing))


class Quotes(Strategy):
    """Quotes alone, which may be folded."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    def on_quote(self, instrument, seq, position, flags):
        self.got.append(("quote", instrument, seq, position, flags))

    def on_gap(self, cause, first, last, missing):
        self.got.append(("gap", cause, first, last, missing))


class Plural(Strategy):
    """Every batch, with its edges."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    def on_quotes(self, instrument_id, seq, flags):
        self.got.append(("quotes", instrument_id.tolist(), seq.tolist(), flags.tolist()))

    def on_levels(self, seq, price):
        self.got.append(("levels", seq.tolist(), price.tolist()))

    def on_gap(self, cause, first, last, missing):
        self.got.append(("gap", cause, first, last, missing))


class Raising(Singular):
    """Fails now and then, until it is quarantined."""

    def on_trade(self, instrument, seq, position, price, flags, lag_ns):
        super().on_trade(instrument, seq, position, price, flags, lag_ns)
        if seq % 97 == 0:
            raise ValueError(seq)


class Meddler(Singular):
    """Pauses and resumes others from inside its handler."""

    def __init__(self, subscriptions: dict[str, Subscription]) -> None:
        super().__init__()
        self.subscriptions = subscriptions

    def on_quote(self, instrument, seq, position, bid_price, flags, lag_ns):
        super().on_quote(instrument, seq, position, bid_price, flags, lag_ns)
        verbs = {3: "pause", 13: "resume", 17: "doze", 19: "wake"}
        if seq % 41 in verbs:
            getattr(self.subscriptions["batches"], verbs[seq % 41])()
        if seq % 53 in verbs:
            getattr(self.subscriptions["folded"], verbs[seq % 53])()


class Awaited(Strategy):
    """An async handler that lets other tasks run in between."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    async def on_quote(self, seq, position, flags):
        await asyncio.sleep(0)
        self.got.append(("quote", seq, position, flags))

    async def on_gap(self, cause, first, last, missing):
        self.got.append(("gap", cause, first, last, missing))


class Slow(Plural):
    """A slow handler that is lapped; its decisions do not depend on time."""

    def __init__(self, pause_s: float) -> None:
        super().__init__()
        self.pause_s = pause_s

    def on_quotes(self, instrument_id, seq, flags):
        super().on_quotes(instrument_id, seq, flags)
        time.sleep(self.pause_s)


OPTIONS: dict[str, dict[str, Any]] = {
    "every": {},
    "dropping": {"overflow": "drop_oldest"},
    "folded": {"overflow": "conflate"},
    "seldom": {"overflow": "conflate", "min_interval_ns": 900_000},
    "limited": {"overflow": "drop_oldest", "rate_limit": 20_000},
    "skipping": {"overflow": "drop_oldest", "lag_max_ticks": 100, "on_lag": "skip"},
    "batches": {"overflow": "drop_oldest", "batch_max": 50},
    "windows": {"overflow": "drop_oldest", "every": "5ms"},
    "raising": {"overflow": "drop_oldest", "on_fault": "quarantine"},
}


class Run:
    """One dispatcher with all subscriptions, live or driven."""

    def __init__(self, seed: int, *, mode: ModeName) -> None:
        dice = random.Random(seed)
        self.clock = EngineClock()
        self.dispatcher = Dispatcher(
            instruments=[BTC, ETH], ring_capacity=RING, clock=self.clock, mode=mode, on_fault="quarantine"
        )
        self.subscriptions: dict[str, Subscription] = {}
        # With one block reader among the inline readers, none of them is lapped.
        with_block = dice.random() < 0.3
        inline: dict[str, Strategy] = {
            "every": Singular(),
            "meddler": Meddler(self.subscriptions),
            "dropping": Singular(),
            "folded": Quotes(),
            "seldom": Quotes(),
            "limited": Singular(),
            "skipping": Singular(),
            "batches": Plural(),
            "windows": Plural(),
            "raising": Raising(),
        }
        if not with_block:
            del inline["every"]
        self.strategies: dict[str, Any] = {}
        for name, strategy in inline.items():
            self.join(name, strategy, **OPTIONS.get(name, {"overflow": "drop_oldest"}))
        self.join("awaited", Awaited(), overflow=dice.choice(["drop_oldest", "block"]))
        self.join("thread", Slow(0.0004), mode="thread", overflow="drop_oldest", batch_max=32)
        self.join("thread that folds", Quotes(), mode="thread", overflow="conflate")
        self.join("thread that blocks", Plural(), mode="thread", overflow="block")

    def join(self, name: str, strategy: Any, **options: Any) -> None:
        self.strategies[name] = strategy
        self.subscriptions[name] = self.dispatcher.subscribe(strategy, name=name, **options)

    def got(self) -> dict[str, list[Any]]:
        return {name: strategy.got for name, strategy in self.strategies.items()}

    def pump(self, blocks: list[np.ndarray]) -> _native.Pump:
        pump = _native.Pump(self.dispatcher._ingest)
        pump.add_source("generated")
        self.left: Iterator[np.ndarray] = iter(blocks)
        return pump

    def give(self, pump: _native.Pump) -> bool:
        block = next(self.left, None)
        if block is None:
            pump.finish(0)
        else:
            pump.push(0, block)
        return block is not None


def generated(seed: int) -> list[np.ndarray]:
    """Quotes, trades, and events of many levels, in blocks."""
    dice = random.Random(seed)
    with Dispatcher(instruments=[BTC, ETH]) as dispatcher:
        blocks, at_ns = [], 1_000
        while at_ns < SPAN_NS:
            parts = []
            for _ in range(dice.randrange(1, 20)):
                at_ns += dice.randrange(0, 60_000)
                instrument = dice.choice([BTC, ETH])
                kind = dice.random()
                count = dice.randrange(1, 30)
                if kind < 0.6:
                    parts.append(quotes(dispatcher, range(count), instrument=instrument, ts_init=at_ns))
                elif kind < 0.9:
                    parts.append(trades(dispatcher, range(count), instrument=instrument, ts_init=at_ns))
                else:
                    parts.append(level_event(dispatcher, 4 * count, instrument=instrument, ts_init=at_ns))
            blocks.append(np.concatenate(parts))
    return blocks


@contextmanager
def running(seed: int, *, mode: ModeName) -> Iterator[Run]:
    run = Run(seed, mode=mode)
    try:
        yield run
    finally:
        run.dispatcher.close()


def meddle(run: Run, payload: list[str]) -> None:
    """Act as an operator between two turns: at random in the live run, from the log's mark in the repeat."""
    verb, name = payload
    getattr(run.subscriptions[name], verb)()


async def live(seed: int, path: Path) -> dict[str, list[Any]]:
    dice = random.Random(seed)
    with running(seed, mode="live") as run:
        pump = run.pump(generated(seed))
        names = [name for name in run.subscriptions if name not in ("every", "meddler") and "thread" not in name]
        with DispatchLog(path, run.dispatcher, run_id="live", feeds=[LoggedFeed(name="generated")]) as log:
            until_ns, status = 0, PumpStatus.NEED
            while status is not PumpStatus.END:
                until_ns += dice.randrange(0, 400_000)
                status, _ = pump.ingest(until_ns, dice.choice([1, 50, 300, 2_000]))
                if status is PumpStatus.NEED:
                    run.give(pump)
                run.clock.advance_to(max(until_ns, pump.last_ts or 0) + dice.randrange(0, 1_000))
                if dice.random() < 0.15:
                    payload = [dice.choice(["pause", "resume", "doze", "wake"]), dice.choice(names)]
                    log.mark("operator", payload)
                    meddle(run, payload)
                if dice.random() < 0.5:
                    run.dispatcher.dispatch(max_ns=dice.choice([None, 1, 20_000]))
                if dice.random() < 0.3:
                    await asyncio.sleep(0)
                if status is PumpStatus.HELD:
                    await asyncio.sleep(0.0002)
            for verb in ("wake", "resume"):
                for name in names:
                    log.mark("operator", [verb, name])
                    meddle(run, [verb, name])
            run.dispatcher.dispatch()
            await caught_up(run)
            stats = {name: subscription.stats() for name, subscription in run.subscriptions.items()}
        assert all(holds_the_law(own) for own in stats.values())
        return {name: list(calls) for name, calls in run.got().items()}


async def caught_up(run: Run) -> None:
    """Wait for the threads and the task."""
    end_s = time.monotonic() + 10
    members = run.dispatcher.subscriptions.values()
    while any(not member.group.is_idle() for member in members):
        assert time.monotonic() < end_s, "somebody does not catch up"
        await asyncio.sleep(0.001)


async def repeated(seed: int, path: Path, change: Callable[[Run], None] = lambda run: None) -> dict[str, list[Any]]:
    with running(seed, mode="repeat") as run:
        pump = run.pump(generated(seed))
        change(run)

        async def give(source: int) -> None:
            run.give(pump)

        log = LoggedRun(path)
        repetition = Repetition(log, run.dispatcher, pump, give=give)
        async for mark in repetition:
            assert mark.kind == "operator"
            meddle(run, mark.payload)
        assert log.is_whole
        assert repetition.calls > 20
        return run.got()


@pytest.mark.parametrize("run", range(4))
def test_a_repeat_makes_every_strategy_the_same_calls(seed: int, run: int, tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    was = asyncio.run(live(seed + run, path))
    for _ in range(2):
        again = asyncio.run(repeated(seed + run, path))
        for name, calls in was.items():
            first = next((i for i, (a, b) in enumerate(zip(calls, again[name], strict=False)) if a != b), None)
            where = f"{name}: call {first} of {len(calls)}, {len(again[name])}; HEADRACE_SEED={seed}, run {run}"
            assert calls == again[name], where
    assert any(entry[0] == "gap" for calls in was.values() for entry in calls)
