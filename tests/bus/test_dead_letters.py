"""The store of dead letters: bounded, counted, oldest out first."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from headrace import TICK_DTYPE, DeadLetter, DeadLetters, Dispatcher
from headrace.limits import DEAD_FRAMES_MAX, DEAD_LETTERS_MAX
from tests.support.feeding import quotes


def frame(letters: DeadLetters, size: int = 10) -> DeadLetter:
    return letters.add(DeadLetter("frame", "bad_json", "a", 5, row=1, frame=b"x" * size))


def call(letters: DeadLetters, text: str = "trace") -> DeadLetter:
    return letters.add(
        DeadLetter(
            kind="call",
            source="mine",
            handler="on_quote",
            reason="ValueError: no",
            ts_ns=5,
            instrument="BTCUSDT.BINANCE",
            tick_kind="quote",
            positions=(1,),
            ticks=np.zeros(1, TICK_DTYPE),
            ticks_total=1,
            traceback=text,
        )
    )


def test_letters_are_kept_in_order_with_rising_ids() -> None:
    letters = DeadLetters()
    made = [frame(letters), call(letters), frame(letters)]
    assert list(letters) == made
    assert [letter.id for letter in letters] == [1, 2, 3]
    assert letters.get(2) is made[1]
    assert letters.get(9) is None
    assert letters.list(kind="frame") == [made[0], made[2]]
    assert letters.list(kind="call") == [made[1]]


def test_the_oldest_go_first_and_are_still_counted() -> None:
    letters = DeadLetters(letters_max=3)
    for _ in range(10):
        call(letters)
    assert [letter.id for letter in letters] == [8, 9, 10]
    assert (len(letters), letters.total) == (3, 10)


def test_frames_do_not_push_out_calls() -> None:
    letters = DeadLetters(letters_max=100, frames_max=5)
    first = call(letters)
    for _ in range(50):
        frame(letters)
    assert letters.list(kind="call") == [first]
    assert len(letters.list(kind="frame")) == 5


def test_bytes_are_bounded() -> None:
    letters = DeadLetters(bytes_max=10_000)
    for _ in range(100):
        frame(letters, 1_000)
    assert sum(letter.nbytes for letter in letters) <= 10_000
    assert len(letters) > 3
    assert letters.total == 100


def test_a_letter_that_alone_is_too_large_is_kept_until_the_next() -> None:
    letters = DeadLetters(bytes_max=1_000)
    frame(letters, 5_000)
    assert len(letters) == 1
    frame(letters, 10)
    assert [len(letter.frame) for letter in letters] == [10]


def test_bounds_hold_for_every_order_of_letters(seed: int) -> None:
    random_ = np.random.default_rng(seed)
    letters = DeadLetters(letters_max=20, frames_max=7, bytes_max=20_000)
    for number in range(2_000):
        if random_.random() < 0.5:
            frame(letters, int(random_.integers(0, 3_000)))
        else:
            call(letters, "t" * int(random_.integers(0, 3_000)))
        assert len(letters) <= 20
        assert len(letters.list(kind="frame")) <= 7
        assert sum(letter.nbytes for letter in letters) <= 20_000
        assert letters.total == number + 1
        ids = [letter.id for letter in letters]
        assert ids == sorted(ids)
        assert ids[-1] == number + 1


def test_iterating_while_letters_come_is_safe() -> None:
    letters = DeadLetters()
    call(letters)
    for _ in letters:
        if letters.total < 50:
            call(letters)
    assert letters.total == 2


def test_threads_add_and_look_at_once() -> None:
    letters = DeadLetters(letters_max=50, frames_max=20)

    def adds() -> None:
        for number in range(5_000):
            frame(letters, number % 7)

    def looks() -> None:
        for _ in range(2_000):
            letters.list(kind="frame")
            letters.get(7)

    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            for done in [threads.submit(work) for work in (adds, adds, adds, looks)]:
                done.result()
    finally:
        sys.setswitchinterval(interval_s)
    assert letters.total == 15_000
    assert [letter.id for letter in letters] == list(range(14_981, 15_001))


def test_the_defaults_are_the_limits() -> None:
    letters = DeadLetters()
    for _ in range(DEAD_FRAMES_MAX + 5):
        frame(letters, 0)
    assert len(letters) == DEAD_FRAMES_MAX
    for _ in range(DEAD_LETTERS_MAX):
        call(letters)
    assert len(letters) == DEAD_LETTERS_MAX


def test_a_store_is_shared_by_dispatchers() -> None:
    letters = DeadLetters()
    for _ in range(2):
        with Dispatcher(dead_letters=letters) as dispatcher:
            dispatcher.subscribe(lambda bid_price: 1 / 0, callback="on_quote")
            dispatcher.publish(quotes(dispatcher, [1.0]))
            dispatcher.dispatch()
            assert dispatcher.dead_letters is letters
    assert letters.total == 2


def test_a_letters_ticks_are_its_own() -> None:
    with Dispatcher(ring_capacity=8) as dispatcher:
        dispatcher.subscribe(lambda bid_price: 1 / 0, callback="on_quote")
        dispatcher.publish(quotes(dispatcher, [1.0]))
        dispatcher.dispatch()
        (letter,) = dispatcher.dead_letters
        dispatcher.publish(quotes(dispatcher, range(100, 200)))
        dispatcher.dispatch()
    assert letter.ticks is not None
    assert letter.ticks["values"][0, 0] == 1.0
    with pytest.raises(AttributeError):
        letter.reason = "other"  # type: ignore[misc]
