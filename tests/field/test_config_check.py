"""``config check`` reports everything that is wrong, and refuses what ``run`` refuses: no more and no less."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from headrace.app.config import load_config
from headrace.cli import app
from headrace.errors import ConfigError
from headrace.feeds import SyntheticFeed
from tests.support.command import COMMAND, Run

STRATEGY = """
from headrace import Strategy
from headrace.engine.service import Service


class Watches(Strategy):
    def on_quote(self, bid_price): ...


class Records(Service):
    async def run(self): ...


class Controls(Records):
    name = "control"


class Sometimes(Records):
    restart = "sometimes"


class Fixed(Records):
    @property
    def restart(self):
        return "never"


class PlainSetup(Records):
    def setup(self, context): ...


class Quiet:
    def __init__(self, *, name="quiet", venue=None):
        self.name = name
        self.venue = venue

    async def open(self): ...

    async def close(self): ...

    async def __aiter__(self):
        return
        yield


class PlainOpen(Quiet):
    def open(self): ...


class PlainClose(Quiet):
    def close(self): ...


class Nameless(Quiet):
    def __init__(self):
        self.venue = None


class Broken(Quiet):
    @property
    def venue(self):
        raise KeyError("venue")

    @venue.setter
    def venue(self, venue): ...


class WithoutItems(Quiet):
    __aiter__ = None
"""
CONFIG = """
[engine]
name = "paper"
state_folder = "state"
speed = 1000.0

[[feeds]]
kind = "recording"
path = "recording.gz"

[[strategies]]
use = "own.py:Watches"
name = "first"

[[strategies]]
use = "own.py:Watches"

[broker]

[risk]
quantity_max = 1

[instruments."BTCUSDT.BINANCE"]
price_tick = "0.01"
lot_size = "0.00001"
"""
# Each in place of a value above; refused before anything runs, or accepted.
REFUSED = [
    *("engine.name='a b'", "engine.name=''", "engine.name=../up", f"engine.name={'x' * 65}", "engine.run_id=a/b"),
    *("engine.speed=inf", "engine.speed=0", "engine.speed=max", "engine.slice_ns=99999999999999999999"),
    *("engine.ring_capacity=1000", "engine.ring_capacity=2.5", "engine.wait=sleep", "engine.late=keep"),
    *("engine.audit=own.py", "engine.dispatch_log=own.py", "engine.state_folder=own.py"),
    *("feeds.0.venue=NOWHERE", "feeds.0.path=missing.gz", "feeds.0.options={a = 1}", "feeds.0.kind=own:Watches"),
    *("strategies.1.name=first", "strategies.0.use=own.py:Other", "strategies.0.parameters={a = 1}"),
    *("strategies.0.bars=['1x']", "strategies.0.subscription.batch_max=0", "strategies.0.subscription.on_lag=skip"),
    *("strategies.0.subscription.instruments=BTCUSDT", "broker.use=own:Watches", "broker.parameters={fee = 1}"),
    *("risk.open_orders_max=1.5", "risk.quantity_max=one", "risk.price_collar=true", "risk.quantity=1"),
    *('instruments."BTCUSDT.BINANCE".price_tick=0', 'instruments."BTCUSDT.BINANCE".lot_size=nan'),
    *('instruments."BTCUSDT.BINANCE".price_tick=true', 'instruments."BTC*.BINANCE".price_tick=1'),
    *('instruments."BTCUSDT.BINANCE".limits={open_orders_max = 1.5}', "lanes.order.capacity=0", "commands.workers=0"),
    *("commands.timeout_s=inf", "commands.rate_max=0", "telemetry.prometheus_port=70000", "services.0.use=own:Watches"),
    *("services=[{use='own:Records'}, {use='own:Records'}]", "services.0.use=own:Controls"),
    *(
        "services.0.use=own:Sometimes",
        "services=[{use='own:Fixed', restart='always'}]",
        "services.0.use=own:PlainSetup",
    ),
    *(f"feeds=[{{kind='own:{feed}'}}]" for feed in ("PlainOpen", "PlainClose", "Nameless", "Broken", "WithoutItems")),
    *(f"feeds=[{{kind='own:Quiet', {key}}}]" for key in ("venue='NOWHERE'", "options={name=''}", "options={name=3}")),
    *("feeds=[{kind='binance', symbols=['BTCUSDT']}]", "feeds=[{kind='binance', venue='BINANCE'}]"),
    *("feeds=[{kind='synthetic', symbols=['BTCUSDT']}]", "feeds.0.network=demo"),
    "feeds=[{kind='binance', venue='BINANCE', symbols=['BTCUSDT'], path='recording.gz'}]",
    *("engine={audit='new', dispatch_log='new'}", "engine={audit='a/new', dispatch_log='./a/../a/new'}"),
    *('engine.audit="a\\u0000b"', "engine.record=record"),
]
ACCEPTED = [
    *("engine.name=a.b-c_1", "engine.audit=audit/", "engine.late=drop", "feeds.0.venue=BINANCE"),
    *("strategies.1.name=second", "strategies.0.bars=['1m']", "broker.parameters={taker_fee = 0.001}"),
    *("risk.quantity_max=0", "risk.quantity_max=nan", "commands.rate_max=0.5", "engine.run_id=run-1"),
    *("services.0.use=own:Records", "services=[{use='own:Fixed'}]", "services=[{use='own:Records', restart='always'}]"),
    *("feeds=[{kind='own:Quiet'}]", "feeds=[{kind='own:Quiet', venue='BINANCE_USDM'}]"),
    "engine={audit='new/', dispatch_log='new/', state_folder='state'}",
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own.py").write_text(STRATEGY)
    (tmp_path / "paper.toml").write_text(CONFIG)
    SyntheticFeed(frames=100).write(tmp_path / "recording.gz")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("override", [*REFUSED, *ACCEPTED])
def test_check_and_run_agree(folder: Path, capsys: pytest.CaptureFixture[str], override: str) -> None:
    is_right = app.run(["config", "check", "paper.toml", "--set", override]) == 0
    checked = capsys.readouterr()
    code = app.run(["run", "paper.toml", "--set", override])
    ran = capsys.readouterr()
    assert (is_right, override in ACCEPTED) == (bool(ran.out), bool(ran.out)), (checked, ran)
    assert code == 0 if ran.out else code in (1, 2), ran


def test_check_names_a_recording_without_a_path_beside_the_rest(headrace_run: Run, tmp_path: Path) -> None:
    (tmp_path / "paper.toml").write_text('[[feeds]]\nkind = "recording"\n[broker]\nparameters = { tkaer_fee = 1 }\n')
    ended = headrace_run("config", "check", "paper.toml")
    assert ended.returncode == 2
    assert "$.feeds[0].path is missing" in ended.stdout
    assert "tkaer_fee" in ended.stdout


def test_check_reports_every_problem_at_once(headrace_run: Run, tmp_path: Path) -> None:
    (tmp_path / "paper.toml").write_text(
        """
        [engine]
        nmae = "x"
        ring_capacity = 1000
        slice_ns = "soon"
        [[feeds]]
        knd = "synthetic"
        [[strategies]]
        use = "headrace.examples.spread_watch:SpreadWatch"
        subscription = { evry = "1s", batch_max = "all" }
        bars = [{ timeframe = "1m", prize = "mid" }]
        [[strategies]]
        name = 3
        [risk]
        open_orders_max = 1.5
        quantity_max = "one"
        [instruments."BTCUSDT.BINANCE"]
        price_tick = 0
        lot = 1
        [lanes.orders]
        [commands]
        workers = 0
        """
    )
    ended = headrace_run("config", "check", "paper.toml")
    wrong = {line.split(": ")[1] for line in ended.stdout.splitlines() if line.startswith("wrong: ")}
    assert wrong == {
        *("$.engine.nmae", "$.engine.ring_capacity", "$.engine.slice_ns", "$.feeds[0].knd", "$.feeds[0]"),
        *("$.strategies[0].subscription.evry", "$.strategies[0].subscription.batch_max"),
        *("$.strategies[0].bars[0].prize", "$.strategies[1]", "$.strategies[1].name"),
        *("$.risk.open_orders_max", "$.risk.quantity_max", "$.lanes.orders", "$.commands.workers"),
        *('$.instruments."BTCUSDT.BINANCE".price_tick', '$.instruments."BTCUSDT.BINANCE".lot'),
    }, ended.stdout
    assert (ended.returncode, ended.stderr) == (
        2,
        f"headrace: paper.toml has {len(wrong)} problems: correct them, then check again\n",
    )


@pytest.mark.parametrize("name", ["paper.toml", "paper.yaml"])
def test_a_byte_order_mark_is_no_error(headrace_run: Run, tmp_path: Path, name: str) -> None:
    text = '[engine]\nname = "marked"\n' if name.endswith("toml") else "engine:\n  name: marked\n"
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
    shown = headrace_run("config", "show", name)
    assert 'name = "marked"' in shown.stdout, shown.stderr


def test_a_proposed_command_can_be_pasted(headrace_run: Run, tmp_path: Path) -> None:
    (tmp_path / "my files").mkdir()
    proposed = headrace_run("config", "new", "my files/an engine.toml").stdout
    assert "headrace config check 'my files/an engine.toml', headrace run 'my files/an engine.toml'" in proposed
    proposed = headrace_run("new", "my files/first.py").stdout
    assert "--strategy 'my files/first.py:First'" in proposed


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "iso8859-5"])
@pytest.mark.parametrize(
    "arguments", [("inspect", "recording.txt@BINANCE"), ("fields",), ("replay", "recording.txt@BINANCE"), ("doctor",)]
)
def test_a_terminal_may_lack_characters(tmp_path: Path, encoding: str, arguments: tuple[str, ...]) -> None:
    quote = '1767571200000000000 {"u":%d,"s":"BTCUSDT","b":"100","B":"1","a":"101","A":"1"}\n'
    broken = "1767571200000000000 {\u4e2d\u6587\n"
    (tmp_path / "recording.txt").write_text("".join([quote % 1, broken, quote % 2]), encoding="utf-8")
    ended = subprocess.run(
        [*COMMAND, *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        encoding=encoding,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a folder away")
def test_check_refuses_a_state_folder_of_another_user(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "state").mkdir()
    os.chown(folder / "state", 4711, 4711)
    assert app.run(["config", "check", "paper.toml"]) == 2
    assert "wrong: $.engine.state_folder: " in capsys.readouterr().out


def test_what_may_be_missing_may_be_written_as_nothing(tmp_path: Path) -> None:
    (tmp_path / "engine.yaml").write_text(
        "engine: {run_id: null}\nbroker: null\nstrategies: [{use: a.py:A, name: null}]\n"
    )
    assert load_config(tmp_path / "engine.yaml", environment={}).broker is None
    (tmp_path / "engine.yaml").write_text("feeds: null\n")
    with pytest.raises(ConfigError, match="Expected `array`, got `null`"):
        load_config(tmp_path / "engine.yaml", environment={})
