"""A replay goes from time to time inside one native call, and no act at any time shows a difference.

The other way is the same code with one time a call: a pace that lets one receive time be due, as at a finite speed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import headrace.engine.loop.replay as driver
from headrace import BarSpec, Dispatcher, Engine, Strategy
from headrace.errors import ConcurrentPublishError
from headrace.feeds import RecordingFeed, SyntheticFeed
from headrace.market.clock import PacedClock
from headrace.trading.brokers.simulated import SimulatedBroker
from tests.support.engines import INSTRUMENTS, LIMITS, START
from tests.support.feeding import BTC, ETH, level_event, quotes, trades
from tests.support.frames import Frame, depth, mark, quote, snapshot, trade, written

# Each test runs some 40 engines. A timeout is an exception, which a strategy's fault policy would take for its fault.
pytestmark = pytest.mark.timeout(180)

MS = 1_000_000
# What is not the same in two runs: how long they took.
DURATIONS = re.compile(r"latency=LatencyStats\([^)]*\)|elapsed_s=[^,]*|ticks_per_s=[^,]*")


class OneTimeAtOnce(PacedClock):
    """Lets one receive time be due: the pump returns behind each."""

    __slots__ = ("_due_ns",)

    def due_ns(self) -> int:
        return getattr(self, "_due_ns", self._first_ns)

    def wait_s(self, ts_ns: int) -> float:
        self._due_ns = ts_ns
        return 0.0


class Noting(Strategy):
    """Notes all that can be seen of the run, and acts at one of its moments."""

    def __init__(self, act: Callable[[Noting], object], at: int) -> None:
        self.act, self.at = act, at
        self.noted: list[str] = []
        self.engine: Engine | None = None
        self.moments = 0

    def note_moment(self, *what: object) -> None:
        """One of the moments that are counted."""
        self.moments += 1
        self.note(*what)
        if self.moments == self.at:
            self.act(self)

    def note(self, *what: object) -> None:
        assert self.engine is not None
        dispatcher = self.engine.dispatcher
        seen = (self.engine.clock.now_ns(), dispatcher.position, dispatcher.instruments.names(), dispatcher.stats())
        ingest = (state_of(dispatcher), [pump.counts() for pump in dispatcher._pumps])
        self.noted.append(DURATIONS.sub("", repr((*what, *seen, *ingest, dispatcher.newest.quote(BTC)))))

    def on_order(self, event) -> None:
        self.note(type(event).__name__)

    def on_fill(self, fill) -> None:
        self.note(fill.price)

    def on_signal(self, signal) -> None:
        self.note(signal.source)


class Watcher(Noting):
    """Notes what it sees at each of its ticks, bars and timers; its ticks are counted."""

    bars: ClassVar[Sequence[object]] = (BarSpec("*", "20ms", price="mid"), BarSpec("*", "3t", price="mid"))

    def on_tick(self, tick) -> None:
        self.note_moment(repr(tick))

    def on_bar(self, bar) -> None:
        self.note(bar.instrument, bar.ts_close, bar.close, bar.volume)

    def on_timer(self, timer) -> None:
        self.note(timer.name, timer.due_ns)


def state_of(dispatcher: Dispatcher) -> object:
    """What the sequencer would go on from; None inside of a publish that found no room."""
    try:
        return dispatcher.sequencer.save()
    except ConcurrentPublishError:
        return None


class Plain(Watcher):
    """Without bars and hash, which take each tick as it is numbered: single ticks go by in one loop."""

    bars = ()


class Windows(Strategy):
    subscription: ClassVar[Mapping[str, object]] = {"every": "20ms"}

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def on_quotes(self, seq, bid_price, flags) -> None:
        self.calls.append((seq.tolist(), bid_price.tolist(), flags.tolist()))


class Batches(Strategy):
    def __init__(self) -> None:
        self.calls: list[Any] = []

    def on_ticks(self, seq, ts_init) -> None:
        self.calls.append((seq.tolist(), ts_init.tolist()))

    def on_gap(self, missing) -> None:
        self.calls.append(missing)


class OfOne(Windows):
    """Its window ends while ticks of another instrument pass."""

    subscription: ClassVar[Mapping[str, object]] = {"every": "10ms", "instruments": BTC}


class Newest(Batches):
    subscription: ClassVar[Mapping[str, object]] = {"overflow": "conflate", "kinds": ["quote"]}


class Awaits(Strategy):
    def __init__(self) -> None:
        self.calls: list[Any] = []

    async def on_quote(self, seq) -> None:
        self.calls.append(seq)


def market() -> list[np.ndarray]:
    """Two arrays with quotes, trades with a gap, and depth; some times are of both, some hold several ticks."""
    with Dispatcher(instruments=[BTC, ETH]) as of:
        first = [
            quotes(of, range(100, 104), ts_init=[START + MS * at for at in (0, 5, 5, 11)]),
            trades(of, [7.0, 8.0], ts_init=[START + 11 * MS, START + 23 * MS], trade_id=[1, 4]),
            quotes(of, range(104, 108), ts_init=[START + MS * at for at in (30, 31, 47, 60)]),
        ]
        second = [
            quotes(of, range(50, 53), instrument=ETH, ts_init=[START + MS * at for at in (2, 5, 11)]),
            level_event(of, 3, instrument=ETH, ts_init=START + 12 * MS),
            quotes(of, range(53, 57), instrument=ETH, ts_init=[START + MS * at for at in (31, 32, 52, 75)]),
        ]
    return [np.concatenate(first), np.concatenate(second)]


def subscribe(watcher: Noting) -> None:
    """Another subscription begins."""
    assert watcher.engine is not None
    watcher.engine.dispatcher.subscribe(lambda seq, ts_init: watcher.note("new", seq, ts_init), callback="on_quote")


def subscribe_a_thread(watcher: Noting) -> None:
    """Another group begins, whose calls come behind those of the first."""
    assert watcher.engine is not None
    own = watcher.engine.dispatcher.subscribe(
        lambda seq, ts_init: watcher.note("thread", seq, ts_init), callback="on_quote", mode="thread"
    )
    assert own.name


def publish(watcher: Noting) -> None:
    """A tick of its own comes between those of the sources."""
    assert watcher.engine is not None
    dispatcher = watcher.engine.dispatcher
    now_ns = watcher.engine.clock.now_ns()
    dispatcher.publish(quotes(dispatcher, [99.0], instrument=ETH, ts_init=now_ns))


def change(watcher: Noting, *names: str) -> None:
    """Pause, resume or close what the other strategies get."""
    assert watcher.engine is not None
    for own in watcher.engine.dispatcher.subscriptions.values():
        if not own.name.startswith("Watcher"):
            for name in names:
                getattr(own, name)()


def stop(watcher: Noting) -> None:
    """The run ends here."""
    assert watcher.engine is not None
    watcher.engine.stop()


def fail(_watcher: Noting) -> None:
    msg = "as asked"
    raise ValueError(msg)


ACTS: dict[str, Callable[[Noting], object]] = {
    "nothing": lambda _watcher: None,
    "stop": stop,
    "publish": publish,
    "subscribe": subscribe,
    "subscribe a thread": subscribe_a_thread,
    "close": lambda watcher: change(watcher, "close"),
    "pause": lambda watcher: change(watcher, "pause"),
    "pause and resume": lambda watcher: change(watcher, "pause", "resume"),
    "fault": fail,
    "timer": lambda watcher: watcher.set_timer("soon", after="1ms"),
    "timer at once": lambda watcher: watcher.set_timer("now", after="1us"),
    "buy": lambda watcher: watcher.buy(BTC, 1),
    "signal": lambda watcher: watcher.signal(BTC, 1),
}


def seen_of(
    feeds: Any,
    act: Callable[[Noting], object],
    at: int,
    others: list[type[Strategy]],
    watcher: type[Noting] = Watcher,
    **options: Any,
) -> list[Any]:
    """All that a run shows: inside of it, and in its report."""
    noting = watcher(act, at)
    strategies = [noting, *(other() for other in others)]
    engine = Engine(
        feeds=feeds,
        strategies=strategies,
        mode="replay",
        broker=SimulatedBroker(),
        limits=LIMITS,
        on_fault="quarantine",
        **{"hashing": True, "instruments": INSTRUMENTS, **options},
    )
    noting.engine = engine
    report = engine.run()
    calls = [getattr(own, "calls", None) for own in strategies]
    laws = [own.subscriptions for own in report.strategies.values()]
    letters = [(own.source, own.reason) for own in engine.dead_letters]
    return [noting.noted, calls, report.input_hash, DURATIONS.sub("", repr(laws)), letters, report.stopped]


def in_each_way(monkeypatch: pytest.MonkeyPatch, *arguments: Any, **options: Any) -> list[Any]:
    """What a run shows that goes on natively as far as it can: the same as one time at once, and with many pauses."""
    at_once = seen_of(*arguments, **options)
    with monkeypatch.context() as patch:
        patch.setattr(driver, "PacedClock", OneTimeAtOnce)
        one_by_one = seen_of(*arguments, **options)
    with monkeypatch.context() as patch:
        patch.setattr(driver, "PROGRESS_EVERY_NS", 0)
        with_pauses = seen_of(*arguments, progress=lambda _: None, **options)
    for own, *others in zip(at_once, one_by_one, with_pauses, strict=True):
        assert [own, own] == others
    return at_once


# With batches each time ends a span; without, spans are opened one behind the other.
@pytest.mark.parametrize("others", [[Windows, OfOne, Batches], [OfOne]], ids=["batches", "one by one"])
@pytest.mark.parametrize("act", ACTS)
def test_an_act_at_any_tick_shows_nothing_of_a_later_time(
    act: str, others: list[type[Strategy]], monkeypatch: pytest.MonkeyPatch
) -> None:
    feeds = market()
    for at in range(1, sum(map(len, feeds)) + 1):
        in_each_way(monkeypatch, feeds, ACTS[act], at, others)


@pytest.mark.parametrize("others", [[Windows, OfOne, Batches], [OfOne], []], ids=["batches", "one by one", "alone"])
@pytest.mark.parametrize("act", ACTS)
def test_an_act_at_any_single_tick_shows_nothing_of_a_later_time(
    act: str, others: list[type[Strategy]], monkeypatch: pytest.MonkeyPatch
) -> None:
    feeds = market()
    for at in range(1, sum(map(len, feeds)) + 1):
        in_each_way(monkeypatch, feeds, ACTS[act], at, others, watcher=Plain, hashing=False)


@pytest.mark.parametrize("other", [Newest, Awaits])
@pytest.mark.parametrize("act", ["pause and resume", "subscribe", "publish", "buy"])
def test_folded_and_awaited_calls_are_those_of_one_time_at_once(
    other: type[Strategy], act: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    feeds = market()
    for at in range(1, sum(map(len, feeds)) + 1, 2):
        in_each_way(monkeypatch, feeds, ACTS[act], at, [other])


@pytest.mark.parametrize("ring_capacity", [2, 16, 65_536])
def test_frames_of_any_length_pass_rings_of_any_size(
    ring_capacity: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = SyntheticFeed(frames=300).write(tmp_path / "session.gz")
    log, calls, *_ = in_each_way(
        monkeypatch, [path, market()[0]], ACTS["subscribe"], 200, [Windows, Batches], ring_capacity=ring_capacity
    )
    assert len(log) > 300
    assert all(calls[1:])


class AtTheirTurn(RecordingFeed):
    """Its frames are read when they are numbered, since it could yield other blocks than the file has."""


# Three instruments come late; some frames are rejected or ignored, and some are not as predicted, so not read ahead.
FRAMES: list[Frame] = [
    quote(1),
    trade(1),
    snapshot(4, [(8.0, 1.0)], [(9.0, 1.0)]),
    depth(5, 6, [(8.5, 2.0)]),
    quote(1),
    {"e": "kline", "x": 1},
    {"e": "nothing"},
    {"u": 2, "s": "BTCUSDT"},
    quote(3, bid=7.0),
    quote(1, symbol="ETHUSDT"),
    {**trade(4), "p": "0"},
    {"lastUpdateId": 7, "bids": [], "asks": []},
    [mark(), mark("XRPUSDT")],
    {"s": "SOLUSDT", **quote(1, symbol="SOLUSDT")},
    trade(9, symbol="ETHUSDT"),
    quote(5, symbol="X" * 65),
    quote(6),
    quote(7),
    quote(11, symbol="ETHUSDT"),
    depth(7, 9, [(8.5, 0.0), (8.0, 3.0)], [(9.0, 2.0)]),
    trade(6),
]


# Without batches a frame of one tick goes from the block to its handlers.
@pytest.mark.parametrize(
    "others", [{"others": [Batches]}, {"others": [], "watcher": Plain, "hashing": False}], ids=["batches", "alone"]
)
@pytest.mark.parametrize("act", ACTS)
def test_frames_read_ahead_show_nothing_of_a_later_frame(act: str, others: dict[str, Any], tmp_path: Path) -> None:
    path = written(tmp_path, FRAMES)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\n\nno line\n", 3))
    for at in range(1, len(FRAMES)):
        ahead, at_their_turn = (
            seen_of([feed(path, venue="BINANCE")], ACTS[act], at, instruments=[], **others)
            for feed in (RecordingFeed, AtTheirTurn)
        )
        for own, other in zip(ahead, at_their_turn, strict=True):
            assert own == other


def test_one_time_at_once_is_one_return_of_the_pump_for_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    feeds = market()
    pauses: list[int] = []

    class Counting(OneTimeAtOnce):
        __slots__ = ()

        def wait_s(self, ts_ns: int) -> float:
            pauses.append(ts_ns)
            return super().wait_s(ts_ns)

    monkeypatch.setattr(driver, "PacedClock", Counting)
    seen_of(feeds, ACTS["nothing"], 0, [])
    times = np.unique(np.concatenate([own["ts_init"] for own in feeds]))
    assert pauses == times[1:].tolist()
