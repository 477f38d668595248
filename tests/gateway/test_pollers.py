"""Pollers: on schedule, shared by routes, and a bad answer or a venue that is gone stops no other."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager

import pytest

from headrace.errors import OptionError, RouteError, VenueRequestError
from headrace.gateway import CanonicalType, Poller, RouteTable
from headrace.gateway.pollers import Pollers, parsed_snapshot
from headrace.gateway.pool import WorkPool
from tests.support.engines import until

pytestmark = pytest.mark.asyncio

BTC, ETH = "BTCUSDT.BINANCE", "ETHUSDT.BINANCE"
SNAPSHOT = b'{"lastUpdateId":7,"bids":[["10.5","1"]],"asks":[["11","2"]]}'


class Answering:
    """The REST of a venue."""

    def __init__(self):
        self.asked = []
        self.answers = {}

    async def fetch(self, endpoint, instrument, *, weight=None):
        self.asked.append((time.monotonic(), endpoint, instrument, weight))
        answer = self.answers.get(instrument, SNAPSHOT)
        if isinstance(answer, Exception):
            raise answer
        return answer


@asynccontextmanager
async def polling(poller, *kinds, instruments=(BTC,), parsers=None):
    venue, delivered, pool = Answering(), [], WorkPool()
    table = RouteTable({kind: [poller] for kind in kinds})
    pollers = Pollers({"BINANCE": venue}, pool, parsers or {}, lambda *answer: delivered.append(answer))
    for kind in kinds:
        table.subscribe(kind, instruments)
    pollers.sync(table.routes)
    try:
        yield venue, pollers, delivered, table
    finally:
        await pollers.close()
        pool.close()


@pytest.mark.alone
async def test_polls_come_at_once_and_then_on_time():
    poller = Poller("snapshots", "depth?limit=5", 0.1, "snapshot", 3)
    async with polling(poller, CanonicalType.BOOK_SNAPSHOT) as (venue, pollers, delivered, _):
        began = time.monotonic()
        await until(lambda: len(delivered) == 5)
        assert 0.35 < time.monotonic() - began < 1.0
        assert delivered[0] == (poller, BTC, {"update_id": 7, "bids": [[10.5, 1.0]], "asks": [[11.0, 2.0]]})
        assert venue.asked[0][1:] == ("depth?limit=5", BTC, 3)
        assert pollers.counts.answered == 5


async def test_two_routes_share_a_poll_and_it_ends_with_the_last():
    kinds = (CanonicalType.BOOK_SNAPSHOT, CanonicalType.FUSED)
    async with polling(Poller("snapshots", "depth", 60.0, "snapshot"), *kinds) as (venue, pollers, delivered, table):
        await until(lambda: delivered)
        table.unsubscribe(kinds[0], [BTC])
        pollers.sync(table.routes)
        table.unsubscribe(kinds[1], [BTC])
        pollers.sync(table.routes)
        await asyncio.sleep(0.01)
        assert (len(venue.asked), len(delivered)) == (1, 1)


async def test_what_fails_is_counted_and_polled_again():
    poller = Poller("snapshots", "depth", 0.01, "snapshot")
    async with polling(poller, CanonicalType.BOOK_SNAPSHOT, instruments=(BTC, ETH)) as (venue, pollers, delivered, _):
        venue.answers = {BTC: VenueRequestError("gone", url="", status=None), ETH: b"<html>"}
        await until(lambda: pollers.counts.failed > 2 and pollers.counts.unparsed > 2)
        assert {name for _, name, payload in delivered if payload is None} == {ETH}
        venue.answers = {}
        await until(lambda: {name for _, name, payload in delivered if payload} == {BTC, ETH})


async def test_a_parser_of_ones_own_is_used_and_an_unknown_one_is_refused():
    parsers = {"sized": lambda body: {"bytes": len(body)}}
    async with polling(Poller("sizes", "depth", 60.0, "sized"), CanonicalType.BOOK_SNAPSHOT, parsers=parsers) as (
        _,
        pollers,
        delivered,
        _,
    ):
        await until(lambda: delivered)
        assert delivered[0][2] == {"bytes": len(SNAPSHOT)}
        with pytest.raises(RouteError, match="did you mean sized"):
            pollers.check(Poller("sizes", "depth", 60.0, "sizd"))


@pytest.mark.parametrize("interval_s", [0, -1, float("nan"), True])
async def test_a_wrong_interval_is_refused(interval_s):
    with pytest.raises(OptionError):
        Poller("x", "depth", interval_s, "snapshot")


async def test_a_depth_answer_without_its_fields_is_no_snapshot():
    for body in (b"{}", b"[]", b'{"lastUpdateId":1,"bids":[["x","1"]],"asks":[]}'):
        with pytest.raises(Exception, match=r".+"):
            parsed_snapshot(body)
