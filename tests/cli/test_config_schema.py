"""The JSON schema and ``config check`` agree: what one accepts, the other does."""

from __future__ import annotations

import copy
import json
import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.app.config import EngineConfig, config_schema, logged_config
from headrace.app.config.form import form_of
from headrace.app.config.overrides import overrides_of, placed
from headrace.errors import ConfigError
from tests.field.test_config_check import ACCEPTED, CONFIG, REFUSED
from tests.support.json_schema import fits

SCHEMA = json.loads(json.dumps(config_schema()))
# Rules between two places, or of the size of a decimal, which no schema expresses.
BETWEEN = (
    *(
        "use a different name for each strategy",
        "since the audit is written",
        "which records events in its place",
        "or routes in a section [gateway]",
    ),
    "it is a part of the whole",
)
BASE = tomllib.loads(
    CONFIG
    + """
    contract = "spot"
    limits = { quantity_max = 1.5, open_orders_max = 3 }
    [instruments."ETHUSD_PERP.BINANCE_COINM"]
    contract = "inverse"
    [instruments."ETHUSD.OTHER"]
    contract = "inverse"
    size = 10
    price_tick = 0.5
    lot_size = 1
    settles = "ETH"
    [[services]]
    use = "own:Service"
    restart = "never"
    [lanes.order]
    capacity = 5
    full = "refuse"
    max_attempts = 1
    growth_max = 2
    [commands]
    workers = 2
    timeout_s = 1
    rate_max = 3.5
    [telemetry]
    prometheus_port = 0
    prometheus_host = "::1"
    [kill_switch]
    signal = true
    """
)
BASE["engine"] |= {"run_id": "r", "audit": "a/", "ring_capacity": 64, "slice_ns": 5, "wait": "spin", "late": "drop"}
BASE["feeds"] += [{"kind": "synthetic", "venue": "BINANCE"}, {"kind": "own:Feed", "path": "p", "options": {"a": 1}}]
BASE["feeds"] += [{"kind": "binance", "venue": "BINANCE", "symbols": ["BTCUSDT"], "network": "demo"}]
BASE["strategies"][0] |= {
    "bars": ["1m", {"timeframe": "100t", "price": "mid", "empty": False}],
    "subscription": {"batch_max": 5, "overflow": "block", "every": "1s", "instruments": ["*"], "rate_limit": 2.5},
    "parameters": {"deep": {"er": [1, "x"]}},
}
BASE["risk"] |= {"price_collar": 0.1, "message_rate_max": 5, "stale_after_s": 0.5}
# No 2.0: JSON does not distinguish it from 2, which check does.
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 64, 65, 65_536, 10**12, 10**12 + 1, 2**62, 0.5, -0.5, 1e12 + 0.5, 1e13 + 0.5),
    *("", "x", "a b", "a:B", "a:B\n", "paper", "paper\n", "recording", "synthetic", "BINANCE", "NOWHERE", "1m", "1x"),
    *("0.1", "+1", "-1", "nan", "inf", "1e5", "1_0", "abc", "a\0b", "inverse", "linear", "mid", "never", "drop", "0s"),
    *([], [1], ["*"], ["1m"], {}, {"a": 1}, {"timeframe": "1m"}, [{"kind": "synthetic"}], [{"use": "a:B"}]),
)
KEYS = ("path", "size", "venue", "contract", "name", "timeframe", "unknown", "BTC.BINANCE", "btc", "X.OTHER", "use")
Place = tuple[Any, ...]


def places(value: Any, path: Place = ()) -> list[Place]:
    """Every place in a document, and places where a key could be."""
    inner: list[Place] = []
    if isinstance(value, dict):
        inner = [place for key, item in value.items() for place in places(item, (*path, key))]
        inner += [(*path, key) for key in KEYS if key not in value]
    elif isinstance(value, list):
        inner = [place for index, item in enumerate(value) for place in places(item, (*path, index))]
    return [path, *inner] if path else inner


def put(node: Any, place: Place, value: Any) -> None:
    """Put a value at a place, where an earlier change has left one."""
    key, *rest = place
    is_there = key in node if isinstance(node, dict) else isinstance(node, list) and key in range(len(node))
    if rest and is_there:
        put(node[key], tuple(rest), value)
    elif not rest and (is_there or isinstance(node, dict)):
        node[key] = copy.deepcopy(value)


def is_accepted(document: dict[str, Any]) -> bool | None:
    """Whether a configuration is read without a fault; None where two places disagree."""
    try:
        logged_config(copy.deepcopy(document), "test")
    except ConfigError as error:
        return None if any(text in str(error) for text in BETWEEN) else False
    return True


def test_the_document_that_is_changed_is_right() -> None:
    assert is_accepted(BASE)
    assert fits(BASE, SCHEMA, SCHEMA)


@given(changes=st.lists(st.tuples(st.sampled_from(places(BASE)), st.sampled_from(VALUES)), min_size=1, max_size=2))
@settings(max_examples=400)
def test_the_schema_accepts_what_check_accepts(changes: list[tuple[Place, Any]]) -> None:
    document = copy.deepcopy(BASE)
    for place, value in changes:
        put(document, place, value)
    expected = is_accepted(document)
    assert expected is None or fits(document, SCHEMA, SCHEMA) == expected


@pytest.mark.parametrize("override", [*REFUSED, *ACCEPTED])
def test_every_value_of_the_check_is_judged_alike(override: str) -> None:
    document = tomllib.loads(CONFIG)
    try:
        for own in overrides_of({}, [override]):
            placed(document, form_of(EngineConfig), own)
    except ConfigError:
        return
    expected = is_accepted(document)
    assert expected is None or fits(document, SCHEMA, SCHEMA) == expected
