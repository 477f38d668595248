"""Ours: ``on_quote(bid_price, ask_price)``, sequencer and ring included."""

from __future__ import annotations

import headrace
from benches.fan_out import PerQuote, through_ring
from benches.peers.child import report

report(headrace.__version__, lambda ticks, strategies: through_ring(PerQuote, ticks, strategies))
