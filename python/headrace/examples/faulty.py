"""Broken on purpose: a strategy that raises does not affect the others.

Run it: ``headrace replay RECORDING --strategy headrace.examples.faulty:Faulty --on-fault quarantine``
"""

from headrace import Strategy


class Faulty(Strategy):
    """Divides by zero whenever the best bid and ask differ by one price step, which happens soon and often."""

    def __init__(self) -> None:
        self.ratios = 0.0

    def on_quote(self, bid_price: float, ask_price: float) -> None:
        """Fail on every tight spread."""
        steps_between = round((ask_price - bid_price) * 100) - 1
        self.ratios += 1.0 / steps_between
