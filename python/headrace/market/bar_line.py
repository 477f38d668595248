"""The line that an audit has of the bar of a candle, as what native code fills the numbers into.

::

    {"type":"Bar","source":"","ts": │ts_close│ ,"run_id":"", … ,"first": │number│ … "open": │open│ … }

Guarantees: the text between the numbers is what ``encode_event`` writes.
Does not: write numbers.
"""

from __future__ import annotations

import re

from headrace.market.event_json import encode_event
from headrace.market.events import Bar, Cause

__all__ = ["bar_line"]

# Numbers that stand for the parts of a line, as JSON has them: no name has one in it.
_WHOLE = {"ts_close": 7_310_029_846_915_532_101, "ts_open": 7_310_029_846_915_532_102}
_WHOLE |= {"number": 7_310_029_846_915_532_103, "count": 7_310_029_846_915_532_104}
_PRICES = {"open": 0.731002984691551, "high": 0.731002984691552, "low": 0.731002984691553}
_PRICES |= {"close": 0.731002984691554, "volume": 0.731002984691555}
_NAME_OF = {repr(number).encode(): name for name, number in {**_WHOLE, **_PRICES}.items()} | {
    b'"partial":true': "partial"
}
_PARTS = re.compile(b"|".join(re.escape(text) for text in _NAME_OF))


def bar_line(instrument: str, timeframe: str, price: str) -> tuple[list[tuple[bytes, str]], bytes] | None:
    """Return the line of a stream's bars: literals, each with the name of what comes behind it, and the last literal.

    None: a name has one of our numbers in it.
    """
    ts_close, ts_open, number, count = _WHOLE.values()
    bar = Bar(
        ts=ts_close,
        cause=Cause(instrument, "candle", number, number, ts_close),
        instrument=instrument,
        timeframe=timeframe,
        price=price,
        count=count,
        ts_open=ts_open,
        ts_close=ts_close,
        partial=True,
        open=_PRICES["open"],
        high=_PRICES["high"],
        low=_PRICES["low"],
        close=_PRICES["close"],
        volume=_PRICES["volume"],
    )
    line = encode_event(bar) + b"\n"
    parts, end = [], 0
    for found in _PARTS.finditer(line):
        name = _NAME_OF[found[0]]
        literal = line[end : found.start()] + (b'"partial":' if name == "partial" else b"")
        parts.append((literal, name))
        end = found.end()
    # A time thrice, the number twice, each other part once.
    return (parts, line[end:]) if len(parts) == len(_NAME_OF) + 3 else None
