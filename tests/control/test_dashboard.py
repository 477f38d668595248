"""The page in a real browser, over a real engine: what an operator sees, does, and is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.cut import Way
from tests.support.dashboard import DESK, PHONE, ServedEngine, Tab

# A process, a browser, and a machine that may be busy.
pytestmark = pytest.mark.timeout(240)
VIEWS = ("#/markets", "#/orders", "#/routes", "#/letters", "#/audit", "#/commands")


def number(text: str) -> int:
    return int(re.sub(r"\D", "", text) or 0)


def test_a_wrong_token_shows_nothing_of_the_engine(tab: Tab) -> None:
    tab.open().page.fill("input[name=token]", "x" * 43)
    tab.page.click("button[type=submit]")
    tab.page.wait_for_selector(".refused")
    tab.wait_for_text(".refused", "not a token")
    assert "paper" not in tab.page.content()
    assert tab.page.evaluate("sessionStorage.length") == 0


def test_the_first_screen_is_live(tab: Tab) -> None:
    tab.sign_in()
    tab.wait("document.querySelectorAll('section[aria-label=Strategies] tbody tr').length === 3")
    tab.wait_for_text(".verdict h1", "1 thing is wrong")
    tab.wait_for_text(".alerts", "Faulty is in quarantine")
    before = number(tab.row("Strategies", "SpreadWatch").split("\n")[-1])
    shown = "Number(document.querySelector('.chart.lines .paths path')?.getAttribute('d')?.length ?? 0)"
    tab.wait(f"{shown} > 40")
    delivered = "[...document.querySelectorAll('tbody tr')].find(row => row.innerText.includes('SpreadWatch'))"
    text = tab.page.evaluate(f"{delivered}.cells[3].innerText")
    tab.wait(f"{delivered}.cells[3].innerText !== {text!r}")
    assert before >= 0
    assert tab.problems == []


def test_the_token_is_never_in_an_address(tab: Tab, engine: ServedEngine) -> None:
    tab.sign_in()
    tab.page.wait_for_selector(".verdict h1")
    assert tab.page.evaluate("localStorage.getItem('headrace.tokens')") is None
    assert tab.page.evaluate("document.cookie") == ""
    assert not [url for url in tab.asked if engine.token in url]
    assert engine.token not in tab.page.url


def test_the_page_asks_no_other_host(tab: Tab, engine: ServedEngine) -> None:
    tab.sign_in()
    for view in VIEWS:
        tab.page.goto(engine.url + view)
        tab.page.wait_for_selector("main .panel, main .empty")
    assert {url[: len(engine.url)] for url in tab.asked} == {engine.url}
    assert tab.problems == []


def test_its_policy_refuses_inline_scripts_and_foreign_requests(tab: Tab) -> None:
    tab.sign_in()
    with pytest.raises(Exception, match=r"Content Security Policy|Failed to fetch"):
        tab.page.evaluate("fetch('http://127.0.0.1:9/')")
    with pytest.raises(Exception, match="TrustedHTML"):
        tab.page.evaluate("document.body.innerHTML = '<b>x</b>'")
    tab.page.evaluate(
        "document.head.append(Object.assign(document.createElement('style'), {textContent: 'body{opacity:0}'}))"
    )
    assert tab.page.evaluate("getComputedStyle(document.body).opacity") == "1"


def test_pause_and_resume_by_click_show_their_ack(tab: Tab) -> None:
    tab.sign_in()
    tab.page.click("[aria-label='Pause SpreadWatch']")
    assert "pause SpreadWatch accepted" in tab.note()
    tab.page.wait_for_selector("[aria-label='Resume SpreadWatch']")
    assert "paused" in tab.row("Strategies", "SpreadWatch")
    tab.page.click("[aria-label='Resume SpreadWatch']")
    tab.page.wait_for_selector("[aria-label='Pause SpreadWatch']")
    assert "running" in tab.row("Strategies", "SpreadWatch")


def test_halt_asks_for_its_name(tab: Tab) -> None:
    tab.sign_in("#/audit")
    tab.page.click(".halt")
    send = tab.page.locator("dialog button[type=submit]")
    assert send.is_disabled()
    tab.page.fill("dialog input[name=confirm]", "hal")
    assert send.is_disabled()
    tab.page.fill("dialog input[name=reason]", "a test of the button")
    tab.page.fill("dialog input[name=confirm]", "halt")
    tab.wait("!document.querySelector('dialog button[type=submit]').disabled")
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_selector(".head .tag.bad")
    tab.page.click("a[href='#/']")
    tab.wait("document.querySelector('.verdict h1')?.innerText.startsWith('Halted')")
    tab.wait_for_text(".alerts", "a test of the button")
    tab.page.click(".halt")
    tab.page.click("dialog button[type=submit]")
    tab.wait("!document.querySelector('.head .tag.bad')")


@pytest.mark.parametrize(
    ("verb", "title", "fields"),
    [
        ("flatten", "Flatten", {}),
        ("cancel-all", "Cancel all", {}),
        ("drain", "Drain", {}),
        ("halt", "Halt", {}),
        ("stop", "Stop", {"strategy": "SpreadWatch"}),
    ],
)
def test_a_dangerous_command_is_sent_when_its_name_is_typed(
    tab: Tab, verb: str, title: str, fields: dict[str, str]
) -> None:
    tab.sign_in("#/commands")
    tab.page.click(f"main button:text-is('{title}')")
    send = tab.page.locator("dialog button[type=submit]")
    for name, value in fields.items():
        tab.page.select_option(f"dialog [name={name}]", value)
    # Stop asks for what it stops.
    name = fields.get("strategy", verb)
    for text in ("", name[:-1], f"{name}s"):
        tab.page.fill("dialog input[name=confirm]", text)
        assert send.is_disabled(), text
    tab.page.fill("dialog input[name=confirm]", name)
    tab.wait("!document.querySelector('dialog button[type=submit]').disabled")
    tab.page.keyboard.press("Escape")
    tab.wait("document.querySelector('dialog') === null")


def test_a_refusal_says_why(tab: Tab) -> None:
    tab.sign_in("#/commands")
    tab.page.click("main button:text-is('Cancel')")
    tab.page.fill("dialog input[name=order_id]", "none-such")
    tab.page.click("dialog button[type=submit]")
    tab.page.wait_for_selector("dialog .wrong")
    tab.wait_for_text("dialog .wrong", "none-such")
    assert "rejected" in tab.note()


def test_a_strategy_accounts_for_each_tick(tab: Tab) -> None:
    tab.sign_in("#/strategy/Faulty")
    tab.page.wait_for_selector(".terms")
    tab.wait_for_text("section[aria-label=Ticks] header", "all accounted for")
    terms = tab.page.inner_text("section[aria-label=Ticks] .terms")
    assert "3" in re.findall(r"delivered\s+(\S+)", terms)
    tab.page.click("a[href='#/letters']")
    tab.wait("document.querySelectorAll('section[aria-label=\"Dead letters\"] tbody tr').length === 3")
    tab.page.click("tbody tr:first-child a")
    tab.page.wait_for_selector("pre.box")
    tab.wait_for_text("main", "ZeroDivisionError")


def test_an_order_has_a_story(tab: Tab) -> None:
    tab.sign_in("#/orders")
    tab.wait("document.querySelectorAll('section[aria-label=Fills] tbody tr').length > 0")
    tab.page.evaluate("document.querySelector('section[aria-label=Fills] tbody a').click()")
    tab.page.wait_for_selector(".story li")
    story = tab.page.inner_text(".story")
    assert "the ticks that it was decided on" in story
    assert re.search(r"(bought|sold) [\d.,]+ at [\d.,]+", story)
    assert story.index("requested") < story.index("accepted by the broker")


def test_a_table_can_be_sorted_and_taken_as_csv(tab: Tab) -> None:
    tab.sign_in()
    tab.page.wait_for_selector("section[aria-label=Strategies] tbody tr")
    tab.page.click("section[aria-label=Strategies] th button:text-is('Strategy')")
    names = "[...document.querySelectorAll('section[aria-label=Strategies] tbody .name')].map(own => own.innerText)"
    tab.wait(f"JSON.stringify({names}) === JSON.stringify({names}.toSorted())")
    head, *rows = tab.csv("Strategies")
    assert head[:4] == ["Strategy", "State", "Delivered", "Missed"]
    assert sorted(row[0] for row in rows) == ["Faulty", "MeanReversion", "SpreadWatch"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_nothing_is_wider_than_the_screen(
    browser: Any, engine: ServedEngine, size: dict[str, int], scheme: str
) -> None:
    context = browser.new_context(viewport=size, color_scheme=scheme)
    tab = Tab(context, engine).sign_in()
    tab.page.wait_for_selector("section[aria-label=Strategies] tbody tr")
    for view in ("#/", "#/strategy/MeanReversion", "#/market/ETHUSDT.BINANCE", *VIEWS):
        tab.page.goto(engine.url + view)
        tab.page.wait_for_selector("main .panel")
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= size["width"], view
    halt = tab.page.locator(".halt").bounding_box()
    assert halt["x"] + halt["width"] <= size["width"]
    ground = tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (number(ground.split(",")[0]) > 128) == (scheme == "light")
    context.close()


def test_eight_tabs_share_one_stream(context: Any, engine: ServedEngine) -> None:
    first = Tab(context, engine).sign_in()
    first.page.wait_for_selector(".verdict h1")
    # A tab that is opened later is signed in by the first.
    others = [Tab(context, engine).open() for _ in range(7)]
    for tab in others:
        tab.page.wait_for_selector(".verdict h1")
    streams = [url for tab in (first, *others) for url in tab.asked if url.endswith("/v1/stream")]
    assert len(streams) == 1
    first.page.close()
    ticks = "document.querySelector('.facts div:nth-child(2) dd').innerText"
    for tab in others:
        before = tab.page.evaluate(ticks)
        tab.wait(f"{ticks} !== before".replace("before", repr(before)))
        assert tab.problems == []


def test_signing_out_signs_out_every_tab(context: Any, engine: ServedEngine) -> None:
    first, second = Tab(context, engine).sign_in(), Tab(context, engine).open()
    second.page.wait_for_selector(".verdict h1")
    first.page.click("[aria-label='Sign out']")
    second.page.wait_for_selector("input[name=token]")
    assert second.page.evaluate("sessionStorage.length") == 0


def test_a_page_that_is_older_than_its_server_says_so(tab: Tab, engine: ServedEngine) -> None:
    def older(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=re.sub('data-page="[^"]*"', 'data-page="older"', answer.text()))

    tab.page.route(engine.url, older)
    tab.sign_in()
    tab.page.wait_for_selector(".banner.warn")
    tab.wait_for_text(".banner", "older than the engine")
    tab.page.unroute(engine.url)
    tab.page.click(".banner button")
    tab.wait("document.querySelector('.verdict h1') && !document.querySelector('.banner')")


def test_a_view_that_fails_takes_nothing_else_with_it(tab: Tab) -> None:
    broken = "export const auditView = () => { throw new Error('out of ink'); };"
    tab.page.route("**/views/audit.js", lambda own: own.fulfill(content_type="text/javascript", body=broken))
    tab.sign_in("#/audit")
    tab.page.wait_for_selector("main .panel")
    tab.wait_for_text("main [role=alert]", "out of ink")
    tab.page.click(".halt")
    tab.page.wait_for_selector("dialog[open]")
    tab.page.keyboard.press("Escape")
    tab.page.click("a[href='#/']")
    tab.page.wait_for_selector("section[aria-label=Strategies] tbody tr")


def test_a_lost_connection_is_said_and_heals(tmp_path: Path, browser: Any) -> None:
    with ServedEngine(tmp_path) as engine:
        context = browser.new_context(viewport=DESK)
        tab = Tab(context, engine).sign_in()
        tab.page.wait_for_selector(".verdict h1")
        run = tab.page.get_attribute(".engine b", "title")
        engine.kill()
        tab.page.wait_for_selector(".banner")
        tab.wait_for_text(".banner", "stand still since")
        tab.wait_for_text(".verdict h1", "connection is lost")
        # Halt can be asked for all the same, and says that nothing answered.
        tab.page.click(".halt")
        tab.page.fill("dialog input[name=confirm]", "halt")
        tab.page.click("dialog button[type=submit]")
        tab.page.wait_for_selector("dialog .wrong")
        tab.wait_for_text("dialog .wrong", "cannot be reached")
        tab.page.keyboard.press("Escape")
        engine.start()
        tab.wait("!document.querySelector('.banner')")
        tab.wait("document.querySelector('.engine b').title !== run".replace("run", repr(run)))
        context.close()


class BehindWay(NamedTuple):
    """The page of an engine, over a way that can be cut."""

    url: str
    token: str


def test_a_broken_stream_goes_on_where_it_was(tmp_path: Path, context: Any) -> None:
    way = Way()
    with ServedEngine(tmp_path, more=[f'control.http.hosts=["127.0.0.1:{way.port}"]']) as engine:
        way.lead_to(engine.port)
        tab = Tab(context, BehindWay(f"http://127.0.0.1:{way.port}/", engine.token))
        asked: list[dict[str, str]] = []
        tab.page.on("request", lambda own: asked.append(own.headers) if own.url.endswith("/v1/stream") else None)
        tab.sign_in()
        tab.page.wait_for_selector(".verdict h1")
        way.cut()
        while len(asked) < 2:
            tab.page.wait_for_timeout(50)
        tab.wait("!document.querySelector('.banner')")
        way.close()
    assert "last-event-id" not in asked[0]
    # The board of the engine, then the version of its document.
    board, version, *_ = asked[1]["last-event-id"].split(".")
    assert (len(board), version.isdigit()) == (8, True)
    assert {own["authorization"] for own in asked} == {f"Bearer {engine.token}"}


def test_an_end_in_order_is_no_lost_connection(tmp_path: Path, browser: Any) -> None:
    with ServedEngine(tmp_path) as engine:
        context = browser.new_context(viewport=DESK)
        tab = Tab(context, engine).sign_in()
        tab.page.wait_for_selector(".verdict h1")
    tab.wait("document.querySelector('.verdict h1').innerText.startsWith('The run has ended')")
    tab.wait_for_text(".banner", "its last")
    context.close()
