"""Streams that change while a feed runs: batched, confirmed or failed; a reconnect subscribes to the wanted ones."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from functools import partial

import pytest

from headrace.errors import InstrumentError, VenueRequestError
from headrace.feeds import SyntheticFeed
from headrace.venues import BinanceFeed, Fault, SimulatedVenue
from tests.support import engines

pytestmark = pytest.mark.asyncio

until = partial(engines.until, within_s=20.0)
SYMBOLS = [f"COIN{number}USDT" for number in range(12)]


@asynccontextmanager
async def running(**options):
    """A venue with several symbols, and a feed that has subscribed to nothing yet; the requests that the venue got."""
    feeds = [SyntheticFeed(symbol, frames=40_000, seed=number) for number, symbol in enumerate(SYMBOLS)]
    limits = options.pop("limits", None)
    venue_limits = options.pop("venue_limits", limits)
    async with SimulatedVenue(*feeds, speed=1, faults=options.pop("faults", ()), limits=venue_limits) as venue:
        addresses = venue.addresses["BINANCE"]
        feed = BinanceFeed("BINANCE", [], url=addresses["ws"], rest_url=addresses["rest"], limits=limits, **options)
        await feed.open()
        task = asyncio.ensure_future(feed.run(lambda _: True))
        await asyncio.sleep(0)
        try:
            yield venue, feed
        finally:
            task.cancel()
            outcome = (await asyncio.gather(task, return_exceptions=True))[0]
            await feed.close()
            assert isinstance(outcome, asyncio.CancelledError), outcome


def names_of(venue):
    return {name for names in venue.subscriptions for name in names}


def cut_all(venue):
    venue.inject(Fault(kind="restart", at_s=0.0, for_s=0.05))


@pytest.mark.alone
async def test_changes_of_one_moment_are_one_request():
    # Each alone would take 60 / 4 s: the venue allows 5 messages in a second, and one of them is a pong's.
    async with running() as (venue, feed):
        names = [f"{symbol.lower()}@{kind}" for symbol in SYMBOLS for kind in ("trade", "bookTicker", "aggTrade")]
        async with asyncio.timeout(2.0):
            await asyncio.gather(*(feed.subscribe([name]) for name in names))
            assert names_of(venue) == set(names)
            await asyncio.gather(*(feed.unsubscribe([name]) for name in names[1:]))
        assert names_of(venue) == {names[0]}


async def test_a_refused_name_fails_alone():
    # The venue allows fewer streams than the feed takes it for.
    async with running(venue_limits={"streams_max": 9}) as (venue, feed):
        wanted = [f"{symbol.lower()}@trade" for symbol in SYMBOLS[:10]]
        outcomes = await asyncio.gather(*(feed.subscribe([name]) for name in wanted), return_exceptions=True)
        assert [type(own) for own in outcomes] == [type(None)] * 9 + [VenueRequestError]
        assert names_of(venue) == set(wanted[:9])


async def test_an_unlisted_symbol_is_refused_before_sending():
    async with running() as (venue, feed):
        with pytest.raises(InstrumentError, match="does not list COIN99USDT"):
            await feed.subscribe(["coin1usdt@trade", "coin99usdt@trade"])
        assert (venue.stats().connected, names_of(venue)) == (0, set())


async def test_streams_are_spread_over_connections():
    async with running(limits={"streams_max": 4}) as (venue, feed):
        names = [f"{symbol.lower()}@trade" for symbol in SYMBOLS[:9]]
        await feed.subscribe(names)
        assert sorted(len(own) for own in venue.subscriptions) == [1, 4, 4]
        await feed.unsubscribe(names[:8])
        await until(lambda: len(venue.subscriptions) == 1)
        assert names_of(venue) == {names[8]}


async def test_a_request_for_the_old_connection_is_discarded():
    async with running() as (venue, feed):
        wanted = ["coin0usdt@trade"]
        feed.follow(lambda: wanted)
        await feed.subscribe(["coin0usdt@trade"])
        # The venue reads on and answers nothing, then the connection ends.
        venue.inject(Fault(kind="stall", at_s=0.0, for_s=5.0))
        await until(lambda: venue.stats().faults.get("stall"))
        late = asyncio.ensure_future(feed.subscribe(["coin1usdt@trade"]))
        await asyncio.sleep(0.2)
        assert not late.done()
        venue.inject(Fault(kind="restart", at_s=0.0, for_s=0.1))
        await until(lambda: venue.stats().connected == 2)
        await until(lambda: names_of(venue) == {"coin0usdt@trade"})
        with pytest.raises(VenueRequestError, match="was given up meanwhile"):
            await late


# Back-offs of several cuts in a row add up.
@pytest.mark.timeout(60)
async def test_after_any_changes_and_cuts_the_venue_has_what_is_wanted():
    rng = random.Random(3)
    async with running(limits={"streams_max": 5, "messages_per_s": 50}) as (venue, feed):
        wanted: dict[str, None] = {}
        feed.follow(lambda: wanted)
        pending = []
        for _ in range(120):
            name = f"{rng.choice(SYMBOLS).lower()}@{rng.choice(['trade', 'bookTicker'])}"
            if name in wanted:
                del wanted[name]
                pending.append(asyncio.ensure_future(feed.unsubscribe([name])))
            else:
                wanted[name] = None
                pending.append(asyncio.ensure_future(feed.subscribe([name])))
            if rng.random() < 0.05:
                cut_all(venue)
            await asyncio.sleep(rng.random() * 0.02)
        await asyncio.gather(*pending, return_exceptions=True)
        await until(lambda: names_of(venue) == set(wanted), within_s=45.0)
        assert venue.stats().faults["restart"]
        assert sum(len(own) for own in venue.subscriptions) == len(wanted)
