"""Loading: a CSV file into a table, in transactions of at most 500 rows, after all of it was checked.

::

    file ─▶ every row checked, keys compared with the database ─▶ the same file again, written

What happens when a row is wrong
    The error names its line, its column and its value, and nothing of the file is stored.
What happens when the database goes away, or refuses what it alone can judge
    The rows of the transactions before it stay; loading again replaces them, and keeps recommendations.

Guarantees: memory does not grow with the file.
Does not: guess a unit or a format of times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from headrace.errors import OptionError, RecommendationError
from headrace.execution.csv_file import CsvFile, CsvRow
from headrace.execution.loadable import BARS, FEATURES, WATCHLIST, Column, Loadable, time_text_ms, whole_number
from headrace.execution.recommendation import PRIORITY_MAX, NewRecommendation, known_recommendations
from headrace.limits import STORE_BATCH_MAX
from headrace.market.checks import nearest
from headrace.market.money import decimal_of
from headrace.market.wording import value_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from headrace.execution.database.base import Value
    from headrace.execution.store import Store

__all__ = ["TABLES", "load_csv"]


def _same(_field: str, value: object) -> Value:
    """Leave a text to the checks of ``NewRecommendation``."""
    return value  # type: ignore[return-value]  # a cell of a CSV file is a text


def _fraction(field: str, value: object) -> float:
    try:
        return float(decimal_of(str(value)))
    except ValueError as error:
        raise RecommendationError(f"{field}: {error}", field=field) from None


_OPTIONAL = Column(_same, required=False)
_TIME = Column(time_text_ms, required=False)
RECOMMENDATIONS = Loadable(
    "dispatch_recommendations",
    ("idempotency_key",),
    {
        "ticker": Column(_same),
        "action": Column(_same),
        "confidence": Column(_fraction),
        "idempotency_key": Column(_same),
        "reason": _OPTIONAL,
        "priority": Column(whole_number(-PRIORITY_MAX, PRIORITY_MAX), required=False),
        "not_before": _TIME,
        "expires_at": _TIME,
        "cause": _OPTIONAL,
    },
)
TABLES: dict[str, Loadable] = {own.table: own for own in (RECOMMENDATIONS, BARS, FEATURES, WATCHLIST)}


class _Checked(NamedTuple):
    """A row that may be stored. row : a NewRecommendation, or what ``Loadable.checked`` returned."""

    line: int
    done: int
    row: Any


def load_csv(store: Store, table: str, path: Path, progress: Callable[[int, int, str], object]) -> int:
    """Load a file and return how many rows it had. progress : gets bytes done, bytes in all, a text.

    Raises OptionError for a table that cannot be loaded, RecommendationError for a wrong row or a file without rows,
    StoreError, OSError.
    """
    if table not in TABLES:
        msg = f"table={value_text(table)} cannot be loaded{nearest(table, TABLES)}: use one of {', '.join(TABLES)}"
        raise OptionError(msg, option="table")
    loadable = TABLES[table]
    with CsvFile(path) as file:
        # All of it is read twice.
        total, count = 2 * file.total, 0
        for batch in _batches(file, loadable):
            if loadable is RECOMMENDATIONS:
                _refuse_taken_keys(store, file, batch)
            count += len(batch)
            progress(batch[-1].done, total, f"{count:,} rows checked")
        count = 0
        for batch in _batches(file, loadable):
            if loadable is RECOMMENDATIONS:
                store.recommend_all([own.row for own in batch])
            else:
                store.write_rows(loadable, [own.row for own in batch])
            count += len(batch)
            progress(file.total + batch[-1].done, total, f"{count:,} rows")
    return count


def _batches(file: CsvFile, loadable: Loadable) -> Iterator[list[_Checked]]:
    """Yield the file's rows, checked, as many at a time as one transaction takes."""
    batch: list[_Checked] = []
    for own in file.rows(loadable.check_columns):
        batch.append(_checked(file, loadable, own))
        if len(batch) == STORE_BATCH_MAX:
            yield batch
            batch = []
    if batch:
        yield batch


def _checked(file: CsvFile, loadable: Loadable, own: CsvRow) -> _Checked:
    try:
        row = loadable.checked(own.values)
        return _Checked(own.line, own.done, _recommendation(row) if loadable is RECOMMENDATIONS else row)
    except RecommendationError as error:
        raise file.error(own.line, error, error.field) from None


def _recommendation(row: Mapping[str, Any]) -> NewRecommendation:
    given = {name: value for name, value in row.items() if value is not None}
    # They are ms already.
    times = {name: given.pop(name) for name in ("not_before", "expires_at") if name in given}
    return NewRecommendation.checked(**{"reason": {}, **given})._replace(**times)


def _refuse_taken_keys(store: Store, file: CsvFile, batch: list[_Checked]) -> None:
    """Raise RecommendationError for a key that is there with other content, or twice in a batch."""
    rows = [own.row for own in batch]
    known = store.read(lambda connection: known_recommendations(connection, [row.idempotency_key for row in rows]))
    seen: dict[str, NewRecommendation] = {}
    for own in batch:
        key = own.row.idempotency_key
        if seen.setdefault(key, own.row) != own.row:
            msg = f"idempotency_key {key!r} is in an earlier line with another content: give each its own"
            raise file.error(own.line, msg, "idempotency_key")
        if key not in known:
            continue
        try:
            known[key].check_same(own.row)
        except RecommendationError as error:
            raise file.error(own.line, error, error.field) from None
