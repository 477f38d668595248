"""The page for everyone: contrast of what it shows, each action by keyboard, the focus in dialogs, less motion."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.dashboard import DESK, PHONE, ServedEngine, Tab

# A process, a browser, and a machine that may be busy.
pytestmark = pytest.mark.timeout(240)
VIEWS = (
    *("#/", "#/strategy/MeanReversion", "#/markets", "#/market/ETHUSDT.BINANCE", "#/orders", "#/routes", "#/letters"),
    *("#/alerts", "#/audit", "#/commands", "#/reports"),
)
# WCAG 2.2, AA: 1.4.3 for text, less where it is large; 1.4.11 for what one must see to understand or to use the page.
TEXT_MIN, LARGE_TEXT_MIN, SHAPE_MIN = 4.5, 3.0, 3.0


def dim(tab: Tab) -> Any:
    """What of the page has too little contrast, and how much was looked at."""
    # A picture of one moment: nothing that is half faded.
    tab.page.evaluate("Promise.all(document.getAnimations().map((own) => own.finished))")
    return tab.probe("contrasts", {"text": TEXT_MIN, "large": LARGE_TEXT_MIN, "shape": SHAPE_MIN})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_has_the_contrast_of_aa(browser: Any, engine: ServedEngine, scheme: str) -> None:
    context = browser.new_context(viewport=DESK, color_scheme=scheme, reduced_motion="reduce")
    tab = Tab(context, engine).open()
    tab.page.wait_for_selector("input[name=token]")
    found = dim(tab)
    assert found["found"] == []
    tab.sign_in()
    looked_at = 0
    for view in VIEWS:
        tab.page.goto(engine.url + view)
        tab.page.wait_for_selector("main .panel")
        found = dim(tab)
        assert found["found"] == [], view
        looked_at += found["seen"]
    assert looked_at > 500
    tab.page.click(".halt")
    tab.page.wait_for_selector("dialog input")
    assert dim(tab)["found"] == []
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_colour_of_a_theme_has_contrast_on_every_ground(browser: Any, engine: ServedEngine, scheme: str) -> None:
    context = browser.new_context(viewport=DESK, color_scheme=scheme)
    tab = Tab(context, engine).open()
    tab.page.wait_for_selector("input[name=token]")
    shades: dict[str, list[float]] = tab.probe("shades")
    context.close()
    everywhere = ("ground", "panel", "raised", "hover")
    pairs = [
        (own, ground, TEXT_MIN) for own in ("ink", "soft", "good", "warn", "bad", "accent") for ground in everywhere
    ]
    pairs += [(own, ground, TEXT_MIN) for own in ("buy", "sell") for ground in everywhere]
    pairs += [(own, f"{own}-soft", TEXT_MIN) for own in ("good", "warn", "bad", "accent")]
    pairs += [("ink", f"{own}-soft", TEXT_MIN) for own in ("good", "warn", "bad", "accent")]
    # Legends are texts in the colours of their lines.
    pairs += [(f"tone-{own}", "panel", TEXT_MIN) for own in "abcdef"]
    pairs += [(own, ground, SHAPE_MIN) for own in ("field", "accent") for ground in everywhere]
    ratios = {(own, ground): (contrast(shades[own], shades[ground]), least) for own, ground, least in pairs}
    assert {pair: round(ratio, 2) for pair, (ratio, least) in ratios.items() if ratio < least} == {}


def contrast(one: list[float], other: list[float]) -> float:
    """The contrast of two colours, as WCAG computes it."""

    def light(rgb: list[float]) -> float:
        linear = [(own / 255 / 12.92 if own / 255 <= 0.04045 else ((own / 255 + 0.055) / 1.055) ** 2.4) for own in rgb]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("view", VIEWS)
def test_each_action_is_reached_by_tab_and_shows_its_focus(tab: Tab, view: str) -> None:
    tab.sign_in(view)
    tab.page.wait_for_selector("main .panel")
    assert tab.probe("unreachable") == []
    tab.page.evaluate("document.activeElement.blur()")
    stops: int = tab.probe("tab_stops")
    seen: dict[str, Any] = {}
    # Rows that come on top while it goes down are stops of a next round.
    for _ in range(2 * stops):
        tab.page.keyboard.press("Tab")
        own = tab.probe("focused")
        for _ in range(3):
            if own["isBody"] or own["isOnScreen"]:
                break
            # A row that came between the key and the look has moved the others: the same step again.
            tab.page.keyboard.press("Shift+Tab")
            tab.page.keyboard.press("Tab")
            own = tab.probe("focused")
        if own["isBody"]:
            break
        seen[own["id"]] = own
    assert [own for own in seen.values() if not (own["hasRing"] and own["isOnScreen"] and own["isNamed"])] == []
    # Rows come and go meanwhile; what stays is met.
    assert tab.probe("unmet_stops") == []


def test_the_first_stop_skips_to_the_content(tab: Tab) -> None:
    tab.sign_in()
    tab.page.wait_for_selector(".verdict h1")
    tab.page.evaluate("document.activeElement.blur()")
    tab.page.keyboard.press("Tab")
    assert tab.page.evaluate("document.activeElement.innerText") == "To the content"
    tab.page.keyboard.press("Enter")
    assert tab.page.evaluate("document.activeElement.id") == "content"


def test_a_dialog_keeps_the_focus_and_gives_it_back(tab: Tab) -> None:
    tab.sign_in()
    tab.page.wait_for_selector("[aria-label='Stop SpreadWatch']")
    tab.page.focus("[aria-label='Stop SpreadWatch']")
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_selector("dialog[open]")
    inside = "document.activeElement.closest('dialog') !== null || document.activeElement === document.body"
    assert tab.page.evaluate("document.activeElement.name") == "confirm"
    for _ in range(12):
        tab.page.keyboard.press("Tab")
        assert tab.page.evaluate(inside)
    tab.page.keyboard.press("Escape")
    tab.wait("document.querySelector('dialog') === null")
    assert tab.page.evaluate("document.activeElement.getAttribute('aria-label')") == "Stop SpreadWatch"
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_selector("dialog[open]")
    tab.page.click("dialog button:text-is('Cancel')")
    tab.wait("document.querySelector('dialog') === null")
    assert tab.page.evaluate("document.activeElement.getAttribute('aria-label')") == "Stop SpreadWatch"


def test_a_button_that_is_replaced_leaves_the_focus_at_its_place(tab: Tab) -> None:
    tab.sign_in()
    tab.page.wait_for_selector("[aria-label='Pause SpreadWatch']")
    tab.page.focus("[aria-label='Pause SpreadWatch']")
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_selector("[aria-label='Resume SpreadWatch']")
    tab.wait("document.activeElement.getAttribute('aria-label') === 'Resume SpreadWatch'")
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_selector("[aria-label='Pause SpreadWatch']")
    tab.wait("document.activeElement.getAttribute('aria-label') === 'Pause SpreadWatch'")


def test_a_link_by_keyboard_goes_on_in_the_new_view(tab: Tab) -> None:
    signed_in_at_a_link(tab)
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_selector("section[aria-label=Ticks]")
    tab.wait("document.activeElement.id === 'content'")


def test_an_address_that_is_drawn_before_the_browser_tells_of_it_takes_the_focus_along(tab: Tab) -> None:
    signed_in_at_a_link(tab)
    # A frame may come between the change of the address and its event; here the event never comes.
    tab.page.evaluate("history.pushState(null, '', '#/strategy/SpreadWatch')")
    tab.page.wait_for_selector("section[aria-label=Ticks]")
    tab.wait("document.activeElement.id === 'content'")


ROWS = [f"row-{number}" for number in range(100)]


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (["new", *ROWS], "row-50"),
        (ROWS[1:], "row-50"),
        (ROWS[:10] + ROWS[11:40] + ROWS[50:], "row-50"),
        (ROWS[::-1], "row-50"),
        (ROWS[60:] + ROWS[:60], "row-50"),
        (ROWS[:50] + ROWS[51:], "row-51"),
        (ROWS[:50], "row-49"),
        (ROWS[10:12], "row-11"),
    ],
    ids=["one-comes", "one-goes", "some-go", "turned-round", "rotated", "its-own-goes", "it-and-all-below", "most-go"],
)
def test_the_focus_stays_in_sight_while_rows_come_and_go(tab: Tab, after: list[str], expected: str) -> None:
    tab.open()
    tab.page.wait_for_selector("input[name=token]")
    assert tab.probe("patched", [ROWS, "row-50", after]) == {"name": expected, "isOnScreen": True}


def signed_in_at_a_link(tab: Tab) -> None:
    tab.sign_in()
    link = "section[aria-label=Strategies] a:text-is('SpreadWatch')"
    tab.page.wait_for_selector(link)
    tab.page.focus(link)


@pytest.mark.parametrize(("motion", "moves"), [("reduce", False), ("no-preference", True)])
def test_reduced_motion_is_heard(browser: Any, engine: ServedEngine, motion: str, moves: bool) -> None:
    context = browser.new_context(viewport=PHONE, reduced_motion=motion)
    tab = Tab(context, engine).sign_in("#/commands")
    tab.page.wait_for_selector("main .panel")
    tab.page.evaluate("""() => {
      window.moved = 0;
      const look = () => ((window.moved += document.getAnimations().length), requestAnimationFrame(look));
      look();
    }""")
    tab.page.click("main button:text-is('Status')")
    tab.note()
    tab.page.hover(".tabs a:nth-child(2)")
    tab.page.wait_for_timeout(200)
    assert (tab.page.evaluate("window.moved") > 0) == moves
    context.close()
