"""A line's pauses between two connections, and where the networks of a venue are."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

import pytest

from headrace.errors import OptionError
from headrace.venues.binance import line
from headrace.venues.binance.line import Line
from headrace.venues.binance.networks import NETWORKS, addresses_of
from headrace.venues.binance.rules import rules_of
from headrace.venues.binance.transport import new_transport
from tests.support.engines import until
from tests.support.web_socket import Server


class Owner:
    """Counts how often its line was down."""

    def __init__(self) -> None:
        self.downs = 0

    def on_frame(self, name: str, message: bytes) -> None: ...

    def before_subscribing(self, line: Line) -> None: ...

    def on_up(self, line: Line, reason: str, *, lost: bool) -> None: ...

    def on_down(self, line: Line, reason: str, detail: str) -> None:
        self.downs += 1

    async def is_quiet(self, line: Line) -> bool:
        return True


@pytest.mark.asyncio
async def test_pauses_between_connections_grow_and_vary_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    first_s, most_s = 0.04, 0.16
    monkeypatch.setattr(line, "BACKOFF_S", first_s)
    monkeypatch.setattr(line, "BACKOFF_MAX_S", most_s)
    connected: list[float] = []

    async def refuse(_socket: Any, _request: Any) -> None:
        connected.append(time.monotonic())

    owner = Owner()
    async with Server(refuse, path="/stream") as url:
        own = Line(rules_of("BINANCE"), url.removesuffix("/stream"), new_transport, owner, quiet_s=10.0)
        own.want(["btcusdt@trade"])
        keeping = asyncio.ensure_future(own.keep())
        await until(lambda: len(connected) > 10)
        keeping.cancel()
        await asyncio.wait({keeping})
    pauses = [later - earlier for earlier, later in itertools.pairwise(connected)]
    for number, pause_s in enumerate(pauses):
        assert pause_s >= 0.5 * min(first_s * 2**number, most_s), (number, pauses)
    # None doubles for ever: ten doublings of the first would be 40 s.
    assert sum(pauses) < 20
    assert len({round(pause_s, 3) for pause_s in pauses[3:]}) > 1, "clients that were cut together come back apart"
    assert owner.downs >= 10


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("venue", ["BINANCE", "BINANCE_USDM", "BINANCE_COINM"])
def test_each_network_has_addresses_of_its_own(network: str, venue: str) -> None:
    own = addresses_of(venue, network, None, None)
    assert (own.ws[:6], own.rest[:8]) == ("wss://", "https://")
    others = [addresses_of(venue, other, None, None) for other in NETWORKS if other != network]
    assert own not in others
    assert not {own.ws, own.rest} & {address for other in others for address in other}
    assert addresses_of(venue, network, "ws://a/", "http://b/") == ("ws://a", "http://b")


def test_an_unknown_network_names_the_nearest() -> None:
    with pytest.raises(OptionError, match=r"testnet"):
        addresses_of("BINANCE", "testnett", None, None)
