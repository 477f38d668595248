"""The form of a configuration: the tree's types, walked beside the values, so that an error can name its place.

Guarantees: every unknown key is an error with its path and the nearest name; a relative path in a file becomes a path
below the file's folder; values of free tables can be written as TOML again.
Does not: check the values of known keys; msgspec does, with the same paths in its errors.
"""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Iterable
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import inspect

from headrace.errors import ConfigError
from headrace.market.checks import nearest
from headrace.market.forms import Form, bare, fields_of, note_of

if TYPE_CHECKING:
    from headrace.app.config.tree import EngineConfig

__all__ = [
    "MISSING",
    "anchored",
    "form_at",
    "form_of",
    "is_secret",
    "items_of",
    "joined",
    "member",
    "unknown_key",
]

# Words in a key's name that mark its value as secret.
SECRET_WORDS = frozenset(
    {
        *("secret", "secrets", "password", "passwords", "passwd", "pwd", "passphrase", "token", "tokens"),
        *("key", "keys", "apikey", "apikeys", "credential", "credentials"),
    }
)
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
# Stands for a value that is wrong.
MISSING = object()
FREE_VALUES = (str, bool, int, float, dt.date, dt.time)


@cache
def form_of(root: type[EngineConfig]) -> Form:
    """Return the type at ``$``."""
    return inspect.type_info(root)


def member(form: Form, value: object) -> Form:
    """Return the member of a union that fits a value: a table, a list, nothing, or a plain type."""
    form = bare(form)
    if not isinstance(form, inspect.UnionType):
        return form
    choices = [bare(choice) for choice in form.types]
    wanted: tuple[type, ...] = ()
    if isinstance(value, dict):
        wanted = (inspect.StructType, inspect.DictType)
    elif isinstance(value, list | tuple):
        wanted = (inspect.VarTupleType,)
    elif value is None:
        wanted = (inspect.NoneType,)
    return next((choice for choice in choices if isinstance(choice, wanted)), choices[0])


def joined(path: str, key: str | int) -> str:
    """Return the path of a key or an index below another path."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if BARE_KEY.fullmatch(key) else f'{path}."{key}"'


def anchored(value: object, form: Form, path: str, folder: Path | None, found: list[ConfigError]) -> object:
    """Return a copy of a value with its paths below ``folder``, without what is wrong, which is added to ``found``."""
    here = member(form, value)
    if isinstance(value, dict):
        known = fields_of(here)
        kept = {}
        for key, inner in value.items():
            if not isinstance(key, str):
                found.append(ConfigError(f"{path} has the key {key!r}, which is no text: put it in quotes", path=path))
            elif known and key not in known:
                found.append(unknown_key(path, key, known))
            else:
                kept[key] = anchored(inner, known.get(key) or items_of(here), joined(path, key), folder, found)
        return {key: inner for key, inner in kept.items() if inner is not MISSING}
    if isinstance(value, list):
        items = [
            anchored(inner, items_of(here), f"{path}[{index}]", folder, found) for index, inner in enumerate(value)
        ]
        return [inner for inner in items if inner is not MISSING]
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        found.append(ConfigError(f"{path} is a number of more than 64 bits: write a smaller one", path=path))
        return MISSING
    if isinstance(here, inspect.AnyType):
        return _free(value, path, found)
    if isinstance(value, str) and folder is not None:
        return _below(value, note_of(form, "is"), folder)
    return value


def items_of(form: Form) -> Form:
    """Return the type of a table's or list's items; any type where there are no items, which msgspec refuses."""
    if isinstance(form, inspect.DictType):
        return form.value_type
    return form.item_type if isinstance(form, inspect.VarTupleType) else inspect.AnyType()


def unknown_key(path: str, key: str, known: Iterable[str], **facts: object) -> ConfigError:
    """Return the ConfigError of an unknown key."""
    msg = f"{path} has no key {key!r}{nearest(key, known)}; it has {', '.join(known)}"
    return ConfigError(msg, path=joined(path, key), **facts)


def _free(value: object, path: str, found: list[ConfigError]) -> object:
    """Return a value of a free table, with Python's numbers; TOML must be able to hold it."""
    if isinstance(value, Decimal):
        return float(value)
    if not isinstance(value, FREE_VALUES):
        what = "null" if value is None else type(value).__name__
        msg = f"{path} is {what}, which TOML cannot hold: remove the key, or write it as text"
        found.append(ConfigError(msg, path=path))
        return MISSING
    return value


def _below(text: str, what: str, folder: Path) -> str:
    if what == "path":
        return _joined_path(folder, text)
    target, colon, name = text.rpartition(":")
    if what == "use" and (target.endswith(".py") or "/" in target):
        return f"{_joined_path(folder, target)}{colon}{name}"
    return text


def _joined_path(folder: Path, text: str) -> str:
    """Join as ``Path`` does, but keep a final slash, which marks a folder."""
    path = str(folder / os.path.expanduser(text))  # noqa: PTH111 - Path's raises for an unknown user
    return f"{path}/" if text.endswith("/") else path


def form_at(form: Form, path: str) -> Form:
    """Return the type at a path like ``$.strategies[0].name``."""
    for key, quoted, _ in re.findall(r"""\.([A-Za-z0-9_-]+)|\."([^"]*)"|\[(\d+)\]""", path):
        here = member(form, {} if key or quoted else [])
        form = fields_of(here).get(key or quoted) or items_of(here)
    return form


def is_secret(key: str) -> bool:
    """Return whether a key's name marks its value as secret, like api_key, apiKey and token."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", key)
    return not SECRET_WORDS.isdisjoint(map(str.lower, words))
