"""Every table of the page as a file, and the search of the audit: in what the page was sent, and in the file."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.dashboard import ServedEngine, Tab

# A process, a browser, and a machine that may be busy.
pytestmark = pytest.mark.timeout(240)
# The view, and what it has a file of: its tables, and its lists.
FILES = {
    "#/": {"Feeds", "Strategies", "Positions", "Open orders", "Markets", "Lanes"},
    "#/strategy/MeanReversion": {"Positions", "Open orders", "Fills", "Log of MeanReversion"},
    "#/markets": {"Markets", "Positions"},
    "#/market/ETHUSDT.BINANCE": {"Positions", "Open orders", "Fills"},
    "#/orders": {"Accounts", "Positions", "Open orders", "Fills", "Risk gates"},
    "#/routes": {"Routes", "Streams"},
    "#/letters": {"Dead letters"},
    "#/alerts": {"Alerts", "Rules", "Sinks", "Silences"},
    "#/audit": {"Audit", "Log"},
    "#/commands": {"Commands"},
}
# Of each table: what it shows, and how many rows, as the page has it.
TABLES = """[...document.querySelectorAll('main section:has(table)')].map((own) => ({
  name: own.getAttribute('aria-label'),
  titles: [...own.querySelectorAll('th button')].map((each) => each.textContent),
  rows: own.querySelectorAll('tbody tr').length,
}))"""

BUTTONS = "[...document.querySelectorAll('main [aria-label$=\"as CSV\"]')].map((own) => own.getAttribute('aria-label'))"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedEngine]:
    """In place of the usual one: it writes an audit."""
    with ServedEngine(tmp_path_factory.mktemp("audited"), more=["engine.audit=audit.jsonl"]) as served:
        yield served


@pytest.mark.parametrize("view", FILES)
def test_every_table_of_a_view_can_be_taken_as_csv(tab: Tab, view: str) -> None:
    tab.sign_in()
    tab.wait("document.querySelectorAll('section[aria-label=Strategies] tbody tr').length === 3")
    tab.page.goto(f"{tab.page.url.partition('#')[0]}{view}")
    tab.page.wait_for_selector("main .panel")
    files = {own.removesuffix(" as CSV") for own in tab.page.evaluate(BUTTONS)}
    assert files == FILES[view]
    for table in tab.page.evaluate(TABLES):
        rows = tab.csv(table["name"])
        assert rows[0] == table["titles"], table["name"]
        # Rows may come between the look and the click.
        assert len(rows) > table["rows"] > 0, table["name"]
        assert {len(row) for row in rows} == {len(rows[0])}, table["name"]
    assert tab.problems == []


def test_amounts_of_a_file_have_all_their_digits(tab: Tab, engine: ServedEngine) -> None:
    tab.sign_in("#/orders")
    tab.wait("document.querySelectorAll('section[aria-label=Fills] tbody tr').length > 0")
    head, *rows = tab.csv("Fills")
    fees = {row[head.index("Fee")] for row in rows}
    lines = (engine.folder / "audit.jsonl").read_text().splitlines()[1:]
    written = {own["fee"] for own in map(json.loads, lines) if own["type"] in ("OrderFilled", "OrderPartiallyFilled")}
    assert fees <= written


def test_the_search_finds_in_the_file_what_the_page_was_not_sent(tab: Tab) -> None:
    tab.sign_in("#/audit")
    tab.page.wait_for_selector("section[aria-label=Audit] tbody tr")
    # An order is no part of the list of what happened to the engine.
    tab.page.fill(".search", "ORDERFILLED meanreversion")
    tab.wait("document.querySelector('section[aria-label=Audit] .empty')?.innerText === 'Nothing matches.'")
    tab.page.click("button:text-is('Search the file')")
    found = "document.querySelectorAll(\"section[aria-label='In the audit file'] tbody tr\").length"
    tab.wait(f"{found} > 0")
    rows = tab.page.locator("section[aria-label='In the audit file'] tbody tr").all_inner_texts()
    assert all("complete, fee" in row for row in rows)
    times = [row.split()[0] for row in rows]
    assert times == sorted(times, reverse=True)
    # Other words are another search.
    tab.page.fill(".search", "none-such")
    tab.page.click("button:text-is('Search the file')")
    tab.wait(
        "document.querySelector(\"section[aria-label='In the audit file'] .empty\")?.innerText === 'Nothing matches.'"
    )
    assert tab.problems == []
