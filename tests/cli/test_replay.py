"""``headrace replay`` as a process: its document, its exit codes, one line a failure."""

from __future__ import annotations

import gzip
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

import headrace
from tests.support.command import Run


def one_line(ended: subprocess.CompletedProcess[str], *, sources: int = 0) -> str:
    """Return the only line of a failure, after one line per source; a traceback or any other line fails the test."""
    lines = ended.stderr.splitlines()[sources:]
    assert len(lines) == 1, ended.stderr
    assert lines[0].startswith("headrace: ")
    return lines[0]


def test_json_is_one_document_with_exactly_the_promised_keys(headrace_run: Run, spot_file: Path, counter: Path) -> None:
    ended = headrace_run("replay", spot_file, "--strategy", f"{counter}:Counter", "--json", "--hash")
    assert ended.returncode == 0, ended.stderr
    document = json.loads(ended.stdout)
    assert list(document)[:10] == [
        *("frames", "ignored", "rejected", "ticks", "gaps", "span_ns", "wall_s", "ticks_per_s"),
        *("input_hash", "strategies"),
    ]
    assert list(document["frames"]) == ["bookTicker", "trade", "aggTrade", "depthUpdate", "snapshot"]
    assert sum(document["frames"].values()) == 20_000
    assert document["ignored"] == document["rejected"] == {}
    assert document["gaps"] == 0
    assert len(document["input_hash"]) == 64
    (name,) = document["strategies"]
    strategy = document["strategies"][name]
    assert name == "Counter"
    assert set(strategy) >= {
        *("delivered", "filtered", "missed", "conflated", "skipped", "pending", "faults"),
        *("delivered_hash", "latency_ns", "subscriptions", "orders", "positions"),
    }
    assert strategy["delivered"] == document["frames"]["bookTicker"]
    assert sum(strategy[term] for term in LAW) == sum(document["ticks"].values())
    assert strategy["latency_ns"]["p50"] <= strategy["latency_ns"]["p99"]


LAW = ("delivered", "filtered", "missed", "conflated", "skipped", "pending")


def test_the_table_shows_counts_and_strategies(headrace_run: Run, spot_file: Path, counter: Path) -> None:
    ended = headrace_run("replay", spot_file, "--strategy", f"{counter}:Counter", "--strategy", f"{counter}:Counter")
    assert ended.returncode == 0, ended.stderr
    for text in ("BINANCE", "bookTicker", "depthUpdate", "quote", "level", "Counter", "Counter-2", "delivered", "p99"):
        assert text in ended.stdout


def test_hashes_are_null_without_the_option(headrace_run: Run, spot_file: Path, counter: Path) -> None:
    document = json.loads(headrace_run("replay", spot_file, "--strategy", f"{counter}:Counter", "--json").stdout)
    assert document["input_hash"] is None
    assert document["strategies"]["Counter"]["delivered_hash"] is None


def test_modules_are_found_in_the_current_folder(headrace_run: Run, spot_file: Path, counter: Path) -> None:
    assert headrace_run("replay", spot_file, "--strategy", f"{counter.stem}:Counter").returncode == 0


def test_a_plain_function_is_a_strategy_too(headrace_run: Run, spot_file: Path, counter: Path) -> None:
    ended = headrace_run("replay", spot_file, "--strategy", f"{counter}:on_trade", "--json")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["strategies"]["on_trade"]["delivered"] > 0


def test_parameters_have_the_types_of_their_annotations(
    headrace_run: Run, spot_file: Path, counter: Path, tmp_path: Path
) -> None:
    parameters = ["count=3", "share=0.25", "eager=true", "name=7", "money=0.10"]
    ended = headrace_run(
        *("replay", spot_file, "--strategy", f"{counter}:Typed"),
        *(part for parameter in parameters for part in ("--param", parameter)),
    )
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "typed.txt").read_text() == "(3, 0.25, True, '7', Decimal('0.10'))"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--strategy", "counting:Typed", "--param=count=1", "--strategy", "counting:Counter"], 0),
        (["--strategy", "counting:Counter", "--strategy", "counting:Typed", "--param", "count=1"], 0),
        (["--strategy", "counting:Counter", "--param=count=1", "--strategy", "counting:Typed"], 2),
    ],
    ids=["first", "second", "other"],
)
def test_a_parameter_belongs_to_the_strategy_before_it(
    headrace_run: Run, spot_file: Path, counter: Path, arguments: list[str], code: int
) -> None:
    assert headrace_run("replay", spot_file, *arguments).returncode == code


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--strategy", "counting.py:Countre"], "did you mean Counter?"),
        (["--strategy", "countign:Counter"], "did you mean counting?"),
        (["--strategy", "nowhere.py:Counter"], "nowhere.py is missing"),
        (["--strategy", "counting.py"], "module:Class"),
        (["--strategy", "counting.py:Plain"], "derive the class from headrace.Strategy"),
        (["--strategy", "counting.py:Bad"], "bid_price"),
        (["--strategy", "counting.py:Refuses"], "RuntimeError: not today"),
        (["--strategy", "broken.py:Strategy"], "line 2: ZeroDivisionError"),
        (["--strategy", "unreadable.py:Strategy"], "SyntaxError"),
        (["--strategy", "leaving.py:Strategy"], "SystemExit"),
        (["--strategy", "counting.py:Typed"], "needs parameter 'count'"),
        (["--strategy", "counting.py:Typed", "--param", "cuont=1"], "did you mean count?"),
        (["--strategy", "counting.py:Typed", "--param", "count=many"], "takes int"),
        (["--strategy", "counting.py:Typed", "--param", "count"], "NAME=VALUE"),
        (["--param", "count=1", "--strategy", "counting.py:Typed"], "before any --strategy"),
        (["--strategy", "counting.py:on_trade", "--param", "count=1"], "is for a class"),
        (["--spede", "max"], "--speed"),
        (["--speed", "0"], "no speed"),
        (["--speed", "fast"], "no speed"),
        (["--overflow", "drop"], "drop_oldest"),
        (["--batch-max", "0"], "batch-max"),
        (["--ring-capacity", "1000"], "power of two"),
        (["--venue", "KRAKEN"], "BINANCE_USDM"),
        (["--strategy", "counting.py:Columns", "--overflow", "conflate"], "conflate"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_wrong_command_line_is_exit_code_2_and_one_line(
    headrace_run: Run, spot_file: Path, counter: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    (tmp_path / "broken.py").write_text("x = 0\n1 / x\n")
    (tmp_path / "unreadable.py").write_text("def (:\n")
    (tmp_path / "leaving.py").write_text("import sys\nsys.exit(0)\n")
    ended = headrace_run("replay", spot_file, *arguments)
    assert ended.returncode == 2, ended.stderr
    assert said in one_line(ended)
    assert not ended.stdout


def test_no_file_at_all_is_exit_code_2(headrace_run: Run) -> None:
    ended = headrace_run("replay")
    assert ended.returncode == 2
    assert "FILE" in one_line(ended)


def test_an_unknown_verb_is_exit_code_2(headrace_run: Run) -> None:
    ended = headrace_run("repaly", "x.gz")
    assert ended.returncode == 2
    assert "repaly" in one_line(ended)


def damaged(folder: Path, spot_file: Path) -> dict[str, tuple[Path, str]]:
    """Each kind of damaged file, with the error text that it leads to."""
    content = spot_file.read_bytes()
    made = {
        "missing": (folder / "missing.gz", "is missing"),
        "folder": (folder, "is a folder"),
        "empty": (folder / "empty", "is empty"),
        "truncated": (folder / "truncated.gz", "is truncated"),
        "damaged": (folder / "damaged.gz", "is damaged"),
        "noise": (folder / "noise", "is damaged"),
        "no_frames": (folder / "no_frames", "no accepted frame"),
    }
    (folder / "empty").touch()
    made["truncated"][0].write_bytes(content[: len(content) * 2 // 3])
    made["damaged"][0].write_bytes(content[:-8] + bytes(4) + content[-4:])  # The checksum of the content.
    made["noise"][0].write_bytes(bytes(range(256)) * 100)
    made["no_frames"][0].write_text('1723161254087896568 {"result":null,"id":1}\n')
    return made


@pytest.mark.parametrize("case", ["missing", "folder", "empty", "truncated", "damaged", "noise", "no_frames"])
def test_an_unreadable_file_is_exit_code_1_and_one_line(
    headrace_run: Run, spot_file: Path, tmp_path: Path, case: str
) -> None:
    path, said = damaged(tmp_path, spot_file)[case]
    ended = headrace_run("replay", f"{path}@BINANCE")
    assert ended.returncode == 1, ended.stderr
    assert said in one_line(ended)


def test_one_file_without_frames_among_good_ones_is_exit_code_1(
    headrace_run: Run, spot_file: Path, tmp_path: Path
) -> None:
    path, said = damaged(tmp_path, spot_file)["no_frames"]
    ended = headrace_run("replay", spot_file, f"{path}@BINANCE")
    assert ended.returncode == 1
    assert f"{path} " in one_line(ended)
    assert said in ended.stderr


def test_rejected_frames_leave_exit_code_0_unless_strict(headrace_run: Run, spot_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "rejects.gz"
    path.write_bytes(spot_file.read_bytes() + gzip.compress(b'1800000000000000000 {"e":"nonsense"}\n'))
    ended = headrace_run("replay", path, "--json")
    assert ended.returncode == 0, ended.stderr
    assert sum(json.loads(ended.stdout)["rejected"].values()) == 1
    strict = headrace_run("replay", path, "--json", "--strict")
    assert strict.returncode == 1
    assert "--strict" in one_line(strict, sources=1)
    assert json.loads(strict.stdout)["rejected"] == json.loads(ended.stdout)["rejected"]


def test_a_fault_under_raise_shows_its_traceback_and_tick(headrace_run: Run, spot_file: Path, counter: Path) -> None:
    ended = headrace_run("replay", spot_file, "--strategy", f"{counter}:Late")
    assert ended.returncode == 1
    assert "ValueError: the hundredth quote is one too many" in ended.stderr
    assert 'counting.py", line' in ended.stderr
    assert "headrace/session.py" not in ended.stderr
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("headrace: ")
    assert "Late" in last
    assert "BTCUSDT.BINANCE" in last


def test_a_quarantined_strategy_is_exit_code_1(headrace_run: Run, spot_file: Path, counter: Path) -> None:
    faulty = "headrace.examples.faulty:Faulty"
    ended = headrace_run(
        *("replay", spot_file, "--strategy", faulty, "--strategy", f"{counter}:Counter"),
        *("--on-fault", "quarantine", "--json"),
    )
    assert ended.returncode == 1
    lines = [line for line in ended.stderr.splitlines() if not line.endswith(": BINANCE")]
    assert all(line.startswith("headrace: ") for line in lines)
    assert len(lines) == 4  # One line for each fault, and one for the exit code 1.
    assert "ended in quarantine" in lines[-1]
    document = json.loads(ended.stdout)
    assert document["strategies"]["Faulty"]["faults"] == 3
    assert document["strategies"]["Counter"]["delivered"] == document["frames"]["bookTicker"]


def test_debug_adds_the_traceback(headrace_run: Run, tmp_path: Path) -> None:
    for arguments in (["--debug", "replay", "missing.gz"], ["replay", "missing.gz", "--debug"]):
        ended = headrace_run(*arguments)
        assert ended.returncode == 1
        assert "Traceback" in ended.stderr
        assert ended.stderr.splitlines()[-1].startswith("headrace: ")


@pytest.mark.parametrize(("chosen", "seen"), [(None, "0"), ("7", "7")])
def test_the_hash_seed_is_0_unless_it_was_chosen(
    headrace_run: Run, spot_file: Path, tmp_path: Path, chosen: str | None, seen: str
) -> None:
    (tmp_path / "seed.py").write_text(
        "import os, pathlib\n"
        "pathlib.Path('seed').write_text(os.environ['PYTHONHASHSEED'])\n"
        "def on_trade(price, size): pass\n"
    )
    ended = headrace_run("replay", spot_file, "--strategy", "seed:on_trade", PYTHONHASHSEED=chosen)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "seed").read_text() == seen


def test_a_venue_may_be_named_at_the_file_or_by_option(headrace_run: Run, usdm_file: Path) -> None:
    for arguments in ([f"{usdm_file}@BINANCE_USDM"], [str(usdm_file), "--venue", "BINANCE_USDM"], [str(usdm_file)]):
        ended = headrace_run("replay", *arguments)
        assert ended.returncode == 0, ended.stderr
        assert "BINANCE_USDM" in ended.stdout


def test_with_json_the_detected_venue_goes_to_stderr(headrace_run: Run, usdm_file: Path) -> None:
    ended = headrace_run("replay", usdm_file, "--json")
    assert ended.stderr == f"{usdm_file}: BINANCE_USDM\n"


def test_with_json_what_a_strategy_prints_goes_to_stderr(headrace_run: Run, spot_file: Path, tmp_path: Path) -> None:
    (tmp_path / "talks.py").write_text(
        "from headrace import Strategy\nprint('loaded')\nclass Talks(Strategy):\n"
        "    def __init__(self): print('made')\n    def on_trade(self, price): print('traded')\n"
    )
    ended = headrace_run("replay", spot_file, "--strategy", "talks:Talks", "--json")
    assert json.loads(ended.stdout)["strategies"]["Talks"]["delivered"] > 0
    assert all(word in ended.stderr for word in ("loaded", "made", "traded"))
    assert "traded" in headrace_run("replay", spot_file, "--strategy", "talks:Talks").stdout


def test_saved_ticks_and_a_recording_replay_together(
    headrace_run: Run, spot_file: Path, counter: Path, tmp_path: Path
) -> None:
    quotes = headrace.ticks(
        instrument="OWN.DATA", ts_init=[1, 2, 3], bid_price=[1.0, 2.0, 3.0], ask_price=[2.0, 3.0, 4.0]
    )
    np.save(tmp_path / "quotes.npy", quotes)
    arguments = ("replay", tmp_path / "quotes.npy", spot_file, "--strategy", f"{counter}:Counter", "--json")
    alone = json.loads(headrace_run("replay", spot_file, "--json").stdout)
    for names in ((), ("--instruments", "OWN.DATA")):
        ended = headrace_run(*arguments, *names)
        assert ended.returncode == 0, ended.stderr
        document = json.loads(ended.stdout)
        assert document["ticks"]["quote"] == alone["ticks"]["quote"] + 3
        assert document["strategies"]["Counter"]["delivered"] == document["ticks"]["quote"]


def test_a_file_of_other_arrays_is_exit_code_1(headrace_run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "floats.npy", np.zeros(3))
    ended = headrace_run("replay", "floats.npy")
    assert ended.returncode == 1
    assert "TICK_DTYPE" in one_line(ended)


def test_a_misspelt_venue_at_the_file_is_exit_code_2(headrace_run: Run, usdm_file: Path) -> None:
    ended = headrace_run("replay", f"{usdm_file}@BINANCE_USM")
    assert ended.returncode == 2
    assert "BINANCE_USDM" in one_line(ended)
