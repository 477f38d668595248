"""Block: some rows of a table as columns, which give numbers, times and texts exactly, or say which cell they cannot.

Guarantees: a value never becomes another number on the way; what is wrong names the file, the row and the column.
Does not: know what the columns mean; layouts do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from headrace.errors import DataError
from headrace.feeds.files import path_text, refuse_endless
from headrace.feeds.tables import folded
from headrace.market.checks import UNITS_NS, nearest
from headrace.market.times import YEAR_2000_NS, YEAR_2200_NS, time_problem, times_of_texts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["Block", "readable_size", "refuse_repeated", "refused"]

# In a text, a time of 2000..2200 has so many digits in only one of these units.
UNITS_OF_TEXT = ("s", "ms", "us", "ns")
# Behind 2200, and so far below the end of int64 that a float64 of it is below it, too.
TIME_MAX = (1 << 63) - 4_096
TRUE_TEXTS = {"true": True, "True": True, "TRUE": True, "1": True, "false": False, "False": False, "FALSE": False}


class Block:
    """Rows of a table. name : the table's, for errors. columns : arrays of one length, by name.

    first_row : the number of the first row, from 1, without the header. is_text : the values come from a text file,
    where times are read by their magnitude. is_lenient : values that no tick can have are returned as they are.
    """

    __slots__ = ("columns", "first_row", "is_lenient", "is_text", "name", "rows")

    def __init__(self, name: str, columns: Mapping[str, np.ndarray], *, first_row: int, is_text: bool = False) -> None:
        self.name = name
        self.columns = columns
        self.first_row = first_row
        self.is_text = is_text
        self.is_lenient = False
        self.rows = len(next(iter(columns.values()))) if columns else 0

    def __contains__(self, column: str) -> bool:
        return column in self.columns

    def __getitem__(self, column: str) -> np.ndarray:
        """Return a column as it is. Raises DataError."""
        if column not in self.columns:
            raise refused(self.name, f"has no column {column!r}{nearest(column, self.columns)}", column=column)
        return self.columns[column]

    def floats(self, column: str, *, may_be_missing: bool = False) -> np.ndarray:
        """Return a column as float64; NaN is a missing value, and refused unless it may be. Raises DataError."""
        values = self[column]
        if values.dtype.kind in "OU":
            values = self._parsed(column, values, np.float64)
        if values.dtype.kind not in "iuf":
            self.refuse(column, 0, f"holds {_word(values)} where numbers belong")
        read: np.ndarray = values.astype("f8", copy=False)
        if not self.is_lenient:
            wrong = np.isinf(read) if may_be_missing else ~np.isfinite(read)
            self.refuse_rows(column, wrong, "which is no number: correct or drop the row")
        return read

    def whole(self, column: str, dtype: str = "i8") -> np.ndarray:
        """Return a column as whole numbers. Raises DataError."""
        values = self[column]
        if values.dtype.kind in "OU":
            values = self._parsed(column, values, np.dtype(dtype).type)
        if values.dtype.kind not in "iuf":
            self.refuse(column, 0, f"holds {_word(values)} where whole numbers belong")
        with np.errstate(invalid="ignore"):
            read = values.astype(dtype)
        wrong = (values != read.astype(values.dtype)) | ((values < 0) != (read < 0))
        self.refuse_rows(column, wrong, "which is no whole number")
        return read

    def flags(self, column: str) -> np.ndarray:
        """Return a column of true and false, however it is written. Raises DataError."""
        values = self[column]
        if values.dtype.kind == "b":
            return values
        if values.dtype.kind in "iuf":
            self.refuse_rows(column, ~np.isin(values, (0, 1)), "which is neither true nor false")
            return values.astype(bool)
        self.refuse_rows(column, ~np.isin(values.astype(str), list(TRUE_TEXTS)), "which is neither true nor false")
        return np.array([TRUE_TEXTS[str(text)] for text in values.tolist()], bool)

    def texts(self, column: str) -> tuple[np.ndarray, list[str]]:
        """Return a column of texts as codes, and the texts by their codes."""
        found, codes = np.unique(self[column].astype(str), return_inverse=True)
        return codes, [str(text) for text in found]

    def signs(self, column: str, words: Mapping[str, int]) -> np.ndarray:
        """Return a column of words as numbers: ``{"buy": 1, "sell": -1}``. Raises DataError."""
        codes, texts = self.texts(column)
        known = [words.get(text.lower()) for text in texts]
        for code, number in enumerate(known):
            if number is None:
                known_words = ", ".join(filter(None, words))
                row = int(np.argmax(codes == code))
                self.refuse(column, row, f"is {texts[code]!r}, which is none of {known_words}: correct the row")
        signs: np.ndarray = np.array([number or 0 for number in known], "i1")[codes]
        return signs

    def times_ns(self, column: str, unit: str | None = None) -> np.ndarray:
        """Return a column of times as int64 ns since 1970-01-01 UTC. Raises DataError.

        The unit is the column's own, where it has one; else ``unit``; else, in a text, the one in which the time lies
        between 2000 and 2200, value by value; else ns.
        """
        values = self[column]
        if values.dtype.kind in "OU":
            values = self._dates(column, values)
        if values.dtype.kind == "M":
            times = values.astype("M8[ns]")
            wrong = np.isnat(values) | (times.astype(values.dtype) != values)
            self.refuse_rows(column, wrong, "which is no time in int64 ns: correct or drop the row")
            # A type of its own leaves no doubt of the unit: old data is accepted.
            self.refuse_rows(column, times.view("i8") < 0, "which lies before 1970")
            return times.view("i8")
        if values.dtype.kind == "f":
            return self._checked_times(column, self._fractional(column, values, unit), values, unit)
        if values.dtype.kind not in "iu":
            self.refuse(column, 0, f"holds {_word(values)} where times belong")
        times = values.astype("i8", copy=False)
        if unit is not None:
            return self._checked_times(column, _bounded(times, UNITS_NS[unit]) * UNITS_NS[unit], values, unit)
        if self.is_text:
            return self._checked_times(column, _by_magnitude(times), values)
        return self._checked_times(column, times, values)

    def refuse_rows(self, column: str, wrong: np.ndarray, why: str) -> None:
        """Raise DataError for the first row that is wrong."""
        if wrong.any():
            row = int(np.argmax(wrong))
            self.refuse(column, row, f"is {self[column][row]!s}, {why}")

    def refuse(self, column: str, row: int, what: str) -> NoReturn:
        """Raise DataError. row : within the block, from 0."""
        raise refused(
            self.name, f"row {self.first_row + row}: {column} {what}", row=self.first_row + row, column=column
        )

    def _checked_times(self, column: str, times: np.ndarray, values: np.ndarray, unit: str | None = None) -> np.ndarray:
        """Return times. Raises DataError for the first of another age; for findings, only where all of them are."""
        wrong = (times < YEAR_2000_NS) | (times >= YEAR_2200_NS)
        if wrong.all() if self.is_lenient else wrong.any():
            row = int(np.argmax(wrong))
            problem = f"which in {unit} is not between 2000 and 2200" if unit else time_problem(int(times[row]))
            self.refuse(column, row, f"is {values[row]!s}, {problem}")
        return times

    def _fractional(self, column: str, values: np.ndarray, unit: str | None) -> np.ndarray:
        """Return times with fractions, in ns, right to the microsecond: a float64 of seconds holds no more."""
        self.refuse_rows(column, ~np.isfinite(values), "which is no time: correct or drop the row")
        if unit is None and not self.is_text:
            self.refuse(column, 0, "holds fractions: give its unit with unit=, or times of a type of its own")
        values = _bounded(values, UNITS_NS[unit or "ns"])
        whole = values.astype("i8")
        scale = np.full(len(values), UNITS_NS[unit]) if unit is not None else _scales(whole)
        times: np.ndarray = whole * scale + np.rint((values - whole) * (scale // 1_000)).astype("i8") * 1_000
        return times

    def _dates(self, column: str, values: np.ndarray) -> np.ndarray:
        """Return times that stand in texts."""
        texts = [str(text) for text in values.tolist()]
        if all(text.isdecimal() for text in texts):
            return np.array([min(int(text), TIME_MAX) for text in texts], "i8")
        try:
            return times_of_texts(texts)
        except ValueError:
            for row, text in enumerate(texts):
                try:
                    times_of_texts([text])
                except ValueError:
                    self.refuse(column, row, f"is {text!r}, which is no time in UTC: write 2025-01-31T00:00:00Z")
            raise

    def _parsed(self, column: str, values: np.ndarray, kind: type) -> np.ndarray:
        """Return numbers that stand in texts or objects; None is missing."""
        read = []
        for row, value in enumerate(values.tolist()):
            try:
                read.append(_number(kind, value))
            except (TypeError, ValueError, OverflowError):
                self.refuse(column, row, f"is {value!r}, which is no number: correct or drop the row")
        return np.array(read, kind)


def _number(kind: type, value: object) -> Any:
    """Return what a text or an object says; a missing float is NaN. Raises ValueError, TypeError, OverflowError."""
    if value is None and kind is np.float64:
        return np.nan
    if isinstance(value, str) and "_" in value:
        raise ValueError(value)  # Python's own numbers may have it, those of files have not.
    return kind(value)


def refused(name: str, what: str, *, row: int = 0, column: str = "") -> DataError:
    """Return the error for data that cannot be used."""
    return DataError(
        f"{name} {what}" if not what.startswith("row") else f"{name}, {what}", path=name, row=row, column=column
    )


def readable_size(path: Path) -> int:
    """Return the size of a file, bytes. Raises DataError: it is missing, no file, or the system refuses to open it."""
    try:
        size = refuse_endless(path)
        path.open("rb").close()
    except FileNotFoundError as error:
        raise refused(path_text(path), "is missing: check the path") from error
    except (OSError, ValueError) as error:
        raise refused(path_text(path), f"cannot be read: {error}") from error
    return size


def refuse_repeated(name: str, columns: Sequence[str]) -> None:
    """Refuse a table that calls two columns the same: which one is meant? Raises DataError."""
    if len(set(columns)) < len(columns):
        column = next(own for number, own in enumerate(columns) if own in columns[:number])
        raise refused(name, f"has two columns {column!r}: rename or remove one", column=column)


def _word(values: np.ndarray) -> str:
    return {"b": "true and false", "O": "texts", "U": "texts", "M": "times", "m": "durations"}.get(
        values.dtype.kind, str(values.dtype)
    )


def _bounded(times: np.ndarray, scale: int) -> np.ndarray:
    """Return times whose multiples int64 holds: what lies beyond would wrap, and might be a time of this age."""
    bounded: np.ndarray = np.clip(times, -(TIME_MAX // scale), TIME_MAX // scale)
    return bounded


def _scales(times: np.ndarray) -> np.ndarray:
    """Return by how much each time is to be multiplied, by its magnitude; 1 where no unit fits."""
    scales = np.ones(len(times), "i8")
    for unit in UNITS_OF_TEXT:
        scale = UNITS_NS[unit]
        scales[(times >= YEAR_2000_NS // scale) & (times < YEAR_2200_NS // scale)] = scale
    return scales


def _by_magnitude(times: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = times * _scales(times)
    return scaled


def columns_named(known: Mapping[str, Sequence[str]], columns: Sequence[str]) -> dict[str, str]:
    """Return, for each of our names, the column that has one of its names; case and underscores do not count."""
    by_name = {folded(column): column for column in reversed(list(columns))}
    found = {}
    for name, others in known.items():
        for other in (name, *others):
            if (column := by_name.get(folded(other))) is not None:
                found[name] = column
                break
    return found
