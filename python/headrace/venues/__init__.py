"""Venues: one folder for each, and a simulated one that speaks the same protocol and fails on demand.

They are imported at their first use: they need a client library, which the core does not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from headrace.errors import MissingExtraError

if TYPE_CHECKING:
    from headrace.venues.binance.feed import BinanceFeed
    from headrace.venues.binance.health import VenueHealth, measured
    from headrace.venues.binance.listing import listed_at, refusal_of
    from headrace.venues.simulated import Fault, FaultScript, SimulatedVenue

__all__ = [
    "BinanceFeed",
    "Fault",
    "FaultScript",
    "SimulatedVenue",
    "VenueHealth",
    "listed_at",
    "measured",
    "refusal_of",
]

HOMES = {
    "BinanceFeed": "binance.feed",
    **dict.fromkeys(("Fault", "FaultScript", "SimulatedVenue"), "simulated"),
    **dict.fromkeys(("VenueHealth", "measured"), "binance.health"),
    **dict.fromkeys(("listed_at", "refusal_of"), "binance.listing"),
}


def __getattr__(name: str) -> object:
    """Import a venue at its first use."""
    if name in HOMES:
        try:
            return getattr(import_module(f"headrace.venues.{HOMES[name]}"), name)
        except ModuleNotFoundError as error:
            if error.name is not None and error.name.startswith("headrace"):
                raise
            msg = f'{name} needs {error.name}, a library of web clients: pip install "headrace[binance]"'
            raise MissingExtraError(msg) from None
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
