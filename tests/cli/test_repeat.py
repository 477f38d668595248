"""``headrace run --dispatch-log`` and ``headrace repeat``, in processes of their own."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from headrace.feeds import SyntheticFeed
from tests.support.command import COMMAND
from tests.support.trader_file import TRADER

CONFIG = """
[engine]
speed = 200.0
ring_capacity = 1024

[[feeds]]
kind = "synthetic"
options = { symbols = ["BTCUSDT"], frames = 20_000 }

[[strategies]]
use = "trader.py:Trader"
subscription = { overflow = "drop_oldest" }
bars = ["1s"]

[broker]
use = "simulated"

[risk]
quantity_max = 1
notional_max = 1_000_000
price_collar = 0.1
open_orders_max = 100
message_rate_max = 10_000.0
# A stall of a busy machine is minutes of this run.
stale_after_s = 1_000_000.0

[instruments."BTCUSDT.BINANCE"]
price_tick = 0.01
lot_size = 0.00001
"""

# It trades often enough, also where most quotes are lost to a stall.
WITH_BARS = f"""{TRADER}
    def on_bar(self, bar):
        self.signal(bar.instrument, 1, price=bar.close)
"""


@pytest.fixture
def logged(tmp_path: Path) -> Path:
    """The folder of a run that was logged."""
    (tmp_path / "engine.toml").write_text(CONFIG)
    (tmp_path / "trader.py").write_text(WITH_BARS)
    done = headrace(tmp_path, "run", "engine.toml", "--dispatch-log", "run.log", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["strategies"]["Trader"]["orders"]["filled"] > 20
    return tmp_path


@pytest.mark.parametrize(
    ("path", "reason"), [("/dev/full", "No space left on device"), ("trader.py/run.log", "Not a directory")]
)
def test_an_unwritable_dispatch_log_is_its_own_error(tmp_path: Path, path: str, reason: str) -> None:
    (tmp_path / "engine.toml").write_text(CONFIG)
    (tmp_path / "trader.py").write_text(WITH_BARS)
    done = headrace(tmp_path, "run", "engine.toml", "--dispatch-log", path, "--json")
    assert done.returncode == 1
    said = f"headrace: dispatch log {path} cannot be written: {reason}; check the free space and the write permission"
    assert done.stderr.splitlines()[-1] == said


def test_a_run_whose_feed_fails_still_reports_its_orders(tmp_path: Path) -> None:
    recording = SyntheticFeed("BTCUSDT", frames=20_000).write(tmp_path / "whole.gz")
    (tmp_path / "torn.gz").write_bytes(Path(recording).read_bytes()[:-1_000])
    (tmp_path / "engine.toml").write_text(CONFIG)
    (tmp_path / "trader.py").write_text(WITH_BARS)
    torn = 'feeds.0={kind="recording", path="torn.gz"}'
    done = headrace(tmp_path, "run", "engine.toml", "--set", torn, "--json")
    assert (done.returncode, "torn.gz is truncated" in done.stderr.splitlines()[-1]) == (1, True)
    report = json.loads(done.stdout)
    assert report["strategies"]["Trader"]["orders"]["filled"] > 20
    assert report["strategies"]["Trader"]["state"] == "stopped"
    missing = headrace(tmp_path, "run", "engine.toml", "--set", torn.replace("torn", "none"), "--json")
    assert (missing.returncode, missing.stdout) == (1, "")


def headrace(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HEADRACE_STATE": str(folder / "state")}
    command = [*COMMAND, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=25, check=False)


def test_a_run_is_repeated_from_its_log_alone(logged: Path) -> None:
    done = headrace(logged, "repeat", "run.log", "--json")
    assert done.returncode == 0, done.stderr
    repeated = json.loads(done.stdout)["repeated"]
    assert repeated["same"]
    assert repeated["decisions"] > 50


def test_a_changed_decision_is_reported(logged: Path) -> None:
    (logged / "trader.py").write_text(
        WITH_BARS.replace('self.sell(instrument, "0.001")', 'self.sell(instrument, "0.002")')
    )
    done = headrace(logged, "repeat", "run.log")
    assert done.returncode == 1
    assert "the repetition decides otherwise: decision " in done.stderr
    assert '"quantity":"0.002"' in done.stderr


def test_a_killed_runs_log_is_repeated_to_its_last_line(logged: Path) -> None:
    lines = (logged / "run.log").read_bytes().splitlines(keepends=True)
    (logged / "run.log").write_bytes(b"".join(lines[: len(lines) // 2]) + b'["call",0,')
    done = headrace(logged, "repeat", "run.log")
    assert "has no last line" in done.stderr
    assert "10 bytes of a torn line were cut" in done.stderr
    assert done.returncode == 0


def test_secrets_stand_in_no_log_and_a_repeat_takes_them(tmp_path: Path) -> None:
    secrets = '{ api_key = "hunter2", apiToken = "hunter3", passwords = ["hunter4"], pin = { password = 12345678 } }'
    (tmp_path / "engine.toml").write_text(
        CONFIG.replace('use = "trader.py:Trader"', f'use = "trader.py:Secret"\nparameters = {secrets}')
    )
    (tmp_path / "trader.py").write_text(
        WITH_BARS
        + """
class Secret(Trader):
    def __init__(self, api_key, apiToken, passwords, pin):
        print("made with", api_key, apiToken, passwords, pin)
"""
    )
    done = headrace(tmp_path, "run", "engine.toml", "--dispatch-log", "run.log", "--audit", "run.jsonl")
    assert "made with hunter2 hunter3 ['hunter4'] {'password': 12345678}" in done.stdout
    for file in ("run.log", "run.jsonl"):
        assert not re.search("hunter|12345678", (tmp_path / file).read_text())
        assert (tmp_path / file).stat().st_mode & 0o777 == 0o600
    without = headrace(tmp_path, "repeat", "run.log")
    assert (without.returncode, "made with *** *** *** {'password': '***'}" in without.stdout) == (0, True)
    given = headrace(tmp_path, "repeat", "run.log", "--set", "strategies.0.parameters.api_key=hunter5")
    assert (given.returncode, "made with hunter5 *** ***" in given.stdout) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "LOG"),
        (["missing.log"], "cannot be read"),
    ],
)
def test_a_log_that_cannot_be_repeated_is_an_error(arguments: list[str], says: str, tmp_path: Path) -> None:
    done = headrace(tmp_path, "repeat", *arguments)
    assert done.returncode in (1, 2)
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_log_is_never_overwritten(logged: Path) -> None:
    before = (logged / "run.log").read_bytes()
    done = headrace(logged, "run", "engine.toml", "--dispatch-log", "run.log")
    assert (done.returncode, "exists already and is not changed" in done.stderr) == (1, True)
    assert (logged / "run.log").read_bytes() == before


def test_each_run_has_its_own_files_in_folders(tmp_path: Path) -> None:
    (tmp_path / "engine.toml").write_text(CONFIG)
    (tmp_path / "trader.py").write_text(WITH_BARS)
    for _ in range(3):
        done = headrace(tmp_path, "backtest", "engine.toml", "--audit", "audits/", "--json")
        assert done.returncode == 0, done.stderr
    audits = sorted((tmp_path / "audits").iterdir())
    assert [path.name for path in audits] == ["replay-2.jsonl", "replay-3.jsonl", "replay.jsonl"]
    assert len({path.read_bytes() for path in audits}) == 1, "the file's name is not part of what is written"


SOCKET = """
import asyncio
from itertools import islice

from headrace.feeds import Frame, SyntheticFeed


class Socket:
    \"\"\"A push feed behind a real socket: a server on this machine sends it lines, as a venue sends messages.\"\"\"

    name, venue = "socket", "BINANCE"

    async def open(self):
        self._server = await asyncio.start_server(self._send, "127.0.0.1", 0)

    async def _send(self, _reader, writer):
        for number, line in enumerate(islice(SyntheticFeed("BTCUSDT").lines(), 3_000)):
            writer.write(line.split(b" ", 1)[1])
            if number % 50 == 0:
                await writer.drain()
                await asyncio.sleep(0.002)
        writer.close()

    async def run(self, push):
        reader, writer = await asyncio.open_connection(*self._server.sockets[0].getsockname())
        now_ns = 1_767_571_200_000_000_000
        while line := await reader.readline():
            now_ns += 1_000_000
            push(Frame(now_ns, line.rstrip()))
        writer.close()

    async def close(self):
        self._server.close()
"""


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """The folder of a live run over a socket, logged and recorded."""
    feed = '[[feeds]]\nkind = "socket_feed.py:Socket"\n'
    (tmp_path / "engine.toml").write_text(
        CONFIG.replace(CONFIG[CONFIG.index("[[feeds]]") : CONFIG.index("[[strat")], feed)
    )
    (tmp_path / "trader.py").write_text(WITH_BARS)
    (tmp_path / "socket_feed.py").write_text(SOCKET)
    options = ("--dispatch-log", "run.log", "--record", "recordings", "--set", "engine.run_id=live")
    done = headrace(tmp_path, "run", "engine.toml", *options, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["strategies"]["Trader"]["delivered"] > 1_000
    assert report["sources"] == [{"name": "socket", "venue": "BINANCE", "frames": 3_000, "state": "ended"}]
    return tmp_path


def test_a_recorded_live_run_repeats_from_its_log_alone(recorded: Path) -> None:
    done = headrace(recorded, "repeat", "run.log", "--json")
    assert done.returncode == 0, done.stderr
    repeated = json.loads(done.stdout)["repeated"]
    assert (repeated["same"], repeated["whole"]) == (True, True)
    assert repeated["decisions"] > 20


def test_a_recording_stands_in_for_a_live_feed(recorded: Path) -> None:
    (recording,) = (recorded / "recordings").iterdir()
    assert recording.name == "live-socket.txt"
    recording.rename(recorded / "moved.txt")
    done = headrace(recorded, "repeat", "run.log")
    assert (done.returncode, "missing" in done.stderr) == (1, True)
    done = headrace(recorded, "repeat", "run.log", "moved.txt@BINANCE", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["repeated"]["same"]
    done = headrace(recorded, "repeat", "run.log", "moved.txt@BINANCE", "moved.txt@BINANCE")
    assert (done.returncode, "2 FILEs for 1 live feed (socket)" in done.stderr) == (2, True)


def test_a_recording_of_a_live_run_replays(recorded: Path) -> None:
    (recording,) = (recorded / "recordings").iterdir()
    done = headrace(recorded, "replay", f"{recording}@BINANCE", "--json")
    assert done.returncode == 0, done.stderr
    assert sum(json.loads(done.stdout)["frames"].values()) == 3_000
