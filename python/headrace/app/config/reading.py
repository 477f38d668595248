"""Read an EngineConfig from a file, the environment and overrides.

::

    defaults  <  FILE (.toml, .yaml)  <  layer  <  HEADRACE__SECTION__KEY  <  --set section.key=value

Guarantees: every wrong key or value is a ConfigError with its source and its path; secrets stay out of messages, which
name keys and types, and no value of a free table.
Does not: import what ``use`` names, or check that a recording exists (``headrace config check`` does).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import msgspec
from msgspec import inspect

from headrace.app.config.documents import document_of
from headrace.app.config.form import MISSING, anchored, form_at, form_of, items_of, joined, member
from headrace.app.config.overrides import Override, overrides_of, placed
from headrace.app.config.relations import refused
from headrace.app.config.tree import EngineConfig
from headrace.app.config.writing import toml_value
from headrace.errors import ConfigError
from headrace.execution.settings import ExecutionSettings
from headrace.limits import CONFIG_DEPTH_MAX
from headrace.market.forms import Form, fields_of, type_text

__all__ = ["Reading", "load_config", "logged_config", "read_config"]

# The content of a file, not checked yet.
Tree: TypeAlias = dict[str, Any]


class Reading(NamedTuple):
    """What was read. config : without what is wrong. problems : everything that is."""

    config: EngineConfig
    problems: tuple[ConfigError, ...]


def load_config(
    path: str | os.PathLike[str] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    overrides: Iterable[str] = (),
    layer: Iterable[Override] = (),
) -> EngineConfig:
    """Read a configuration: file, layer, environment, overrides; a later value replaces an earlier one.

    path : a .toml, .yaml or .yml file; None: defaults alone. Paths in it are relative to its folder.
    environment : variables like ``HEADRACE__SECTION__KEY``; by default the process's own. Items of a list have numbers,
        from 0: ``HEADRACE__FEEDS__0__PATH``.
    overrides : texts ``section.key=value``; the value is read as TOML, or else as plain text. A key with dots stands in
        quotes: ``instruments."BTCUSDT.BINANCE".price_tick=0.01``.
    layer : values from elsewhere, such as a parameter store.

    Raises ConfigError for the first thing that is wrong, and MissingExtraError for YAML without PyYAML.
    """
    config, problems = read_config(path, environment=environment, overrides=overrides, layer=layer)
    if problems:
        raise problems[0]
    return config


def read_config(
    path: str | os.PathLike[str] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    overrides: Iterable[str] = (),
    layer: Iterable[Override] = (),
) -> Reading:
    """Read a configuration as ``load_config`` does, and return everything that is wrong in it.

    Raises ConfigError (the file cannot be read at all) and MissingExtraError.
    """
    where = "the defaults" if path is None else str(path)
    try:
        document = {} if path is None else document_of(Path(path))
        given = [*layer, *overrides_of(os.environ if environment is None else environment, overrides)]
    except ConfigError as error:
        raise _from(error, {}, where) from None
    return _read(document, None if path is None else Path(path).parent, where, given)


def logged_config(logged: Mapping[str, object], where: str, overrides: Iterable[str] = ()) -> EngineConfig:
    """Read a configuration that a dispatch log holds, and overrides, which may give the secrets that it masks.

    where : the log. Raises ConfigError.
    """
    config, problems = _read(dict(logged), None, where, overrides_of({}, overrides))
    if problems:
        raise problems[0]
    return config


def _read(document: object, folder: Path | None, where: str, overrides: Iterable[Override]) -> Reading:
    """Read a document with what comes over it. folder : of its paths. Raises ConfigError."""
    # The source of each path; other paths come from the file.
    origins: dict[str, str] = {}
    found: list[ConfigError] = []
    try:
        tree = _anchored(document, folder, found)
        for override in overrides:
            try:
                origins[placed(tree, form_of(EngineConfig), override)] = override.origin
            except ConfigError as error:
                found.append(error)
        tree = _anchored(tree, None, found)
    except ConfigError as error:
        raise _from(error, origins, where) from None
    config = _converted(tree, found)
    return Reading(config, tuple(_from(error, origins, where) for error in found))


def _from(error: ConfigError, origins: Mapping[str, str], file: str) -> ConfigError:
    """Return an error with the source of what is wrong before its text."""
    origin = getattr(error, "origin", None) or _origin(error.path, origins) or file
    return ConfigError(f"{origin}: {error}", path=error.path)


def _origin(path: str, origins: Mapping[str, str]) -> str | None:
    """Return the source of the value at a path; None: the file."""
    inside = [known for known in origins if path == known or _is_below(path, known) or _is_below(known, path)]
    return origins[max(inside, key=len)] if inside else None


def _anchored(document: object, folder: Path | None, found: list[ConfigError]) -> Tree:
    """Return a tree with its paths below ``folder``, without what is wrong. Raises ConfigError."""
    if not isinstance(document, dict):
        raise ConfigError("the file holds no table: write [engine] and its keys below it", path="$")
    level: list[object] = [document]
    for _ in range(CONFIG_DEPTH_MAX):
        level = [inner for value in level for inner in _inside(value)]
    if level:
        msg = f"tables and lists are more than {CONFIG_DEPTH_MAX} levels deep: write a flatter one"
        raise ConfigError(msg, path="$")
    tree = anchored(document, form_of(EngineConfig), "$", folder, found)
    assert isinstance(tree, dict)
    return tree


def _inside(value: object) -> Iterable[object]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _is_below(path: str, above: str) -> bool:
    return path.startswith((f"{above}.", f"{above}["))


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
    found += refused(config)
    return config


def _fitted(value: object, form: Form, path: str, found: list[ConfigError]) -> object:
    """Return a section, or the sections of a list or table, without what is wrong; MISSING when nothing is left."""
    here = member(form, value)
    if isinstance(here, inspect.NoneType):
        return None
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
            # A pattern is not for people; what it takes is said in words.
            what = "the text has another form" if " matching regex " in what else what
            place = path + inside
            takes = type_text(form_at(form_of(EngineConfig), place))
            found.append(ConfigError(f"{place} is wrong: {what}; it takes {takes}{_line(wanted, inside)}", path=place))
            if not inside or not isinstance(value, dict):
                return MISSING
            value = _without(value, inside)
        else:
            return value


def _line(section: type, inside: str) -> str:
    """Return the line to write in place of a wrong limit: execution refuses to guess what was meant."""
    key = re.split(r"[.\[]", inside.removeprefix("."))[0]
    if section is not ExecutionSettings or key not in ExecutionSettings.__struct_fields__:
        return ""
    return f"; write {key} = {toml_value(getattr(ExecutionSettings(), key))}"


def _without(section: Tree, inside: str) -> Tree:
    """Return a section without what is at a path in it; an item of a list takes its list with it."""
    keys = inside.partition("[")[0].removeprefix(".").split(".")
    rest = dict(section)
    if len(keys) == 1:
        del rest[keys[0]]
    else:
        rest[keys[0]] = _without(rest[keys[0]], f".{'.'.join(keys[1:])}")
    return rest
