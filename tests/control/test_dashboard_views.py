"""What views say of what there is: the verdict, the price of an instrument with lines and fills, a finished run."""

from __future__ import annotations

import json
import re
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import COMMAND
from tests.support.dashboard import CONFIG, Tab

# A process, a browser, and a machine that may be busy.
pytestmark = pytest.mark.timeout(240)
STRATEGY = {"state": "running", "missed": 0, "faults": 0, "lag_s": 0, "refusals": {}}
WELL: dict[str, Any] = {
    "engine": {"name": "paper", "state": "running", "halted": False, "dead_letters": 0, "rejected_frames": 0},
    "strategies": {"one": STRATEGY, "two": STRATEGY},
    "streams": {"BINANCE btcusdt@trade": {"venue": "BINANCE", "state": "UP"}},
    "lanes": {"order": {"depth": 0, "capacity": 50, "dead": 0, "dropped": 0}},
    "services": {"http": {"health": "ok"}},
}


def changed(section: str, key: str, **values: object) -> dict[str, Any]:
    """A document that differs from a good one in one row; of the engine, whose keys are values."""
    rows = WELL.get(section, {})
    if section == "engine":
        return {**WELL, section: {**rows, **values}}
    return {**WELL, section: {**rows, key: {**rows.get(key, {}), **values}}}


def alerted(**values: object) -> dict[str, Any]:
    """A good document with one alert of a rule."""
    row = {
        "rule": "mine",
        "subject": "all",
        "measure": "headrace_halted",
        "severity": "critical",
        "value": 1,
        "bound": 0,
    }
    return {**WELL, "alerts": {"mine/all": {**row, **values}}}


GOOD, HALTED = "good All is well", "bad Halted: no new order passes"
WRONG, LOOK = "bad 1 thing is wrong", "warn 1 thing needs a look"
TOPIC = "BINANCE btcusdt@trade"
LAG = changed("strategies", "one", lag_s=3.5)
# What is not well, what the page says of it, and each finding, the worst first.
CASES: dict[str, tuple[dict[str, Any], str, list[str]]] = {
    "well": (WELL, GOOD, []),
    "halted": (changed("engine", "", halted=True), HALTED, ["bad Halted"]),
    "quarantined": (changed("strategies", "one", state="quarantined"), WRONG, ["bad one is in quarantine"]),
    "failed": (changed("strategies", "one", state="failed"), WRONG, ["bad one failed"]),
    "stale": (changed("streams", TOPIC, state="STALE"), LOOK, ["warn 1 stream stale"]),
    "down": (changed("streams", TOPIC, state="DOWN"), WRONG, ["bad 1 stream down"]),
    "lag": (LAG, LOOK, ["warn one is 3.50 s behind"]),
    "drops": (changed("strategies", "two", missed=1_234), LOOK, ["warn two missed 1,234 ticks"]),
    "refused": (changed("strategies", "two", refusals={"halted": 2}), LOOK, ["warn two: orders refused"]),
    "letters": (changed("engine", "", dead_letters=2), LOOK, ["warn 2 dead letters"]),
    "lane": (changed("lanes", "order", depth=45), LOOK, ["warn Lane order is nearly full"]),
    "service": (changed("services", "http", health="ended"), WRONG, ["bad Service http is not well"]),
    "rule": (alerted(state="firing"), WRONG, ["bad mine: all"]),
    "no-data": (alerted(state="no-data"), LOOK, ["warn mine: all"]),
    "acknowledged": (alerted(state="firing", acknowledged_by="ann"), GOOD, []),
    "two": (
        {**LAG, "services": {"http": {"health": "ended"}}},
        WRONG,
        ["bad Service http is not well", "warn one is 3.50 s behind"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_verdict_names_what_is_not_well(tab: Tab, case: str) -> None:
    document, said, found = CASES[case]
    tab.open().page.wait_for_selector("input[name=token]")
    verdict = tab.probe("verdict", document)
    assert f"{verdict['level']} {verdict['title']}" == said
    assert [" ".join(own).replace("\u202f", " ") for own in verdict["found"]] == found


def test_a_price_has_the_lines_of_a_strategy_and_its_fills(tab: Tab) -> None:
    tab.sign_in("#/market/ETHUSDT.BINANCE")
    price = "section[aria-label=Price]"
    tab.page.wait_for_selector(price)
    tab.wait(f"document.querySelector('{price} .legend').innerText.includes('MeanReversion average')")
    tone = tab.page.get_attribute(f"{price} .legend span:text-is('MeanReversion average')", "class") or ""
    line = f"document.querySelector('{price} .paths path.{tone.removeprefix('tone-')}')?.getAttribute('d') ?? ''"
    tab.wait(f"({line}).length > 40")
    tab.wait(f"document.querySelectorAll('{price} .marks path').length > 0")
    # A mark stands where its fill's price is: on the scale of the chart, which has it.
    box = tab.page.locator(f"{price} .chart").bounding_box()
    mark = tab.page.locator(f"{price} .marks path").last.bounding_box()
    assert box["y"] <= mark["y"]
    assert mark["y"] + mark["height"] <= box["y"] + box["height"]
    assert tab.problems == []


def test_the_report_of_a_backtest_has_its_times_and_its_profit(tab: Tab, tmp_path: Path) -> None:
    config = CONFIG.replace("10_000_000", "40_000").replace("speed = 2.0\n", "")
    (tmp_path / "engine.toml").write_text(config)
    command = [*COMMAND, "backtest", "engine.toml", "--json"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    (tmp_path / "report.json").write_text(ended.stdout)
    trips = [own for own in json.loads(ended.stdout)["trades"] if not own["is_open"]]
    assert trips
    tab.sign_in("#/reports").page.wait_for_selector("section[aria-label=Reports]")
    tab.page.set_input_files("input[type=file]", tmp_path / "report.json")
    panel = "section[aria-label='Round trips']"
    tab.page.wait_for_selector(f"{panel} tbody tr")
    first = tab.page.locator(f"{panel} tbody tr").first.inner_text()
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", first)
    assert re.search(r"\b(buy|sell)\b", first)
    # A time in ns is exact, and no float.
    head, *rows = tab.csv("Round trips")
    assert rows[0][head.index("exit")] == str(trips[0]["exit_ts"])
    profit = sum(Decimal(own["net_pnl"]) for own in trips)
    shown = tab.page.inner_text("section[aria-label='Profit of round trips'] header b").replace("\N{MINUS SIGN}", "-")
    assert Decimal(shown.split()[0]) == round(profit, 2)
    assert "ran to the end" in tab.row("Strategies", "MeanReversion")
    assert tab.problems == []


def test_the_report_of_a_finished_run_is_shown_and_sent_nowhere(tab: Tab, tmp_path: Path) -> None:
    (tmp_path / "engine.toml").write_text(
        CONFIG.replace("10_000_000", "2_000").replace("speed = 2.0", "speed = 1000.0")
    )
    ended = subprocess.run(
        [*COMMAND, "run", "engine.toml", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    # One strategy is in quarantine.
    assert ended.returncode == 1, ended.stderr
    (tmp_path / "run.json").write_text(ended.stdout)
    tab.sign_in("#/reports")
    tab.page.wait_for_selector("section[aria-label=Reports]")
    asked = len(tab.asked)
    tab.page.set_input_files("input[type=file]", tmp_path / "run.json")
    tab.wait("document.querySelectorAll('section[aria-label=Strategies] tbody tr').length === 3")
    assert "quarantined" in tab.row("Strategies", "Faulty")
    assert re.search(r"live\s*run\.json", tab.page.inner_text(".crumbs"))
    assert not [url for url in tab.asked[asked:] if "/v1/history" not in url]
    (tmp_path / "other.json").write_text("[1, 2]")
    tab.page.set_input_files("input[type=file]", tmp_path / "other.json")
    tab.page.wait_for_selector(".refused")
    tab.wait_for_text(".refused", "it is no report")
    assert tab.problems == []
