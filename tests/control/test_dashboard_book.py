"""The depth of a live book in the page, and what the page says when the book is no longer in sync."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from headrace import Strategy
from headrace.feeds.base import Frame
from tests.support.dashboard import Tab
from tests.support.engines import HandFeed
from tests.support.frames import BTCUSDT, SPOT, Row, depth, encoded, snapshot
from tests.support.http_serving import serving

# A browser, and a machine that may be busy.
pytestmark = pytest.mark.timeout(240)
BIDS = [(100.0 - number, 1.0 + number) for number in range(8)]
ASKS = [(101.0 + number, 2.0) for number in range(5)]


class FrameFeed(HandFeed):
    """Frames that a test puts into it."""

    venue = SPOT


class Watching(Strategy):
    """Uses books, and so has them kept."""

    def on_book(self, bid_price: float) -> None: ...


class BookEngine(NamedTuple):
    """An engine on a thread of its own. send : puts frames into its feed."""

    url: str
    token: str
    loop: asyncio.AbstractEventLoop
    feed: FrameFeed

    def send(self, *frames: Row) -> None:
        for frame in frames:
            self.loop.call_soon_threadsafe(self.feed.put, Frame(time.time_ns(), encoded(frame)))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[BookEngine]:
    """In place of the module's: its feed is the test's own."""
    ready, found = threading.Event(), list[BookEngine]()
    over: list[asyncio.Event] = []

    async def serve() -> None:
        feed, stop = FrameFeed(), asyncio.Event()
        async with serving(tmp_path, feeds=[feed], strategies={"one": Watching()}) as served:
            over.append(stop)
            found.append(BookEngine(f"http://{served.host}/", served.token, asyncio.get_running_loop(), feed))
            ready.set()
            await stop.wait()
            feed.end()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(30)
    yield found[0]
    found[0].loop.call_soon_threadsafe(over[0].set)
    thread.join(30)
    assert not thread.is_alive()


def test_a_book_is_shown_as_depth_and_as_its_best_levels(context: Any, engine: BookEngine) -> None:
    engine.send(snapshot(4, BIDS, ASKS), depth(5, 5))
    tab = Tab(context, engine).sign_in(f"#/market/{BTCUSDT}")
    panel = "section[aria-label=Depth]"
    tab.wait(f"(document.querySelector('{panel} .paths path')?.getAttribute('d') ?? '').length > 20")
    # No quote comes of this feed.
    top = tab.page.inner_text("section[aria-label='Top of book']").split("\n")
    assert top[:2] == ["Bid", "100"]
    assert "99.5" in " ".join(top)
    tab.wait_for_text(f"{panel} header", "13 levels")
    assert tab.page.locator(f"{panel} tbody tr").first.inner_text().split() == ["1", "100", "101", "2"]
    assert tab.page.locator(f"{panel} tbody tr").count() == 6
    rows = tab.csv(f"Depth of {BTCUSDT}")
    assert (rows[:2], len(rows)) == ([["Bid size", "Bid", "Ask", "Ask size"], ["1", "100", "101", "2"]], 1 + 8)
    # What the venue changes shows within a second or two.
    engine.send(depth(6, 6, [(100.5, 3.0)]))
    tab.wait(f"document.querySelector('{panel} tbody tr').innerText.includes('100.5')")
    # A book that missed something shows no levels, and why.
    engine.send(depth(9, 9))
    tab.wait(f"(document.querySelector('{panel} .empty')?.innerText ?? '').includes('events missing')")
    assert tab.page.locator(f"{panel} tbody tr").count() == 0
    assert tab.problems == []
