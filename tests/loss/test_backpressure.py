"""A full ring: which readers the publisher waits for, which it overtakes, and which error it gets."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import Any

import numpy as np
import pytest

from headrace import TICK_DTYPE, Decoder, Dispatcher, GapCause, Strategy
from headrace.errors import ReentrantPublishError, RingHeldError, StoppedError
from tests.support.feeding import BTC, holds_the_law, level_event, quotes, read_all, wait_until


def test_a_publish_held_by_a_pull_reader_of_its_thread_raises() -> None:
    with Dispatcher(ring_capacity=64) as dispatcher:
        pull = dispatcher.subscribe()
        with pytest.raises(RingHeldError, match=r"64 of 1000 ticks.*drop_oldest") as held:
            dispatcher.publish(quotes(dispatcher, range(1_000)))
        assert (held.value.published, held.value.asked) == (64, 1_000)
        assert read_all(pull)["values"][:, 0].tolist() == list(range(64))


def test_unpublished_ticks_go_first_with_the_next_publish() -> None:
    with Dispatcher(ring_capacity=64) as dispatcher:
        pull = dispatcher.subscribe()
        given = quotes(dispatcher, range(1_000))
        with pytest.raises(RingHeldError) as held:
            dispatcher.publish(given)
        assert (held.value.taken, held.value.waiting) == (1_000, 936)
        with pytest.raises(RingHeldError) as held:
            dispatcher.publish(given)
        assert (held.value.published, held.value.taken, held.value.waiting) == (0, 0, 936)
        got = read_all(pull)["seq"].tolist()
        while len(got) < 1_000:
            with contextlib.suppress(RingHeldError):
                dispatcher.publish(given[:0])
            got += read_all(pull)["seq"].tolist()
        assert got == list(range(1, 1_001))
        assert dispatcher.publish(given[:10]) == 10
        assert read_all(pull)["seq"].tolist() == list(range(1_001, 1_011))
        assert holds_the_law(pull.stats())


def test_a_block_of_lines_without_room_is_published_later() -> None:
    frame = b'{"u":%d,"s":"BTCUSDT","b":"1.0","B":"1","a":"2.0","A":"1"}'
    block = b"".join(b"%d " % (1_000 + number) + frame % (number + 1) + b"\n" for number in range(50))
    with Dispatcher(ring_capacity=16) as dispatcher:
        pull = dispatcher.subscribe()
        decoder = Decoder("BINANCE", dispatcher.instruments)
        with pytest.raises(RingHeldError):
            dispatcher.publish_lines(decoder, block)
        got = read_all(pull)["venue_seq"].tolist()
        while len(got) < 50:
            with contextlib.suppress(RingHeldError):
                dispatcher.publish_lines(decoder, b"")
            got += read_all(pull)["venue_seq"].tolist()
        assert got == list(range(1, 51))
        assert dispatcher.stats().frames["bookTicker"] == 50


def test_ticks_unpublished_at_the_end_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with Dispatcher(ring_capacity=16) as dispatcher:
        dispatcher.subscribe()
        with pytest.raises(RingHeldError):
            dispatcher.publish(quotes(dispatcher, range(20)))
    assert "4 ticks that waited for room were not published" in caplog.text


def test_a_publish_error_counts_all_published_ticks() -> None:
    with Dispatcher(ring_capacity=1_024) as dispatcher:
        pull = dispatcher.subscribe()
        with pytest.raises(RingHeldError) as held:
            dispatcher.publish(quotes(dispatcher, range(5_000)))
        assert (held.value.published, held.value.asked) == (1_024, 5_000)
        assert len(read_all(pull)) == 1_024


def test_a_pull_reader_of_another_thread_is_waited_for() -> None:
    got: list[float] = []
    has_looked = threading.Event()
    with Dispatcher(ring_capacity=64, block_max_ns=None) as dispatcher:
        pull = dispatcher.subscribe()

        def read() -> None:
            out = np.zeros(16, TICK_DTYPE)
            while len(got) < 1_000:
                count = pull.read_into(out)
                has_looked.set()
                got.extend(out["values"][:count, 0].tolist())

        reader = threading.Thread(target=read)
        reader.start()
        # The thread of a reader is known from its first read on.
        assert has_looked.wait(5)
        assert dispatcher.publish(quotes(dispatcher, range(1_000))) == 1_000
        reader.join(10)
    assert got == [float(bid) for bid in range(1_000)]


@pytest.mark.alone
def test_a_block_reader_that_holds_too_long_is_demoted() -> None:
    stand = threading.Event()
    told: list[Any] = []
    got: list[int] = []

    class Stands(Strategy):
        def on_gap(self, cause, missing):
            told.append((cause, missing))

        def on_quote(self, seq):
            got.append(seq)
            if seq == 1:
                stand.wait(20)

    with Dispatcher(ring_capacity=16, block_max_ns=100_000_000) as dispatcher:
        subscription = dispatcher.subscribe(Stands(), mode="thread", overflow="block")
        dispatcher.publish(quotes(dispatcher, [1.0]))
        wait_until(lambda: got == [1])
        started = time.monotonic()
        assert dispatcher.publish(quotes(dispatcher, range(100))) == 100
        elapsed = time.monotonic() - started
        stand.set()
        wait_until(lambda: subscription.stats().pending == 0)
        stats = subscription.stats()
    assert 0.09 <= elapsed < 2
    assert stats.demoted
    assert stats.missed > 0
    assert holds_the_law(stats)
    assert told == [(GapCause.OVERRUN, stats.missed)]
    assert got == [1, *range(102 - (len(got) - 1), 102)] or len(got) == stats.delivered


def test_with_block_max_none_the_writer_waits_without_a_limit() -> None:
    stand = threading.Event()
    got: list[int] = []

    def on_quote(seq):
        got.append(seq)
        if seq == 1:
            stand.wait(20)

    with Dispatcher(ring_capacity=16, block_max_ns=None) as dispatcher:
        subscription = dispatcher.subscribe(on_quote, mode="thread", overflow="block")
        timer = threading.Timer(0.3, stand.set)
        timer.start()
        dispatcher.publish(quotes(dispatcher, range(200)))
        wait_until(lambda: len(got) == 200)
        assert not subscription.stats().demoted
        timer.join()
    assert got == list(range(1, 201))


def test_the_interpreter_is_free_while_a_publish_waits() -> None:
    stand = threading.Event()
    other: list[float] = []
    with Dispatcher(ring_capacity=16, block_max_ns=None) as dispatcher:
        dispatcher.subscribe(lambda: stand.wait(20), callback="on_quote", mode="thread", overflow="block")

        def count() -> None:
            for _ in range(20):
                time.sleep(0.005)
                other.append(time.monotonic())
            stand.set()

        thread = threading.Thread(target=count)
        thread.start()
        dispatcher.publish(quotes(dispatcher, range(100)))
        thread.join()
    assert len(other) == 20


def test_stop_frees_a_publish_that_waits() -> None:
    stand = threading.Event()
    with Dispatcher(ring_capacity=16, block_max_ns=None) as dispatcher:
        dispatcher.subscribe(lambda: stand.wait(20), callback="on_quote", mode="thread", overflow="block")
        timer = threading.Timer(0.05, dispatcher.stop)
        timer.start()
        with pytest.raises(StoppedError, match="of 100 ticks") as stopped:
            dispatcher.publish(quotes(dispatcher, range(100)))
        assert stopped.value.asked == 100
        assert stopped.value.published == dispatcher.ring.cursor
        stand.set()


def test_a_publish_after_stop_raises_when_the_ring_is_held() -> None:
    with Dispatcher(ring_capacity=16) as dispatcher:
        dispatcher.subscribe(lambda: None, callback="on_quote")
        dispatcher.stop()
        with pytest.raises(StoppedError) as stopped:
            dispatcher.publish(quotes(dispatcher, range(100)))
        assert stopped.value.published == 16


def test_close_frees_a_publish_that_waits() -> None:
    stand = threading.Event()
    dispatcher = Dispatcher(ring_capacity=16, block_max_ns=None)
    dispatcher.subscribe(lambda: stand.wait(0.5), callback="on_quote", mode="thread", overflow="block")
    timer = threading.Timer(0.05, dispatcher.close)
    timer.start()
    dispatcher.publish(quotes(dispatcher, range(100)))
    stand.set()
    timer.join()


def test_a_raise_in_a_dispatching_publish_loses_no_tick() -> None:
    got: list[int] = []

    def bad(seq):
        if seq == 3:
            raise ValueError("third")

    with Dispatcher(ring_capacity=16, on_fault="raise") as dispatcher:
        dispatcher.subscribe(bad, callback="on_quote")
        dispatcher.subscribe(lambda seq: got.append(seq), callback="on_quote")
        with pytest.raises(ValueError, match="third"):
            dispatcher.publish(quotes(dispatcher, range(1_000)))
        dispatcher.dispatch()
    assert got == list(range(1, 1_001))


def test_an_array_changed_during_its_publish_crashes_nothing() -> None:
    """An inline handler writes to the array during its publish. Changed ticks may be refused, but nothing breaks."""
    got: list[int] = []
    with Dispatcher(ring_capacity=16, on_fault="raise") as dispatcher:
        made = quotes(dispatcher, range(5_000))

        def on_tick(position):
            got.append(position)
            made["instrument"] = 0xFFFF_FFF0
            made["kind"] = 63

        dispatcher.subscribe(on_tick)
        with pytest.raises(ValueError, match="row"):
            dispatcher.publish(made)
        dispatcher.dispatch()
        assert len(got) < 5_000
        assert dispatcher.publish(quotes(dispatcher, range(100))) == 100
        dispatcher.dispatch()
        assert holds_the_law(dispatcher.subscriptions["on_tick"].stats())


def test_a_frame_refused_in_a_handler_can_be_published_again() -> None:
    levels = ",".join(f'["{price}.0","1.0"]' for price in range(1, 101))
    frame = f'{{"e":"depthUpdate","E":1700000000000,"s":"BTCUSDT","U":1,"u":5,"b":[{levels}],"a":[]}}'.encode()
    refused: list[Exception] = []
    with Dispatcher(ring_capacity=16) as dispatcher:
        decoder = Decoder("BINANCE", dispatcher.instruments)

        def on_quote(seq):
            with pytest.raises(ReentrantPublishError) as error:
                dispatcher.publish_frame(decoder, frame, 5)
            refused.append(error.value)

        dispatcher.subscribe(on_quote)
        prices: list[float] = []
        dispatcher.subscribe(lambda price: prices.append(price), callback="on_level")
        dispatcher.publish(quotes(dispatcher, [1.0]))
        dispatcher.dispatch()
        assert len(refused) == 1
        assert dispatcher.ring.cursor == 1
        assert dispatcher.publish_frame(decoder, frame, 6) == 100
        dispatcher.dispatch()
        stats = dispatcher.stats()
        assert (stats.gaps, stats.duplicates, stats.late) == (0, 0, 0)
        assert stats.ticks["level"] == 100
        assert stats.frames["depthUpdate"] == 1
    assert prices == list(range(1, 101))


def test_the_smallest_ring_delivers_every_tick_to_every_reader() -> None:
    got: list[list[int]] = [[], [], []]
    with Dispatcher(ring_capacity=2, block_max_ns=None) as dispatcher:
        dispatcher.subscribe(lambda position: got[0].append(position), callback="on_tick")
        dispatcher.subscribe(lambda position: got[1].extend(position.tolist()), callback="on_ticks")
        dispatcher.subscribe(
            lambda position: got[2].append(position), callback="on_tick", mode="thread", overflow="block"
        )
        dispatcher.publish(level_event(dispatcher, 2_000, snapshot=True))
        dispatcher.publish(quotes(dispatcher, range(500)))
        dispatcher.dispatch()
        wait_until(lambda: len(got[2]) == 2_500)
    assert got[0] == got[1] == got[2] == list(range(2_500))


@pytest.mark.alone
def test_a_slow_lossy_reader_never_holds_the_writer(caplog: pytest.LogCaptureFixture) -> None:
    stand = threading.Event()
    with Dispatcher(ring_capacity=16) as dispatcher, caplog.at_level(logging.WARNING):
        subscription = dispatcher.subscribe(lambda: stand.wait(20), callback="on_quote", mode="thread")
        started = time.monotonic()
        for _ in range(100):
            dispatcher.publish(quotes(dispatcher, range(100)))
        assert time.monotonic() - started < 5
        stand.set()
        wait_until(lambda: subscription.stats().pending == 0)
        assert holds_the_law(subscription.stats())


def test_stats_can_be_read_from_any_thread_while_ticks_flow() -> None:
    stop = threading.Event()
    seen: list[Any] = []
    errors: list[Exception] = []

    with Dispatcher(ring_capacity=256, instruments=[BTC]) as dispatcher:
        dispatcher.subscribe(lambda bid_price: None, callback="on_quote")
        dispatcher.subscribe(lambda bid_price: None, callback="on_quotes", mode="thread")

        def look() -> None:
            try:
                while not stop.is_set():
                    seen.append(dispatcher.stats())
            except Exception as error:  # noqa: BLE001 - whatever it is, it fails the test below
                errors.append(error)

        thread = threading.Thread(target=look)
        thread.start()
        for _ in range(300):
            dispatcher.publish(quotes(dispatcher, range(200)))
        stop.set()
        thread.join()
    assert not errors
    assert len(seen) > 2
    published = [stats.published for stats in seen]
    assert published == sorted(published)


def test_stats_can_be_read_in_a_handler_during_a_publish() -> None:
    seen: list[Any] = []
    with Dispatcher(ring_capacity=16, on_fault="raise") as dispatcher:
        dispatcher.subscribe(lambda: seen.append(dispatcher.stats()), callback="on_quote")
        dispatcher.publish(quotes(dispatcher, range(100)))
        dispatcher.dispatch()
    assert len(seen) == 100
    assert all(one.ticks["quote"] >= one.published for one in seen)
