"""The file that ``headrace config new`` writes: every key with its meaning; the engine runs without changes, on paper.

Guarantees: the text loads; a key that is not set is shown with its default; orders are possible within small limits,
on generated quotes and the simulated broker.
Does not: suggest limits for real money.
"""

from __future__ import annotations

import textwrap
from itertools import groupby

from headrace.app.config.writing import ConfigKey, config_keys

__all__ = ["template_text"]

COLUMNS = 100
HEAD = """\
An engine on paper: generated quotes, a strategy that only watches, the simulated broker. Written by \
`headrace config new`; `headrace config check FILE` checks it, `headrace run FILE` runs it. \
A line like `#key = value` shows the default, or the type in <>: remove the # to set it.\
"""
INSTRUMENT = "BTCUSDT.BINANCE"
# The keys that are set, by section. A missing limit refuses every order that it concerns, so all limits are here.
PAPER = {
    "[engine]": {"name": '"paper"', "audit": '"audit/"'},
    "[[feeds]]": {"kind": '"synthetic"', "options": '{ symbols = ["BTCUSDT"], frames = 100_000 }'},
    "[[strategies]]": {"use": '"headrace.examples.spread_watch:SpreadWatch"'},
    "[broker]": {"use": '"simulated"'},
    "[risk]": {
        "quantity_max": "0.01",
        "notional_max": "1000",
        "price_collar": "0.01",
        "open_orders_max": "10",
        "message_rate_max": "10",
        "stale_after_s": "5",
    },
    '[instruments."SYMBOL.VENUE"]': {"price_tick": "0.01", "lot_size": "0.00001"},
}


def template_text() -> str:
    """Return the text of a new configuration."""
    parts = [_comment(HEAD)]
    seen: dict[tuple[tuple[str, str], ...], str] = {}
    for section, grouped in groupby(config_keys(), key=lambda key: key.section):
        keys = list(grouped)
        shape = tuple((key.key, key.meaning) for key in keys)
        header = section.replace("SYMBOL.VENUE", INSTRUMENT)
        if shape in seen:
            parts.append(f"\n# {header} may have the keys of {seen[shape]}.")
            continue
        seen[shape] = header
        # An item of a list would be incomplete, so its header is a comment.
        is_idle = section.startswith("[[") and section not in PAPER
        parts += [f"\n#{header}" if is_idle else f"\n{header}", *(_key_lines(key) for key in keys)]
    return "\n".join(parts) + "\n"


def _key_lines(key: ConfigKey) -> str:
    value = PAPER.get(key.section, {}).get(key.key)
    line = f"#{key.key} = {key.default or f'<{key.takes}>'}" if value is None else f"{key.key} = {value}"
    beside = f"{line}  # {key.meaning}"
    return beside if len(beside) <= COLUMNS else f"{_comment(key.meaning)}\n{line}"


def _comment(text: str) -> str:
    return textwrap.fill(text, COLUMNS, initial_indent="# ", subsequent_indent="# ")
