"""Addresses of Binance's networks: live, testnet and demo.

Guarantees: a feed names a network or its own addresses, never a host inside its code.
Does not: check that a network answers.

Source: the venue's public documentation, read in November 2026.
"""

from __future__ import annotations

from typing import NamedTuple, TypedDict

from headrace.errors import OptionError
from headrace.market.checks import one_of

__all__ = ["Addresses", "NetworkOptions", "addresses_of"]


class Addresses(NamedTuple):
    """Where one market of one network is. ws : what a route and ``/stream`` follow. rest : what ``/api/v3`` follows."""

    ws: str
    rest: str


class NetworkOptions(TypedDict, total=False):
    """Options that say where a venue is, and the way there, as ``BinanceFeed`` has them."""

    network: str
    url: str | None
    rest_url: str | None
    proxy: str | None
    source_address: str | None


NETWORKS = {
    "live": {
        "BINANCE": Addresses("wss://stream.binance.com:9443", "https://api.binance.com"),
        "BINANCE_USDM": Addresses("wss://fstream.binance.com", "https://fapi.binance.com"),
        "BINANCE_COINM": Addresses("wss://dstream.binance.com", "https://dapi.binance.com"),
    },
    "testnet": {
        "BINANCE": Addresses("wss://stream.testnet.binance.vision", "https://testnet.binance.vision"),
        "BINANCE_USDM": Addresses("wss://fstream.binancefuture.com", "https://testnet.binancefuture.com"),
        "BINANCE_COINM": Addresses("wss://dstream.binancefuture.com", "https://testnet.binancefuture.com"),
    },
    "demo": {
        "BINANCE": Addresses("wss://demo-stream.binance.com", "https://demo-api.binance.com"),
        "BINANCE_USDM": Addresses("wss://demo-fstream.binance.com", "https://demo-fapi.binance.com"),
        "BINANCE_COINM": Addresses("wss://demo-dstream.binance.com", "https://demo-dapi.binance.com"),
    },
}


def addresses_of(venue: str, network: str, url: str | None, rest_url: str | None) -> Addresses:
    """Return a market's addresses; ``url`` and ``rest_url`` replace the network's. Raises OptionError."""
    found = NETWORKS[one_of("network", network, NETWORKS)][venue]
    for option, own, schemes in (("url", url, ("ws://", "wss://")), ("rest_url", rest_url, ("http://", "https://"))):
        if own is not None and not own.startswith(schemes):
            msg = f"{option}={own!r} is not allowed: it begins with {' or '.join(schemes)}"
            raise OptionError(msg, option=option)
    if url is not None and rest_url is None:
        msg = f"url={url!r} has no rest_url: snapshots and instruments come from there; set rest_url, too"
        raise OptionError(msg, option="rest_url")
    return Addresses((url or found.ws).rstrip("/"), (rest_url or found.rest).rstrip("/"))
