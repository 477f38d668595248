"""What the command shows to a terminal and to a pipe, and how it ends on Ctrl-C."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headrace.feeds import SyntheticFeed
from headrace.feeds.writers import write_candles
from tests.support.candles import candles, walk
from tests.support.command import COMMAND

ESCAPE = re.compile(rb"\x1b\[")
# Three seconds of a market: enough for a plain line (one every 2 s), and for many updates of a progress bar.
PACED = ("--speed", "1")
FASTER = ("--speed", "3")
# Runs the command as it is without the extra: rich cannot be imported.
WITHOUT_RICH = "import sys; sys.modules['rich'] = None; from headrace.cli import main; main()"


@pytest.fixture(scope="module")
def short_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of a market."""
    return SyntheticFeed(frames=1_200).write(tmp_path_factory.mktemp("recordings") / "short.gz")


@pytest.fixture(scope="module")
def long_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute of a market."""
    return SyntheticFeed(frames=24_000).write(tmp_path_factory.mktemp("recordings") / "long.gz")


def in_a_terminal(command: list[str], **environment: str) -> tuple[bytes, int]:
    """Run with stdout and stderr on a pseudo-terminal; return all that was shown, and the exit code."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm", **environment}
    )
    os.close(theirs)
    shown = b""
    deadline = time.monotonic() + 25
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 0.1)[0]:
            try:
                data = os.read(ours, 65_536)
            except OSError:  # Linux raises this when the last writer has closed the terminal.
                break
            if not data:
                break
            shown += data
    os.close(ours)
    return shown, process.wait(timeout=20)


def test_a_terminal_gets_a_bar_that_moves(short_file: Path) -> None:
    shown, code = in_a_terminal([*COMMAND, "replay", str(short_file), *FASTER])
    assert code == 0
    assert ESCAPE.search(shown)
    assert b"replay" in shown
    assert len(set(re.findall(rb"([\d,]+) ticks", shown))) > 3
    assert b"bookTicker" in shown


SLOW = """
import time

from headrace import Strategy


class Slow(Strategy):
    bars = ("1m",)

    def __init__(self, calls: int) -> None:
        self.wait_s = 3 / calls

    def on_quote(self, seq) -> None:
        time.sleep(self.wait_s)

    def on_bar(self, bar) -> None:
        time.sleep(self.wait_s)
"""


@pytest.mark.parametrize(("kind", "speed"), [("recording", rb"[\d,]+ ticks/s"), ("candles", rb"[\d,]+ x real time")])
def test_a_backtest_shows_the_time_of_its_market_its_speed_and_what_is_left(
    kind: str, speed: bytes, long_file: Path, tmp_path: Path
) -> None:
    data, calls = str(long_file), 6_000
    if kind == "candles":
        data, calls = f"{tmp_path}/minutes.csv@BTCUSDT.BINANCE", 20_000
        write_candles(tmp_path / "minutes.csv", [candles(walk(20_000, price=10_000.0))])
    (tmp_path / "slow.py").write_text(SLOW)
    strategy = ("--strategy", f"{tmp_path}/slow.py:Slow", "--param", f"calls={calls}")
    shown, code = in_a_terminal([*COMMAND, "backtest", data, *strategy])
    assert code == 0, shown
    found = re.findall(rb"(2026-01-\d\d \d\d:\d\d:\d\d) UTC, " + speed + rb", [\d.]+ m?s left", shown)
    assert len(found) >= 2, shown
    assert found == sorted(found)


RETURN = ("--metric", "total_return")


@pytest.mark.parametrize(
    ("verb", "arguments", "found"),
    [
        ("convert", ("{file}", "{folder}/ticks.parquet"), rb"[\d,]+ ticks"),
        ("convert", ("{folder}/minutes.csv@A.B", "{folder}/c.parquet"), rb"2026-01-05 \d\d:\d\d:\d\d UTC"),
        (
            "sweep",
            ("{file}", "--strategy", "{folder}/slow.py:Slow", "--param", "calls=5000,9000", *RETURN),
            rb"[12] of 2",
        ),
    ],
)
def test_other_long_verbs_show_how_far_they_are(
    verb: str, arguments: tuple[str, ...], found: bytes, short_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    write_candles(tmp_path / "minutes.csv", [candles(walk(300, price=10_000.0))])
    given = [own.format(file=short_file, folder=tmp_path) for own in arguments]
    shown, code = in_a_terminal([*COMMAND, verb, *given])
    assert code == 0, shown
    assert verb.encode() in shown
    assert re.search(found, shown), shown


def test_a_terminal_without_rich_gets_a_plain_bar(short_file: Path) -> None:
    shown, code = in_a_terminal([sys.executable, "-c", WITHOUT_RICH, "replay", str(short_file), *FASTER])
    assert code == 0
    assert not ESCAPE.search(shown)
    assert shown.count(b"\rreplay [") > 3


def test_a_terminal_without_cursor_movement_gets_plain_lines(short_file: Path) -> None:
    shown, code = in_a_terminal([*COMMAND, "replay", str(short_file), *FASTER], TERM="dumb")
    assert code == 0
    assert not ESCAPE.search(shown)
    assert b"\rreplay" not in shown


def test_a_pipe_gets_plain_lines_without_escape_codes(short_file: Path) -> None:
    ended = subprocess.run([*COMMAND, "replay", str(short_file), *PACED], capture_output=True, timeout=25, check=True)
    assert b"\x1b" not in ended.stdout + ended.stderr
    assert b"\r" not in ended.stdout + ended.stderr
    assert re.search(rb"^replay: +\d+% [\d,]+ ticks$", ended.stderr, re.MULTILINE)
    assert b"bookTicker" in ended.stdout


def test_json_on_stdout_stays_one_document_beside_a_terminal(short_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    shown, code = in_a_terminal(
        ["sh", "-c", f"'{sys.executable}' -m headrace.cli replay '{short_file}' --speed 3 --json > '{out}'"]
    )
    assert code == 0
    assert b"replay" in shown
    assert json.loads(out.read_text())["frames"]["snapshot"] == 1


@pytest.mark.parametrize("speed", ["max", "1"])
@pytest.mark.parametrize("output", ["table", "json"])
def test_ctrl_c_ends_with_130_and_still_shows_the_figures(
    long_file: Path, tmp_path: Path, speed: str, output: str
) -> None:
    # Slow enough that even the fastest replay is still running when the signal comes.
    (tmp_path / "tells.py").write_text(
        "import time\n"
        "from headrace import Strategy\n"
        "class Tells(Strategy):\n"
        "    def __init__(self):\n"
        "        self.told = False\n"
        "    def on_quote(self, bid_price):\n"
        "        if not self.told:\n"
        "            self.told = True\n"
        "            open('running', 'w').close()\n"
        "        time.sleep(0.002)\n"
    )
    process = subprocess.Popen(
        [
            *(*COMMAND, "replay", str(long_file), "--strategy", "tells:Tells", "--speed", speed),
            *(["--json"] if output == "json" else []),
        ],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 20
    while not (tmp_path / "running").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert "interrupted" in stderr
    if output == "json":
        delivered = json.loads(stdout)["strategies"]["Tells"]["delivered"]
        assert 0 < delivered < 24_000
    else:
        assert "Tells" in stdout
        assert "stopped early" in stdout


def test_a_closed_output_pipe_is_no_traceback(short_file: Path) -> None:
    ended = subprocess.run(
        ["sh", "-c", f"'{sys.executable}' -m headrace.cli replay '{short_file}' | true"],
        capture_output=True,
        text=True,
        timeout=25,
        check=False,
    )
    assert "Traceback" not in ended.stderr
    assert "Exception" not in ended.stderr
