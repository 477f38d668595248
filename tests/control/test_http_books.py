"""The book of an instrument over HTTP: the live one, whole or said to be stale, and 404 where none is kept."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from headrace import Strategy
from headrace.feeds.base import Frame
from tests.support.engines import HandFeed
from tests.support.frames import BTCUSDT, SPOT, Row, depth, encoded, snapshot
from tests.support.http_serving import Served, serving

pytestmark = pytest.mark.asyncio

BIDS, ASKS = [(9.0, 1.0), (8.0, 2.0), (7.0, 4.0)], [(10.0, 1.0), (11.0, 3.0)]
PATH = f"/v1/books/{BTCUSDT}"


class FrameFeed(HandFeed):
    """Frames that a test puts into it."""

    venue = SPOT


class Watching(Strategy):
    """Uses books, and so has them kept."""

    def on_book(self, bid_price: float) -> None: ...


def put(feed: HandFeed, *frames: Row) -> None:
    for frame in frames:
        feed.put(Frame(time.time_ns(), encoded(frame)))


async def book_with(served: Served, path: str = PATH, **wanted: Any) -> dict[str, Any]:
    """Ask until the book is there, and has these values."""
    async with asyncio.timeout(10):
        while True:
            answer = await served.get(path)
            if answer.status == 200 and wanted.items() <= answer.json.items():
                book: dict[str, Any] = answer.json
                return book
            await asyncio.sleep(0.01)


async def test_a_book_is_the_live_one_and_has_the_levels_asked_for(tmp_path: Path) -> None:
    feed = FrameFeed()
    async with serving(tmp_path, feeds=[feed], strategies={"one": Watching()}) as served:
        assert (await served.get(PATH)).status == 404
        put(feed, snapshot(4, BIDS, ASKS), depth(5, 5))
        assert await book_with(served) == {
            "instrument": BTCUSDT,
            "state": "LIVE",
            "reason": "IN_SYNC",
            "quality": "LIVE",
            "update_id": "5",
            "resyncs": 0,
            "levels": 5,
            "bids": [[9.0, 1.0], [8.0, 2.0], [7.0, 4.0]],
            "asks": [[10.0, 1.0], [11.0, 3.0]],
        }
        put(feed, depth(6, 6, [(9.5, 2.0)], [(10.0, 0.0)]))
        best = await book_with(served, f"{PATH}?levels=1", update_id="6")
        assert (best["bids"], best["asks"], best["levels"]) == ([[9.5, 2.0]], [[11.0, 3.0]], 5)
        for levels in ("0", "5001", "x"):
            assert (await served.get(f"{PATH}?levels={levels}")).status == 422
        feed.end()


async def test_a_book_that_is_not_in_sync_shows_no_levels(tmp_path: Path) -> None:
    feed = FrameFeed()
    async with serving(tmp_path, feeds=[feed], strategies={"one": Watching()}) as served:
        put(feed, snapshot(4, BIDS, ASKS), depth(5, 5), depth(9, 9))
        stale = await book_with(served, state="STALE")
        assert (stale["quality"], stale["reason"], stale["levels"]) == ("STALE", "EVENTS_MISSING", 0)
        assert stale["bids"] == stale["asks"] == []
        feed.end()


async def test_a_book_that_is_not_kept_is_404_with_the_nearest_name(tmp_path: Path) -> None:
    feed = FrameFeed()
    async with serving(tmp_path, feeds=[feed], strategies={"one": Watching()}) as served:
        put(feed, snapshot(4, BIDS, ASKS), depth(5, 5))
        await book_with(served)
        answer = await served.get("/v1/books/BTCUSD.BINANCE")
        assert (answer.status, answer.json["type"], answer.json["nearest"]) == (404, "not-found", BTCUSDT)
        # With its last user, the book is gone.
        assert (await served.command("stop", "k1", strategy="one")).status == 200
        put(feed, depth(6, 6))
        async with asyncio.timeout(10):
            while served.engine.dispatcher.books.states:  # noqa: ASYNC110 - nothing tells of a book that is gone
                await asyncio.sleep(0.01)
        answer = await served.get(PATH)
        assert answer.status == 404
        assert "there are none" in answer.json["detail"]
        feed.end()
