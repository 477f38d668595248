"""The loss law at ends: a subscription that is closed, paused, quarantined or resumed at any call of any handler.

Guarantees: each subscription counts the ticks that its handlers were given, and the test compares; every position from
its join to its end is in exactly one term.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest

from headrace import Dispatcher, GapCause, Strategy, Subscription
from headrace.errors import ClosedError
from tests.support.feeding import BTC, ETH, HandClock, holds_the_law, quotes, trades

FLOW = {"kinds": ["quote", "trade"]}


class Counting(Strategy):
    """Counts the ticks that its handlers were given, each once, and does ``act`` at one of its calls."""

    def __init__(self, at: int, act: Callable[[], object]) -> None:
        self.given: set[tuple[int, str, int]] = set()
        self.calls = 0
        self.at, self.act = at, act
        self.skipped = 0

    def take(self, instrument_id: Any, kind: str, seq: Any, flags: Any) -> None:
        self.add(instrument_id, kind, seq, flags)
        self.step()

    def add(self, instrument_id: Any, kind: str, seq: Any, flags: Any) -> None:
        for one, number, flag in zip(*map(np.atleast_1d, (instrument_id, seq, flags)), strict=True):
            if not flag & 1:
                self.given.add((int(one), kind, int(number)))

    def step(self) -> None:
        self.calls += 1
        if self.calls == self.at:
            self.act()

    def on_gap(self, cause: GapCause, missing: int, seq: int) -> None:
        if cause is GapCause.PAUSED and seq == 0:
            self.skipped += missing


class OneByOne(Counting):
    def on_quote(self, instrument_id, seq, flags):
        self.take(instrument_id, "quote", seq, flags)

    def on_trade(self, instrument_id, seq, flags):
        self.take(instrument_id, "trade", seq, flags)


class EachAndEvery(Counting):
    def on_quote(self, instrument_id, seq, flags):
        self.take(instrument_id, "quote", seq, flags)

    def on_tick(self, tick):
        self.take(tick.instrument_id, tick.kind, tick.seq, tick.flags)

    subscription: ClassVar[dict[str, Any]] = FLOW


class ByColumns(Counting):
    def on_quotes(self, instrument_id, seq, flags):
        self.take(instrument_id, "quote", seq, flags)

    def on_trades(self, instrument_id, seq, flags):
        self.take(instrument_id, "trade", seq, flags)


class ByTicks(Counting):
    def on_ticks(self, ticks):
        for name, number in (("quote", 1), ("trade", 2)):
            mine = ticks[ticks["kind"] == number]
            self.add(mine["instrument"], name, mine["seq"], mine["flags"])
        self.step()

    subscription: ClassVar[dict[str, Any]] = FLOW


class Mixed(Counting):
    def on_quote(self, instrument_id, seq, flags):
        self.take(instrument_id, "quote", seq, flags)

    def on_trades(self, instrument_id, seq, flags):
        self.take(instrument_id, "trade", seq, flags)


class QuotesAndAll(ByTicks):
    def on_quotes(self, instrument_id, seq, flags):
        self.take(instrument_id, "quote", seq, flags)


FORMS: list[type[Counting]] = [OneByOne, EachAndEvery, ByColumns, ByTicks, Mixed, QuotesAndAll]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"batch_max": 7},
    {"every": 1_000_000},
    {"overflow": "drop_oldest", "rate_limit": 50_000},
    {"overflow": "drop_oldest"},
    {"overflow": "drop_oldest", "lag_max_ticks": 30, "on_lag": "skip"},
    {"instruments": BTC},
]
ENDS = ["close", "pause", "pause_resume", "doze", "doze_wake", "raise", "close_all", "close_other", "subscribe"]


def feed(dispatcher: Dispatcher, random_: random.Random, ids: list[int]) -> None:
    """Publish a few runs of quotes and trades."""
    for _ in range(random_.randrange(1, 4)):
        count, instrument = random_.choice([1, 3, 10, 40]), random_.choice([BTC, ETH])
        if random_.random() < 0.5:
            dispatcher.publish(quotes(dispatcher, range(count), instrument=instrument))
        else:
            which = instrument == ETH
            made = trades(dispatcher, range(count), instrument=instrument)
            made["venue_seq"] = ids[which] + np.arange(count)
            ids[which] += count
            dispatcher.publish(made)


class Case:
    """Three subscriptions in one group; something happens at a call of one of them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.clock = HandClock(0)
        capacity = self.random.choice([64, 1_024])
        self.dispatcher = Dispatcher(
            instruments=[BTC, ETH], ring_capacity=capacity, clock=self.clock, on_fault="quarantine"
        )
        self.open: list[tuple[Subscription, Counting]] = []
        for _ in range(3):
            self.subscribe()

    def subscribe(self) -> None:
        form, options = self.random.choice(FORMS), self.random.choice(OPTIONS)
        if form in (OneByOne, EachAndEvery) and "every" in options:
            options = {}
        end = self.random.choice(ENDS)
        number = len(self.open)
        strategy = form(self.random.randrange(1, 12), lambda: self.happen(end, number))
        given: dict[str, Any] = {"on_fault": self.random.choice(["quarantine", "raise"]), **options}
        subscription = self.dispatcher.subscribe(strategy, name=f"{number}", **given)
        self.open.append((subscription, strategy))

    def happen(self, end: str, number: int) -> None:
        own, strategy = self.open[number]
        if end == "close":
            own.close()
        elif end.startswith("pause"):
            own.pause()
            if end == "pause_resume":
                own.resume()
        elif end.startswith("doze"):
            own.doze()
            if end == "doze_wake":
                own.wake()
        elif end == "raise":
            strategy.at += self.random.choice([1, 5])
            msg = "wanted"
            raise RuntimeError(msg)
        elif end == "close_all":
            self.dispatcher.close()
        elif end == "close_other":
            self.random.choice(self.open)[0].close()
        elif len(self.open) < 5:
            self.subscribe()

    def dispatch(self) -> None:
        try:
            self.dispatcher.dispatch(max_ns=self.random.choice([None, 0]))
        except RuntimeError as error:
            if not str(error).startswith(("wanted", "this dispatcher is closed")):
                raise

    def run(self) -> None:
        ids = [1, 1]
        for _ in range(6):
            try:
                feed(self.dispatcher, self.random, ids)
                self.dispatch()
            except RuntimeError as error:
                if not str(error).startswith("wanted"):
                    raise
            except ClosedError:
                break
            self.clock.at_ns += 700_000
            self.check()
            if self.random.random() < 0.3:
                own, _ = self.random.choice(self.open)
                self.random.choice([own.resume, own.wake, own.pause, own.close])()
                self.check()
        self.dispatcher.close()
        self.check()
        for own, _ in self.open:
            assert own.stats().pending == 0, own.stats()

    def check(self) -> None:
        for own, strategy in self.open:
            stats = own.stats()
            assert holds_the_law(stats), stats
            assert stats.delivered == len(strategy.given), (type(strategy).__name__, own.options, stats)


@pytest.mark.timeout(60)
def test_the_law_holds_whatever_ends_at_any_call(seed: int) -> None:
    for number in range(400):
        case = Case(seed * 1_000 + number)
        try:
            case.run()
        except Exception as error:
            error.add_note(f"case {seed * 1_000 + number}")
            raise


def test_a_close_in_an_open_run_counts_what_waits() -> None:
    class Quotes(Strategy):
        def on_quotes(self, seq): ...

    class Stops(Strategy):
        def on_quote(self, seq):
            if seq == 68:
                msg = "wanted"
                raise RuntimeError(msg)

    dispatcher = Dispatcher(instruments=[BTC], on_fault="raise")
    by_columns, _ = dispatcher.subscribe(Quotes()), dispatcher.subscribe(Stops())
    dispatcher.publish(quotes(dispatcher, range(100)))
    with pytest.raises(RuntimeError, match="wanted"):
        dispatcher.dispatch()
    dispatcher.close()
    stats = by_columns.stats()
    assert (stats.published, stats.skipped, stats.pending) == (100, 100, 0)
    assert stats.accounted == 100
