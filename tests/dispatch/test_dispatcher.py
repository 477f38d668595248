"""The order of the calls, the edges of batches, and that nothing is called after a close."""

from __future__ import annotations

import gc
import time
import weakref
from typing import Any

import numpy as np
import pytest

from headrace import Decoder, Dispatcher, Flags, GapCause, Ring, Sequencer, Strategy
from headrace.errors import (
    ClosedError,
    ConcurrentPublishError,
    DecoderError,
    ReentrantDispatchError,
    ReentrantPublishError,
    RingError,
)
from tests.support.feeding import BTC, ETH, HandClock, holds_the_law, level_event, quotes, read_all, trades


class Everything(Strategy):
    """Writes down each call: singular quotes and gaps, plural trades and levels, and every tick."""

    def __init__(self, log: list[Any], name: str = "") -> None:
        self.said = log
        self.name = name

    def on_gap(self, cause, missing, position):
        self.said.append((self.name, "gap", cause.name, missing))

    def on_quote(self, bid_price, position):
        self.said.append((self.name, "quote", position))

    def on_tick(self, tick):
        self.said.append((self.name, "tick", tick.kind, tick.position))

    def on_trades(self, position):
        self.said.append((self.name, "trades", position.tolist()))

    def on_levels(self, position):
        self.said.append((self.name, "levels", position.tolist()))


def test_dispatch_is_tick_major_and_in_registration_order() -> None:
    log: list[tuple[str, int]] = []
    with Dispatcher() as dispatcher:
        for name in "abc":
            dispatcher.subscribe(lambda position, name=name: log.append((name, position)), callback="on_quote")
        dispatcher.publish(quotes(dispatcher, [1.0, 2.0, 3.0]))
        assert dispatcher.dispatch() == 3
    assert log == [(name, position) for position in range(3) for name in "abc"]


def test_a_strategys_handlers_run_kind_then_on_tick_then_plural() -> None:
    log: list[Any] = []
    with Dispatcher() as dispatcher:
        dispatcher.subscribe(Everything(log))
        dispatcher.publish(trades(dispatcher, [1.0]))
        dispatcher.publish(level_event(dispatcher, 2))
        dispatcher.publish(quotes(dispatcher, [1.0]))
        dispatcher.publish(trades(dispatcher, [2.0]))
        dispatcher.dispatch()
    assert [entry[1:] for entry in log] == [
        ("tick", "trade", 0),
        ("tick", "level", 1),
        ("tick", "level", 2),
        ("quote", 3),
        ("tick", "quote", 3),
        ("tick", "trade", 4),
        ("trades", [0, 4]),
        ("levels", [1, 2]),
    ]


class AllPlural(Strategy):
    def __init__(self, log: list[Any]) -> None:
        self.said = log

    def on_ticks(self, ticks):
        self.said.append(("ticks", len(ticks)))

    def on_levels(self, seq):
        self.said.append(("levels", len(seq)))

    def on_agg_trades(self, seq):
        self.said.append(("agg_trades", len(seq)))

    def on_trades(self, seq):
        self.said.append(("trades", len(seq)))

    def on_quotes(self, seq):
        self.said.append(("quotes", len(seq)))


def test_plural_handlers_come_by_kind_and_on_ticks_last() -> None:
    log: list[Any] = []
    with Dispatcher() as dispatcher:
        dispatcher.subscribe(AllPlural(log))
        dispatcher.publish(level_event(dispatcher, 3))
        aggregate = trades(dispatcher, [1.0, 2.0])
        aggregate["kind"] = 3
        dispatcher.publish(aggregate)
        dispatcher.publish(trades(dispatcher, [1.0]))
        dispatcher.publish(quotes(dispatcher, [1.0, 2.0, 3.0, 4.0]))
        dispatcher.dispatch()
    assert log == [("quotes", 4), ("trades", 1), ("agg_trades", 2), ("levels", 3), ("ticks", 10)]


def test_plural_handlers_run_after_all_singular_ones() -> None:
    log: list[str] = []
    with Dispatcher() as dispatcher:
        dispatcher.subscribe(lambda seq: log.append("columns"), callback="on_quotes")
        dispatcher.subscribe(lambda seq: log.append("value"), callback="on_quote")
        dispatcher.publish(quotes(dispatcher, [1.0, 2.0]))
        dispatcher.dispatch()
    assert log == ["value", "value", "columns"]


def test_a_gap_comes_before_its_tick_and_splits_the_batch() -> None:
    log: list[Any] = []
    with Dispatcher() as dispatcher:
        dispatcher.subscribe(Everything(log))
        dispatcher.publish(trades(dispatcher, [1, 2, 3], trade_id=[1, 2, 9]))
        dispatcher.dispatch()
    assert [entry[1:] for entry in log] == [
        ("tick", "trade", 0),
        ("tick", "trade", 1),
        ("trades", [0, 1]),
        ("gap", "VENUE", 6),
        ("tick", "gap", 2),
        ("tick", "trade", 3),
        ("trades", [3]),
    ]


@pytest.mark.parametrize("options", [{}, {"every": "1s"}, {"overflow": "drop_oldest", "rate_limit": 1e9}])
def test_no_batch_spans_a_gap_whatever_the_options(options: dict[str, Any]) -> None:
    batches: list[list[int]] = []
    with Dispatcher(clock=HandClock(1)) as dispatcher:
        dispatcher.subscribe(lambda trade_id: batches.append(trade_id.tolist()), callback="on_trades", **options)
        dispatcher.publish(trades(dispatcher, [1, 2, 3, 4], trade_id=[1, 2, 9, 10]))
        dispatcher.dispatch()
        dispatcher.finish()
    assert batches == [[1, 2], [9, 10]]


def test_every_batch_holds_its_own_ticks() -> None:
    """A later batch of one read has columns of its own ticks, not of the first batch."""
    got: list[tuple[list[int], list[float], list[int]]] = []
    with Dispatcher() as dispatcher:
        dispatcher.subscribe(
            lambda position, price, seq: got.append((position.tolist(), price.tolist(), seq.tolist())),
            callback="on_trades",
            batch_max=4,
        )
        dispatcher.publish(trades(dispatcher, range(10)))
        dispatcher.dispatch()
    assert got == [
        ([0, 1, 2, 3], [0, 1, 2, 3], [1, 2, 3, 4]),
        ([4, 5, 6, 7], [4, 5, 6, 7], [5, 6, 7, 8]),
        ([8, 9], [8, 9], [9, 10]),
    ]


@pytest.mark.parametrize("options", [{}, {"overflow": "drop_oldest", "rate_limit": 1e9}])
@pytest.mark.parametrize("publish_whole", [True, False])
@pytest.mark.parametrize("longest_beside", [1, 1_024])
def test_a_batch_ends_on_an_event_edge_if_it_can(
    options: dict[str, Any], publish_whole: bool, longest_beside: int
) -> None:
    lengths: list[int] = []
    edges: list[bool] = []

    def on_levels(flags):
        lengths.append(len(flags))
        edges.append(bool(flags[-1] & Flags.LAST_IN_EVENT))

    with Dispatcher(clock=HandClock(1)) as dispatcher:
        subscription = dispatcher.subscribe(on_levels, batch_max=10, **options)
        dispatcher.subscribe(lambda ticks: None, callback="on_ticks", batch_max=longest_beside)
        events = [level_event(dispatcher, count) for count in (4, 4, 4, 25, 3, 10, 1)]
        for part in [np.concatenate(events)] if publish_whole else events:
            dispatcher.publish(part)
        dispatcher.dispatch()
        dispatcher.finish()
        assert subscription.stats().delivered == 51
        assert holds_the_law(subscription.stats())
    assert sum(lengths) == 51
    assert max(lengths) <= 10
    # Only the long event is cut inside, twice.
    assert edges.count(False) == 2
    assert lengths[0] == 8


def test_ticks_of_a_handler_come_after_those_that_wait() -> None:
    got: list[float] = []
    with Dispatcher() as dispatcher:

        def on_quote(bid_price):
            got.append(bid_price)
            if bid_price < 3:
                dispatcher.publish(quotes(dispatcher, [bid_price + 10]))

        dispatcher.subscribe(on_quote)
        dispatcher.publish(quotes(dispatcher, [1.0, 2.0]))
        dispatcher.dispatch()
    assert got == [1.0, 2.0, 11.0, 12.0]


def test_a_subscription_made_by_a_handler_gets_later_ticks() -> None:
    got: list[int] = []
    with Dispatcher() as dispatcher:

        def on_quote(position):
            if position == 1:
                dispatcher.subscribe(lambda position: got.append(position), callback="on_quote", name="late")

        dispatcher.subscribe(on_quote)
        dispatcher.publish(quotes(dispatcher, [1.0, 2.0, 3.0]))
        dispatcher.dispatch()
        dispatcher.publish(quotes(dispatcher, [4.0, 5.0]))
        dispatcher.dispatch()
        stats = dispatcher.subscriptions["late"].stats()
        assert holds_the_law(stats)
        assert stats.snapshots == 1
    assert got[-2:] == [3, 4]
    assert len(got) == 3


def test_on_join_the_newest_quotes_come_first_as_snapshots() -> None:
    got: list[tuple[str, float, bool]] = []
    with Dispatcher() as dispatcher:
        dispatcher.publish(quotes(dispatcher, [1.0, 2.0]))
        dispatcher.publish(quotes(dispatcher, [7.0], instrument=ETH))
        subscription = dispatcher.subscribe(
            lambda symbol, bid_price, flags: got.append((symbol, bid_price, bool(flags & Flags.SNAPSHOT))),
            callback="on_quote",
        )
        dispatcher.publish(quotes(dispatcher, [3.0]))
        dispatcher.dispatch()
        stats = subscription.stats()
    assert got == [("BTCUSDT", 2.0, True), ("ETHUSDT", 7.0, True), ("BTCUSDT", 3.0, False)]
    assert (stats.snapshots, stats.delivered, stats.published) == (2, 1, 1)


def test_snapshots_on_join_keep_to_the_subscriptions_instruments() -> None:
    got: list[str] = []
    with Dispatcher() as dispatcher:
        dispatcher.publish(quotes(dispatcher, [1.0]))
        dispatcher.publish(quotes(dispatcher, [7.0], instrument=ETH))
        dispatcher.subscribe(lambda symbol: got.append(symbol), callback="on_quote", instruments=ETH)
        dispatcher.dispatch()
    assert got == ["ETHUSDT"]


def test_a_dispatch_with_a_time_limit_goes_on_where_it_stopped() -> None:
    got: list[int] = []
    with Dispatcher() as dispatcher:
        subscription = dispatcher.subscribe(lambda position: got.append(position), callback="on_quote")
        dispatcher.publish(quotes(dispatcher, np.zeros(5_000)))
        slices = 0
        while dispatcher.dispatch(max_ns=1):
            slices += 1
            assert holds_the_law(subscription.stats())
    assert got == list(range(5_000))
    assert slices > 10


def test_stop_ends_a_dispatch_and_the_next_tick_is_not_lost() -> None:
    got: list[int] = []
    with Dispatcher() as dispatcher:

        def on_quote(position):
            got.append(position)
            if position == 2:
                dispatcher.stop()

        subscription = dispatcher.subscribe(on_quote)
        dispatcher.publish(quotes(dispatcher, np.zeros(10)))
        dispatcher.dispatch()
        stats = subscription.stats()
    assert got == [0, 1, 2]
    assert (stats.delivered, stats.pending) == (3, 7)


def test_a_dispatch_inside_a_dispatch_is_refused() -> None:
    refused: list[str] = []
    with Dispatcher() as dispatcher:

        def on_quote():
            with pytest.raises(ReentrantDispatchError) as error:
                dispatcher.dispatch()
            refused.append(str(error.value))

        dispatcher.subscribe(on_quote)
        dispatcher.publish(quotes(dispatcher, [1.0]))
        dispatcher.dispatch()
    assert len(refused) == 1
    assert "return from the handler first" in refused[0]


def test_a_reentrant_publish_publishes_nothing() -> None:
    errors: list[ReentrantPublishError] = []
    got: list[int] = []
    with Dispatcher(ring_capacity=8) as dispatcher:
        big = quotes(dispatcher, np.zeros(9))

        def on_quote(seq):
            got.append(seq)
            if seq == 1:
                with pytest.raises(ReentrantPublishError) as refused:
                    dispatcher.publish(big)
                errors.append(refused.value)

        dispatcher.subscribe(on_quote)
        dispatcher.publish(quotes(dispatcher, [1.0, 2.0]))
        dispatcher.dispatch()
        before = dispatcher.ring.cursor
        dispatcher.publish(quotes(dispatcher, [3.0]))
        dispatcher.dispatch()
        assert before == 2
    assert got == [1, 2, 3]
    assert (errors[0].published, errors[0].asked) == (0, 9)


def test_a_publish_nested_in_a_publish_is_refused() -> None:
    errors: list[Exception] = []
    with Dispatcher(ring_capacity=4) as dispatcher:

        def on_quote(seq):
            if seq == 1:
                with pytest.raises((ReentrantPublishError, ConcurrentPublishError)) as refused:
                    dispatcher.publish(quotes(dispatcher, [9.0]))
                errors.append(refused.value)

        subscription = dispatcher.subscribe(on_quote)
        dispatcher.publish(quotes(dispatcher, np.zeros(20)))
        dispatcher.dispatch()
        assert subscription.stats().delivered == 20
        assert dispatcher.stats().ticks["quote"] == 20
    assert len(errors) == 1
    assert isinstance(errors[0], ReentrantPublishError)


@pytest.mark.parametrize("capacity", [2, 4, 64])
def test_a_snapshot_of_2000_levels_passes_a_ring_of_two(capacity: int) -> None:
    prices: list[float] = []
    with Dispatcher(ring_capacity=capacity) as dispatcher:
        subscription = dispatcher.subscribe(lambda price: prices.append(price), callback="on_level")
        assert dispatcher.publish(level_event(dispatcher, 2_000, snapshot=True)) == 2_000
        dispatcher.dispatch()
        stats = subscription.stats()
    assert prices == list(range(2_000))
    assert (stats.delivered, stats.missed) == (2_000, 0)


def test_closing_one_subscription_leaves_the_others() -> None:
    got: list[str] = []
    with Dispatcher() as dispatcher:
        first = dispatcher.subscribe(lambda: got.append("first"), callback="on_quote")
        dispatcher.subscribe(lambda: got.append("second"), callback="on_quote")
        dispatcher.publish(quotes(dispatcher, [1.0]))
        first.close()
        first.close()
        dispatcher.publish(quotes(dispatcher, [2.0]))
        dispatcher.dispatch()
        stats = first.stats()
    assert got == ["second", "second"]
    assert (stats.published, stats.skipped, stats.delivered) == (1, 1, 0)
    assert holds_the_law(stats)


def test_a_handler_may_close_its_own_subscription_and_others() -> None:
    log: list[str] = []
    with Dispatcher() as dispatcher:

        def closes_itself():
            log.append("itself")
            dispatcher.subscriptions["itself"].close()

        def closes_other():
            log.append("closer")
            subscribed[2].close()

        subscribed = [
            dispatcher.subscribe(closes_itself, callback="on_quote", name="itself"),
            dispatcher.subscribe(closes_other, callback="on_quote", name="closer"),
            dispatcher.subscribe(lambda: log.append("other"), callback="on_quote", name="other"),
        ]
        dispatcher.publish(quotes(dispatcher, [1.0, 2.0]))
        dispatcher.dispatch()
        stats = {subscription.name: subscription.stats() for subscription in subscribed}
    assert log == ["itself", "closer", "closer"]
    assert all(holds_the_law(one) for one in stats.values())
    assert stats["other"].skipped == 2


def test_a_handler_may_close_the_dispatcher() -> None:
    got: list[int] = []
    dispatcher = Dispatcher()

    def on_quote(position):
        got.append(position)
        dispatcher.close()

    subscription = dispatcher.subscribe(on_quote)
    dispatcher.publish(quotes(dispatcher, [1.0, 2.0]))
    dispatcher.dispatch()
    assert got == [0]
    assert subscription.state == "closed"
    assert holds_the_law(subscription.stats())
    with pytest.raises(ClosedError):
        dispatcher.publish(quotes(dispatcher, [1.0]))


def test_a_dropped_dispatcher_frees_its_strategies() -> None:
    class Mine(Strategy):
        def on_quotes(self, bid_price): ...

    mine = Mine()
    dispatcher = Dispatcher()
    dispatcher.subscribe(mine)
    dispatcher.publish(quotes(dispatcher, [1.0]))
    dispatcher.dispatch()
    dispatcher.close()
    gone = weakref.ref(mine)
    del mine, dispatcher
    gc.collect()
    assert gone() is None


# Parts that work alone


def test_a_ring_alone_carries_records_to_gated_and_lossy_readers() -> None:
    ring = Ring(8)
    gated, lossy = ring.reader(gated=True), ring.reader()
    with Dispatcher() as dispatcher:
        made = quotes(dispatcher, range(20))
    assert ring.try_publish(made) == 8
    assert ring.try_publish(made) == 0
    assert ring.publish(made, timeout=0.01) == 0
    out = np.zeros(32, made.dtype)
    assert gated.read_into(out) == 8
    assert out[:8].tobytes() == made[:8].tobytes()
    assert ring.try_publish(made[8:16]) == 8
    assert lossy.read_into(out) + lossy.missed == 16
    assert (lossy.pending, gated.pending) == (0, 8)
    gated.close()
    with pytest.raises(ClosedError):
        gated.read_into(out)
    assert ring.publish(made, timeout=5) == 20


def test_a_sequencer_alone_numbers_and_finds_gaps() -> None:
    with Dispatcher() as dispatcher:
        made = trades(dispatcher, [1, 2, 3], trade_id=[1, 2, 5])
        sequencer = Sequencer(dispatcher.instruments)
    out = sequencer.sequence(made)
    assert out["kind"].tolist() == [2, 2, 6, 2]
    assert out["seq"].tolist() == [1, 2, 1, 3]
    assert sequencer.counts()["gaps"] == 1


def test_a_dispatcher_accepts_a_ring_and_a_sequencer() -> None:
    first = Dispatcher()
    ring, sequencer = Ring(64), Sequencer(first.instruments)
    with Dispatcher(instruments=first.instruments, ring=ring, sequencer=sequencer) as dispatcher:
        pull = dispatcher.subscribe()
        dispatcher.publish(quotes(dispatcher, [1.0]))
        assert ring.cursor == 1
        assert read_all(pull)["seq"].tolist() == [1]
    first.close()


def test_a_decoder_of_another_table_is_refused() -> None:
    with Dispatcher() as one, Dispatcher() as other:
        decoder = Decoder("BINANCE", other.instruments)
        with pytest.raises(DecoderError, match="another table"):
            one.publish_frame(decoder, b"{}", 1)


def test_a_rejected_frame_is_only_a_dead_letter() -> None:
    with Dispatcher() as dispatcher:
        decoder = Decoder("BINANCE", dispatcher.instruments)
        assert dispatcher.publish_frame(decoder, b'{"nonsense": ', 7) == 0
        assert dispatcher.publish_lines(decoder, b"12 {}\nno time\n", source="a.gz", first_row=5) == 0
        letters = dispatcher.dead_letters.list(kind="frame")
        assert letters[0].frame == b'{"nonsense": '
        assert (letters[-1].source, letters[-1].row, letters[-1].reason) == ("a.gz", 6, "bad_line")
        assert sum(dispatcher.stats().rejected.values()) == len(letters)
        assert dispatcher.ring.cursor == 0
        assert len(dispatcher.instruments) == 0


def test_frames_reach_handlers_as_ticks() -> None:
    got: list[Any] = []
    frame = b'{"u":400900217,"s":"BNBUSDT","b":"25.35190000","B":"31.21000000","a":"25.36520000","A":"40.66000000"}'
    with Dispatcher() as dispatcher:
        decoder = Decoder("BINANCE", dispatcher.instruments)
        dispatcher.subscribe(
            lambda instrument, bid_price, ask_size: got.append((instrument, bid_price, ask_size)), callback="on_quote"
        )
        assert dispatcher.publish_frame(decoder, frame, 77) == 1
        dispatcher.dispatch()
        assert dispatcher.stats().frames["bookTicker"] == 1
    assert got == [("BNBUSDT.BINANCE", 25.3519, 40.66)]


def test_an_impossible_ring_is_refused() -> None:
    with pytest.raises(RingError):
        Ring(3)


def test_stats_add_up() -> None:
    with Dispatcher() as dispatcher:
        dispatcher.subscribe(lambda bid_price: None, callback="on_quote")
        dispatcher.publish(quotes(dispatcher, [1, 2, 3]))
        dispatcher.publish(trades(dispatcher, [1, 2], trade_id=[1, 5]))
        dispatcher.dispatch()
        stats = dispatcher.stats()
    assert stats.published == 6
    assert (stats.ticks["quote"], stats.ticks["trade"], stats.gaps) == (3, 2, 1)
    assert stats.subscriptions["<lambda>"].delivered == 3
    assert stats.subscriptions["<lambda>"].filtered == 3
    assert stats.ticks_per_s > 0


def test_hashes_name_what_was_published_and_what_was_delivered() -> None:
    def run(capacity: int, part: int) -> tuple[str | None, str | None]:
        with Dispatcher(hashing=True, ring_capacity=capacity) as dispatcher:
            subscription = dispatcher.subscribe(lambda bid_price: None, callback="on_quote")
            made = quotes(dispatcher, range(100))
            for start in range(0, 100, part):
                dispatcher.publish(made[start : start + part])
            dispatcher.dispatch()
            return dispatcher.input_hash, subscription.stats().delivered_hash

    assert run(1_024, 100) == run(4, 7)
    assert None not in run(8, 1)
    with Dispatcher() as dispatcher:
        assert dispatcher.input_hash is None


def test_gap_causes_are_members() -> None:
    causes: list[Any] = []
    with Dispatcher() as dispatcher:
        dispatcher.subscribe(
            lambda cause, first, last, missing, lost_kind, instrument: causes.append(
                (cause, first, last, missing, lost_kind, instrument)
            ),
            callback="on_gap",
        )
        dispatcher.publish(trades(dispatcher, [1, 2], trade_id=[1, 5]))
        dispatcher.dispatch()
    assert causes == [(GapCause.VENUE, 2, 4, 3, "trade", BTC)]


def test_a_slow_handler_exceeds_a_time_limit_by_one_call() -> None:
    class Slow(Strategy):
        seen = 0

        def on_quote(self, seq: int) -> None:
            self.seen += 1
            time.sleep(0.002)

    slow = Slow()
    with Dispatcher(instruments=[BTC]) as dispatcher:
        dispatcher.subscribe(slow)
        dispatcher.publish(quotes(dispatcher, range(100)))
        dispatcher.dispatch(max_ns=200_000)
        first = slow.seen
        dispatcher.dispatch(max_ns=200_000)
        assert slow.seen == first + 1
