"""The files that ``headrace config new`` writes: every key with its meaning; they run without changes, on paper.

Guarantees: the text loads; a key that is not set is shown with its default; orders are possible within small limits,
on generated quotes, or a venue's live ones, and the simulated broker.
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
GATEWAY_HEAD = """\
A gateway: live public data of a venue, by routes that commands change while it runs, a strategy that only watches, \
and the simulated broker; no key and no account is needed. Written by `headrace config new --gateway`; \
`headrace config check FILE` checks it, `headrace gateway FILE` runs it. \
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
# A section that is there changes what the engine does; it is a comment where it is not set.
OPTIONAL = frozenset(
    {
        *("[runner]", "[gates]", "[audit]", "[gateway]", "[control.http]", "[control.alerts]", "[account.limits]"),
        *('[account.margin."BINANCE_USDM"]', '[account.strategy_limits."STRATEGY"]'),
    }
)
LIVE = {
    **PAPER,
    "[engine]": {"name": '"gateway"', "audit": '"audit/"'},
    "[[feeds]]": {"kind": '"binance"', "venue": '"BINANCE"', "network": '"live"'},
    "[gateway]": {},
    "[[gateway.routes]]": {"type": '"TICKER"', "instruments": f'["{INSTRUMENT}"]'},
}


def template_text(*, gateway: bool = False) -> str:
    """Return the text of a new configuration. gateway : of live data instead of generated quotes."""
    given = LIVE if gateway else PAPER
    parts = [_comment(GATEWAY_HEAD if gateway else HEAD)]
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
        is_idle = (section.startswith("[[") or section in OPTIONAL) and section not in given
        values = given.get(section, {})
        parts += [f"\n#{header}" if is_idle else f"\n{header}", *(_key_lines(key, values.get(key.key)) for key in keys)]
    return "\n".join(parts) + "\n"


def _key_lines(key: ConfigKey, value: str | None) -> str:
    line = f"#{key.key} = {key.default or f'<{key.takes}>'}" if value is None else f"{key.key} = {value}"
    beside = f"{line}  # {key.meaning}"
    return beside if len(beside) <= COLUMNS else f"{_comment(key.meaning)}\n{line}"


def _comment(text: str) -> str:
    return textwrap.fill(text, COLUMNS, initial_indent="# ", subsequent_indent="# ")
