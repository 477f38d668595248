"""One strategy of each handler form, annotated as a user would; `test_typing` checks them, and runs them.

Does not: contain an error that mypy reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from headrace import Dispatcher, GapCause, GapTick, QuoteTick, Strategy, Subscription, Tick, TradeTick


class EachQuote(Strategy):
    """Singular: plain values."""

    subscription: ClassVar[Mapping[str, object]] = {"instruments": "BTCUSDT.*"}

    def __init__(self) -> None:
        self.spread_by_symbol: dict[str, float] = {}

    def on_quote(self, symbol: str, bid_price: float, ask_price: float, *, seq: int) -> None:
        self.spread_by_symbol[symbol] = (ask_price - bid_price) * min(seq, 1)


class RunsOfTrades(Strategy):
    """Plural: columns."""

    def __init__(self) -> None:
        self.notional = 0.0

    def on_trades(self, price: npt.NDArray[np.float64], size: npt.NDArray[np.float64]) -> None:
        self.notional += float(price @ size)


class WholeTick(Strategy):
    """The whole record of any kind; its type has the values of its kind."""

    def __init__(self) -> None:
        self.prices: list[float] = []
        self.kinds: set[str] = set()

    def on_tick(self, tick: Tick) -> None:
        self.kinds.add(tick.kind)
        if isinstance(tick, QuoteTick):
            self.prices.append(tick.bid_price)
        elif isinstance(tick, TradeTick):
            self.prices.append(tick.price)


class WholeTicks(Strategy):
    """The whole records of a run, as a structured array."""

    def __init__(self) -> None:
        self.count = 0

    def on_ticks(self, ticks: npt.NDArray[np.void]) -> None:
        self.count += len(ticks)


class Gaps(Strategy):
    """The number of lost ticks; None where it is unknown."""

    def __init__(self) -> None:
        self.missing: dict[GapCause, int | None] = {}
        self.last: GapTick | None = None

    def on_gap(self, cause: GapCause, missing: int | None, tick: GapTick) -> None:
        self.missing[cause] = missing
        self.last = tick


class Awaiting(Strategy):
    """Async: calls are awaited in order."""

    def __init__(self) -> None:
        self.mids: list[float] = []

    async def on_quote(self, mid: float) -> None:
        self.mids.append(mid)


spreads: list[float] = []


def on_quote(spread: float) -> None:
    """A plain function, known by its name."""
    spreads.append(spread)


def subscribe_all(dispatcher: Dispatcher) -> list[Subscription]:
    """Subscribe all forms; call it inside a running event loop."""
    return [
        dispatcher.subscribe(EachQuote(), overflow="block", batch_max=64),
        dispatcher.subscribe(RunsOfTrades(), name="trades", every=None),
        dispatcher.subscribe(WholeTick(), kinds=["quote", "trade"]),
        dispatcher.subscribe(WholeTicks()),
        dispatcher.subscribe(Gaps(), on_fault="quarantine"),
        dispatcher.subscribe(Awaiting()),
        dispatcher.subscribe(on_quote),
        dispatcher.subscribe(lambda price: spreads.append(price), callback="on_trade"),
    ]
