"""``headrace venue``: one line says where it listens, and it serves until it is stopped."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys

import aiohttp
import pytest

from headrace.feeds import SyntheticFeed


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


@pytest.mark.asyncio
async def test_recordings_of_several_markets_are_served_at_one_port(tmp_path):
    names = ("BINANCE", "BINANCE_USDM")
    files = []
    for name in names:
        (tmp_path / name).write_bytes(b"".join(SyntheticFeed("BTCUSDT", venue=name, frames=5_000).lines()))
        files.append(f"{tmp_path / name}@{name}")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "headrace.cli", "venue", *files, "--json", "--speed", "1"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    addresses = json.loads(await process.stdout.readline())
    assert addresses.keys() == set(names)
    async with aiohttp.ClientSession() as session:
        for name, path in zip(names, ("/ws/btcusdt@trade", "/public/ws/btcusdt@trade"), strict=True):
            async with session.ws_connect(addresses[name]["ws"] + path) as web_socket:
                assert (await web_socket.receive_json())["e"] == "trade"
    process.send_signal(signal.SIGINT)
    _, errors = await process.communicate()
    assert process.returncode == 0, errors


@pytest.mark.asyncio
async def test_a_taken_port_is_named_with_what_to_do():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "headrace.cli", "venue", "--port", str(port)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, errors = await process.communicate()
    why = "Address already in use; take another one, or 0 for a free one"
    assert (process.returncode, out) == (2, b"")
    assert errors.decode() == f"headrace: port={port} cannot be listened at: {why}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["venue", "--symbols", ","], "--symbols ',' names no market"),
        (["venue", "--port", "70000"], "70000 is not in the range"),
        (["venue", "--speed", "0"], "is no speed"),
        (["venue", "missing.txt"], "recording missing.txt is missing"),
        (["record", "BINANCE", "BTCUSDT", "--streams", ""], "--streams '' names no stream"),
        (["record", "BINANCE", "BTCUSDT", "--streams", "bookTicke"], "(did you mean bookTicker?)"),
        (["record", "BINANCE", "BTCUSDT", "--for", "10"], "for='10' is no duration"),
        (["record", "KRAKEN", "BTCUSDT"], "use one of BINANCE, BINANCE_USDM, BINANCE_COINM"),
        (["symbols", "BINANCE", "--network", "moon"], "is not one of 'live', 'testnet', 'demo'"),
        (["doctor", "--venue", "NOPE"], "use one of BINANCE, BINANCE_USDM, BINANCE_COINM"),
    ],
)
def test_a_wrong_argument_is_one_line_that_says_what_is_right(arguments, said):
    ended = subprocess.run(
        [sys.executable, "-m", "headrace.cli", *arguments], check=False, capture_output=True, text=True
    )
    assert (ended.returncode in (1, 2), ended.stdout) == (True, "")
    assert said in ended.stderr
    assert ended.stderr.count("\n") == 1
