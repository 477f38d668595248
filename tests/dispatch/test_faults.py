"""Strategies that fail in every way are caught, counted, dead-lettered and quarantined; no other is disturbed."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from headrace import Dispatcher, Flags, GapCause, Strategy, Subscription
from headrace.errors import HeadraceError, StrategyFaultError
from tests.support.feeding import BTC, HandClock, holds_the_law, quotes, trades, wait_until

TICKS = 2_000


class Nasty(Exception):
    """An exception whose ``str`` raises."""

    def __str__(self) -> str:
        raise RuntimeError("no text for you")

    __repr__ = __str__


class NastyBase(BaseException):
    """A BaseException whose ``str`` raises."""

    def __str__(self) -> str:
        raise SystemExit


def raises(error: BaseException | type[BaseException]) -> Callable[[], object]:
    def handler() -> object:
        raise error

    return handler


def recurses() -> object:
    return recurses()


def recurses_in_a_repr() -> object:
    loop: list[Any] = []
    for _ in range(100_000):
        loop = [loop]
    return repr(loop)


def raises_deep() -> object:
    def down(depth: int) -> object:
        if depth:
            return down(depth - 1)
        raise ValueError("deep")

    return down(500)


def leaves_an_unawaited_generator() -> object:
    return (number for number in range(3))


def raises_a_group() -> object:
    raise ExceptionGroup("several", [ValueError("one"), TypeError("two")])


def raises_a_chain() -> object:
    error = ValueError("round")
    error.__context__ = None
    try:
        raise KeyError("inner")
    except KeyError as inner:
        raise error from inner


def changes_the_recursion_limit() -> object:
    limit = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(200)
        return recurses()
    finally:
        sys.setrecursionlimit(limit)


def allocates_too_much() -> object:
    return np.zeros(1 << 60, "u1")


def hostile(dispatcher: Dispatcher, name: str) -> dict[str, Callable[[], object]]:
    """Return twenty hostile strategies; all but the last few fail at each call."""
    return {
        "raises": raises(ValueError("no")),
        "raises_its_class": raises(KeyError),
        "exits": raises(SystemExit(3)),
        "calls_sys_exit": lambda: sys.exit("bye"),
        "generator_exit": raises(GeneratorExit),
        "cancelled": raises(asyncio.CancelledError),
        "stop_iteration": raises(StopIteration),
        "nasty_text": raises(Nasty()),
        "nasty_base": raises(NastyBase()),
        "recurses": recurses,
        "recurses_in_c": recurses_in_a_repr,
        "deep": raises_deep,
        "group": raises_a_group,
        "chain": raises_a_chain,
        "memory": allocates_too_much,
        "dispatches": lambda: dispatcher.dispatch(),
        "publishes_too_much": lambda: dispatcher.publish(quotes(dispatcher, np.zeros(100_000))),
        "garbage": leaves_an_unawaited_generator,
        # These do not fail, but must not disturb others either.
        "limit": changes_the_recursion_limit,
        "closes_itself": lambda: dispatcher.subscriptions[name].close(),
    }


class Good(Strategy):
    """Counts and checks its ticks."""

    def __init__(self) -> None:
        self.seqs: list[int] = []
        self.wrong = 0

    def on_quote(self, seq, bid_price):
        self.seqs.append(seq)
        self.wrong += bid_price != seq - 1


class Columns(Strategy):
    def __init__(self) -> None:
        self.seqs: list[int] = []
        self.wrong = 0

    def on_quotes(self, seq, bid_price):
        self.seqs.extend(seq.tolist())
        self.wrong += int((bid_price != seq - 1).sum())


@pytest.mark.parametrize("plural", [False, True])
def test_twenty_hostile_strategies_cost_twenty_good_ones_nothing(
    plural: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with Dispatcher(instruments=[BTC]) as dispatcher, caplog.at_level(logging.CRITICAL):
        names = list(hostile(dispatcher, ""))
        assert len(names) == 20
        goods: list[Good | Columns] = []
        bads: list[Subscription] = []
        callback = "on_quotes" if plural else "on_quote"
        for name in names:
            attack = hostile(dispatcher, name)[name]
            bad = dispatcher.subscribe(lambda attack=attack: attack(), callback=callback, name=name, batch_max=64)
            bads.append(bad)
            goods.append(Columns() if len(goods) % 2 else Good())
            dispatcher.subscribe(goods[-1])
        made = quotes(dispatcher, range(TICKS))
        for start in range(0, TICKS, 100):
            dispatcher.publish(made[start : start + 100])
            dispatcher.dispatch()
        stats = {bad.name: bad.stats() for bad in bads}
    for good in goods:
        assert good.seqs == list(range(1, TICKS + 1))
        assert good.wrong == 0
    for name in names:
        assert holds_the_law(stats[name]), name
        expected = {"closes_itself": "closed"}.get(name, "quarantined")
        assert stats[name].state in {expected, "closed"}, (name, stats[name])
        if expected == "quarantined":
            assert stats[name].faults == 3, name
            assert stats[name].skipped > 0


def test_subscribing_others_in_a_handler_disturbs_no_strategy() -> None:
    good = Good()
    with Dispatcher(instruments=[BTC]) as dispatcher:

        def on_quote(seq):
            if seq <= 20:
                dispatcher.subscribe(lambda bid_price: None, callback="on_quote")

        dispatcher.subscribe(on_quote)
        dispatcher.subscribe(good)
        made = quotes(dispatcher, range(200))
        for tick in range(200):
            dispatcher.publish(made[tick : tick + 1])
            dispatcher.dispatch()
        assert all(holds_the_law(one) for one in dispatcher.stats().subscriptions.values())
        assert len(dispatcher.subscriptions) == 22
    assert good.seqs == list(range(1, 201))


def test_three_faults_within_a_thousand_calls_are_quarantine() -> None:
    calls: list[int] = []

    def on_quote(seq):
        calls.append(seq)
        if seq in {1, 2, 1_001, 1_500, 2_000, 2_100}:
            raise ValueError(seq)

    with Dispatcher() as dispatcher:
        subscription = dispatcher.subscribe(on_quote)
        dispatcher.publish(quotes(dispatcher, np.zeros(3_000)))
        dispatcher.dispatch()
        stats = subscription.stats()
    # 1, 2 and 1,001 are 1,001 calls apart; 1,001, 1,500 and 2,000 are within a thousand.
    assert calls[-1] == 2_000
    assert stats.state == "quarantined"
    assert (stats.faults, stats.delivered, stats.skipped) == (5, 2_000, 1_000)
    assert holds_the_law(stats)


def test_a_resumed_quarantined_strategy_gets_a_gap() -> None:
    told: list[Any] = []

    class Mine(Strategy):
        broken = True

        def on_gap(self, cause, missing):
            told.append((cause, missing))

        def on_quote(self, bid_price, flags):
            if self.broken:
                raise ValueError("not yet")
            told.append((bid_price, bool(flags & Flags.SNAPSHOT)))

    mine = Mine()
    with Dispatcher() as dispatcher:
        subscription = dispatcher.subscribe(mine)
        dispatcher.publish(quotes(dispatcher, range(10)))
        dispatcher.dispatch()
        assert subscription.state == "quarantined"
        mine.broken = False
        assert subscription.resume()
        dispatcher.dispatch()
        dispatcher.publish(quotes(dispatcher, [50.0]))
        dispatcher.dispatch()
        assert subscription.state == "running"
        assert holds_the_law(subscription.stats())
    assert told == [(GapCause.PAUSED, 7), (9.0, True), (50.0, False)]


def test_a_dead_letter_holds_all_that_a_retry_needs() -> None:
    clock = HandClock(77)

    def on_trades(price):
        raise ValueError("no columns today")

    with Dispatcher(clock=clock) as dispatcher:
        dispatcher.subscribe(on_trades, name="mine")
        made = trades(dispatcher, range(20))
        dispatcher.publish(made)
        dispatcher.dispatch()
        (letter,) = dispatcher.dead_letters.list(kind="call")
    assert (letter.source, letter.handler, letter.instrument, letter.tick_kind) == ("mine", "on_trades", BTC, "trade")
    assert letter.reason == "ValueError: no columns today"
    assert letter.positions == tuple(range(8))
    assert letter.ticks is not None
    assert letter.ticks["values"][:, 0].tolist() == list(range(8))
    assert letter.ticks_total == 20
    assert letter.ts_ns == 77
    assert "def on_trades" not in letter.reason
    assert "in on_trades" in letter.traceback
    assert "no columns today" in letter.traceback


def test_a_letter_about_a_later_batch_names_its_ticks() -> None:
    def on_trades(position):
        if position[0] == 4:
            raise ValueError

    with Dispatcher() as dispatcher:
        dispatcher.subscribe(on_trades, batch_max=4)
        dispatcher.publish(trades(dispatcher, range(12)))
        dispatcher.dispatch()
        (letter,) = dispatcher.dead_letters.list()
    assert letter.positions == (4, 5, 6, 7)
    assert letter.ticks is not None
    assert letter.ticks["seq"].tolist() == [5, 6, 7, 8]


def test_an_error_whose_text_raises_is_kept_too(caplog: pytest.LogCaptureFixture) -> None:
    with Dispatcher() as dispatcher, caplog.at_level(logging.WARNING):
        dispatcher.subscribe(raises(Nasty()), callback="on_quote")
        dispatcher.publish(quotes(dispatcher, [1.0]))
        dispatcher.dispatch()
        (letter,) = dispatcher.dead_letters.list()
    assert letter.reason.startswith("Nasty: ")


# With on_fault="raise" the first fault ends the dispatch.


def test_raise_keeps_the_users_traceback_and_names_the_tick() -> None:
    def helper():
        return 1 / 0

    def on_quote(bid_price):
        if bid_price == 2:
            helper()

    with Dispatcher(on_fault="raise") as dispatcher:
        dispatcher.subscribe(on_quote, name="mine")
        dispatcher.publish(quotes(dispatcher, range(5)))
        with pytest.raises(ZeroDivisionError) as raised:
            dispatcher.dispatch()
    frames = [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)]
    assert frames[-2:] == ["on_quote", "helper"]
    assert raised.value.__notes__ == ["in mine.on_quote, at BTCUSDT.BINANCE quote seq 3 at position 2"]


def test_raise_waits_until_every_strategy_had_the_tick() -> None:
    before: list[int] = []
    after: list[int] = []

    def on_quote(position):
        if position == 2:
            raise ValueError("two")

    with Dispatcher(on_fault="raise") as dispatcher:
        dispatcher.subscribe(lambda position: before.append(position), callback="on_quote")
        failing = dispatcher.subscribe(on_quote)
        dispatcher.subscribe(lambda position: after.append(position), callback="on_quote")
        dispatcher.publish(quotes(dispatcher, range(5)))
        with pytest.raises(ValueError, match="two"):
            dispatcher.dispatch()
        assert before == after == [0, 1, 2]
        dispatcher.dispatch()
        stats = failing.stats()
    assert before == after == [0, 1, 2, 3, 4]
    assert (stats.delivered, stats.faults) == (5, 1)


def test_raise_in_a_plural_handler_leaves_the_others_their_batch() -> None:
    got: list[int] = []

    def on_quotes(bid_price):
        raise ValueError("columns")

    with Dispatcher(on_fault="raise") as dispatcher:
        dispatcher.subscribe(on_quotes)
        dispatcher.subscribe(lambda position: got.extend(position.tolist()), callback="on_quotes")
        dispatcher.publish(quotes(dispatcher, range(5)))
        with pytest.raises(ValueError, match="columns"):
            dispatcher.dispatch()
        dispatcher.dispatch()
    assert got == list(range(5))


@pytest.mark.parametrize("error", [SystemExit(3), GeneratorExit(), asyncio.CancelledError(), NastyBase()])
def test_a_base_exception_does_not_end_the_process(error: BaseException) -> None:
    with Dispatcher(on_fault="raise") as dispatcher:
        dispatcher.subscribe(raises(error), callback="on_quote", name="mine")
        dispatcher.publish(quotes(dispatcher, [1.0]))
        with pytest.raises(StrategyFaultError, match="must not end the process") as raised:
            dispatcher.dispatch()
    assert raised.value.__cause__ is error
    assert (raised.value.subscription, raised.value.handler) == ("mine", "on_quote")


def test_of_two_faults_at_a_tick_the_first_is_raised() -> None:
    with Dispatcher(on_fault="raise") as dispatcher:
        dispatcher.subscribe(raises(ValueError("first")), callback="on_quote")
        dispatcher.subscribe(raises(ValueError("second")), callback="on_quote")
        dispatcher.publish(quotes(dispatcher, [1.0]))
        with pytest.raises(ValueError, match="first"):
            dispatcher.dispatch()
        assert [letter.reason for letter in dispatcher.dead_letters] == ["ValueError: first", "ValueError: second"]


def test_each_subscription_has_its_own_rule() -> None:
    with Dispatcher(on_fault="raise") as dispatcher:
        quiet = dispatcher.subscribe(raises(ValueError), callback="on_quote", on_fault="quarantine")
        dispatcher.publish(quotes(dispatcher, range(10)))
        dispatcher.dispatch()
        assert quiet.state == "quarantined"


def test_a_fault_in_on_gap_is_a_fault_like_any_other() -> None:
    with Dispatcher() as dispatcher:
        subscription = dispatcher.subscribe(raises(ValueError("gap")), callback="on_gap")
        for number in (1, 5, 9, 13):
            dispatcher.publish(trades(dispatcher, [1.0], trade_id=[number]))
        dispatcher.dispatch()
        assert subscription.state == "quarantined"
        assert subscription.stats().faults == 3
        assert dispatcher.dead_letters.list()[0].tick_kind == "gap"


def test_keyboard_interrupt_in_a_handler_is_no_fault() -> None:
    got: list[int] = []

    def on_quote(position):
        if position == 1:
            raise KeyboardInterrupt

    with Dispatcher() as dispatcher:
        subscription = dispatcher.subscribe(on_quote)
        dispatcher.subscribe(lambda position: got.append(position), callback="on_quote")
        dispatcher.publish(quotes(dispatcher, range(4)))
        with pytest.raises(KeyboardInterrupt):
            dispatcher.dispatch()
        assert subscription.stats().faults == 0
        dispatcher.dispatch()
    assert got == [0, 1, 2, 3]


def test_an_interrupt_while_a_fault_is_judged_propagates_too() -> None:
    class Interrupted(Exception):
        def __str__(self) -> str:
            raise KeyboardInterrupt

    with Dispatcher() as dispatcher:
        dispatcher.subscribe(raises(Interrupted()), callback="on_quote")
        dispatcher.publish(quotes(dispatcher, [1.0]))
        with pytest.raises(KeyboardInterrupt):
            dispatcher.dispatch()


def test_a_fault_in_a_replay_is_raised_by_default() -> None:
    with Dispatcher(mode="replay") as dispatcher:
        dispatcher.subscribe(raises(ValueError("replayed")), callback="on_quote")
        with pytest.raises(ValueError, match="replayed"):  # noqa: PT012 - a replay may dispatch while it publishes
            dispatcher.publish(quotes(dispatcher, [1.0]))
            dispatcher.dispatch()


# Slow handlers


@pytest.mark.alone
def test_a_running_handler_is_named_within_a_second(caplog: pytest.LogCaptureFixture) -> None:
    named_s: list[float] = []

    def on_quote(bid_price):
        started = time.monotonic()
        wait_until(lambda: any("slowpoke" in record.getMessage() for record in caplog.records), within_s=3)
        named_s.append(time.monotonic() - started)

    with Dispatcher() as dispatcher, caplog.at_level(logging.WARNING):
        dispatcher.subscribe(on_quote, name="slowpoke")
        dispatcher.publish(quotes(dispatcher, [1.0]))
        dispatcher.dispatch()
    assert 0.1 <= named_s[0] < 1.0


def test_a_slow_handler_is_named_once_per_call(caplog: pytest.LogCaptureFixture) -> None:
    with Dispatcher(slow_handler_ms=30) as dispatcher, caplog.at_level(logging.WARNING):
        dispatcher.subscribe(lambda: None, callback="on_quote", name="fast")
        dispatcher.subscribe(lambda: time.sleep(0.4), callback="on_quote", name="slow")
        dispatcher.publish(quotes(dispatcher, [1.0]))
        dispatcher.dispatch()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert "slow" in said[0]


def test_every_fault_is_a_fault_of_the_strategy_not_of_headrace() -> None:
    """No exception of a strategy is reported as an internal error."""
    with Dispatcher(on_fault="raise") as dispatcher:
        dispatcher.subscribe(raises(RuntimeError("mine")), callback="on_quote")
        dispatcher.publish(quotes(dispatcher, [1.0]))
        with pytest.raises(RuntimeError) as raised:
            dispatcher.dispatch()
    assert not isinstance(raised.value, HeadraceError)


@pytest.mark.parametrize("name_is_taken", [False, True])
def test_a_fault_behind_a_close_is_judged_by_its_own_rule(name_is_taken: bool) -> None:
    def closes_itself() -> None:
        own.close()
        raise RuntimeError("wanted")

    def closes_and_returns() -> None:
        other.close()
        if name_is_taken:
            dispatcher.subscribe(lambda: None, callback="on_quote", name="other")

    with Dispatcher(on_fault="quarantine") as dispatcher:
        own = dispatcher.subscribe(closes_itself, callback="on_quote", name="own", on_fault="raise")
        other = dispatcher.subscribe(closes_and_returns, callback="on_quote", name="other")
        dispatcher.publish(quotes(dispatcher, [1.0]))
        with pytest.raises(RuntimeError, match="wanted"):
            dispatcher.dispatch()
        dispatcher.publish(quotes(dispatcher, [2.0]))
        dispatcher.dispatch()
        assert dispatcher.stats().closed.faults == 1
        assert set(dispatcher.faults._joined) == set(dispatcher.subscriptions)
        assert not dispatcher.faults._replaced
