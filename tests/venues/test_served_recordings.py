"""The shared recordings over real sockets: each book equals the quotes of its ids, and needs a snapshot to be LIVE."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from headrace import Engine
from headrace.venues import BinanceFeed, SimulatedVenue
from tests.support.command import Run
from tests.support.comparing import Comparing
from tests.support.engines import until

STREAMS = ("bookTicker", "trade", "depth@100ms")
BTC = {"BINANCE": ("spot_btcusdt_20240808.gz", 564), "BINANCE_USDM": ("usdm_btcusdt_20240808.gz", 503)}
ETH = "spot_ethusdt_20240809.gz"

PRINTED = """
from tests.support.comparing import Comparing


class Printed(Comparing):
    def on_stop(self):
        print("comparisons", self.equal, self.unequal, self.states)
"""


@pytest.mark.parametrize("venue", BTC)
def test_a_replay_with_books_has_the_exact_totals(
    headrace_run: Run, recordings: Path, tmp_path: Path, root: Path, venue: str
) -> None:
    file, comparable = BTC[venue]
    strategy = tmp_path / "printed.py"
    strategy.write_text(PRINTED)
    path = f"{root}:{root / 'python'}"
    ended = headrace_run("replay", recordings / file, "--strategy", f"{strategy}:Printed", PYTHONPATH=path)
    assert ended.returncode == 0, ended.stderr
    assert f"comparisons {comparable} 0 [('LIVE', 'IN_SYNC')]" in ended.stdout


async def served(file: Path, name: str, speed: Any, folder: Path) -> tuple[Comparing, int]:
    """Serve a recording to the end; the strategy, and the comparisons that its recording holds."""
    strategy = Comparing()
    async with SimulatedVenue(f"{file}@{name}", speed=speed) as venue:
        addresses = venue.addresses[name]
        symbols = [own.partition(".")[0] for own in venue.instruments]
        feed = BinanceFeed(name, symbols, STREAMS, url=addresses["ws"], rest_url=addresses["rest"])
        async with Engine(feeds=[feed], strategies=[strategy], record=folder):
            await asyncio.wait_for(venue.ended(), None)
            # What is on its way still.
            frames = -1
            while frames != (frames := len(strategy.quotes) + strategy.books):  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.2)
    return strategy, counted(folder)


def counted(folder: Path) -> int:
    """Count in the one recording of a folder the depth events in sync whose id an earlier bookTicker has."""
    quotes: set[int] = set()
    last, is_live, comparisons = 0, False, 0
    waiting: list[dict[str, Any]] = []

    def apply(event: dict[str, Any], *, seen: bool) -> None:
        nonlocal last, is_live, comparisons
        follows = event["pu"] == last if "pu" in event and is_live else event["U"] <= last + ("pu" not in event)
        if event["u"] < last or (event["u"] == last and "pu" not in event):
            return
        assert follows, event
        last, is_live = event["u"], True
        comparisons += seen

    (recording,) = folder.iterdir()
    for line in recording.read_bytes().splitlines():
        row = json.loads(line.partition(b" ")[2])
        data, stream = row["data"], row["stream"]
        if stream.endswith("@bookTicker"):
            quotes.add(data["u"])
        elif stream.endswith("@depthSnapshot") and not is_live:
            last = data["lastUpdateId"]
            for event in waiting:
                apply(event, seen=False)
            waiting.clear()
        elif "@depth@" in stream:
            if last == 0:
                waiting.append(data)
            else:
                apply(data, seen=data["u"] in quotes)
    return comparisons


@pytest.mark.asyncio
@pytest.mark.timeout(120)
@pytest.mark.parametrize(("venue", "speed"), [("BINANCE", "max"), ("BINANCE_USDM", "max"), ("BINANCE", 60.0)])
async def test_served_books_equal_every_quote(recordings: Path, tmp_path: Path, venue: str, speed: Any) -> None:
    strategy, expected = await served(recordings / BTC[venue][0], venue, speed, tmp_path / "recorded")
    assert strategy.unequal == 0
    assert strategy.equal == expected > 300
    assert strategy.states == [("LIVE", "IN_SYNC")]


@pytest.mark.deep
@pytest.mark.asyncio
@pytest.mark.parametrize("speed", [1.0, 10.0, 60.0])
@pytest.mark.parametrize("venue", BTC)
async def test_served_books_equal_every_quote_deep(recordings: Path, tmp_path: Path, venue: str, speed: float) -> None:
    strategy, expected = await served(recordings / BTC[venue][0], venue, speed, tmp_path / "recorded")
    assert strategy.unequal == 0
    assert strategy.equal == expected > 300


def book_at(recording: Path, share: float) -> tuple[int, dict[str, str], dict[str, str]]:
    """The last id and the levels that were changed up to a part of a recording."""
    lines = gzip.decompress(recording.read_bytes()).splitlines()
    last = 0
    bids: dict[str, str] = {}
    asks: dict[str, str] = {}
    for line in lines[: int(len(lines) * share)]:
        if b"depthUpdate" in line:
            data = json.loads(line.partition(b" ")[2])["data"]
            last = data["u"]
            for side, levels in ((bids, data["b"]), (asks, data["a"])):
                for price, size in levels:
                    side.pop(price, None) if float(size) == 0 else side.update({price: size})
    return last, bids, asks


@pytest.mark.asyncio
@pytest.mark.timeout(180)
@pytest.mark.parametrize("speed", [pytest.param(1.0, marks=pytest.mark.deep), 10.0])
async def test_a_recording_without_a_snapshot_is_live_when_the_venue_serves_one(recordings: Path, speed: float) -> None:
    file, strategy = recordings / ETH, Comparing()
    last, bids, asks = book_at(file, 0.1)
    async with SimulatedVenue(f"{file}@BINANCE", speed=speed) as venue:
        addresses = venue.addresses["BINANCE"]
        feed = BinanceFeed("BINANCE", ["ETHUSDT"], STREAMS, url=addresses["ws"], rest_url=addresses["rest"])
        async with Engine(feeds=[feed], strategies=[strategy]):
            await until(lambda: venue.stats().frames > 5_000, within_s=100.0)
            assert (strategy.states, strategy.books) == ([], 0)
            venue.set_book("ETHUSDT.BINANCE", last, bids.items(), asks.items())
            await until(lambda: strategy.books > 10, within_s=40.0)
    assert strategy.states[0] == ("LIVE", "IN_SYNC")
    assert strategy.unequal == 0
