"""Columns: NumPy arrays of a whole batch, and the sums of aggressive buying and selling.

Run it: ``headrace replay RECORDING --strategy headrace.examples.trade_flow:TradeFlow``
"""

import numpy as np

from headrace import Strategy


class TradeFlow(Strategy):
    """Sums what aggressive buyers and sellers traded, in the quote currency, over all instruments."""

    def __init__(self) -> None:
        self.trades = 0
        self.bought = 0.0
        self.sold = 0.0

    def on_trades(self, notional: np.ndarray, aggressor_side: np.ndarray) -> None:
        """Add up one batch."""
        bought = aggressor_side > 0
        self.trades += len(notional)
        self.bought += float(notional[bought].sum())
        self.sold += float(notional[~bought].sum())
