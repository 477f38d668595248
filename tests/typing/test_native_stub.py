"""The stub of the native module is right where stubtest cannot check it: return values, and attributes of ticks."""

from __future__ import annotations
import __future__

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import msgspec
import pytest

import headrace
import headrace._native as _native
from headrace import Dispatcher, ticks
from headrace._native import PumpStatus

STUB = Path(headrace.__file__).with_name("_native.pyi")
TABLES = [
    *("build_info", "cause_table", "field_table", "flag_table", "kind_table", "limit_table", "reject_table"),
    "status_tables",
]
BTC = "BTCUSDT.BINANCE"


@pytest.fixture(scope="module")
def stub() -> Iterator[ModuleType]:
    """The stub, executed: its classes and functions without their bodies."""
    module = ModuleType("native_stub")
    module.__dict__["type_check_only"] = lambda checked: checked
    source = STUB.read_text().replace(", type_check_only", "")
    # Registered, so that annotations can be looked up in it.
    sys.modules[module.__name__] = module
    exec(compile(source, STUB, "exec", flags=__future__.annotations.compiler_flag), module.__dict__)
    # The module's own, so that a value can be compared with the annotation.
    module.__dict__["PumpStatus"] = PumpStatus
    yield module
    del sys.modules[module.__name__]


def returned(stub: ModuleType, path: str) -> Any:
    """The annotation of what a function or method returns."""
    found: Any = stub
    for name in path.split("."):
        found = getattr(found, name)
    return get_type_hints(found, vars(stub))["return"]


def assert_is(value: object, annotation: Any) -> None:
    """Fail unless a value has exactly the annotated type; a typed dict must have no other keys, either."""
    msgspec.convert(value, annotation, strict=True)
    if isinstance(value, dict) and hasattr(annotation, "__required_keys__"):
        assert value.keys() == annotation.__required_keys__


@pytest.mark.parametrize("table", TABLES)
def test_a_table_has_rows_of_the_annotated_types(stub: ModuleType, table: str) -> None:
    assert_is(getattr(_native, table)(), returned(stub, table))


def test_counts_and_statistics_have_exactly_the_annotated_keys(stub: ModuleType) -> None:
    with Dispatcher(hashing=True) as dispatcher:
        subscription = dispatcher.subscribe(lambda price: None, callback="on_trade")
        dispatcher.publish(ticks(instrument=BTC, ts_init=[1], price=[1.0], instruments=dispatcher.instruments))
        dispatcher.dispatch()
        membership = subscription.membership
        assert_is(membership.stats(), returned(stub, "Membership.stats"))
        assert_is(membership.state, returned(stub, "Membership.state.fget"))
        assert_is(dispatcher.sequencer.counts(), returned(stub, "Sequencer.counts"))
        assert_is(dispatcher.sequencer.save(), returned(stub, "Sequencer.save"))
        assert_is(dispatcher._ingest.counts(), returned(stub, "Ingest.counts"))
        assert_is(dispatcher._inline.running(), returned(stub, "DispatchGroup.running"))


def test_a_replay_returns_what_is_annotated(stub: ModuleType) -> None:
    with Dispatcher(mode="replay", instruments=[BTC]) as dispatcher:
        pump = _native.Pump(dispatcher._ingest)
        source = pump.add_source("test", _native.Decoder("BINANCE", dispatcher.instruments))
        answers = [pump.run(100)]
        pump.push(source, b"no line\n")
        answers.append(pump.run(100))
        pump.finish(source)
        answers.append(pump.run(100))
        for answer in answers:
            assert_is(answer, returned(stub, "Pump.run"))
        assert [status for status, _ in answers] == [PumpStatus.NEED, PumpStatus.NEED, PumpStatus.END]
        assert_is(pump.counts(), returned(stub, "Pump.counts"))
        rejects = pump.take_rejects()
        assert len(rejects) == 1
        assert_is(rejects, returned(stub, "Pump.take_rejects"))


def test_each_type_of_tick_has_exactly_the_annotated_attributes(stub: ModuleType) -> None:
    built_in = [made for made in _native.tick_types() if hasattr(stub, made.__name__)]
    assert len(built_in) == 15
    for made in built_in:
        annotated = getattr(stub, made.__name__)
        assert attributes(made) == attributes(annotated), made.__name__
        assert issubclass(made, _native.tick_types()[0])


def attributes(made: type) -> set[str]:
    """The public attributes of a class and its bases."""
    return {name for name in dir(made) if not name.startswith("_")}


def test_the_attributes_of_ticks_have_the_annotated_types(stub: ModuleType) -> None:
    kinds: dict[str, Any] = {}
    with Dispatcher(instruments=[BTC]) as dispatcher:
        kept: list[Any] = []
        dispatcher.subscribe(lambda tick: kept.append(tick), callback="on_tick")
        two: dict[str, Any] = {"instrument": BTC, "ts_init": [1, 2], "instruments": dispatcher.instruments}
        dispatcher.publish(ticks(**two, bid_price=[1, 2], ask_price=[2, 3]))
        dispatcher.publish(ticks(**two, price=[1, 2], trade_id=[7, 9]))
        dispatcher.publish(ticks(**two, kind="agg_trade", price=[1, 2]))
        dispatcher.publish(ticks(**two, kind="level", price=[1, 2], side=[1, -1]))
        dispatcher.publish(ticks(**two, kind="level_empty", venue_first=[1, 2]))
        dispatcher.dispatch()
        kinds = {type(tick).__name__: tick for tick in kept}
    assert kinds.keys() == {"QuoteTick", "TradeTick", "AggTradeTick", "LevelTick", "LevelEmptyTick", "GapTick"}
    for name, tick in kinds.items():
        for attribute in attributes(type(tick)):
            annotation = returned(stub, f"{name}.{attribute}.fget")
            assert_is(getattr(tick, attribute), annotation)
