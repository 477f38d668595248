"""The record's bytes as NumPy sees them, and the arrays that ``ticks()`` builds."""

from __future__ import annotations

import io
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace import (
    AGG_TRADE_DTYPE,
    LEVEL_DTYPE,
    QUOTE_DTYPE,
    TICK_DTYPE,
    TRADE_DTYPE,
    Dispatcher,
    Flags,
    GapCause,
    Instruments,
    register_kind,
    ticks,
)
from headrace.errors import InstrumentError, KindError, OptionError
from headrace.market.tick import FLAGS, KINDS, dtype_of, kind_named
from tests.support.feeding import BTC, quotes

# field: (first byte, bytes)
HEAD = {
    "seq": (0, 8),
    "venue_seq": (8, 8),
    "ts_event": (16, 8),
    "ts_init": (24, 8),
    "instrument": (32, 4),
    "kind": (36, 1),
    "side": (37, 1),
    "flags": (38, 2),
}
VALUES = {
    "quote": ["bid_price", "ask_price", "bid_size", "ask_size"],
    "trade": ["price", "size"],
    "agg_trade": ["price", "size", "trade_first", "trade_last"],
    "level": ["price", "size", "venue_first", "venue_prev"],
    "level_empty": ["", "", "venue_first", "venue_prev"],
    "gap": ["first", "last", "missing", "cause"],
    "status": ["state", "epoch", "stream", "reason"],
}


def places(dtype: np.dtype[np.void]) -> dict[str, tuple[int, int]]:
    assert dtype.names is not None
    assert dtype.fields is not None
    return {name: (dtype.fields[name][1], dtype.fields[name][0].itemsize) for name in dtype.names}


def test_the_record_has_72_bytes_and_documented_offsets() -> None:
    assert TICK_DTYPE.itemsize == 72
    assert places(TICK_DTYPE) == HEAD | {"values": (40, 32)}


@pytest.mark.parametrize("kind", VALUES)
def test_a_kinds_dtype_names_the_values_of_the_same_bytes(kind: str) -> None:
    dtype = dtype_of(kind_named(kind).number)
    assert dtype.itemsize == 72
    found = places(dtype)
    assert {name: found[name] for name in HEAD} == HEAD
    for index, name in enumerate(VALUES[kind]):
        if name:
            assert found[name] == (40 + 8 * index, 8)


def test_the_byte_table_of_the_documentation_is_the_dtype(root: Path) -> None:
    text = (root / "docs/reference/record.md").read_text().partition("## Kinds")[0]
    rows = re.findall(r"^\| (\d+)(?:-(\d+))? \| `(\w+)` \|", text, re.MULTILINE)
    told = {name: (int(first), int(last or first) - int(first) + 1) for first, last, name in rows}
    assert told == places(TICK_DTYPE)


@pytest.mark.parametrize("dtype", [TICK_DTYPE, QUOTE_DTYPE, TRADE_DTYPE, AGG_TRADE_DTYPE, LEVEL_DTYPE])
def test_saving_and_pickling_keep_every_byte(dtype: np.dtype[np.void], seed: int) -> None:
    bytes_ = np.random.default_rng(seed).integers(0, 256, 72 * 50, dtype="u1")
    array = bytes_.view(TICK_DTYPE).view(dtype)
    file = io.BytesIO()
    np.save(file, array)
    file.seek(0)
    loaded = np.load(file)
    assert loaded.dtype == dtype
    assert loaded.tobytes() == pickle.loads(pickle.dumps(array)).tobytes() == array.tobytes()


def test_saved_and_pickled_ticks_can_be_published() -> None:
    with Dispatcher() as dispatcher:
        made = quotes(dispatcher, [1.0, 2.0])
        again = pickle.loads(pickle.dumps(made))
        assert dispatcher.publish(again) == 2
        assert dispatcher.publish(made.view(QUOTE_DTYPE)) == 2


def test_native_code_reads_each_byte_at_the_dtypes_offset(seed: int) -> None:
    """Random bytes through the ring: what a handler gets for each field is what NumPy reads there."""
    table = Instruments(["BTCUSDT.BINANCE", "ETHUSDT.BINANCE"])
    random = np.random.default_rng(seed)
    made = random.integers(0, 256, 72 * 500, dtype="u1").view(TICK_DTYPE)
    made["kind"] = kind_named("quote").number
    made["instrument"] = random.integers(0, 2, len(made))
    made["venue_seq"] = 0
    # A size below 0 is refused.
    made["values"][:, 2:] = np.abs(made["values"][:, 2:])
    made["flags"] |= np.uint16(Flags.FIRST_IN_EVENT | Flags.LAST_IN_EVENT)
    made["flags"] &= ~np.uint16(Flags.GAP_BEFORE | Flags.DUPLICATE | Flags.LATE)
    got: list[tuple[Any, ...]] = []

    def on_quote(tick, venue_seq, ts_event, ts_init, instrument_id, flags, bid_price, ask_price, bid_size, ask_size):
        got.append((venue_seq, ts_event, ts_init, instrument_id, flags, bid_price, ask_price, bid_size, ask_size))
        assert got[-1][:5] == (tick.venue_seq, tick.ts_event, tick.ts_init, tick.instrument_id, tick.flags)

    with Dispatcher(instruments=table, on_fault="raise") as dispatcher:
        dispatcher.subscribe(on_quote)
        dispatcher.publish(made)
        dispatcher.dispatch()
    typed = made.view(QUOTE_DTYPE)
    names = [
        "venue_seq",
        "ts_event",
        "ts_init",
        "instrument",
        "flags",
        "bid_price",
        "ask_price",
        "bid_size",
        "ask_size",
    ]
    want = [tuple(row) for row in zip(*(typed[name].tolist() for name in names), strict=True)]
    assert np.array(got, "O").astype(str).tolist() == np.array(want, "O").astype(str).tolist()


def test_every_flag_and_cause_has_one_bit_or_number() -> None:
    assert [flag.value for flag in Flags] == [1 << bit for bit in range(10)]
    assert [cause.value for cause in GapCause] == list(range(1, 8))
    assert set(FLAGS) == set(Flags)


# The function that builds arrays.


def test_a_quote_array_has_the_passed_values() -> None:
    made = ticks(
        instrument=BTC,
        ts_init=[1, 2],
        bid_price=[1.0, 2.0],
        ask_price=[3.0, 4.0],
        bid_size=5,
        ts_event=[7, 8],
        venue_seq=[9, 10],
    ).view(QUOTE_DTYPE)
    assert made["bid_price"].tolist() == [1, 2]
    assert made["bid_size"].tolist() == [5, 5]
    assert np.isnan(made["ask_size"]).all(), "unknown: 0 would mean that nothing is asked"
    assert made["ts_event"].tolist() == [7, 8]
    assert made["venue_seq"].tolist() == [9, 10]
    assert set(made["flags"].tolist()) == {Flags.FIRST_IN_EVENT | Flags.LAST_IN_EVENT}


def test_ticks_without_venue_time_are_flagged() -> None:
    assert ticks(instrument=BTC, ts_init=[1], bid_price=[1], ask_price=[2])["flags"][0] & Flags.NO_VENUE_TIME


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"bid_price": [1], "ask_price": [2]}, "quote"),
        ({"price": [1], "size": [2]}, "trade"),
        ({"price": [1], "size": [2], "trade_first": [1], "trade_last": [1]}, "agg_trade"),
        ({"price": [1], "size": [2], "venue_first": [1]}, "level"),
    ],
)
def test_the_kind_is_found_from_the_values_names(values: dict[str, Any], kind: str) -> None:
    assert ticks(instrument=BTC, ts_init=[1], **values)["kind"][0] == kind_named(kind).number


def test_a_trade_array_has_the_passed_side_and_id() -> None:
    made = ticks(instrument=BTC, ts_init=[1], price=[1], size=[2], aggressor_side=[-1], trade_id=[77])
    assert (made["side"][0], made["venue_seq"][0]) == (-1, 77)


def test_instruments_get_ids_by_first_appearance() -> None:
    names = ["B.BINANCE", "A.BINANCE", "B.BINANCE"]
    table = Instruments()
    made = ticks(instrument=names, ts_init=[1, 1, 1], price=[1, 1, 1], instruments=table)
    assert made["instrument"].tolist() == [0, 1, 0]
    assert table.names() == ["B.BINANCE", "A.BINANCE"]


def test_datetime64_is_nanoseconds() -> None:
    times = np.array(["2026-01-01T00:00:00", "2026-01-01T00:00:01"], "datetime64[us]")
    made = ticks(instrument=BTC, ts_init=times, bid_price=[1, 2], ask_price=[2, 3])
    assert made["ts_init"].tolist() == [1_767_225_600_000_000_000, 1_767_225_601_000_000_000]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"ts_init": [2, 1]}, "goes back at row 1"),
        ({"ts_init": [1.5, 2.5]}, "int64 ns"),
        ({"ts_init": [[1], [2]]}, "one-dimensional"),
        ({"bid_price": [1, 2, 3]}, "shape"),
        ({"bid_price": ["a", "b"]}, "bid_price cannot be read"),
        ({"bid_prize": [1, 2]}, "bid_prize"),
        ({"kind": "quotes"}, "kind 'quotes' is unknown"),
        ({"kind": "trade"}, "kind trade has no"),
        ({"instrument": "BTCUSDT"}, "BTCUSDT"),
        ({"side": [1]}, "side"),
    ],
)
def test_columns_that_make_no_ticks_are_refused(wrong: dict[str, Any], said: str) -> None:
    right: dict[str, Any] = {"instrument": BTC, "ts_init": [1, 2], "bid_price": [1, 2], "ask_price": [2, 3]}
    with pytest.raises((OptionError, InstrumentError, KindError)) as refused:
        ticks(**{**right, **wrong})
    assert said in str(refused.value)
    assert isinstance(refused.value, ValueError)


def test_a_missing_price_is_refused_and_a_missing_size_is_0() -> None:
    with pytest.raises(OptionError, match="needs ask_price"):
        ticks(instrument=BTC, ts_init=[1], bid_price=[1])
    assert ticks(instrument=BTC, ts_init=[1], price=[1], kind="trade").view(TRADE_DTYPE)["size"][0] == 0


def test_an_empty_array_can_be_published() -> None:
    made = ticks(instrument=BTC, ts_init=np.array([], "i8"), bid_price=[], ask_price=[])
    with Dispatcher() as dispatcher:
        dispatcher.instruments.add(BTC)
        assert len(made) == 0
        assert dispatcher.publish(made) == 0


# User kinds

SENTIMENT = """
import headrace
from headrace import Dispatcher, Strategy, register_kind, ticks
import numpy as np

sentiment = register_kind("sentiment", ["score", "weight"], nature="state", venue_ids="monotone")

class Mine(Strategy):
    def __init__(self): self.got = []
    def on_sentiment(self, symbol, score, weight, position): self.got.append((symbol, score, weight, position))
    def on_tick(self, tick): self.got.append((type(tick).__name__, tick.kind, tick.score))

class Columns(Strategy):
    def __init__(self): self.got = []
    def on_sentiments(self, score, ticks): self.got.append((score.tolist(), ticks["weight"].tolist()))

with Dispatcher(on_fault="raise") as d:
    mine, columns, newest = Mine(), Columns(), []
    d.subscribe(mine, kinds=["sentiment"]); d.subscribe(columns)
    pull = d.subscribe(kinds=["sentiment"])
    folded = d.subscribe(lambda score: newest.append(score), callback="on_sentiment", overflow="conflate")
    made = ticks(instrument="BTCUSDT.BINANCE_USDM", ts_init=[1, 2, 3], score=[0.1, 0.2, 0.3], weight=[5, 6, 7],
                 venue_seq=[1, 5, 3], instruments=d.instruments)
    assert d.publish(made) == 3
    d.dispatch()
    late = d.subscribe(lambda score, flags: newest.append((score, flags & 1)), callback="on_sentiment")
    d.dispatch()
    assert mine.got[:2] == [("BTCUSDT", 0.1, 5.0, 0), ("SentimentTick", "sentiment", 0.1)], mine.got
    assert len(mine.got) == 6
    assert columns.got == [([0.1, 0.2, 0.3], [5.0, 6.0, 7.0])], columns.got
    batch = next(iter(pull))
    assert batch.view(headrace.market.tick.dtype_of(sentiment.number))["score"].tolist() == [0.1, 0.2, 0.3]
    assert newest == [0.2, (0.2, 1)], newest  # The late one is never the newest.
    assert folded.stats().conflated == 2
    assert d.stats().ticks["sentiment"] == 3 and d.stats().late == 1
    assert "score" in {field.name for field in headrace.market.fields.fields()}
print("ok")
"""


def test_a_registered_kind_reaches_its_handlers() -> None:
    """In a process of its own, because a registered kind cannot be removed."""
    from tests.support.feeding import python

    done = python(SENTIMENT)
    assert done.stdout == "ok\n", done.stderr


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        (("quote", ["x"]), {}, "exists already"),
        (("trades", ["x"]), {}, "exists already"),
        (("Sentiment", ["x"]), {}, "lower-case identifier"),
        (("sentiment", ["bid_price", "seq"]), {}, "'seq' already names another field"),
        (("sentiment", ["size", "price"]), {}, "already names another field"),
        (("sentiment", ["a", "b", "c", "d", "e"]), {}, "holds 4 values"),
        (("sentiment", ["x"]), {"nature": "liquid"}, "use 'state' or 'flow'"),
        (("sentiment", ["x"]), {"venue_ids": "chained"}, "use 'monotone'"),
        (("tick", ["x"]), {}, "exists already"),
    ],
)
def test_a_kind_that_cannot_be_is_refused(arguments: tuple[Any, ...], options: dict[str, Any], said: str) -> None:
    before = dict(KINDS)
    with pytest.raises(KindError, match=said):
        register_kind(*arguments, **options)
    assert before == KINDS


class Column:
    """A column of a table, as DataFrames have it: an index of its own, and strided data behind ``__array__``."""

    def __init__(self, block: np.ndarray, number: int) -> None:
        self._data = block[:, number]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self._data, dtype=dtype)

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, label: object) -> object:
        raise KeyError(label)


def test_columns_of_a_table_become_ticks() -> None:
    block = np.arange(20.0).reshape(5, 4)
    made = ticks(
        instrument="BTCUSDT.BINANCE",
        ts_init=np.array(["2024-08-08T00:00:00"] * 5, "M8[ms]"),
        bid_price=Column(block, 1),
        ask_price=Column(block, 2),
        bid_size=block[::-1, 3],
        ask_size=1,
    )
    assert made["values"][:, 0].tolist() == [1.0, 5.0, 9.0, 13.0, 17.0]
    assert made["values"][:, 1].tolist() == [2.0, 6.0, 10.0, 14.0, 18.0]
    assert made["values"][:, 2].tolist() == [19.0, 15.0, 11.0, 7.0, 3.0]
