"""A backtest in the page: while it runs, and its report when it has ended."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import COMMAND
from tests.support.dashboard import CONFIG, ServedEngine, Tab

# A process, a browser, and a machine that may be busy.
pytestmark = pytest.mark.timeout(240)
TICKS = "document.querySelector('.facts div:nth-child(2) dd').innerText"


class ServedBacktest(ServedEngine):
    """``headrace backtest --listen`` over markets of hours, which no machine passes within a test."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, CONFIG.replace("speed = 2.0\n", "").replace("10_000_000", "100_000_000"))

    def command(self) -> list[str]:
        home = f"XDG_STATE_HOME={self.folder / 'home'}"
        return ["env", home, *COMMAND, "backtest", "engine.toml", "--listen", f"127.0.0.1:{self.port}"]

    def tokens(self) -> list[str]:
        return [(self.folder / "home" / "headrace" / "http.token").read_text().strip()]


@pytest.fixture(scope="module")
def backtest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedBacktest]:
    with ServedBacktest(tmp_path_factory.mktemp("backtest")) as own:
        yield own


def test_it_is_shown_while_it_runs_and_its_report_when_it_has_ended(context: Any, backtest: ServedBacktest) -> None:
    tab = Tab(context, backtest).sign_in()
    tab.wait("document.querySelectorAll('section[aria-label=Strategies] tbody tr').length === 3")
    before = tab.page.evaluate(TICKS)
    tab.wait(f"{TICKS} !== {before!r}")
    tab.wait_for_text(".verdict p", "the market is at")
    line = "document.querySelector('section[aria-label=Equity] .paths path')?.getAttribute('d')?.length ?? 0"
    tab.wait(f"({line}) > 40")
    tab.page.goto(f"{backtest.url}#/orders")
    tab.wait("document.querySelectorAll('section[aria-label=Fills] tbody tr').length > 0")
    tab.wait_for_text("section[aria-label=Accounts]", "paper money")
    # Nothing that changes what it decides can be asked for.
    tab.page.goto(f"{backtest.url}#/commands")
    tab.wait("document.querySelectorAll('section[aria-label=Commands] tbody tr').length === 1")
    tab.wait_for_text("section[aria-label=Commands] tbody", "Drain")
    tab.page.goto(f"{backtest.url}#/strategy/MeanReversion")
    tab.page.wait_for_selector("section[aria-label=Ticks]")
    assert tab.page.locator(".crumbs .acts button").count() == 0
    tab.page.click(".halt")
    tab.page.fill("dialog input[name=confirm]", "drain")
    tab.page.click("dialog button[type=submit]")
    assert "drain accepted" in tab.note()
    tab.page.goto(f"{backtest.url}#/")
    tab.wait("document.querySelector('.verdict h1').innerText === 'The backtest has ended'")
    tab.page.click(".verdict p a")
    tab.page.wait_for_selector("section[aria-label=Statistics]")
    tab.wait_for_text(".crumbs", "stopped early")
    tab.wait_for_text("section[aria-label=Statistics]", "total return")
    assert tab.page.locator("section[aria-label=Fills] tbody tr").count() > 0
    assert [own for own in tab.problems if "404" not in own] == []


def test_an_address_that_is_taken_ends_it_before_it_runs(backtest: ServedBacktest, tmp_path: Path) -> None:
    command = backtest.command()
    command[1] = f"XDG_STATE_HOME={tmp_path}"
    ended = subprocess.run(command, cwd=backtest.folder, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode != 0
    assert f"127.0.0.1:{backtest.port}" in ended.stderr


@pytest.mark.parametrize(("listen", "why"), [("nowhere", "no address"), ("0.0.0.0:8757", "without encryption")])
def test_an_address_that_is_none_is_refused(backtest: ServedBacktest, listen: str, why: str) -> None:
    command = [*backtest.command()[:-1], listen]
    ended = subprocess.run(command, cwd=backtest.folder, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 2
    assert why in ended.stderr
