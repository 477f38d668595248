"""Loadable: a table that others fill, row by row or from a CSV file: which columns it has, and what each takes.

Guarantees: a row is checked before any statement; the same key again replaces the row, so that a load can be repeated.
Does not: hold recommendations; those are never replaced (``recommendation``).
"""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from headrace.errors import RecommendationError
from headrace.execution.database.base import transaction
from headrace.execution.values import amount_of, json_object, ms_of, refuse_value
from headrace.market.checks import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from headrace.execution.database.base import Connection, Value

__all__ = ["BARS", "FEATURES", "WATCHLIST", "Column", "Loadable", "time_text_ms", "whole_number"]


class Column(NamedTuple):
    """One column. check : returns what the database holds. is_time, is_json : how the statement passes it."""

    check: Callable[[str, object], Value]
    required: bool = True
    is_time: bool = False
    is_json: bool = False


class Loadable(NamedTuple):
    """One table. key : its columns of the primary key. check_row : raises for values that do not fit together."""

    table: str
    key: tuple[str, ...]
    columns: Mapping[str, Column]
    check_row: Callable[[Mapping[str, Value]], object] = lambda _: None

    def check_columns(self, names: Iterable[str]) -> None:
        """Raise RecommendationError for a column that the table has not, or needs and is not there."""
        given = set(names)
        for name in sorted(given):
            if name not in self.columns:
                known = f"{nearest(name, self.columns)}; it takes {', '.join(self.columns)}"
                msg = f"{self.table} has no column {name!r}{known}"
                raise RecommendationError(msg, field=name)
        for name, column in self.columns.items():
            if column.required and name not in given:
                msg = f"{self.table} needs a column {name}, and it is not there"
                raise RecommendationError(msg, field=name)

    def checked(self, row: Mapping[str, object]) -> dict[str, Value]:
        """Return a row as the database holds it. Raises RecommendationError."""
        if not row.keys() <= self.columns.keys():
            self.check_columns(row)
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
        self.check_row(checked)
        return checked

    def write(self, connection: Connection, rows: Sequence[Mapping[str, Value]]) -> None:
        """Write checked rows in one transaction. Raises StoreError."""
        with transaction(connection):
            self.write_inside(connection, rows)

    def write_inside(self, connection: Connection, rows: Sequence[Mapping[str, Value]]) -> None:
        """Write checked rows, inside of a transaction. Raises StoreError."""
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
        connection.many(text, rows)


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


def whole_number(low: int, high: int) -> Callable[[str, object], int]:
    """Return a check of whole numbers, or of their texts."""

    def check(field: str, value: object) -> int:
        # int() takes more: spaces, underscores, digits of other scripts.
        is_whole = not isinstance(value, bool) and re.fullmatch(r"[+-]?[0-9]{1,20}", str(value)) is not None
        number = int(str(value)) if is_whole else low - 1
        if not low <= number <= high:
            raise refuse_value(field, value, f"a whole number from {low} to {high}")
        return number

    return check


def _check_prices(row: Mapping[str, Value]) -> None:
    """Raise RecommendationError for a bar whose open or close is not between its low and its high."""
    prices = {name: Decimal(str(row[name])) for name in ("high", "open", "close", "low")}
    if prices["high"] < prices["low"]:
        msg = f"high={row['high']} is below low={row['low']}: correct the bar, or leave it out"
        raise RecommendationError(msg, field="high")
    for name in ("open", "close"):
        if not prices["low"] <= prices[name] <= prices["high"]:
            msg = (
                f"{name}={row[name]} is not between low={row['low']} and high={row['high']}:"
                " correct the bar, or leave it out"
            )
            raise RecommendationError(msg, field=name)


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
    _check_prices,
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
        "trend": Column(whole_number(-1, 1), required=False),
        "recent_vol": Column(_POSITIVE, required=False),
    },
)
WATCHLIST = Loadable(
    "watchlist_state",
    ("ticker",),
    {
        "ticker": Column(_ticker),
        "rank": Column(whole_number(1, 1_000_000)),
        "score": Column(_amount(-(10**18), at_low=True)),
        "reasons_json": Column(json_object, is_json=True),
        "updated_at": _TIME,
    },
)
