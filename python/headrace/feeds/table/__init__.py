"""Tables: rows of a DataFrame, a CSV, Parquet or npz file, read in blocks of columns, whatever their origin."""

from headrace.feeds.table.block import Block
from headrace.feeds.table.files import Table, open_table, table_paths

__all__ = ["Block", "Table", "open_table", "table_paths"]
