"""Forms: the types of a msgspec Struct, in words for errors and documentation, and the meanings of its fields.

Guarantees: errors, configuration, commands and documentation describe an option by the same type and docstring.
Does not: check values; msgspec does.
"""

from __future__ import annotations

import re
from typing import TypeAlias

import msgspec
from msgspec import inspect

__all__ = ["Form", "bare", "fields_of", "meanings", "note_of", "type_text"]

Form: TypeAlias = inspect.Type


def fields_of(form: Form) -> dict[str, Form]:
    """Return the keys of a section; none for another type."""
    return {field.name: field.type for field in form.fields} if isinstance(form, inspect.StructType) else {}


def bare(form: Form) -> Form:
    """Return a type without its notes."""
    return bare(form.type) if isinstance(form, inspect.Metadata) else form


def note_of(form: Form, what: str) -> str:
    """Return a note on a type: "is" ("path" or "use"), or "takes" (its type in words); empty without one."""
    if isinstance(form, inspect.UnionType):
        return next((note for choice in form.types if (note := note_of(choice, what))), "")
    return str((form.extra or {}).get(what, "")) if isinstance(form, inspect.Metadata) else ""


def type_text(form: Form) -> str:
    """Return a type in words."""
    if note := note_of(form, "takes"):
        return note
    form = bare(form)
    if isinstance(form, inspect.UnionType):
        return " or ".join(type_text(choice) for choice in form.types if not isinstance(choice, inspect.NoneType))
    if isinstance(form, inspect.LiteralType | inspect.EnumType):
        values = form.values if isinstance(form, inspect.LiteralType) else [member.value for member in form.cls]
        return " or ".join(f'"{value}"' for value in values)
    if isinstance(form, inspect.IntType | inspect.FloatType):
        return ("a whole number" if isinstance(form, inspect.IntType) else "a number") + _bounds(form)
    if isinstance(form, inspect.VarTupleType):
        return f"a list, each {type_text(form.item_type)}"
    if isinstance(form, inspect.StructType):
        return f"a table with {', '.join(fields_of(form))}"
    plain = {inspect.StrType: "text", inspect.BoolType: "true or false", inspect.DecimalType: "a number"}
    return plain.get(type(form), "a table")


def _bounds(form: inspect.IntType | inspect.FloatType) -> str:
    low = f" from {form.ge:,}" if form.ge is not None else f" above {form.gt:,}" if form.gt is not None else ""
    return f"{low} to {form.le:,}" if form.le is not None else f"{low} on" if form.ge is not None else low


def meanings(section: type[msgspec.Struct]) -> dict[str, str]:
    """Return the meaning of each key of a section, from the entries ``key : meaning`` of its docstring."""
    names = "|".join(section.__struct_fields__)
    text = " ".join((section.__doc__ or "").split())
    found: dict[str, str] = {}
    # An entry may have several keys: "price_tick, lot_size : …".
    parts = re.split(rf"(?<!\S)((?:{names})(?:, (?:{names}))*) : ", text)
    for keys, meaning in zip(parts[1::2], parts[2::2], strict=True):
        found |= dict.fromkeys(keys.split(", "), meaning.strip().rstrip("."))
    return found
