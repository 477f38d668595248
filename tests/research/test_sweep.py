"""Sweeps: the same table for any number of workers, killed and resumed; walk-forward; the deflated Sharpe ratio."""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

import headrace
from headrace import BacktestResult, StrategySpec
from headrace.errors import MissingExtraError, OptionError, ResultError
from headrace.research.deflated import deflated_sharpe, expected_maximum, moments
from headrace.research.past import Past, past_of
from headrace.research.report import page_of
from headrace.research.space import Axis, axis_of, grid, proposed
from headrace.research.sweep import Sweep, sweep
from headrace.research.walk_forward import spans_of, walk_forward
from tests.support.backtests import DAY, Reverting, walk
from tests.support.command import COMMAND, Run
from tests.support.engines import START


def recipe(parameters: Mapping[str, Any]) -> Any:
    """A trial of Reverting; a module's function, so that workers can import it."""
    spec = StrategySpec(strategy=Reverting, parameters=dict(parameters))
    return {"strategies": [spec], "instruments": [], "limits": None, "broker": None}, {"fees": 0}


def failing(parameters: Mapping[str, Any]) -> Any:
    if parameters["step"] > 0.4:
        msg = "no such step"
        raise ValueError(msg)
    return recipe(parameters)


SPACE = {"step": axis_of("step", "0.1:0.5:0.1"), "quantity": axis_of("quantity", "1,2")}


@pytest.fixture(scope="module")
def past() -> Past:
    return past_of(walk(400, every_ns=3_600 * 10**9))


@pytest.fixture(scope="module")
def table(past: Past) -> Sweep:
    return sweep(recipe, past, SPACE, metric="total_return")


# Space


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1:4:1", (1, 2, 3, 4)),
        ("1:4", (1, 2, 3, 4)),
        ("0:1:0.25", (0.0, 0.25, 0.5, 0.75, 1.0)),
        ("0.1:0.3:0.1", (0.1, 0.2, 0.3)),
        ("5,7,9", (5, 7, 9)),
        ("fast,slow", ("fast", "slow")),
        ("log(1,100,3)", (1.0, 10.0, 100.0)),
    ],
)
def test_an_axis_reads_as_it_is_written(text: str, values: tuple[Any, ...]) -> None:
    axis = axis_of("a", text)
    assert axis.values() == values
    assert [type(own) for own in axis.values()] == [type(own) for own in values]


@pytest.mark.parametrize("text", ["3:1", "1:3:0", "log(0,1)", "log(2,1)", "log(1,2,1)", "", "log(a,b)"])
def test_a_wrong_axis_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="a="):
        axis_of("a", text)


def test_a_range_without_steps_has_no_grid() -> None:
    with pytest.raises(OptionError, match="has no steps"):
        grid({"a": axis_of("a", "0.1:0.5")})


def test_a_trial_at_random_depends_on_seed_and_number_alone() -> None:
    space = {"a": axis_of("a", "log(0.001,1)"), "b": axis_of("b", "0.0:1"), "c": axis_of("c", "x,y")}
    whole = list(proposed(space, "random", range(20), seed=3))
    assert whole[7:12] == list(proposed(space, "random", range(7, 12), seed=3))
    assert whole != list(proposed(space, "random", range(20), seed=4))
    assert all(0.001 <= own["a"] <= 1 for own in whole)
    # Spread over magnitudes: the middle of the logarithm.
    draws = [own["a"] for own in proposed(space, "random", range(400), seed=5)]
    assert 0.02 < float(np.median(draws)) < 0.05


def test_tpe_learns_from_earlier_batches_and_is_the_same_each_time() -> None:
    space = {"a": axis_of("a", "0.0:1.0"), "b": axis_of("b", "1:9")}
    earlier: list[tuple[Mapping[str, Any], float]] = []
    for start in range(0, 60, 10):
        batch = list(proposed(space, "tpe", range(start, start + 10), seed=1, earlier=earlier))
        assert batch == list(proposed(space, "tpe", range(start, start + 10), seed=1, earlier=earlier))
        earlier += [(own, -abs(own["a"] - 0.7)) for own in batch]
    near = [sum(abs(own["a"] - 0.7) < 0.15 for own, _ in part) for part in (earlier[:10], earlier[-10:])]
    assert near[1] > near[0]


# Sweeps


def test_a_sweep_has_every_combination_and_ranks_it(table: Sweep) -> None:
    assert [own.parameters for own in table.trials] == grid(SPACE)
    values = [own.value or 0.0 for own in table.ranked]
    assert values == sorted(values, reverse=True)
    assert table.best is not None
    assert "best by total_return" in str(table)


def test_a_trial_is_a_backtest_of_its_parameters(table: Sweep) -> None:
    first = table.trials[0]
    spec = StrategySpec(strategy=Reverting, parameters=first.parameters)
    result = headrace.backtest(spec, walk(400, every_ns=3_600 * 10**9), fees=0)
    assert first.equity_end == f"{result.equity_end:f}"
    assert first.audit_hash == result.audit_hash


def test_several_workers_make_the_same_table(past: Past, table: Sweep) -> None:
    assert sweep(recipe, past, SPACE, metric="total_return", workers=4).trials == table.trials


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a Dask cluster of two processes on this machine, each with two threads."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None, silence_logs=logging.ERROR) as local:
        yield local.scheduler_address


@pytest.mark.timeout(120)
def test_a_cluster_makes_the_same_table(past: Past, table: Sweep, cluster: str) -> None:
    done: list[tuple[int, int]] = []
    found = sweep(recipe, past, SPACE, metric="total_return", dask=cluster, on_trial=lambda *own: done.append(own))
    assert found.trials == table.trials
    assert done == [(number, 10) for number in range(1, 11)]


@pytest.mark.timeout(120)
def test_a_study_goes_on_on_a_cluster(past: Past, tmp_path: Path, cluster: str) -> None:
    space = {"step": axis_of("step", "0.1:0.6"), "quantity": axis_of("quantity", "1:3")}
    options: dict[str, Any] = {"search": "tpe", "trials": 9, "batch": 4, "metric": "total_return", "seed": 2}
    whole = sweep(recipe, past, space, study=tmp_path / "study", **options)
    lines = (tmp_path / "study").read_bytes().splitlines(keepends=True)
    (tmp_path / "study").write_bytes(b"".join(lines[:4]) + lines[4][:30])
    assert sweep(recipe, past, space, study=tmp_path / "study", dask=cluster, **options).trials == whole.trials


@pytest.mark.timeout(120)
def test_a_trial_that_raises_on_a_cluster_is_a_row(past: Past, cluster: str) -> None:
    found = sweep(failing, past, {"step": axis_of("step", "0.3,0.5")}, metric="total_return", dask=cluster)
    assert [own.error for own in found.trials] == ["", "ValueError: no such step"]


@pytest.mark.timeout(120)
def test_a_worker_of_another_version_is_refused(past: Past, cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.research.workers._native", SimpleNamespace(build_info=lambda: {"version": "0.0.1"}))
    with pytest.raises(OptionError, match=r"worker tcp://.* has headrace .*, and not 0\.0\.1: install the same"):
        sweep(recipe, past, SPACE, dask=cluster)


def test_a_cluster_that_is_not_there_is_an_error(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.research.workers.CLUSTER_S", 0.2)
    with pytest.raises(OptionError, match=r"dask='tcp://127.0.0.1:9' has no worker that answers within"):
        sweep(recipe, past, SPACE, dask="tcp://127.0.0.1:9")


def test_a_cluster_without_dask_names_the_extra(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r'pip install "headrace\[dask\]"'):
        sweep(recipe, past, SPACE, dask="tcp://127.0.0.1:9")


def test_workers_and_a_cluster_exclude_each_other(past: Past) -> None:
    with pytest.raises(OptionError, match=r"workers=2 with dask=.* which has its own: leave one out"):
        sweep(recipe, past, SPACE, workers=2, dask="tcp://127.0.0.1:9")


@pytest.mark.timeout(120)
def test_the_command_runs_on_a_cluster(headrace_run: Run, spot_file: Path, cluster: str) -> None:
    common = ("sweep", spot_file, *SWEEP, "--metric", "total_return", "--json")
    runs = [headrace_run(*common, *more) for more in ([], ["--dask", cluster])]
    assert [own.returncode for own in runs] == [0, 0], runs[1].stderr
    assert json.loads(runs[0].stdout) == json.loads(runs[1].stdout)


@pytest.mark.parametrize("search", ["random", "tpe"])
def test_a_resumed_study_makes_the_same_table(past: Past, tmp_path: Path, search: Any) -> None:
    """Cut inside of a line of a batch, as a killed process leaves it."""
    space = {"step": axis_of("step", "0.1:0.6"), "quantity": axis_of("quantity", "1:3")}
    options: dict[str, Any] = {"search": search, "trials": 9, "batch": 4, "metric": "total_return", "seed": 2}
    whole = sweep(recipe, past, space, study=tmp_path / "study", **options)
    lines = (tmp_path / "study").read_bytes().splitlines(keepends=True)
    (tmp_path / "study").write_bytes(b"".join(lines[:4]) + lines[4][:30])
    assert sweep(recipe, past, space, study=tmp_path / "study", workers=2, **options).trials == whole.trials
    kept = [json.loads(line)["number"] for line in (tmp_path / "study").read_text().splitlines()[1:]]
    assert sorted(kept) == list(range(9))


@pytest.mark.parametrize("change", [{"seed": 9}, {"metric": "sharpe"}, {"search": "random"}], ids=str)
def test_a_study_of_other_settings_is_not_resumed(past: Past, tmp_path: Path, change: dict[str, Any]) -> None:
    study = tmp_path / "study"
    sweep(recipe, past, SPACE, metric="total_return", trials=1, study=study)
    with pytest.raises(ResultError, match="has another"):
        sweep(recipe, past, SPACE, **{"metric": "total_return", "trials": 1, "study": study, **change})


def test_a_trial_that_raises_is_a_row_with_its_error(past: Past) -> None:
    found = sweep(failing, past, {"step": axis_of("step", "0.3,0.5")}, metric="total_return")
    assert [own.error for own in found.trials] == ["", "ValueError: no such step"]
    assert [own.value is None for own in found.trials] == [False, True]


def test_tpe_without_optuna_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r'pip install "headrace\[sweep\]"'):
        list(proposed({"a": Axis(choices=(1, 2))}, "tpe", range(2), seed=0))


@pytest.mark.parametrize("wrong", [{"search": "best"}, {"metric": "luck"}, {"workers": 0}, {"batch": True}], ids=str)
def test_a_wrong_option_is_refused(past: Past, wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        sweep(recipe, past, SPACE, **wrong)
    with pytest.raises(OptionError, match="space is empty"):
        sweep(recipe, past, {})


# The command

SWEEP = ("--strategy", "headrace.examples.momentum:Momentum", "--param", "lookback=2:8:2", "--param", "quantity=0.5")


def test_the_command_writes_table_study_and_best(headrace_run: Run, spot_file: Path, tmp_path: Path) -> None:
    more = (
        "--metric",
        "total_return",
        "--study",
        "study",
        "--out",
        "table.parquet",
        "--best",
        "best.headrace",
        "--json",
    )
    ended = headrace_run("sweep", spot_file, *SWEEP, *more)
    assert ended.returncode == 0, ended.stderr
    document = json.loads(ended.stdout)
    assert [own["parameters"] for own in document["trials"]] == [{"lookback": own} for own in (2, 4, 6, 8)]
    frame = pl.read_parquet(tmp_path / "table.parquet")
    assert frame["lookback"].to_list() == [2, 4, 6, 8]
    assert frame["value"].to_list() == [own["value"] for own in document["trials"]]
    best = BacktestResult.load(tmp_path / "best.headrace")
    assert f"{best.equity_end:f}" == document["trials"][document["best"]]["equity_end"]
    assert "Sweep: total_return, mean of 4 trials" in page_of(best, interactive=False)


@pytest.mark.timeout(120)
def test_a_killed_sweep_goes_on_to_the_same_table(spot_file: Path, tmp_path: Path) -> None:
    arguments = [*COMMAND, "sweep", str(spot_file), *SWEEP[:2], "--param", "lookback=2:9", "--workers", "2", "--json"]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    with subprocess.Popen(
        [*arguments, "--study", "study"], cwd=tmp_path, env=environment, stdout=-1, stderr=-1, start_new_session=True
    ) as process:
        study, until_s = tmp_path / "study", time.monotonic() + 50
        while time.monotonic() < until_s and (not study.exists() or study.read_bytes().count(b"\n") < 2):
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    before = study.read_bytes().count(b"\n")
    assert 2 <= before < 9
    runs = [
        subprocess.run([*arguments, *more], cwd=tmp_path, env=environment, capture_output=True, check=False, timeout=60)
        for more in (["--study", "study"], [])
    ]
    assert runs[0].returncode == runs[1].returncode, runs[0].stderr
    assert json.loads(runs[0].stdout) == json.loads(runs[1].stdout)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sweep"], "there is nothing to sweep"),
        (["sweep", "FILE"], "there is no strategy"),
        (["sweep", "FILE", *SWEEP[:2]], "there is nothing to vary"),
        (["sweep", "FILE", *SWEEP[:2], "--param", "lookbac=1:3"], "did you mean lookback?"),
        (["sweep", "FILE", *SWEEP, "--metric", "luck"], "metric='luck' is unknown"),
        (["sweep", "FILE", *SWEEP, "--walk-forward", "30d"], "write TRAIN/TEST"),
    ],
    ids=lambda own: "" if isinstance(own, str) else " ".join(own)[:30],
)
def test_wrong_arguments_are_one_line(headrace_run: Run, spot_file: Path, arguments: list[str], said: str) -> None:
    ended = headrace_run(*(spot_file if own == "FILE" else own for own in arguments))
    assert ended.returncode == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


IDLE = """
from headrace import Strategy

class Idle(Strategy):
    def __init__(self, wait: int) -> None:
        self.wait = wait

    def on_quote(self) -> None:
        if self.wait > 3:
            raise ValueError("too long")
"""


@pytest.mark.parametrize(
    ("values", "said"), [("1,2", "no trial has a sharpe, as where nothing was traded"), ("4,5", "ValueError: too long")]
)
def test_a_sweep_without_a_best_says_why(
    headrace_run: Run, spot_file: Path, tmp_path: Path, values: str, said: str
) -> None:
    (tmp_path / "idle.py").write_text(IDLE)
    ended = headrace_run("sweep", spot_file, "--strategy", "idle.py:Idle", "--param", f"wait={values}")
    assert ended.returncode == 1
    assert said in ended.stderr


# Walk-forward


def test_spans_follow_each_other_without_a_hole() -> None:
    rolling = spans_of(0, 100, train_ns=40, test_ns=25)
    assert rolling == [(0, 40, 65), (25, 65, 90), (50, 90, 101)]
    assert [own.train_ns for own in spans_of(0, 100, train_ns=40, test_ns=25, anchored=True)] == [0, 0, 0]
    with pytest.raises(OptionError, match="leaves nothing to test"):
        spans_of(0, 100, train_ns=101, test_ns=1)


@pytest.mark.parametrize("anchored", [False, True])
def test_a_walk_chooses_on_the_past_and_stitches_the_rest(past: Past, anchored: bool) -> None:
    space = {"step": axis_of("step", "0.2,0.4")}
    found = walk_forward(
        recipe, past, space, train_ns=5 * DAY, test_ns=4 * DAY, anchored=anchored, metric="total_return"
    )
    assert len(found.windows) == 3
    equity, ends = 100_000.0, []
    for own in found.windows:
        chosen = sweep(recipe, past.between(own.span.train_ns, own.span.test_ns), space, metric="total_return").best
        assert chosen is not None
        assert own.parameters == chosen.parameters
        assert own.result is not None
        equity *= 1 + own.result.statistics.total_return
        ends.append(equity)
    assert found.curve["equity"][-1] == pytest.approx(ends[-1])
    assert found.curve["ts"][0] == START + 5 * DAY
    assert np.all(np.diff(found.curve["ts"]) > 0)
    assert "out of sample" in str(found)


def test_the_command_walks_forward(headrace_run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "ticks.npy", np.asarray(walk(300, every_ns=3_600 * 10**9)))
    (tmp_path / "own.py").write_text("from tests.support.backtests import Reverting\n")
    (tmp_path / "tests").symlink_to(Path(__file__).parents[1])
    ended = headrace_run(
        *("sweep", "ticks.npy", "--strategy", "own.py:Reverting", "--param", "step=0.2,0.4", "--json"),
        *("--walk-forward", "5d/4d", "--anchored", "--metric", "total_return", "--cash", "100000"),
    )
    assert ended.returncode == 0, ended.stderr
    document = json.loads(ended.stdout)
    assert len(document["windows"]) == 2
    assert document["curve"][-1][1] == pytest.approx(100_000 * (1 + document["statistics"]["total_return"]))


# The deflated Sharpe ratio


def test_a_deflated_ratio_is_that_of_the_paper() -> None:
    """The numerical example: SR 2.5 a year of 250 days, 100 tries with variance 1/2 a year, 1,250 days."""
    variance, sharpe = 0.5 / 250, 2.5 / math.sqrt(250)
    assert expected_maximum(100, variance) == pytest.approx(0.1132, abs=5e-5)
    found = deflated_sharpe(sharpe=sharpe, skew=-3, kurtosis=10, days=1_250, tries=100, variance=variance)
    assert found == pytest.approx(0.9004, abs=5e-5)


def test_more_tries_make_a_ratio_less_probable() -> None:
    common: dict[str, Any] = {"sharpe": 0.1, "skew": 0.0, "kurtosis": 3.0, "days": 500, "variance": 0.002}
    each = [deflated_sharpe(tries=tries, **common) for tries in (1, 2, 10, 1_000)]
    assert each == sorted(each, reverse=True)


def test_chance_alone_is_seldom_significant(seed: int) -> None:
    """Of the best of 50 random strategies: 19 in 20 say that it is no better than chance."""
    rng = np.random.default_rng(seed)
    probable = 0
    for _ in range(60):
        returns = rng.normal(0, 0.01, (50, 250))
        ratios = returns.mean(1) / returns.std(1, ddof=1)
        best = moments(returns[int(ratios.argmax())])
        own = {name: float(best[name]) for name in ("sharpe", "skew", "kurtosis")}
        found = deflated_sharpe(**own, days=250, tries=50, variance=float(ratios.var(ddof=1)))
        probable += found > 0.95
    assert probable <= 12


def test_a_sweep_says_how_probable_its_best_is(table: Sweep) -> None:
    assert 0 <= table.deflated_sharpe <= 1
    assert math.isnan(Sweep(trials=table.trials[:1], metric="sharpe", space=SPACE, planned=1).deflated_sharpe)
