"""Conflation against a dict: in the end, each subscription's last quote of an instrument is the last one in order.

Guarantees: every case draws its publishes, laps, pauses and clock steps from the run's seed.
Does not: run threads; `test_loss_law` does.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from headrace import Dispatcher, Flags, Strategy, Subscription
from headrace.market.tick import kind_named
from tests.support.feeding import HandClock, holds_the_law, quotes, read_all, trades

NAMES = ["A.BINANCE", "B.BINANCE", "C.BINANCE_USDM"]
# How often a case checks that all quotes have arrived and goes on with the same dispatcher.
EPISODES = 5
QUOTE = kind_named("quote").number


@dataclass
class Seen:
    """What one consumer got: the newest (seq, bid) of each instrument, the count, and every error."""

    interval_ns: int = 0
    clock: HandClock | None = None
    newest: dict[int, tuple[int, float]] = field(default_factory=dict)
    count: int = 0
    snapshots: int = 0
    given_ns: dict[int, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    flushing: bool = False

    def take(self, instrument: int, seq: int, bid: float, flags: int) -> None:
        last, _ = self.newest.get(instrument, (0, 0.0))
        if seq <= last:
            self.wrong.append(f"seq {seq} of {instrument} after {last}")
        self.newest[instrument] = (seq, bid)
        if flags & Flags.SNAPSHOT:
            self.snapshots += 1
            return
        self.count += 1
        if self.clock is not None and self.interval_ns:
            now_ns, before = self.clock.at_ns, self.given_ns.get(instrument)
            if before is not None and now_ns - before < self.interval_ns and not self.flushing:
                self.wrong.append(f"{instrument} after {now_ns - before} ns")
            self.given_ns[instrument] = now_ns


class Singular(Strategy):
    def __init__(self, seen: Seen) -> None:
        self.seen = seen

    def on_quote(self, instrument_id, seq, bid_price, flags):
        self.seen.take(instrument_id, seq, bid_price, flags)


class Plural(Strategy):
    def __init__(self, seen: Seen) -> None:
        self.seen = seen

    def on_quotes(self, instrument_id, seq, bid_price, flags):
        for row in zip(instrument_id.tolist(), seq.tolist(), bid_price.tolist(), flags.tolist(), strict=True):
            self.seen.take(*row)


def pulled(seen: Seen, batch: np.ndarray) -> None:
    """Return what a pull reader got; its own gaps are no quotes."""
    for tick in batch[batch["kind"] == QUOTE]:
        seen.take(int(tick["instrument"]), int(tick["seq"]), float(tick["values"][0]), int(tick["flags"]))


def one_case(random_: random.Random) -> None:
    """Do random publishes, laps, pauses, clock steps and dispatches; then check that each newest quote has arrived."""
    clock = HandClock(1_000)
    interval_ns = random_.choice([0, 0, 50, 1_000])
    capacity = random_.choice([4, 16, 256])
    model: dict[int, tuple[int, float]] = {}
    numbers, ids = [0, 0, 0], [0, 0, 0]
    with Dispatcher(
        instruments=NAMES, instruments_max=4, ring_capacity=capacity, clock=clock, on_fault="raise"
    ) as dispatcher:
        seens = [Seen(), Seen(), Seen(interval_ns, clock), Seen()]
        options: dict[str, Any] = {"overflow": "conflate"}
        subscriptions = [
            dispatcher.subscribe(Singular(seens[0]), **options),
            dispatcher.subscribe(Plural(seens[1]), batch_max=random_.choice([1, 3, 1_024]), **options),
            dispatcher.subscribe(
                random_.choice([Singular, Plural])(seens[2]), min_interval_ns=interval_ns, name="interval", **options
            ),
            dispatcher.subscribe(kinds=["quote"], **options),
        ]
        if random_.random() < 0.5:
            dispatcher.subscribe(lambda price: None, callback="on_trade", overflow="drop_oldest")
        for _ in range(EPISODES):
            for _ in range(random_.randrange(2, 12)):
                action = random_.randrange(8)
                if action < 4:
                    which = random_.randrange(3)
                    bids = [random_.random() for _ in range(random_.choice([1, 2, 5, capacity // 2, capacity + 1]))]
                    venue_seq = []
                    for bid in bids:
                        numbers[which] += 1
                        # Odd ones lie between those in order: late.
                        is_late = ids[which] > 0 and random_.random() < 0.2
                        if not is_late:
                            ids[which] += 2
                            model[which] = (numbers[which], bid)
                        venue_seq.append(ids[which] - is_late)
                    dispatcher.publish(
                        quotes(dispatcher, bids, instrument=NAMES[which], ts_init=clock.at_ns, venue_seq=venue_seq)
                    )
                elif action == 4:
                    dispatcher.publish(trades(dispatcher, [1.0, 2.0], instrument=NAMES[0], ts_init=clock.at_ns))
                elif action == 5:
                    clock.at_ns += random_.choice([1, 49, 50, 5_000])
                elif action == 6:
                    chosen = random_.choice(subscriptions)
                    if not chosen.pause():
                        chosen.resume()
                else:
                    dispatcher.dispatch()
                    pulled(seens[3], read_all(subscriptions[3]))
            end_the_episode(dispatcher, subscriptions, seens)
            for subscription, seen in zip(subscriptions, seens, strict=True):
                stats = subscription.stats()
                assert not seen.wrong, (subscription.name, seen.wrong)
                assert seen.newest == model, (subscription.name, seen.newest, model, stats)
                assert holds_the_law(stats), stats
                assert (seen.count, seen.snapshots) == (stats.delivered, stats.snapshots), stats
                assert stats.pending == 0, stats


def end_the_episode(dispatcher: Dispatcher, subscriptions: list[Subscription], seens: list[Seen]) -> None:
    """Resume all subscriptions and deliver all waiting ticks; the last subscription is the pulled one."""
    for subscription in subscriptions:
        subscription.resume()
    dispatcher.dispatch()
    for seen in seens:
        seen.flushing = True
    dispatcher.finish()
    pulled(seens[-1], read_all(subscriptions[-1]))
    for seen in seens:
        seen.flushing = False


def many(cases: int, seed: int) -> None:
    for number in range(cases // EPISODES):
        try:
            one_case(random.Random(seed * 1_000_003 + number))
        except Exception as error:
            error.add_note(f"case {number} of seed {seed}")
            raise


# Twenty seconds on a quiet core, and more under coverage.
@pytest.mark.timeout(120)
def test_the_newest_quote_of_each_instrument_is_delivered(seed: int) -> None:
    many(10_000, seed)


@pytest.mark.deep
@pytest.mark.timeout(1_200)
def test_the_newest_quote_comes_through_a_hundred_thousand_times(seed: int) -> None:
    many(100_000, seed)
