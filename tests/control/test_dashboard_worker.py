"""The page of ``headrace execute --every``: what waits, what was done, and the controls as commands on record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from headrace.execution import Store
from tests.support.command import COMMAND
from tests.support.dashboard import PHONE, ServedEngine, Tab
from tests.support.executing import market, recommend, statuses

# A process, a browser, and a machine that may be busy.
pytestmark = pytest.mark.timeout(240)


class ServedWorker(ServedEngine):
    """A worker on a file, with the page."""

    @property
    def db(self) -> str:
        return f"sqlite:///{self.folder}/own.sqlite"

    def command(self) -> list[str]:
        keys = (f"control.http.listen=127.0.0.1:{self.port}", f"engine.state_folder={self.folder / 'state'}")
        settings = [own for key in keys for own in ("--set", key)]
        return [*COMMAND, "execute", "--db", self.db, "--every", "2s", *settings]


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedWorker]:
    own = ServedWorker(tmp_path_factory.mktemp("worker"))
    Store(own.db, migrate=True).close()
    with own:
        yield own


@pytest.fixture
def tab(context: Any, worker: ServedWorker) -> Tab:
    return Tab(context, worker).sign_in()


ROWS = "document.querySelectorAll(\"section[aria-label='{}'] tbody tr\").length"


def test_a_pause_and_a_cancel_by_click_are_on_record(tab: Tab, worker: ServedWorker) -> None:
    tab.page.wait_for_selector(".verdict h1")
    tab.wait_for_text(".verdict h1", "All is well")
    tab.page.click("main button:text-is('Pause claims')")
    tab.page.fill("dialog input[name=reason]", "news at noon")
    tab.page.click("dialog button[type=submit]")
    assert "pause-claims accepted" in tab.note()
    tab.wait(f"{ROWS.format('Pauses')} === 1")
    tab.wait_for_text(".alerts", "news at noon")
    with Store(worker.db) as store:
        market(store)
        [number] = recommend(store)
    tab.wait(f"{ROWS.format('Recommendations')} === 1")
    assert "pending" in tab.row("Recommendations", f"#{number}")
    tab.page.click(f"[aria-label='Cancel recommendation {number}']")
    tab.page.fill("dialog input[name=reason]", "an old view")
    tab.page.click("dialog button[type=submit]")
    tab.wait("document.querySelector('section[aria-label=Recommendations] tbody').innerText.includes('skipped')")
    with Store(worker.db) as store:
        assert statuses(store) == {"SKIPPED": 1}
        [[actor]] = store.query("SELECT actor FROM dispatch_controls WHERE verb = 'cancel'")
    assert actor == "http:operator@127.0.0.1"
    tab.page.click("section[aria-label=Pauses] button:text-is('Resume')")
    tab.page.fill("dialog input[name=reason]", "it is over")
    tab.page.click("dialog button[type=submit]")
    tab.wait("document.querySelector('section[aria-label=Pauses] .empty') !== null")
    assert tab.problems == []


def test_what_was_executed_is_shown_as_paper(tab: Tab, worker: ServedWorker) -> None:
    with Store(worker.db) as store:
        market(store)
        [number] = recommend(store, prefix="done")
    tab.wait("document.querySelector('section[aria-label=Recommendations] tbody')?.innerText.includes('simulated')")
    tab.page.click("a[href='#/executions']")
    tab.wait(f"{ROWS.format('Executions')} === 1")
    row = tab.row("Executions", f"#{number}")
    assert "paper money" in row
    assert "AAPL" in row
    tab.page.click("a[href='#/']")
    tab.wait(f"{ROWS.format('Runs')} >= 1")
    # The figures come with the stream, once a second.
    tab.wait("document.querySelector('section[aria-label=Figures]').innerText.includes('1 simulated')")


def test_a_halt_of_a_worker_shows_at_once(tab: Tab) -> None:
    tab.page.wait_for_selector(".verdict h1")
    tab.page.click(".halt")
    tab.page.fill("dialog input[name=confirm]", "halt")
    tab.page.fill("dialog input[name=reason]", "a test")
    tab.page.click("dialog button[type=submit]")
    tab.wait("document.querySelector('.verdict h1').innerText.startsWith('Halted')")
    tab.page.click(".halt")
    tab.page.click("dialog button[type=submit]")
    tab.wait("!document.querySelector('.verdict h1').innerText.startsWith('Halted')")


def test_it_fits_a_phone(browser: Any, worker: ServedWorker) -> None:
    context = browser.new_context(viewport=PHONE)
    tab = Tab(context, worker).sign_in()
    tab.page.wait_for_selector(".verdict h1")
    for view in ("#/", "#/executions", "#/audit", "#/commands"):
        tab.page.goto(worker.url + view)
        tab.page.wait_for_selector("main .panel")
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], view
    assert [own for own in tab.page.locator(".tabs a").all_inner_texts() if own == "Markets"] == []
    context.close()
