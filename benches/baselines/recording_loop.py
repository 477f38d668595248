"""A recording end to end in pure Python: gzip lines, msgspec, a handler call a tick.

Tuned: one thread, no queue, typed decoders, handlers looked up once, values as arguments. It checks nothing, numbers
nothing, and keeps no count but the handlers' own.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Protocol

from benches.baselines.json_decoders import AggTrade, BookTicker, DepthUpdate, Trade, msgspec_routed


class Handlers(Protocol):
    """What is called, and how often it was."""

    count: int

    def on_quote(self, bid_price: float, ask_price: float) -> None: ...
    def on_trade(self, price: float, size: float) -> None: ...
    def on_agg_trade(self, price: float, size: float) -> None: ...
    def on_level(self, price: float, size: float) -> None: ...


def recording_loop(path: Path, handlers: Handlers) -> None:
    """Call the handlers with every tick of a file."""
    on_quote, on_trade, on_level = handlers.on_quote, handlers.on_trade, handlers.on_level
    with gzip.open(path, "rb") as lines:
        for line in lines:
            message = msgspec_routed(line.partition(b" ")[2])
            kind = type(message)
            if kind is BookTicker:
                on_quote(message.b, message.a)
            elif kind is Trade:
                on_trade(message.p, message.q)
            elif kind is AggTrade:
                handlers.on_agg_trade(message.p, message.q)
            else:
                bids, asks = (message.b, message.a) if kind is DepthUpdate else (message.bids, message.asks)
                for price, size in bids:
                    on_level(price, size)
                for price, size in asks:
                    on_level(price, size)
