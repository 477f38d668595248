"""Ticks from the files that people have: each layout against a small file, made by hand after its published columns."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from headrace import AGG_TRADE_DTYPE, LEVEL_DTYPE, QUOTE_DTYPE, TRADE_DTYPE, Flags, Strategy, replay, ticks
from headrace.errors import DataError, OptionError
from headrace.feeds import TickFeed
from headrace.feeds.table.npz import HFT_DTYPE, HftEvents
from headrace.market.events import Bar
from headrace.market.tick import KINDS
from tests.support.engines import START
from tests.support.feeding import BTC

US = START // 1_000
MS = START // 1_000_000


def written(folder: Path, name: str, *lines: str) -> Path:
    path = folder / name
    data = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def read(path: Any, **options: Any) -> np.ndarray:
    return TickFeed(path, **options).read()


def kinds(ticks: np.ndarray) -> list[str]:
    return [KINDS[number].name for number in ticks["kind"].tolist()]


def names(ticks: Any) -> list[str]:
    return [ticks.instruments[number] for number in ticks["instrument"].tolist()]


# Tardis: microseconds; local_timestamp is the time of receipt


def test_tardis_trades(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "binance-futures_trades_2026-01-05_BTCUSDT.csv.gz",
        "exchange,symbol,timestamp,local_timestamp,id,side,price,amount",
        f"binance-futures,BTCUSDT,{US},{US + 7},501,buy,100.5,0.25",
        f"binance-futures,BTCUSDT,{US + 1},{US + 9},502,sell,100.4,2",
    )
    ticks = read(path)
    trades = ticks.view(TRADE_DTYPE)
    assert names(ticks) == ["BTCUSDT.BINANCE_USDM"] * 2
    assert (trades["ts_init"] - START).tolist() == [7_000, 9_000]
    assert (trades["ts_event"] - START).tolist() == [0, 1_000]
    assert (trades["price"].tolist(), trades["size"].tolist()) == ([100.5, 100.4], [0.25, 2.0])
    assert (trades["side"].tolist(), trades["venue_seq"].tolist()) == ([1, -1], [501, 502])


@pytest.mark.parametrize("name", ["quotes", "book_ticker"])
def test_tardis_quotes(name: str, tmp_path: Path) -> None:
    path = written(
        tmp_path,
        f"deribit_{name}.csv",
        "exchange,symbol,timestamp,local_timestamp,ask_amount,ask_price,bid_price,bid_amount",
        f"deribit,BTC-PERPETUAL,{US},{US},3,101,100,5",
        f"deribit,BTC-PERPETUAL,{US},{US + 1},,,100,6",
    )
    ticks = read(path)
    quotes = ticks.view(QUOTE_DTYPE)
    assert names(ticks)[0] == "BTC-PERPETUAL.DERIBIT"
    fields = ("bid_price", "ask_price", "bid_size", "ask_size")
    assert [tuple(row[name] for name in fields) for row in quotes] == [(100, 101, 5, 3), (100, 0, 6, 0)]


def test_tardis_book_changes_are_events_of_one_time(tmp_path: Path) -> None:
    rows = [
        f"binance,ETHUSDT,{US},{US},true,bid,99,1",
        f"binance,ETHUSDT,{US},{US},true,ask,101,2",
        f"binance,ETHUSDT,{US},{US + 5},false,bid,99,0",
        f"binance,ETHUSDT,{US},{US + 5},false,bid,98,4",
        f"binance,ETHUSDT,{US},{US + 6},false,ask,101,1",
    ]
    header = "exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount"
    ticks = read(written(tmp_path, "book.csv", header, *rows))
    levels = ticks.view(LEVEL_DTYPE)
    assert kinds(ticks) == ["level"] * 5
    assert levels["side"].tolist() == [1, -1, 1, 1, -1]
    assert levels["size"].tolist() == [1, 2, 0, 4, 1]
    flags = [Flags(value) for value in levels["flags"].tolist()]
    assert [bool(own & Flags.FIRST_IN_EVENT) for own in flags] == [True, False, True, False, True]
    assert [bool(own & Flags.LAST_IN_EVENT) for own in flags] == [False, True, False, True, True]
    assert [bool(own & Flags.SNAPSHOT) for own in flags] == [True, True, False, False, False]


def test_event_across_blocks_stays_one_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = "exchange,symbol,timestamp,local_timestamp,is_snapshot,side,price,amount"
    rows = [f"binance,ETHUSDT,{US},{US + number // 50},false,bid,{number + 1},1" for number in range(1_000)]
    path = written(tmp_path, "book.csv", header, *rows)
    whole = read(path)
    monkeypatch.setattr("headrace.feeds.table.csv.BLOCK_BYTES", 1_000)
    assert np.array_equal(read(path), whole)
    assert np.count_nonzero(whole["flags"] & Flags.FIRST_IN_EVENT) == 20


# The public archive of Binance: the venue's time alone, without a header before some year


@pytest.mark.parametrize("header", ["", "id,price,qty,quote_qty,time,is_buyer_maker\n"])
def test_archive_trades(header: str, tmp_path: Path) -> None:
    best = "" if header else ",True"
    path = tmp_path / "BTCUSDT-trades-2026-01-05.csv"
    path.write_text(header + f"51,100.5,0.25,25.1,{MS},True{best}\n52,100.4,2,200.8,{MS + 1},false{best}\n")
    ticks = read(path, venue="BINANCE_USDM")
    trades = ticks.view(TRADE_DTYPE)
    assert names(ticks) == ["BTCUSDT.BINANCE_USDM"] * 2
    assert (trades["ts_init"] - START).tolist() == [0, 1_000_000]
    # The buyer was the maker: the aggressor sold.
    assert trades["side"].tolist() == [-1, 1]
    assert (trades["venue_seq"].tolist(), trades["size"].tolist()) == ([51, 52], [0.25, 2])


def test_archive_aggregate_trades_in_either_unit(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "BTCUSDT-aggTrades-2026-01.csv",
        f"7,100.5,0.25,70,71,{MS},True,True",
        f"8,100.6,0.5,72,72,{US + 2_000},False,True",
    )
    trades = read(path).view(AGG_TRADE_DTYPE)
    assert (trades["ts_init"] - START).tolist() == [0, 2_000_000]
    assert [tuple(row[name] for name in ("venue_seq", "trade_first", "trade_last")) for row in trades] == [
        (7, 70, 71),
        (8, 72, 72),
    ]


def test_archive_book_ticker(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "BTCUSDT-bookTicker-2024-01.csv",
        "update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event_time",
        f"9,100,1,101,2,{MS},{MS + 3}",
    )
    quotes = read(path, venue="BINANCE_USDM").view(QUOTE_DTYPE)
    assert (quotes["ts_event"][0] - START, quotes["ts_init"][0] - START) == (0, 3_000_000)
    assert [quotes[name][0] for name in ("bid_price", "bid_size", "ask_price", "ask_size", "venue_seq")] == [
        *(100, 1, 101, 2, 9)
    ]


# Databento: whole billionths, or with a point


MBP = (
    "ts_recv,ts_event,rtype,publisher_id,instrument_id,action,side,depth,price,size,flags,ts_in_delta,sequence,"
    "bid_px_00,ask_px_00,bid_sz_00,ask_sz_00,bid_ct_00,ask_ct_00,symbol"
)


def test_databento_mbp_1_has_quotes_and_trades(tmp_path: Path) -> None:
    undefined = (1 << 63) - 1
    path = written(
        tmp_path,
        "mbp-1.csv",
        MBP,
        f"{START + 5},{START},1,1,42,A,B,0,100500000000,3,128,0,1,100500000000,{undefined},3,0,1,0,ESH6",
        f"{START + 6},{START},1,1,42,T,A,0,100500000000,2,0,0,2,100500000000,100750000000,3,4,1,1,ESH6",
    )
    ticks = read(path, venue="GLBX")
    assert kinds(ticks) == ["quote", "trade"]
    assert names(ticks) == ["ESH6.GLBX"] * 2
    quote, trade = ticks.view(QUOTE_DTYPE)[0], ticks.view(TRADE_DTYPE)[1]
    assert [quote[name] for name in ("bid_price", "ask_price", "bid_size", "ask_size")] == [100.5, 0, 3, 0]
    # Side A: the aggressor sold into the bid.
    assert [trade[name] for name in ("price", "size", "side")] == [100.5, 2, -1]


def test_databento_tbbo_has_the_quote_before_each_trade(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "tbbo.csv",
        MBP,
        "2026-01-05T00:00:00.000000005Z,2026-01-05T00:00:00Z,1,1,42,T,B,0,100.75,2,0,0,2,100.5,100.75,3,4,1,1,ESH6",
    )
    ticks = read(path, instrument="ESH6.XCME")
    assert kinds(ticks) == ["quote", "trade"]
    assert (ticks["ts_init"] - START).tolist() == [5, 5]
    assert ticks.view(TRADE_DTYPE)["price"][1] == 100.75


def test_databento_trades(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "trades.csv",
        "ts_recv,ts_event,rtype,publisher_id,instrument_id,action,side,depth,price,size,flags,ts_in_delta,sequence",
        f"{START + 5},{START},0,1,42,T,N,0,100500000000,3,128,0,1",
    )
    trades = read(path, instrument="ESH6.XCME").view(TRADE_DTYPE)
    assert [trades[name][0] for name in ("price", "size", "side")] == [100.5, 3, 0]


def test_dbn_reads_as_its_csv_does(tmp_path: Path) -> None:
    import importlib

    # The stubs of its enumerations say str.
    dbn: Any = importlib.import_module("databento_dbn")
    levels = [dbn.BidAskPair(bid_px=100_500_000_000, ask_px=100_750_000_000, bid_sz=3, ask_sz=4, bid_ct=1, ask_ct=1)]
    metadata = dbn.Metadata(
        dataset="GLBX.MDP3",
        start=START,
        end=START + 10**9,
        stype_in=dbn.SType.RAW_SYMBOL,
        stype_out=dbn.SType.INSTRUMENT_ID,
        schema=dbn.Schema.MBP_1,
        symbols=["ESH6"],
        partial=[],
        not_found=[],
        mappings=[],
    )
    record = dbn.MBP1Msg(
        publisher_id=1,
        instrument_id=42,
        ts_event=START,
        price=100_500_000_000,
        size=2,
        action=dbn.Action.TRADE,
        side=dbn.Side.ASK,
        depth=0,
        ts_recv=START + 6,
        flags=0,
        ts_in_delta=0,
        sequence=2,
        levels=levels[0],
    )
    path = tmp_path / "mbp.dbn"
    path.write_bytes(bytes(metadata.encode()) + bytes(record))
    ticks = read(path, instrument="ESH6.XCME")
    line = f"{START + 6},{START},1,1,42,T,A,0,100500000000,2,0,0,2,100500000000,100750000000,3,4,1,1,ESH6"
    assert np.array_equal(ticks, read(written(tmp_path, "same.csv", MBP, line), instrument="ESH6.XCME"))


# hftbacktest


def test_hftbacktest_events(tmp_path: Path) -> None:
    local, buy, sell = HftEvents.LOCAL | HftEvents.EXCHANGE, HftEvents.BUY, HftEvents.SELL
    events = [
        (HftEvents.CLEAR | local | buy, 100.0, 0.0),
        (HftEvents.SNAPSHOT | local | buy, 99.0, 5.0),
        (HftEvents.SNAPSHOT | local | sell, 101.0, 6.0),
        (HftEvents.DEPTH | local | sell, 101.0, 0.0),
        (HftEvents.TRADE | local | buy, 101.0, 1.5),
        (HftEvents.DEPTH | HftEvents.EXCHANGE | buy, 1.0, 1.0),
        (HftEvents.BBO | local | buy, 98.0, 2.0),
        (HftEvents.BBO | local | sell, 102.0, 3.0),
    ]
    data = np.zeros(len(events), HFT_DTYPE)
    for row, (ev, px, qty) in enumerate(events):
        data[row] = (ev, START, START + 10 * min(row, 2) + max(0, row - 2), px, qty, 0, 0, 0.0)
    data["local_ts"][:3] = START
    np.savez(tmp_path / "btc.npz", data=data)
    ticks = read(tmp_path / "btc.npz", instrument=BTC)
    assert kinds(ticks) == ["level", "level", "level", "trade", "quote", "quote"]
    assert [bool(flags & Flags.SNAPSHOT) for flags in ticks["flags"]] == [True, True, *[False] * 4]
    assert ticks["side"][:4].tolist() == [1, -1, -1, 1]
    last = ticks.view(QUOTE_DTYPE)[5]
    assert [last[name] for name in ("bid_price", "ask_price", "bid_size", "ask_size")] == [98, 102, 2, 3]
    with pytest.raises(DataError, match="give instrument="):
        read(tmp_path / "btc.npz")


# Any columns


def test_columns_of_our_names_and_others(tmp_path: Path) -> None:
    frame = pl.DataFrame({"when": [START, START + 1], "last": [1.5, 1.25], "qty": [1, 2], "side": ["buy", "SELL"]})
    frame.write_parquet(tmp_path / "a.parquet")
    for source in (frame, tmp_path / "a.parquet"):
        trades = read(source, instrument=BTC, columns={"ts_init": "when", "price": "last"}).view(TRADE_DTYPE)
        assert trades["price"].tolist() == [1.5, 1.25]
        assert (trades["side"].tolist(), trades["size"].tolist()) == ([1, -1], [1, 2])
        assert trades["flags"][0] & Flags.NO_VENUE_TIME


def test_parquet_reads_only_row_groups_of_the_span(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from headrace.feeds.table import parquet

    times = START + 1_000 * np.arange(1_000)
    frame = pl.DataFrame({"ts_init": times, "bid_price": np.ones(1_000), "ask_price": np.ones(1_000) * 2})
    frame.write_parquet(tmp_path / "a.parquet", row_group_size=100)
    opened: list[int] = []
    may_hold = parquet.ParquetTable._may_hold

    def watched(self: Any, group: int) -> bool:
        found = may_hold(self, group)
        opened.extend([group] if found else [])
        return found

    monkeypatch.setattr(parquet.ParquetTable, "_may_hold", watched)
    ticks = read(tmp_path / "a.parquet", instrument=BTC, start=START + 250_000, end=START + 310_000)
    assert np.array_equal(ticks["ts_init"], times[250:310])
    assert opened == [2, 3]


def test_rows_of_many_instruments_keep_their_names(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "all.csv",
        "timestamp,symbol,price,size",
        *(f"{MS + number},{'AB'[number % 2]},{number + 1},1" for number in range(6)),
    )
    with pytest.raises(DataError, match="a symbol without a venue"):
        read(path)
    seen: list[tuple[str, float]] = []

    def on_trade(instrument: str, price: float) -> None:
        seen.append((instrument, price))

    replay(TickFeed(path, venue="X"), on_trade)
    assert seen == [(f"{'AB'[number % 2]}.X", number + 1.0) for number in range(6)]


# Bad input


HEADER = "timestamp,price,size"


@pytest.mark.parametrize(
    ("lines", "row", "column", "said"),
    [
        (
            [f"{MS},1,1", f"{MS - 1},1,1"],
            2,
            "timestamp",
            "goes back to 20.* from the row before",
        ),
        ([f"{MS},1,1", f"{MS},1,-2"], 2, "size", "is -2.0, and no size is below 0: give a direction as side"),
        ([f"{MS},1,1", f"{MS},nan,1"], 2, "price", "no number"),
        ([f"{MS},1,x"], 1, "size", "is .x., which is no number"),
        (["12,1,1"], 1, "timestamp", "not between 2000 and 2200"),
    ],
)
def test_wrong_cell_is_named(lines: list[str], row: int, column: str, said: str, tmp_path: Path) -> None:
    path = written(tmp_path, "bad.csv", HEADER, *lines)
    with pytest.raises(DataError, match=said) as caught:
        read(path, instrument=BTC)
    assert (caught.value.path, caught.value.row, caught.value.column) == (str(path), row, column)


@pytest.mark.parametrize(
    ("frame", "column", "said"),
    [
        ({"side": ["buy", "bought"]}, "side", "is 'bought', which is none of buy, sell, bid, ask, unknown, b, a, s, n"),
        ({"side": [1, 2]}, "side", "is 2, which is neither"),
        ({"size": [1.0, -1.0]}, "size", "no size is below 0"),
        ({"size": ["1", "one"]}, "size", "is 'one', which is no number"),
    ],
)
def test_wrong_cell_of_a_frame_is_named(frame: dict[str, list[Any]], column: str, said: str) -> None:
    trades = {"time": [MS, MS + 1], "price": [1.0, 1.0], "size": [1.0, 1.0], **frame}
    with pytest.raises(DataError, match=said) as caught:
        TickFeed(pl.DataFrame(trades), instrument=BTC, unit="ms").read()
    assert (caught.value.row, caught.value.column) == (2, column)


@pytest.mark.parametrize("name", ["bid_size", "ask_size"])
def test_negative_size_of_a_quote_in_a_frame_is_named(name: str) -> None:
    quotes = {"time": [MS, MS + 1], "bid_price": [1.0, 1.0], "ask_price": [2.0, 2.0], name: [1.0, -1.0]}
    with pytest.raises(DataError, match=f"row 2: {name} is -1.0, and no size is below 0"):
        TickFeed(pl.DataFrame(quotes), instrument=BTC, unit="ms").read()


def saved(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]  # its keywords are arrays
    return path


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: written(folder, "a.csv", "a,b", "1,2"), "no column for ts_init, price, size"),
        (lambda folder: written(folder, "a.csv", HEADER, f"{MS},1,1"), "says of no row what it is of"),
        (lambda folder: folder / "missing.parquet", "is missing"),
        (lambda folder: saved(folder / "a.npz", other=np.ones(3)), "holds other"),
    ],
)
def test_file_that_holds_no_ticks_says_why(make: Callable[[Path], Path], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        read(make(tmp_path))


def test_files_that_overlap_are_named(tmp_path: Path) -> None:
    for name, first in (("a.csv", MS), ("b.csv", MS + 5)):
        written(tmp_path, name, HEADER, *(f"{first + number},1,1" for number in range(10)))
    with pytest.raises(DataError, match=r"b\.csv, row 1: timestamp goes back .* these files overlap"):
        read(tmp_path, instrument=BTC)


def test_wrong_options_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", HEADER, f"{MS},1,1")
    for options in ({"instrument": "BTC"}, {"unit": "days"}, {"start": "soon"}):
        with pytest.raises(OptionError):
            read(path, **options)
    with pytest.raises(DataError, match="no column 'x'"):
        read(path, instrument=BTC, columns={"price": "x"})
    with pytest.raises(OptionError, match="holds no file"):
        TickFeed([])


def test_path_names_the_instrument_of_its_columns(tmp_path: Path) -> None:
    trades = written(tmp_path, "trades.csv", HEADER, f"{MS},1,1")
    report = replay(f"{trades}@ETHUSDT.BINANCE_USDM", ())
    assert (report.instruments, report.ticks["trade"]) == (("ETHUSDT.BINANCE_USDM",), 1)
    candles = written(tmp_path, "mine.csv", "time,open,high,low,close", f"{MS},1,1,1,1", f"{MS + 60_000},2,2,2,2")
    seen: list[tuple[str, str, float]] = []

    class Bars(Strategy):
        bars = ("1m",)

        def on_bar(self, bar: Bar) -> None:
            seen.append((bar.instrument, bar.timeframe, bar.close))

    replay(f"{candles}@BTCUSDT.BINANCE", Bars())
    assert seen == [(BTC, "1m", 1.0), (BTC, "1m", 2.0)]
    with pytest.raises(OptionError, match=r"write the path as .*mine\.csv@BTCUSDT.BINANCE"):
        replay(candles, Bars())


def test_array_is_not_told_a_venue(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ticks(instrument=BTC, ts_init=[1], price=[1.0], size=[1.0]))
    with pytest.raises(OptionError, match="an array has no venue"):
        replay(f"{tmp_path / 'a.npy'}@BINANCE_USDM", ())


def test_paths_of_columns_are_replayed_as_they_are(tmp_path: Path) -> None:
    """Candles by their columns, ticks by theirs; ``@VENUE`` names the venue."""
    path = tmp_path / "BTCUSDT-trades-2026-01-05.csv"
    path.write_text(f"51,100.5,0.25,25.1,{MS},True,True\n")
    report = replay(f"{path}@BINANCE_USDM", ())
    assert report.instruments == ("BTCUSDT.BINANCE_USDM",)
    assert report.ticks["trade"] == 1
    klines = tmp_path / "BTCUSDT-1m-2026-01-05.csv"
    klines.write_text(f"{MS},1,1,1,1,1,{MS + 59_999},1,1,1,1,0\n")

    class Bars(Strategy):
        bars = ("1m",)

        def on_bar(self, bar: Any) -> None: ...

    assert replay(klines, Bars()).candles == 1


def test_configuration_reads_files_of_columns(tmp_path: Path) -> None:
    from headrace.app.build import make_feeds
    from headrace.app.config.tree import FeedSection
    from headrace.feeds import CandleFeed

    trades = written(tmp_path, "mine.csv", HEADER, f"{MS},1,1")
    klines = written(tmp_path, "BTCUSDT-1m-2026-01.csv", f"{MS},1,1,1,1,1,{MS + 59_999},1,1,1,1,0")
    sections = [
        FeedSection(kind="recording", path=str(trades), options={"instrument": BTC}),
        FeedSection(kind="recording", path=str(klines), venue="BINANCE_USDM"),
    ]
    (ticks,), (candles,) = (make_feeds(section, "$.feeds[0]") for section in sections)
    assert isinstance(ticks, TickFeed)
    assert isinstance(candles, CandleFeed)
    assert len(ticks.read()) == 1
    assert candles.instrument == "BTCUSDT.BINANCE_USDM"


@pytest.mark.parametrize(("name", "extra"), [("a.csv", "parquet"), ("a.parquet", "parquet"), ("a.dbn", "databento")])
def test_missing_extra_is_named(name: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from headrace.errors import MissingExtraError

    for module in ("pyarrow", "pyarrow.csv", "pyarrow.parquet", "databento_dbn"):
        monkeypatch.setitem(sys.modules, module, None)
    path = written(tmp_path, name, HEADER, f"{MS},1,1")
    with pytest.raises(MissingExtraError, match=rf'pip install "headrace\[{extra}\]"'):
        read(path, instrument=BTC)
