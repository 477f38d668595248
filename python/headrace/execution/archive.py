"""Archive: old rows as Parquet files, and the removal of those that nothing refers to.

::

    ledger, recommendations that have ended, runs, controls ─▶ copied once, and kept for ever: their keys stay unique
    bars, features, news, steps of the pipeline             ─▶ copied, then removed

What happens when
    it is killed: a file that is not whole is called ``….part``, and is left out; no row was removed for it.
    it is killed later: rows that were not removed yet are copied again next time, into another file.
    a row changes after it was copied: it stays, and is copied again next time.

Guarantees: a row is removed only after its copy is on the disk and was read back from it; no transaction holds more
than ``ARCHIVE_BATCH`` rows, so that none lasts over 1 s. Amounts and JSON are texts, times are UTC to the ms.
Does not: read an archive; whatever reads Parquet does.
"""

from __future__ import annotations

import os
import re
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from headrace.errors import OptionError
from headrace.execution.database.base import transaction
from headrace.execution.schema.tables import columns_of
from headrace.execution.values import canonical, time_of
from headrace.feeds.table.arrow import CHECKED, arrow
from headrace.limits import ARCHIVE_AGE_S, ARCHIVE_BATCH, ARCHIVE_GROUP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from headrace.execution.database.base import Connection, Row, Value

__all__ = ["SOURCES", "Archived", "archive"]


class Source(NamedTuple):
    """One table. since : the time that makes a row old. order : of its pages, unique. tables : with ``q`` as its own.

    removed_by : the columns that name a row which is removed; empty: rows are kept.
    """

    since: str
    order: tuple[tuple[str, str], ...]
    tables: str
    removed_by: tuple[str, ...] = ()


_OF_TICKERS = (("q.ticker", "TEXT"), ("q.ts", "time"))
# Those that refer to others come first, so that they are removed first.
SOURCES: dict[str, Source] = {
    "dispatch_executions": Source(
        "r.processed_at",
        (("r.processed_at", "time"), ("r.id", "key")),
        "dispatch_executions q JOIN dispatch_recommendations r ON r.id = q.recommendation_id",
    ),
    "dispatch_recommendations": Source(
        "q.processed_at", (("q.processed_at", "time"), ("q.id", "key")), "dispatch_recommendations q"
    ),
    "dispatcher_runs": Source("q.started_at", (("q.started_at", "time"), ("q.run_id", "uuid")), "dispatcher_runs q"),
    "dispatch_controls": Source("q.created_at", (("q.id", "key"),), "dispatch_controls q"),
    "lane_features": Source("q.ts", _OF_TICKERS, "lane_features q", ("ticker", "ts")),
    "lane_telemetry": Source("q.ts", _OF_TICKERS, "lane_telemetry q", ("ticker", "ts")),
    "inbound_events_classified": Source(
        "r.received_at",
        (("r.received_at", "time"), ("r.event_id", "TEXT")),
        "inbound_events_classified q JOIN inbound_events_raw r ON r.event_id = q.event_id",
        ("event_id",),
    ),
    "inbound_events_raw": Source(
        "q.received_at",
        (("q.received_at", "time"), ("q.event_id", "TEXT")),
        "inbound_events_raw q",
        ("event_id",),
    ),
    "pipeline_runs": Source("q.finished_at", (("q.id", "key"),), "pipeline_runs q", ("id",)),
}
_BOUND = {"time": "AT(:{})", "uuid": "CAST(:{} AS uuid)", "json": "JSON(:{})"}
_READ = {"time": "MS({})", "uuid": "CAST({} AS TEXT)", "json": "CAST({} AS TEXT)"}
_LOWEST: dict[str, Value] = {"time": -1, "key": -1, "TEXT": "", "uuid": "00000000-0000-0000-0000-000000000000"}
_NAME = re.compile(r"-until-(\d+)\.parquet")


class Archived(NamedTuple):
    """What became of one table. file : None: there was no old row. rows : copied. removed : of them."""

    table: str
    file: Path | None
    rows: int
    removed: int


def archive(
    connection: Connection, folder: Path, before_ms: int, progress: Callable[[str, int], object] = lambda *_: None
) -> list[Archived]:
    """Archive what is older than a time; return what was done, by table. progress : gets a table and its rows so far.

    Raises OptionError for a time within the last hour, since an open transaction may still write there, and where files
    cannot be written; StoreError; MissingExtraError without pyarrow.
    """
    [[now_ms]] = connection.rows("SELECT MS(NOW())")
    if before_ms > now_ms - ARCHIVE_AGE_S * 1000:
        msg = f"before={time_of(before_ms):%Y-%m-%dT%H:%M:%SZ} is not old enough: use a time at least an hour ago"
        raise OptionError(msg, option="before")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [_archived(connection, folder, table, before_ms, progress) for table in SOURCES]
    except OSError as error:
        msg = f"{folder} cannot be written: {error}; check the folder and the free space, and archive again"
        raise OptionError(msg, option="folder") from error


def _archived(
    connection: Connection, folder: Path, table: str, before_ms: int, progress: Callable[[str, int], object]
) -> Archived:
    source = SOURCES[table]
    files = [int(found[1]) for path in folder.glob(f"{table}-until-*.parquet") if (found := _NAME.search(path.name))]
    # What is removed is copied wherever it lies: old rows may have come late.
    since_ms = -1 if source.removed_by else max(files, default=-1)
    target = folder / f"{table}-until-{before_ms}.parquet"
    if target.exists():
        # The same archive again: what it did not remove then is removed now.
        return Archived(table, target, 0, _removed(connection, table, target))
    rows = _copied(connection, table, target, (since_ms, before_ms), progress)
    if not rows:
        return Archived(table, None, 0, 0)
    return Archived(table, target, rows, _removed(connection, table, target))


def _copied(
    connection: Connection,
    table: str,
    target: Path,
    span_ms: tuple[int, int],
    progress: Callable[[str, int], object],
) -> int:
    """Write old rows to a file, which gets its name when all of it is on the disk; return how many."""
    pyarrow, parquet = arrow("", "an archive"), arrow(".parquet", "an archive")
    schema = pyarrow.schema([(name, _arrow(pyarrow, kind)) for name, kind in columns_of(table).items()])
    part, count, held = target.with_suffix(".part"), 0, []
    with parquet.ParquetWriter(part, schema, **CHECKED) as writer:
        for page in _pages(connection, table, span_ms):
            held += page
            count += len(page)
            progress(table, count)
            if len(held) >= ARCHIVE_GROUP:
                writer.write_table(_table(pyarrow, schema, held))
                held = []
        if held:
            writer.write_table(_table(pyarrow, schema, held))
    if not count:
        part.unlink()
        return 0
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.rename(target)
    descriptor = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return count


def _pages(connection: Connection, table: str, span_ms: tuple[int, int]) -> Iterator[list[Row]]:
    """Yield old rows, some at a time, each page by a statement of its own; what precedes a page is named by its key."""
    source, dialect = SOURCES[table], connection.dialect.name
    reads = ", ".join(_read(f"q.{name}", kind, dialect) for name, kind in columns_of(table).items())
    keys = ", ".join(_read(name, kind, dialect) for name, kind in source.order)
    places = ", ".join(_bound(f"k{number}", kind, dialect) for number, (_, kind) in enumerate(source.order))
    order = ", ".join(name for name, _ in source.order)
    text = (
        f"SELECT {reads}, {keys} FROM {source.tables}"
        f" WHERE {source.since} >= AT(:since) AND {source.since} < AT(:until)"
        f" AND ({order}) > ({places}) ORDER BY {order} LIMIT :most"
    )
    after: list[Value] = [_LOWEST[kind] for _, kind in source.order]
    width = len(source.order)
    while True:
        values: dict[str, Value] = {f"k{number}": value for number, value in enumerate(after)}
        rows = connection.rows(text, {**values, "since": span_ms[0], "until": span_ms[1], "most": ARCHIVE_BATCH})
        if not rows:
            return
        yield [row[:-width] for row in rows]
        after = list(rows[-1][-width:])


def _removed(connection: Connection, table: str, target: Path) -> int:
    """Remove the rows of a file that are as they were when they were copied; return how many."""
    parquet = arrow(".parquet", "an archive")
    source, dialect = SOURCES[table], connection.dialect.name
    if not source.removed_by:
        return 0
    columns = columns_of(table)
    same = "IS" if dialect == "sqlite" else "IS NOT DISTINCT FROM"
    where = " AND ".join(
        f"q.{name} {'=' if name in source.removed_by else same} {_bound(name, kind, dialect)}"
        for name, kind in columns.items()
    )
    total = 0
    # What is removed must be what the file holds.
    with parquet.ParquetFile(target, page_checksum_verification=True) as file:
        for batch in file.iter_batches(batch_size=ARCHIVE_BATCH):
            rows = zip(*(_values(batch.column(name), kind) for name, kind in columns.items()), strict=True)
            with transaction(connection):
                named = [dict(zip(columns, own, strict=True)) for own in rows]
                total += connection.many(f"DELETE FROM {table} AS q WHERE {where}", named)
    return total


def _read(column: str, kind: str, dialect: str) -> str:
    if dialect == "sqlite" and kind != "time":
        return column
    return _READ.get(kind, "{}").format(column)


def _bound(name: str, kind: str, dialect: str) -> str:
    if dialect == "sqlite" and kind != "time":
        return f":{name}"
    return _BOUND.get(kind, ":{}").format(name)


def _held(value: Any) -> Any:
    """Return a value as an archive holds it."""
    return canonical(value) if isinstance(value, Decimal) else value


def _table(pyarrow: Any, schema: Any, rows: list[Row]) -> Any:
    columns = zip(*rows, strict=True)
    arrays = [
        pyarrow.array([_held(value) for value in own]).cast(field.type)
        for field, own in zip(schema, columns, strict=True)
    ]
    return pyarrow.Table.from_arrays(arrays, schema=schema)


def _values(column: Any, kind: str) -> list[Any]:
    """Return a column of an archive as the database gives it."""
    values: list[Any] = (column.cast("int64") if kind == "time" else column).to_pylist()
    return values


def _arrow(pyarrow: Any, kind: str) -> Any:
    return {
        "time": pyarrow.timestamp("ms", tz="UTC"),
        "float": pyarrow.float64(),
        **dict.fromkeys(("id", "key", "INTEGER"), pyarrow.int64()),
    }.get(kind, pyarrow.string())
