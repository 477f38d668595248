"""``headrace demo``: it ends well and quickly, shows an engine under commands, and its figures prove its claims."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from headrace.cli import demo
from headrace.cli.app import run
from headrace.errors import MissingExtraError
from tests.support.command import COMMAND

LAW = re.compile(
    r"^  [=+]? ?(published|delivered|filtered|missed|conflated|skipped|pending|sum) +([\d,]+)", re.MULTILINE
)
STEPS = re.compile(r"^[\d.]+ s +(\w+) (\S+) +(accepted|noop|rejected|failed) ", re.MULTILINE)
# name, state, submitted, filled, canceled, rejected, expired, open, fills, position
TRADING = re.compile(r"^(\w+) +(?:ran to the end|(quarantined))" + r" +(\d+)" * 7 + " +(.*?)$", re.MULTILINE)
# name, currency, realized, unrealized, fees, net
PROFIT = re.compile(r"^(\w+) +(USDT) +(-?[\d.,]+) +(-?[\d.,]+) +([\d.,]+) +(-?[\d.,]+)$", re.MULTILINE)


class Shown:
    """One quick demo, shared by all tests that read its output."""

    def __init__(self, home: Path) -> None:
        self.home = home
        # Every folder in which it could leave a file.
        folders = dict.fromkeys(("HOME", "TMPDIR", "HEADRACE_STATE", "XDG_STATE_HOME"), str(home))
        started = time.monotonic()
        self.ended = subprocess.run(
            [*COMMAND, "demo", "--quick"],
            cwd=home,
            env={**os.environ, **folders, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.took_s = time.monotonic() - started


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    return Shown(tmp_path_factory.mktemp("demo"))


@pytest.mark.alone
def test_the_quick_demo_ends_within_fifteen_seconds(shown: Shown) -> None:
    assert shown.ended.returncode == 0, shown.ended.stderr
    assert shown.took_s < 15
    assert "\x1b" not in shown.ended.stdout + shown.ended.stderr


def test_the_printed_loss_law_adds_up_and_something_was_lost(shown: Shown) -> None:
    printed = {name: int(count.replace(",", "")) for name, count in LAW.findall(shown.ended.stdout)}
    published, total = printed.pop("published"), printed.pop("sum")
    assert published == total == sum(printed.values())
    assert printed["missed"] > 0
    assert printed["pending"] == 0


def test_the_demo_shows_each_operator_command(shown: Shown) -> None:
    steps = STEPS.findall(shown.ended.stdout)
    # An order that fills before the command comes cannot be canceled; then the demo cancels another one.
    assert [(verb, answer) for verb, _, answer in steps if (verb, answer) != ("cancel", "noop")] == [
        ("pause", "accepted"),
        ("pause", "noop"),
        ("resume", "accepted"),
        ("cancel", "accepted"),
        ("restart", "accepted"),
    ]
    assert {target for verb, target, _ in steps if verb != "cancel"} == {"MeanReversion"}


def test_the_demo_report_shows_trading_and_final_states(shown: Shown) -> None:
    rows = {row[0]: row[1:] for row in TRADING.findall(shown.ended.stdout)}
    assert set(rows) == {"SpreadWatch", "TradeFlow", "MeanReversion", "Momentum", "SlowJournal", "Faulty"}
    assert {name: was for name, (was, *_) in rows.items() if was} == {"Faulty": "quarantined"}
    for name in ("MeanReversion", "Momentum"):
        submitted, filled, canceled, rejected, expired, still_open, fills = map(int, rows[name][1:8])
        assert (rejected, still_open) == (0, 0)
        assert filled + canceled + expired == submitted > 0
        assert fills > 0


def test_demo_report_shows_profit_with_its_currency(shown: Shown) -> None:
    rows = {
        name: [float(amount.replace(",", "")) for amount in row] for name, _, *row in PROFIT.findall(shown.ended.stdout)
    }
    assert set(rows) == {"MeanReversion", "Momentum", "all"}
    for realized, unrealized, fees, net in rows.values():
        assert realized != 0
        assert net == pytest.approx(realized + unrealized - fees, abs=0.02)
    assert rows["all"] == pytest.approx(
        [sum(own) for own in zip(rows["MeanReversion"], rows["Momentum"], strict=True)], rel=1e-3
    )


def test_the_demo_leaves_no_file_behind(shown: Shown) -> None:
    assert list(shown.home.rglob("*")) == []


def test_a_false_claim_is_named_and_is_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Too short for a reader to lag, and over before the operator's last command.
    monkeypatch.setattr(demo, "QUICK_FRAMES", 300)
    assert run(["demo", "--quick"]) == 1
    printed = capsys.readouterr()
    assert "these claims do not hold: " in printed.err
    assert "SlowJournal lost ticks" in printed.err
    assert "checked" not in printed.out


def test_the_second_half_shows_a_cut_that_heals(shown: Shown) -> None:
    half = shown.ended.stdout.partition("second half: ")[2]
    assert "the venue cut the connection, and the next one was up after" in half
    assert "the book was LIVE, STALE, LIVE" in half
    equal = re.search(r"(\d+) of (\d+) quotes equal the book", half)
    assert equal is not None
    assert int(equal[1]) == int(equal[2]) > 0


def test_without_the_extra_the_second_half_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(_folder: str) -> object:
        raise MissingExtraError("not installed")

    monkeypatch.setattr("headrace.cli.demo_live.run_live", missing)
    demo._second_half()
    assert capsys.readouterr().out.splitlines()[1:] == [
        'second half, a live feed over real sockets: not installed; pip install "headrace[binance]"'
    ]


@pytest.mark.timeout(120)
def test_the_dashboard_is_served_on_the_engine_of_the_demo_until_ctrl_c(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "demo", "--dashboard", "--listen", "127.0.0.1:0"],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    told = dict(process.stdout.readline().split() for _ in range(2))
    with urllib.request.urlopen(told["page"], timeout=20) as page:
        assert "<title>Headrace</title>" in page.read().decode()
    request = urllib.request.Request(f"{told['page']}/v1/status", headers={"Authorization": f"Bearer {told['token']}"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        status = json.loads(answer.read())
    assert (status["engine"], status["mode"], len(status["strategies"])) == ("demo", "live", 6)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert "MeanReversion" in out
    # The token went with its folder.
    assert list(tmp_path.rglob("http.token")) == []
