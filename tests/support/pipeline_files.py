"""Bars and news in files, as a pipeline takes them."""

from __future__ import annotations

import time
from decimal import Decimal
from pathlib import Path
from typing import Any

from headrace.execution import Bar

MINUTE = 60_000
RSS = """<?xml version="1.0"?><rss version="2.0"><channel><title>t</title>
<item><guid>1</guid><title>AAPL beats estimates, shares surge</title>
<pubDate>Tue, 13 Jan 2026 15:30:00 GMT</pubDate></item>
<item><title>MSFT faces lawsuit</title><description>Shares fall</description></item>
</channel></rss>"""


def bars(count: int, *, step: str = "0.1", volumes: Any = 1_000, start: int = 0) -> list[Bar]:
    found = []
    for number in range(count):
        close = Decimal(100) + number * Decimal(step)
        volume = Decimal(volumes if number < count - 1 else 2_000)
        found.append(Bar(start + (number + 1) * MINUTE, close, close, close, close, volume))
    return found


def bar_file(path: Path, *tickers: str, count: int = 60, step: str = "0.1") -> Path:
    """A CSV file of bars that end now."""
    end = int(time.time() // 60 * 60_000)
    lines = ["ticker,ts,open,high,low,close,volume"]
    for ticker in tickers:
        own = bars(count, step=step, start=end - count * MINUTE)
        lines += [
            f"{ticker},{bar.end_ms}000000,{bar.open},{bar.high},{bar.low},{bar.close},{bar.volume}" for bar in own
        ]
    path.write_text("\n".join(lines) + "\n")
    return path
