"""A feed ends wherever it is cancelled: at each of its await points, while it waits there and when the wait is over."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import picows
import pytest

import headrace.venues.binance
from headrace.feeds import SyntheticFeed
from headrace.venues import BinanceFeed, Fault, SimulatedVenue
from headrace.venues.binance.cancellation import heeded
from headrace.venues.binance.transport import AiohttpTransport, PicowsTransport
from tests.support.await_points import AwaitPoints
from tests.support.engines import until
from tests.support.web_socket import Server

FOLDER = Path(headrace.venues.binance.__file__).parent
# A bound for tasks that go on for ever, far above what one waits for the last frame of a socket.
ENDS_WITHIN_S = 10.0
# Await points of these files are in every session, whatever the machine does.
FILES = {"line.py", "connection.py", "wanted.py", "rest.py", "budget.py", "snapshots.py", "liveness.py", "transport.py"}
FAULTS = (
    Fault(kind="cut", at_frame=900),
    Fault(kind="shutdown", at_frame=2_500, for_s=0.3),
    Fault(kind="drop", stream="*@trade", at_frame=30, frames=2),
    Fault(kind="unavailable", at_s=0.4, for_s=0.2),
)


async def session(points: AwaitPoints) -> None:
    """A feed over a venue with faults, whose streams change, until the place was reached or it has seen everything."""
    feeds = [SyntheticFeed("BTCUSDT", frames=6_000), SyntheticFeed("ETHUSDT", frames=6_000, seed=2)]
    # Few enough that requests wait for the next minute, which is short.
    limits = {"messages_per_s": 50, "weight_max": 100, "minute_s": 0.3}
    async with SimulatedVenue(*feeds, speed=3.0, faults=FAULTS, limits=limits) as venue:
        addresses = venue.addresses["BINANCE"]
        feed = BinanceFeed(
            "BINANCE",
            ["BTCUSDT"],
            url=addresses["ws"],
            rest_url=addresses["rest"],
            snapshots="always",
            quiet_s=0.3,
            listing_every_s=0.2,
            limits=limits,
        )
        asyncio.get_running_loop().set_task_factory(points)
        try:
            await feed.open()
            running = asyncio.ensure_future(feed.run(lambda _: True))
            changing = asyncio.ensure_future(changes(feed))
            began = time.monotonic()
            while points.cancelled is None and time.monotonic() - began < 2.5 and not running.done():  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            if points.cancelled is not None and points.cancelled is not running:
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({points.cancelled}, timeout=ENDS_WITHIN_S)
                assert points.cancelled.done(), f"{points.cancelled!r} went on"
            running.cancel()
            changing.cancel()
            await asyncio.wait({running, changing}, timeout=ENDS_WITHIN_S)
            assert running.done(), "the feed went on"
            assert changing.done(), "a change of its streams went on"
            assert running.cancelled() or isinstance(running.exception(), BaseExceptionGroup), running
        finally:
            asyncio.get_running_loop().set_task_factory(None)
            await feed.close()
        await until(lambda: not venue.subscriptions, within_s=20.0)


async def changes(feed: BinanceFeed) -> None:
    """Subscribe and unsubscribe again and again."""
    while True:
        await feed.subscribe(["ethusdt@trade", "ethusdt@depth@100ms"])
        await feed.unsubscribe(["ethusdt@trade", "ethusdt@depth@100ms"])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("client", [PicowsTransport, AiohttpTransport])
def test_a_task_that_is_cancelled_at_any_await_point_ends(
    client: type[PicowsTransport | AiohttpTransport], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.venues.binance.feed.new_transport", lambda **options: client(**options))
    every = AwaitPoints(FOLDER)
    asyncio.run(session(every))
    assert {line.partition(":")[0] for place in every.seen for line in place.split()} >= FILES
    # The two clients differ in their own waits only.
    places = [place for place in every.seen if client is PicowsTransport or "transport.py" in place]
    for place in places:
        for when in ("waiting", "done"):
            try:
                asyncio.run(session(AwaitPoints(FOLDER, at=place, when=when)))
            except AssertionError as error:
                pytest.fail(f"cancelled at {place}, {when}: {error}")


@pytest.mark.asyncio
async def test_a_cancellation_that_a_library_swallows_is_raised() -> None:
    async def swallowing() -> str:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        return "went on"

    task = asyncio.ensure_future(heeded(swallowing()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


class Holding:
    """A server's answer to a socket: it is held until it ends."""

    def __init__(self) -> None:
        self.sockets = 0
        self.codes: list[int | None] = []

    async def __call__(self, socket: Any, _request: Any) -> None:
        self.sockets += 1
        async for _ in socket:
            pass
        self.sockets -= 1
        self.codes.append(socket.close_code)


class Ignoring:
    """A listener that does nothing."""

    def on_message(self, message: bytes) -> None: ...

    def on_ping(self) -> None: ...

    def on_end(self, reason: str) -> None: ...


@pytest.mark.asyncio
@pytest.mark.parametrize("client", [PicowsTransport, AiohttpTransport])
async def test_an_open_that_is_cancelled_leaves_no_socket(client: type[PicowsTransport | AiohttpTransport]) -> None:
    hold, opened = Holding(), 0
    async with Server(hold) as url:
        for turns in range(40):
            own = client()
            opening = asyncio.ensure_future(own.open(url, Ignoring()))
            for _ in range(turns):
                await asyncio.sleep(0)
            opening.cancel()
            await asyncio.wait({opening})
            if not opening.cancelled():
                opening.result()
                opened += 1
                await own.close()
            await until(lambda: hold.sockets == 0)
        assert 0 < opened < 40, "some were cancelled before they were open, and some after it"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("client", "library", "code"), [(PicowsTransport, picows, 1006), (AiohttpTransport, aiohttp.ClientSession, 1000)]
)
async def test_a_socket_that_comes_in_spite_of_a_cancellation_is_closed(
    client: type[PicowsTransport | AiohttpTransport], library: Any, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = library.ws_connect

    async def swallowing(*given: Any, **options: Any) -> Any:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        return await connect(*given, **options)

    monkeypatch.setattr(library, "ws_connect", swallowing)
    hold = Holding()
    async with Server(hold) as url:
        opening = asyncio.ensure_future(client().open(url, Ignoring()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        opening.cancel()
        await asyncio.wait({opening})
        assert opening.cancelled()
        await until(lambda: len(hold.codes) == 1)
    assert hold.codes == [code]
