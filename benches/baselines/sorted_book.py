"""A book as Python has it: msgspec reads the frame, a SortedDict holds each side."""

from __future__ import annotations

from typing import Any

import msgspec
from sortedcontainers import SortedDict

__all__ = ["SortedBook"]


class SortedBook:
    """Levels by price; ``frame`` returns the best bid and ask."""

    def __init__(self) -> None:
        self.bids: Any = SortedDict()
        self.asks: Any = SortedDict()
        self.last = 0

    def frame(self, message: bytes) -> tuple[float, float]:
        """Apply a snapshot, or a depth event that continues the book."""
        root = msgspec.json.decode(message)
        data = root.get("data", root)
        if "lastUpdateId" in data:
            self.last = data["lastUpdateId"]
            self._set(data["bids"], data["asks"])
        elif data["u"] > self.last:
            assert data["U"] <= self.last + 1
            self.last = data["u"]
            self._set(data["b"], data["a"])
        return self.bids.peekitem(-1)[0], self.asks.peekitem(0)[0]

    def _set(self, bids: list[list[str]], asks: list[list[str]]) -> None:
        for side, levels in ((self.bids, bids), (self.asks, asks)):
            for price, size in levels:
                if (quantity := float(size)) == 0.0:
                    side.pop(float(price), None)
                else:
                    side[float(price)] = quantity
