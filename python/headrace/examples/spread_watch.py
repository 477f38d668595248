"""One call per tick: three plain values of each quote, and the widest spread of every symbol.

Run it: ``headrace replay RECORDING --strategy headrace.examples.spread_watch:SpreadWatch --param alarm=0.5``
"""

from headrace import Strategy


class SpreadWatch(Strategy):
    """Keeps each symbol's widest spread, and counts the quotes wider than ``alarm``."""

    def __init__(self, alarm: float = 1.0) -> None:
        self.alarm = alarm
        self.alarms = 0
        self.widest: dict[str, float] = {}

    def on_quote(self, symbol: str, bid_price: float, ask_price: float) -> None:
        """Compare one quote."""
        spread = ask_price - bid_price
        if spread > self.widest.get(symbol, 0.0):
            self.widest[symbol] = spread
        if spread > self.alarm:
            self.alarms += 1
