"""Arrow: pyarrow, imported at its first use, and its columns as NumPy arrays.

Guarantees: without the extra the error is one line that names it; missing numbers become NaN, missing texts "".
Does not: read files (``csv``, ``parquet``).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CHECKED", "array_of", "arrays_of", "arrow"]

# Of each Parquet file that is written: without checksums of its pages, a changed bit is a changed number.
CHECKED = {"write_page_checksum": True}


def arrow(module: str, what: str) -> Any:
    """Return pyarrow, or a module of it. what : that needs it. Raises MissingExtraError."""
    try:
        return import_module(f"pyarrow{module}")
    except ImportError:
        msg = f'{what} needs pyarrow, a library of columns: pip install "headrace[parquet]"'
        raise MissingExtraError(msg) from None


def arrays_of(batch: Any) -> Mapping[str, np.ndarray]:
    """Return the columns of a record batch or an Arrow table by name."""
    return {name: array_of(batch.column(name)) for name in batch.schema.names}


def array_of(column: Any) -> np.ndarray:
    """Return a column as an array: numbers and times as they are, whole numbers with missing ones as floats."""
    types = arrow(".types", "a table")
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if types.is_decimal(column.type):
        column = column.cast("float64")
    elif types.is_date(column.type):
        column = column.cast("timestamp[s]" if types.is_date32(column.type) else "timestamp[ms]")
    elif types.is_string(column.type) or types.is_large_string(column.type):
        column = column.fill_null("")
    return np.asarray(column.to_numpy(zero_copy_only=False) if hasattr(column, "buffers") else column.to_numpy())
