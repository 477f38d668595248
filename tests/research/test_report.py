"""The report: one file that needs nothing else, and shows in a real browser what the result holds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace
from headrace import BacktestResult
from headrace.errors import ResultError
from headrace.research.report import page_of, write_report
from headrace.research.report.svg import POINTS_MAX, line, thinned, time_scale, value_scale
from tests.support.backtests import DAY, SECOND, Acts, Reverting, path, walk
from tests.support.browser import opened_browser, watched
from tests.support.command import Run
from tests.support.engines import START
from tests.support.feeding import BTC, ETH

SIZES = {"desk": (1_180, 900), "phone": (390, 844)}
PARTS = (
    *("Equity, USDT", "Drawdown", "Exposure", "Prices and trades", "Returns by month", "Fills against the mid"),
    *("Figures", "What the engine counted", "Settings", "hashes and versions"),
)


@pytest.fixture(scope="module")
def result() -> BacktestResult:
    data = [walk(3_000, every_ns=1_800 * SECOND), walk(3_000, every_ns=1_800 * SECOND, instrument=ETH, seed=2)]
    return headrace.backtest(Reverting, data)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with opened_browser() as opened:
        yield opened


@pytest.mark.parametrize("interactive", [False, True], ids=["plain", "bokeh"])
def test_the_page_needs_nothing_else(result: BacktestResult, interactive: bool) -> None:
    page = page_of(result, interactive=interactive)
    markup = re.sub(r"<script.*?</script>", "<script>", page, flags=re.DOTALL)
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?:https?:)?//""", markup)
    assert "@import" not in markup
    assert not re.search(r"<script[^>]+src", page)
    for part in (*PARTS, BTC, ETH, result.audit_hash, result.settings["strategies"]["Reverting"]["code"]):
        assert str(part) in page


@pytest.mark.parametrize("interactive", [False, True], ids=["plain", "bokeh"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_it_without_an_error(
    result: BacktestResult, browser: Any, tmp_path: Path, interactive: bool, size: str, scheme: str
) -> None:
    file = write_report(result, tmp_path / "report.html", interactive=interactive)
    width, height = SIZES[size]
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    problems, asked = watched(page)
    page.goto(file.as_uri())
    page.wait_for_function("document.querySelectorAll('.chart svg, .bk-Figure').length >= 5")
    assert problems == asked == []
    # Nothing is wider than the screen, and the colours are those of the scheme.
    assert page.evaluate("document.documentElement.scrollWidth") == width
    red = int(re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor"))[0])
    assert (red > 200) == (scheme == "light")
    shown = page.inner_text("header")
    assert f"{float(result.equity_end or 0):,.2f}" in shown
    assert f"{result.statistics.total_return:.2%}" in shown
    page.close()


def test_the_price_can_be_zoomed_without_bokeh(result: BacktestResult, browser: Any, tmp_path: Path) -> None:
    page = browser.new_page()
    page.goto(write_report(result, tmp_path / "report.html", interactive=False).as_uri())
    chart = page.locator(".chart[data-first]").first
    chart.scroll_into_view_if_needed()
    before = chart.locator("svg").get_attribute("viewBox")
    chart.hover()
    page.mouse.wheel(0, -100)
    page.wait_for_function(
        "before => document.querySelector('.chart[data-first] svg').getAttribute('viewBox') !== before", arg=before
    )
    assert float(chart.locator("svg").get_attribute("viewBox").split()[2]) == pytest.approx(800)
    page.close()


def test_every_fill_is_a_dot_on_its_price(result: BacktestResult) -> None:
    page = page_of(result, interactive=False)
    dots = {
        name: sum(part.count("M") for part in re.findall(rf'class="dot {name}" d="([^"]*)"', page))
        for name in ("gain", "loss")
    }
    sides = [fill.side for fill in result.fills]
    makers = sum(fill.liquidity == "maker" for fill in result.fills)
    # Makers are green dots in the chart of fills, too.
    assert dots == {"gain": sides.count(1) + makers, "loss": sides.count(-1)}


def test_texts_of_users_are_escaped() -> None:
    class Evil(Acts):
        pass

    evil = "<script>alert(1)</script>"
    act = lambda strategy: strategy.buy(BTC, 1, tag=evil)  # noqa: E731 - short
    made = headrace.backtest(
        headrace.StrategySpec(strategy=Evil({1: act, 3: -1}), name=evil), path([100, 101, 102, 103])
    )
    assert evil not in page_of(made, interactive=False)
    assert "&lt;script&gt;" in page_of(made, interactive=False)


@pytest.mark.parametrize("mids", [[100.0], [100.0, 100.0]], ids=["one", "flat"])
def test_a_result_of_nothing_has_a_page(mids: list[float]) -> None:
    assert "Figures" in page_of(headrace.backtest(Acts({}), path(mids)), interactive=False)


def test_the_command_writes_the_page(headrace_run: Run, result: BacktestResult, tmp_path: Path) -> None:
    result.save(tmp_path / "one.headrace")
    ended = headrace_run("report", "one.headrace", "--plain")
    assert (ended.returncode, ended.stdout) == (0, "wrote one.html\n")
    assert (tmp_path / "one.html").read_text() == page_of(result, interactive=False)
    ended = headrace_run("report", "missing.headrace")
    assert ended.returncode == 1
    assert "is missing" in ended.stderr


def test_a_page_that_cannot_be_written_is_an_error(result: BacktestResult, tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="cannot be written"):
        write_report(result, tmp_path / "no" / "report.html")


def test_a_long_line_keeps_its_extremes() -> None:
    times = np.arange(100_000)
    values = np.sin(times / 10_000.0)
    values[54_321], values[65_432] = 9.0, -9.0
    few, kept = thinned(times, values)
    assert len(few) <= POINTS_MAX + 2
    assert (kept.max(), kept.min()) == (9.0, -9.0)
    assert np.all(np.diff(few) > 0)


@pytest.mark.parametrize("span_ns", [1, SECOND, 90 * SECOND, DAY, 40 * DAY, 400 * DAY, 9_000 * DAY])
def test_times_have_a_few_round_labels(span_ns: int) -> None:
    scale = time_scale(START, START + span_ns)
    assert len(scale.ticks) <= 6
    assert all(START <= at <= START + span_ns for at, _ in scale.ticks)


@pytest.mark.parametrize("values", [[0.0], [5.0, 5.0], [-1e-9, 1e9], [np.nan], []], ids=str)
def test_any_values_have_a_scale(values: list[float]) -> None:
    scale = value_scale(np.array(values), zero=True)
    assert scale.low < scale.high
    assert line(time_scale(0, 10), scale, np.arange(len(values)), np.array(values), "main") is not None
