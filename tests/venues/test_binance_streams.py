"""Streams beyond quotes, trades and depth, over the simulated venue's sockets, to the handlers of a strategy."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from headrace import Engine, Flags, Strategy
from headrace.errors import OptionError
from headrace.feeds import SyntheticFeed
from headrace.market.bars import BarSpec
from headrace.market.events import Bar
from headrace.venues import BinanceFeed, Fault, SimulatedVenue
from tests.support import engines
from tests.support.proxy import running_proxy
from tests.support.venue_client import market

pytestmark = pytest.mark.asyncio

until = partial(engines.until, within_s=20.0)
SECOND = 10**9


def feed_of(venue: SimulatedVenue, name: str, streams: tuple[str, ...], **options: Any) -> BinanceFeed:
    addresses = venue.addresses[name]
    symbols = [own.partition(".")[0] for own in venue.instruments]
    return BinanceFeed(name, symbols, streams, url=addresses["ws"], rest_url=addresses["rest"], **options)


async def run_until(feed: BinanceFeed, strategy: Strategy, condition: Any) -> Any:
    engine = Engine(feeds=[feed], strategies=[strategy])
    async with engine:
        await until(condition)
    return engine.report()


class Everything(Strategy):
    bars = (BarSpec(timeframe="1s", price="kline"),)

    def __init__(self) -> None:
        self.marks: list[tuple[float, float, float, int]] = []
        self.fundings: list[tuple[float, float]] = []
        self.interests: list[float] = []
        self.liquidations: list[tuple[float, float, int]] = []
        self.closed: list[Bar] = []
        self.trades: list[tuple[int, float, float, int]] = []

    def on_mark(self, mark_price: float, index_price: float, funding_rate: float, next_funding_ns: int) -> None:
        self.marks.append((mark_price, index_price, funding_rate, next_funding_ns))

    def on_funding(self, funding_rate: float, mark_price: float) -> None:
        self.fundings.append((funding_rate, mark_price))

    def on_open_interest(self, open_interest: float) -> None:
        self.interests.append(open_interest)

    def on_liquidation(self, price: float, size: float, aggressor_side: int) -> None:
        self.liquidations.append((price, size, aggressor_side))

    def on_trade(self, trade_id: int, price: float, size: float, ts_event: int) -> None:
        self.trades.append((trade_id, price, size, ts_event))

    def on_bar(self, bar: Bar) -> None:
        self.closed.append(bar)


@pytest.mark.parametrize("name", ["BINANCE_USDM", "BINANCE_COINM"])
async def test_marks_fundings_interest_and_liquidations_arrive(name):
    strategy = Everything()
    streams = ("bookTicker", "trade", "markPrice@1s", "forceOrder", "openInterest@1s", "fundingRate@1s")
    async with SimulatedVenue(market(20_000, venue=name), speed=20) as venue:
        feed = feed_of(venue, name, streams)
        report = await run_until(
            feed,
            strategy,
            lambda: strategy.marks and strategy.liquidations and strategy.fundings and len(strategy.interests) > 1,
        )
    mark, index, rate, next_ns = strategy.marks[0]
    assert (mark, rate) == (index, 0.0001)
    assert next_ns % (8 * 3_600 * SECOND) == 0
    # Settled funding is asked for at each turn, and is one tick.
    assert strategy.fundings == [(0.0001, strategy.fundings[0][1])]
    price, size, side = strategy.liquidations[0]
    assert (price > 0, size > 0, abs(side)) == (True, True, 1)
    assert not any(report.rejected.values())


async def test_one_stream_brings_marks_and_liquidations_of_all_symbols():
    """Of symbols that the feed does not name, too; its state is told of those that it names."""
    marks: dict[str, list[float]] = {}
    liquidations: dict[str, list[float]] = {}
    states: list[tuple[str, str]] = []

    class Marks(Strategy):
        def on_mark(self, symbol: str, mark_price: float) -> None:
            marks.setdefault(symbol, []).append(mark_price)

        def on_liquidation(self, symbol: str, price: float, size: float) -> None:
            liquidations.setdefault(symbol, []).append(min(price, size))

        def on_status(self, symbol: str, stream: str | None, state: str) -> None:
            states.extend([(symbol, state)] if stream == "mark" else [])

    sources = [SyntheticFeed(own, venue="BINANCE_USDM", frames=20_000) for own in ("BTCUSDT", "ETHUSDT")]
    async with SimulatedVenue(*sources, speed=20) as venue:
        addresses = venue.addresses["BINANCE_USDM"]
        streams = ("bookTicker", "!markPrice@arr@1s", "!forceOrder@arr")
        feed = BinanceFeed("BINANCE_USDM", ["BTCUSDT"], streams, url=addresses["ws"], rest_url=addresses["rest"])
        assert feed.instruments == ["BTCUSDT.BINANCE_USDM"]
        report = await run_until(
            feed, Marks(), lambda: len(marks.get("ETHUSDT", ())) > 2 and liquidations.keys() == {"BTCUSDT", "ETHUSDT"}
        )
    assert states[:2] == [("BTCUSDT", "SILENT"), ("BTCUSDT", "UP")]
    assert {symbol: min(prices) > 0 for symbol, prices in marks.items()} == {"BTCUSDT": True, "ETHUSDT": True}
    assert min(map(min, liquidations.values())) > 0
    assert not any(report.rejected.values())


async def test_a_closed_candle_is_a_bar_of_its_trades():
    strategy = Everything()
    async with SimulatedVenue(market(8_000), speed=8) as venue:
        feed = feed_of(venue, "BINANCE", ("trade", "kline_1s"))
        await run_until(feed, strategy, lambda: len(strategy.closed) >= 4)
    for bar in strategy.closed[1:]:
        # The simulated venue's candles go by the time of its clock, which trades do not carry: their count is exact.
        assert bar.ts_close - bar.ts_open == SECOND
        assert bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high
        assert bar.volume > 0
        assert not bar.partial
    counts = [bar.count for bar in strategy.closed[1:]]
    numbers = [number for number, *_ in strategy.trades]
    assert 0 < sum(counts) <= len(numbers)
    assert all(after.ts_open == before.ts_close for before, after in pairwise(strategy.closed))


async def test_a_failed_poll_makes_the_stream_stale_until_it_heals():
    states: list[tuple[str, str]] = []

    class States(Strategy):
        def on_status(self, stream: str | None, state: str, reason: str) -> None:
            if stream == "open_interest":
                states.append((state, reason))

    async with SimulatedVenue(market(20_000, venue="BINANCE_USDM"), speed=4) as venue:
        feed = feed_of(venue, "BINANCE_USDM", ("trade", "openInterest@1s"))
        async with Engine(feeds=[feed], strategies=[States()]):
            await until(lambda: states)
            # Longer than all attempts of one request.
            venue.inject(Fault(kind="unavailable", at_s=0.0, for_s=5.0))
            await until(lambda: states[-1] == ("STALE", "NOTHING_CAME"))
            await until(lambda: states[-1] == ("UP", "FRAME_CAME"))
    assert states[0] == ("UP", "FRAME_CAME")


@pytest.mark.parametrize(
    ("venue", "streams"), [("BINANCE", ("openInterest",)), ("BINANCE_USDM", ("openInterest@10ms",))]
)
async def test_a_stream_that_cannot_be_polled_is_refused(venue, streams):
    with pytest.raises(OptionError):
        BinanceFeed(venue, ["BTCUSDT"], streams)


class Ids(Strategy):
    """Keeps each trade's id and whether it came late."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, bool]] = []
        self.missing: list[int | None] = []

    def on_trade(self, trade_id: int, flags: int) -> None:
        self.rows.append((trade_id, bool(flags & Flags.LATE)))

    def on_agg_trade(self, venue_seq: int, flags: int) -> None:
        self.rows.append((venue_seq, bool(flags & Flags.LATE)))

    def on_gap(self, missing: int | None) -> None:
        self.missing.append(missing)

    @property
    def late(self) -> list[int]:
        return [number for number, is_late in self.rows if is_late]

    def assert_whole(self) -> None:
        numbers = sorted(number for number, _ in self.rows)
        assert numbers == list(range(numbers[0], numbers[-1] + 1)), "each once"
        in_order = [number for number, is_late in self.rows if not is_late]
        assert in_order == sorted(in_order)


@pytest.mark.parametrize("kind", ["trade", "aggTrade"])
@pytest.mark.parametrize("name", ["BINANCE", "BINANCE_USDM"])
async def test_a_hole_in_trades_is_filled_by_rest_late_and_in_order(name, kind):
    strategy = Ids()
    faults = [Fault(kind="drop", stream=f"*@{kind}", at_frame=20, frames=7)]
    async with SimulatedVenue(market(4_000, venue=name), speed=4, faults=faults) as venue:
        feed = feed_of(venue, name, (kind,))
        report = await run_until(feed, strategy, lambda: len(strategy.late) >= 7)
    assert strategy.late == list(range(strategy.late[0], strategy.late[0] + 7))
    strategy.assert_whole()
    assert strategy.missing == [7]
    assert report.late == 7


async def test_what_a_reconnect_missed_is_filled_too():
    strategy = Ids()
    faults = [Fault(kind="cut", stream="*@trade", at_frame=100)]
    async with SimulatedVenue(market(20_000), speed=10, faults=faults) as venue:
        feed = feed_of(venue, "BINANCE", ("trade",))
        await run_until(feed, strategy, lambda: strategy.late and strategy.rows[-1][0] > strategy.late[-1] + 100)
    strategy.assert_whole()


async def test_times_come_in_microseconds():
    pushed: list[bytes] = []

    def push(frame):
        pushed.append(frame.data)
        return True

    async with SimulatedVenue(market(4_000), speed=4) as venue:
        feed = feed_of(venue, "BINANCE", ("trade",), time_unit="us")
        await feed.open()
        running = asyncio.ensure_future(feed.run(push))
        await until(lambda: sum(b'"e":"trade"' in own for own in pushed) > 3)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await feed.close()
        strategy = Everything()
        again = feed_of(venue, "BINANCE", ("trade",), time_unit="us")
        await run_until(again, strategy, lambda: len(strategy.trades) > 3)
    trades = [own for own in pushed if b'"e":"trade"' in own]
    assert {len(own.split(b'"T":')[1].split(b",")[0]) for own in trades} == {16}
    assert all(ts > 10**18 for *_, ts in strategy.trades)
    with pytest.raises(OptionError, match="time_unit"):
        BinanceFeed("BINANCE_USDM", ["BTCUSDT"], time_unit="us")


@pytest.mark.parametrize("client", ["picows", "aiohttp"])
async def test_everything_goes_through_a_proxy_from_the_source_address(client, monkeypatch):
    if client == "aiohttp":
        monkeypatch.setitem(sys.modules, "picows", None)
    strategy = Everything()
    async with SimulatedVenue(market(4_000), speed=8) as venue, running_proxy() as proxy:
        feed = feed_of(venue, "BINANCE", ("trade",), proxy=proxy.url, source_address="127.0.0.2")
        await run_until(feed, strategy, lambda: len(strategy.trades) > 3)
        port = str(venue.port)
    assert proxy.clients == {"127.0.0.2"}
    assert len(proxy.targets) >= 2
    assert all(port in target for target in proxy.targets)
