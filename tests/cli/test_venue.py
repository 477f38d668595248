"""``headrace venue``: one line says where it listens, and it serves until it is stopped."""

from __future__ import annotations

import asyncio
import json
import signal
import sys

import aiohttp
import pytest


@pytest.mark.asyncio
async def test_one_json_line_names_where_it_listens(tmp_path):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "headrace.cli", "venue", "--json", "--speed", "max", "--symbols", "BTCUSDT"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    addresses = json.loads(await process.stdout.readline())
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(addresses["BINANCE"]["ws"] + "/ws/btcusdt@trade") as socket:
            assert (await socket.receive_json())["e"] == "trade"
    process.send_signal(signal.SIGINT)
    rest, errors = await process.communicate()
    assert (process.returncode, rest) == (0, b""), errors
