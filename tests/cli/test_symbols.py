"""``headrace symbols`` and ``headrace doctor --venue``, over the simulated venue."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any, NamedTuple

import pytest

from headrace.venues import SimulatedVenue, measured
from tests.support.venue_client import market

pytestmark = pytest.mark.asyncio


async def command(venue, *arguments, name="BINANCE"):
    addresses = venue.addresses[name]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "headrace.cli", *arguments, "--url", addresses["ws"], "--rest-url", addresses["rest"]),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate()
    return process.returncode, out.decode(), errors.decode()


async def test_symbols_lists_steps_contract_and_status():
    async with SimulatedVenue(market(venue="BINANCE_COINM")) as venue:
        code, out, errors = await command(venue, "symbols", "BINANCE_COINM", "--json", name="BINANCE_COINM")
    assert code == 0, errors
    (row,) = json.loads(out)
    assert (row["instrument"], row["status"]) == ("BTCUSDT.BINANCE_COINM", "TRADING")
    assert row["price_tick"]
    assert row["lot_size"]


async def test_symbols_names_the_nearest_of_one_that_is_not_listed():
    async with SimulatedVenue(market()) as venue:
        code, _, errors = await command(venue, "symbols", "BINANCE", "BTCUSTD")
        named_code, _, named = await command(venue, "record", "BINANCE", "BTCUSDT.BINANCE")
        table_code, table, _ = await command(venue, "symbols", "BINANCE", "btcusdt")
    assert (code, errors) == (1, "headrace: BINANCE does not list BTCUSTD (did you mean BTCUSDT?)\n")
    assert (named_code, named) == (2, "headrace: BINANCE does not list BTCUSDT.BINANCE (did you mean BTCUSDT?)\n")
    assert table_code == 0
    assert "TRADING" in table


async def test_doctor_measures_each_route_and_the_clock():
    name = "BINANCE_USDM"
    async with SimulatedVenue(market(venue=name), clock_offset_s=1.27) as venue:
        code, out, errors = await command(venue, "doctor", "--venue", name, "--json", name=name)
        text_code, text, _ = await command(venue, "doctor", "--venue", name, name=name)
    assert code == 0, errors
    found = json.loads(out)
    assert [row["address"].rpartition("/")[2] for row in found["routes"]] == ["public", "market", "v1"]
    assert all(row["answer_ms"] > 0 and row["problem"] == "" for row in found["routes"])
    assert found["clock"]["offset_ms"] == pytest.approx(1_270, abs=found["clock"]["error_ms"] + 2)
    assert text_code == 0
    assert "ahead of ours" in text


async def test_doctor_says_what_cannot_be_reached():
    async with SimulatedVenue(market()) as venue:
        addresses = venue.addresses["BINANCE"]
    health = await measured("BINANCE", url=addresses["ws"], rest_url=addresses["rest"])
    assert not health.is_reachable
    assert health.clock is None
    assert all(route.problem for route in health.routes)


async def test_what_gives_no_answer_says_what_to_check():
    async with SimulatedVenue(market()) as venue:
        gone = venue.addresses["BINANCE"]
    code, _, errors = await command(Gone({"BINANCE": gone}), "symbols", "BINANCE")
    assert code == 1
    assert errors.startswith(f"headrace: {gone['rest']}/api/v3/exchangeInfo gave no answer in 5 attempts: ")
    assert errors.endswith("; check the address and the way there\n")


class Gone(NamedTuple):
    """A venue that ended."""

    addresses: Any
