"""Handlers in threads of their own: order, waiting, pausing, and a close at any moment."""

from __future__ import annotations

import itertools
import logging
import random
import threading
import time
from typing import Any

import pytest

from headrace import Dispatcher, Strategy
from headrace.errors import ConcurrentPublishError
from tests.support.feeding import WOKEN_S, HandClock, holds_the_law, quotes, trades, usual_wait_s, wait_until


def test_thread_mode_runs_handlers_in_order_on_its_own_thread() -> None:
    got: list[int] = []
    names: set[str] = set()

    def on_quote(seq):
        got.append(seq)
        names.add(threading.current_thread().name)

    with Dispatcher() as dispatcher:
        dispatcher.subscribe(on_quote, mode="thread", overflow="block", name="mine")
        for start in range(0, 50_000, 1_000):
            dispatcher.publish(quotes(dispatcher, range(start, start + 1_000)))
        wait_until(lambda: len(got) == 50_000)
    assert got == list(range(1, 50_001))
    assert names == {"headrace-mine"}


def test_threads_and_inline_handlers_get_the_same_ticks() -> None:
    inline: list[int] = []
    threaded: list[list[int]] = [[], []]
    with Dispatcher(ring_capacity=256) as dispatcher:
        dispatcher.subscribe(lambda seq: inline.append(seq), callback="on_quote")
        for got in threaded:
            dispatcher.subscribe(
                lambda seq, got=got: got.extend(seq.tolist()), callback="on_quotes", mode="thread", overflow="block"
            )
        for start in range(0, 20_000, 700):
            dispatcher.publish(quotes(dispatcher, range(700)))
            dispatcher.dispatch()
            del start
        wait_until(lambda: all(len(got) == len(inline) for got in threaded))
    assert inline == threaded[0] == threaded[1]


def test_the_default_overflow_of_a_thread_is_drop_oldest() -> None:
    release = threading.Event()
    with Dispatcher(ring_capacity=64) as dispatcher:
        subscription = dispatcher.subscribe(lambda: release.wait(10), callback="on_quote", mode="thread")
        dispatcher.publish(quotes(dispatcher, range(1_000)))
        release.set()
        wait_until(lambda: subscription.stats().pending == 0)
        stats = subscription.stats()
    assert stats.missed > 0
    assert holds_the_law(stats)


@pytest.mark.alone
def test_a_sleeping_thread_wakes_at_once() -> None:
    got: list[int] = []
    with Dispatcher() as dispatcher:
        dispatcher.subscribe(lambda seq: got.append(seq), callback="on_quote", mode="thread")
        assert usual_wait_s(dispatcher, lambda: len(got), laps=100) < WOKEN_S


def test_the_gil_is_free_while_a_thread_waits() -> None:
    """A thread that waits for ticks lets Python run at full speed."""
    with Dispatcher() as dispatcher:
        dispatcher.subscribe(lambda: None, callback="on_quote", mode="thread")
        time.sleep(0.02)
        spun = 0
        end_s = time.monotonic() + 0.1
        while time.monotonic() < end_s:
            spun += 1
    assert spun > 10_000


def test_pause_and_resume_from_another_thread_lose_no_count(seed: int) -> None:
    random_ = random.Random(seed)
    seqs: list[int] = []
    told: list[int] = []

    class Mine(Strategy):
        def on_gap(self, cause, missing):
            told.append(missing)

        def on_quote(self, seq, flags):
            if not flags & 1:
                seqs.append(seq)

    with Dispatcher(ring_capacity=1_024) as dispatcher:
        subscription = dispatcher.subscribe(Mine(), mode="thread", overflow="drop_oldest")
        for _ in range(300):
            dispatcher.publish(quotes(dispatcher, range(random_.randrange(1, 300))))
            if random_.random() < 0.3:
                subscription.pause()
            elif random_.random() < 0.5:
                subscription.resume()
        subscription.resume()
        dispatcher.publish(quotes(dispatcher, [1.0]))
        wait_until(lambda: subscription.stats().pending == 0 and subscription.state == "running")
        stats = subscription.stats()
        assert holds_the_law(stats)
        assert len(seqs) == stats.delivered
        assert sum(told) == stats.skipped + stats.missed
    assert all(later > earlier for earlier, later in itertools.pairwise(seqs))


@pytest.mark.alone
def test_a_paused_block_thread_lets_the_writer_go_on_at_once() -> None:
    """The writer waits for a handler that stands still; a pause from a third thread frees it."""
    stand = threading.Event()
    with Dispatcher(ring_capacity=8, block_max_ns=None) as dispatcher:
        subscription = dispatcher.subscribe(
            lambda: stand.wait(10), callback="on_quote", mode="thread", overflow="block"
        )
        dispatcher.publish(quotes(dispatcher, range(8)))
        timer = threading.Timer(0.05, subscription.pause)
        timer.start()
        started = time.monotonic()
        assert dispatcher.publish(quotes(dispatcher, range(500))) == 500
        assert time.monotonic() - started < 5
        stand.set()
        timer.join()
        wait_until(lambda: subscription.stats().pending == 0)
        assert holds_the_law(subscription.stats())


def test_windows_of_a_thread_close_without_a_new_tick() -> None:
    got: list[int] = []
    with Dispatcher() as dispatcher:
        dispatcher.subscribe(lambda seq: got.append(len(seq)), callback="on_quotes", mode="thread", every="20ms")
        dispatcher.publish(quotes(dispatcher, range(7), ts_init=dispatcher.clock.now_ns()))
        wait_until(lambda: got == [7])


def test_faults_in_a_thread_are_quarantine_there_only() -> None:
    good: list[int] = []

    def bad(seq):
        raise ValueError(seq)

    with Dispatcher() as dispatcher:
        failing = dispatcher.subscribe(bad, callback="on_quote", mode="thread", overflow="block")
        dispatcher.subscribe(lambda seq: good.append(seq), callback="on_quote", mode="thread", overflow="block")
        dispatcher.publish(quotes(dispatcher, range(100)))
        wait_until(lambda: len(good) == 100 and failing.stats().pending == 0)
        assert failing.state == "quarantined"
        assert failing.stats().faults == 3


def test_raise_in_a_thread_ends_it_with_its_traceback_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    def bad():
        raise ValueError("mine alone")

    with Dispatcher(ring_capacity=8, block_max_ns=None) as dispatcher, caplog.at_level(logging.ERROR):
        subscription = dispatcher.subscribe(bad, callback="on_quote", mode="thread", overflow="block", on_fault="raise")
        dispatcher.publish(quotes(dispatcher, range(4)))
        wait_until(lambda: subscription.state == "paused")
        # No call advances this clock any more, so no thread may wait for it.
        assert dispatcher.publish(quotes(dispatcher, range(100))) == 100
    assert any(record.exc_info and "mine alone" in str(record.exc_info[1]) for record in caplog.records)


def test_two_publishers_at_once_are_refused_and_not_mixed() -> None:
    refused: list[Exception] = []
    done: list[int] = []

    def publish(dispatcher: Dispatcher) -> None:
        made = quotes(dispatcher, range(2_000))
        for _ in range(30):
            try:
                done.append(dispatcher.publish(made))
            except ConcurrentPublishError as error:
                refused.append(error)

    with Dispatcher(ring_capacity=1_024) as dispatcher:
        seqs: list[int] = []
        subscription = dispatcher.subscribe(
            lambda seq: seqs.extend(seq.tolist()), callback="on_quotes", mode="thread", overflow="block"
        )
        threads = [threading.Thread(target=publish, args=(dispatcher,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_until(lambda: subscription.stats().pending == 0)
    assert seqs == list(range(1, sum(done) + 1))


def test_close_waits_for_a_handler_that_is_running() -> None:
    finished: list[bool] = []
    started = threading.Event()

    def on_quote():
        started.set()
        time.sleep(0.2)
        finished.append(True)

    dispatcher = Dispatcher()
    dispatcher.subscribe(on_quote, mode="thread")
    dispatcher.publish(quotes(dispatcher, [1.0]))
    started.wait(5)
    dispatcher.close()
    assert finished == [True]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("headrace-on_quote")]


@pytest.mark.alone
def test_a_thread_that_does_not_end_is_named_and_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("headrace.dispatch.dispatcher.CLOSE_DEADLINE_S", 0.1)
    release = threading.Event()
    started = threading.Event()

    def on_quote():
        started.set()
        release.wait(20)

    dispatcher = Dispatcher()
    dispatcher.subscribe(on_quote, mode="thread", name="stubborn")
    dispatcher.publish(quotes(dispatcher, [1.0]))
    started.wait(5)
    before = time.monotonic()
    with caplog.at_level(logging.ERROR):
        dispatcher.close()
    assert time.monotonic() - before < 2
    assert any("stubborn" in record.getMessage() for record in caplog.records)
    release.set()


def test_a_thread_may_close_itself_and_the_dispatcher() -> None:
    dispatcher = Dispatcher()

    def on_quote(position):
        if position == 0:
            dispatcher.subscriptions["mine"].close()
        dispatcher.close()

    subscription = dispatcher.subscribe(on_quote, mode="thread", name="mine")
    dispatcher.publish(quotes(dispatcher, [1.0, 2.0]))
    wait_until(lambda: subscription.state == "closed")
    dispatcher.close()
    # Quiet once its thread has left the handler.
    wait_until(lambda: holds_the_law(subscription.stats()))
    assert subscription.stats().pending == 0


@pytest.mark.parametrize("known", [60712987, None], ids=["joins inside of a loss", "any"])
def test_subscriptions_come_and_go_while_ticks_flow(seed: int, known: int | None) -> None:
    random_ = random.Random(known or seed)
    with Dispatcher(ring_capacity=256) as dispatcher:
        open_: list[Any] = []
        closed: list[Any] = []
        for lap in range(120):
            dispatcher.publish(quotes(dispatcher, range(random_.randrange(1, 200))))
            dispatcher.publish(trades(dispatcher, range(random_.randrange(1, 20))))
            if random_.random() < 0.4:
                mode: Any = random_.choice(["inline", "thread"])
                overflow: Any = random_.choice(["block", "drop_oldest", "conflate"])
                open_.append(
                    dispatcher.subscribe(
                        lambda bid_price: None,
                        callback=random_.choice(["on_quote", "on_quotes"]),
                        mode=mode,
                        overflow=overflow,
                        name=str(lap),
                    )
                )
            if open_ and random_.random() < 0.3:
                closed.append(open_.pop(random_.randrange(len(open_))))
                closed[-1].close()
            if random_.random() < 0.5:
                dispatcher.dispatch()
        dispatcher.dispatch()
        wait_until(lambda: all(one.stats().pending == 0 for one in open_))
        for one in [*open_, *closed]:
            assert holds_the_law(one.stats()), one.stats()
    for one in [*open_, *closed]:
        assert holds_the_law(one.stats()), one.stats()


def test_in_replay_a_thread_runs_inline() -> None:
    names: set[str] = set()
    with Dispatcher(mode="replay") as dispatcher:
        dispatcher.subscribe(lambda: names.add(threading.current_thread().name), callback="on_quote", mode="thread")
        dispatcher.publish(quotes(dispatcher, [1.0]))
        dispatcher.dispatch()
    assert names == {"MainThread"}


def test_a_clock_that_stands_still_does_not_stop_a_thread() -> None:
    got: list[int] = []
    with Dispatcher(clock=HandClock(5)) as dispatcher:
        dispatcher.subscribe(lambda lag_ns: got.append(lag_ns), callback="on_quote", mode="thread")
        dispatcher.publish(quotes(dispatcher, [1.0], ts_init=2))
        wait_until(lambda: got == [3])


def test_a_subscription_closed_before_its_start_gets_nothing() -> None:
    calls: list[float] = []
    with Dispatcher(ring_capacity=256) as dispatcher:
        dispatcher.subscribe(lambda bid_price: None, callback="on_quote")
        dispatcher.publish(quotes(dispatcher, range(10)))
        # Ten ticks still wait for the first subscription. The second joins behind them, and is closed before it starts.
        late = dispatcher.subscribe(lambda bid_price: calls.append(bid_price), callback="on_quote", name="late")
        late.close()
        dispatcher.publish(quotes(dispatcher, range(10)))
        dispatcher.dispatch()
        assert calls == []
    assert holds_the_law(late.stats())
    assert late.stats().published == 0
