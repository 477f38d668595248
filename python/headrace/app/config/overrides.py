"""Values from outside of a configuration's file: from the environment, and by ``--set section.key=value``.

Guarantees: a key that does not exist is a ConfigError, which names the variable or the option; a value is read as TOML
does, or else it is plain text.
Does not: check values; ``reading`` does.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from msgspec import inspect

from headrace.app.config.documents import UNREADABLE
from headrace.app.config.form import items_of, joined, member, unknown_key
from headrace.errors import ConfigError
from headrace.market.forms import Form, fields_of
from headrace.market.wording import counted

__all__ = ["Override", "overrides_of", "placed"]

ENVIRONMENT = "HEADRACE__"


class Override(NamedTuple):
    """One value from outside the file: its source, the keys of its place, and its text."""

    origin: str
    keys: list[str]
    text: str
    ignores_case: bool


def overrides_of(environment: Mapping[str, str], options: Iterable[str]) -> list[Override]:
    """Return the values of the environment, then those of the options. Raises ConfigError."""
    return [*_from_environment(environment), *_parsed_all(options)]


def _from_environment(environment: Mapping[str, str]) -> Iterator[Override]:
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
            yield Override(name, keys, environment[name], ignores_case=True)


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in name.split("__")]


def _parsed_all(overrides: Iterable[str]) -> Iterator[Override]:
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
        yield Override(f"--set {key.strip()}", keys, value.strip(), ignores_case=False)


def _keys(text: str) -> list[str] | None:
    """Split a dotted key as TOML does; None: the text is no key."""
    try:
        node = tomllib.loads(f"{text} = 0")
    except UNREADABLE:
        return None
    keys = []
    inner: object = node
    while isinstance(inner, dict):
        if len(inner) != 1:
            return None
        ((key, inner),) = inner.items()
        keys.append(key)
    return keys


def placed(tree: dict[str, Any], form: Form, override: Override) -> str:
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


def _key(text: str, node: Mapping[str, object], form: Form, override: Override) -> str:
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
    except UNREADABLE:
        return text
    return document["value"] if len(document) == 1 else text
