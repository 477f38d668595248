"""Gaps: every reason, at its place in the order, with the count of missing ticks, for every form of consumer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from headrace import Dispatcher, Flags, GapCause, Sequencer, Strategy
from headrace.errors import RestoreError
from headrace.market.tick import GAP_DTYPE
from tests.support.feeding import BTC, ETH, HandClock, holds_the_law, quotes, read_all, trades


class Told(Strategy):
    def __init__(self) -> None:
        self.said: list[Any] = []

    def on_gap(self, cause, first, last, missing, lost_kind, instrument, position, seq):
        self.said.append((cause.name, first, last, missing, lost_kind, instrument))

    def on_trade(self, trade_id, flags):
        self.said.append((trade_id, bool(flags & Flags.GAP_BEFORE)))


def test_a_jump_of_trade_ids_is_a_gap_of_the_venue() -> None:
    told = Told()
    with Dispatcher() as dispatcher:
        dispatcher.subscribe(told)
        dispatcher.publish(trades(dispatcher, [1, 2, 3], trade_id=[10, 11, 15]))
        dispatcher.dispatch()
    assert told.said == [(10, False), (11, False), ("VENUE", 12, 14, 3, "trade", BTC), (15, True)]


def test_the_first_tick_after_a_reconnect_follows_a_gap() -> None:
    told = Told()
    with Dispatcher() as dispatcher:
        dispatcher.subscribe(told)
        dispatcher.publish(trades(dispatcher, [1], trade_id=[10]))
        dispatcher.sequencer.reconnect()
        dispatcher.publish(trades(dispatcher, [1], trade_id=[14], ts_init=5))
        dispatcher.dispatch()
    assert told.said == [(10, False), ("RECONNECT", 11, 13, 3, "trade", BTC), (14, True)]


def test_a_restored_sequencer_repeats_no_number() -> None:
    told = Told()
    with Dispatcher(instruments=[BTC]) as dispatcher:
        dispatcher.publish(trades(dispatcher, [1, 2, 3], trade_id=[1, 2, 3]))
        saved = dispatcher.sequencer.save()
    with Dispatcher(instruments=[BTC]) as first:
        sequencer = Sequencer(first.instruments)
        sequencer.restore(saved)
        with Dispatcher(instruments=first.instruments, sequencer=sequencer) as dispatcher:
            pull = dispatcher.subscribe()
            dispatcher.subscribe(told)
            dispatcher.publish(trades(dispatcher, [4], trade_id=[4]))
            dispatcher.dispatch()
            got = read_all(pull)
    assert told.said[0][0] == "RESTART"
    assert got["seq"][got["kind"] == 2][0] > 1 << 20


def test_a_saved_state_is_restored_once() -> None:
    with Dispatcher(instruments=[BTC]) as dispatcher:
        dispatcher.publish(trades(dispatcher, [1], trade_id=[1]))
        saved = dispatcher.sequencer.save()
    with Dispatcher(instruments=[BTC]) as other:
        first = Sequencer(other.instruments)
        first.restore(saved)
        with pytest.raises(RestoreError, match="restored before"):
            Sequencer(other.instruments).restore(saved)
        # What the first one saves is a state of its own.
        Sequencer(other.instruments).restore(first.save())
        nothing = Sequencer(other.instruments).save()
        for _ in range(2):
            Sequencer(other.instruments).restore(nothing)


def test_gaps_are_numbered_and_counted_like_any_tick() -> None:
    with Dispatcher() as dispatcher:
        pull = dispatcher.subscribe()
        dispatcher.publish(trades(dispatcher, range(4), trade_id=[1, 5, 9, 13]))
        got = read_all(pull)
        assert got["seq"][got["kind"] == 6].tolist() == [1, 2, 3]
        assert dispatcher.stats().gaps == 3
        assert dispatcher.stats().ticks["gap"] == 3
        assert pull.stats().delivered == 7


def test_a_feed_gap_is_filtered_by_instrument() -> None:
    told = Told()
    with Dispatcher() as dispatcher:
        subscription = dispatcher.subscribe(told, instruments=ETH)
        dispatcher.publish(trades(dispatcher, [1, 2], trade_id=[1, 5]))
        dispatcher.publish(trades(dispatcher, [1, 2], trade_id=[1, 7], instrument=ETH))
        dispatcher.dispatch()
        stats = subscription.stats()
    assert told.said == [(1, False), ("VENUE", 2, 6, 5, "trade", ETH), (7, True)]
    assert (stats.delivered, stats.filtered) == (3, 3)


def test_a_readers_gap_has_no_instrument_and_no_number() -> None:
    with Dispatcher(ring_capacity=8) as dispatcher:
        pull = dispatcher.subscribe(overflow="drop_oldest")
        dispatcher.publish(quotes(dispatcher, range(20), ts_init=range(20)))
        gap, *_ = read_all(pull)
    told = np.array([gap]).view(GAP_DTYPE)[0]
    assert (told["instrument"], told["seq"], told["kind"]) == (0xFFFF_FFFF, 0, 6)
    assert (told["first"], told["last"], told["missing"]) == (0, 12, 13)
    # At the time of the tick that follows.
    assert told["ts_init"] == 13


class OneByOne(Strategy):
    def __init__(self, log: list[Any]) -> None:
        self.said = log

    def on_gap(self, cause, missing):
        self.said.append((cause, missing))

    def on_quote(self, seq): ...


@pytest.mark.parametrize(
    ("cause", "missing"), [(GapCause.OVERRUN, 93), (GapCause.PAUSED, 100), (GapCause.LAG, 99), (GapCause.RATE, 99)]
)
def test_every_reason_of_a_loss_is_one_gap_with_its_count(cause: GapCause, missing: int) -> None:
    log: list[Any] = []
    clock = HandClock(0)
    options: dict[GapCause, dict[str, Any]] = {
        GapCause.OVERRUN: {"overflow": "drop_oldest"},
        GapCause.PAUSED: {},
        GapCause.LAG: {"overflow": "drop_oldest", "on_lag": "skip", "lag_max_ticks": 5},
        GapCause.RATE: {"overflow": "drop_oldest", "rate_limit": 1},
    }
    with Dispatcher(clock=clock, ring_capacity=8 if cause is GapCause.OVERRUN else 256) as dispatcher:
        subscription = dispatcher.subscribe(OneByOne(log), **options[cause])
        if cause is GapCause.PAUSED:
            subscription.pause()
        dispatcher.publish(quotes(dispatcher, np.zeros(100)))
        dispatcher.dispatch()
        subscription.resume()
        clock.at_ns = 1_000_000_000
        dispatcher.publish(quotes(dispatcher, [1.0]))
        dispatcher.dispatch()
        stats = subscription.stats()
    assert log == [(cause, missing)]
    assert stats.missed + stats.skipped == missing
    assert holds_the_law(stats)


def test_duplicates_are_dropped_or_delivered_flagged() -> None:
    once, twice = [(1, 1, False), (2, 2, False)], [(1, 1, False), (1, 2, True), (2, 3, False)]
    for duplicates, expected in (("drop", once), ("deliver", twice)):
        got: list[Any] = []
        with Dispatcher(duplicates=duplicates) as dispatcher:  # type: ignore[arg-type]
            dispatcher.subscribe(
                lambda trade_id, seq, flags, got=got: got.append((trade_id, seq, bool(flags & Flags.DUPLICATE))),
                callback="on_trade",
            )
            dispatcher.publish(trades(dispatcher, [1, 1, 2], trade_id=[1, 1, 2]))
            dispatcher.dispatch()
            assert dispatcher.stats().duplicates == 1
        assert got == expected


def test_late_ticks_are_delivered_flagged_or_dropped() -> None:
    for late, expected in (("deliver", [(5, False), (6, False), (3, True)]), ("drop", [(5, False), (6, False)])):
        got: list[Any] = []
        with Dispatcher(late=late) as dispatcher:  # type: ignore[arg-type]
            dispatcher.subscribe(
                lambda trade_id, flags, got=got: got.append((trade_id, bool(flags & Flags.LATE))), callback="on_trade"
            )
            dispatcher.publish(trades(dispatcher, [1, 1, 2], trade_id=[5, 6, 3]))
            dispatcher.dispatch()
            assert dispatcher.stats().late == 1
            assert dispatcher.stats().gaps == 0
        assert got == expected


def test_two_venues_of_one_symbol_are_two_instruments() -> None:
    got: list[Any] = []
    with Dispatcher() as dispatcher:
        dispatcher.subscribe(lambda instrument, seq: got.append((instrument, seq)), callback="on_trade")
        for name in (BTC, "BTCUSDT.BINANCE_USDM"):
            dispatcher.publish(trades(dispatcher, [1, 2], trade_id=[1, 2], instrument=name))
        dispatcher.dispatch()
        assert dispatcher.stats().gaps == 0
    assert got == [(BTC, 1), (BTC, 2), ("BTCUSDT.BINANCE_USDM", 1), ("BTCUSDT.BINANCE_USDM", 2)]


def test_seq_is_dense_and_steps_by_what_was_lost() -> None:
    seqs: list[int] = []
    with Dispatcher(ring_capacity=16) as dispatcher:
        subscription = dispatcher.subscribe(
            lambda seq: seqs.append(seq), callback="on_quote", overflow="drop_oldest", instruments=BTC
        )
        for lap in range(10):
            dispatcher.publish(quotes(dispatcher, range(5 if lap % 2 else 40)))
            dispatcher.dispatch()
        stats = subscription.stats()
    steps = sum(later - earlier - 1 for earlier, later in zip([0, *seqs], seqs, strict=False))
    assert steps == stats.missed > 0
