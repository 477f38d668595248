"""What each overload policy does, tick by tick, on a clock that the test moves."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

from headrace import Dispatcher, Flags, GapCause, Strategy
from tests.support.feeding import BTC, ETH, HandClock, holds_the_law, level_event, quotes, read_all, trades


class Witness(Strategy):
    """Keeps quotes, trades and gaps, one by one."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    def on_gap(self, cause, first, last, missing):
        self.said.append((cause, first, last, missing))

    def on_quote(self, bid_price, flags):
        self.said.append(("snapshot" if flags & Flags.SNAPSHOT else "quote", bid_price))


def bids(witness: Witness) -> list[float]:
    return [entry[1] for entry in witness.said if entry[0] == "quote"]


# block


def test_block_delivers_every_tick_through_a_small_ring() -> None:
    witness = Witness()
    with Dispatcher(ring_capacity=4) as dispatcher:
        subscription = dispatcher.subscribe(witness)
        dispatcher.publish(quotes(dispatcher, range(1_000)))
        dispatcher.dispatch()
        stats = subscription.stats()
    assert bids(witness) == list(range(1_000))
    assert (stats.delivered, stats.missed) == (1_000, 0)


# drop_oldest


def test_a_lapped_reader_gets_a_gap_with_the_exact_count() -> None:
    witness = Witness()
    with Dispatcher(ring_capacity=16) as dispatcher:
        subscription = dispatcher.subscribe(witness, overflow="drop_oldest")
        dispatcher.publish(quotes(dispatcher, range(100)))
        dispatcher.dispatch()
        stats = subscription.stats()
    # The jump is to the cursor less 7/8 of the capacity.
    assert witness.said[0] == (GapCause.OVERRUN, 0, 85, 86)
    assert bids(witness) == list(range(86, 100))
    assert (stats.missed, stats.delivered) == (86, 14)
    assert holds_the_law(stats)


def test_a_reader_that_lost_part_of_an_event_skips_the_rest() -> None:
    got: list[tuple[int, bool]] = []
    told: list[int] = []

    class Levels(Strategy):
        def on_gap(self, missing):
            told.append(missing)

        def on_level(self, position, flags):
            got.append((position, bool(flags & Flags.FIRST_IN_EVENT)))

    with Dispatcher(ring_capacity=16) as dispatcher:
        subscription = dispatcher.subscribe(Levels(), overflow="drop_oldest")
        for _ in range(5):
            dispatcher.publish(level_event(dispatcher, 9))
        dispatcher.dispatch()
        stats = subscription.stats()
    # 45 positions; the jump is to 31, in the middle of the event 27..35.
    assert got[0] == (36, True)
    assert [position for position, _ in got] == list(range(36, 45))
    assert told == [36]
    assert (stats.missed, stats.delivered) == (36, 9)


def test_a_plural_handler_gets_the_gap_between_batches() -> None:
    log: list[Any] = []

    class Columns(Strategy):
        def on_gap(self, cause, missing):
            log.append((cause.name, missing))

        def on_quotes(self, bid_price):
            log.append(bid_price.tolist())

        def on_ticks(self, ticks):
            log.append(("ticks", ticks["kind"].tolist()))

    with Dispatcher(ring_capacity=8) as dispatcher:
        dispatcher.subscribe(Columns(), overflow="drop_oldest")
        dispatcher.publish(quotes(dispatcher, [1.0, 2.0]))
        dispatcher.dispatch()
        dispatcher.publish(quotes(dispatcher, range(20)))
        dispatcher.dispatch()
    assert log[:3] == [[1.0, 2.0], ("ticks", [1, 1]), ("OVERRUN", 13)]
    assert [13.0, 14.0, 15.0, 16.0, 17.0, 18.0, 19.0] in log


# conflate


def test_conflate_keeps_each_instruments_newest_in_its_place() -> None:
    got: list[tuple[str, float, int]] = []
    with Dispatcher() as dispatcher:
        subscription = dispatcher.subscribe(
            lambda symbol, bid_price, position: got.append((symbol, bid_price, position)),
            callback="on_quote",
            overflow="conflate",
        )
        dispatcher.publish(quotes(dispatcher, [1.0, 2.0]))
        dispatcher.publish(quotes(dispatcher, [7.0], instrument=ETH))
        dispatcher.publish(quotes(dispatcher, [3.0]))
        dispatcher.dispatch()
        stats = subscription.stats()
    assert got == [("ETHUSDT", 7.0, 2), ("BTCUSDT", 3.0, 3)]
    assert (stats.delivered, stats.conflated) == (2, 2)


def test_conflate_that_joins_a_backlog_folds_from_its_join() -> None:
    got: list[float] = []
    with Dispatcher(on_fault="raise") as dispatcher:

        def on_quote(position):
            if position == 1:
                # The join position lies inside a batch: ticks before it are read together with ticks after it.
                dispatcher.publish(quotes(dispatcher, range(50)))
                dispatcher.subscribe(
                    lambda bid_price, flags: got.append(bid_price) if not flags & Flags.SNAPSHOT else None,
                    callback="on_quote",
                    overflow="conflate",
                    name="late",
                )
                dispatcher.publish(quotes(dispatcher, range(100, 150)))

        dispatcher.subscribe(on_quote)
        dispatcher.publish(quotes(dispatcher, range(5)))
        dispatcher.dispatch()
        stats = dispatcher.subscriptions["late"].stats()
    assert got == [149.0]
    assert (stats.published, stats.conflated, stats.delivered) == (50, 49, 1)


def test_folded_quotes_pass_their_gap_flag_on() -> None:
    flags_: list[int] = []
    with Dispatcher() as dispatcher:
        dispatcher.subscribe(lambda flags: flags_.append(flags), callback="on_quote", overflow="conflate")
        made = quotes(dispatcher, [1.0, 2.0, 3.0])
        made["flags"][1] |= np.uint16(Flags.GAP_BEFORE)
        dispatcher.publish(made)
        dispatcher.dispatch()
        dispatcher.publish(quotes(dispatcher, [4.0]))
        dispatcher.dispatch()
    assert [bool(flags & Flags.GAP_BEFORE) for flags in flags_] == [True, False]


def test_a_lapped_conflate_reader_gets_quotes_from_the_table() -> None:
    witness = Witness()
    with Dispatcher(ring_capacity=8) as dispatcher:
        subscription = dispatcher.subscribe(witness, overflow="conflate")
        dispatcher.publish(quotes(dispatcher, [1.0], instrument=ETH))
        dispatcher.publish(quotes(dispatcher, range(100)))
        dispatcher.dispatch()
        stats = subscription.stats()
    assert witness.said[0][0] is GapCause.OVERRUN
    assert ("snapshot", 1.0) in witness.said
    assert witness.said[-1][1] == 99.0
    assert holds_the_law(stats)


def test_min_interval_delays_the_newest_quote() -> None:
    clock = HandClock(1_000)
    witness = Witness()
    with Dispatcher(clock=clock) as dispatcher:
        subscription = dispatcher.subscribe(witness, overflow="conflate", min_interval_ns=100)
        for at_ns, bid in [(1_000, 1.0), (1_010, 2.0), (1_050, 3.0), (1_099, 4.0)]:
            clock.at_ns = at_ns
            dispatcher.publish(quotes(dispatcher, [bid], ts_init=at_ns))
            dispatcher.dispatch()
        assert bids(witness) == [1.0]
        assert subscription.stats().pending == 1
        clock.at_ns = 1_100
        dispatcher.dispatch()
        assert bids(witness) == [1.0, 4.0]
        clock.at_ns = 1_150
        dispatcher.publish(quotes(dispatcher, [5.0], ts_init=1_150))
        dispatcher.dispatch()
        assert bids(witness) == [1.0, 4.0]
        dispatcher.finish()
        stats = subscription.stats()
    assert bids(witness) == [1.0, 4.0, 5.0]
    assert (stats.delivered, stats.conflated, stats.pending) == (3, 2, 0)


def test_min_interval_applies_to_each_instrument() -> None:
    clock = HandClock(1_000)
    witness = Witness()
    with Dispatcher(clock=clock) as dispatcher:
        dispatcher.subscribe(witness, overflow="conflate", min_interval_ns=100)
        dispatcher.publish(quotes(dispatcher, [1.0]))
        dispatcher.publish(quotes(dispatcher, [2.0], instrument=ETH))
        dispatcher.dispatch()
    assert bids(witness) == [1.0, 2.0]


def test_plural_handlers_get_delayed_quotes_when_they_are_due() -> None:
    clock = HandClock(1_000)
    got: list[list[float]] = []
    with Dispatcher(clock=clock) as dispatcher:
        dispatcher.subscribe(
            lambda bid_price: got.append(bid_price.tolist()),
            callback="on_quotes",
            overflow="conflate",
            min_interval_ns=100,
        )
        for bid in (1.0, 2.0):
            dispatcher.publish(quotes(dispatcher, [bid]))
            dispatcher.dispatch()
        clock.at_ns = 1_100
        dispatcher.dispatch()
    assert got == [[1.0], [2.0]]


# rate_limit


def test_ticks_above_the_rate_are_skipped_with_a_gap() -> None:
    clock = HandClock(0)
    witness = Witness()
    with Dispatcher(clock=clock) as dispatcher:
        subscription = dispatcher.subscribe(witness, overflow="drop_oldest", rate_limit=3)
        dispatcher.publish(quotes(dispatcher, range(10)))
        dispatcher.dispatch()
        assert bids(witness) == [0, 1, 2]
        assert subscription.stats().skipped == 7
        clock.at_ns = 1_000_000_000
        dispatcher.publish(quotes(dispatcher, [10.0]))
        dispatcher.dispatch()
        stats = subscription.stats()
    assert witness.said[3:] == [(GapCause.RATE, 3, 9, 7), ("quote", 10.0)]
    assert holds_the_law(stats)
    assert (stats.delivered, stats.skipped) == (4, 7)


def test_the_bucket_fills_by_the_clock_and_holds_a_second() -> None:
    clock = HandClock(0)
    witness = Witness()
    with Dispatcher(clock=clock) as dispatcher:
        dispatcher.subscribe(witness, overflow="drop_oldest", rate_limit=10)
        total = 0
        for at_ns in (0, 100_000_000, 250_000_000, 60_000_000_000):
            clock.at_ns = at_ns
            dispatcher.publish(quotes(dispatcher, range(50)))
            dispatcher.dispatch()
            total = len(bids(witness))
            assert total == {0: 10, 100_000_000: 11, 250_000_000: 12, 60_000_000_000: 22}[at_ns]


def test_a_rate_of_0_1_delivers_a_tick_every_10_seconds() -> None:
    clock = HandClock(0)
    witness = Witness()
    with Dispatcher(clock=clock) as dispatcher:
        dispatcher.subscribe(witness, overflow="drop_oldest", rate_limit=0.1)
        for second in range(31):
            clock.at_ns = second * 1_000_000_000
            dispatcher.publish(quotes(dispatcher, [float(second)]))
            dispatcher.dispatch()
    assert bids(witness) == [0.0, 10.0, 20.0, 30.0]


def test_an_event_is_never_torn_by_the_rate() -> None:
    got: list[int] = []
    with Dispatcher(clock=HandClock(0)) as dispatcher:
        subscription = dispatcher.subscribe(
            lambda position: got.append(position), callback="on_level", overflow="drop_oldest", rate_limit=2
        )
        for _ in range(4):
            dispatcher.publish(level_event(dispatcher, 5))
        dispatcher.dispatch()
        stats = subscription.stats()
    assert got == list(range(10))
    assert (stats.delivered, stats.skipped) == (10, 10)


# lag


def test_lag_warns_once_per_episode(caplog: pytest.LogCaptureFixture) -> None:
    with Dispatcher() as dispatcher, caplog.at_level(logging.WARNING, "headrace"):
        dispatcher.subscribe(lambda bid_price: None, callback="on_quotes", batch_max=10, lag_max_ticks=50, name="slow")
        for _ in range(2):
            dispatcher.publish(quotes(dispatcher, np.zeros(200)))
            dispatcher.dispatch()
            dispatcher.publish(quotes(dispatcher, np.zeros(5)))
            dispatcher.dispatch()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert all("slow lags: 200 ticks" in text for text in said)


def test_lag_in_time_is_measured_by_the_clock(caplog: pytest.LogCaptureFixture) -> None:
    clock = HandClock(0)
    with Dispatcher(clock=clock) as dispatcher, caplog.at_level(logging.WARNING, "headrace"):
        dispatcher.subscribe(lambda bid_price: None, callback="on_quote", lag_max_ns=1_000)
        for late_ns in (1_000, 1_001, 5_000, 10, 2_000):
            clock.at_ns += 1_000_000
            dispatcher.publish(quotes(dispatcher, [1.0], ts_init=clock.at_ns - late_ns))
            dispatcher.dispatch()
    assert len(caplog.records) == 2


def test_lag_skip_jumps_to_the_newest_with_a_gap() -> None:
    witness = Witness()
    with Dispatcher() as dispatcher:
        subscription = dispatcher.subscribe(witness, overflow="drop_oldest", lag_max_ticks=50, on_lag="skip")
        dispatcher.publish(quotes(dispatcher, range(200)))
        dispatcher.dispatch()
        dispatcher.publish(quotes(dispatcher, [500.0]))
        dispatcher.dispatch()
        stats = subscription.stats()
    assert witness.said == [(GapCause.LAG, 0, 198, 199), ("quote", 199.0), ("quote", 500.0)]
    assert (stats.skipped, stats.delivered) == (199, 2)
    assert holds_the_law(stats)


def test_lag_skip_lands_on_an_events_beginning() -> None:
    got: list[tuple[int, bool]] = []
    with Dispatcher() as dispatcher:
        subscription = dispatcher.subscribe(
            lambda position, flags: got.append((position, bool(flags & Flags.FIRST_IN_EVENT))),
            callback="on_level",
            overflow="drop_oldest",
            lag_max_ticks=5,
            on_lag="skip",
        )
        for _ in range(4):
            dispatcher.publish(level_event(dispatcher, 5))
        dispatcher.dispatch()
        dispatcher.publish(level_event(dispatcher, 3))
        dispatcher.dispatch()
        stats = subscription.stats()
    assert got == [(20, True), (21, False), (22, False)]
    assert (stats.skipped, stats.delivered) == (20, 3)


def test_a_skipping_reader_does_not_affect_others() -> None:
    got: list[int] = []
    with Dispatcher() as dispatcher:
        dispatcher.subscribe(Witness(), overflow="drop_oldest", lag_max_ticks=5, on_lag="skip")
        dispatcher.subscribe(lambda position: got.append(position), callback="on_quote")
        dispatcher.publish(quotes(dispatcher, range(100)))
        dispatcher.dispatch()
    assert got == list(range(100))


# pause and resume


def test_resume_delivers_a_gap_and_the_newest_quotes() -> None:
    witness = Witness()
    with Dispatcher() as dispatcher:
        subscription = dispatcher.subscribe(witness)
        dispatcher.publish(quotes(dispatcher, [1.0]))
        dispatcher.dispatch()
        subscription.pause()
        dispatcher.publish(quotes(dispatcher, [2.0, 3.0]))
        dispatcher.dispatch()
        assert subscription.stats().skipped == 2
        subscription.resume()
        dispatcher.dispatch()
        dispatcher.publish(quotes(dispatcher, [4.0]))
        dispatcher.dispatch()
        stats = subscription.stats()
    assert witness.said == [("quote", 1.0), (GapCause.PAUSED, 1, 2, 2), ("snapshot", 3.0), ("quote", 4.0)]
    assert (stats.delivered, stats.skipped, stats.snapshots) == (2, 2, 1)
    assert holds_the_law(stats)


def test_a_newest_quote_still_in_the_ring_is_not_sent_twice() -> None:
    witness = Witness()
    with Dispatcher() as dispatcher:
        subscription = dispatcher.subscribe(witness)
        subscription.pause()
        dispatcher.publish(quotes(dispatcher, [2.0]))
        dispatcher.publish(quotes(dispatcher, [7.0], instrument=ETH))
        dispatcher.dispatch()
        subscription.resume()
        dispatcher.publish(quotes(dispatcher, [3.0]))
        dispatcher.dispatch()
    assert witness.said == [(GapCause.PAUSED, 0, 1, 2), ("snapshot", 7.0), ("quote", 3.0)]


@pytest.mark.parametrize("overflow", ["block", "drop_oldest", "conflate"])
def test_a_ring_lapped_in_a_pause_is_a_gap_before_the_quotes(overflow: Any) -> None:
    with Dispatcher(ring_capacity=8) as dispatcher:
        pull = dispatcher.subscribe(kinds=["quote", "gap"], overflow=overflow)
        pull.pause()
        dispatcher.publish(quotes(dispatcher, [7.0], instrument=ETH))
        dispatcher.publish(quotes(dispatcher, range(100)))
        pull.resume()
        got = read_all(pull)
        stats = pull.stats()
    given = {(int(tick["instrument"]), float(tick["values"][0])) for tick in got[got["kind"] == 1]}
    assert got["kind"][0] == 6
    assert (0, 7.0) in given
    assert (1, 99.0) in given
    newest = got[got["instrument"] == 1]["seq"]
    assert (np.diff(newest.astype("i8")) > 0).all()
    assert holds_the_law(stats)
    assert stats.pending == 0


def test_resume_delivers_its_gap_without_a_next_tick() -> None:
    witness = Witness()
    with Dispatcher() as dispatcher:
        subscription = dispatcher.subscribe(witness)
        subscription.pause()
        dispatcher.publish(quotes(dispatcher, [2.0]))
        dispatcher.dispatch()
        subscription.resume()
        dispatcher.dispatch()
    assert witness.said == [(GapCause.PAUSED, 0, 0, 1), ("snapshot", 2.0)]


def test_a_pause_without_ticks_leaves_no_gap() -> None:
    witness = Witness()
    with Dispatcher() as dispatcher:
        subscription = dispatcher.subscribe(witness)
        dispatcher.publish(quotes(dispatcher, [1.0]))
        dispatcher.dispatch()
        subscription.pause()
        subscription.resume()
        dispatcher.publish(quotes(dispatcher, [2.0]))
        dispatcher.dispatch()
    assert witness.said == [("quote", 1.0), ("quote", 2.0)]


def test_a_paused_subscription_runs_no_python_and_others_go_on() -> None:
    calls: list[str] = []
    with Dispatcher() as dispatcher:
        paused = dispatcher.subscribe(lambda: calls.append("paused"), callback="on_quote")
        dispatcher.subscribe(lambda: calls.append("other"), callback="on_quote")
        paused.pause()
        dispatcher.publish(quotes(dispatcher, [1.0, 2.0]))
        dispatcher.dispatch()
        assert paused.stats().calls == 0
    assert calls == ["other", "other"]


def test_a_paused_block_reader_leaves_the_gate_at_once() -> None:
    witness = Witness()
    with Dispatcher(ring_capacity=8, block_max_ns=None) as dispatcher:
        pull = dispatcher.subscribe()
        dispatcher.subscribe(witness)
        pull.pause()
        dispatcher.publish(quotes(dispatcher, range(100)))
        dispatcher.dispatch()
        assert bids(witness) == list(range(100))
        pull.resume()
        batch = read_all(pull)
        stats = pull.stats()
    assert batch["values"][-1, 0] == 99.0
    assert not stats.demoted
    assert holds_the_law(stats)
    assert stats.missed + stats.skipped + stats.delivered == 100


@pytest.mark.parametrize("form", ["on_quotes", "on_ticks"])
def test_plural_handlers_get_the_gap_of_a_pause(form: str) -> None:
    log: list[Any] = []

    def record(self, bid_price):
        log.append(bid_price.tolist())

    def record_all(self, ticks):
        log.append(ticks["kind"].tolist())

    def on_gap(self, cause, missing):
        log.append((cause.name, missing))

    methods: dict[str, Any] = {form: record if form == "on_quotes" else record_all, "on_gap": on_gap}
    with Dispatcher() as dispatcher:
        subscription = dispatcher.subscribe(type("Mine", (Strategy,), methods)())
        subscription.pause()
        dispatcher.publish(quotes(dispatcher, [1.0, 2.0]))
        dispatcher.dispatch()
        subscription.resume()
        dispatcher.publish(quotes(dispatcher, [3.0]))
        dispatcher.dispatch()
        assert holds_the_law(subscription.stats())
    assert log[0] == ("PAUSED", 2)
    assert log[-1] == ([3.0] if form == "on_quotes" else [1])


def test_pausing_in_a_handler_takes_effect_at_its_next_tick() -> None:
    got: list[int] = []
    with Dispatcher() as dispatcher:

        def on_quote(position):
            got.append(position)
            dispatcher.subscriptions["mine"].pause()

        subscription = dispatcher.subscribe(on_quote, name="mine")
        dispatcher.publish(quotes(dispatcher, range(5)))
        dispatcher.dispatch()
        stats = subscription.stats()
    assert got == [0]
    assert (stats.delivered, stats.skipped) == (1, 4)


def test_closing_while_paused_keeps_the_law() -> None:
    with Dispatcher() as dispatcher:
        subscription = dispatcher.subscribe(Witness())
        subscription.pause()
        dispatcher.publish(quotes(dispatcher, range(5)))
        dispatcher.dispatch()
        dispatcher.publish(quotes(dispatcher, range(3)))
        subscription.close()
        dispatcher.publish(quotes(dispatcher, range(3)))
        dispatcher.dispatch()
        stats = subscription.stats()
    assert (stats.published, stats.skipped) == (8, 8)
    assert holds_the_law(stats)


def test_a_filter_counts_the_ticks_it_removes() -> None:
    with Dispatcher() as dispatcher:
        subscription = dispatcher.subscribe(lambda price: None, callback="on_trade", instruments=BTC)
        dispatcher.publish(quotes(dispatcher, range(5)))
        dispatcher.publish(trades(dispatcher, range(3), instrument=ETH))
        dispatcher.publish(trades(dispatcher, range(2)))
        dispatcher.dispatch()
        stats = subscription.stats()
    assert (stats.published, stats.filtered, stats.delivered) == (10, 8, 2)


def test_filtered_counts_survive_other_subscriptions() -> None:
    with Dispatcher() as dispatcher:
        subscription = dispatcher.subscribe(lambda price: None, callback="on_trade", instruments=BTC)
        for _ in range(3):
            dispatcher.publish(trades(dispatcher, range(4), instrument=ETH))
            dispatcher.publish(trades(dispatcher, range(2)))
            dispatcher.dispatch()
            other = dispatcher.subscribe(lambda bid_price: None, callback="on_quote")
            dispatcher.publish(quotes(dispatcher, range(5)))
            dispatcher.dispatch()
            other.close()
            assert holds_the_law(subscription.stats())
            assert other.stats().filtered == 0
            assert other.stats().delivered == 5
        stats = subscription.stats()
    assert (stats.published, stats.filtered, stats.delivered) == (33, 27, 6)
