"""What the tests of the whole road share: the real command, and generated recordings."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.feeds import SyntheticFeed

COMMAND = [sys.executable, "-m", "headrace.cli"]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def headrace_run(tmp_path: Path) -> Run:
    """Run the command in a folder of its own; keyword arguments become environment variables, None unsets one."""

    def run(*arguments: str | Path, **environment: str | None) -> subprocess.CompletedProcess[str]:
        # Chosen, so that the command need not start itself again; one test leaves it open.
        variables = {**os.environ, "PYTHONHASHSEED": "0", **environment}
        return subprocess.run(
            [*COMMAND, *map(str, arguments)],
            cwd=tmp_path,
            env={name: value for name, value in variables.items() if value is not None},
            capture_output=True,
            text=True,
            timeout=25,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def spot_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated spot recording of 20,000 frames."""
    return SyntheticFeed(frames=20_000).write(tmp_path_factory.mktemp("recordings") / "spot.gz")


@pytest.fixture(scope="session")
def usdm_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated USD-M recording of 20,000 frames, of the same symbol and time."""
    return SyntheticFeed(venue="BINANCE_USDM", frames=20_000).write(tmp_path_factory.mktemp("recordings") / "usdm.gz")


@pytest.fixture
def counter(tmp_path: Path) -> Path:
    """A strategy file with one of everything that the command line has to tell apart."""
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
