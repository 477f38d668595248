"""Tick arrays: ticks whose instrument ids have names, and how their ids become those of a run's table.

::

    ticks() ─▶ TickArray: rows of TICK_DTYPE, and the names of its instrument ids ─▶ InstrumentIds ─▶ the table's ids

Guarantees: slices, views, copies and pickles keep the names; ticks of two arrays are put together only where one id
means one instrument.
Does not: give names to an array that has none; its ids are rows of the run's table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import headrace._native as _native
from headrace.errors import OptionError
from headrace.market.tick import NO_INSTRUMENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["InstrumentIds", "TickArray"]

# NumPy functions that write into their first argument, and return nothing.
WRITERS = {np.copyto, np.put, np.place, np.putmask}


class TickArray(np.ndarray):
    """Ticks whose instrument ids have names: ``instruments[id]``. Slices, views, copies and pickles keep them."""

    instruments: tuple[str, ...]

    def __array_finalize__(self, made_from: object) -> None:
        """Take the names over."""
        self.instruments = getattr(made_from, "instruments", ())

    def __getitem__(self, key: Any) -> Any:
        """Return rows as a TickArray, and a field as a plain array."""
        found = super().__getitem__(key)
        return found.view(np.ndarray) if isinstance(key, str) else found

    def __setitem__(self, key: Any, value: Any) -> None:
        """Write rows of an array with the same names, or a field. Raises OptionError."""
        if not isinstance(key, str):
            _refuse_unless_within(self, value)
        super().__setitem__(key, value)

    def __array_function__(self, function: Callable[..., Any], types: Any, arguments: Any, options: Any) -> Any:
        """Refuse to put arrays together in which one id means two instruments. Raises OptionError."""
        if function in WRITERS:
            _refuse_unless_within(arguments[0], arguments[1:])
        made = super().__array_function__(function, types, arguments, options)
        parts = list(_arrays_of_ticks((arguments, tuple(options.values()))))
        if len(parts) > 1 and _holds_ticks(made):
            made = made.view(TickArray)
            made.instruments = _common_names(parts)
        return made

    def __reduce__(self) -> Any:
        """Pickle the names, too."""
        made: Any = super().__reduce__()
        return (*made[:2], (made[2], self.instruments))

    def __setstate__(self, state: Any) -> None:
        """Restore the ticks and their names."""
        own, self.instruments = state
        super().__setstate__(own)


class InstrumentIds:
    """Writes the ids of a table into arrays that have names of their own. O(1) where they are the same."""

    def __init__(self, table: _native.Instruments) -> None:
        self._table = table
        # Of the last array: its names, and their ids in the table; None where they are the same.
        self._names: tuple[str, ...] = ()
        self._ids: np.ndarray | None = None

    def of_table(self, array: np.ndarray, *, is_looked_at: bool = False) -> np.ndarray:
        """Return the array with the table's ids; new names are added. Without names it comes back as it is.

        is_looked_at : whoever takes it refuses an id without a name, too.
        Raises InstrumentError: an id without a name.
        """
        names = getattr(array, "instruments", ())
        if not names:
            return array
        # Where they are the same, whoever takes the array looks at its ids while it copies them.
        if names is not self._names or self._ids is not None or not is_looked_at:
            _native.refuse_unnamed(array)
        if names is not self._names:
            ids = np.fromiter((self._table.add(name) for name in names), "u4", len(names))
            self._names, self._ids = names, None if np.array_equal(ids, np.arange(len(ids))) else ids
        if self._ids is None:
            return array
        made = np.array(array, subok=False)
        own = made["instrument"]
        has_instrument = own != NO_INSTRUMENT
        made["instrument"][has_instrument] = self._ids[own[has_instrument]]
        return made


def _holds_ticks(value: object) -> bool:
    return isinstance(value, np.ndarray | np.void) and "instrument" in (value.dtype.names or ())


def _arrays_of_ticks(value: object) -> Iterator[Any]:
    """Yield the arrays of ticks, and single rows, among arguments, in lists and tuples, too."""
    if _holds_ticks(value):
        yield value
    elif isinstance(value, list | tuple):
        for own in value:
            yield from _arrays_of_ticks(own)


def _names_of(part: Any) -> tuple[str, ...]:
    """Return the names of an array's ids; of a row, those of the array that it is a view of."""
    names: tuple[str, ...] = getattr(part if isinstance(part, np.ndarray) else part.base, "instruments", ())
    return names


def _common_names(parts: list[Any]) -> tuple[str, ...]:
    """Return the names that fit the ids of all parts. Raises OptionError."""
    each = [_names_of(part) for part in parts]
    longest = max(each, key=len)
    if any(names != longest[: len(names)] or bool(names) != bool(longest) for names in each):
        msg = (
            "these arrays have other names for the same ids, or one has none: build each with "
            "ticks(instruments=[all names])"
        )
        raise OptionError(msg, option="instruments")
    return longest


def _refuse_unless_within(target: Any, value: object) -> None:
    """Refuse to write ticks whose ids mean something else in the target. Raises OptionError."""
    parts = list(_arrays_of_ticks(value))
    if parts and len(_common_names([target, *parts])) > len(_names_of(target)):
        msg = f"the ticks to write have more names than the {len(_names_of(target))} of the array: put them together"
        raise OptionError(f"{msg} with np.concatenate", option="instruments")
