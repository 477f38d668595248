"""``headrace backtest``: of files and of configurations, its options, its document and its exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from headrace import BacktestResult
from tests.support.command import COMMAND, Run

MOMENTUM = ("--strategy", "headrace.examples.momentum:Momentum")
KEYS = ("trades", "fills", "orders", "equity_end", "fees", "statistics", "audit_hash", "input_hash")


def test_a_first_backtest_needs_no_configuration(headrace_run: Run, spot_file: Path) -> None:
    ended = headrace_run("backtest", spot_file, *MOMENTUM, "--cash", "100000")
    assert ended.returncode == 0, ended.stderr
    for text in ("equity at the end", "filled in", "fees of BINANCE: maker 0.1", "limits: quantity_max"):
        assert text in ended.stdout


def test_the_document_has_what_a_result_has(headrace_run: Run, spot_file: Path) -> None:
    ended = headrace_run("backtest", spot_file, *MOMENTUM, "--param", "quantity=0.002", "--cash", "5000USDT", "--json")
    document = json.loads(ended.stdout)
    assert set(KEYS) <= set(document)
    assert document["settings"]["strategies"]["Momentum"]["parameters"] == {"quantity": "0.002"}
    assert document["balances"]["USDT"]["deposit"] == "5000"
    assert all(fill["quantity"] for fill in document["fills"])
    assert "filled in: fees of BINANCE" in ended.stderr


def test_out_saves_what_json_shows(headrace_run: Run, spot_file: Path, tmp_path: Path) -> None:
    ended = headrace_run("backtest", spot_file, *MOMENTUM, "--out", "one.headrace", "--json")
    saved = BacktestResult.load(tmp_path / "one.headrace")
    document = json.loads(ended.stdout)
    shown = json.loads(json.dumps(saved.to_dict()))
    assert {name: document[name] for name in shown} == shown


def test_a_configuration_and_its_file_of_a_run_are_backtested_unchanged(headrace_run: Run) -> None:
    assert headrace_run("config", "new", "paper.toml").returncode == 0
    use = ("--set", "strategies.0.use=headrace.examples.momentum:Momentum", "--set", "feeds.0.options.frames=20000")
    live = headrace_run("run", "paper.toml", *use, "--set", "engine.speed=1000", "--json")
    assert live.returncode == 0, live.stderr
    ended = headrace_run("backtest", "paper.toml", *use, "--json")
    assert ended.returncode == 0, ended.stderr
    document = json.loads(ended.stdout)
    assert document["fills"]
    assert document["strategies"].keys() == json.loads(live.stdout)["strategies"].keys()


def test_options_go_before_those_of_a_configuration(headrace_run: Run) -> None:
    assert headrace_run("config", "new", "paper.toml").returncode == 0
    common = ("--set", "feeds.0.options.frames=20000", *MOMENTUM, "--json")
    free = json.loads(headrace_run("backtest", "paper.toml", *common).stdout)
    paid = json.loads(headrace_run("backtest", "paper.toml", *common, "--fees", "0.01", "--cash", "777").stdout)
    assert float(free["fees"]) == 0 < float(paid["fees"])
    assert paid["balances"]["USDT"]["deposit"] == "777"


def test_a_parameter_alone_is_of_the_configurations_strategy(headrace_run: Run) -> None:
    assert headrace_run("config", "new", "paper.toml").returncode == 0
    use = ("--set", "strategies.0.use=headrace.examples.momentum:Momentum", "--set", "feeds.0.options.frames=5000")
    ended = headrace_run("backtest", "paper.toml", *use, "--param", "lookback=3", "--json")
    assert json.loads(ended.stdout)["settings"]["strategies"]["Momentum"]["parameters"] == {"lookback": 3}


def test_cash_of_a_configuration_bounds_its_orders(headrace_run: Run) -> None:
    assert headrace_run("config", "new", "paper.toml").returncode == 0
    common = ("--set", "feeds.0.options.frames=20000", *MOMENTUM, "--json")
    ended = headrace_run("backtest", "paper.toml", *common, "--set", 'account.cash={USDT="10"}')
    assert ended.returncode == 0, ended.stderr
    document = json.loads(ended.stdout)
    assert document["settings"]["cash"] == {"USDT": "10"}
    assert {order["gate"] for order in document["orders"]} == {"cash"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "there is nothing to backtest: name a CONFIG, or a FILE and a --strategy"),
        (["FILE"], "there is no strategy: name one with --strategy"),
        (["missing.toml"], "configuration missing.toml is missing"),
        (["FILE", *MOMENTUM, "--set", "a=b"], "--set a=b is for a configuration"),
        (["FILE", *MOMENTUM, "--cash", "lots"], "cash='lots' is not allowed"),
        (["FILE", *MOMENTUM, "--fees", "x"], "fees='x' is not allowed"),
        (["FILE", *MOMENTUM, "--fill", "best"], "best"),
        (["FILE", *MOMENTUM, "--start", "x"], "start='x' is not allowed"),
        (["FILE", *MOMENTUM, "--latency", "fast"], "latency='fast' is no duration"),
        (["FILE", *MOMENTUM, "--param", "lookbak=2"], "did you mean lookback?"),
        (["FILE", "--strategyy", "x"], "no such option --strategyy"),
    ],
    ids=lambda value: " ".join(map(str, value))[:40] if isinstance(value, list) else "",
)
def test_wrong_arguments_are_one_line(headrace_run: Run, spot_file: Path, arguments: list[str], said: str) -> None:
    ended = headrace_run("backtest", *(spot_file if own == "FILE" else own for own in arguments))
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_configuration_stands_alone(headrace_run: Run, spot_file: Path) -> None:
    ended = headrace_run("backtest", "a.toml", spot_file)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "is a configuration: name it alone" in ended.stderr


def test_a_damaged_recording_shows_what_ran(headrace_run: Run, spot_file: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.gz").write_bytes(spot_file.read_bytes()[:-5_000])
    ended = headrace_run("backtest", "cut.gz", *MOMENTUM, "--json")
    assert ended.returncode == 1
    assert "is truncated" in ended.stderr
    assert json.loads(ended.stdout)["fills"]


SLOW = """
import time
from headrace import Strategy
class Slow(Strategy):
    def on_quote(self, instrument, ask_price):
        time.sleep(0.002)
        if not self.position(instrument).quantity:
            self.buy(instrument, "0.001")
            print("bought", flush=True)
"""


@pytest.mark.parametrize("name", ["a.toml", "a.yaml", "a.yml", "A.YML"])
def test_a_name_of_a_configuration_is_one_whatever_else_is_given(name: str, headrace_run: Run) -> None:
    ended = headrace_run("backtest", name, "--strategy", "trader.py:Trader")
    assert (ended.returncode, ended.stderr) == (2, f"headrace: configuration {name} is missing: check the path\n")


@pytest.mark.parametrize("name", ["a.csv", "a.toml.gz", "toml", "a.parquet"])
def test_any_other_name_is_one_of_data(name: str, headrace_run: Run) -> None:
    ended = headrace_run("backtest", name, "--strategy", "headrace.examples.momentum:Momentum")
    assert ended.returncode == 1
    assert f"{name} is missing: check the path" in ended.stderr


def test_data_that_cannot_be_opened_have_no_report(headrace_run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("time,open,high,low,close\n1767571200000,1,1,1,x\n1767571260000,1,1,1,1\n")
    ended = headrace_run("backtest", "a.csv@BTCUSDT.BINANCE", "--strategy", "headrace.examples.momentum:Momentum")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "headrace: a.csv, row 1: close is 'x', which is no number: correct or drop the row\n"


def test_what_a_part_of_the_engine_refuses_is_one_line(headrace_run: Run, spot_file: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("")
    ended = headrace_run("backtest", spot_file, *MOMENTUM, "--audit", "a.jsonl")
    said = "audit a.jsonl exists already and is not changed: name another file, or a folder for one file per run"
    assert (ended.returncode, ended.stderr) == (1, f"headrace: {said}\n")


def test_what_a_service_of_a_user_refuses_has_its_place(headrace_run: Run, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from headrace.engine.service import Service\n"
        "from headrace.errors import OptionError\n\n\n"
        "class Own(Service):\n"
        "    async def setup(self, context):\n"
        "        raise OptionError('no key', option='key')\n"
    )
    assert headrace_run("config", "new", "paper.toml").returncode == 0
    config = (tmp_path / "paper.toml").read_text() + '\n[[services]]\nuse = "own.py:Own"\n'
    (tmp_path / "paper.toml").write_text(config)
    ended = headrace_run("run", "paper.toml", "--set", "feeds.0.options.frames=100")
    assert ended.returncode == 1
    assert "own.py" in ended.stderr
    assert "raise OptionError" in ended.stderr
    assert "in Own.setup of service Own" in ended.stderr.splitlines()[-1]


def test_an_interrupt_reports_what_ran(spot_file: Path, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    arguments = [*COMMAND, "backtest", str(spot_file), "--strategy", "slow.py:Slow"]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    with subprocess.Popen(arguments, cwd=tmp_path, env=environment, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "bought\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert "stopped early" in out
    assert "equity at the end" in out


LINEAR = (
    "--strategy",
    "headrace.examples.momentum:Momentum",
    "--param",
    "quantity=0.002",
    "--cash",
    "50USDT",
    "--json",
)


def test_margin_lets_less_cash_hold_the_same(headrace_run: Run, usdm_file: Path) -> None:
    whole = json.loads(headrace_run("backtest", usdm_file, *LINEAR).stdout)
    margined = json.loads(headrace_run("backtest", usdm_file, *LINEAR, "--margin", "BINANCE_USDM=10/0.01").stdout)
    assert not whole["fills"]
    assert margined["fills"]
    assert margined["settings"]["margin"]["BINANCE_USDM"]["leverage"] == "10"


def test_limits_of_account_and_strategy_refuse(headrace_run: Run, spot_file: Path) -> None:
    own = (*MOMENTUM, "--param", "quantity=0.002", "--cash", "5000USDT", "--json")
    for limit in (("--limit", "position_max=0.001"), ("--strategy-limit", "*.position_max=0.001")):
        ended = headrace_run("backtest", spot_file, *own, *limit)
        document = json.loads(ended.stdout)
        assert not document["fills"], limit
        assert {order["gate"] for order in document["orders"]} == {"limits"}
    reduced = ("--strategy-limit", "Momentum.position_max=0.001", "--strategy-limit", "Momentum.on_exceed=reduce")
    document = json.loads(headrace_run("backtest", spot_file, *own, *reduced).stdout)
    assert {float(fill["quantity"]) for fill in document["fills"]} == {0.001}
    assert document["settings"]["strategy_limits"]["Momentum"]["position_max"] == "0.001"


def test_limits_go_before_those_of_a_configuration(headrace_run: Run) -> None:
    assert headrace_run("config", "new", "paper.toml").returncode == 0
    common = (*MOMENTUM, "--set", "feeds.0.options.frames=20000", "--json")
    assert json.loads(headrace_run("backtest", "paper.toml", *common).stdout)["fills"]
    document = json.loads(headrace_run("backtest", "paper.toml", *common, "--limit", "position_max=0.00001").stdout)
    assert {order["gate"] for order in document["orders"]} == {"limits"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--margin", "BINANCE_USDM"), "NAME=LEVERAGE"),
        (("--margin", "BINANCE_USDM=0.5"), "a number from 1 to 1,000"),
        (("--margin", "BINANCE_USDM=ten"), "NAME=LEVERAGE"),
        (("--margin", "BINANCE=2"), "it is spot"),
        (("--limit", "position_mx=5"), "did you mean position_max?"),
        (("--limit", "position_max=five"), "a number"),
        (("--limit", "orders_max=2.5"), "a whole number"),
        (("--limit", "loss_max=1000"), "a currency with the amount"),
        (("--limit", "position_max=1", "--limit", "position_max=2"), "each name once"),
        (("--limit", "on_exceed=ignore"), "refuse"),
        (("--strategy-limit", "position_max=5"), "STRATEGY.NAME=VALUE"),
        (("--strategy-limit", "Momentm.position_max=5"), "did you mean Momentum?"),
    ],
)
def test_a_wrong_margin_or_limit_is_one_line(
    headrace_run: Run, spot_file: Path, given: tuple[str, ...], said: str
) -> None:
    ended = headrace_run("backtest", spot_file, *MOMENTUM, *given)
    assert ended.returncode == 2, ended.stderr
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
