"""The documents of the control API: each says what the engine says, with exact amounts and times in two forms."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from headrace.app.build import engine_of
from headrace.app.config import load_config
from headrace.commands import Halt
from headrace.engine.service import Service
from tests.support.engines import Recorder, until
from tests.support.feeding import BTC
from tests.support.http_serving import Served, serving

pytestmark = pytest.mark.asyncio

CONFIG = """
[engine]
name = "paper"
state_folder = "state"
[[feeds]]
kind = "synthetic"
options = { symbols = ["BTCUSDT"], frames = 100_000 }
[[strategies]]
use = "headrace.examples.spread_watch:SpreadWatch"
[[control.alerts.sinks]]
name = "hook"
kind = "webhook"
secret_url = "http://127.0.0.1:9/hidden"
"""


def buying(strategy: Recorder) -> None:
    strategy.buy(BTC, "1.5")


def resting(strategy: Recorder) -> None:
    strategy.buy(BTC, 2, price=50)


@asynccontextmanager
async def trading(folder: Path, **options: Any) -> AsyncIterator[Served]:
    """An engine one of whose strategies has bought and has an order that rests."""
    strategies = {"one": Recorder({1: buying, 2: resting}), "two": Recorder()}
    async with serving(folder, strategies=strategies, **options) as served:
        await until(lambda: len(served.engine.orders.orders()) == 2 and bool(served.engine.positions.positions()))
        await until(lambda: served.engine.bus.unfinished == 0)
        yield served


async def pages(served: Served, path: str, limit: int) -> list[Any]:
    """Return the items of a list, read in pages."""
    found: list[Any] = []
    mark = "&" if "?" in path else "?"
    after: str | None = ""
    while after is not None:
        page = (await served.get(f"{path}{mark}limit={limit}{after and f'&after={after}'}")).json
        assert len(page["items"]) <= limit
        found, after = [*found, *page["items"]], page["next"]
    return found


async def test_a_strategy_accounts_for_its_ticks_and_its_orders(tmp_path: Path) -> None:
    async with trading(tmp_path) as served:
        assert [own["name"] for own in (await served.get("/v1/strategies")).json["items"]] == ["one", "two"]
        own = (await served.get("/v1/strategies/one")).json
        ticks = own["ticks"]
        terms = ("delivered", "filtered", "missed", "conflated", "skipped", "pending")
        assert ticks["published"] == sum(ticks[term] for term in terms) > 0
        assert (own["state"], own["orders"]["submitted"], own["orders"]["filled"]) == ("running", 2, 1)
        assert own["open_orders"] == [order.order_id for order in served.engine.orders.orders(open_only=True)]
        names = [row["name"] for row in (await served.get("/v1/subscriptions")).json["items"]]
        assert names == sorted(
            name for each in ("one", "two") for name in served.engine.report().strategies[each].subscriptions
        )
        answer = await served.get("/v1/strategies/ones")
        assert (answer.status, answer.json["nearest"]) == (404, "one")


async def test_amounts_are_exact_texts_and_times_have_two_forms(tmp_path: Path) -> None:
    async with trading(tmp_path) as served:
        [position] = (await served.get("/v1/positions?strategy=one")).json["items"]
        assert (Decimal(position["quantity"]), position["currency"]) == (Decimal("1.5"), "USDT")
        assert isinstance(position["quantity"], str)
        balance = (await served.get("/v1/account")).json["balances"]["USDT"]
        assert Decimal(balance["fees"]) == served.engine.account.balances()["USDT"].fees
        [filled, open_one] = (await served.get("/v1/orders")).json["items"]
        order = served.engine.orders.order(filled["order_id"])
        assert order is not None
        assert (filled["filled"], filled["average_price"]) == (str(order.filled), str(order.average_price))
        assert (Decimal(open_one["price"]), Decimal(open_one["left"])) == (Decimal(50), Decimal(2))
        for own in (filled, open_one):
            for name in ("submitted", "at"):
                text, ns = own[f"{name}_at" if name == "submitted" else name], int(own[f"{name}_ns"])
                assert datetime.fromisoformat(text).timestamp() == pytest.approx(ns / 1e9, abs=1e-3)
        assert (await served.get(f"/v1/orders/{filled['order_id']}")).json == filled


async def test_orders_are_chosen_and_come_in_pages(tmp_path: Path) -> None:
    async with trading(tmp_path) as served:
        whole = (await served.get("/v1/orders")).json["items"]
        assert await pages(served, "/v1/orders", 1) == whole
        [own] = (await served.get("/v1/orders?open_only=true")).json["items"]
        assert own == whole[1]
        assert (await served.get(f"/v1/orders?instrument={BTC}&strategy=two")).json["items"] == []
        for query, field in (("instrument=BTCUSD.BINANCE", "instrument"), ("strategy=on", "strategy")):
            answer = await served.get(f"/v1/orders?{query}")
            assert (answer.status, answer.json["field"]) == (404, field)
        answer = await served.get("/v1/orders?after=none-such")
        assert (answer.status, answer.json["field"]) == (404, "after")


async def test_lanes_and_status_are_those_of_the_engine(tmp_path: Path) -> None:
    async with trading(tmp_path) as served:
        lanes = (await served.get("/v1/lanes")).json["items"]
        assert [(own["lane"], own["capacity"]) for own in lanes] == [
            ("control", 100),
            ("order", 50),
            ("signal", 100),
            ("data", 1_000),
        ]
        status = (await served.get("/v1/status")).json
        assert (status["engine"], status["mode"], status["halted"]) == ("paper", "live", False)
        assert Decimal(status["strategies"]["one"]["positions"][BTC]) == Decimal("1.5")
        assert (await served.get("/v1/routes")).json == {"items": [], "next": None}


async def test_the_audit_is_read_by_its_place_its_type_and_its_text(tmp_path: Path) -> None:
    async with trading(tmp_path, audit=str(tmp_path / "audit.jsonl")) as served:
        await served.command("pause", "k1", strategy="two")
        found = await pages_of_audit(served, "/v1/audit", 2)
        written = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()[1:]]
        # A time in ns is a text: a browser would round the number.
        assert {type(own["ts"]) for own in found} == {str}
        assert [(own["type"], int(own["ts"])) for own in found] == [
            (own["type"], own["ts"]) for own in written[: len(found)]
        ]
        assert "pause" in {own.get("action") for own in found}
        fills = await pages_of_audit(served, "/v1/audit?type=OrderFilled", 5)
        assert [own["type"] for own in fills] == ["OrderFilled"]
        paused = await pages_of_audit(served, "/v1/audit?contains=HTTP:operator%20Pause", 5)
        assert {(own["action"], own["actor"]) for own in paused} == {("pause", "http:operator@127.0.0.1")}
        for place in ("1", "x", "%D9%A3", "9" * 17, "9" * 30, "9" * 5_000):
            answer = await served.get(f"/v1/audit?after={place}")
            assert (answer.status, answer.json["field"]) == (404, "after")


async def pages_of_audit(served: Served, path: str, limit: int) -> list[Any]:
    """Return what an audit has now: its last page is empty, and its cursor waits for more."""
    found: list[Any] = []
    mark = "&" if "?" in path else "?"
    after = ""
    while True:
        page = (await served.get(f"{path}{mark}limit={limit}{after and f'&after={after}'}")).json
        found += page["items"]
        if not page["items"]:
            return found
        after = page["next"]


async def test_an_engine_without_an_audit_file_says_how_to_have_one(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        answer = await served.get("/v1/audit")
        assert (answer.status, answer.json["type"]) == (404, "not-found")
        assert "--audit FILE" in answer.json["detail"]


async def test_ready_names_each_service_that_is_not_well(tmp_path: Path) -> None:
    class Ill(Service):
        name = "ill"
        is_well = False

        async def run(self) -> None:
            await asyncio.Event().wait()

        def health(self) -> str:
            return "ok" if self.is_well else "out of paper"

    ill = Ill()
    async with serving(tmp_path, services=[ill]) as served:
        answer = await served.get("/health/ready")
        assert (answer.status, answer.json["detail"]) == (503, "service ill: out of paper")
        ill.is_well = True
        answer = await served.get("/health/ready")
        assert (answer.status, answer.json) == (200, {"status": "ready", "reasons": []})


async def test_metrics_are_those_of_the_engine(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        assert served.engine.kill_switch is not None
        assert "headrace_halted 0.0" in (await served.get("/metrics")).body.decode()
        await served.engine.commands.submit(Halt("fire"))
        assert "headrace_halted 1.0" in (await served.get("/metrics")).body.decode()


def config_at(port: int, token: str) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/v1/config", headers={"Authorization": f"Bearer {token}"})
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


async def test_one_key_of_the_section_serves_and_secrets_are_masked(tmp_path: Path) -> None:
    file = tmp_path / "engine.toml"
    file.write_text(CONFIG)
    engine = engine_of(load_config(file))
    async with engine:
        assert "http" not in engine.services.health()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    engine = engine_of(load_config(file, overrides=[f"control.http.listen=127.0.0.1:{port}"]))
    async with engine:
        token = (tmp_path / "state" / "http.token").read_text().strip()
        config = await asyncio.to_thread(config_at, port, token)
    assert config["strategies"][0]["use"] == "headrace.examples.spread_watch:SpreadWatch"
    assert config["control"]["alerts"]["sinks"][0]["secret_url"] == "***"
    assert "hidden" not in json.dumps(config)
