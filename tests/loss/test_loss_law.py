"""The loss law, exactly, for every policy: eight readers in threads of their own, with random stalls.

Guarantees: each reader counts its own ticks, and the test compares them with its statistics.
Does not: measure speed.
"""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import numpy as np
import pytest

from headrace import Dispatcher, GapCause, Strategy, Subscription
from headrace.market.tick import kind_named
from tests.support.feeding import BTC, ETH, holds_the_law, quotes, trades, wait_until

QUOTE, TRADE, GAP = (kind_named(name).number for name in ("quote", "trade", "gap"))
OVERRUN = GapCause.OVERRUN
RING = 4_096
CHUNK = 5_000


class Taken:
    """Counts one reader's ticks, and checks that its numbers rise."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.count = 0
        self.snapshots = 0
        self.told = 0
        self.newest: dict[tuple[int, int], int] = {}
        self.went_back: list[tuple[int, int, int, int]] = []
        self.hasty = False

    def stall(self) -> None:
        if not self.hasty and self.random.random() < 0.02:
            time.sleep(self.random.random() * 0.004)

    def columns(self, instrument: np.ndarray, kind: int, seq: np.ndarray) -> None:
        for which in (0, 1):
            mine = seq[instrument == which]
            if len(mine):
                last = self.newest.get((which, kind), 0)
                if int(mine[0]) <= last or not (np.diff(mine.astype("i8")) > 0).all():
                    self.went_back.append((which, kind, last, int(mine[0])))
                self.newest[which, kind] = int(mine[-1])


class Told(Strategy):
    """Adds up the missed ticks of its gaps."""

    def __init__(self, taken: Taken) -> None:
        self.taken = taken

    def on_gap(self, cause, missing):
        if cause is OVERRUN:
            self.taken.told += missing


class OneByOne(Told):
    """Singular handlers."""

    def on_quote(self, instrument_id, seq, flags):
        self._take(instrument_id, QUOTE, seq, flags)

    def _take(self, instrument: int, kind: int, seq: int, flags: int) -> None:
        taken = self.taken
        if flags & 1:
            taken.snapshots += 1
        else:
            taken.count += 1
        if seq <= taken.newest.get((instrument, kind), 0):
            taken.went_back.append((instrument, kind, taken.newest[instrument, kind], seq))
        taken.newest[instrument, kind] = seq
        if not seq & 511:
            taken.stall()


class OneByOneWithTrades(OneByOne):
    def on_trade(self, instrument_id, seq, flags):
        self._take(instrument_id, TRADE, seq, flags)


class ByColumns(Told):
    """Plural handlers."""

    def on_quotes(self, instrument_id, seq, flags):
        snapshots = int(np.count_nonzero(flags & 1))
        self.taken.snapshots += snapshots
        self.taken.count += len(flags) - snapshots
        self.taken.columns(instrument_id, QUOTE, seq)
        self.taken.stall()


class ByColumnsWithTrades(ByColumns):
    def on_trades(self, instrument_id, seq):
        self.taken.count += len(seq)
        self.taken.columns(instrument_id, TRADE, seq)


def pulls(subscription: Subscription, taken: Taken) -> None:
    """Read batches in a thread of its own."""
    for batch in subscription:
        gaps = batch[batch["kind"] == GAP]
        cause = gaps["values"].view("u8").reshape(-1, 4)
        taken.told += int(cause[(cause[:, 3] & 0xFF) == OVERRUN, 2].sum())
        rest = batch[batch["kind"] != GAP]
        snapshots = int(np.count_nonzero(rest["flags"] & 1))
        taken.snapshots += snapshots
        # Gaps of the feed are positions; those of the reader (seq 0) are not.
        taken.count += len(rest) - snapshots + int(np.count_nonzero(gaps["seq"]))
        for kind in (QUOTE, TRADE):
            mine = rest[rest["kind"] == kind]
            taken.columns(mine["instrument"], kind, mine["seq"])
        taken.stall()


def market(dispatcher: Dispatcher, random_: np.random.Generator, count: int, *, trade_id: int) -> np.ndarray:
    """Quotes and trades of two instruments, mixed."""
    made = np.concatenate(
        [
            quotes(dispatcher, np.arange(count // 2), instrument=BTC),
            quotes(dispatcher, np.arange(count // 4), instrument=ETH),
            trades(dispatcher, np.arange(count - count // 2 - count // 4), instrument=ETH),
        ]
    )
    mixed = made[random_.permutation(len(made))]
    is_trade = mixed["kind"] == TRADE
    mixed["venue_seq"][is_trade] = trade_id + np.arange(int(is_trade.sum()))
    return mixed


def run(policy: str, total: int, seed: int) -> None:
    conflates = policy == "conflate"
    random_ = np.random.default_rng(seed)
    with Dispatcher(instruments=[BTC, ETH], ring_capacity=RING, block_max_ns=None, on_fault="raise") as dispatcher:
        takens = [Taken(seed + number) for number in range(8)]
        options: dict[str, Any] = {"overflow": policy}
        forms = [OneByOne, ByColumns] if conflates else [OneByOneWithTrades, ByColumnsWithTrades]
        subscriptions = [
            dispatcher.subscribe(form(taken), mode="thread", batch_max=512, name=f"{number}", **options)
            for number, (form, taken) in enumerate(zip(forms * 2, takens[:4], strict=True))
        ]
        threads = []
        for number, taken in enumerate(takens[4:], 4):
            kinds = ["quote", "gap"] if conflates else ["quote", "trade", "gap"]
            subscription = dispatcher.subscribe(name=f"{number}", kinds=kinds, batch_max=512, **options)
            subscriptions.append(subscription)
            threads.append(threading.Thread(target=pulls, args=(subscription, taken), daemon=True))
            threads[-1].start()
        trade_id = 1
        for start in range(0, total, CHUNK):
            made = market(dispatcher, random_, min(CHUNK, total - start), trade_id=trade_id)
            trade_id += int((made["kind"] == TRADE).sum())
            assert dispatcher.publish(made) == len(made)
        for taken in takens:
            taken.hasty = True
        wait_until(lambda: all(one.stats().pending == 0 for one in subscriptions), within_s=60)
        counts = dispatcher.stats().ticks
        for subscription, taken in zip(subscriptions, takens, strict=True):
            stats = subscription.stats()
            assert holds_the_law(stats), stats
            assert stats.published == dispatcher.ring.cursor
            wait_until(lambda: taken.count == stats.delivered)  # noqa: B023 - called at once
            assert not taken.went_back, taken.went_back[:3]
            assert taken.snapshots == stats.snapshots
            assert taken.told == stats.missed, (taken.told, stats)
            assert stats.faults == 0
            assert stats.skipped == 0
            if policy == "block":
                assert stats.missed == stats.conflated == 0
                assert stats.delivered + stats.filtered == stats.published
                assert taken.newest[0, QUOTE] + taken.newest[1, QUOTE] == counts["quote"]
                assert taken.newest[1, TRADE] == counts["trade"]
            if conflates:
                assert stats.delivered + stats.conflated + stats.missed + stats.filtered == total
        everybody = [subscription.stats() for subscription in subscriptions]
        assert any(stats.missed for stats in everybody) == (policy != "block"), (
            "nobody was lapped: the test shows nothing"
        )
        if conflates:
            assert all(stats.conflated for stats in everybody)
            # Also after folds and laps, each subscription's last quote of an instrument is the last published one.
            last = {(which, QUOTE): max(taken.newest[which, QUOTE] for taken in takens) for which in (0, 1)}
            assert sum(last.values()) == counts["quote"]
            for taken in takens:
                newest = {key: seq for key, seq in taken.newest.items() if key[1] == QUOTE}
                assert newest == last


@pytest.mark.timeout(60)
@pytest.mark.parametrize("policy", ["block", "drop_oldest", "conflate"])
def test_a_million_ticks_to_eight_readers_are_accounted_for(policy: str, seed: int) -> None:
    run(policy, 1_000_000, seed)


@pytest.mark.deep
@pytest.mark.timeout(900)
@pytest.mark.parametrize("policy", ["block", "drop_oldest", "conflate"])
def test_ten_million_ticks_to_eight_readers_are_accounted_for(policy: str, seed: int) -> None:
    run(policy, 10_000_000, seed)
