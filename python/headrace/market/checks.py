"""Checks of a caller's options: their names, numbers, choices and durations; an error names the nearest name.

Guarantees: a value that is not allowed raises OptionError with the option, the value and what is allowed.
Does not: convert text from a file; ``app`` does.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NoReturn, TypeAlias, TypeVar

import msgspec
import numpy as np

from headrace.errors import OptionError
from headrace.market.forms import fields_of, type_text
from headrace.market.wording import value_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "FILE_NAME",
    "TIME_MAX_NS",
    "UNITS_NS",
    "Duration",
    "converted",
    "duration_ns",
    "file_name",
    "mistaken_for",
    "nearest",
    "nearest_name",
    "number",
    "of_type",
    "one_of",
    "rate",
    "refuse",
    "refuse_unknown",
    "side_of",
    "whole",
]

# "100ms", or nanoseconds.
Duration: TypeAlias = "str | int"

_Options = TypeVar("_Options", bound=msgspec.Struct)

# Smallest first.
UNITS_NS = {
    "ns": 1,
    "us": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3_600 * 10**9,
    "d": 86_400 * 10**9,
}
# The latest time that a clock and a record can hold.
TIME_MAX_NS = (1 << 63) - 1
# Of an engine and of its run: files are named after them.
FILE_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
# What an error calls a type.
TYPE_WORDS: dict[type, str] = {
    str: "a text",
    bool: "True or False",
    int: "a whole number",
    np.integer: "a whole number",
    float: "a number",
}
_SIDES: dict[object, Literal[1, 0, -1]] = {1: 1, 0: 0, -1: -1}
_DURATION = re.compile(rf"([0-9]{{1,18}})({'|'.join(UNITS_NS)})")


def refuse(option: str, value: object, allowed: str) -> NoReturn:
    """Raise OptionError with the refused value and what is allowed."""
    msg = f"{option}={value_text(value)} is not allowed: use {allowed}"
    raise OptionError(msg, option=option)


def unnamed(call: str, values: Sequence[object], example: str) -> str:
    """Return the error's text for values that were given by their place to a call whose options have names.

    example : how the first of them is written, like ``price=``.
    """
    return f"{call}(…, {value_text(values[0])}): options have names: write {call}(…, {example}{value_text(values[0])})"


def refuse_unknown(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise OptionError for the first unknown name. what : such as "an engine"."""
    valid = list(known)
    for name in given:
        if name not in valid:
            msg = f"{name} is no option of {what}{nearest(name, valid)}; valid are {', '.join(valid)}"
            raise OptionError(msg, option=name)


def converted(what: str, given: Mapping[str, object], options: type[_Options]) -> _Options:
    """Return options as a Struct, each checked by the type of its field. what : has them, such as "a subscription".

    Raises OptionError: an unknown name, a wrong value, or one that is missing.
    """
    refuse_unknown(what, given, options.__struct_fields__)
    try:
        return msgspec.convert(given, options)
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, OptionError):  # What the Struct's own check raised.
            raise error.__cause__ from None
        forms = fields_of(msgspec.inspect.type_info(options))
        if option := re.split(r"[.\[`]", str(error).partition(" - at `$.")[2])[0]:
            refuse(option, given[option], type_text(forms[option]))
        missing = next(own.name for own in msgspec.structs.fields(options) if own.required and own.name not in given)
        msg = f"{what} has no {missing}: give it {type_text(forms[missing])}"
        raise OptionError(msg, option=missing) from None


def one_of(option: str, value: str, choices: Iterable[str]) -> str:
    """Return a value if it is one of the choices. Raises OptionError."""
    valid = list(map(str, choices))
    if value not in valid:
        msg = f"{option}={value_text(value)} is unknown: use one of {', '.join(valid)}"
        raise OptionError(msg, option=option)
    return value


def whole(option: str, value: object, low: int, high: int, unit: str) -> int:
    """Return a whole number if it is within bounds; a bool is refused. Raises OptionError."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        refuse(option, value, f"a whole number of {unit} from {low:,} to {high:,}")
    return value


def of_type(option: str, value: object, *types: type | None) -> None:
    """Refuse a value of none of these types, and a class in place of its object. Raises OptionError.

    A bool is no number, and None stands for itself.
    """
    if type(value) in types or (value is None and None in types):
        return
    wanted = tuple(filter(None, types))
    is_class = isinstance(value, type) and not {type, Callable}.intersection(wanted)
    if is_class or not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
        words = dict.fromkeys("None" if own is None else TYPE_WORDS.get(own, own.__name__) for own in types)
        refuse(option, value, " or ".join(words))


def file_name(option: str, value: str) -> str:
    """Return a text after which files can be named. Raises OptionError."""
    if not re.fullmatch(FILE_NAME, value):
        refuse(option, value, "up to 64 letters, digits and . _ -, a letter or digit first: files are named after it")
    return value


def number(option: str, value: object) -> float:
    """Return a finite number as a float; a bool is refused. Raises OptionError."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating | np.integer):
        refuse(option, value, "a number")
    if not math.isfinite(value):
        refuse(option, value, "a finite number")
    return float(value)


def side_of(value: object) -> Literal[1, 0, -1] | None:
    """Return a side as an int, NumPy's included; None for anything else: a bool, a float and a Decimal are no sides."""
    if type(value) is not int and (isinstance(value, bool) or not isinstance(value, int | np.integer)):
        return None
    return _SIDES.get(value)


def rate(option: str, value: object, unit: str) -> float:
    """Return a number of something per second: finite and above 0; a bool is refused. Raises OptionError."""
    if isinstance(value, int | float | np.floating | np.integer) and not isinstance(value, bool):
        per_s = float(value)
        if 0 < per_s < math.inf:
            return per_s
    refuse(option, value, f"a number of {unit} per second, above 0")


def duration_ns(option: str, value: Duration) -> int:
    """Return ``"100ms"``, or a whole number of ns, as ns. Raises OptionError."""
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        ns = int(value)
    elif isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        ns = int(match[1]) * UNITS_NS[match[2]]
    else:
        units = ", ".join(UNITS_NS)
        msg = f"{option}={value_text(value)} is no duration: write a number and one of {units}, like '100ms'"
        raise OptionError(msg, option=option)
    if abs(ns) > TIME_MAX_NS:
        refuse(option, value, "a time within 292 years, which is what 64 bits of ns hold")
    return ns


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean NAME?)`` with the nearest known name; empty when none is near."""
    found = nearest_name(name, known)
    return f" (did you mean {found}?)" if found else ""


def nearest_name(name: str, known: Iterable[str]) -> str:
    """Return the nearest known name; empty when none is near.

    Case and underscores do not count: reduceOnly is near reduce_only. A beginning is near, too: BTC of BTCUSDT.BINANCE.
    """
    folded, short = {_folded(own): own for own in known}, _folded(name)
    close = difflib.get_close_matches(short, folded, n=1, cutoff=0.55)
    begun = [own for own in folded if short and own.startswith(short)]
    return folded[(close or begun)[0]] if close or begun else ""


def mistaken_for(name: str, known: Iterable[str]) -> str:
    """Return the known name that a name is probably a misspelling of; empty when it is none, or is known itself.

    Far narrower than ``nearest``: only a letter or two may differ, since the name may be of a user's own.
    """
    folded = {_folded(own): own for own in known}
    if name in folded.values() or name.startswith("_"):
        return ""
    close = difflib.get_close_matches(_folded(name), folded, n=1, cutoff=0.84)
    return folded[close[0]] if close else ""


def _folded(name: str) -> str:
    return name.replace("_", "").lower()
