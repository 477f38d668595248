"""Every field of the table against its formula: in singular handlers, in plural ones, and as an attribute."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from headrace import Dispatcher, ticks
from headrace.market.fields import FIELDS
from headrace.market.tick import KINDS, dtype_of
from tests.support.feeding import BTC, HandClock

NOW_NS = 5_000
# One of each kind that carries prices; ids that no float could hold.
BIG = (1 << 63) + 1
ROWS: dict[str, dict[str, Any]] = {
    "quote": {"bid_price": [10.0, 10.0], "ask_price": [13.0, 13.0], "bid_size": [3.0, 0.0], "ask_size": [1.0, 0.0]},
    "trade": {"price": [10.0, 20.0], "size": [0.5, 3.0], "side": [1, -1]},
    "agg_trade": {
        "price": [10.0, 20.0],
        "size": [0.5, 3.0],
        "trade_first": [BIG, 2],
        "trade_last": [3, 4],
        "side": [-1, 1],
    },
    "level": {
        "price": [10.0, 20.0],
        "size": [0.5, 3.0],
        "venue_first": [0, 0],
        "venue_prev": [BIG, 2],
        "side": [1, -1],
    },
}
DERIVED = {
    "mid": [11.5, math.nan],
    "spread": [3.0, math.nan],
    "microprice": [(10.0 * 1 + 13.0 * 3) / 4, math.nan],
    "imbalance": [0.5, math.nan],
    "notional": [5.0, 60.0],
}
OF_NUMPY = {"f8": float, "u8": int, "i8": int, "u4": int, "u2": int, "u1": int, "i1": int}


def expected(field: str, kind: str, made: np.ndarray) -> list[Any]:
    number = next(row.number for row in KINDS.values() if row.name == kind)
    typed = made.view(dtype_of(number))
    if field in DERIVED:
        return DERIVED[field]
    if field == "age_ns":
        return [NOW_NS - 900.0, NOW_NS - 950.0]
    if field == "lag_ns":
        return [NOW_NS - 1_000, NOW_NS - 2_000]
    names: dict[str, list[Any]] = {
        "symbol": ["BTCUSDT"] * 2,
        "venue": ["BINANCE"] * 2,
        "instrument": [BTC] * 2,
        "position": [0, 1],
        "seq": [1, 2],
        "kind": [kind] * 2,
    }
    column = {"instrument_id": "instrument", "aggressor_side": "side", "trade_id": "venue_seq"}.get(field, field)
    return names.get(field) or typed[column].tolist()


def dispatched(kind: str, source: str) -> tuple[list[Any], np.ndarray]:
    """Return what a handler of this source got, and the array that was published."""
    got: list[Any] = []
    scope: dict[str, Any] = {"got": got}
    exec(source, scope)
    handler = next(value for name, value in scope.items() if name.startswith("on_"))
    with Dispatcher(clock=HandClock(NOW_NS), on_fault="raise") as dispatcher:
        made = ticks(
            instrument=BTC,
            ts_init=[1_000, 2_000],
            ts_event=[900, 950],
            instruments=dispatcher.instruments,
            kind=kind,
            **ROWS[kind],
        )
        dispatcher.subscribe(handler)
        dispatcher.publish(made)
        dispatcher.dispatch()
    return got, made


CASES = [(row.name, kind) for row in FIELDS for kind in row.kinds if kind in ROWS]


@pytest.mark.parametrize(("field", "kind"), [case for case in CASES if case[0] not in {"tick", "ticks"}])
def test_a_field_has_the_value_and_type_of_its_row(field: str, kind: str) -> None:
    row = next(row for row in FIELDS if row.name == field)
    if row.singular is not None:
        got, made = dispatched(kind, f"def on_{kind}({field}): got.append({field})")
        want = expected(field, kind, made)
        assert [str(value) for value in got] == [str(value) for value in want]
        assert {type(value).__name__ for value in got} == {row.singular}
        by_attribute, _ = dispatched(kind, f"def on_{kind}(tick): got.append(tick.{field})")
        assert [str(value) for value in by_attribute] == [str(value) for value in want]
    if row.plural is not None:
        (column,), made = dispatched(kind, f"def on_{kind}s({field}): got.append({field}.copy())")
        want = (
            [row.number for row in KINDS.values() if row.name == kind] * 2
            if field == "kind"
            else expected(field, kind, made)
        )
        np.testing.assert_array_equal(column, np.array(want, row.plural))
        assert column.dtype == np.dtype(row.plural)


def test_a_tick_without_venue_time_has_no_age() -> None:
    got: list[Any] = []
    columns: list[Any] = []
    with Dispatcher(clock=HandClock(NOW_NS), on_fault="raise") as dispatcher:
        made = ticks(instrument=BTC, ts_init=[1_000], bid_price=[1], ask_price=[2], instruments=dispatcher.instruments)
        dispatcher.subscribe(
            lambda age_ns, lag_ns, ts_event: got.append((age_ns, lag_ns, ts_event)), callback="on_quote"
        )
        dispatcher.subscribe(lambda age_ns: columns.append(age_ns.copy()), callback="on_quotes")
        dispatcher.publish(made)
        dispatcher.dispatch()
    assert math.isnan(got[0][0])
    assert got[0][1:] == (NOW_NS - 1_000, 0)
    assert np.isnan(columns[0]).all()


def test_age_and_lag_are_signed() -> None:
    got: list[Any] = []
    with Dispatcher(clock=HandClock(0), on_fault="raise") as dispatcher:
        made = ticks(
            instrument=BTC, ts_init=[7], ts_event=[9], bid_price=[1], ask_price=[2], instruments=dispatcher.instruments
        )
        dispatcher.subscribe(lambda age_ns, lag_ns: got.append((age_ns, lag_ns)), callback="on_quote")
        dispatcher.publish(made)
        dispatcher.dispatch()
    assert got == [(-9.0, -7)]


def test_a_tick_has_only_its_own_kinds_values() -> None:
    got, _ = dispatched(
        "quote", "def on_quote(tick): got.append((hasattr(tick, 'price'), hasattr(tick, 'notional'), dir(tick)))"
    )
    assert got[0][:2] == (False, False)
    assert "microprice" in got[0][2]


def test_a_tick_cannot_be_made_or_changed_by_hand() -> None:
    got, _ = dispatched("quote", "def on_quote(tick): got.append(tick)")
    with pytest.raises(AttributeError):
        got[0].bid_price = 3.0
    with pytest.raises(TypeError):
        type(got[0])()


def test_a_ticks_text_names_kind_instrument_and_values() -> None:
    got, _ = dispatched("quote", "def on_quote(tick): got.append(repr(tick))")
    assert "quote BTCUSDT.BINANCE seq=1 position=0 bid_price=10" in got[0]


def test_only_ticks_of_one_kind_name_their_values() -> None:
    (one,), _ = dispatched("trade", "def on_trades(ticks): got.append(ticks)")
    assert one["price"].tolist() == [10.0, 20.0]
    (every,), _ = dispatched("trade", "def on_ticks(ticks): got.append(ticks)")
    assert every["values"][:, 0].tolist() == [10.0, 20.0]


def test_columns_are_read_only_in_every_view() -> None:
    (column,), _ = dispatched("trade", "def on_trades(price): got.append(price)")
    assert not column.flags.writeable
    for view in (column, column[:1], column[::2]):
        with pytest.raises(ValueError, match=r"read-only|cannot set WRITEABLE"):
            view.flags.writeable = True
        with pytest.raises(ValueError, match="read-only"):
            view[0] = 1.0


def test_handlers_of_one_run_share_one_column() -> None:
    seen: list[np.ndarray] = []
    with Dispatcher(on_fault="raise") as dispatcher:
        for _ in range(3):
            dispatcher.subscribe(lambda bid_price: seen.append(bid_price), callback="on_quotes")
        made = ticks(
            instrument=BTC, ts_init=[1, 2], bid_price=[1, 2], ask_price=[2, 3], instruments=dispatcher.instruments
        )
        dispatcher.publish(made)
        dispatcher.dispatch()
    assert len(seen) == 3
    assert seen[0] is seen[1] is seen[2]
