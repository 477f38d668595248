"""Reports: the seed's questions as views, and outcomes over the later bars."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pytest

from headrace.execution import Store
from headrace.execution.reports import REPORTS, Outcome, cell_text, outcomes, report, report_page
from headrace.execution.schema.views import VIEWS
from headrace.research.report.document import write_page
from headrace.research.report.executions import executions_page
from tests.support.browser import opened_browser, watched
from tests.support.command import Run
from tests.support.executing import market, recommend, run, settings

MINUTE_NS = 60 * 10**9


def later(store: Store, *bars: tuple[Any, Any, Any], ticker: str = "AAPL") -> None:
    """Bars (high, low, close) of the minutes after now."""
    now = time.time_ns()
    for number, (high, low, close) in enumerate(bars, 1):
        store.telemetry(
            ticker=ticker, ts=now + number * MINUTE_NS, open=close, high=high, low=low, close=close, volume=1
        )


def found(store: Store) -> list[Outcome]:
    connection = store.database.connect()
    try:
        return [*outcomes(connection)]
    finally:
        connection.close()


# Entry 100.05, stop 98.049, target 104.052; of the short 99.95, 101.949, 95.952.
@pytest.mark.parametrize(
    ("action", "bars", "kind", "price"),
    [
        ("BUY_CALL", [(101, 99, 100), (105, 99, 104)], "target", "104.052"),
        ("BUY_CALL", [(101, 98, 99)], "stop", "97.9999755"),
        ("BUY_CALL", [(105, 98, 99)], "stop", "97.9999755"),
        # Beyond the stop at its open already.
        ("BUY_CALL", [(101, 99, 100), (97, 95, 96)], "stop", "95.952"),
        ("BUY_PUT", [(101, 99, 100), (105, 103, 104)], "stop", "104.052"),
        ("BUY_CALL", [(101, 99, 100), (101, 99, 100.5), (101, 99, 101)], "time", "100.44975"),
        ("BUY_CALL", [(101, 99, 100)], "open", None),
        ("BUY_PUT", [(101, 95, 96)], "target", "95.952"),
        ("BUY_PUT", [(102, 99, 101)], "stop", "101.9999745"),
    ],
)
def test_an_execution_ends_at_its_stop_its_target_or_its_time(
    store: Store, action: str, bars: list[Any], kind: str, price: str | None
) -> None:
    market(store, close=100)
    recommend(store, action=action)
    assert run(store, settings(max_hold_minutes=Decimal("2.5"))).counts.simulated == 1
    later(store, *bars)
    [outcome] = found(store)
    assert (outcome.exit, outcome.exit_price) == (kind, None if price is None else Decimal(price))
    if outcome.pnl is not None and outcome.exit_price is not None:
        side = 1 if action == "BUY_CALL" else -1
        assert outcome.pnl == side * (outcome.exit_price - outcome.entry_price) * outcome.qty
        assert (outcome.r or 0) < -1 if kind == "stop" else outcome.r == 2 if kind == "target" else True


def test_every_view_can_be_read_and_counts_today(store: Store) -> None:
    market(store)
    recommend(store, 2)
    recommend(store, confidence=0.1, prefix="low")
    run(store)
    rows = {view: store.query(f"SELECT * FROM {view}") for view in VIEWS}
    assert rows["executions_today"][0][:2] == (2, 1)
    assert rows["skips_today"] == [("test", 1)]
    assert [bool(value) for value in rows["gates_today"][0][:5]] == [False, True, True, True, True]
    assert rows["sizes_today"][0][:2] == ("BUY_CALL", 2)
    assert len(rows["runs_recent"]) == 1


@pytest.mark.parametrize("name", ["executions", "gates", "runs", "sizes", "tickers", "outcomes"])
def test_each_report_has_its_columns_and_a_text_for_each_cell(store: Store, name: str) -> None:
    market(store)
    recommend(store, 2)
    recommend(store, confidence=0.1, prefix="low")
    run(store)
    connection = store.database.connect()
    rows = report(connection, name)
    later_rows = report(connection, name, since_ms=int(time.time() * 1000) + 60_000)
    connection.close()
    assert rows.rows
    assert all(len(own) == len(rows.columns) for own in rows.rows)
    assert all(isinstance(cell_text(*cell), str) for own in rows.rows for cell in zip(rows.columns, own, strict=True))
    assert name == "gates" or later_rows.rows == []


def test_totals_of_the_reports_are_those_computed_by_hand(store: Store) -> None:
    """Entries 100.05, 1000.5 and 999.5; a quarter of 100,000 buys 249, 24 and 25 of them, less than the risk allows."""
    market(store, "AAPL", close=100)
    market(store, "MSFT", close=1000)
    recommend(store, 2)
    recommend(store, ticker="MSFT", prefix="call")
    recommend(store, ticker="MSFT", action="BUY_PUT", prefix="put")
    recommend(store, 2, confidence=0.1, prefix="low")
    run(store)
    later(store, (101, 99, 100), (105, 99, 104), (105, 99, 104))
    later(store, (1001, 999, 1000), (1030, 999, 1020), ticker="MSFT")
    connection = store.database.connect()
    reports = {name: report(connection, name) for name in (*REPORTS, "outcomes")}
    connection.close()

    def columns(name: str, *wanted: str) -> list[tuple[Any, ...]]:
        own = reports[name]
        places = [own.columns.index(column) for column in wanted]
        return [tuple(cell_text(own.columns[place], row[place]) for place in places) for row in own.rows]

    assert columns("sizes", "action", "count", "avg_qty", "avg_notional", "avg_entry") == [
        ("BUY_CALL", "3", "174", "24612.3", "400.2"),
        ("BUY_PUT", "1", "25", "24987.5", "999.5"),
    ]
    assert columns("gates", "gate", "passed", "refused", "observed", "threshold") == [
        ("confidence", "4", "2", "0.1", "0.7"),
        *((gate, "6", "0", "", "") for gate in ("action_allowed", "bar_freshness", "feature_freshness")),
        ("ticker_daily_limit", "6", "0", "", ""),
    ]
    assert columns("tickers", "ticker", "executions") == [("AAPL", "2"), ("MSFT", "2")]
    names = ("pulled", "processed", "simulated", "skipped", "failed")
    assert columns("runs", *names) == [("6", "6", "4", "2", "0")]
    assert columns("executions", "ticker", "qty", "entry_price", "notional") == [
        *[("AAPL", "249", "100.05", "24912.45")] * 2,
        ("MSFT", "24", "1000.5", "24012"),
        ("MSFT", "25", "999.5", "24987.5"),
    ]
    # A target is 4 % above its entry. The short's stop was 1019.49; the bar opens at 1020, and it is left 0.05 % above.
    assert columns("outcomes", "exit", "exit_price", "pnl", "r") == [
        *[("target", "104.052", "996.498", "2")] * 2,
        ("open", "", "", ""),
        ("stop", "1020.51", "-525.25", "-1.051"),
    ]


def test_report_prints_a_table_json_and_csv(headrace_run: Run, store: Store) -> None:
    market(store)
    recommend(store, 2)
    run(store)
    url = store.database.url
    table = headrace_run("db", "report", "executions", "--db", url, "--since", "1h")
    assert "AAPL" in table.stdout, table.stderr
    [first, _] = json.loads(headrace_run("db", "report", "executions", "--db", url, "--json").stdout)
    assert (first["ticker"], first["entry_price"]) == ("AAPL", "100.55025")
    lines = headrace_run("db", "report", "tickers", "--db", url, "--csv").stdout.splitlines()
    assert lines[0] == "ticker,executions,first_at,last_at"
    assert lines[1].startswith("AAPL,2,20")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with opened_browser() as opened:
        yield opened


@pytest.mark.timeout(60)
def test_the_page_shows_every_report_in_a_real_browser(store: Store, browser: Any, tmp_path: Path) -> None:
    market(store, "AAPL", "MSFT", close=100)
    recommend(store, 2)
    recommend(store, ticker="MSFT", action="BUY_PUT", prefix="put")
    recommend(store, 2, confidence=0.1, prefix="low")
    assert run(store).counts.simulated == 3
    later(store, (101, 99, 100), (105, 99, 104))
    later(store, (102, 99, 101), ticker="MSFT")
    connection = store.database.connect()
    file = write_page(executions_page(connection, store.database.url), tmp_path / "page.html")
    profit = sum(own.pnl or 0 for own in outcomes(connection))
    connection.close()
    page = browser.new_page(viewport={"width": 390, "height": 844})
    problems, asked = watched(page)
    page.goto(file.as_uri())
    page.wait_for_function("document.querySelectorAll('.chart svg').length === 5")
    assert problems == asked == []
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    shown = page.inner_text("header")
    for text in ("executions", "3", f"{profit:,.2f}", "67%"):
        assert text in shown
    for title in ("What became of them", "Executions", "Gates", "Runs"):
        assert page.locator("h2", has_text=title).count() >= 1
    assert page.locator("path.dot.gain").count() == page.locator("path.dot.loss").count() == 1
    bars = page.locator("figure", has_text="Refused by each gate").locator("rect")
    assert [round(float(own.get_attribute("height"))) > 0 for own in bars.all()] == [True, False, False, False, False]
    page.close()


def test_the_page_of_an_empty_database_says_so(store: Store) -> None:
    connection = store.database.connect()
    page = executions_page(connection, store.database.url)
    connection.close()
    assert '<b class="">0</b>' in page
    assert "<figure>" not in page


def test_texts_of_others_are_escaped_on_the_page(store: Store) -> None:
    evil = "<script>alert(1)</script>"
    market(store, evil)
    recommend(store, ticker=evil)
    assert run(store).counts.simulated == 1
    connection = store.database.connect()
    page = executions_page(connection, store.database.url)
    connection.close()
    assert evil not in page
    assert "&lt;script&gt;alert(1)" in page


@pytest.mark.timeout(120)
def test_the_command_writes_the_page_and_refuses_two_forms(headrace_run: Run, store: Store, tmp_path: Path) -> None:
    url = store.database.url
    ended = headrace_run("db", "report", "--db", url, "--html", "page.html", "--since", "1h")
    assert (ended.returncode, ended.stdout) == (0, "wrote page.html\n"), ended.stderr
    assert "<title>" in (tmp_path / "page.html").read_text()
    for wrong in (("gates", "--html", "x.html"), (), ("gates", "--csv", "--json")):
        assert headrace_run("db", "report", *wrong, "--db", url).returncode == 2
    assert headrace_run("db", "report", "--db", url, "--html", "no/page.html").returncode == 1


def test_pages_of_executions_and_runs_are_the_whole_report_once(store: Store) -> None:
    market(store)
    for prefix in ("a", "b", "c"):
        recommend(store, 2, prefix=prefix)
        run(store)
    connection = store.database.connect()
    try:
        lists: list[tuple[Literal["executions", "runs"], int]] = [("executions", 6), ("runs", 3)]
        for name, count in lists:
            whole = report(connection, name).rows
            assert len(whole) == count
            for limit in (1, 2, count, count + 1):
                pages, after = [], None
                while rows := report_page(connection, name, after, limit).rows:
                    assert len(rows) <= limit
                    pages.extend(rows)
                    after = (rows[-1][1], rows[-1][0])
                assert sorted(pages) == sorted(whole)
                assert [row[1] for row in pages] == sorted(row[1] for row in whole)
    finally:
        connection.close()
