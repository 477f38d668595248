"""Loadable: a table that others fill, row by row or from a CSV file: which columns it has, and what each takes.

Guarantees: a row is checked before any statement; the same key again replaces the row, so that a load can be repeated.
Does not: hold recommendations; those are never replaced (``recommendation``).
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from headrace.errors import RecommendationError
from headrace.execution.database.base import transaction
from headrace.execution.values import amount_of, json_object, ms_of, refuse_value
from headrace.market.checks import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from headrace.execution.database.base import Connection, Value

__all__ = ["BARS", "FEATURES", "WATCHLIST", "Loadable", "time_text_ms"]


class Column(NamedTuple):
    """One column. check : returns what the database holds. is_time, is_json : how the statement passes it."""

    check: Callable[[str, object], Value]
    required: bool = True
    is_time: bool = False
    is_json: bool = False


class Loadable(NamedTuple):
    """One table. key : its columns of the primary key."""

    table: str
    key: tuple[str, ...]
    columns: Mapping[str, Column]

    def checked(self, row: Mapping[str, object]) -> dict[str, Value]:
        """Return a row as the database holds it. Raises RecommendationError."""
        for name in row:
            if name not in self.columns:
                known = f"{nearest(name, self.columns)}; it has {', '.join(self.columns)}"
                msg = f"{self.table} has no column {name!r}{known}"
                raise RecommendationError(msg, field=name)
        checked: dict[str, Value] = {}
        for name, column in self.columns.items():
            value = row.get(name)
            if value is None:
                if column.required:
                    msg = f"{self.table} needs {name}: give it a value"
                    raise RecommendationError(msg, field=name)
                checked[name] = None
            else:
                checked[name] = column.check(name, value)
        return checked

    def write(self, connection: Connection, rows: Sequence[Mapping[str, Value]]) -> None:
        """Write checked rows in one transaction. Raises StoreError."""
        with transaction(connection):
            for row in rows:
                self.write_row(connection, row)

    def write_row(self, connection: Connection, row: Mapping[str, Value]) -> None:
        """Write a checked row, inside of a transaction. Raises StoreError."""
        names = list(self.columns)
        values = ", ".join(
            f"AT(:{name})" if column.is_time else f"JSON(:{name})" if column.is_json else f":{name}"
            for name, column in self.columns.items()
        )
        updates = ", ".join(f"{name} = excluded.{name}" for name in names if name not in self.key)
        text = (
            f"INSERT INTO {self.table} ({', '.join(names)}) VALUES ({values})"
            f" ON CONFLICT ({', '.join(self.key)}) DO UPDATE SET {updates}"
        )
        connection.changed(text, row)


def time_text_ms(field: str, value: object) -> int:
    """Return a time as ms: ns, an aware datetime, or the text of either. Raises RecommendationError."""
    if isinstance(value, str):
        if value.isdecimal():
            return ms_of(field, int(value))
        try:
            value = dt.datetime.fromisoformat(value)
        except ValueError:
            raise refuse_value(field, value, "ns since 1970, or a time like 2026-01-13T15:30:00Z") from None
    return ms_of(field, value)  # type: ignore[arg-type]  # what is no time is refused there


def _ticker(field: str, value: object) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= 64 or "\0" in value:
        raise refuse_value(field, value, "a text of 1 to 64 characters")
    return value


def _amount(low: int, *, at_low: bool) -> Callable[[str, object], str]:
    def check(field: str, value: object) -> str:
        text = amount_of(field, value)  # type: ignore[arg-type]  # what is no amount is refused there
        if not (Decimal(text) > low or (at_low and Decimal(text) == low)):
            raise refuse_value(field, value, f"a number {'from' if at_low else 'above'} {low}")
        return text

    return check


def _whole(low: int, high: int) -> Callable[[str, object], int]:
    def check(field: str, value: object) -> int:
        try:
            number = int(str(value))
        except ValueError:
            number = low - 1
        if isinstance(value, bool) or not low <= number <= high:
            raise refuse_value(field, value, f"a whole number from {low} to {high}")
        return number

    return check


_PRICE, _POSITIVE = Column(_amount(0, at_low=False)), _amount(0, at_low=True)
_TIME = Column(time_text_ms, is_time=True)

BARS = Loadable(
    "lane_telemetry",
    ("ticker", "ts"),
    {
        "ticker": Column(_ticker),
        "ts": _TIME,
        "open": _PRICE,
        "high": _PRICE,
        "low": _PRICE,
        "close": _PRICE,
        "volume": Column(_POSITIVE),
    },
)
FEATURES = Loadable(
    "lane_features",
    ("ticker", "ts"),
    {
        "ticker": Column(_ticker),
        "ts": _TIME,
        "sma_20": _PRICE._replace(required=False),
        "sma_50": _PRICE._replace(required=False),
        "volume_ratio": Column(_POSITIVE, required=False),
        "trend": Column(_whole(-1, 1), required=False),
        "recent_vol": Column(_POSITIVE, required=False),
    },
)
WATCHLIST = Loadable(
    "watchlist_state",
    ("ticker",),
    {
        "ticker": Column(_ticker),
        "rank": Column(_whole(1, 1_000_000)),
        "score": Column(_amount(-(10**18), at_low=True)),
        "reasons_json": Column(json_object, is_json=True),
        "updated_at": _TIME,
    },
)
