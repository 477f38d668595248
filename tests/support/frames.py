"""Frames of Binance spot, built by hand, and recordings of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

START = 1_732_970_000_000_000_000
SPOT, BTCUSDT = "BINANCE", "BTCUSDT.BINANCE"

Row = dict[str, object]
Levels = Sequence[tuple[float, float]]
Frame = Row | Sequence[Row]


def quote(number: int, bid: float = 9.0, ask: float = 10.0, symbol: str = "BTCUSDT") -> Row:
    return {"u": number, "s": symbol, "b": str(bid), "B": "5", "a": str(ask), "A": "5"}


def trade(number: int, symbol: str = "BTCUSDT") -> Row:
    ms = START // 1_000_000
    return {"e": "trade", "E": ms, "s": symbol, "t": number, "p": "1.5", "q": "2", "T": ms, "m": True, "M": True}


def depth(first: int, last: int, bids: Levels = (), asks: Levels = (), symbol: str = "BTCUSDT") -> Row:
    ms = START // 1_000_000
    own: Row = {"e": "depthUpdate", "E": ms, "s": symbol, "U": first, "u": last}
    return own | {"b": _texts(bids), "a": _texts(asks)}


def snapshot(last: int, bids: Levels, asks: Levels, symbol: str = "BTCUSDT") -> Row:
    return {"symbol": symbol, "lastUpdateId": last, "bids": _texts(bids), "asks": _texts(asks)}


def mark(symbol: str = "BTCUSDT") -> Row:
    return {"e": "markPriceUpdate", "E": START // 1_000_000, "s": symbol, "p": "9.5", "i": "9.4", "T": 0}


def status(stream: str, state: str, reason: str, *, epoch: int = 1, lost: bool = False) -> Row:
    own: Row = {"e": "headraceStatus", "s": "BTCUSDT", "stream": stream, "state": state}
    return own | {"reason": reason, "epoch": epoch, "lost": lost}


def _texts(levels: Levels) -> list[list[str]]:
    return [[str(price), str(size)] for price, size in levels]


def encoded(frame: Frame) -> bytes:
    return json.dumps(frame, separators=(",", ":")).encode()


def written(folder: Path, frames: Iterable[Frame]) -> Path:
    """A recording of these frames, 1 ms apart."""
    path = folder / "frames.txt"
    with path.open("wb") as file:
        for index, frame in enumerate(frames):
            file.write(b"%d %b\n" % (START + index * 1_000_000, encoded(frame)))
    return path
