"""Resume: a subscription that blocks loses nothing from the moment at which ``resume`` or ``subscribe`` returns.

Guarantees: what passed in the pause is skipped and reported as PAUSED, also where the ring was lapped.
"""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest

from headrace import Dispatcher, GapCause, Strategy
from tests.support.feeding import BTC, holds_the_law, quotes, wait_until

RING = 64


class Told(Strategy):
    """Keeps the numbers of its ticks and its gaps; waits at tick ``hold_at`` until it is let go."""

    def __init__(self, hold_at: int = 0) -> None:
        self.seen: list[int] = []
        self.newest = 0
        self.gaps: list[tuple[GapCause, int]] = []
        self.hold_at = hold_at
        self.holds, self.goes_on = threading.Event(), threading.Event()

    def on_quote(self, seq, flags):
        self.newest = seq
        if not flags & 1:
            self.seen.append(seq)
        if seq == self.hold_at:
            self.holds.set()
            assert self.goes_on.wait(20)

    def on_gap(self, cause, missing):
        self.gaps.append((cause, missing))


def test_a_blocking_subscription_loses_nothing_behind_a_resume() -> None:
    told = Told()
    with Dispatcher(instruments=[BTC], ring_capacity=RING) as dispatcher:
        own = dispatcher.subscribe(told, overflow="block")
        own.pause()
        own.resume()
        dispatcher.publish(quotes(dispatcher, range(1_000)))
        dispatcher.dispatch()
        stats = own.stats()
    assert told.seen == list(range(1, 1_001))
    assert (stats.missed, stats.skipped, told.gaps) == (0, 0, [])


@pytest.mark.parametrize("overflow", ["block", "drop_oldest", "conflate"])
def test_a_lap_in_a_pause_is_reported_as_paused(overflow: Any) -> None:
    told = Told()
    with Dispatcher(instruments=[BTC], ring_capacity=RING) as dispatcher:
        own = dispatcher.subscribe(told, overflow=overflow)
        own.pause()
        dispatcher.publish(quotes(dispatcher, range(1_000)))
        own.resume()
        dispatcher.publish(quotes(dispatcher, [1.0, 2.0, 3.0]))
        dispatcher.dispatch()
        stats = own.stats()
    assert [cause for cause, _ in told.gaps] == [GapCause.PAUSED]
    assert told.newest == 1_003
    assert stats.missed == 0
    assert stats.skipped == told.gaps[0][1]
    assert stats.skipped >= 1_000 - RING
    assert holds_the_law(stats)


def test_a_busy_reader_holds_the_writer_from_its_resume_on() -> None:
    told = Told(hold_at=1)
    with Dispatcher(instruments=[BTC], ring_capacity=RING, block_max_ns=None) as dispatcher:
        own = dispatcher.subscribe(told, overflow="block", mode="thread")
        dispatcher.publish(quotes(dispatcher, [0.0]))
        assert told.holds.wait(20)
        own.pause()
        own.resume()
        publisher = threading.Thread(target=lambda: dispatcher.publish(quotes(dispatcher, range(1_000))), daemon=True)
        publisher.start()
        # More than the ring holds would be published if nothing held it.
        wait_until(lambda: dispatcher.ring.cursor == 1 + RING)
        told.goes_on.set()
        publisher.join(20)
        wait_until(lambda: own.stats().pending == 0)
        stats = own.stats()
    assert told.seen == list(range(1, 1_002))
    assert (stats.missed, stats.skipped, stats.demoted) == (0, 0, False)


def test_a_join_to_a_busy_group_holds_the_writer() -> None:
    first, told = Told(hold_at=1), Told()
    with Dispatcher(instruments=[BTC], ring_capacity=RING, block_max_ns=None) as dispatcher:
        dispatcher.subscribe(first, overflow="drop_oldest", name="first")
        dispatcher.publish(quotes(dispatcher, [0.0]))
        done = threading.Event()

        def dispatch() -> None:
            while not done.is_set() or not dispatcher.is_caught_up:
                dispatcher.dispatch()

        dispatching = threading.Thread(target=dispatch, daemon=True)
        dispatching.start()
        assert first.holds.wait(20)
        own = dispatcher.subscribe(told, overflow="block", name="own")
        publisher = threading.Thread(target=lambda: dispatcher.publish(quotes(dispatcher, range(1_000))), daemon=True)
        publisher.start()
        wait_until(lambda: dispatcher.ring.cursor == 1 + RING)
        first.goes_on.set()
        publisher.join(20)
        done.set()
        dispatching.join(20)
        stats = own.stats()
    assert told.seen == list(range(2, 1_002))
    assert (stats.missed, stats.demoted) == (0, False)


def test_a_handler_that_resumes_a_sibling_loses_nothing_for_it() -> None:
    told = Told()
    with Dispatcher(instruments=[BTC], ring_capacity=RING, block_max_ns=None) as dispatcher:
        published = threading.Event()

        def on_quote(seq: int) -> None:
            if seq == 1:
                sibling.resume()
                publisher.start()
                wait_until(lambda: dispatcher.ring.cursor == 1 + RING)

        def publish() -> None:
            dispatcher.publish(quotes(dispatcher, range(1_000)))
            published.set()

        publisher = threading.Thread(target=publish, daemon=True)
        sibling = dispatcher.subscribe(told, overflow="block")
        sibling.pause()
        dispatcher.subscribe(on_quote, overflow="drop_oldest")
        dispatcher.publish(quotes(dispatcher, [0.0]))
        while not published.is_set() or not dispatcher.is_caught_up:
            dispatcher.dispatch()
        stats = sibling.stats()
    assert told.seen == list(range(2, 1_002))
    assert (stats.missed, stats.skipped) == (0, 1)


@pytest.mark.parametrize("how", ["pause", "quarantine"])
def test_a_stopped_reader_leaves_the_gate_beside_one_that_runs(how: str) -> None:
    calls: list[int] = []

    def fails(seq: int) -> None:
        calls.append(seq)
        raise RuntimeError

    with Dispatcher(instruments=[BTC], ring_capacity=RING, block_max_ns=None) as dispatcher:
        blocking = dispatcher.subscribe(fails, callback="on_quote", overflow="block", on_fault="quarantine")
        dispatcher.subscribe(Told(), overflow="drop_oldest")
        if how == "pause":
            blocking.pause()
        else:
            dispatcher.publish(quotes(dispatcher, range(3)))
            dispatcher.dispatch()
            assert blocking.state == "quarantined"
        publisher = threading.Thread(target=lambda: dispatcher.publish(quotes(dispatcher, range(1_000))), daemon=True)
        publisher.start()
        publisher.join(20)
        assert not publisher.is_alive(), "the writer waits for a reader that does not run"
        dispatcher.dispatch()
        stats = blocking.stats()
    assert holds_the_law(stats)
    assert (stats.missed, stats.demoted) == (0, False)


def one_race(random_: random.Random) -> None:
    """Publish from one thread while others pause, resume, join and close."""
    with Dispatcher(instruments=[BTC], ring_capacity=RING, block_max_ns=None) as dispatcher:
        tolds = [Told() for _ in range(2)]
        owns = [dispatcher.subscribe(told, overflow="block", mode="thread", name=told_name(told)) for told in tolds]
        total = random_.randrange(200, 2_000)
        turns = [random_.randrange(1, 12) for _ in range(3)]

        def publish() -> None:
            for start in range(0, total, 50):
                dispatcher.publish(quotes(dispatcher, range(min(50, total - start))))

        def toggle(which: int, times: int) -> None:
            for _ in range(times):
                owns[which].pause()
                owns[which].resume()

        def come_and_go(times: int) -> None:
            for _ in range(times):
                dispatcher.subscribe(Told(), overflow="block", mode="thread").close()

        work = [(publish, ()), (toggle, (0, turns[0])), (toggle, (1, turns[1])), (come_and_go, (turns[2],))]
        threads = [threading.Thread(target=call, args=arguments, daemon=True) for call, arguments in work]  # type: ignore[arg-type]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive(), "a race left a thread waiting"
        wait_until(lambda: all(own.stats().pending == 0 for own in owns))
        for own, told in zip(owns, tolds, strict=True):
            stats = own.stats()
            assert holds_the_law(stats), stats
            assert (stats.missed, stats.demoted, stats.published) == (0, False, total)
            assert stats.delivered == len(told.seen)
            assert stats.skipped == sum(missing for _, missing in told.gaps)
            assert stats.state == "running"


def told_name(told: Told) -> str:
    return f"told-{id(told)}"


@pytest.mark.timeout(120)
def test_races_of_pause_resume_join_and_close_lose_nothing(seed: int) -> None:
    random_ = random.Random(seed)
    for _ in range(300):
        one_race(random_)
