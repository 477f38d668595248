"""Kill -9 at any moment of a live run: its files read back to their last whole record, and the next start works."""

from __future__ import annotations

import logging
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from headrace.app.build import engine_of
from headrace.app.config import logged_config
from headrace.bus.audit import read_audit
from headrace.engine.repeat import Repeat
from headrace.errors import DispatchLogError
from headrace.market.clock import Mode
from headrace.market.event_json import encode_event
from headrace.market.events import OrderEvent, Signal
from tests.support.trader_file import TRADER

# Folders in which one run after the other is killed; each start finds what the kill before it left.
FOLDERS = 5

CONFIG = """
[engine]
audit = "audits/"
dispatch_log = "logs/"
state_folder = "{state}"
speed = 5.0
ring_capacity = 1024
on_fault = "raise"

[[feeds]]
kind = "synthetic"
options = {{ symbols = ["BTCUSDT"], frames = 5_000 }}

[[strategies]]
use = "trader.py:Trader"
subscription = {{ overflow = "drop_oldest" }}

[broker]

[risk]
quantity_max = 1
notional_max = 1_000_000_000
price_collar = 0.5
open_orders_max = 1_000
message_rate_max = 1_000_000.0
stale_after_s = 600.0

[instruments."BTCUSDT.BINANCE"]
price_tick = 0.01
lot_size = 0.00001
"""
SIGNALLER = f"""{TRADER}
        if self.quotes % 50 == 0:
            self.signal(instrument, 1, strength=float(self.quotes))
"""
CHILD = """
import sys
from headrace.app.build import engine_of
from headrace.app.config import load_config
engine = engine_of(load_config("engine.toml"))
engine.bus.subscribe(lambda event: getattr(event, "name", "") == "ENGINE_READY", lambda _: print("ready", flush=True))
print("begins", flush=True)
engine.run()
"""


class Moment(NamedTuple):
    """When a run is killed: so long after it began, and not before its log has so many bytes."""

    delay_s: float
    log_bytes: int


def killed_run(folder: Path, moment: Moment) -> bool:
    """Start a run and kill it; return whether it was ready before."""
    child = subprocess.Popen([sys.executable, "-c", CHILD], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"begins\n", child.communicate()[1].decode()
    before = {log.name for log in (folder / "logs").glob("*")}
    time.sleep(moment.delay_s)
    while child.poll() is None and _size_of_others(folder / "logs", before) < moment.log_bytes:
        time.sleep(0.002)
    child.kill()
    said, complaints = child.communicate()
    assert b"Traceback" not in complaints, complaints.decode()
    return b"ready" in said


def _size_of_others(folder: Path, before: set[str]) -> int:
    return sum(path.stat().st_size for path in folder.glob("*") if path.name not in before)


def killed_runs(folder: Path, moments: Sequence[Moment]) -> int:
    return sum(killed_run(folder, moment) for moment in moments)


def decisions_of(audit: Path, caplog: pytest.LogCaptureFixture) -> list[bytes]:
    """Return the decisions in an audit, up to its last whole line."""
    caplog.clear()
    data = audit.read_bytes()
    events = list(read_audit(audit, allow_torn=True))
    whole = data.count(b"\n")
    assert len(events) == max(0, whole - 1), "each whole line but the first is an event"
    is_torn = not data.endswith(b"\n")
    said = [record.getMessage() for record in caplog.records]
    assert any("was killed" in text for text in said) == is_torn, said
    return [encode_event(event) for event in events if isinstance(event, Signal | OrderEvent)]


def check_files(folder: Path, caplog: pytest.LogCaptureFixture) -> int:
    """Read every file of the folder's runs and repeat each; return how many decisions were compared."""
    logs = sorted((folder / "logs").iterdir())
    compared = 0
    for log in logs:
        audit = folder / "audits" / log.name.replace(".dispatch.jsonl", ".jsonl")
        was = decisions_of(audit, caplog)
        data = log.read_bytes()
        if b'"begin"' not in data:
            # Killed before the engine's first line was whole.
            with pytest.raises(DispatchLogError, match=r"before its first write|no engine wrote it"):
                Repeat(log)
            continue
        config = logged_config(Repeat(log).config, str(log))
        report = engine_of(config, mode=Mode.REPEAT, dispatch_log=str(log)).run().repeated
        assert report is not None
        assert (report.difference, report.same) == ("", True), log
        assert report.torn_bytes == len(data.rpartition(b"\n")[2])
        logged = re.findall(rb'^\["mark",\d+,\d+,"decision",(.*)\]$', data, re.MULTILINE)
        shared = min(len(was), len(logged))
        assert was[:shared] == logged[:shared], "audit and log hold the same decisions"
        compared += shared
    return compared


def kill_and_check(
    tmp_path: Path, kills: int, seed: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    draw = random.Random(seed)
    # Three in ten while it starts, the others while it works.
    moments = [
        Moment(draw.uniform(0, 0.1), 0) if number % 10 < 3 else Moment(0, draw.randrange(300_000))
        for number in range(kills)
    ]
    draw.shuffle(moments)
    folders = [tmp_path / str(number) for number in range(FOLDERS)]
    for folder in folders:
        folder.mkdir()
        (folder / "engine.toml").write_text(CONFIG.format(state=os.path.relpath(folder / "s", folder)))
        (folder / "trader.py").write_text(SIGNALLER)
    with ThreadPoolExecutor(FOLDERS) as pool:
        ready = sum(pool.map(killed_runs, folders, [moments[number::FOLDERS] for number in range(FOLDERS)]))
    assert ready > kills / 4, "most of them were killed before they did anything"
    compared = 0
    for folder in folders:
        monkeypatch.chdir(folder)
        with caplog.at_level(logging.WARNING):
            compared += check_files(folder, caplog)
    assert compared > 0


@pytest.mark.timeout(180)
def test_a_killed_run_can_be_read_and_repeated(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kill_and_check(tmp_path, 50, seed, monkeypatch, caplog)


@pytest.mark.deep
@pytest.mark.timeout(1_800)
def test_five_hundred_killed_runs_can_be_read_and_repeated(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kill_and_check(tmp_path, 500, seed, monkeypatch, caplog)
