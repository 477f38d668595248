"""Read an EngineConfig from a file, the environment and overrides.

::

    defaults  <  FILE (.toml, .yaml)  <  HEADRACE__SECTION__KEY  <  --set section.key=value

Guarantees: every wrong key or value is a ConfigError with its source and its path; secrets stay out of messages, which
name keys and types, and no value of a free table.
Does not: import what ``use`` names, or check that a recording exists (``headrace config check`` does).
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import msgspec
from msgspec import inspect

from headrace.app.config.form import MISSING, anchored, form_at, form_of, items_of, joined, member, unknown_key
from headrace.app.config.tree import EngineConfig, InstrumentSection
from headrace.errors import ConfigError, MissingExtraError
from headrace.market.forms import Form, fields_of, type_text
from headrace.market.wording import counted

__all__ = ["Reading", "load_config", "read_config"]

ENVIRONMENT = "HEADRACE__"
# The content of a file, not checked yet.
Tree: TypeAlias = dict[str, Any]


class _Override(NamedTuple):
    """One value from outside the file: its source, the keys of its place, and its text."""

    origin: str
    keys: list[str]
    text: str
    ignores_case: bool


class Reading(NamedTuple):
    """What was read. config : without what is wrong. problems : everything that is."""

    config: EngineConfig
    problems: tuple[ConfigError, ...]


def load_config(
    path: str | os.PathLike[str] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    overrides: Iterable[str] = (),
) -> EngineConfig:
    """Read a configuration: the file, then the environment, then the overrides; a later value replaces an earlier one.

    path : a .toml, .yaml or .yml file; None: defaults alone. Paths in it are relative to its folder.
    environment : variables like ``HEADRACE__SECTION__KEY``; by default the process's own. Items of a list have numbers,
        from 0: ``HEADRACE__FEEDS__0__PATH``.
    overrides : texts ``section.key=value``; the value is read as TOML, or else as plain text. A key with dots stands in
        quotes: ``instruments."BTCUSDT.BINANCE".price_tick=0.01``.

    Raises ConfigError for the first thing that is wrong, and MissingExtraError for YAML without PyYAML.
    """
    config, problems = read_config(path, environment=environment, overrides=overrides)
    if problems:
        raise problems[0]
    return config


def read_config(
    path: str | os.PathLike[str] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    overrides: Iterable[str] = (),
) -> Reading:
    """Read a configuration as ``load_config`` does, and return everything that is wrong in it.

    Raises ConfigError (the file cannot be read at all) and MissingExtraError.
    """
    root = form_of(EngineConfig)
    # The source of each path; other paths come from the file.
    origins: dict[str, str] = {}
    where = "the defaults" if path is None else str(path)
    found: list[ConfigError] = []
    tree: Tree = {}
    try:
        if path is not None:
            tree = _table(anchored(_parsed(Path(path)), root, "$", Path(path).parent, found))
        variables = os.environ if environment is None else environment
        for override in [*_from_environment(variables), *_parsed_all(overrides)]:
            try:
                origins[_placed(tree, root, override)] = override.origin
            except ConfigError as error:
                found.append(error)
    except ConfigError as error:
        raise _from(error, origins, where) from None
    config = _converted(_table(anchored(tree, root, "$", None, found)), found)
    return Reading(config, tuple(_from(error, origins, where) for error in found))


def _from(error: ConfigError, origins: Mapping[str, str], file: str) -> ConfigError:
    """Return an error with the source of what is wrong before its text."""
    origin = getattr(error, "origin", None) or _origin(error.path, origins) or file
    return ConfigError(f"{origin}: {error}", path=error.path)


def _origin(path: str, origins: Mapping[str, str]) -> str | None:
    """Return the source of the value at a path; None: the file."""
    inside = [known for known in origins if path == known or _is_below(path, known) or _is_below(known, path)]
    return origins[max(inside, key=len)] if inside else None


def _table(document: object) -> Tree:
    if not isinstance(document, dict):
        raise ConfigError("the file holds no table: write [engine] and its keys below it", path="$")
    return document


def _is_below(path: str, above: str) -> bool:
    return path.startswith((f"{above}.", f"{above}["))


# The file


def _parsed(path: Path) -> object:
    readers = {".toml": _toml, ".yaml": _yaml, ".yml": _yaml}
    reader = readers.get(path.suffix)
    if reader is None:
        raise ConfigError(f"a configuration's name ends in {' or '.join(readers)}: rename the file", path="$")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        advice = "headrace config new FILE writes one"
        raise ConfigError(f"the file cannot be read: {error.strerror}; {advice}", path="$") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"byte {error.start} is no UTF-8: save the file as UTF-8", path="$") from error
    return reader(text)


def _toml(text: str) -> object:
    try:
        return tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"this is no TOML: {error}", path="$") from error


def _yaml(text: str) -> object:
    try:
        import yaml  # type: ignore[import-untyped]  # an extra
    except ImportError:
        msg = 'a YAML configuration needs PyYAML: pip install "headrace[yaml]"'
        raise MissingExtraError(msg) from None

    try:
        _refuse_twice(yaml.compose(text, yaml.SafeLoader))
        return yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"this is no YAML: {' '.join(str(error).split())}", path="$") from error


def _refuse_twice(node: Any) -> None:
    """Refuse a key that a table has twice, which YAML allows. Takes a node of PyYAML's tree, or None."""
    if isinstance(getattr(node, "value", None), list):
        pairs = [item for item in node.value if isinstance(item, tuple)]
        keys = [key.value for key, _ in pairs]
        if twice := [key for key, _ in pairs if keys.count(key.value) > 1]:
            place = f"line {twice[1].start_mark.line + 1}"
            raise ConfigError(f"{place} has the key {twice[1].value!r} a second time: keep one", path="$")
        for inner in [value for _, value in pairs] or node.value:
            _refuse_twice(inner)


# From outside the file


def _from_environment(environment: Mapping[str, str]) -> Iterator[_Override]:
    # Sorted, so that the order of the environment has no effect; items of a list are sorted by their numbers.
    for name in sorted(environment, key=_natural):
        prefix = ENVIRONMENT.removesuffix("_")
        if name.startswith(prefix) and not name.startswith(ENVIRONMENT) and "__" in name:
            msg = f"{name} sets nothing (did you mean {ENVIRONMENT}{name.removeprefix(prefix)}?)"
            raise ConfigError(msg, path="$", origin="the environment")
        if name.startswith(ENVIRONMENT):
            keys = name.removeprefix(ENVIRONMENT).split("__")
            if not all(keys):
                msg = f"{name} holds no key: write {ENVIRONMENT}SECTION__KEY"
                raise ConfigError(msg, path="$", origin="the environment")
            yield _Override(name, keys, environment[name], ignores_case=True)


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in name.split("__")]


def _parsed_all(overrides: Iterable[str]) -> Iterator[_Override]:
    for text in overrides:
        key, equals, value = text.partition("=")
        # A quoted key may contain "=": split at the first "=" outside quotes.
        while equals and key.count('"') % 2:
            more, equals, value = value.partition("=")
            key = f"{key}={more}"
        keys = _keys(key) if equals else None
        if keys is None:
            msg = "this sets nothing: write section.key=value"
            raise ConfigError(msg, path="$", origin=f"--set {key}".rstrip())
        yield _Override(f"--set {key.strip()}", keys, value.strip(), ignores_case=False)


def _keys(text: str) -> list[str] | None:
    """Split a dotted key as TOML does; None: the text is no key."""
    try:
        node = tomllib.loads(f"{text} = 0")
    except tomllib.TOMLDecodeError:
        return None
    keys = []
    inner: object = node
    while isinstance(inner, dict):
        if len(inner) != 1:
            return None
        ((key, inner),) = inner.items()
        keys.append(key)
    return keys


def _placed(tree: Tree, form: Form, override: _Override) -> str:
    """Put a value into the tree, with the tables and lists above it, and return its path."""
    node: Any = tree  # a table or a list of the tree
    path = "$"
    for depth, text in enumerate(override.keys, 1):
        here = member(form, node)
        key: Any  # a number in a list, a text in a table
        if isinstance(node, list):
            key = _index(text, node, path, override.origin)
            form = items_of(here)
        else:
            key = _key(text, node, here, override)
            known = fields_of(here)
            if known and key not in known:
                raise unknown_key(path, key, known, origin=override.origin)
            form = known.get(key) or items_of(here)
        path = joined(path, key)
        if depth == len(override.keys):
            node[key] = _value(override.text, form)
            return path
        below = node[key] if isinstance(node, list) else node.get(key)
        if not isinstance(below, dict | list):
            is_list = isinstance(member(form, []), inspect.VarTupleType) and override.keys[depth].isdecimal()
            below = node[key] = [] if is_list else {}
        node = below
    return path


def _index(text: str, items: list[Any], path: str, origin: str) -> int:
    if not text.isdecimal() or int(text) > len(items):
        held = counted(len(items), "item")
        msg = f"{path} has {held}, and {text!r} is none of them: use a number from 0 to {len(items)}"
        raise ConfigError(msg, path=path, origin=origin)
    if int(text) == len(items):
        items.append(None)
    return int(text)


def _key(text: str, node: Mapping[str, object], form: Form, override: _Override) -> str:
    """Return a key as it is written in the tree; names in the environment are often all capitals."""
    if not override.ignores_case:
        return text
    if alike := [key for key in node if key.lower() == text.lower()]:
        return alike[0]
    is_name = isinstance(form, inspect.DictType) and isinstance(member(form.value_type, {}), inspect.StructType)
    return text if is_name else text.lower()


def _value(text: str, form: Form) -> object:
    """Read a value as TOML does, unless only a text is allowed here."""
    parsed = _toml_value(text)
    choices = {type(member(choice, None)) for choice in getattr(form, "types", (form,))}
    if isinstance(parsed, str | list | dict) or inspect.AnyType in choices:
        return parsed
    takes: dict[type, tuple[type, ...]] = {
        inspect.BoolType: (bool,),
        inspect.IntType: (int,),
        inspect.FloatType: (int, float),
    }
    return parsed if any(isinstance(parsed, takes[kind]) for kind in choices & takes.keys()) else text


def _toml_value(text: str) -> object:
    try:
        document = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return document["value"] if len(document) == 1 else text


# The whole


def _converted(tree: Tree, found: list[ConfigError]) -> EngineConfig:
    """Return the configuration of a tree without what is wrong; keys that fit are kept."""
    form = form_of(EngineConfig)
    fitted = {}
    for key, inner in tree.items():
        value = _fitted(inner, fields_of(form)[key], joined("$", key), found)
        if value is not MISSING:
            fitted[key] = value
    config = msgspec.convert(fitted, EngineConfig)
    _check_relations(config, found)
    return config


def _fitted(value: object, form: Form, path: str, found: list[ConfigError]) -> object:
    """Return a section, or the sections of a list or table, without what is wrong; MISSING when nothing is left."""
    here = member(form, value)
    items = items_of(here)
    if isinstance(here, inspect.VarTupleType) and isinstance(value, list):
        if isinstance(items, inspect.StructType):
            parts = [_fitted(item, items, joined(path, index), found) for index, item in enumerate(value)]
            return [part for part in parts if part is not MISSING]
    elif isinstance(here, inspect.DictType) and isinstance(value, dict):
        named = {key: _fitted(item, items, joined(path, key), found) for key, item in value.items()}
        return {key: part for key, part in named.items() if part is not MISSING}
    wanted: type = dict
    if isinstance(here, inspect.StructType | inspect.VarTupleType):
        wanted = here.cls if isinstance(here, inspect.StructType) else tuple
    while True:
        try:
            msgspec.convert(value, wanted)
        except msgspec.ValidationError as error:
            what, _, inside = str(error).partition(" - at `$")
            inside = inside.removesuffix("`")
            place = path + inside
            takes = type_text(form_at(form_of(EngineConfig), place))
            found.append(ConfigError(f"{place} is wrong: {what}; it takes {takes}", path=place))
            if not inside or not isinstance(value, dict):
                return MISSING
            value = _without(value, inside)
        else:
            return value


def _without(section: Tree, inside: str) -> Tree:
    """Return a section without what is at a path in it; an item of a list takes its list with it."""
    keys = inside.partition("[")[0].removeprefix(".").split(".")
    rest = dict(section)
    if len(keys) == 1:
        del rest[keys[0]]
    else:
        rest[keys[0]] = _without(rest[keys[0]], f".{'.'.join(keys[1:])}")
    return rest


def _check_relations(config: EngineConfig, found: list[ConfigError]) -> None:
    """Check rules on several keys, and rules that a type cannot express."""

    def refuse(path: str, value: object, advice: str) -> None:
        found.append(ConfigError(f"{path} is {value!s}: {advice}", path=path))

    capacity = config.engine.ring_capacity
    if capacity & (capacity - 1):
        low = 1 << capacity.bit_length() - 1
        refuse("$.engine.ring_capacity", capacity, f"use a power of two, like {low} or {low * 2}")
    for index, feed in enumerate(config.feeds):
        if feed.kind == "recording" and feed.path is None:
            refuse(f"$.feeds[{index}].path", "missing", "write the recording's path")
        if feed.kind == "synthetic" and feed.path is not None:
            refuse(f"$.feeds[{index}].path", feed.path, 'remove it, since kind = "synthetic" has no path')
    names = [strategy.name for strategy in config.strategies]
    for index, name in enumerate(names):
        if name is not None and name in names[:index]:
            refuse(f"$.strategies[{index}].name", name, "use a different name for each strategy")
    for name, instrument in config.instruments.items():
        for path, value, advice in _faults_of(joined("$.instruments", name), name, instrument):
            refuse(path, value, advice)


def _faults_of(path: str, name: str, instrument: InstrumentSection) -> Iterator[tuple[str, object, str]]:
    """Yield what is wrong with an instrument: where, the value, and what to write."""
    if not re.fullmatch(r"[^.\s]+\.[A-Z0-9_]+", name):
        yield path, name, 'write SYMBOL.VENUE, in quotes, like [instruments."BTCUSDT.BINANCE"]'
    for key in ("price_tick", "lot_size", "size"):
        step = getattr(instrument, key)
        if step is not None and not (step.is_finite() and step > 0):
            yield joined(path, key), step, "use a number above 0"
    if instrument.contract == "inverse" and instrument.size is None and not name.endswith(".BINANCE_COINM"):
        yield joined(path, "size"), "missing", "write what one contract is worth in its quote currency"
