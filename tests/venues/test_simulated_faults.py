"""What the simulated venue does wrong on demand: each fault, at its frame, and nothing else."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise

import aiohttp
import pytest

from headrace.errors import OptionError
from headrace.limits import FRAME_BYTES_MAX
from headrace.venues import Fault, FaultScript, SimulatedVenue
from tests.support.venue_client import client_of, frames_of, market

pytestmark = pytest.mark.asyncio


async def received_with(kind, feed=None, **fault):
    async with (
        SimulatedVenue(feed or market(), faults=[Fault(kind=kind, **fault)]) as venue,
        client_of(venue) as client,
    ):
        received = await client.collect("trade", "bookTicker", "depth")
        assert venue.stats().faults[kind] >= 1
        return received


def ids(rows):
    return [row["t"] for row in rows]


async def test_dropped_frames_are_missing():
    sent = frames_of(market(), "trade")
    received = await received_with("drop", stream="*@trade", at_frame=10, frames=3)
    assert received["trade"] == sent[:9] + sent[12:]


async def test_a_duplicated_frame_comes_twice():
    sent = frames_of(market(), "trade")
    received = await received_with("duplicate", stream="*@trade", at_frame=10)
    assert received["trade"] == [*sent[:10], sent[9], *sent[10:]]


async def test_a_reordered_frame_comes_after_the_next():
    sent = frames_of(market(), "trade")
    received = await received_with("reorder", stream="*@trade", at_frame=10)
    assert received["trade"] == [*sent[:9], sent[10], sent[9], *sent[11:]]


async def test_a_delayed_frame_comes_later_by_the_venues_clock():
    sent = frames_of(market(), "trade")
    received = await received_with("delay", stream="*@trade", at_frame=10, for_s=0.5)
    assert sorted(ids(received["trade"])) == ids(sent)
    assert ids(received["trade"]) != ids(sent)
    assert received["trade"].index(sent[9]) > 9


async def test_a_corrupt_frame_is_no_json():
    received = await received_with("corrupt", stream="*@trade", at_frame=10)
    assert len(received["unreadable"]) == 1


async def test_wrong_ids_concern_one_frame():
    sent = frames_of(market(), "trade")
    received = await received_with("wrong_ids", stream="*@trade", at_frame=10)
    assert [row["t"] - own["t"] for row, own in zip(received["trade"], sent, strict=True)].count(0) == len(sent) - 1


async def test_ids_begin_anew_in_one_space():
    received = await received_with("renumber", stream="btcusdt@*", at_frame=100)
    depth = received["depth"]
    steps = [(before["u"], after["U"]) for before, after in pairwise(depth)]
    broken = [pair for pair in steps if pair[1] != pair[0] + 1]
    assert len(broken) <= 1
    assert depth[-1]["u"] < 10_000
    assert received["bookTicker"][-1]["u"] < 10_000
    assert received["trade"][-1]["t"] < 10_000


async def test_an_oversize_frame_is_longer_than_any_allowed():
    received = await received_with("oversize", stream="*@trade", at_frame=10)
    assert received["trade"] == frames_of(market(), "trade")
    assert FRAME_BYTES_MAX < 2**63


async def test_a_cut_ends_the_connection_inside_a_frame():
    received = await received_with("cut", stream="*@trade", at_frame=10)
    assert len(received["trade"]) == 9
    assert received["ended"]


async def test_a_trickled_frame_arrives_whole():
    received = await received_with("trickle", stream="*@trade", at_frame=10, for_s=0.05, size=40)
    assert received["trade"] == frames_of(market(), "trade")


async def test_a_stall_delays_and_loses_nothing():
    received = await received_with("stall", at_frame=10, for_s=0.2)
    assert received["trade"] == frames_of(market(), "trade")


async def test_a_shutdown_is_announced_before_the_cut():
    faults = [Fault(kind="shutdown", at_frame=500, for_s=0.1)]
    async with SimulatedVenue(market(), faults=faults) as venue, client_of(venue) as client:
        async with client.socket("/stream?streams=btcusdt@trade") as socket:
            rows = [json.loads(message.data) async for message in socket if message.type is aiohttp.WSMsgType.TEXT]
    assert [row["data"]["e"] for row in rows if row["stream"] == "!serverShutdown"] == ["serverShutdown"]


async def test_after_a_restart_the_same_port_serves():
    faults = [Fault(kind="restart", at_frame=500, for_s=0.2)]
    async with SimulatedVenue(market(4_000), faults=faults) as venue, client_of(venue) as client:
        received = await client.collect("trade")
        assert "ended" in received
        with pytest.raises(aiohttp.ClientConnectorError):
            async with client.socket():
                pass
        await asyncio.sleep(0.4)
        async with client.socket("/stream?streams=btcusdt@trade") as socket:
            assert (await socket.receive()).type is aiohttp.WSMsgType.TEXT


async def test_a_rate_is_seeded():
    async def drops(seed):
        script = FaultScript.of([Fault(kind="drop", rate=0.1, stream="*@trade")], seed=seed)
        async with SimulatedVenue(market(), faults=script) as venue, client_of(venue) as client:
            return ids((await client.collect("trade"))["trade"])

    first, second, other = await drops(1), await drops(1), await drops(2)
    assert first == second != other
    assert 0.02 < 1 - len(first) / len(frames_of(market(), "trade")) < 0.3


async def test_a_script_is_read_from_toml(tmp_path):
    script = tmp_path / "faults.toml"
    script.write_text('seed = 7\n[[fault]]\nkind = "drop"\nat_frame = 3\n[[fault]]\nkind = "stall"\nat_s = 1.5\n')
    loaded = FaultScript.load(script)
    assert loaded.seed == 7
    assert [fault.kind for fault in loaded.faults] == ["drop", "stall"]


@pytest.mark.parametrize(
    "text",
    [
        '[[fault]]\nkind = "drp"\nat_frame = 1',
        '[[fault]]\nkind = "drop"',
        '[[fault]]\nkind = "drop"\nat_frame = 1\nrate = 0.5',
        '[[fault]]\nkind = "drop"\nat_frme = 1',
        '[[fault]]\nkind = "drop"\nrate = 2',
        '[[fault]]\nkind = "drop"\nat_frame = 0',
        "sed = 1",
        "[[fault",
    ],
)
async def test_a_wrong_script_is_refused(tmp_path, text):
    script = tmp_path / "faults.toml"
    script.write_text(text)
    with pytest.raises(OptionError):
        FaultScript.load(script)
