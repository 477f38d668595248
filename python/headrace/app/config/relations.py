"""The rules of a configuration that no type of the tree expresses, each beside its form in the JSON schema.

Guarantees: ``config check`` and ``run`` refuse the same; the schema accepts no more, except where a rule compares two
places (names of strategies, files of audit and dispatch log, both kinds of audit, symbols of live feeds and a
gateway), or bounds the digits and the size of an amount of execution.
Does not: check what only the parts know, like the parameters of a class; ``app.check`` makes the parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import headrace._native as _native
from headrace.app.config.form import joined
from headrace.app.config.tree import EngineConfig, FeedSection, InstrumentSection
from headrace.control.alerts.settings import alert_problems
from headrace.control.settings import http_problems
from headrace.dispatch.run_file import is_run_folder
from headrace.errors import ConfigError, OptionError
from headrace.execution.settings import settings_problems
from headrace.market.checks import duration_ns
from headrace.market.instrument import Instrument
from headrace.market.money import AMOUNTS, is_amount

__all__ = ["AMOUNT_SCHEMA", "DECIMAL_SCHEMA", "FREE_SCHEMA", "OF_BINANCE", "SECTION_RULES", "STEPS", "refused"]

# Kinds whose frames a decoder of ours reads.
DECODED = ("recording", "synthetic", "binance")
# Keys that only a live feed of Binance has.
OF_BINANCE = ("symbols", "streams", "network", "url", "rest_url")
INSTRUMENT_NAME = r"[^.\s]+\.[A-Z0-9_]+"
# The keys of an instrument that are amounts above 0.
STEPS = ("price_tick", "lot_size", "size")

_DIGITS = r"([0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)([eE][+-]?[0-9]+)?"
DECIMAL_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "number"},
        {"type": "string", "pattern": rf"^[+-]?({_DIGITS}|[nN][aA][nN]|[iI][nN][fF]([iI][nN][iI][tT][yY])?)$"},
    ]
}
# A value of a free table.
FREE_SCHEMA: dict[str, Any] = {
    "type": ["string", "boolean", "number", "array", "object"],
    "items": {"$ref": "#/$defs/Free"},
    "additionalProperties": {"$ref": "#/$defs/Free"},
}
AMOUNT_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0},
        {"type": "string", "pattern": rf"^[+]?(?=[^eE]*[1-9]){_DIGITS}$"},
    ]
}


def _where(key: str, *values: str) -> dict[str, Any]:
    return {"properties": {key: {"enum": list(values)}}, "required": [key]}


def _has(key: str) -> dict[str, Any]:
    return {"properties": {key: {"not": {"type": "null"}}}, "required": [key]}


# What the schema of a section says beside its keys.
SECTION_RULES: dict[type, dict[str, Any]] = {
    EngineConfig: {
        "properties": {
            "instruments": {
                "propertyNames": {"pattern": f"^{INSTRUMENT_NAME}$"},
                "patternProperties": {
                    r"^(?!.*\.BINANCE_COINM$)": {"if": _where("contract", "inverse"), "then": _has("size")}
                },
            }
        }
    },
    FeedSection: {
        "allOf": [
            {"if": _where("kind", "recording"), "then": _has("path")},
            {"if": _where("kind", "synthetic", "binance"), "then": {"properties": {"path": {"type": "null"}}}},
            {
                "if": _where("kind", "binance"),
                "then": _has("venue"),
                "else": {"properties": {key: {"type": "null"} for key in OF_BINANCE}},
            },
            {"if": _where("kind", *DECODED), "then": {"properties": {"venue": {"enum": [*_native.VENUES, None]}}}},
        ]
    },
}


def refused(config: EngineConfig) -> Iterator[ConfigError]:
    """Yield what the rules refuse."""
    of_parts = (_of_engine, _of_feeds, _of_instruments, _of_gateway, _of_control, _of_execution)
    for path, value, advice in (problem for of_part in of_parts for problem in of_part(config)):
        yield ConfigError(f"{path} is {value!s}: {advice}", path=path)


def _of_engine(config: EngineConfig) -> Iterator[tuple[str, object, str]]:
    """Yield where, the value, and what to write."""
    audit, log = config.engine.audit, config.engine.dispatch_log
    # In a folder, each has a file of its own.
    if audit and log and not is_run_folder(log) and Path(audit).resolve() == Path(log).resolve():
        yield "$.engine.dispatch_log", log, "name another file, since the audit is written to this one"
    if audit and config.audit is not None:
        yield "$.engine.audit", audit, "remove it, or the section [audit], which records events in its place"
    capacity = config.engine.ring_capacity
    if capacity & (capacity - 1):
        low = 1 << capacity.bit_length() - 1
        yield "$.engine.ring_capacity", capacity, f"use a power of two, like {low} or {low * 2}"
    names = [strategy.name for strategy in config.strategies]
    for index, name in enumerate(names):
        if name is not None and name in names[:index]:
            yield f"$.strategies[{index}].name", name, "use a different name for each strategy"


def _of_control(config: EngineConfig) -> Iterator[tuple[str, object, str]]:
    if config.control.http is not None:
        for key, value, advice in http_problems(config.control.http):
            yield f"$.control.http.{key}", value, advice
    if config.control.alerts is not None:
        for key, value, advice in alert_problems(config.control.alerts):
            yield f"$.control.alerts.{key}", value, advice


def _of_execution(config: EngineConfig) -> Iterator[tuple[str, object, str]]:
    for key, value, advice in settings_problems(config.execution):
        yield f"$.execution.{key}", value, advice


def _of_feeds(config: EngineConfig) -> Iterator[tuple[str, object, str]]:
    for index, feed in enumerate(config.feeds):
        path = f"$.feeds[{index}]"
        if feed.kind == "recording" and feed.path is None:
            yield f"{path}.path", "missing", "write the recording's path"
        if feed.kind in ("synthetic", "binance") and feed.path is not None:
            yield f"{path}.path", feed.path, f'remove it, since kind = "{feed.kind}" has no path'
        if feed.kind == "binance":
            if feed.venue is None:
                yield f"{path}.venue", "missing", "write which market, and which symbols"
            if feed.symbols is None and config.gateway is None:
                yield f"{path}.symbols", "missing", "write which symbols, or routes in a section [gateway]"
        else:
            for key in OF_BINANCE:
                if (value := getattr(feed, key)) is not None:
                    yield f"{path}.{key}", value, 'remove it: only kind = "binance" has it'
        if feed.kind in DECODED and feed.venue is not None and feed.venue not in _native.VENUES:
            yield f"{path}.venue", feed.venue, f"use one of {', '.join(_native.VENUES)}"


def _of_instruments(config: EngineConfig) -> Iterator[tuple[str, object, str]]:
    for name, instrument in config.instruments.items():
        path = joined("$.instruments", name)
        if not re.fullmatch(INSTRUMENT_NAME, name):
            yield path, name, 'write SYMBOL.VENUE, in quotes, like [instruments."BTCUSDT.BINANCE"]'
        else:
            yield from _of_instrument(path, name, instrument)


def _of_gateway(config: EngineConfig) -> Iterator[tuple[str, object, str]]:
    if config.gateway is None:
        return
    venues = [feed.venue or "" for feed in config.feeds if feed.kind == "binance"]
    has_others = any(feed.kind not in DECODED for feed in config.feeds)
    for number, route in enumerate(config.gateway.routes):
        for index, name in enumerate(route.instruments):
            if name.rpartition(".")[2] not in venues and not has_others:
                where = f"$.gateway.routes[{number}].instruments[{index}]"
                known = f"there are {', '.join(venues) or 'none'}"
                yield where, name, f'add a feed with kind = "binance" of its venue; {known}'
        if route.throttle is not None:
            try:
                duration_ns("throttle", route.throttle)
            except OptionError:
                yield f"$.gateway.routes[{number}].throttle", route.throttle, 'write a number and a unit, like "250ms"'


def _of_instrument(path: str, name: str, instrument: InstrumentSection) -> Iterator[tuple[str, object, str]]:
    for key in STEPS:
        step = getattr(instrument, key)
        if step is not None and not (step.is_finite() and step > 0 and is_amount(step)):
            yield joined(path, key), step, f"use a number above 0, of {AMOUNTS}"
    if instrument.contract == "inverse" and instrument.size is None and Instrument(name).contract != "inverse":
        yield joined(path, "size"), "missing", "write what one contract is worth in its quote currency"
