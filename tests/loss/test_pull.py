"""Pull readers: batches by ``for``, ``async for`` and ``read_into``, what they hold and when they end."""

from __future__ import annotations

import asyncio
import gc
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace import TICK_DTYPE, Dispatcher, Flags, GapCause, Subscription
from headrace.dispatch.loop_wakeup import WakeupKind
from headrace.errors import ClosedError, OptionError, ReentrantDispatchError
from tests.support.feeding import (
    BTC,
    ETH,
    WOKEN_S,
    holds_the_law,
    level_event,
    quotes,
    read_all,
    trades,
    usual_wait_s,
    wait_until,
)


def test_read_into_copies_what_fits_and_counts_it() -> None:
    out = np.zeros(10, TICK_DTYPE)
    with Dispatcher() as dispatcher:
        pull = dispatcher.subscribe()
        dispatcher.publish(quotes(dispatcher, range(25)))
        assert [pull.read_into(out), pull.read_into(out, max_ticks=3), pull.read_into(out)] == [10, 3, 10]
        assert out["values"][:, 0].tolist() == list(range(13, 23))
        assert pull.read_into(out) == 2
        assert pull.read_into(out) == 0
        stats = pull.stats()
    assert (stats.delivered, stats.pending) == (25, 0)


def test_ticks_read_ahead_but_not_copied_are_pending() -> None:
    with Dispatcher() as dispatcher:
        pull = dispatcher.subscribe()
        dispatcher.publish(quotes(dispatcher, range(100)))
        pull.read_into(np.zeros(1, TICK_DTYPE))
        stats = pull.stats()
    assert (stats.delivered, stats.pending) == (1, 99)


@pytest.mark.parametrize(
    ("out", "said"),
    [
        (np.zeros(4), "dtype headrace.TICK_DTYPE"),
        ([1, 2], "NumPy array"),
        (np.zeros((2, 2), TICK_DTYPE), "dimension"),
        (np.zeros(8, TICK_DTYPE)[::2], "C-contiguous"),
    ],
)
def test_read_into_refuses_what_it_cannot_fill(out: Any, said: str) -> None:
    with Dispatcher() as dispatcher:
        pull = dispatcher.subscribe()
        dispatcher.publish(quotes(dispatcher, range(4)))
        with pytest.raises(ValueError, match=said):
            pull.read_into(out)
        assert len(read_all(pull)) == 4


def test_read_into_refuses_a_read_only_array_and_a_bad_count() -> None:
    out = np.zeros(4, TICK_DTYPE)
    out.flags.writeable = False
    with Dispatcher() as dispatcher:
        pull = dispatcher.subscribe()
        with pytest.raises(ValueError, match="read-only"):
            pull.read_into(out)
        with pytest.raises(OptionError, match="max_ticks"):
            pull.read_into(np.zeros(4, TICK_DTYPE), max_ticks=5)


def test_read_into_after_the_end_raises_closed_error() -> None:
    dispatcher = Dispatcher()
    pull = dispatcher.subscribe()
    dispatcher.close()
    with pytest.raises(ClosedError):
        pull.read_into(np.zeros(4, TICK_DTYPE))


def test_a_gap_stands_at_the_beginning_of_a_batch() -> None:
    batches: list[list[int]] = []
    with Dispatcher() as dispatcher:
        pull = dispatcher.subscribe()
        dispatcher.publish(trades(dispatcher, range(5), trade_id=[1, 2, 7, 8, 20]))
        out = np.zeros(100, TICK_DTYPE)
        while count := pull.read_into(out):
            batches.append(out["kind"][:count].tolist())
    assert batches == [[2, 2], [6, 2, 2], [6, 2]]


def test_a_lapped_pull_reader_gets_its_gap_first() -> None:
    with Dispatcher(ring_capacity=16) as dispatcher:
        pull = dispatcher.subscribe(overflow="drop_oldest")
        dispatcher.publish(quotes(dispatcher, range(100)))
        got = read_all(pull)
        stats = pull.stats()
    gap = got[0]
    assert gap["kind"] == 6
    assert gap["values"].view("u8")[2:].tolist() == [86, int(GapCause.OVERRUN)]
    assert got["values"][1:, 0].tolist() == list(range(86, 100))
    assert (stats.missed, stats.delivered) == (86, 14)
    assert holds_the_law(stats)


def test_batches_end_on_events() -> None:
    with Dispatcher() as dispatcher:
        pull = dispatcher.subscribe(batch_max=10)
        for _ in range(4):
            dispatcher.publish(level_event(dispatcher, 4))
        lengths: list[int] = []
        for batch in pull:
            lengths.append(len(batch))
            if sum(lengths) == 16:
                break
    assert lengths == [8, 8]


def test_a_filter_keeps_to_its_instruments_and_kinds() -> None:
    with Dispatcher() as dispatcher:
        pull = dispatcher.subscribe(instruments=ETH, kinds=["trade"])
        dispatcher.publish(quotes(dispatcher, [1.0], instrument=ETH))
        dispatcher.publish(trades(dispatcher, [1.0], instrument=BTC))
        dispatcher.publish(trades(dispatcher, [2.0], instrument=ETH))
        assert read_all(pull)["values"][:, 0].tolist() == [2.0]
        assert pull.stats().filtered == 2


def test_a_late_pull_reader_gets_the_newest_quotes_first() -> None:
    with Dispatcher() as dispatcher:
        dispatcher.publish(quotes(dispatcher, [1.0, 2.0]))
        pull = dispatcher.subscribe()
        dispatcher.publish(quotes(dispatcher, [3.0]))
        got = read_all(pull)
        stats = pull.stats()
    assert got["values"][:, 0].tolist() == [2.0, 3.0]
    assert [bool(flags & Flags.SNAPSHOT) for flags in got["flags"]] == [True, False]
    assert (stats.snapshots, stats.delivered) == (1, 1)


def test_pulled_batches_own_their_memory() -> None:
    with Dispatcher(ring_capacity=16) as dispatcher:
        pull = dispatcher.subscribe(overflow="drop_oldest")
        kept = []
        for lap in range(20):
            dispatcher.publish(quotes(dispatcher, np.full(10, lap)))
            batch = next(iter(pull))
            batch["seq"] += 1
            kept.append(batch)
        quotes_only = [batch[batch["kind"] == 1] for batch in kept]
    assert [set(batch["values"][:, 0].tolist()) for batch in quotes_only] == [{float(lap)} for lap in range(20)]


def test_iteration_waits_for_ticks_and_ends_with_the_dispatcher() -> None:
    got: list[float] = []
    with Dispatcher() as dispatcher:
        pull = dispatcher.subscribe()
        reader = threading.Thread(
            target=lambda: got.extend(bid for batch in pull for bid in batch["values"][:, 0].tolist())
        )
        reader.start()
        for lap in range(50):
            dispatcher.publish(quotes(dispatcher, [float(lap)]))
            if lap % 10 == 0:
                wait_until(lambda: len(got) == lap + 1)  # noqa: B023 - called at once
        wait_until(lambda: len(got) == 50)
    reader.join(5)
    assert not reader.is_alive()
    assert got == [float(lap) for lap in range(50)]


@pytest.mark.alone
def test_a_waiting_reader_wakes_at_once() -> None:
    turn: list[int] = []
    with Dispatcher() as dispatcher:
        pull = dispatcher.subscribe()
        reader = threading.Thread(target=lambda: turn.extend(len(batch) for batch in pull))
        reader.start()
        assert usual_wait_s(dispatcher, lambda: len(turn), laps=100) < WOKEN_S
    reader.join(5)


def test_closing_the_subscription_ends_the_iteration() -> None:
    with Dispatcher() as dispatcher:
        pull = dispatcher.subscribe()
        reader = threading.Thread(target=lambda: [None for _ in pull])
        reader.start()
        pull.close()
        reader.join(5)
        assert not reader.is_alive()
        dispatcher.publish(quotes(dispatcher, [1.0]))


def test_two_threads_pulling_one_subscription_lose_no_tick() -> None:
    got: list[int] = []
    lock = threading.Lock()
    refused: list[Exception] = []

    def read(pull: Any) -> None:
        out = np.zeros(64, TICK_DTYPE)
        while True:
            try:
                count = pull.read_into(out)
            except ReentrantDispatchError as error:
                refused.append(error)
                continue
            except ClosedError:
                return
            with lock:
                got.extend(out["seq"][:count].tolist())

    with Dispatcher() as dispatcher:
        pull = dispatcher.subscribe()
        threads = [threading.Thread(target=read, args=(pull,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for start in range(0, 20_000, 500):
            dispatcher.publish(quotes(dispatcher, range(start, start + 500)))
        wait_until(lambda: len(got) == 20_000)
    for thread in threads:
        thread.join(5)
    assert sorted(got) == list(range(1, 20_001))


# async for


async def collect(pull: Any, until: int, into: list[float] | None = None) -> list[float]:
    got: list[float] = [] if into is None else into
    async for batch in pull:
        got.extend(batch["values"][:, 0].tolist())
        if len(got) >= until:
            break
    return got


@pytest.mark.parametrize("wakeup", ["eventfd", "pipe", "auto"])
def test_async_for_is_woken_by_ticks_of_another_thread(wakeup: WakeupKind) -> None:
    got: list[float] = []

    async def main() -> None:
        with Dispatcher(wakeup=wakeup) as dispatcher:
            collecting = asyncio.create_task(collect(dispatcher.subscribe(), 60, into=got))
            assert await asyncio.to_thread(usual_wait_s, dispatcher, lambda: len(got), laps=60) < WOKEN_S
            await collecting

    asyncio.run(main())
    assert got == [float(lap) for lap in range(60)]


@pytest.mark.parametrize("wakeup", ["eventfd", "pipe"])
def test_async_for_is_woken_by_ticks_of_its_own_loop(wakeup: WakeupKind) -> None:
    async def main() -> list[float]:
        with Dispatcher(wakeup=wakeup) as dispatcher:
            pull = dispatcher.subscribe()
            task = asyncio.create_task(collect(pull, 5))
            for lap in range(5):
                await asyncio.sleep(0)
                dispatcher.publish(quotes(dispatcher, [float(lap)]))
            return await asyncio.wait_for(task, 5)

    assert asyncio.run(main()) == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_async_for_ends_when_the_dispatcher_is_closed() -> None:
    async def main() -> list[float]:
        dispatcher = Dispatcher()
        pull = dispatcher.subscribe()
        task = asyncio.create_task(collect(pull, 100))
        await asyncio.sleep(0.01)
        dispatcher.publish(quotes(dispatcher, [1.0]))
        await asyncio.sleep(0.01)
        dispatcher.close()
        return await asyncio.wait_for(task, 5)

    assert asyncio.run(main()) == [1.0]


def test_async_for_can_be_cancelled_and_continued() -> None:
    async def main() -> list[float]:
        with Dispatcher() as dispatcher:
            pull = dispatcher.subscribe()
            for _ in range(20):
                task = asyncio.create_task(collect(pull, 100))
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            dispatcher.publish(quotes(dispatcher, [1.0, 2.0]))
            return await asyncio.wait_for(collect(pull, 2), 5)

    assert asyncio.run(main()) == [1.0, 2.0]


def test_wakeups_leave_no_descriptor_open() -> None:
    def count() -> int:
        gc.collect()  # What earlier tests left as garbage closes its descriptors here, not below.
        return len(list(Path("/proc/self/fd").iterdir()))

    async def main() -> None:
        with Dispatcher() as dispatcher:
            pull = dispatcher.subscribe()
            dispatcher.publish(quotes(dispatcher, [1.0]))
            await collect(pull, 1)

    asyncio.run(main())
    before = count()
    for _ in range(10):
        asyncio.run(main())
    assert count() == before


def test_a_pause_skips_what_a_pull_holds() -> None:
    async def waits(own: Subscription) -> None:
        async for _ in own:
            pass

    with Dispatcher() as dispatcher:
        own = dispatcher.subscribe(kinds=["quote", "gap"])
        dispatcher.publish(quotes(dispatcher, range(10)))
        out = np.zeros(3, TICK_DTYPE)
        assert own.read_into(out) == 3
        own.pause()
        # It waits; what is held back by the pause must not keep the event loop busy.
        with pytest.raises(TimeoutError):
            asyncio.run(asyncio.wait_for(waits(own), 0.2))
        stats = own.stats()
        assert (stats.delivered, stats.skipped, stats.pending) == (3, 7, 0)
        own.resume()
        dispatcher.publish(quotes(dispatcher, [10.0]))
        got = read_all(own)
        assert [int(kind) for kind in got["kind"]] == [6, 1]
        assert holds_the_law(own.stats())
