"""What the tests of the command share: a file of strategies."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def counter(tmp_path: Path) -> Path:
    """A file with one strategy for each case that the command line distinguishes."""
    path = tmp_path / "counting.py"
    path.write_text(STRATEGIES)
    return path


STRATEGIES = """
from __future__ import annotations

import decimal
import pathlib

from headrace import Strategy


class Counter(Strategy):
    def __init__(self) -> None:
        self.quotes = 0

    def on_quote(self, bid_price: float, ask_price: float) -> None:
        self.quotes += 1


class Columns(Strategy):
    def on_quotes(self, bid_price, ask_price) -> None:
        pass

    def on_levels(self, price, size) -> None:
        pass


class Typed(Strategy):
    def __init__(
        self,
        count: int,
        share: float = 0.5,
        eager: bool = False,
        name: str = "x",
        *,
        money: decimal.Decimal = decimal.Decimal(0),
    ) -> None:
        pathlib.Path("typed.txt").write_text(repr((count, share, eager, name, money)))

    def on_quote(self, bid_price: float) -> None:
        pass


class Late(Strategy):
    def __init__(self) -> None:
        self.left = 100

    def on_quote(self, bid_price: float) -> None:
        self.left -= 1
        if not self.left:
            raise ValueError("the hundredth quote is one too many")


class Bad(Strategy):
    def on_quote(self, bid_prize: float) -> None:
        pass


class Refuses(Strategy):
    def __init__(self) -> None:
        raise RuntimeError("not today")


class Plain:
    pass


def on_trade(price: float, size: float) -> None:
    pass
"""
