"""Async handlers: each subscription has its own cursor and task, is awaited in order, and is cancelled cleanly."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from typing import Any

import pytest

from headrace import Dispatcher, Strategy
from headrace.dispatch.loop_wakeup import WakeupKind
from headrace.errors import RingHeldError
from tests.support.feeding import WOKEN_S, HandClock, holds_the_law, quotes, trades, usual_wait_s


async def until(done: Any, within_s: float = 5.0) -> None:
    end_s = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < end_s, "it did not happen in time"
        await asyncio.sleep(0.001)


def test_calls_are_awaited_one_after_the_other_in_order() -> None:
    log: list[Any] = []

    async def main() -> None:
        with Dispatcher() as dispatcher:

            async def on_quote(seq):
                log.append(("begin", seq))
                await asyncio.sleep(0.001 if seq % 2 else 0)
                log.append(("end", seq))

            dispatcher.subscribe(on_quote)
            dispatcher.publish(quotes(dispatcher, range(10)))
            await until(lambda: len(log) == 20)

    asyncio.run(main())
    assert log == [(what, seq) for seq in range(1, 11) for what in ("begin", "end")]


class Mixed(Strategy):
    """An async handler and plain ones in one strategy."""

    def __init__(self) -> None:
        self.said: list[Any] = []

    async def on_quote(self, position):
        await asyncio.sleep(0)
        self.said.append(("quote", position))

    def on_gap(self, missing):
        self.said.append(("gap", missing))

    def on_tick(self, tick):
        self.said.append(("tick", tick.position))

    async def on_trades(self, position):
        await asyncio.sleep(0)
        self.said.append(("trades", position.tolist()))


def test_plain_and_async_handlers_keep_the_order() -> None:
    mixed = Mixed()

    async def main() -> None:
        with Dispatcher() as dispatcher:
            dispatcher.subscribe(mixed)
            dispatcher.publish(trades(dispatcher, [1.0], trade_id=[1]))
            dispatcher.publish(quotes(dispatcher, [1.0]))
            dispatcher.publish(trades(dispatcher, [1.0], trade_id=[5]))
            await until(lambda: len(mixed.said) == 8)

    asyncio.run(main())
    assert mixed.said == [
        ("tick", 0),
        ("quote", 1),
        ("tick", 1),
        ("trades", [0]),
        ("gap", 3),
        ("tick", 2),
        ("tick", 3),
        ("trades", [3]),
    ]


def test_each_async_subscription_has_a_cursor_of_its_own() -> None:
    fast: list[int] = []
    slow: list[int] = []
    release = asyncio.Event()

    async def main() -> None:
        with Dispatcher() as dispatcher:

            async def waits(seq):
                await release.wait()
                slow.append(seq)

            async def goes(seq):
                fast.append(seq)

            dispatcher.subscribe(waits, callback="on_quote", name="slow")
            dispatcher.subscribe(goes, callback="on_quote", name="fast")
            dispatcher.publish(quotes(dispatcher, range(10)))
            await until(lambda: len(fast) == 10)
            assert not slow
            release.set()
            await until(lambda: len(slow) == 10)

    asyncio.run(main())
    assert slow == fast == list(range(1, 11))


def test_values_that_an_awaiting_handler_holds_do_not_change() -> None:
    got: list[Any] = []

    async def main() -> None:
        with Dispatcher(ring_capacity=64) as dispatcher:

            async def on_quote(seq, bid_price, tick):
                before = (bid_price, tick.bid_price, tick.seq)
                await asyncio.sleep(0)
                got.append(before == (bid_price, tick.bid_price, tick.seq) == (seq - 1.0, seq - 1.0, seq))

            dispatcher.subscribe(on_quote, overflow="drop_oldest")
            for start in range(0, 600, 30):
                dispatcher.publish(quotes(dispatcher, range(start, start + 30)))
                await until(lambda start=start: len(got) == start + 30)

    asyncio.run(main())
    assert got == [True] * 600


@pytest.mark.parametrize("wakeup", ["eventfd", "pipe"])
def test_ticks_of_another_thread_wake_the_task(wakeup: WakeupKind) -> None:
    got: list[int] = []

    async def main() -> None:
        with Dispatcher(wakeup=wakeup) as dispatcher:

            async def on_quote(seq):
                got.append(seq)

            dispatcher.subscribe(on_quote)
            assert await asyncio.to_thread(usual_wait_s, dispatcher, lambda: len(got), laps=50) < WOKEN_S

    asyncio.run(main())
    assert got == list(range(1, 51))


def test_the_default_overflow_of_async_handlers_is_drop_oldest() -> None:
    async def main() -> Any:
        with Dispatcher(ring_capacity=64) as dispatcher:

            async def on_quote(seq): ...

            subscription = dispatcher.subscribe(on_quote)
            # Its task cannot run meanwhile, so a wait for a block reader would never end.
            assert dispatcher.publish(quotes(dispatcher, range(1_000))) == 1_000
            await until(lambda: subscription.stats().pending == 0)
            return subscription.stats()

    stats = asyncio.run(main())
    assert stats.missed > 0
    assert holds_the_law(stats)


def test_a_block_reader_on_the_publishing_loop_is_an_error() -> None:
    async def main() -> None:
        with Dispatcher(ring_capacity=64) as dispatcher:

            async def on_quote(seq): ...

            subscription = dispatcher.subscribe(on_quote, overflow="block")
            with pytest.raises(RingHeldError, match="drop_oldest") as held:
                dispatcher.publish(quotes(dispatcher, range(1_000)))
            assert (held.value.published, held.value.asked) == (64, 1_000)
            await until(lambda: subscription.stats().pending == 0)
            assert subscription.stats().delivered == 64

    asyncio.run(main())


def test_a_fault_in_an_awaited_call_leads_to_quarantine() -> None:
    async def main() -> None:
        with Dispatcher() as dispatcher:

            async def on_quote(seq):
                await asyncio.sleep(0)
                raise ValueError(seq)

            subscription = dispatcher.subscribe(on_quote, name="mine")
            dispatcher.publish(quotes(dispatcher, range(10)))
            await until(lambda: subscription.state == "quarantined" and subscription.stats().pending == 0)
            stats = subscription.stats()
            assert stats.faults == 3
            assert holds_the_law(stats)
            letters = dispatcher.dead_letters.list()
            assert [letter.positions for letter in letters] == [(0,), (1,), (2,)]
            assert letters[0].handler == "on_quote"

    asyncio.run(main())


@pytest.mark.parametrize("error", [SystemExit, GeneratorExit, asyncio.CancelledError])
def test_a_stray_exit_or_cancellation_is_the_strategys_fault(error: type[BaseException]) -> None:
    async def main() -> None:
        with Dispatcher() as dispatcher:

            async def on_quote(seq):
                if seq == 1:
                    raise error

            subscription = dispatcher.subscribe(on_quote)
            dispatcher.publish(quotes(dispatcher, range(3)))
            await until(lambda: subscription.stats().delivered == 3 and subscription.stats().pending == 0)
            assert subscription.stats().faults == 1
            assert subscription.state == "running"

    asyncio.run(main())


def test_cancelling_all_tasks_of_the_loop_ends_cleanly() -> None:
    """asyncio.run cancels all tasks that are left. No coroutine stays unawaited, and no warning is logged."""

    async def main() -> None:
        dispatcher = Dispatcher()

        async def on_quote(seq):
            await asyncio.sleep(100)

        dispatcher.subscribe(on_quote)
        dispatcher.publish(quotes(dispatcher, range(100)))
        await asyncio.sleep(0.01)
        main.dispatcher = dispatcher  # type: ignore[attr-defined]

    asyncio.run(main())
    main.dispatcher.close()  # type: ignore[attr-defined]
    gc.collect()


def test_closing_in_the_middle_of_a_call_ends_it(caplog: pytest.LogCaptureFixture) -> None:
    log: list[str] = []

    async def main() -> None:
        dispatcher = Dispatcher()

        async def on_quote(seq):
            log.append("begin")
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                log.append("cancelled")
                raise

        subscription = dispatcher.subscribe(on_quote)
        dispatcher.publish(quotes(dispatcher, range(5)))
        await until(lambda: log == ["begin"])
        dispatcher.close()
        await until(lambda: log == ["begin", "cancelled"])
        assert holds_the_law(subscription.stats())

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())
    assert not caplog.records


def test_an_async_handler_may_publish_and_close() -> None:
    got: list[float] = []

    async def main() -> None:
        dispatcher = Dispatcher()

        async def on_quote(bid_price):
            got.append(bid_price)
            if bid_price < 3:
                dispatcher.publish(quotes(dispatcher, [bid_price + 1]))
            else:
                dispatcher.close()

        dispatcher.subscribe(on_quote)
        dispatcher.publish(quotes(dispatcher, [1.0]))
        await until(lambda: got == [1.0, 2.0, 3.0])

    asyncio.run(main())


def test_pausing_skips_ticks_that_were_not_delivered_yet() -> None:
    got: list[int] = []

    async def main() -> None:
        with Dispatcher() as dispatcher:

            async def on_quote(seq):
                got.append(seq)
                if seq == 3:
                    subscription.pause()

            subscription = dispatcher.subscribe(on_quote)
            dispatcher.publish(quotes(dispatcher, range(10)))
            await until(lambda: subscription.stats().pending == 0)
            assert holds_the_law(subscription.stats())

    asyncio.run(main())
    assert got == [1, 2, 3]


def test_windows_close_by_the_clock_without_a_new_tick() -> None:
    got: list[int] = []

    async def main() -> None:
        with Dispatcher() as dispatcher:

            async def on_quotes(seq):
                got.append(len(seq))

            dispatcher.subscribe(on_quotes, every="20ms")
            dispatcher.publish(quotes(dispatcher, range(7), ts_init=dispatcher.clock.now_ns()))
            await until(lambda: got == [7])

    asyncio.run(main())


def test_in_replay_async_handlers_are_awaited_by_the_drain() -> None:
    log: list[int] = []

    async def main() -> None:
        with Dispatcher(mode="replay") as dispatcher:

            async def on_quote(seq):
                await asyncio.sleep(0)
                log.append(seq)

            subscription = dispatcher.subscribe(on_quote)
            dispatcher.publish(quotes(dispatcher, range(5)))
            await asyncio.sleep(0.01)
            assert not log
            await dispatcher.drain_async()
            assert subscription.stats().delivered == 5

    asyncio.run(main())
    assert log == [1, 2, 3, 4, 5]


def test_the_given_clock_is_read_when_a_call_is_made() -> None:
    clock = HandClock(100)
    got: list[int] = []

    async def main() -> None:
        with Dispatcher(clock=clock) as dispatcher:

            async def on_quote(lag_ns):
                got.append(lag_ns)

            dispatcher.subscribe(on_quote)
            for _ in range(3):
                dispatcher.publish(quotes(dispatcher, [1.0], ts_init=50))
                expected = len(got) + 1
                await until(lambda expected=expected: len(got) == expected)
                clock.at_ns += 10

    asyncio.run(main())
    assert got == [50, 60, 70]


def test_an_awaited_call_is_timed_until_it_is_done() -> None:
    async def on_quote(seq: int) -> None:
        await asyncio.sleep(0.02 if seq == 3 else 0)

    async def main() -> None:
        with Dispatcher() as dispatcher:
            subscription = dispatcher.subscribe(on_quote)
            dispatcher.publish(quotes(dispatcher, range(5)))
            await until(lambda: subscription.stats().latency.count == 5)
            latency = subscription.stats().latency
            assert latency.max >= 19_000_000
            assert latency.p50 < 19_000_000

    asyncio.run(main())
