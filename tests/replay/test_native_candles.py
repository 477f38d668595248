"""What native code makes of candles: bars, and the hash of an audit's lines."""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

import headrace._native as _native
from headrace.market.candles import CANDLE_DTYPE, CandleOpen
from headrace.market.events import Bar, Cause
from tests.support.candles import MINUTE, candles, walk
from tests.support.feeding import BTC, ETH

# What a result keeps of a candle.
ROW = ("ts_open", "ts_close", "low", "high", "close")


def native_candles(each: np.ndarray) -> _native.CandleMerge:
    """A merge with one stream."""
    native = _native.CandleMerge(Bar, Cause, CandleOpen)
    stream = native.add((BTC, "1m", "trade"), lengths_ns=(MINUTE, MINUTE), has_opens=False, fills=True)
    native.push(stream, each.view(np.uint8))
    return native


def python_bar(candle: np.void, number: int) -> Bar:
    """What Python makes of a candle."""
    values = {name: candle[name].item() for name in CANDLE_DTYPE.names or ()}
    cause = Cause(BTC, "candle", number, number, values["ts_close"])
    return Bar(ts=values["ts_close"], cause=cause, instrument=BTC, timeframe="1m", price="trade", **values)


def test_bar_made_natively_is_the_bar_that_python_makes() -> None:
    each = candles(walk(20))
    native = native_candles(each)
    for number, candle in enumerate(each, 1):
        (bar,), expected = native.take_closes(), python_bar(candle, number)
        assert type(bar) is Bar
        assert bar == expected
        assert hash(bar) == hash(expected)
        fields = [(name, type(getattr(bar, name))) for name in Bar.__struct_fields__]
        assert fields == [(name, type(getattr(expected, name))) for name in Bar.__struct_fields__]
        assert pickle.loads(pickle.dumps(bar)) == msgspec.structs.replace(bar) == expected
        with pytest.raises(AttributeError, match="immutable"):
            bar.close = 1.0  # type: ignore[misc]


def test_bars_made_natively_are_freed_with_all_they_hold() -> None:
    each = candles(walk(5_000))
    native = native_candles(each)
    (bar,) = native.take_closes()
    held = [bar.instrument, bar.timeframe, bar.price, bar.time, bar.source, bar.run_id, bar.cause.kind, Bar, Cause]  # type: ignore[union-attr]

    def counts() -> list[int]:
        return [sys.getrefcount(own) for own in held]

    before, blocks = counts(), sys.getallocatedblocks()
    kept = [bar for _ in range(1_000) for bar in native.take_closes()]
    assert min(now - then for now, then in zip(counts(), before, strict=True)) >= 1_000
    assert sys.getallocatedblocks() - blocks > 5_000
    del kept
    assert counts() == before
    for _ in range(3_000):
        native.take_closes()
    assert counts() == before
    assert sys.getallocatedblocks() - blocks < 200


@pytest.fixture
def one_processor() -> Iterator[None]:
    """This thread runs on one processor: nothing runs beside it."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


def compare_hashes(count: int) -> None:
    own, expected = _native.AuditHash(native_candles(candles(walk(1)))), hashlib.sha256()
    for number in range(count):
        line = b"%d\n" % number
        own.update(line)
        expected.update(line)
        if number % 30_000 == 700:
            assert own.hexdigest() == expected.hexdigest()
    assert own.hexdigest() == own.hexdigest() == expected.hexdigest()


@pytest.mark.parametrize("count", [0, 1, 511, 512, 513, 100_000])
def test_audit_hash_is_that_of_its_lines_however_many(count: int) -> None:
    """Many are hashed in a thread of their own."""
    compare_hashes(count)


@pytest.mark.skipif(sys.platform != "linux", reason="chooses the processors of a thread")
@pytest.mark.usefixtures("one_processor")
def test_audit_hash_is_the_same_on_one_processor() -> None:
    compare_hashes(5_000)


@pytest.mark.parametrize("lines", [0, 700], ids=["here", "in a thread"])
def test_candles_of_a_block_are_what_numpy_makes_of_them(lines: int) -> None:
    native = native_candles(candles(walk(1)))
    rows, own = _native.CandleRows(native, 1_024), _native.AuditHash(native)
    expected = {name: hashlib.sha256() for name in (ETH, BTC)}
    assert own.input_hexdigests() == {}
    for seed in range(4):
        for _ in range(lines):
            own.update(b"line\n")
        for name, hash_ in expected.items():
            each = candles(walk(500 + seed, seed=seed), start_ns=seed * 1_000 * MINUTE)
            for candle in each:
                opened, closed, low, high, close = (candle[own].item() for own in ROW)
                assert not rows.add(name, (opened, closed), (low, high, close))
            closes_at, closes, times, prices = rows.take(name, into=own)
            floats = np.stack([each[own].astype("<f8") for own in ROW], axis=1)
            hash_.update(floats.tobytes())
            assert (closes_at.tolist(), closes.tolist()) == (each["ts_close"].tolist(), each["close"].tolist())
            assert prices.tolist() == floats[:, 2:].ravel().tolist()
            assert times[::3].tolist() == times[1::3].tolist() == (each["ts_open"] + 1).tolist()
            assert times[2::3].tolist() == each["ts_close"].tolist()
        assert own.input_hexdigests() == {name: hash_.hexdigest() for name, hash_ in expected.items()}
    assert list(own.input_hexdigests()) == sorted(expected)
    assert [len(taken) for taken in rows.take(BTC, into=None)] == [0] * 4


@pytest.mark.skipif(sys.platform != "linux", reason="chooses the processors of a thread")
@pytest.mark.usefixtures("one_processor")
def test_candles_are_hashed_the_same_on_one_processor() -> None:
    test_candles_of_a_block_are_what_numpy_makes_of_them(700)
