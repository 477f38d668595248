"""``headrace.replay``: what it takes, in which order it calls, what it returns."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import threading
import time
from collections.abc import AsyncIterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

import headrace
from headrace import Strategy
from headrace.errors import HeadraceError, OptionError, RecordingError
from headrace.feeds import FeedItem, Frame, SyntheticFeed, synthetic_session
from headrace.feeds.progress import Progress
from tests.support.engines import START

LAW = ("delivered", "filtered", "missed", "conflated", "skipped", "pending")


class Counter(Strategy):
    def __init__(self) -> None:
        self.quotes = 0
        self.threads: set[str] = set()

    def on_quote(self, bid_price: float) -> None:
        self.quotes += 1
        self.threads.add(threading.current_thread().name)


class Order(Strategy):
    """Remembers the order in which ticks came, over all kinds and instruments."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, str]] = []

    def on_tick(self, ts_init: int, instrument: str) -> None:
        self.seen.append((ts_init, instrument))


def test_instances_classes_functions_and_pairs_are_strategies(spot_file: Path) -> None:
    counter, calls = Counter(), []

    def on_trade(price: float) -> None:
        calls.append(price)

    def count(price: float) -> None:
        calls.append(price)

    result = headrace.replay(
        spot_file,
        [
            *(counter, Counter, on_trade),
            *((Counter, {"name": "mine"}), (count, {"callback": "on_trade"}), (Counter(), {"kinds": ["quote"]})),
        ],
    )
    assert list(result.strategies) == ["Counter", "Counter-2", "on_trade", "mine", "count", "Counter-3"]
    assert counter.quotes == result.frames["bookTicker"] == result.strategies["mine"].delivered
    assert result.strategies["on_trade"].calls + result.strategies["count"].calls == len(calls)
    assert len(calls) == 2 * result.frames["trade"]


def test_one_strategy_needs_no_list(spot_file: Path) -> None:
    for one in (Counter(), Counter, (Counter, {"batch_max": 16})):
        assert list(headrace.replay(spot_file, one).strategies) == ["Counter"]


def test_no_strategy_at_all_counts_the_recording(spot_file: Path) -> None:
    result = headrace.replay(spot_file)
    assert sum(result.frames.values()) == 20_000
    assert result.strategies == {}


def test_the_loss_law_holds_for_every_strategy_and_policy(spot_file: Path) -> None:
    for overflow in ("block", "drop_oldest", "conflate"):
        result = headrace.replay(spot_file, [Counter, Counter], overflow=overflow)
        for stats in result.strategies.values():
            assert stats.published == sum(getattr(stats, term) for term in LAW)
            assert stats.published == sum(result.ticks.values()) + result.gaps
            assert stats.pending == 0


def test_sources_are_merged_by_receive_time(spot_file: Path, usdm_file: Path) -> None:
    order = Order()
    result = headrace.replay([spot_file, usdm_file], order)
    assert set(result.instruments) == {"BTCUSDT.BINANCE", "BTCUSDT.BINANCE_USDM"}
    assert order.seen == sorted(order.seen, key=lambda seen: seen[0])
    assert len({instrument for _, instrument in order.seen}) == 2
    assert sum(result.frames.values()) == 40_000
    assert [source.venue for source in result.sources] == ["BINANCE", "BINANCE_USDM"]
    assert [source.frames for source in result.sources] == [20_000, 20_000]


def test_at_equal_times_the_first_source_comes_first(spot_file: Path) -> None:
    def forward() -> list[tuple[int, str]]:
        order = Order()
        headrace.replay([Renamed("AAAUSDT"), Renamed("BBBUSDT")], order)
        return order.seen

    seen = forward()
    for (first_ns, first), (second_ns, second) in itertools.pairwise(seen):
        assert first_ns < second_ns or (first_ns == second_ns and first <= second)
    assert len({instrument for _, instrument in seen}) == 2


class Renamed:
    """A feed of quotes for one symbol, at the same times whatever the symbol is; yields frames, not lines."""

    venue = "BINANCE"

    def __init__(self, symbol: str) -> None:
        self.name = symbol
        self.log: list[str] = []

    async def open(self) -> None:
        self.log.append("open")

    async def close(self) -> None:
        self.log.append("close")

    async def __aiter__(self) -> AsyncIterator[FeedItem]:
        for number in range(1, 101):
            quote = f'{{"u":{number},"s":"{self.name}","b":"1.0","B":"1.0",\n"a":"2.0","A":"1.0"}}'
            yield Frame(START + number * 10, quote.encode())


def test_a_users_feed_may_yield_frames() -> None:
    feed, counter = Renamed("BTCUSDT"), Counter()
    result = headrace.replay(feed, counter)
    assert counter.quotes == 100
    assert result.rejected == {}
    assert feed.log[0] == "open"
    assert feed.log[-1] == "close"


def test_generated_feeds_replay_like_the_recordings_they_write(tmp_path: Path) -> None:
    feeds = synthetic_session(frames=6_000)
    files = [feed.write(tmp_path / f"{number}.gz") for number, feed in enumerate(feeds)]
    direct = headrace.replay(feeds, hashing=True)
    assert direct.rejected == {}
    assert direct.gaps == 0
    assert direct.input_hash == headrace.replay(files, hashing=True).input_hash


def test_arrays_and_saved_arrays_replay_alike(tmp_path: Path) -> None:
    ticks = headrace.ticks(
        instrument="OWN.DATA",
        ts_init=np.arange(1, 1_001) * 1_000,
        bid_price=np.linspace(1, 2, 1_000),
        ask_price=np.linspace(2, 3, 1_000),
        bid_size=np.ones(1_000),
        ask_size=np.ones(1_000),
    )
    np.save(tmp_path / "ticks.npy", ticks)
    counters = [Counter(), Counter()]
    sources: list[np.ndarray | Path] = [ticks, tmp_path / "ticks.npy"]
    results = [
        headrace.replay(source, counter, instruments=["OWN.DATA"], hashing=True)
        for source, counter in zip(sources, counters, strict=True)
    ]
    assert [counter.quotes for counter in counters] == [1_000, 1_000]
    assert results[0].input_hash == results[1].input_hash
    assert results[0].instruments == ("OWN.DATA",)


def test_instrument_ids_without_a_name_are_named_by_number() -> None:
    ticks = headrace.ticks(instrument=np.array([0, 1]), ts_init=[1, 2], price=[1.0, 2.0], size=[1.0, 1.0])
    seen: list[str] = []

    def on_trade(instrument: str) -> None:
        seen.append(instrument)

    assert headrace.replay(ticks, on_trade, instruments=["A.B"]).instruments == ("A.B", "1.ARRAY")
    assert seen == ["A.B", "1.ARRAY"]


def test_replay_works_inside_a_running_event_loop(spot_file: Path) -> None:
    counter = Counter()

    async def notebook() -> headrace.Report:
        return headrace.replay(spot_file, counter)

    result = asyncio.run(notebook())
    assert counter.quotes == result.frames["bookTicker"]
    assert counter.threads == {"headrace-replay"}


def test_async_strategies_are_awaited_in_order(spot_file: Path) -> None:
    class Awaits(Strategy):
        def __init__(self) -> None:
            self.seen: list[int] = []
            self.inside = 0

        async def on_quote(self, seq: int) -> None:
            self.inside += 1
            assert self.inside == 1
            if seq % 100 == 0:
                await asyncio.sleep(0)
            self.seen.append(seq)
            self.inside -= 1

    strategy = Awaits()
    result = headrace.replay(spot_file, strategy)
    assert strategy.seen == list(range(1, result.frames["bookTicker"] + 1))


def test_thread_strategies_run_inline_and_lose_nothing(spot_file: Path) -> None:
    class Threaded(Counter):
        subscription = {"mode": "thread", "overflow": "drop_oldest"}  # noqa: RUF012 - read only

    strategy = Threaded()
    result = headrace.replay(spot_file, strategy, ring_capacity=256)
    assert strategy.quotes == result.frames["bookTicker"]
    assert strategy.threads == {threading.current_thread().name}


def test_a_strategys_exception_keeps_its_traceback(spot_file: Path) -> None:
    class Breaks(Strategy):
        def on_trade(self, price: float) -> None:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        headrace.replay(spot_file, Breaks)
    assert caught.traceback[-1].name == "on_trade"
    assert any("BTCUSDT.BINANCE" in note for note in caught.value.__notes__)


class AsyncBreaks(Strategy):
    def __init__(self) -> None:
        self.calls = 0

    async def on_quote(self, bid_price: float) -> None:
        self.calls += 1
        await asyncio.sleep(0)
        raise KeyError("mine")


def test_an_async_strategys_exception_leaves_the_call_too(spot_file: Path) -> None:
    with pytest.raises(KeyError, match="mine") as caught:
        headrace.replay(spot_file, AsyncBreaks)
    assert any("AsyncBreaks.on_quote" in note for note in caught.value.__notes__)


def test_an_async_strategy_ends_in_quarantine_like_any_other(spot_file: Path) -> None:
    strategy = AsyncBreaks()
    result = headrace.replay(spot_file, [strategy, Counter], on_fault="quarantine")
    assert result.strategies["AsyncBreaks"].is_quarantined
    assert strategy.calls == 3
    assert result.strategies["Counter"].delivered == result.frames["bookTicker"]


def test_a_window_that_is_open_at_the_end_is_handed_out(spot_file: Path) -> None:
    class Windows(Strategy):
        subscription = {"every": "1s"}  # noqa: RUF012 - read only

        def __init__(self) -> None:
            self.calls = 0
            self.trades = 0

        def on_trades(self, price: np.ndarray) -> None:
            self.calls += 1
            self.trades += len(price)

    strategy = Windows()
    result = headrace.replay(spot_file, strategy)
    assert strategy.trades == result.frames["trade"]
    assert strategy.calls <= result.span_ns // 1_000_000_000 + 2


def test_rejected_frames_are_kept_with_their_place(tmp_path: Path) -> None:
    lines = list(islice(SyntheticFeed().lines(), 100))
    lines[49] = lines[49][:20] + b'{"e":"nonsense"}\n'
    path = tmp_path / "one"
    path.write_bytes(b"".join(lines))
    result = headrace.replay(path)
    (letter,) = result.dead_letters
    assert (letter.source, letter.row, letter.frame) == (str(path), 50, b'{"e":"nonsense"}')
    assert result.rejected == {letter.reason: 1}
    assert result.sources[0].frames == sum(result.frames.values()) == 99


def test_a_quarantined_strategy_is_skipped_and_others_go_on(spot_file: Path) -> None:
    class Breaks(Strategy):
        def on_quote(self, bid_price: float) -> None:
            raise KeyError("mine")

    result = headrace.replay(spot_file, [Breaks, Counter], on_fault="quarantine")
    assert result.strategies["Breaks"].is_quarantined
    assert result.strategies["Breaks"].faults == 3
    assert result.strategies["Breaks"].skipped > 0
    assert result.strategies["Counter"].delivered == result.frames["bookTicker"]


def test_nothing_is_called_when_a_source_cannot_be_opened(spot_file: Path, tmp_path: Path) -> None:
    counter = Counter()
    with pytest.raises(RecordingError, match=r"missing\.gz is missing"):
        headrace.replay([spot_file, tmp_path / "missing.gz"], counter)
    assert counter.quotes == 0


def test_a_source_that_goes_back_in_time_names_file_and_row(tmp_path: Path) -> None:
    lines = list(islice(SyntheticFeed().lines(), 1_000))
    lines[500], lines[501] = lines[501], lines[500]
    path = tmp_path / "back"
    path.write_bytes(b"".join(lines))
    with pytest.raises(HeadraceError, match=r"back.*502"):
        headrace.replay(path)


@pytest.mark.alone
def test_the_speed_paces_the_recording(tmp_path: Path) -> None:
    path = SyntheticFeed(frames=800).write(tmp_path / "short")
    result = headrace.replay(path, Counter, speed=4)
    assert 0.8 < result.wall_s * 4 / (result.span_ns / 1e9) < 20  # A generous upper bound: busy machines are late.
    assert (
        headrace.replay(path, Counter, speed=4, hashing=True).input_hash
        == headrace.replay(path, hashing=True).input_hash
    )


@pytest.mark.parametrize("speed", [0, -1.0, float("nan"), float("inf"), "fast"])
def test_a_speed_that_is_no_number_above_0_is_refused(spot_file: Path, speed: object) -> None:
    with pytest.raises(HeadraceError, match="speed="):
        headrace.replay(spot_file, speed=speed)  # type: ignore[arg-type]


@pytest.mark.parametrize("source", [5, None, [b"bytes"], [["nested"]]], ids=str)
def test_what_cannot_be_a_source_is_refused(source: object) -> None:
    with pytest.raises(HeadraceError, match="cannot be replayed: give a path"):
        headrace.replay(source)  # type: ignore[arg-type]


def test_a_misspelt_option_is_refused_with_the_nearest_name(spot_file: Path) -> None:
    class Misspelt(Counter):
        subscription = {"overflw": "block"}  # noqa: RUF012 - read only

    with pytest.raises(OptionError, match="did you mean overflow"):
        headrace.replay(spot_file, Misspelt)


def test_no_source_is_refused() -> None:
    with pytest.raises(HeadraceError, match="nothing to replay"):
        headrace.replay([])


def test_progress_is_reported_and_never_goes_back(spot_file: Path) -> None:
    told: list[Progress] = []

    class Slow(Strategy):
        def on_quote(self, bid_price: float) -> None:
            time.sleep(0.00002)

    headrace.replay(spot_file, Slow, progress=told.append)
    assert told
    assert all(now.bytes_total == spot_file.stat().st_size for now in told)
    assert [now.bytes_done for now in told] == sorted(now.bytes_done for now in told)
    assert [now.ticks for now in told] == sorted(now.ticks for now in told)


@pytest.mark.parametrize("strategies", [1, 2])
def test_progress_goes_on_while_a_handler_is_slow(strategies: int) -> None:
    told: list[Progress] = []

    class Slow(Strategy):
        def on_quote(self, bid_price: float) -> None:
            time.sleep(0.005 / strategies)

    one_block = headrace.ticks(
        instrument="BTCUSDT.BINANCE", ts_init=START + np.arange(200), bid_price=1.0, ask_price=2.0
    )
    headrace.replay(one_block, [Slow] * strategies, progress=told.append)
    ticks = sorted({now.ticks for now in told})
    # A tenth of a second is 20 of them; then the next look at the clock is up to 16 later.
    assert max(np.diff(ticks)) <= 40
    assert len(ticks) >= 4


def test_an_interrupt_stops_the_run_without_an_exception(spot_file: Path) -> None:
    class Interrupts(Strategy):
        def __init__(self) -> None:
            self.quotes = 0

        def on_quote(self, bid_price: float) -> None:
            self.quotes += 1
            if self.quotes == 100:
                signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    strategy = Interrupts()
    result = headrace.replay(spot_file, strategy)
    assert result.stopped
    assert 100 <= strategy.quotes < result.strategies["Interrupts"].published
    assert signal.getsignal(signal.SIGINT) is before


def test_the_interrupt_handler_is_restored_after_a_run(spot_file: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    headrace.replay(spot_file)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_interrupt_is_not_swallowed(spot_file: Path) -> None:
    class Stuck(Strategy):
        def on_quote(self, bid_price: float) -> None:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        headrace.replay(spot_file, Stuck)


def test_a_report_becomes_json_and_its_table_escapes_html(spot_file: Path) -> None:
    result = headrace.replay(spot_file, (Counter, {"name": "<b>bold"}), hashing=True)
    assert json.loads(json.dumps(result.to_dict())) == result.to_dict()
    assert "<b>bold" in str(result)
    assert "<b>bold" not in result._repr_html_()
    assert "&lt;b&gt;bold" in result._repr_html_()


def test_the_result_is_frozen_and_names_the_hash_seed(spot_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "123")
    result = headrace.replay(spot_file)
    assert result.hash_seed == "123"
    with pytest.raises(AttributeError):
        result.gaps = 1  # type: ignore[misc]
