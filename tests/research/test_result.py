"""What a result offers: rows as arrays and DataFrames, a file, a comparison, tables."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace
from headrace import BacktestResult
from headrace.errors import MissingExtraError, OptionError, ResultError
from tests.support.backtests import Acts, Reverting, path, walk
from tests.support.feeding import BTC

ROWS = ("trades", "orders", "fills", "positions")


@pytest.fixture(scope="module")
def result() -> BacktestResult:
    return headrace.backtest(Reverting, walk())


@pytest.mark.parametrize("name", ROWS)
def test_rows_are_the_same_in_every_form(result: BacktestResult, name: str) -> None:
    rows = getattr(result, name)
    array, frame = rows.array(), rows.to_polars()
    pandas, arrow = rows.to_pandas(), rows.to_arrow()
    assert len(array) == len(frame) == len(pandas) == len(arrow) == len(rows) > 0
    assert list(array.dtype.names) == frame.columns == list(pandas.columns) == arrow.column_names
    for field in array.dtype.names:
        want = [None if value != value else value for value in array[field].tolist()]
        for got in (frame[field].to_list(), pandas[field].tolist(), arrow[field].to_pylist()):
            plain = [
                int(np.datetime64(own.replace(tzinfo=None), "ns").astype(int)) if hasattr(own, "tzinfo") else own
                for own in got
            ]
            assert [None if value != value else value for value in plain] == want, field


def test_times_of_frames_are_in_utc(result: BacktestResult) -> None:
    fills = result.fills
    assert str(fills.to_pandas()["ts"].dtype) == "datetime64[ns, UTC]"
    assert str(fills.to_polars()["ts"].dtype) == "Datetime(time_unit='ns', time_zone='UTC')"
    assert str(fills.to_arrow().schema.field("ts").type) == "timestamp[ns, tz=UTC]"


def test_rows_of_nothing_have_their_columns() -> None:
    empty = headrace.backtest(Acts({}), path([100, 101]))
    for name in ROWS:
        rows = getattr(empty, name)
        assert len(rows) == len(rows.array()) == 0
        assert rows.to_polars().columns == list(rows.array().dtype.names)


@pytest.mark.parametrize(
    ("package", "call"), [("polars", "to_polars"), ("pandas", "to_pandas"), ("pyarrow", "to_arrow")]
)
def test_a_missing_package_names_its_extra(
    result: BacktestResult, monkeypatch: pytest.MonkeyPatch, package: str, call: str
) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(MissingExtraError, match=rf'this needs {package}: pip install "headrace\['):
        getattr(result.fills, call)()


def test_a_saved_result_loads_as_it_was(result: BacktestResult, tmp_path: Path) -> None:
    loaded = BacktestResult.load(result.save(tmp_path / "one.headrace"))
    for name in (*ROWS, "currency", "cash", "balances", "settings", "notes", "audit_hash", "input_hash", "versions"):
        assert getattr(loaded, name) == getattr(result, name), name
    assert loaded.equity_end == result.equity_end
    assert np.array_equal(loaded.equity, result.equity)
    assert np.array_equal(loaded.prices[BTC], result.prices[BTC])
    assert str(loaded) == str(result)
    assert loaded.to_dict() == result.to_dict()
    loaded.save(tmp_path / "two.headrace")
    assert (tmp_path / "one.headrace").read_bytes() == (tmp_path / "two.headrace").read_bytes()


def test_figures_that_do_not_exist_survive_the_file(tmp_path: Path) -> None:
    made = headrace.backtest(Acts({}), path([100, 101]))
    loaded = BacktestResult.load(made.save(tmp_path / "empty.headrace"))
    assert np.isnan(loaded.statistics.sharpe)


def test_a_file_of_another_version_is_refused(result: BacktestResult, tmp_path: Path) -> None:
    file = result.save(tmp_path / "result.headrace")
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["header.json"] = b'{"format":"headrace result","version":99}'
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    with pytest.raises(ResultError, match="has version 99, and this headrace reads version 2"):
        BacktestResult.load(file)


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "folder", "missing", "other_zip"])
def test_a_damaged_file_is_refused(result: BacktestResult, tmp_path: Path, damage: str) -> None:
    file = result.save(tmp_path / "result.headrace")
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-200])
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "text":
        file.write_text("no result")
    elif damage == "folder":
        file = tmp_path
    elif damage == "missing":
        file = tmp_path / "missing.headrace"
    else:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a", "b")
    with pytest.raises(ResultError) as caught:
        BacktestResult.load(file)
    assert caught.value.path == str(file)


def test_a_file_that_cannot_be_written_leaves_nothing(result: BacktestResult, tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="cannot be written"):
        result.save(tmp_path / "missing" / "result.headrace")
    assert list(tmp_path.iterdir()) == []


def test_the_document_is_json_with_plain_money(result: BacktestResult) -> None:
    document = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    for name in (
        "trades",
        "fills",
        "orders",
        "equity_end",
        "fees",
        "statistics",
        "audit_hash",
        "input_hash",
        "balances",
    ):
        assert name in document
    fill = document["fills"][0]
    assert list(fill) == ["ts", "strategy", "instrument", "side", "quantity", "price", "fee", "currency", "liquidity"]
    assert isinstance(fill["ts"], int)
    assert fill["side"] in (1, -1)
    for money in (fill["quantity"], fill["price"], fill["fee"], document["equity_end"], document["fees"]):
        assert isinstance(money, str)
        assert "E" not in money.upper()


def test_results_are_compared_side_by_side() -> None:
    spec = headrace.StrategySpec
    each = [headrace.backtest(spec(strategy=Reverting, parameters={"step": step}), walk()) for step in (0.2, 0.5)]
    both = headrace.compare(each)
    assert both.names == ("step=0.2", "step=0.5")
    assert "max drawdown" in str(both)
    assert both._repr_html_().count("<table>") == 1
    assert both.columns()["fills"] == [len(own.fills) for own in each]


@pytest.mark.parametrize(("results", "names"), [([], None), ([1], None), (None, ["a"])], ids=str)
def test_what_cannot_be_compared_is_refused(result: BacktestResult, results: Any, names: Any) -> None:
    given = [result, result] if results is None else results
    with pytest.raises(OptionError):
        headrace.compare(given, names)


def test_a_notebook_shows_tables(result: BacktestResult) -> None:
    assert "equity at the end" in result._repr_html_()
    assert repr(result).startswith("BacktestResult(")
