"""Pull readers end with their dispatcher: a loop stops, and a read raises ClosedError."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest

from headrace import TICK_DTYPE, Dispatcher, ticks
from headrace.errors import ClosedError

NAME = "BTCUSDT.BINANCE"


def quotes(count: int) -> np.ndarray:
    bid = np.arange(float(count))
    return ticks(instrument=NAME, ts_init=np.arange(count), bid_price=bid, ask_price=bid + 1)


def test_iteration_ends_when_its_body_closes_the_dispatcher() -> None:
    with Dispatcher(instruments=[NAME]) as dispatcher:
        subscription = dispatcher.subscribe()
        dispatcher.publish(quotes(10))
        lengths = []
        for batch in subscription:
            lengths.append(len(batch))
            dispatcher.close()
    assert lengths == [10]
    assert list(subscription) == []


def test_iteration_ends_when_a_thread_closes_the_dispatcher() -> None:
    dispatcher = Dispatcher(instruments=[NAME])
    subscription = dispatcher.subscribe()
    dispatcher.publish(quotes(10))
    has_read = threading.Event()
    lengths: list[int] = []

    def read() -> None:
        for batch in subscription:
            lengths.append(len(batch))
            has_read.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert has_read.wait(5)
    dispatcher.close()
    reader.join(5)
    assert not reader.is_alive()
    assert lengths == [10]


def test_an_async_loop_ends_when_the_dispatcher_is_closed() -> None:
    async def read() -> list[int]:
        with Dispatcher(instruments=[NAME]) as dispatcher:
            subscription = dispatcher.subscribe()
            dispatcher.publish(quotes(10))
            lengths = []
            async for batch in subscription:
                lengths.append(len(batch))
                dispatcher.close()
            return lengths

    assert asyncio.run(read()) == [10]


def test_reading_after_close_raises_closed_error() -> None:
    with Dispatcher(instruments=[NAME]) as dispatcher:
        subscription = dispatcher.subscribe()
        dispatcher.publish(quotes(10))
    out = np.empty(4, TICK_DTYPE)
    with pytest.raises(ClosedError, match="no more ticks will come"):
        subscription.read_into(out)
    stats = subscription.stats()
    assert (stats.skipped, stats.accounted) == (10, stats.published)
