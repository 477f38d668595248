"""Rows of a result: orders, fills and positions, and how rows become NumPy arrays and DataFrames.

::

    [Fill, Fill, …] ─▶ Rows ─▶ array(), to_polars(), to_pandas(), to_arrow(), a list of structs

Guarantees: a row's Decimals are exact; arrays and DataFrames have the same columns in the same order, amounts as
float64, times as int64 ns (datetime64[ns], UTC, in DataFrames).
Does not: need more than NumPy, until a DataFrame is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import msgspec
import numpy as np

from headrace.errors import MissingExtraError
from headrace.market.money import MONEY, ZERO

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from headrace.market.events import FundingPaid, OrderAmended, OrderFill, OrderRequested

__all__ = ["Fill", "FundingRow", "OrderRow", "PositionRow", "Rows"]

Row = TypeVar("Row", bound=msgspec.Struct)


class Fill(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One execution.

    ts : ns since 1970-01-01 UTC. side : +1 bought, -1 sold. fee : in ``currency``; above 0 it was paid. liquidity :
    "taker" or "maker". worth : signed, what changed hands, in ``currency`` (``Instrument.worth``). notional : its
    size. net : what all strategies held of the instrument after it. held_ns : from when on the curve has it: ``ts``,
    and 1 ns later for what the open of a candle fills at the close of the one before. bid, ask : of the newest quote
    then; None: there was none.
    """

    ts: int
    strategy: str
    instrument: str
    side: int
    quantity: Decimal
    price: Decimal
    fee: Decimal
    currency: str
    liquidity: str
    order_id: str
    worth: Decimal
    notional: Decimal
    net: Decimal
    held_ns: int
    bid: float | None
    ask: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return what ``--json`` shows of it."""
        return {name: plain(getattr(self, name)) for name in JSON_FILL}


JSON_FILL = ("ts", "strategy", "instrument", "side", "quantity", "price", "fee", "currency", "liquidity")


class OrderRow(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One order and what became of it.

    ts, end_ts : when it was submitted, and when it ended, ns; 0: it is open. price : the limit; None for an order that
    takes the market's price. requested_quantity : before a gate reduced it; None: none has. trigger_price, trail,
    trail_unit, limit_offset, reduce_only, post_only, oco : as in OrderRequested. quantity and prices : as amended
    last, ``amended`` times. triggered_ts : when its trigger was reached, ns; 0: it was not. state : "filled",
    "canceled", "expired", "rejected" or "open". average_price : over its fills, of an inverse contract the harmonic
    mean; 0 without. gate, reason : of a refusal; reason also of a cancel. cause : the tick that it was decided on, as
    text.
    """

    ts: int
    order_id: str
    strategy: str
    instrument: str
    side: int
    order_type: str
    quantity: Decimal
    price: Decimal | None
    time_in_force: str
    tag: str
    requested_quantity: Decimal | None = None
    trigger_price: Decimal | None = None
    trail: Decimal | None = None
    reduce_only: bool = False
    post_only: bool = False
    oco: str = ""
    amended: int = 0
    triggered_ts: int = 0
    state: str = "open"
    filled: Decimal = ZERO
    average_price: Decimal = ZERO
    fees: Decimal = ZERO
    fills: int = 0
    end_ts: int = 0
    gate: str = ""
    reason: str = ""
    cause: str = ""
    trail_unit: str = "price"
    limit_offset: Decimal | None = None

    @classmethod
    def of(cls, request: OrderRequested) -> OrderRow:
        """Return the row of a new order."""
        cause = request.cause
        return cls(
            ts=request.ts,
            order_id=request.order_id,
            strategy=request.strategy,
            instrument=request.instrument,
            side=request.side,
            order_type=request.order_type,
            quantity=request.quantity,
            price=request.price,
            time_in_force=request.time_in_force,
            tag=request.tag,
            requested_quantity=request.requested_quantity,
            trigger_price=request.trigger_price,
            trail=request.trail,
            trail_unit=request.trail_unit,
            limit_offset=request.limit_offset,
            reduce_only=request.reduce_only,
            post_only=request.post_only,
            oco=request.oco,
            cause="" if cause is None else f"{cause.instrument} {cause.kind} {cause.last}",
        )

    def amend(self, event: OrderAmended) -> None:
        """Take the values that the order has from now on."""
        self.quantity, self.price = event.quantity, event.price
        self.trigger_price, self.trail = event.trigger_price, event.trail
        self.amended += 1

    def fill(self, fill: OrderFill, average_price: Decimal) -> None:
        """Add an execution. average_price : of all until now."""
        self.filled, self.average_price = fill.filled, average_price
        self.fees = MONEY.add(self.fees, fill.fee)
        self.fills += 1

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {name: plain(getattr(self, name)) for name in self.__struct_fields__}


class FundingRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One payment of funding.

    ts, settled_ts : when its rate came, and when the venue settled it, ns since 1970-01-01 UTC. quantity : held then,
    signed. amount : in ``currency``; above 0 it was paid, below 0 received.
    """

    ts: int
    settled_ts: int
    strategy: str
    instrument: str
    quantity: Decimal
    mark: Decimal
    rate: Decimal
    amount: Decimal
    currency: str

    @classmethod
    def of(cls, paid: FundingPaid) -> FundingRow:
        """Return the row of a payment."""
        return cls(
            ts=paid.ts,
            settled_ts=paid.settled_ns,
            strategy=paid.strategy,
            instrument=paid.instrument,
            quantity=paid.quantity,
            mark=paid.mark_price,
            rate=paid.rate,
            amount=paid.amount,
            currency=paid.currency,
        )


class PositionRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A position at the end of the run; amounts in ``currency``.

    is_open : something is held, and valued at ``mark``, the last mid; None: there was none. profits without fees.
    fees, funding : paid; below 0 they were received.
    """

    strategy: str
    instrument: str
    quantity: Decimal
    average_price: Decimal
    mark: Decimal | None
    realized_pnl: Decimal
    unrealized_pnl: Decimal | None
    fees: Decimal
    funding: Decimal
    currency: str
    is_open: bool

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {name: plain(getattr(self, name)) for name in self.__struct_fields__}


def plain(value: Any) -> Any:
    """Return an amount as plain text without an exponent, and NaN as None; anything else as it is."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    return None if isinstance(value, float) and not np.isfinite(value) else value


class Rows(Sequence[Row], Generic[Row]):
    """Rows of one kind; a sequence of structs, and columns.

    kind : their class. rows : in their order.
    """

    def __init__(self, kind: type[Row], rows: Sequence[Row]) -> None:
        self.kind = kind
        self._rows = list(rows)

    @overload
    def __getitem__(self, key: int) -> Row: ...

    @overload
    def __getitem__(self, key: slice) -> Rows[Row]: ...

    def __getitem__(self, key: int | slice) -> Row | Rows[Row]:
        """Return a row, or some rows."""
        return Rows(self.kind, self._rows[key]) if isinstance(key, slice) else self._rows[key]

    def __len__(self) -> int:
        return len(self._rows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rows) and (self.kind, self._rows) == (other.kind, other._rows)

    __hash__ = None  # type: ignore[assignment]  # rows may be changed

    def __repr__(self) -> str:
        return f"Rows of {len(self):,} {self.kind.__name__}"

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return the rows as plain values: amounts as text without exponent."""
        return [{name: plain(getattr(row, name)) for name in row.__struct_fields__} for row in self._rows]

    def columns(self) -> dict[str, np.ndarray]:
        """Return a NumPy array for each field: int64, float64, bool or text; a missing amount is NaN."""
        return {
            field.name: _column(field.type, [getattr(row, field.name) for row in self._rows])
            for field in self._fields()
        }

    def array(self) -> np.ndarray:
        """Return the rows as one structured array, shape (n,), with a field for each column."""
        columns = self.columns()
        made = np.empty(len(self), [(name, column.dtype) for name, column in columns.items()])
        for name, column in columns.items():
            made[name] = column
        return made

    def to_polars(self) -> pl.DataFrame:
        """Return a polars DataFrame; times are Datetime("ns", "UTC"). Raises MissingExtraError without polars."""
        polars = extra("polars", "polars")
        frame: pl.DataFrame = polars.DataFrame(self.columns())
        times = [polars.col(name).cast(polars.Datetime("ns", "UTC")) for name in self._times()]
        return frame.with_columns(times)

    def to_pandas(self) -> pd.DataFrame:
        """Return a pandas DataFrame; times are datetime64[ns, UTC]. Raises MissingExtraError without pandas."""
        pandas = extra("pandas", "pandas")
        columns: dict[str, Any] = dict(self.columns())
        for name in self._times():
            columns[name] = pandas.to_datetime(columns[name], unit="ns", utc=True).as_unit("ns")
        frame: pd.DataFrame = pandas.DataFrame(columns)
        return frame

    def to_arrow(self) -> pa.Table:
        """Return an Arrow table; times are timestamp("ns", "UTC"). Raises MissingExtraError without pyarrow."""
        arrow = extra("pyarrow", "parquet")
        columns: dict[str, Any] = {}
        for name, column in self.columns().items():
            values = arrow.array(column.tolist() if column.dtype.kind == "U" else column)
            is_time = name in self._times()
            columns[name] = values.cast(arrow.timestamp("ns", "UTC")) if is_time else values
        table: pa.Table = arrow.table(columns)
        return table

    def _fields(self) -> tuple[msgspec.structs.FieldInfo, ...]:
        return msgspec.structs.fields(self.kind)

    def _times(self) -> list[str]:
        return [field.name for field in self._fields() if field.name == "ts" or field.name.endswith("_ts")]


def _column(form: Any, values: list[Any]) -> np.ndarray:
    if form is int:
        return np.array(values, np.int64)
    if form is bool:
        return np.array(values, bool)
    if form is str:
        return np.array(values, str) if values else np.empty(0, "U1")
    return np.array([np.nan if value is None else float(value) for value in values], np.float64)


def extra(package: str, name: str) -> Any:
    """Return a package that an extra installs. Raises MissingExtraError, which names the extra."""
    import importlib

    try:
        return importlib.import_module(package)
    except ImportError as error:
        msg = f'this needs {package}: pip install "headrace[{name}]"'
        raise MissingExtraError(msg) from error
