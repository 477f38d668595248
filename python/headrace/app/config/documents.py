"""The file of a configuration, read into plain tables, lists and values.

Guarantees: whatever the file holds, it becomes a tree within bounds, or one ConfigError with its line.
Does not: know the keys; ``reading`` does.
"""

from __future__ import annotations

import tomllib
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from headrace.errors import ConfigError, MissingExtraError
from headrace.feeds.files import refuse_endless
from headrace.limits import CONFIG_BYTES_MAX, CONFIG_DEPTH_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["UNREADABLE", "document_of"]


# What the readers of TOML and YAML raise: numbers of thousands of digits and dates like 2026-02-30 are ValueErrors.
UNREADABLE = (ValueError, ArithmeticError, RecursionError)


def document_of(path: Path) -> object:
    """Return what a file holds. Raises ConfigError, and MissingExtraError for YAML without PyYAML."""
    readers = {".toml": _toml, ".yaml": _yaml, ".yml": _yaml}
    reader = readers.get(path.suffix)
    if reader is None:
        raise ConfigError(f"a configuration's name ends in {' or '.join(readers)}: rename the file", path="$")
    try:
        refuse_endless(path)
        with path.open("rb") as file:
            data = file.read(CONFIG_BYTES_MAX + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        advice = "headrace config new FILE writes one"
        raise ConfigError(f"the file cannot be read: {error.strerror or error}; {advice}", path="$") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"byte {error.start} is no UTF-8: save the file as UTF-8", path="$") from error
    if len(data) > CONFIG_BYTES_MAX:
        msg = f"the file has more than {CONFIG_BYTES_MAX:,} bytes: a configuration of a thousand instruments has fewer"
        raise ConfigError(msg, path="$")
    return reader(text)


def _toml(text: str) -> object:
    try:
        return tomllib.loads(text, parse_float=Decimal)
    except UNREADABLE as error:
        raise ConfigError(f"this is no TOML: {_words(error)}", path="$") from error


def _yaml(text: str) -> object:
    try:
        import yaml  # type: ignore[import-untyped]  # an extra
    except ImportError:
        msg = 'a YAML configuration needs PyYAML: pip install "headrace[yaml]"'
        raise MissingExtraError(msg) from None

    try:
        _refuse_unbounded(yaml.parse(text, yaml.SafeLoader))
        _refuse_twice(yaml.compose(text, yaml.SafeLoader))
        return yaml.safe_load(text) or {}
    except (yaml.YAMLError, *UNREADABLE) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"this is no YAML: {_words(error)}", path="$") from error


def _words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _refuse_unbounded(events: Iterable[Any]) -> None:
    """Refuse what makes a small file a large tree, or a deep one. Takes the events of PyYAML's parser."""
    depth = 0
    for event in events:
        kind = type(event).__name__
        depth += kind.endswith("StartEvent") - kind.endswith("EndEvent")
        line = event.start_mark.line + 1
        if kind == "AliasEvent":
            msg = f"line {line} repeats *{event.anchor}, a value of another place: write it again"
            raise ConfigError(msg, path="$")
        # The stream and the document are levels, too.
        if depth > CONFIG_DEPTH_MAX + 2:
            msg = f"line {line} is more than {CONFIG_DEPTH_MAX} levels deep: write a flatter one"
            raise ConfigError(msg, path="$")


def _refuse_twice(node: Any) -> None:
    """Refuse a key that a table has twice, which YAML allows. Takes a node of PyYAML's tree, or None."""
    if isinstance(getattr(node, "value", None), list):
        pairs = [item for item in node.value if isinstance(item, tuple)]
        seen = set()
        for key, _ in pairs:
            if str(key.value) in seen:
                place = f"line {key.start_mark.line + 1}"
                raise ConfigError(f"{place} has the key {key.value!r} a second time: keep one", path="$")
            seen.add(str(key.value))
        for inner in [value for _, value in pairs] or node.value:
            _refuse_twice(inner)
