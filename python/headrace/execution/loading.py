"""Loading: a CSV file into a table, in transactions of at most 500 rows.

What happens when a row is wrong
    The error names its line and column. The rows of the transactions before it stay; loading again replaces them.

Guarantees: memory does not grow with the file.
Does not: guess a unit or a format of times.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

from headrace.errors import OptionError, RecommendationError
from headrace.execution.loadable import BARS, FEATURES, WATCHLIST, Loadable, time_text_ms
from headrace.execution.recommendation import NewRecommendation
from headrace.limits import STORE_BATCH_MAX
from headrace.market.checks import nearest
from headrace.market.wording import value_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from headrace.execution.store import Store

__all__ = ["TABLES", "load_csv"]

RECOMMENDATIONS = "dispatch_recommendations"
TABLES: dict[str, Loadable | None] = {
    RECOMMENDATIONS: None,
    **{own.table: own for own in (BARS, FEATURES, WATCHLIST)},
}
# Of a CSV of recommendations.
_TIMES = ("not_before", "expires_at")


def load_csv(store: Store, table: str, file: Path, progress: Callable[[int, int, str], object]) -> int:
    """Load a file and return how many rows it had. progress : gets bytes done, bytes in all, a text.

    Raises OptionError for a table that cannot be loaded, RecommendationError for a wrong row, StoreError.
    """
    if table not in TABLES:
        msg = f"table={value_text(table)} cannot be loaded{nearest(table, TABLES)}: use one of {', '.join(TABLES)}"
        raise OptionError(msg, option="table")
    total, batch, count = file.stat().st_size, [], 0
    for line, done, row in _rows(file):
        try:
            batch.append(_checked(table, row))
        except (RecommendationError, TypeError) as error:
            field = getattr(error, "field", "row")
            raise RecommendationError(f"{file} line {line}: {error}", field=field) from None
        count += 1
        if len(batch) == STORE_BATCH_MAX:
            _write(store, table, batch)
            batch = []
            progress(done, total, f"{count:,} rows")
    _write(store, table, batch)
    return count


def _rows(file: Path) -> Iterator[tuple[int, int, dict[str, object]]]:
    """Yield each row's line, the bytes read so far, and its values; an empty cell is None."""
    with file.open(newline="", encoding="utf-8-sig") as source:
        lines = iter(source.readline, "")
        done = 0

        def counted() -> Iterator[str]:
            nonlocal done
            for text in lines:
                done += len(text)
                yield text

        reader = csv.DictReader(counted(), strict=True)
        try:
            for row in reader:
                if None in row or None in row.values():
                    msg = f"{file} line {reader.line_num}: it has other columns than the first line: correct it"
                    raise RecommendationError(msg, field="row")
                yield reader.line_num, done, {name: value or None for name, value in row.items()}
        except (csv.Error, UnicodeDecodeError) as error:
            msg = f"{file} line {reader.line_num + 1} is no CSV in UTF-8: {error}"
            raise RecommendationError(msg, field="row") from None


def _checked(table: str, row: Mapping[str, object]) -> Any:
    loadable = TABLES[table]
    if loadable is not None:
        return loadable.checked(row)
    given: dict[str, Any] = {name: value for name, value in row.items() if value is not None}
    known = (*NewRecommendation._fields[:8], "cause")
    for name in given:
        if name not in known:
            msg = f"{table} takes no column {name!r}{nearest(name, known)}; it takes {', '.join(known)}"
            raise RecommendationError(msg, field=name)
    for name in ("ticker", "action", "confidence", "idempotency_key"):
        if name not in given:
            msg = f"{table} needs {name}: give it a value"
            raise RecommendationError(msg, field=name)
    times: dict[str, Any] = {name: time_text_ms(name, given.pop(name)) for name in _TIMES if name in given}
    try:
        numbers: dict[str, Any] = {"confidence": float(given.pop("confidence"))}
        numbers |= {"priority": int(given.pop("priority"))} if "priority" in given else {}
    except ValueError as error:
        raise RecommendationError(f"{error}: write a number", field="row") from None
    checked = NewRecommendation.checked(**{"reason": {}, **given, **numbers})
    return checked._replace(**times)


def _write(store: Store, table: str, batch: list[Any]) -> None:
    loadable = TABLES[table]
    if loadable is None:
        store.recommend_all(batch)
    else:
        store.write_rows(loadable, batch)
