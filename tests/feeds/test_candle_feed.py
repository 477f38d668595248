"""Candles from DataFrames, CSV and Parquet: the same from each, stamped at their close, wrong cells named."""

from __future__ import annotations

import asyncio
import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest

from headrace import Engine
from headrace.errors import DataError, OptionError
from headrace.feeds import CandleFeed
from headrace.market.candles import CANDLE_DTYPE
from tests.support.candles import MINUTE, candles, flat, walk
from tests.support.engines import START
from tests.support.feeding import BTC

EACH = candles(walk(50))
HEADER = "open_time,open,high,low,close,volume,count"


def csv_text(each: np.ndarray = EACH, *, unit_ns: int = 1_000_000, header: str = HEADER + "\n") -> str:
    rows = [
        f"{row['ts_open'] // unit_ns},{row['open']},{row['high']},{row['low']},{row['close']},{row['volume']},1"
        for row in each
    ]
    return header + "\n".join(rows) + "\n"


def columns(each: np.ndarray = EACH) -> dict[str, Any]:
    return {name: each[name] for name in ("open", "high", "low", "close", "volume")}


def pandas_frame(unit: str = "ns", zone: str | None = None) -> Any:
    index = pd.DatetimeIndex(EACH["ts_open"].astype("M8[ns]").astype(f"M8[{unit}]"))
    return pd.DataFrame(columns(), index=index if zone is None else index.tz_localize("UTC").tz_convert(zone))


def polars_frame() -> Any:
    return pl.DataFrame({"timestamp": EACH["ts_open"].astype("M8[ns]").astype("M8[ms]"), **columns()})


def arrow_table() -> Any:
    return pa.table({"time": pa.array(EACH["ts_open"].astype("M8[ns]"), pa.timestamp("us", "UTC")), **columns()})


def in_file(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / name
        data = csv_text().encode()
        if name.endswith(".gz"):
            data = gzip.compress(data)
        elif name.endswith(".zst"):
            data = pa.compress(data, codec="zstd", asbytes=True)
        if name.endswith(".zip"):
            with zipfile.ZipFile(path, "w") as file:
                file.writestr(name[:-4] + ".csv", data)
        elif name.endswith(".parquet"):
            pa.parquet.write_table(arrow_table(), path)
        else:
            path.write_bytes(data)
        return path

    return write


SOURCES: dict[str, Callable[[Path], Any]] = {
    "pandas_ns": lambda _: pandas_frame(),
    "pandas_us": lambda _: pandas_frame("us"),
    "pandas_s_in_new_york": lambda _: pandas_frame("s", "America/New_York"),
    "polars_ms": lambda _: polars_frame(),
    "arrow_us": lambda _: arrow_table(),
    "array": lambda _: EACH,
    **{name: in_file(name) for name in ("a.csv", "a.csv.gz", "a.csv.zst", "a.zip", "a.parquet")},
}


def read(source: Any, **options: Any) -> np.ndarray:
    return CandleFeed(source, **{"instrument": BTC, **options}).read()


@pytest.mark.parametrize("name", SOURCES)
def test_each_kind_of_source_gives_the_same_candles(name: str, tmp_path: Path) -> None:
    found = read(SOURCES[name](tmp_path))
    assert found.dtype == CANDLE_DTYPE
    assert np.array_equal(found, EACH)


@pytest.mark.parametrize("unit_ns", [1, 1_000, 1_000_000, 1_000_000_000])
def test_unit_of_times_in_text_is_found_by_their_magnitude(unit_ns: int, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(csv_text(unit_ns=unit_ns))
    assert np.array_equal(read(path), EACH)


def test_dates_in_text_are_utc(tmp_path: Path) -> None:
    path = tmp_path / "daily.csv"
    path.write_text("Date,Open,High,Low,Close\n2004-08-19,50,52,48,50\n2004-08-20,50,54,50,54\n")
    found = read(path)
    assert found["ts_open"].astype("M8[ns]").astype("M8[D]").tolist() == [
        np.datetime64(day).astype(object) for day in ("2004-08-19", "2004-08-20")
    ]
    assert (found["ts_close"] - found["ts_open"] == 86_400 * 10**9).all()


def test_times_with_a_zone_in_text_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("time,open,high,low,close\n2025-01-01T00:00:00Z,1,1,1,1\n2025-01-01T00:01:00+00:00,1,1,1,1\n")
    assert read(path)["ts_open"].tolist() == [1_735_689_600 * 10**9, 1_735_689_660 * 10**9]


# The public archive: open_time, open, high, low, close, volume, close_time, … without a header


def archive_text(first_ns: int, unit_ns: int, opens: Iterable[float]) -> str:
    lines = []
    for number, price in enumerate(opens):
        begin = (first_ns + number * MINUTE) // unit_ns
        # Its close is one unit early.
        end = (first_ns + (number + 1) * MINUTE) // unit_ns - 1
        lines.append(f"{begin},{price},{price},{price},{price},7.5,{end},750.0,12,3.1,310.0,0")
    return "\n".join(lines) + "\n"


def test_archive_has_no_seam_where_its_unit_changed(tmp_path: Path) -> None:
    """From 2025 on its times are µs, before they are ms; and each close is one unit before the next open."""
    year = 1_735_689_600 * 10**9
    (tmp_path / "BTCUSDT-1m-2024-12.csv").write_text(archive_text(year - 3 * MINUTE, 1_000_000, [1, 2, 3]))
    (tmp_path / "BTCUSDT-1m-2025-01.csv").write_text(archive_text(year, 1_000, [4, 5]))
    feed = CandleFeed(tmp_path)
    found = feed.read()
    assert (feed.instrument, feed.timeframe) == ("BTCUSDT.BINANCE", "1m")
    assert found["ts_open"].tolist() == [year + number * MINUTE for number in range(-3, 2)]
    assert (found["ts_close"] == found["ts_open"] + MINUTE).all()
    assert found["open"].tolist() == [1, 2, 3, 4, 5]
    assert found["count"].tolist() == [12] * 5


def test_archive_of_futures_has_a_header(tmp_path: Path) -> None:
    header = (
        "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,"
        "taker_buy_quote_volume,ignore\n"
    )
    path = tmp_path / "BTCUSDT-1h-2024-12-01.csv"
    path.write_text(header + archive_text(START, 1_000_000, [1]))
    feed = CandleFeed(path, venue="BINANCE_USDM")
    assert len(feed.read()) == 1
    assert (feed.instrument, feed.timeframe) == ("BTCUSDT.BINANCE_USDM", "1h")


# Options


def test_times_may_be_those_of_the_closes(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    shifted = EACH.copy()
    shifted["ts_open"] += MINUTE
    path.write_text(csv_text(shifted))
    assert np.array_equal(read(path, stamp="close"), EACH)


def test_columns_of_other_names_are_named() -> None:
    frame = pl.DataFrame({"Gmt": EACH["ts_open"].astype("M8[ns]"), **columns()})
    with pytest.raises(DataError, match="no column for ts_open among Gmt, open"):
        read(frame)
    assert np.array_equal(read(frame, columns={"ts_open": "Gmt"}), EACH)


def test_span_cuts_at_open_times(tmp_path: Path) -> None:
    for source in (EACH, SOURCES["a.parquet"](tmp_path)):
        found = read(source, start=START + 10 * MINUTE, end=START + 12 * MINUTE)
        assert np.array_equal(found, EACH[10:12])
    assert np.array_equal(read(EACH, end="2026-01-05T00:05"), EACH[:5])
    # A command line has texts alone.
    assert np.array_equal(read(EACH, end=str(START + 5 * MINUTE)), EACH[:5])


def test_whole_numbers_of_a_frame_are_ns_unless_a_unit_is_given() -> None:
    frame = pl.DataFrame({"time": EACH["ts_open"] // 1_000_000, **columns()})
    with pytest.raises(DataError, match="looks like milliseconds"):
        read(frame)
    assert np.array_equal(read(frame, unit="ms"), EACH)


@pytest.mark.parametrize("unit_ns", [1_000_000, 1_000, 1])
@pytest.mark.parametrize("kind", ["i8", "f8"])
def test_times_that_int64_does_not_hold_in_the_given_unit_are_refused(unit_ns: int, kind: str) -> None:
    """A product that wraps is a time between 2000 and 2200 on every third day."""
    for day in range(30):
        times = ((EACH["ts_open"] + day * 86_400 * 10**9) // unit_ns).astype(kind)
        with pytest.raises(DataError, match="which in s is not between 2000 and 2200"):
            read(pl.DataFrame({"time": times, **columns()}), unit="s", timeframe="1m")


def test_texts_of_times_beyond_int64_are_refused() -> None:
    for text in ("2600-01-01T00:00:00Z", "0001-01-01"):
        with pytest.raises(DataError, match="no time in int64 ns"):
            read(pl.DataFrame({"time": [text] * 50, **columns()}), timeframe="1m")
    with pytest.raises(DataError, match="not between 2000 and 2200"):
        read(pl.DataFrame({"time": ["9" * 20] * 50, **columns()}), timeframe="1m")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"instrument": None}, "a frame does not say what its candles are of"),
        ({"instrument": "BTCUSDT"}, "is of 'BTCUSDT', which has no venue"),
        ({"timeframe": "100t"}, "counts ticks"),
        ({"unit": "weeks"}, "unit"),
        ({"columns": {"opn": "o"}}, "columns"),
        ({"stamp": "middle"}, "stamp"),
        ({"start": "yesterday"}, "start"),
        # NumPy reads these as years, and wraps them to days of other centuries.
        ({"start": "20260105"}, "start='20260105' is not allowed: use a time in UTC"),
        ({"end": "1767571200000"}, "end"),
        ({"start": ""}, "start"),
    ],
)
def test_wrong_option_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        read(EACH, **options)


# Bad input: file, row and column


def broken(change: Callable[[list[list[str]]], object], tmp_path: Path, name: str = "bad.csv") -> Path:
    rows = [line.split(",") for line in csv_text().splitlines()]
    change(rows)
    path = tmp_path / name
    path.write_text("\n".join(",".join(row) for row in rows) + "\n")
    return path


def set_cell(row: int, column: int, text: str) -> Callable[[list[list[str]]], None]:
    def change(rows: list[list[str]]) -> None:
        rows[row][column] = text

    return change


@pytest.mark.parametrize(
    ("change", "row", "column", "said"),
    [
        (set_cell(7, 4, "nan"), 7, "close", "no number"),
        (set_cell(7, 4, ""), 7, "close", "no number"),
        (set_cell(9, 1, "0"), 9, "open", "no price is 0"),
        (set_cell(9, 1, "abc"), 9, "open", "'abc'"),
        (set_cell(5, 0, "17"), 5, "open_time", "not between 2000 and 2200"),
        (set_cell(5, 5, "inf"), 5, "volume", "no number"),
        (lambda rows: rows.insert(20, rows[20]), 21, "ts_open", "sort the rows by time"),
        (lambda rows: rows.insert(3, rows.pop(30)), 4, "ts_open", "sort the rows by time"),
        (lambda rows: rows[12].pop(), 12, "", "6 cells"),
    ],
)
def test_wrong_cell_is_named(change: Any, row: int, column: str, said: str, tmp_path: Path) -> None:
    path = broken(change, tmp_path)
    with pytest.raises(DataError, match=said) as caught:
        read(path, timeframe="1m")
    error = caught.value
    assert (error.path, error.row, error.column) == (str(path), row, column)
    assert f"row {row}" in str(error)


@pytest.mark.parametrize("name", ["bad.csv", "bad.parquet", "frame"])
def test_two_columns_of_one_name_are_refused(name: str, tmp_path: Path) -> None:
    table: Any = pa.table([pa.array([1.0])] * 2, names=["close", "close"])
    if name == "frame":
        table = table.to_pandas()
    elif name == "bad.parquet":
        pa.parquet.write_table(table, tmp_path / name)
    else:
        (tmp_path / name).write_text("close,close\n1,1\n")
    with pytest.raises(DataError, match="has two columns 'close'"):
        read(table if name == "frame" else tmp_path / name)


def test_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"a,b\rc\0," + np.random.default_rng(1).bytes(3_000))
    with pytest.raises(DataError, match=r"a\.csv"):
        read(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_bytes(b"a" * 300_000 + b"\n")
    with pytest.raises(DataError, match=r"b\.csv"):
        read(tmp_path / "b.csv")


def test_missing_column_is_named(tmp_path: Path) -> None:
    path = broken(lambda rows: [row.pop(4) for row in rows] and None, tmp_path)
    with pytest.raises(DataError, match="no column for close") as caught:
        read(path)
    assert caught.value.column == "close"


@pytest.mark.parametrize("name", ["empty.csv", "header.csv", "no.parquet", "missing.csv", "two.zip", "torn.csv.gz"])
def test_file_that_holds_no_table_is_named(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "two.zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("a.csv", csv_text())
            file.writestr("b.csv", csv_text())
    elif name == "torn.csv.gz":
        path.write_bytes(gzip.compress(csv_text().encode())[:-20])
    elif name != "missing.csv":
        path.write_text(HEADER + "\n" if name == "header.csv" else "")
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_files_that_overlap_are_named(tmp_path: Path) -> None:
    for name, part in (("a.csv", EACH[:30]), ("b.csv", EACH[29:])):
        (tmp_path / name).write_text(csv_text(part))
    with pytest.raises(DataError, match=r"b\.csv, row 1: .* these files overlap"):
        read(tmp_path)


def test_frame_without_rows_is_refused() -> None:
    with pytest.raises(DataError, match="is empty"):
        read(polars_frame().head(0))


@pytest.mark.parametrize(
    ("change", "row"),
    [(lambda own: own[::-1], 2), (lambda own: own.sort("close"), 2), (lambda own: pl.concat([own[:9], own[8:]]), 10)],
    ids=["reversed", "by_price", "a_row_twice"],
)
def test_frame_that_is_not_sorted_names_its_row(change: Any, row: int) -> None:
    with pytest.raises(DataError, match=f"frame of {BTC}, row {row}: it opens at 2026-.*; sort the rows") as caught:
        read(change(polars_frame()))
    assert (caught.value.row, caught.value.column) == (row, "ts_open")


def test_single_candle_needs_a_timeframe() -> None:
    with pytest.raises(DataError, match=r"has no two rows whose times show a timeframe: give CandleFeed"):
        read(polars_frame()[:1])
    assert len(read(polars_frame()[:1], timeframe="1m")) == 1


@pytest.mark.parametrize("kind", ["object", "str", "texts and numbers"])
def test_numbers_that_stand_as_texts_are_read_exactly(kind: str) -> None:
    frame = pandas_frame()
    frame = frame.astype(object if kind != "str" else str)
    if kind == "texts and numbers":
        frame.iloc[3, 1] = str(frame.iloc[3, 1])
    assert np.array_equal(read(frame), read(pandas_frame()))
    for wrong in ("abc", "1_000", ""):
        frame.iloc[3, 1] = wrong
        with pytest.raises(DataError, match=f"row 4: high is '{wrong}', which is no number: correct or drop") as caught:
            read(frame)
        assert (caught.value.row, caught.value.column) == (4, "high")


@pytest.mark.parametrize("kind", ["texts", "objects", "periods", "named texts"])
def test_index_of_a_frame_may_hold_times_in_other_types(kind: str) -> None:
    frame = pandas_frame()
    times = frame.index
    frame.index = {
        "texts": times.astype(str),
        "objects": times.astype(object),
        "periods": times.to_period("min"),
        "named texts": times.astype(str).rename("Date"),
    }[kind]
    assert np.array_equal(read(frame), read(pandas_frame()))


def test_frame_with_an_index_of_symbols_keeps_its_column_of_times() -> None:
    frame = pandas_frame().reset_index(names="time")
    frame.index = pd.Index([f"row {number}" for number in range(len(frame))])
    assert np.array_equal(read(frame), read(pandas_frame()))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (polars_frame().lazy(), "a LazyFrame holds no rows yet: give its collect"),
        (pandas_frame()["close"], "source has a float, which is no path: give one frame"),
        ([pandas_frame(), pandas_frame()], "source has a DataFrame, which is no path: give one frame"),
    ],
    ids=["lazy", "series", "list"],
)
def test_what_is_no_frame_is_refused(source: Any, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        read(source)


def packed_with_another_checksum(text: str, name: str) -> bytes:
    """A file whose text was changed, and whose checksum is that of what was written."""
    data, wrong = text.encode(), struct.pack("<L", zlib.crc32(b"what was written"))
    if name.endswith(".gz"):
        packed = gzip.compress(data)
        return packed[:-8] + wrong + packed[-4:]
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.csv", data)
    return made.getvalue().replace(struct.pack("<L", zlib.crc32(data)), wrong)


@pytest.mark.parametrize("name", ["a.csv.gz", "a.zip"])
@pytest.mark.parametrize(
    ("change", "sign"),
    [
        (lambda rows: rows.insert(3, rows.pop(30)), "row 4: it opens at"),
        (set_cell(7, 4, "abc"), "row 7: close is 'abc'"),
        (set_cell(7, 4, "0"), "row 7: close is 0"),
        (lambda rows: rows[12].pop(), "row 12: it has 6 cells"),
        (lambda rows: None, "after row"),
    ],
)
def test_damaged_file_is_named_as_such_whatever_its_first_sign(
    change: Any, sign: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.feeds.table.csv.BLOCK_BYTES", 1 << 16)
    text = broken(change, tmp_path).read_text()
    # So long that the checksum at its end is not read with the first rows.
    text += csv_text(candles(walk(9_000), start_ns=START + 60 * MINUTE), header="")
    (tmp_path / name).write_bytes(packed_with_another_checksum(text, name))
    with pytest.raises(DataError, match=f"{name} is damaged .*copy it again") as caught:
        read(tmp_path / name, timeframe="1m")
    # Rows are read ahead: the checksum may be looked at before the wrong row.
    assert sign in str(caught.value) or "is damaged after row" in str(caught.value)
    # The same text in a whole file is told as it is.
    (tmp_path / "whole.csv").write_text(text)
    if sign != "after row":
        with pytest.raises(DataError, match=sign):
            read(tmp_path / "whole.csv", timeframe="1m")


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_other_marks_between_cells_are_named(mark: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(csv_text().replace(",", mark))
    with pytest.raises(DataError, match="not between commas: write it with commas"):
        read(tmp_path / "a.csv")


def test_span_without_candles_is_refused() -> None:
    feed = CandleFeed(EACH, instrument=BTC, start="2031-01-01")
    with pytest.raises(DataError, match="no candle in that span"):
        asyncio.run(feed.open())


def test_live_engine_refuses_candles() -> None:
    with pytest.raises(OptionError, match="only a replay takes"):
        Engine(feeds=[CandleFeed(candles(flat(1)), instrument=BTC)])
