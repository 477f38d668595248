"""Frames to Python objects with float prices, by msgspec, orjson and json.

Tuned. msgspec: typed Structs without garbage-collection tracking, texts turned into floats while decoding, the envelope
first with its data left raw, then the decoder that its stream names: what a feed of mixed types has to do. orjson and
json: parse all, take the fields, make a ``__slots__`` object. None of them checks a number, a chain or a duplicate.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import msgspec
import orjson

Level: TypeAlias = "tuple[float, float]"


class BookTicker(msgspec.Struct, gc=False):
    s: str
    u: int
    b: float
    B: float
    a: float
    A: float


class Trade(msgspec.Struct, gc=False):
    s: str
    t: int
    p: float
    q: float
    T: int
    m: bool


class AggTrade(msgspec.Struct, gc=False):
    s: str
    a: int
    p: float
    q: float
    f: int
    l: int  # noqa: E741 - the venue's key
    T: int
    m: bool


class DepthUpdate(msgspec.Struct):
    s: str
    E: int
    U: int
    u: int
    b: list[Level]
    a: list[Level]
    pu: int | None = None


class Snapshot(msgspec.Struct):
    lastUpdateId: int  # noqa: N815 - the venue's key
    bids: list[Level]
    asks: list[Level]


class Envelope(msgspec.Struct):
    stream: str = ""
    data: msgspec.Raw = msgspec.Raw(b"")


STRUCTS: dict[str, type] = {
    "bookTicker": BookTicker,
    "trade": Trade,
    "aggTrade": AggTrade,
    "depthUpdate": DepthUpdate,
    "snapshot": Snapshot,
}
STREAMS = {"bookTicker": "bookTicker", "trade": "trade", "aggTrade": "aggTrade", "depth": "depthUpdate"}

_envelope = msgspec.json.Decoder(Envelope).decode
_typed: dict[str, Callable[[bytes | msgspec.Raw], Any]] = {
    name: msgspec.json.Decoder(struct, strict=False).decode for name, struct in STRUCTS.items()
}
_snapshot = _typed["snapshot"]
# By what follows the @, up to the next one: btcusdt@depth@100ms.
_by_stream = {stream: _typed[name] for stream, name in STREAMS.items()}


def msgspec_routed(frame: bytes) -> Any:
    """A typed object of a frame of any type."""
    envelope = _envelope(frame)
    if not envelope.stream:
        return _snapshot(frame)
    return _by_stream[envelope.stream.split("@", 2)[1]](envelope.data)


class Decoded:
    """What orjson and json end in."""

    __slots__ = ("fields", "symbol")

    def __init__(self, symbol: str, fields: tuple) -> None:
        self.symbol = symbol
        self.fields = fields


def _levels(levels: list[list[str]]) -> list[Level]:
    return [(float(price), float(size)) for price, size in levels]


def _from(loads: Callable[[bytes], Any]) -> Callable[[bytes], Decoded]:
    def decode(frame: bytes) -> Decoded:
        message = loads(frame)
        data = message.get("data")
        if data is None:
            return Decoded("", (message["lastUpdateId"], _levels(message["bids"]), _levels(message["asks"])))
        kind = data.get("e")
        if kind == "depthUpdate":
            return Decoded(data["s"], (data["E"], data["U"], data["u"], _levels(data["b"]), _levels(data["a"])))
        if kind == "trade":
            return Decoded(data["s"], (data["t"], float(data["p"]), float(data["q"]), data["T"], data["m"]))
        if kind == "aggTrade":
            ids = (data["a"], data["f"], data["l"])
            return Decoded(data["s"], (*ids, float(data["p"]), float(data["q"]), data["T"], data["m"]))
        best = (float(data["b"]), float(data["B"]), float(data["a"]), float(data["A"]))
        return Decoded(data["s"], (data["u"], *best))

    return decode


DECODERS: dict[str, Callable[[bytes], Any]] = {
    "msgspec": msgspec_routed,
    "orjson": _from(orjson.loads),
    "json": _from(json.loads),
}


class PlainTick(NamedTuple):
    """A tick of a decoded frame: the kind and its first two values."""

    kind: str
    first: float
    second: float


def ticks_of(message: Any) -> Iterator[PlainTick]:
    """The ticks of a frame that msgspec decoded, in the order in which ours come."""
    if isinstance(message, BookTicker):
        yield PlainTick("quote", message.b, message.a)
    elif isinstance(message, Trade | AggTrade):
        yield PlainTick("trade" if isinstance(message, Trade) else "agg_trade", message.p, message.q)
    else:
        is_update = isinstance(message, DepthUpdate)
        for side in (message.b, message.a) if is_update else (message.bids, message.asks):
            for price, size in side:
                yield PlainTick("level", price, size)
