"""The hashes of three small runs, on one line: what every Python must agree on.

Run as ``python -m tests.support.hashes``; ``tools/test_pythons.py`` compares what its interpreters print.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import headrace
from headrace import Strategy
from headrace.feeds import CandleFeed, SyntheticFeed
from headrace.market.events import Bar
from tests.support.backtests import Reverting, walk
from tests.support.candles import candles
from tests.support.candles import walk as prices
from tests.support.feeding import BTC


class Alternating(Strategy):
    """Buys and sells in turn, at each bar and at each hundredth quote."""

    bars = ("5m",)

    def __init__(self) -> None:
        self.quotes = 0

    def on_bar(self, bar: Bar) -> None:
        self.trade(bar.instrument)

    def on_quote(self, instrument: str) -> None:
        self.quotes += 1
        if self.quotes % 100 == 0:
            self.trade(instrument)

    def trade(self, instrument: str) -> None:
        held = self.position(instrument).quantity
        if held:
            self.sell(instrument, held, reduce_only=True, tag="out")
        else:
            self.buy(instrument, 0.1)


def hashes() -> Iterator[str]:
    """Yield the hashes of backtests over ticks, over candles and over a recording, and their equity at the end."""
    with TemporaryDirectory() as folder:
        recording = SyntheticFeed("BTCUSDT", frames=5_000, seed=5).write(Path(folder, "session.jsonl.gz"))
        for result in (
            headrace.backtest(Reverting, walk(2_000)),
            headrace.backtest(Alternating, CandleFeed(candles(prices(500)), instrument=BTC)),
            headrace.backtest(Alternating, recording),
        ):
            assert result.fills
            yield from (str(result.audit_hash), str(result.input_hash), str(result.equity_end))


if __name__ == "__main__":
    print(*hashes())
