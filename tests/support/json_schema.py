"""The part of JSON Schema (2020-12) that the schema of a configuration uses; an unknown keyword is an error."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

NOTES = {"$schema", "$defs", "title", "description", "default", "format", "then", "else"}
TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "null": (type(None),),
}
NUMBERS = (int, float, Decimal)
ANY = (object, bool)


def fits(value: object, schema: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    """Whether a value fits a schema. root : holds the definitions."""
    return all(_fits_keyword(name, value, schema, root) for name in schema if name not in NOTES)


def _fits_keyword(name: str, value: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    said = schema[name]
    if name == "if":
        branch = "then" if fits(value, said, root) else "else"
        return fits(value, schema.get(branch, {}), root)
    if name == "additionalProperties":
        known = schema.get("properties", {})
        others = [item for key, item in value.items() if key not in known] if isinstance(value, dict) else []
        return not others if said is False else all(fits(item, said, root) for item in others)
    judged, check = KEYWORDS[name]
    is_other = not isinstance(value, judged) or (isinstance(value, bool) and bool not in judged)
    return is_other or check(value, said, root)


def _is_of(value: object, kind: str) -> bool:
    if kind in ("number", "integer"):
        is_number = isinstance(value, NUMBERS) and not isinstance(value, bool)
        return is_number and (kind == "number" or value == int(value))  # type: ignore[call-overload]
    return isinstance(value, TYPES[kind])


def _is_of_any(value: object, kinds: str | list[str]) -> bool:
    return any(_is_of(value, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds))


def _same(value: object, said: object) -> bool:
    return value == said and isinstance(value, bool) == isinstance(said, bool)


def _fit_patterns(value: Mapping[str, object], said: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    return all(fits(value[key], own, root) for key in value for text, own in said.items() if re.search(text, key))


# Keyword -> the types that it judges, and how it judges them: value, what the schema says, the root.
KEYWORDS: dict[str, tuple[tuple[type, ...], Callable[[Any, Any, Any], bool]]] = {
    "$ref": (ANY, lambda value, said, root: fits(value, root["$defs"][said.removeprefix("#/$defs/")], root)),
    "type": (ANY, lambda value, said, _: _is_of_any(value, said)),
    "enum": (ANY, lambda value, said, _: any(_same(value, own) for own in said)),
    "anyOf": (ANY, lambda value, said, root: any(fits(value, own, root) for own in said)),
    "allOf": (ANY, lambda value, said, root: all(fits(value, own, root) for own in said)),
    "not": (ANY, lambda value, said, root: not fits(value, said, root)),
    "minimum": (NUMBERS, lambda value, said, _: value >= said),
    "exclusiveMinimum": (NUMBERS, lambda value, said, _: value > said),
    "maximum": (NUMBERS, lambda value, said, _: value <= said),
    "pattern": ((str,), lambda value, said, _: re.search(said, value) is not None),
    "minLength": ((str,), lambda value, said, _: len(value) >= said),
    "items": ((list,), lambda value, said, root: all(fits(item, said, root) for item in value)),
    "required": ((dict,), lambda value, said, _: all(key in value for key in said)),
    "properties": (
        (dict,),
        lambda value, said, root: all(fits(value[key], own, root) for key, own in said.items() if key in value),
    ),
    "propertyNames": ((dict,), lambda value, said, root: all(fits(key, said, root) for key in value)),
    "patternProperties": ((dict,), _fit_patterns),
}
