"""A day of figures in the page: thinned to what a screen shows, and no more memory for a page that stays open."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import aged_engine
from tests.support.dashboard import ServedEngine, Tab

# A process, a browser, and a machine that may be busy.
pytestmark = pytest.mark.timeout(240)
MIB = 1 << 20
# Of each slot of a level its lowest, highest and last value.
POINTS_MAX = 900 * 3
LINE = "section[aria-label='Per second'] .paths path.a"
PATH = f"(document.querySelector(\"{LINE}\")?.getAttribute('d') ?? '')"
RANGE = "section[aria-label='Per second'] .choices button:text-is('{}')"


class AgedEngine(ServedEngine):
    """An engine with a day of history."""

    def command(self) -> list[str]:
        (self.folder / "state").mkdir(mode=0o700, exist_ok=True)
        return [sys.executable, aged_engine.__file__, str(self.folder / "state"), str(self.port)]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedEngine]:
    with AgedEngine(tmp_path_factory.mktemp("aged")) as served:
        yield served


def heap_bytes(tab: Tab) -> int:
    """What a tab's scripts hold, after a collection: the least of some looks, since a document may be on its way."""
    session = tab.page.context.new_cdp_session(tab.page)
    looks: list[int] = []
    for _ in range(5):
        session.send("HeapProfiler.collectGarbage")
        looks.append(session.send("Runtime.getHeapUsage")["usedSize"])
        tab.page.wait_for_timeout(300)
    session.detach()
    return min(looks)


def show(tab: Tab, span: str) -> None:
    """Choose a range, and wait until its history is drawn: its line reaches back to the left edge."""
    button = RANGE.format(span)
    tab.page.click(button)
    # The line of the range before may reach that far, too: first it has to go.
    tab.page.wait_for_selector(f"{button}[aria-pressed='true']")
    tab.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    tab.wait(f"parseFloat({PATH}.slice(1)) < 4")


def test_a_day_is_thinned_to_the_columns_of_the_screen(tab: Tab) -> None:
    tab.sign_in()
    tab.page.wait_for_selector(LINE)
    show(tab, "24h")
    counted = tab.probe("day")
    points, span_ms = counted["rates/ticks_per_s"]
    assert 850 <= points <= POINTS_MAX
    assert span_ms > 23.8 * 3_600_000
    assert max(own for own, _ in counted.values()) <= POINTS_MAX
    width: int = tab.page.evaluate("document.querySelector(\"section[aria-label='Per second'] .chart\").clientWidth")
    drawn: int = tab.page.evaluate(f"{PATH}.split(/[ML]/).length - 1")
    assert 400 < drawn <= 4 * width
    assert tab.problems == []


def test_a_spike_of_one_second_shows_in_a_day(tab: Tab) -> None:
    tab.sign_in()
    tab.page.wait_for_selector(LINE)
    show(tab, "24h")
    labels = tab.page.locator("section[aria-label='Per second'] text.value").all_text_contents()
    assert aged_engine.SPIKE == 40_000_000
    assert "40.0 M" in [own.replace("\u202f", " ") for own in labels]
    # The top of its line is half a day ago.
    points = f"{PATH}.split(/[ML]/).slice(1).map(own => own.split(' ').map(Number))"
    at: float = tab.page.evaluate(f"{points}.sort((one, other) => one[1] - other[1])[0][0]")
    width: float = tab.page.evaluate(
        "document.querySelector(\"section[aria-label='Per second'] .grid path\").getBBox().width"
    )
    assert at / width == pytest.approx(0.5, abs=0.01)


def test_looking_at_ranges_leaves_no_memory_behind(tab: Tab) -> None:
    tab.sign_in()
    tab.page.wait_for_selector(LINE)

    def look_around() -> int:
        for _ in range(12):
            for span in ("24h", "2h", "15m"):
                show(tab, span)
        return heap_bytes(tab)

    before = look_around()
    # The browser frees some memory later: what is left behind is there after every look.
    after = min(look_around() for _ in range(2))
    assert after - before < 1 * MIB, f"{(after - before) / MIB:.2f} MiB more"


def test_a_page_that_is_open_for_a_day_stays_as_small(tab: Tab) -> None:
    tab.sign_in()
    tab.page.wait_for_selector(".verdict h1")
    hours = 3_600
    tab.probe("updates", [0, 2 * hours])
    before = heap_bytes(tab)
    kept: dict[str, Any] = tab.probe("updates", [2 * hours, 24 * hours])
    grown = heap_bytes(tab) - before
    assert kept["longest"] <= 1_000
    assert kept["entries"] == 500
    # Those of the strategy of this hour and of the one before, the instrument's, and a rate.
    assert kept["series"] <= 2 * 4 + 3 + 1
    assert grown < 1 * MIB, f"{grown / MIB:.2f} MiB more"
