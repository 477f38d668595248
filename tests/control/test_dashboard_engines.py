"""Several engines in one page, each with a token of its own; and a token that may only look."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.dashboard import CONFIG, DESK, ServedEngine, Tab

# Processes, a browser, and a machine that may be busy.
pytestmark = pytest.mark.timeout(240)
LIVE_BROKER = '''
from headrace.trading.brokers import SimulatedBroker


class LiveBroker:
    """Fills orders as a simulated broker does, and does not call its money paper."""

    name = "live"

    def __init__(self):
        inner = SimulatedBroker()
        self.attach, self.submit, self.cancel, self.close = inner.attach, inner.submit, inner.cancel, inner.close
'''
CARD = "section[aria-label='{}']"


class Second(ServedEngine):
    """An engine with live money, whose API the page of another engine may use."""

    def __init__(self, folder: Path) -> None:
        (folder / "own_broker.py").write_text(LIVE_BROKER)
        config = CONFIG.replace('name = "paper"', 'name = "live"')
        super().__init__(folder, config.replace('use = "simulated"', 'use = "own_broker:LiveBroker"'))


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServedEngine, ServedEngine]]:
    second = Second(tmp_path_factory.mktemp("second"))
    first = ServedEngine(tmp_path_factory.mktemp("first"), more=[f'control.http.engines=["{second.url[:-1]}"]'])
    second.set("control.http.origins", f'["{first.url[:-1]}"]')
    with first, second:
        yield first, second


@pytest.fixture
def both(context: Any, engines: tuple[ServedEngine, ServedEngine]) -> Tab:
    """A tab of the first one's page, signed in at both."""
    first, second = engines
    tab = Tab(context, first).sign_in("#/engines")
    sign_in_at(tab, second)
    tab.page.wait_for_selector(f"{CARD.format('live')} .verdict-line")
    return tab


def sign_in_at(tab: Tab, other: ServedEngine) -> str:
    """Give another engine's card its token, and return the card."""
    card = CARD.format(f"127.0.0.1:{other.port}")
    tab.page.wait_for_selector(f"{card} input")
    tab.page.fill(f"{card} input", other.token)
    tab.page.click(f"{card} button")
    return card


def test_one_page_shows_both_engines_side_by_side(both: Tab) -> None:
    for name in ("paper", "live"):
        both.wait(f'/\\d/.test(document.querySelector("{CARD.format(name)} .terms dd").innerText)')
        assert "1 thing is wrong" in both.page.inner_text(CARD.format(name))
    assert both.page.inner_text(".tabs a[href='#/engines'] i") == "2"
    assert both.problems == []


def test_paper_and_live_money_are_never_one_figure(both: Tab) -> None:
    rows = "section[aria-label=Accounts] tbody tr"
    both.wait(f"document.querySelectorAll('{rows}').length === 2")
    texts = both.page.locator(rows).all_inner_texts()
    assert [re.findall(r"(\w+)\s+(\w+) money\s+(\w+)", text)[0] for text in texts] == [
        ("paper", "paper", "USDT"),
        ("live", "live", "USDT"),
    ]
    # Each amount stands in the row of one engine, and there is no row of a sum.
    assert "total" not in both.page.inner_text("main").lower()
    live = both.page.locator(f"{rows}:last-child .tag")
    assert "real" in str(live.get_attribute("class"))


def test_a_command_goes_to_the_engine_that_is_shown(both: Tab, engines: tuple[ServedEngine, ServedEngine]) -> None:
    first, second = engines
    both.page.click(f"{CARD.format('live')} button:text-is('Show')")
    both.wait("document.querySelector('.engine select').selectedOptions[0].text === 'live'")
    both.page.click("[aria-label='Pause SpreadWatch']")
    assert "pause SpreadWatch accepted" in both.note()
    both.page.wait_for_selector("[aria-label='Resume SpreadWatch']")
    both.page.select_option(".engine select", label="paper")
    both.page.wait_for_selector("[aria-label='Pause SpreadWatch']")
    assert second.state("strategies")["SpreadWatch"]["state"] == "paused"
    assert first.state("strategies")["SpreadWatch"]["state"] == "running"
    both.page.select_option(".engine select", label="live")
    both.page.click("[aria-label='Resume SpreadWatch']")
    both.page.wait_for_selector("[aria-label='Pause SpreadWatch']")


def test_a_tab_that_is_opened_later_has_all_tokens_and_signs_out_of_all(
    both: Tab, context: Any, engines: tuple[ServedEngine, ServedEngine]
) -> None:
    later = Tab(context, engines[0]).open("#/engines")
    later.page.wait_for_selector(f"{CARD.format('live')} .verdict-line")
    both.page.click(f"{CARD.format('live')} button:text-is('Sign out')")
    locked = f"{CARD.format(f'127.0.0.1:{engines[1].port}')} input"
    later.page.wait_for_selector(locked)
    both.page.click("[aria-label='Sign out']")
    later.page.wait_for_selector("main.door input")
    for tab in (both, later):
        assert tab.page.evaluate("sessionStorage.length") == 0


def test_a_page_may_ask_no_engine_that_is_not_named(context: Any, engines: tuple[ServedEngine, ServedEngine]) -> None:
    tab = Tab(context, engines[1]).sign_in()
    tab.page.wait_for_selector(".verdict h1")
    assert tab.page.query_selector(".tabs a[href='#/engines']") is None
    with pytest.raises(Exception, match=r"Content Security Policy|Failed to fetch"):
        tab.page.evaluate(f"fetch('{engines[0].url}health/live')")


def test_an_engine_that_does_not_name_the_page_stays_closed(tmp_path: Path, browser: Any) -> None:
    (tmp_path / "shut").mkdir()
    (tmp_path / "open").mkdir()
    with (
        ServedEngine(tmp_path / "shut") as shut,
        ServedEngine(tmp_path / "open", more=[f'control.http.engines=["{shut.url[:-1]}"]']) as own,
    ):
        context = browser.new_context(viewport=DESK)
        tab = Tab(context, own).sign_in("#/engines")
        card = sign_in_at(tab, shut)
        tab.page.wait_for_selector(f"{card} .refused")
        tab.wait_for_text(f"{card} .refused", "cannot be reached")
        context.close()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedEngine]:
    """An engine that has a read-only token, too."""
    with ServedEngine(tmp_path_factory.mktemp("watched"), viewer=True) as served:
        yield served


def test_a_read_only_token_finds_every_command_off(context: Any, watched: ServedEngine) -> None:
    tab = Tab(context, watched).sign_in(token=watched.tokens()[-1])
    tab.page.wait_for_selector(".head .tag.warn")
    assert tab.page.inner_text(".head .tag.warn") == "read-only"
    why = "The token of viewer is read-only"
    for view in ("#/", "#/strategy/MeanReversion", "#/market/ETHUSDT.BINANCE", "#/orders", "#/alerts", "#/commands"):
        tab.page.goto(watched.url + view)
        tab.page.wait_for_selector("main .panel")
        buttons = "[...document.querySelectorAll('.halt, main button')].filter(own => own.title.includes('read-only'))"
        tab.wait(f"{buttons}.length > 0")
        assert tab.page.evaluate(f"{buttons}.every(own => own.disabled)"), view
        assert why in str(tab.page.get_attribute(".halt", "title"))
        # What is left does nothing to the engine.
        left = "[...document.querySelectorAll('main button:not(:disabled)')].map(own => own.innerText.trim())"
        assert not set(tab.page.evaluate(left)) & {"Halt", "Flatten", "Cancel all", "Restart", "Stop", "Silence"}, view
    tab.wait_for_text("main [role=note]", why)
    tab.page.keyboard.press("h")
    assert why in tab.note()
    assert tab.page.query_selector("dialog") is None
    assert tab.problems == []


def test_another_token_of_the_same_engine_may_command(context: Any, watched: ServedEngine) -> None:
    tab = Tab(context, watched).sign_in()
    tab.page.click("[aria-label='Pause SpreadWatch']")
    assert "pause SpreadWatch accepted" in tab.note()
    tab.page.click("[aria-label='Resume SpreadWatch']")
    tab.page.wait_for_selector("[aria-label='Pause SpreadWatch']")
    assert tab.page.query_selector(".head .tag.warn") is None
