"""A result as one file: a zip archive of a JSON document and the arrays of curves and prices.

::

    result.headrace ─ header.json  {"format": "headrace result", "version": 2}
                      result.json  rows, figures, settings: amounts as text
                      curves/0.npy, …, prices/0.npy, …

Guarantees: a file that is there stays as it was until the new one is whole; a file of another version is refused, with
both versions; the same result gives the same bytes.
Does not: hold code or ticks.
"""

from __future__ import annotations

import io
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from headrace.errors import ResultError
from headrace.feeds.files import refuse_endless, write_whole
from headrace.research.curve import CURVE_DTYPE
from headrace.research.rows import Fill, FundingRow, OrderRow, PositionRow, Rows
from headrace.research.statistics import Statistics
from headrace.research.trips import RoundTrip

if TYPE_CHECKING:
    import os

    from headrace.research.result import BacktestResult

__all__ = ["VERSION", "read", "save"]

VERSION = 2
FORMAT = "headrace result"
HEADER, DOCUMENT = "header.json", "result.json"
# The dates of files in the archive, so that they depend on nothing.
DATE = (1980, 1, 1, 0, 0, 0)


class _Header(msgspec.Struct, frozen=True):
    """What identifies the file."""

    format: str
    version: int


class _Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A result without its arrays; these are named in their order."""

    currency: str
    cash: dict[str, Decimal]
    balances: dict[str, dict[str, Decimal | None]]
    curves: list[str]
    prices: list[str]
    trades: list[RoundTrip]
    orders: list[OrderRow]
    fills: list[Fill]
    funding: list[FundingRow]
    positions: list[PositionRow]
    statistics: dict[str, float | int | None]
    settings: dict[str, Any]
    notes: tuple[str, ...]
    engine: dict[str, Any]
    audit_hash: str | None
    input_hash: str | None
    versions: dict[str, str]
    stopped: bool
    sweep: dict[str, Any]


def save(result: BacktestResult, path: str | os.PathLike[str]) -> Path:
    """Write a result as one file. Raises ResultError: it cannot be written."""
    target = Path(path)
    document = _Document(
        currency=result.currency,
        notes=result.notes,
        audit_hash=result.audit_hash,
        input_hash=result.input_hash,
        stopped=result.stopped,
        cash=dict(result.cash),
        settings=dict(result.settings),
        engine=dict(result.engine),
        versions=dict(result.versions),
        sweep=dict(result.sweep),
        balances={name: dict(own) for name, own in result.balances.items()},
        curves=list(result.curves),
        prices=list(result.prices),
        trades=list(result.trades),
        orders=list(result.orders),
        fills=list(result.fills),
        funding=list(result.funding),
        positions=list(result.positions),
        statistics=msgspec.structs.asdict(result.statistics),
    )
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        _put(archive, HEADER, msgspec.json.encode(_Header(FORMAT, VERSION)))
        _put(archive, DOCUMENT, msgspec.json.encode(document))
        for folder, arrays in (("curves", result.curves), ("prices", result.prices)):
            for number, array in enumerate(arrays.values()):
                own = io.BytesIO()
                np.save(own, array, allow_pickle=False)
                _put(archive, f"{folder}/{number}.npy", own.getvalue())
    return write_whole(target, data.getvalue(), "result", ResultError)


def _put(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, DATE)
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, data)


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the values of a result. Raises ResultError: it is missing, damaged, no result, or of another version."""
    source = Path(path)
    try:
        refuse_endless(source)
        with zipfile.ZipFile(source) as archive:
            _check(archive.read(HEADER), source)
            document = msgspec.json.decode(archive.read(DOCUMENT), type=_Document)
            curves = _arrays(archive, "curves", document.curves)
            prices = _arrays(archive, "prices", document.prices)
    except FileNotFoundError as error:
        raise _refused(source, "is missing: name a file that backtest --out wrote") from error
    except OSError as error:
        raise _refused(source, f"cannot be read: {error.strerror or error}") from error
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError, msgspec.DecodeError) as error:
        raise _refused(source, f"is no result, or is damaged ({error}): make it again with backtest --out") from error
    if any(curve.dtype != CURVE_DTYPE for curve in curves.values()):
        raise _refused(source, "is damaged: a curve has other fields; make it again with backtest --out")
    values = {name: getattr(document, name) for name in document.__struct_fields__}
    figures = {name: np.nan if own is None else own for name, own in document.statistics.items()}
    values |= {
        "curves": curves,
        "prices": prices,
        "trades": Rows(RoundTrip, document.trades),
        "orders": Rows(OrderRow, document.orders),
        "fills": Rows(Fill, document.fills),
        "funding": Rows(FundingRow, document.funding),
        "positions": Rows(PositionRow, document.positions),
        "statistics": msgspec.convert(figures, Statistics),
    }
    return values


def _check(data: bytes, source: Path) -> None:
    header = msgspec.json.decode(data, type=_Header)
    if header.format != FORMAT:
        raise _refused(source, f"is no result but {header.format!r}: name a file that backtest --out wrote")
    if header.version != VERSION:
        what = f"has version {header.version}, and this headrace reads version {VERSION}"
        raise _refused(source, f"{what}: use the headrace that wrote it, or make it again with backtest --out")


def _arrays(archive: zipfile.ZipFile, folder: str, names: list[str]) -> dict[str, np.ndarray]:
    return {
        name: np.load(io.BytesIO(archive.read(f"{folder}/{number}.npy")), allow_pickle=False)
        for number, name in enumerate(names)
    }


def _refused(path: Path, what: str) -> ResultError:
    return ResultError(f"result {path} {what}", path=str(path))
