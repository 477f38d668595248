"""The page of a gateway: routes by click, confirmed by the venue, and an event that is given to the bus again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytest

from headrace import Engine, Strategy
from headrace.commands import Subscribe
from headrace.control.http import EngineApi, HttpServer
from headrace.control.settings import HttpSettings
from headrace.feeds import SyntheticFeed
from headrace.gateway import CanonicalType, Gateway
from headrace.market.events import Signal
from headrace.venues import BinanceFeed, SimulatedVenue
from tests.support.dashboard import Tab

# A venue, a browser, and a machine that may be busy.
pytestmark = pytest.mark.timeout(240)
BTC, ETH = "BTCUSDT.BINANCE", "ETHUSDT.BINANCE"
ROWS = "document.querySelectorAll(\"section[aria-label='{}'] tbody tr\").length"


class Signaling(Strategy):
    """Publishes one signal, of its first trade."""

    subscription: ClassVar[dict[str, object]] = {"instruments": BTC}
    has_signaled = False

    def on_trade(self, instrument: str) -> None:
        if not self.has_signaled:
            self.has_signaled = True
            self.signal(instrument, 1)


class Served(NamedTuple):
    """An engine with a gateway, on a thread of its own. refused : signals that its subscriber would not take."""

    url: str
    token: str
    venue: SimulatedVenue
    gateway: Gateway
    taken: list[Signal]


async def served(folder: Path, ready: Any, found: list[Served], over: list[Any]) -> None:
    feeds = [SyntheticFeed(symbol, frames=200_000) for symbol in ("BTCUSDT", "ETHUSDT")]
    async with SimulatedVenue(*feeds, speed=0.3) as venue:
        addresses = venue.addresses["BINANCE"]
        feed = BinanceFeed("BINANCE", [], url=addresses["ws"], rest_url=addresses["rest"])
        engine = Engine(feeds=[feed], strategies=[Signaling()], name="gate", state_folder=str(folder))
        gateway = Gateway(engine, [feed], routes=[Subscribe(CanonicalType.TRADE, (BTC,))])
        server = HttpServer(EngineApi(engine, gateway=gateway), HttpSettings(listen="127.0.0.1:0"), folder=folder)
        engine.services.add(server)
        taken: list[Signal] = []

        def take(signal: Signal) -> None:
            taken.append(signal)
            if len(taken) == 1:
                msg = "not yet"
                raise ValueError(msg)

        engine.bus.subscribe(Signal, take, name="taker")
        async with engine:
            token = (folder / "http.token").read_text().strip()
            stop = asyncio.Event()
            over += [asyncio.get_running_loop(), stop]
            found.append(Served(f"{server.url}/", token, venue, gateway, taken))
            ready.set()
            await stop.wait()


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("gate")
    ready, found, over = threading.Event(), list[Served](), list[Any]()
    thread = threading.Thread(target=lambda: asyncio.run(served(folder, ready, found, over)), daemon=True)
    thread.start()
    assert ready.wait(30)
    yield found[0]
    loop, stop = over
    loop.call_soon_threadsafe(stop.set)
    thread.join(30)
    assert not thread.is_alive()


def submit(tab: Tab, **fields: str) -> str:
    """Fill the fields of an open dialog, send it, and return what is said of the answer."""
    for name, value in fields.items():
        field = tab.page.locator(f"dialog [name={name}]")
        if field.evaluate("own => own.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)
    tab.page.click("dialog button[type=submit]")
    tab.wait("document.querySelector('dialog') === null")
    return tab.note()


def test_a_route_is_made_filtered_and_removed_by_click(context: Any, gate: Served) -> None:
    tab = Tab(context, gate).sign_in("#/routes")
    tab.wait(f"{ROWS.format('Routes')} === 1")
    tab.page.click("section[aria-label=Routes] button:text-is('Subscribe')")
    assert "subscribe accepted" in submit(tab, type="TRADE", instruments=ETH)
    tab.wait(f"{ROWS.format('Routes')} === 2")
    assert {"btcusdt@trade", "ethusdt@trade"} <= {name for own in gate.venue.subscriptions for name in own}
    tab.wait("document.querySelectorAll(\"section[aria-label='Streams'] tbody tr\").length >= 2")
    tab.wait_for_text("section[aria-label=Streams] tbody", "up")
    row = tab.page.locator("section[aria-label=Routes] tbody tr", has_text=ETH)
    row.locator("button:text-is('Filter')").click()
    rules = '[{"path": "price", "op": "eq", "value": 0}]'
    assert "set-filter ETHUSDT.BINANCE accepted" in submit(tab, filters=rules)
    tab.wait("document.querySelector('section[aria-label=Routes]').innerText.includes('price eq 0')")
    row.locator("button:text-is('Unsubscribe')").click()
    assert "unsubscribe accepted" in submit(tab)
    tab.wait(f"{ROWS.format('Routes')} === 1")
    assert tab.problems == []


def test_an_event_that_failed_is_redriven_by_click(context: Any, gate: Served) -> None:
    tab = Tab(context, gate).sign_in("#/letters")
    tab.wait(f"{ROWS.format('Dead letters')} === 1")
    tab.wait_for_text("section[aria-label='Dead letters'] tbody", "not yet")
    tab.page.click("section[aria-label='Dead letters'] tbody button:text-is('Redrive')")
    assert "redrive 1 accepted" in tab.note()
    assert len(gate.taken) == 2
    assert gate.taken[0] == gate.taken[1]
    # Once.
    tab.page.click("section[aria-label='Dead letters'] tbody button:text-is('Redrive')")
    tab.page.wait_for_selector(".note:nth-child(2)")
    assert "redrive 1 rejected" in tab.note()
