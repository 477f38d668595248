"""BinanceFeed over the simulated venue's real sockets: whole, in order, healed, and within the venue's limits."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from functools import partial

import pytest

from headrace.errors import InstrumentError, OptionError, VenueRequestError
from headrace.feeds import SyntheticFeed
from headrace.venues import BinanceFeed, Fault, SimulatedVenue
from tests.support import engines
from tests.support.venue_client import frames_of, market

pytestmark = pytest.mark.asyncio

until = partial(engines.until, within_s=20.0)
STREAMS = ("bookTicker", "trade", "aggTrade", "depth@100ms")


class Received:
    """What a feed pushed, by the kind of its stream."""

    def __init__(self):
        self.frames, self.times = [], []

    def push(self, frame):
        self.frames.append(json.loads(frame.data))
        self.times.append(frame.ts_init)
        return True

    def of(self, kind):
        return [row["data"] for row in self.frames if row["stream"].split("@")[1] == kind]

    def states(self, kind):
        return [(row["state"], row["lost"]) for row in self.of("status") if row["stream"] == kind]


def feed_of(venue, name="BINANCE", **options):
    addresses = venue.addresses[name]
    symbols = [own.partition(".")[0] for own in venue.instruments]
    options = {"streams": STREAMS, **options}
    return BinanceFeed(name, symbols, url=addresses["ws"], rest_url=addresses["rest"], **options)


@asynccontextmanager
async def running(feed):
    """The feed's run as a task; what it pushes."""
    received = Received()
    await feed.open()
    task = asyncio.ensure_future(feed.run(received.push))
    try:
        yield received
    finally:
        task.cancel()
        outcome = (await asyncio.gather(task, return_exceptions=True))[0]
        await feed.close()
        assert isinstance(outcome, asyncio.CancelledError), outcome


@pytest.mark.parametrize("name", ["BINANCE", "BINANCE_USDM", "BINANCE_COINM"])
async def test_every_frame_is_pushed_once_and_in_order(name):
    source = market(venue=name)
    async with SimulatedVenue(source) as venue, running(feed_of(venue, name)) as received:
        sent = {kind: frames_of(source, kind) for kind in ("bookTicker", "trade", "aggTrade", "depth")}
        await until(lambda: venue.stats().has_ended and received.of("bookTicker")[-1:] == sent["bookTicker"][-1:])
        await until(lambda: received.of("aggTrade")[-1:] == sent["aggTrade"][-1:])
    for kind, rows in sent.items():
        # USD-M's routes are two sockets, so the clock may start before the second has subscribed.
        assert received.of(kind) == rows[len(rows) - len(received.of(kind)) :]
    assert received.times == sorted(received.times)


async def test_a_stream_is_silent_until_its_first_frame():
    async with SimulatedVenue(market()) as venue, running(feed_of(venue)) as received:
        await until(lambda: len(received.states("trade")) == 2)
    assert received.states("trade") == [("SILENT", False), ("UP", False)]


async def test_a_cut_connection_heals_and_says_what_may_be_lost():
    faults = [Fault(kind="cut", stream="*@trade", at_frame=200)]
    async with SimulatedVenue(market(4_000), faults=faults) as venue, running(feed_of(venue)) as received:
        await until(lambda: venue.stats().has_ended)
    assert received.states("trade") == [
        ("SILENT", False),
        ("UP", False),
        ("DOWN", False),
        ("SILENT", True),
        ("UP", False),
    ]
    epochs = [row["epoch"] for row in received.of("status") if row["stream"] == "trade"]
    assert epochs == [1, 1, 1, 2, 2], "each connection is an epoch of its own"
    kinds = [row["data"].get("state") or row["stream"] for row in received.frames if "trade" in json.dumps(row)]
    # The mark of the loss lies in front of the first frame after it.
    assert kinds[kinds.index("DOWN") + 1] == "SILENT"


async def test_an_announced_shutdown_loses_nothing():
    source = market(20_000)
    faults = [Fault(kind="shutdown", stream="*@trade", at_frame=1_000, for_s=1.0)]
    async with SimulatedVenue(source, faults=faults) as venue, running(feed_of(venue)) as received:
        await until(lambda: venue.stats().has_ended and venue.stats().connected == 2)
    ids = [row["t"] for row in received.of("trade")]
    assert list(dict.fromkeys(ids)) == [row["t"] for row in frames_of(source, "trade")][: len(set(ids))]
    assert not any(lost for _, lost in received.states("trade"))


async def test_a_connection_is_replaced_before_its_end():
    async with SimulatedVenue(market(40_000), speed=4, limits={"life_s": 4.0}) as venue:
        async with running(feed_of(venue, limits={"life_s": 4.0})) as received:
            await until(lambda: venue.stats().connected >= 2)
            await asyncio.sleep(0.2)
    ids = [row["t"] for row in received.of("trade")]
    unique = list(dict.fromkeys(ids))
    assert unique == list(range(unique[0], unique[0] + len(unique)))
    assert not any(lost for _, lost in received.states("trade"))


async def test_silence_is_looked_into_and_healed():
    faults = [Fault(kind="stall", at_frame=300, for_s=3)]
    async with SimulatedVenue(market(4_000), faults=faults) as venue:
        feed = feed_of(venue, quiet_s=0.3)
        async with running(feed) as received:
            await until(lambda: ("SILENT", True) in received.states("trade"))
    assert any(row["reason"] == "NOTHING_CAME" for row in received.of("status"))


# So many frames that the stream says nothing for some seconds.
STOPS = {"depth": 80, "trade": 1_200, "aggTrade": 700}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", STOPS)
async def test_a_stream_that_stops_beside_others_is_stale_until_it_comes_back(kind):
    faults = [Fault(kind="drop", stream=f"*@{kind}", at_frame=10, frames=STOPS[kind])]
    async with SimulatedVenue(market(40_000), speed=1, faults=faults) as venue:
        async with running(feed_of(venue, quiet_s=0.5)) as received:
            await until(lambda: ("STALE", False) in received.states(kind))
            await until(lambda: received.states(kind)[-1] == ("UP", False))
            reasons = [row["reason"] for row in received.of("status") if row["stream"] == kind]
    assert "NOTHING_CAME" in reasons
    assert ("STALE", False) not in received.states("bookTicker")


async def test_trades_that_stop_with_the_market_are_not_stale():
    async with SimulatedVenue(market(500)) as venue:
        async with running(feed_of(venue, quiet_s=0.2)) as received:
            await until(lambda: venue.stats().has_ended and received.of("aggTrade"))
            asked = venue.stats().requests
            await until(lambda: venue.stats().requests > asked + 8)
            assert venue.stats().connected == 1
    assert received.states("trade") == received.states("aggTrade") == [("SILENT", False), ("UP", False)]


async def test_a_corrupt_last_frame_does_not_end_the_feed():
    faults = [Fault(kind="corrupt", stream="*@trade", at_frame=5, frames=10_000)]
    async with SimulatedVenue(market(500), faults=faults) as venue:
        async with running(feed_of(venue, streams=("trade",), quiet_s=0.1)):
            await until(lambda: venue.stats().has_ended)
            asked = venue.stats().requests
            await until(lambda: venue.stats().requests > asked + 3)


async def test_lines_that_connect_at_once_keep_within_the_venues_connects(caplog):
    limits = {"connects_max": 10, "connects_within_s": 3.0, "streams_max": 1}
    streams = (*STREAMS, "kline_1m", "kline_5m", "depth5", "depth10")
    async with SimulatedVenue(market(1_000_000), speed=1, limits=limits) as venue:
        async with running(feed_of(venue, streams=streams, limits=limits)):
            await until(lambda: len(venue.subscriptions) == 8 and all(venue.subscriptions))
            venue.inject(Fault(kind="restart", at_s=0.0, for_s=0.01))
            await until(lambda: venue.stats().connected == 16)
    texts = [record.getMessage() for record in caplog.records]
    assert any("no connect for" in text for text in texts)
    assert not any("429" in text for text in texts)


@pytest.mark.timeout(90)
async def test_a_feed_that_is_cancelled_at_any_moment_ends():
    """A change of streams may come within the same turns of the loop as the end."""
    async with SimulatedVenue(market(1_000_000), speed=1) as venue:
        for turns in range(8):
            feed, received = feed_of(venue, streams=("trade",)), Received()
            await feed.open()
            task = asyncio.ensure_future(feed.run(received.push))
            await until(lambda received=received: received.of("trade"))
            changing = asyncio.ensure_future(feed.subscribe(["btcusdt@bookTicker"]))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            done, _ = await asyncio.wait({task}, timeout=5.0)
            task.cancel()
            await asyncio.gather(task, changing, return_exceptions=True)
            await feed.close()
            assert done, f"it went on when it was cancelled {turns} turns behind a change"


async def test_a_quiet_market_is_not_reconnected():
    async with SimulatedVenue(market(500)) as venue:
        async with running(feed_of(venue, quiet_s=0.2)) as received:
            await until(lambda: venue.stats().has_ended)
            await asyncio.sleep(0.8)
            assert venue.stats().connected == 1
    assert ("DOWN", False) not in received.states("trade")


async def test_after_a_restart_of_the_venue_it_connects_again():
    faults = [Fault(kind="restart", at_frame=500, for_s=0.5)]
    async with SimulatedVenue(market(4_000), faults=faults) as venue, running(feed_of(venue)) as received:
        await until(lambda: ("SILENT", True) in received.states("trade") and venue.stats().has_ended)


async def test_a_snapshot_is_pushed_with_its_symbol():
    async with SimulatedVenue(market(4_000)) as venue:
        feed = feed_of(venue)
        async with running(feed) as received:
            await until(lambda: len(received.of("depth")) > 10)
            feed.request_snapshot("BTCUSDT.BINANCE")
            await until(lambda: received.of("depthSnapshot"))
    row = next(row for row in received.frames if row["stream"].endswith("@depthSnapshot"))
    assert row["stream"] == "btcusdt@depthSnapshot"
    assert set(row["data"]) == {"symbol", "lastUpdateId", "bids", "asks"}
    assert row["data"]["symbol"] == "BTCUSDT"


async def test_a_recording_feed_fetches_a_snapshot_that_joins_the_depth():
    async with SimulatedVenue(market(8_000), speed=4) as venue:
        async with running(feed_of(venue, snapshots="always")) as received:
            await until(lambda: received.of("depthSnapshot"))
    first = received.of("depth")[0]["U"]
    assert received.of("depthSnapshot")[-1]["lastUpdateId"] + 1 >= first


async def test_streams_come_and_go_while_it_runs():
    async with SimulatedVenue(market(40_000), speed=20) as venue:
        feed = feed_of(venue, streams=("trade",))
        async with running(feed) as received:
            await until(lambda: received.of("trade"))
            await feed.subscribe(["btcusdt@bookTicker"])
            await until(lambda: received.of("bookTicker"))
            await feed.unsubscribe(["btcusdt@trade"])
            count = len(received.of("trade"))
            await asyncio.sleep(0.3)
            assert len(received.of("trade")) <= count + 1
            assert feed.states == {"btcusdt@bookTicker": "UP"}


async def test_unknown_symbols_are_refused_before_anything_is_sent():
    async with SimulatedVenue(market()) as venue:
        addresses = venue.addresses["BINANCE"]
        feed = BinanceFeed("BINANCE", ["BTCUSTD"], url=addresses["ws"], rest_url=addresses["rest"])
        with pytest.raises(InstrumentError, match="did you mean BTCUSDT"):
            await feed.open()
        await feed.close()
        assert venue.stats().connected == 0


async def test_symbols_of_any_script_work():
    source = SyntheticFeed("币安人生USDT", frames=500)
    async with SimulatedVenue(source) as venue, running(feed_of(venue)) as received:
        await until(lambda: received.of("trade"))


async def test_streams_beyond_a_connections_bound_get_another():
    sources = [SyntheticFeed(f"COIN{number}USDT", frames=50) for number in range(5)]
    async with SimulatedVenue(*sources, limits={"streams_max": 8}) as venue:
        async with running(feed_of(venue, limits={"streams_max": 8})):
            await until(lambda: venue.stats().connections == 3)


async def test_a_request_heals_when_the_venue_does():
    async with SimulatedVenue(market()) as venue:
        feed = feed_of(venue)
        await feed.open()
        venue.inject(Fault(kind="unavailable", at_s=0, for_s=0.5))
        assert await feed.rest.get("ping") == b"{}"
        assert feed.rest.failures
        with pytest.raises(VenueRequestError, match="-1121"):
            await feed.rest.depth("NONE", 5)
        await feed.close()


@pytest.mark.parametrize(
    "options",
    [
        {"network": "tesnet"},
        {"url": "http://x", "rest_url": "http://x"},
        {"url": "ws://x"},
        {"snapshots": "never"},
        {"quiet_s": 0},
        {"streams": "trade"},
        {"symbols": "BTCUSDT"},
        {"symbols": [1]},
        {"venue": "BINANC"},
        {"proxy": 1},
    ],
)
async def test_wrong_options_are_refused(options):
    options = {"venue": "BINANCE", "symbols": ["BTCUSDT"], **options}
    with pytest.raises(OptionError):
        BinanceFeed(options.pop("venue"), options.pop("symbols"), **options)


MISSPELT = [
    ("BINANCE", "bookTicke", "did you mean bookTicker"),
    ("BINANCE", "depth@10ms", "the intervals of depth are 1000ms, 100ms"),
    ("BINANCE", "depth@250ms", "the intervals of depth are 1000ms, 100ms"),
    ("BINANCE", "trade@100ms", "the intervals of trade are none"),
    ("BINANCE", "kline_7m", "the intervals of kline are"),
    ("BINANCE", "markPrice@1s", "it is of BINANCE_USDM and BINANCE_COINM"),
    ("BINANCE_USDM", "kline_1s", "the intervals of kline are"),
    ("BINANCE_USDM", "avgPrice", "it is of BINANCE"),
    ("BINANCE_USDM", "!markPrice@arr@2s", "the intervals of markPrice are 1s, 3s"),
    ("BINANCE_COINM", "forceorder", "did you mean forceOrder"),
]


@pytest.mark.parametrize(("name", "stream", "said"), MISSPELT)
@pytest.mark.parametrize("symbols", [["BTCUSDT"], []])
async def test_a_stream_that_a_market_lacks_is_refused(name, stream, said, symbols):
    with pytest.raises(OptionError, match=said) as refused:
        BinanceFeed(name, symbols, [stream])
    assert f"{name} has no stream '{stream}'" in str(refused.value)


async def test_a_misspelt_stream_is_not_sent_to_the_venue():
    async with SimulatedVenue(market(), speed=1) as venue:
        feed = feed_of(venue)
        async with running(feed):
            await until(lambda: venue.subscriptions)
            before = venue.subscriptions
            with pytest.raises(OptionError, match="did you mean aggTrade"):
                await feed.subscribe(["btcusdt@aggTrad"])
            assert venue.subscriptions == before
