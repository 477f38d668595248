"""Layouts: what the columns of a file of ticks mean, and how a block of them becomes ticks.

::

    header, name of the file ─▶ layout_of ─▶ Layout.read(block) ─▶ ticks

    tardis       trades, quotes, book_ticker, incremental_book_L2: by their header
    archive      trades, aggTrades, bookTicker of Binance's public archive: by the file's name, with or without a header
    databento    trades, tbbo, mbp-1, bbo as CSV or DBN: by ``publisher_id`` and ``instrument_id``
    columns      anything else whose columns bear our names, or are named with ``columns=``

Guarantees: a cell that cannot be used is an error with file, row and column.
Does not: sort rows, or know what a venue calls its instruments elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from headrace.feeds.table.block import columns_named, refused
from headrace.feeds.tick_rows import TickRows
from headrace.market.tick import Flags

if TYPE_CHECKING:
    from headrace.feeds.table.block import Block
    from headrace.feeds.table.files import Table

__all__ = ["Layout", "TickOptions", "layout_of"]

SIDES = {"buy": 1, "sell": -1, "bid": 1, "ask": -1, "unknown": 0, "": 0, "b": 1, "a": -1, "s": -1, "n": 0}
# What Tardis calls the venues of which ours have other names.
VENUES = {"BINANCE_FUTURES": "BINANCE_USDM", "BINANCE_DELIVERY": "BINANCE_COINM"}
# Databento writes a price that is not there as the largest int64.
NO_PRICE = (1 << 63) - 1
ARCHIVE_NAME = re.compile(r"([A-Z0-9_]+)-(trades|aggTrades|bookTicker)-[0-9]{4}-[0-9]{2}(?:-[0-9]{2})?\.(?:csv|zip)")
ARCHIVE_COLUMNS: Mapping[str, Sequence[str]] = {
    "trades": ("id", "price", "qty", "quote_qty", "time", "is_buyer_maker", "is_best_match"),
    "aggTrades": (
        *("agg_trade_id", "price", "quantity", "first_trade_id", "last_trade_id", "transact_time"),
        *("is_buyer_maker", "is_best_match"),
    ),
    "bookTicker": (
        *("update_id", "best_bid_price", "best_bid_qty", "best_ask_price", "best_ask_qty"),
        *("transaction_time", "event_time"),
    ),
}
# Other names of our columns; case and underscores do not count.
NAMES: Mapping[str, Sequence[str]] = {
    "ts_init": ("local_timestamp", "ts_recv", "timestamp", "time", "ts", "datetime", "date"),
    "ts_event": ("exchange_timestamp", "event_time"),
    "instrument": (),
    "symbol": ("ticker", "pair"),
    "venue_seq": ("update_id", "sequence"),
    "trade_id": ("id",),
    "side": ("aggressor_side",),
    "buyer_is_maker": ("is_buyer_maker",),
    "price": ("px",),
    "size": ("qty", "quantity", "amount", "volume"),
    "bid_price": ("best_bid_price", "bid", "bid_px", "best_bid"),
    "ask_price": ("best_ask_price", "ask", "ask_px", "best_ask"),
    "bid_size": ("best_bid_qty", "bid_qty", "bid_amount", "bid_sz"),
    "ask_size": ("best_ask_qty", "ask_qty", "ask_amount", "ask_sz"),
}


class TickOptions(NamedTuple):
    """What a user says of a file of ticks. instrument : of all rows. venue : of the symbols in it."""

    instrument: str | None = None
    venue: str | None = None
    columns: Mapping[str, str] = {}
    unit: str | None = None


class Layout(NamedTuple):
    """One layout. name : for people. read : makes ticks of a block. time : the column of receive times, to prune by."""

    name: str
    read: Callable[[Block], np.ndarray]
    time: str
    unit: str | None = None


def layout_of(table: Table, file_name: str, options: TickOptions) -> Layout:
    """Return the layout of a table. Raises DataError: its columns mean nothing."""
    columns = set(table.columns)
    archived = ARCHIVE_NAME.fullmatch(file_name)
    if archived:
        return _archive(table, archived[1], archived[2], options)
    if {"exchange", "symbol", "timestamp", "local_timestamp"} <= columns and not options.columns:
        return _tardis(columns, options)
    if {"publisher_id", "instrument_id", "ts_event"} <= columns and not options.columns:
        return _databento(table, columns, options)
    return _by_columns(table, options)


# Tardis


def _tardis(columns: set[str], options: TickOptions) -> Layout:
    if "is_snapshot" in columns:
        fill: Callable[[Block, TickRows, Sequence[str]], None] = _tardis_levels
    elif "bid_price" in columns:
        fill = _tardis_quotes
    else:
        fill = _tardis_trades

    def read(block: Block) -> np.ndarray:
        codes, names = _tardis_instruments(block, options)
        unit = options.unit or "us"
        times = block.times_ns("local_timestamp", unit), block.times_ns("timestamp", unit)
        rows = TickRows(block, *times, names, codes)
        fill(block, rows, names)
        return rows.taken()

    return Layout("tardis", read, "local_timestamp", "us")


def _tardis_instruments(block: Block, options: TickOptions) -> tuple[np.ndarray | int, list[str]]:
    if options.instrument is not None:
        return 0, [options.instrument]
    codes, symbols = block.texts("symbol")
    _, exchanges = block.texts("exchange")
    if len(exchanges) != 1:
        raise refused(block.name, f"has rows of {', '.join(exchanges)}: one file is of one exchange", column="exchange")
    venue = exchanges[0].upper().replace("-", "_")
    venue = options.venue or VENUES.get(venue, venue)
    return codes, [f"{symbol.upper()}.{venue}" for symbol in symbols]


def _tardis_trades(block: Block, rows: TickRows, names: Sequence[str]) -> None:
    # Only Binance's numbers are known to be without holes.
    ids = _numbers(block, "id") if all(".BINANCE" in name for name in names) else 0
    prices, sizes = block.floats("price"), block.floats("amount")
    rows.fill("trade", {"price": prices, "size": sizes, "side": block.signs("side", SIDES), "venue_seq": ids})


def _tardis_quotes(block: Block, rows: TickRows, _names: Sequence[str]) -> None:
    # A side that is empty is absent: price and size 0.
    values = {
        f"{side}_{ours}": np.nan_to_num(block.floats(f"{side}_{theirs}", may_be_missing=True))
        for side in ("bid", "ask")
        for ours, theirs in (("price", "price"), ("size", "amount"))
    }
    rows.fill("quote", values)


def _tardis_levels(block: Block, rows: TickRows, _names: Sequence[str]) -> None:
    prices, sizes = block.floats("price"), block.floats("amount")
    rows.fill("level", {"price": prices, "size": sizes, "side": block.signs("side", SIDES)})
    rows.flag(block.flags("is_snapshot"), Flags.SNAPSHOT)


def _numbers(block: Block, column: str) -> np.ndarray | int:
    """Return ids as numbers; 0 where they are texts."""
    if block[column].dtype.kind in "iu":
        return block.whole(column, "u8")
    texts = [str(text) for text in block[column].tolist()]
    return np.array(texts, "u8") if all(text.isdigit() for text in texts) else 0


# Binance's public archive


def _archive(table: Table, symbol: str, what: str, options: TickOptions) -> Layout:
    if not table.has_header:
        table.with_names(ARCHIVE_COLUMNS[what])
    names = [options.instrument or f"{symbol}.{options.venue or 'BINANCE'}"]
    time = {"trades": "time", "aggTrades": "transact_time", "bookTicker": "event_time"}[what]

    def read(block: Block) -> np.ndarray:
        times = block.times_ns(time, options.unit)
        if what == "bookTicker":
            rows = TickRows(block, times, block.times_ns("transaction_time", options.unit), names)
            quote: dict[str, np.ndarray | int] = {"venue_seq": block.whole("update_id", "u8")}
            for side in ("bid", "ask"):
                quote[f"{side}_price"] = block.floats(f"best_{side}_price")
                quote[f"{side}_size"] = block.floats(f"best_{side}_qty")
            rows.fill("quote", quote)
            return rows.taken()
        # The archive has the venue's time alone: it stands for the time of receipt, too.
        rows = TickRows(block, times, times, names)
        fields: dict[str, np.ndarray | int] = {
            "price": block.floats("price"),
            "side": np.where(block.flags("is_buyer_maker"), -1, 1).astype("i1"),
        }
        if what == "trades":
            rows.fill("trade", fields | {"size": block.floats("qty"), "venue_seq": block.whole("id", "u8")})
        else:
            numbers = {"agg_trade_id": "venue_seq", "first_trade_id": "trade_first", "last_trade_id": "trade_last"}
            fields |= {ours: block.whole(theirs, "u8") for theirs, ours in numbers.items()}
            rows.fill("agg_trade", fields | {"size": block.floats("quantity")})
        return rows.taken()

    return Layout(f"archive {what}", read, time)


# Databento


def _databento(table: Table, columns: set[str], options: TickOptions) -> Layout:
    is_book = "bid_px_00" in columns
    if not (is_book or "price" in columns):
        raise refused(
            table.name, f"is no file of trades, tbbo, bbo or mbp-1: its columns are {', '.join(table.columns)}"
        )
    time = "ts_recv" if "ts_recv" in columns else "ts_event"

    def read(block: Block) -> np.ndarray:
        codes, names = _databento_instruments(block, options)
        rows = TickRows(block, block.times_ns(time, "ns"), block.times_ns("ts_event", "ns"), names, codes)
        actions = block["action"].astype(str) if "action" in columns else np.full(block.rows, "T")
        is_trade = actions == "T"
        sides = block.signs("side", SIDES) if "side" in columns else 0
        trade = {"price": databento_prices(block, "price"), "size": block.floats("size"), "side": sides}
        if not is_book:
            rows.fill("trade", trade)
            return rows.taken(is_trade)
        quote = {f"{side}_price": databento_prices(block, f"{side}_px_00") for side in ("bid", "ask")}
        quote |= {f"{side}_size": block.floats(f"{side}_sz_00") for side in ("bid", "ask")}
        rows.fill("quote", quote, ~is_trade)
        rows.fill("trade", trade, is_trade)
        if not is_trade.all():
            return rows.taken()
        # tbbo: each trade comes with the quote that it met, which stands before it.
        before = TickRows(block, block.times_ns(time, "ns"), block.times_ns("ts_event", "ns"), names, codes)
        before.fill("quote", quote)
        each = np.repeat(before.taken(), 2)
        each[1::2] = rows.taken()
        return each

    return Layout("databento", read, time, "ns")


def _databento_instruments(block: Block, options: TickOptions) -> tuple[np.ndarray | int, list[str]]:
    if options.instrument is not None:
        return 0, [options.instrument]
    codes, symbols = block.texts("symbol" if "symbol" in block else "instrument_id")
    return codes, [f"{symbol}.{options.venue or 'DATABENTO'}" for symbol in symbols]


def databento_prices(block: Block, column: str) -> np.ndarray:
    """Return prices, which are whole billionths unless they are written with a point; 0 where there is none."""
    values = block[column]
    if values.dtype.kind in "iu":
        prices: np.ndarray = np.where(values == NO_PRICE, 0.0, values / 1e9)
        return prices
    written: np.ndarray = np.nan_to_num(block.floats(column, may_be_missing=True))
    return written


# Columns of our names


def _by_columns(table: Table, options: TickOptions) -> Layout:
    names = _names(table, options)
    kind = "quote" if {"bid_price", "ask_price"} <= names.keys() else "trade"
    needed = ("ts_init", "bid_price", "ask_price") if kind == "quote" else ("ts_init", "price", "size")
    missing = [name for name in needed if name not in names]
    if missing:
        what = f"has no column for {', '.join(missing)} among {', '.join(table.columns)}"
        advice = f"rename the column, or name it with columns={{'{missing[0]}': …}}"
        raise refused(table.name, f"{what}: {advice}", column=missing[0])
    if options.instrument is None and not {"instrument", "symbol"} & names.keys():
        what = "says of no row what it is of: give instrument='BTCUSDT.BINANCE'"
        raise refused(table.name, what, column="instrument")

    def read(block: Block) -> np.ndarray:
        codes, instruments = _named_instruments(block, names, options)
        event = block.times_ns(names["ts_event"], options.unit) if "ts_event" in names else None
        rows = TickRows(block, block.times_ns(names["ts_init"], options.unit), event, instruments, codes)
        rows.fill(kind, (_quotes if kind == "quote" else _trades)(block, names))
        return rows.taken()

    return Layout(f"columns of {kind}s", read, names["ts_init"], options.unit)


def _names(table: Table, options: TickOptions) -> dict[str, str]:
    """Return which column is what. Raises DataError for a mapping that fits nothing."""
    for ours, theirs in options.columns.items():
        if ours not in NAMES:
            what = f"has no use for {ours!r} in columns=: there are {', '.join(NAMES)}"
            raise refused(table.name, what, column=theirs)
        if theirs not in table.columns:
            raise refused(table.name, f"has no column {theirs!r} among {', '.join(table.columns)}", column=theirs)
    return {**columns_named(NAMES, table.columns), **options.columns}


def _quotes(block: Block, names: Mapping[str, str]) -> dict[str, np.ndarray | int]:
    fields: dict[str, np.ndarray | int] = {name: block.floats(names[name]) for name in ("bid_price", "ask_price")}
    for name in ("bid_size", "ask_size"):
        # A missing size is unknown: a size of 0 would mean that nothing is bid or asked.
        known = name in names
        fields[name] = block.floats(names[name], may_be_missing=True) if known else np.full(block.rows, np.nan)
    if "venue_seq" in names:
        fields["venue_seq"] = _numbers(block, names["venue_seq"])
    return fields


def _trades(block: Block, names: Mapping[str, str]) -> dict[str, np.ndarray | int]:
    fields: dict[str, np.ndarray | int] = {name: block.floats(names[name]) for name in ("price", "size")}
    if "trade_id" in names:
        fields["venue_seq"] = _numbers(block, names["trade_id"])
    if "buyer_is_maker" in names:
        fields["side"] = np.where(block.flags(names["buyer_is_maker"]), -1, 1).astype("i1")
    elif "side" in names:
        fields["side"] = _sides(block, names["side"])
    return fields


def _named_instruments(
    block: Block, names: Mapping[str, str], options: TickOptions
) -> tuple[np.ndarray | int, list[str]]:
    if options.instrument is not None:
        return 0, [options.instrument]
    if "instrument" in names:
        codes, texts = block.texts(names["instrument"])
        return codes, texts
    codes, texts = block.texts(names["symbol"])
    if options.venue is None and not all("." in text for text in texts):
        block.refuse(names["symbol"], 0, f"is {texts[0]!r}, a symbol without a venue: give venue='BINANCE'")
    return codes, texts if options.venue is None else [f"{text}.{options.venue}" for text in texts]


def _sides(block: Block, column: str) -> np.ndarray:
    if block[column].dtype.kind in "iuf":
        sides = block.whole(column, "i1")
        block.refuse_rows(column, ~np.isin(sides, (1, 0, -1)), "which is neither +1 (buy) nor -1 (sell)")
        return sides
    return block.signs(column, SIDES)
