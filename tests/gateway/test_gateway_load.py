"""200 changes of routes under load, with malformed commands among them, by the venue's real limits: from code, and over
HTTP."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec
import pytest

from headrace import Engine, Strategy
from headrace.commands import COMMANDS, Subscribe, Unsubscribe
from headrace.control.http import EngineApi, HttpServer
from headrace.control.settings import HttpSettings
from headrace.feeds import SyntheticFeed
from headrace.gateway import CanonicalType, Gateway
from headrace.venues import BinanceFeed, SimulatedVenue
from tests.support.http_serving import Served

pytestmark = [pytest.mark.asyncio, pytest.mark.alone]

SYMBOLS = [f"COIN{number}USDT" for number in range(30)]
STEADY = "BTCUSDT.BINANCE"
VERBS = {entry.name: entry.verb for entry in COMMANDS.values()}
TYPES = (CanonicalType.TRADE, CanonicalType.TICKER, CanonicalType.AGG_TRADE)
MALFORMED = (
    b"{",
    b"[]",
    {"command": "Subscribe"},
    {"command": "Subscribe", "type": "TRADES", "instruments": [STEADY]},
    {"command": "Unsubscribe", "type": "TRADE", "instruments": ["NONEUSDT.BINANCE"]},
    {"command": "Subscribe", "type": "TRADE", "instruments": ["NONEUSDT.BINANCE"]},
    {"command": "SetFilter", "type": "TRADE", "instrument": STEADY, "filters": [{"path": "", "op": "eq", "value": 1}]},
)


class Steady(Strategy):
    """Counts the trades of the instrument that no command is about."""

    subscription: ClassVar[Mapping[str, object]] = {"instruments": STEADY}

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.lags_ns: list[int] = []

    def on_trade(self, trade_id: int, lag_ns: int) -> None:
        self.ids.append(trade_id)
        self.lags_ns.append(lag_ns)


# Gives a command, and returns whether it was accepted.
Give = Callable[[Any], Awaitable[bool]]


def from_code(engine: Engine) -> Give:
    async def give(command: Any) -> bool:
        ack = await engine.commands.submit(command)
        assert ack.status in ("accepted", "rejected"), ack
        return ack.status == "accepted"

    return give


def over_http(served: Served) -> Give:
    keys = iter(range(1_000_000))

    async def give(command: Any) -> bool:
        if isinstance(command, bytes):
            answer = await served.command("subscribe", f"k{next(keys)}", body=command)
        else:
            fields = msgspec.to_builtins(command)
            answer = await served.command(VERBS[fields.pop("command")], f"k{next(keys)}", **fields)
        assert answer.status in (200, 409, 422), answer
        return answer.status == 200

    return give


@pytest.mark.timeout(60)
@pytest.mark.parametrize("way", ["code", "http"])
async def test_200_changes_under_load_take_effect_within_2_s(
    seed: int, way: Literal["code", "http"], tmp_path: Path
) -> None:
    rng = random.Random(seed)
    feeds = [SyntheticFeed(symbol, frames=200_000, seed=own) for own, symbol in enumerate(["BTCUSDT", *SYMBOLS])]
    async with SimulatedVenue(*feeds, speed=0.3) as venue:
        addresses = venue.addresses["BINANCE"]
        feed = BinanceFeed("BINANCE", [], url=addresses["ws"], rest_url=addresses["rest"])
        strategy = Steady()
        engine = Engine(feeds=[feed], strategies=[strategy])
        gateway = Gateway(engine, [feed], routes=[Subscribe(CanonicalType.TRADE, (STEADY,))])
        server = HttpServer(EngineApi(engine, gateway=gateway), HttpSettings(listen="127.0.0.1:0"), folder=tmp_path)
        if way == "http":
            engine.services.add(server)
        async with engine:
            if way == "http":
                port, token = int(server.url.rpartition(":")[2]), (tmp_path / "http.token").read_text().strip()
                give = over_http(Served(engine, server, token, tmp_path, port))
            else:
                give = from_code(engine)
            waits = await changed(give, rng)
            steady = gateway.table.get(CanonicalType.TRADE, STEADY)
            names = {name for own in venue.subscriptions for name in own}
            assert steady is not None
            assert names == {topic for _, topic in gateway.table.topics}
        within = sum(wait_s <= 2.0 for wait_s in waits)
        assert (len(waits), within >= 190) == (200, True), sorted(waits)[-15:]
        assert strategy.ids == list(range(strategy.ids[0], strategy.ids[0] + len(strategy.ids)))
        assert sorted(strategy.lags_ns)[len(strategy.lags_ns) * 99 // 100] < 1_000_000_000


async def changed(give: Give, rng: random.Random) -> list[float]:
    """Give 200 changes, and 50 malformed commands among them; return how long each change took, s."""
    wanted: set[tuple[CanonicalType, str]] = set()
    waits: list[float] = []
    tasks: list[asyncio.Task[None]] = []

    async def change(command: Any) -> None:
        began = time.monotonic()
        assert await give(command), command
        waits.append(time.monotonic() - began)

    async def refuse(command: Any) -> None:
        assert not await give(command), command

    for number in range(200):
        key = rng.choice(TYPES), f"{rng.choice(SYMBOLS)}.BINANCE"
        if key in wanted:
            wanted.discard(key)
            tasks.append(asyncio.create_task(change(Unsubscribe(key[0], (key[1],)))))
        else:
            wanted.add(key)
            tasks.append(asyncio.create_task(change(Subscribe(key[0], (key[1],)))))
        if number % 4 == 0:
            tasks.append(asyncio.create_task(refuse(rng.choice(MALFORMED))))
        await asyncio.sleep(0.02)
    await asyncio.gather(*tasks)
    return waits
