"""A configuration as text: TOML that ``load_config`` reads again, its digest, its JSON schema, the table of its keys.

Guarantees: ``load_config`` of ``config_text(config, secrets=True)`` returns an equal configuration; without
``secrets=True``, values of secret keys are ``***``. Two configurations that differ only in secrets have one digest.
Does not: keep the comments of the file that a configuration came from.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import NamedTuple

import msgspec
from msgspec import inspect

from headrace.app.config.form import BARE_KEY, form_of, is_secret, member
from headrace.app.config.relations import AMOUNT_SCHEMA, DECIMAL_SCHEMA, FREE_SCHEMA, SECTION_RULES, STEPS
from headrace.app.config.tree import EngineConfig, InstrumentSection
from headrace.execution.settings import ExecutionSettings
from headrace.market.forms import fields_of, meanings, type_text
from headrace.trading.margin import Margin
from headrace.trading.risk import TradingLimits

__all__ = [
    "ConfigKey",
    "config_digest",
    "config_keys",
    "config_schema",
    "config_text",
    "masked",
    "toml_value",
]

# What a table of such sections is keyed by, where it is no instrument.
NAMES: dict[type[msgspec.Struct], str] = {Margin: "BINANCE_USDM", TradingLimits: "STRATEGY"}

MASKED = "***"


class ConfigKey(NamedTuple):
    """One key that a file may hold.

    section : the header above it, as it is written. key : its name. takes : its type, in words.
    default : as TOML; empty: none. meaning : its meaning.
    """

    section: str
    key: str
    takes: str
    default: str
    meaning: str


def config_text(config: EngineConfig, *, secrets: bool = False) -> str:
    """Return a configuration as TOML, defaults included.

    secrets : whether to show the values of secret keys (api_key, token, ...); by default they are ``***``.
    """
    return "\n".join(_lines(config, "", secrets=secrets)).lstrip("\n") + "\n"


def config_digest(config: EngineConfig) -> str:
    """Return the SHA-256 of the configuration's text without secrets, which identifies the settings of a run."""
    return hashlib.sha256(config_text(config).encode()).hexdigest()


def _lines(section: msgspec.Struct, path: str, *, secrets: bool) -> Iterator[str]:
    """Write a section: its own keys first, then the sections in it."""
    values = {field.name: getattr(section, field.name) for field in msgspec.structs.fields(section)}
    for key, value in values.items():
        if value not in (None, (), {}) and not _sections_in(key, value):
            yield f"{key} = {_shown(key, value, secrets=secrets)}"
    for key, value in values.items():
        for header, inner in _sections_in(f"{path}.{key}".removeprefix("."), value):
            lines = list(_lines(inner, header.strip("[]"), secrets=secrets))
            # A section without keys needs a header only when no section below it implies the header.
            has_keys = lines and not lines[0].startswith("\n")
            if has_keys or header.startswith("[[") or (not lines and value != _default_of(section, key)):
                yield f"\n{header}"
            yield from lines


def _sections_in(path: str, value: object) -> list[tuple[str, msgspec.Struct]]:
    """Return the sections in a value, each with its header; none for a plain value."""
    if isinstance(value, msgspec.Struct):
        return [(f"[{path}]", value)]
    if isinstance(value, tuple):
        tables = [(f"[[{path}]]", item) for item in value if isinstance(item, msgspec.Struct)]
        return tables if len(tables) == len(value) else []  # A mixed list stands on one line.
    items = value.items() if isinstance(value, Mapping) else ()
    return [(f"[{path}.{_key_text(key)}]", item) for key, item in items if isinstance(item, msgspec.Struct)]


def _default_of(section: msgspec.Struct, key: str) -> object:
    return next(field.default for field in msgspec.structs.fields(section) if field.name == key)


def masked(config: EngineConfig) -> dict[str, object]:
    """Return a configuration as plain tables for a file that others may read: values of secret keys are ``***``."""
    tables = _masked("", msgspec.to_builtins(config, str_keys=True))
    assert isinstance(tables, dict)
    return tables


def _shown(key: str, value: object, *, secrets: bool) -> str:
    return toml_value(value if secrets else _masked(key, value))


def _masked(key: str, value: object) -> object:
    if is_secret(key):
        return MASKED
    if isinstance(value, Mapping):
        return {inner: _masked(inner, item) for inner, item in value.items()}
    return [_masked(key, item) for item in value] if isinstance(value, list | tuple) else value


def toml_value(value: object) -> str:
    """Return a value as TOML writes it on one line."""
    if isinstance(value, msgspec.Struct):
        value = msgspec.structs.asdict(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON's escapes are TOML's, except for one character.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key_text(key)} = {toml_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    return _number_text(value) if isinstance(value, Decimal) else str(value)


def _number_text(value: Decimal) -> str:
    text = str(value).lower()
    return text.removeprefix("s") if "nan" in text else text.replace("infinity", "inf")


def _key_text(key: str) -> str:
    return key if BARE_KEY.fullmatch(key) else toml_value(key)


# The keys


def config_schema() -> dict[str, object]:
    """Return the JSON schema of a configuration, for editors that complete and check TOML and YAML."""
    schema: dict[str, object] = msgspec.json.schema(EngineConfig)
    definitions = schema["$defs"]
    assert isinstance(definitions, dict)
    definitions["Free"] = FREE_SCHEMA
    for section in _sections(form_of(EngineConfig)):
        definition = definitions[section.__name__]
        definition["description"] = (section.__doc__ or "").split("\n\n")[0].strip()
        for key, meaning in meanings(section).items():
            is_step = section is InstrumentSection and key in STEPS
            amounts = AMOUNT_SCHEMA if is_step or section is ExecutionSettings else DECIMAL_SCHEMA
            own = _with_decimals(definition["properties"][key], amounts)
            if own.get("type") == "object" and "additionalProperties" not in own:
                own |= {"additionalProperties": {"$ref": "#/$defs/Free"}}
            definition["properties"][key] = {**own, "description": meaning}
        rules = dict(SECTION_RULES.get(section, {}))
        for key, rule in rules.pop("properties", {}).items():
            definition["properties"][key] |= rule
        definition |= rules
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Headrace engine", **schema}


def _with_decimals(schema: dict[str, object], decimals: dict[str, object]) -> dict[str, object]:
    """Write decimals as numbers, or as texts that are one."""
    if schema.get("format") == "decimal":
        return decimals
    choices = schema.get("anyOf")
    if isinstance(choices, list):
        return {**schema, "anyOf": [_with_decimals(choice, decimals) for choice in choices]}
    return schema


def _sections(form: inspect.Type) -> dict[type[msgspec.Struct], None]:
    """Return every section of the tree, in order, each once."""
    found: dict[type[msgspec.Struct], None] = {}
    if isinstance(form, inspect.StructType):
        found[form.cls] = None
        for inner in fields_of(form).values():
            if section := _section_of(inner):
                found |= _sections(section[0])
    return found


def _section_of(form: inspect.Type) -> tuple[inspect.StructType, str] | None:
    """Return the section type of a value and the pattern of its header; None for a plain type."""
    table, items = member(form, {}), member(form, [])
    if isinstance(items, inspect.VarTupleType) and isinstance(items.item_type, inspect.StructType):
        return items.item_type, "[[{}]]"
    if isinstance(table, inspect.DictType) and isinstance(table.value_type, inspect.StructType):
        return table.value_type, f'[{{}}."{NAMES.get(table.value_type.cls, "SYMBOL.VENUE")}"]'
    return (table, "[{}]") if isinstance(table, inspect.StructType) else None


def config_keys() -> list[ConfigKey]:
    """Return every key that a file may hold, in the order of the tree."""
    root = form_of(EngineConfig)
    assert isinstance(root, inspect.StructType)
    return list(_keys_of(root, ""))


def _keys_of(form: inspect.StructType, header: str) -> Iterator[ConfigKey]:
    meaning_of = meanings(form.cls)
    inner = []
    for field in form.fields:
        if section := _section_of(field.type):
            name = f"{header.strip('[]')}.{field.name}".removeprefix(".")
            inner.append((section[0], section[1].format(name)))
            continue
        default = field.default
        shown = "" if default in (None, (), msgspec.NODEFAULT) else toml_value(default)
        yield ConfigKey(header, field.name, type_text(field.type), shown, meaning_of[field.name])
    for below, title in inner:
        yield from _keys_of(below, title)
