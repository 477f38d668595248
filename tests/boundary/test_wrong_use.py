"""Wrong use: a wrong argument is a clear error. It causes no hang, no silent loss and no changed number."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import headrace
from headrace import Dispatcher, Strategy
from headrace.errors import ClosedError, FeedError, InstrumentError, OptionError, RecordingError, SubscriptionError
from headrace.feeds import SyntheticFeed

if TYPE_CHECKING:
    from pathlib import Path

NAME = "BTCUSDT.BINANCE"


def quotes(count: int) -> np.ndarray:
    bid = np.arange(float(count))
    return headrace.ticks(instrument=NAME, ts_init=bid.astype("i8"), bid_price=bid, ask_price=bid + 1)


def a_tick(**columns: Any) -> np.ndarray:
    given: dict[str, Any] = {"instrument": NAME, "ts_init": [1, 2], "price": [10.0, 11.0], **columns}
    return headrace.ticks(**given)


@pytest.mark.parametrize("strategies", [[None], (None, {})], ids=["listed", "paired"])
def test_a_replay_refuses_none_as_a_strategy(strategies: Any) -> None:
    with pytest.raises(SubscriptionError, match="None has no handler"):
        headrace.replay(quotes(2), strategies)


def test_a_pipe_as_a_recording_is_an_error_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RecordingError, match="is a pipe or a device"):
        headrace.replay(tmp_path / "pipe", venue="BINANCE")


@pytest.mark.parametrize("speed", [1e300, 1e18])
def test_every_speed_above_0_is_accepted(speed: float) -> None:
    ticks = quotes(2)
    ticks["ts_init"] = [0, 2**63 - 1]
    assert headrace.replay(ticks, speed=speed).span_ns == 2**63 - 1


def test_a_generator_function_as_handler_is_refused() -> None:
    class Yields(Strategy):
        def on_quote(self, bid_price: float) -> Any:
            yield bid_price

    class AwaitsAndYields(Strategy):
        async def on_quote(self, bid_price: float) -> Any:
            yield bid_price

    for strategy in (Yields, AwaitsAndYields):
        with pytest.raises(SubscriptionError, match="whose body would never run"):
            headrace.replay(quotes(2), strategy, instruments=NAME)


def test_an_object_with_an_async_call_is_awaited() -> None:
    class Awaited:
        bids: list[float]

        def __init__(self) -> None:
            self.bids = []

        async def __call__(self, bid_price: float) -> None:
            await asyncio.sleep(0)
            self.bids.append(bid_price)

    handler = Awaited()
    with Dispatcher(instruments=NAME, mode="replay") as dispatcher:
        dispatcher.subscribe(handler, callback="on_quote", name="awaited")
        dispatcher.publish(quotes(2))
        asyncio.run(dispatcher.drain_async())
    assert handler.bids == [0.0, 1.0]


def test_an_error_that_accepts_no_note_is_still_raised() -> None:
    class WithoutNotesError(Exception):
        __notes__ = 3  # type: ignore[assignment]  # hostile

    class RefusingError(Exception):
        def add_note(self, note: str) -> None:
            raise RuntimeError(note)

    for error in (WithoutNotesError(), RefusingError()):

        def on_quote(bid_price: float, error: Exception = error) -> None:
            raise error

        with pytest.raises(type(error)):
            headrace.replay(quotes(2), on_quote, instruments=NAME)


def test_dispatch_and_finish_raise_on_a_closed_dispatcher() -> None:
    dispatcher = Dispatcher(instruments=NAME)
    dispatcher.close()
    with pytest.raises(ClosedError, match="it dispatches no more ticks"):
        dispatcher.dispatch()
    with pytest.raises(ClosedError, match="before close"):
        dispatcher.finish()


def test_stats_can_be_read_while_another_thread_subscribes() -> None:
    def on_quote(bid_price: float) -> None: ...

    failures: list[BaseException] = []
    done = threading.Event()
    with Dispatcher(instruments=NAME) as dispatcher:

        def ask() -> None:
            try:
                while not done.is_set():
                    dispatcher.stats()
                    assert dispatcher.subscriptions is not None
            except BaseException as error:  # noqa: BLE001 - looked at below
                failures.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        for _ in range(300):
            dispatcher.subscribe(on_quote).close()
        done.set()
        thread.join()
    assert failures == []


@pytest.mark.parametrize("every", ["99999999999999999999h", 2**63, "0s"])
def test_a_window_that_no_clock_reaches_is_refused(every: str | int) -> None:
    def on_quotes(bid_price: np.ndarray) -> None: ...

    with Dispatcher(instruments=NAME) as dispatcher, pytest.raises(OptionError, match="every="):
        dispatcher.subscribe(on_quotes, every=every)


@pytest.mark.parametrize(
    "option",
    [{"wakeup": "bell"}, {"slow_handler_ms": float("nan")}, {"slow_handler_ms": -1}, {"block_max_ns": -1}],
    ids=str,
)
def test_a_wrong_dispatcher_option_is_named(option: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=f"{next(iter(option))}="):
        Dispatcher(**option)


def test_one_name_may_stand_for_a_list_of_one() -> None:
    ticks = a_tick(instruments=NAME)
    assert headrace.replay(ticks, instruments=NAME).instruments == (NAME,)


def test_an_array_that_is_not_aligned_is_replayed() -> None:
    memory = np.zeros(72 * 3 + 1, "u1")
    unaligned = memory[1:].view(headrace.TICK_DTYPE)
    unaligned[:] = quotes(3)
    assert not unaligned.flags.aligned
    assert headrace.replay(unaligned, instruments=NAME).ticks["quote"] == 3


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("venue_seq", [-1, 2]),
        ("venue_seq", [1.5, 2.0]),
        ("venue_seq", [float("nan"), 2.0]),
        ("venue_seq", [2**64, 1]),
        ("side", [300, 1]),
        ("instrument", np.array([-1, 0])),
        ("instrument", np.array([2**32, 0])),
        ("ts_init", np.array([2**63, 2**63 + 1], "u8")),
        ("ts_init", np.array(["NaT", "2026-01-01"], "M8[ns]")),
        ("ts_event", np.array(["2026-01-01", "NaT"], "M8[s]")),
        ("ts_init", np.array(["9998-01-01", "9999-01-01"], "M8[D]")),
    ],
    ids=str,
)
def test_a_number_too_large_for_its_field_is_refused(name: str, column: Any) -> None:
    with pytest.raises(OptionError, match=name):
        a_tick(**{name: column})


def test_whole_numbers_may_come_as_floats() -> None:
    assert a_tick(trade_id=[7.0, 8.0])["venue_seq"].tolist() == [7, 8]


def test_no_rows_are_an_empty_array() -> None:
    assert len(a_tick(ts_init=[], price=[])) == 0


def test_an_instruments_max_beyond_memory_is_refused() -> None:
    for make in (headrace.Instruments, headrace.Ring, Dispatcher):
        with pytest.raises(InstrumentError, match="16777216 at most"):
            make(instruments_max=2**40)


def test_a_nan_timeout_is_refused() -> None:
    with pytest.raises(OptionError, match="timeout=nan"):
        headrace.Ring(2).publish(quotes(1), timeout=float("nan"))


def test_tick_types_are_immutable() -> None:
    kept: list[headrace.Tick] = []

    def on_tick(tick: headrace.Tick) -> None:
        kept.append(tick)

    headrace.replay(quotes(1), on_tick, instruments=NAME)
    with pytest.raises(TypeError):
        kept[0].__class__ = headrace.TradeTick
    with pytest.raises(TypeError):
        headrace.QuoteTick.bid_price = 1.0  # type: ignore[assignment,method-assign]
    assert isinstance(kept[0], headrace.QuoteTick)
    assert kept[0].bid_price == 0.0


def test_thousands_of_names_are_subscribed_to_at_once() -> None:
    class Quiet(Strategy):
        def on_quote(self, bid_price: float) -> None: ...

    names = [f"S{number}.BINANCE" for number in range(3_000)]
    with Dispatcher(instruments=names) as dispatcher:
        # Of the thread, not of the wall: others use the machine, too.
        started_s = time.thread_time()
        dispatcher.subscribe(Quiet(), instruments=names)
        # Takes about 0.1 s; it took 2 s when each name was matched as a pattern.
        assert time.thread_time() - started_s < 1.0


def test_the_command_runs_with_stderr_closed(tmp_path: Path) -> None:
    path = SyntheticFeed(frames=100).write(tmp_path / "short.gz")
    command = f"{shlex.join([sys.executable, '-m', 'headrace.cli', 'replay', str(path), '--json'])} 2>&-"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["rejected"] == {}


def test_a_feed_that_yields_none_is_an_error() -> None:
    class Absent:
        name = "absent"
        venue = "BINANCE"

        async def open(self) -> None: ...

        async def close(self) -> None: ...

        async def __aiter__(self) -> Any:
            yield None

    with pytest.raises(FeedError, match="feed absent yielded None"):
        headrace.replay(Absent())


@pytest.mark.asyncio
async def test_ticks_left_by_an_async_close_count_as_skipped() -> None:
    class Once(Strategy):
        subscription_of_mine: headrace.Subscription

        async def on_quote(self, bid_price: float) -> None:
            self.subscription_of_mine.close()

    once = Once()
    with Dispatcher(instruments=NAME) as dispatcher:
        once.subscription_of_mine = dispatcher.subscribe(once)
        dispatcher.publish(quotes(5))
        while once.subscription_of_mine.state != "closed":  # noqa: ASYNC110 - nothing tells it
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        stats = once.subscription_of_mine.stats()
    assert (stats.delivered, stats.skipped, stats.pending) == (1, 4, 0)


def test_ticks_left_by_a_handler_that_closes_count_as_skipped() -> None:
    dispatcher = Dispatcher(instruments=NAME, on_fault="raise")

    def on_quote(bid_price: float) -> None:
        dispatcher.close()
        raise RuntimeError

    subscription = dispatcher.subscribe(on_quote)
    dispatcher.publish(quotes(5))
    with pytest.raises(RuntimeError):
        dispatcher.dispatch()
    stats = subscription.stats()
    assert (stats.delivered, stats.skipped, stats.pending) == (1, 4, 0)


@pytest.mark.asyncio
async def test_a_subscription_with_a_cancelled_task_is_paused(caplog: pytest.LogCaptureFixture) -> None:
    class Cancelled(Strategy):
        async def on_quote(self, bid_price: float) -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)

    caplog.set_level("INFO")
    with Dispatcher(instruments=NAME) as dispatcher:
        subscription = dispatcher.subscribe(Cancelled())
        dispatcher.publish(quotes(5))
        await asyncio.sleep(0.05)
        assert subscription.state == "paused"
    assert "headrace-Cancelled was cancelled" in caplog.text


def test_a_kind_registered_after_the_dispatcher_is_refused() -> None:
    def on_youngling(age: float) -> None: ...

    with Dispatcher(instruments=NAME) as dispatcher:
        headrace.register_kind("youngling", "age")
        for give in ({"handler": on_youngling}, {"kinds": "youngling"}):
            options: dict[str, Any] = give
            with pytest.raises(SubscriptionError, match="registered after this dispatcher was made"):
                dispatcher.subscribe(**options)
    with Dispatcher(instruments=NAME) as dispatcher:
        assert dispatcher.subscribe(on_youngling).state == "running"
