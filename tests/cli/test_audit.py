"""``headrace audit`` and ``headrace diff``: what a run decided, and where two runs part."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import headrace
from tests.support.backtests import Acts, Reverting, path, walk
from tests.support.command import Run
from tests.support.feeding import BTC


@pytest.fixture
def audit(tmp_path: Path) -> Path:
    file = tmp_path / "one.jsonl"
    headrace.backtest([Reverting, Acts({5: 1, 9: -1})], walk(500), audit=file)
    return file


def test_a_story_goes_from_the_tick_to_the_position(headrace_run: Run, audit: Path) -> None:
    ended = headrace_run("audit", audit, "--follow-order", "Acts-1")
    assert ended.returncode == 0, ended.stderr
    events = [line.split() for line in ended.stdout.splitlines()[4:]]
    assert "tick" in events[0]
    assert f"{BTC} quote 5" in " ".join(events[0])
    kinds = ["OrderRequested", "OrderAccepted", "OrderFilled", "PositionChanged"]
    assert [next(word for word in row if word in kinds) for row in events[1:]] == kinds
    assert "quote=BTCUSDT.BINANCE quote 6" in ended.stdout


def test_a_signal_stands_before_the_order_that_it_became(headrace_run: Run, tmp_path: Path) -> None:
    from headrace.trading.orders import FixedQuantity

    class Signals(Acts):
        def on_quote(self, instrument: str, bid_price: float) -> None:
            self.count += 1
            if self.count == 2:
                self.signal(instrument, 1, reason="up")

    file = tmp_path / "one.jsonl"
    headrace.backtest(Signals({}), path([100, 101, 102, 103]), audit=file, sizing=FixedQuantity(1))
    ended = headrace_run("audit", file, "--follow-order", "Signals-1")
    assert ended.stdout.index("Signal ") < ended.stdout.index("OrderRequested")


def test_events_are_chosen_by_strategy_and_time(headrace_run: Run, audit: Path) -> None:
    everything = headrace_run("audit", audit, "--json").stdout.splitlines()
    assert len(everything) == len(audit.read_bytes().splitlines()) - 1
    own = [
        json.loads(line) for line in headrace_run("audit", audit, "--strategy", "Acts", "--json").stdout.splitlines()
    ]
    assert 0 < len(own) < len(everything)
    assert all("Acts" in (event.get("strategy"), event["source"]) for event in own)
    late = headrace_run("audit", audit, "--since", "2026-01-05T04:00", "--json").stdout.splitlines()
    assert 0 < len(late) < len(everything)
    assert all(json.loads(line)["ts"] >= 1_767_585_600_000_000_000 for line in late)


@pytest.mark.parametrize(
    "search", [("--strategy", "Acts"), ("--since", "2026-01-05T04:00"), ("--follow-order", "Acts-1")]
)
@pytest.mark.parametrize(
    "damage",
    [
        (b'{"type":"Signal"', b'{"type":"Signol"'),
        (b'"source":"', b'"source":1,"x":"'),
        (b"}\n", b"\n"),
        (b'"ts":1', b'"ts":1,\xff'),
    ],
    ids=["type", "source", "end", "no text"],
)
def test_a_search_names_a_damaged_line_that_it_would_pass_over(
    headrace_run: Run, tmp_path: Path, search: tuple[str, str], damage: tuple[bytes, bytes]
) -> None:
    class Signals(Acts):
        def on_quote(self, instrument: str, bid_price: float) -> None:
            self.signal(instrument, 1)

    file = tmp_path / "one.jsonl"
    headrace.backtest([Acts({5: 1, 9: -1}), Signals({})], walk(20), audit=file)
    lines = file.read_bytes().splitlines(keepends=True)
    number = next(number for number, line in enumerate(lines) if b'{"type":"Signal"' in line)
    assert damage[0] in lines[number]
    lines[number] = lines[number].replace(*damage, 1)
    file.write_bytes(b"".join(lines))
    ended = headrace_run("audit", file, *search)
    assert ended.returncode == 1
    assert f"one.jsonl line {number + 1} is no event" in ended.stderr


def test_an_order_that_is_not_there_names_the_nearest(headrace_run: Run, audit: Path) -> None:
    ended = headrace_run("audit", audit, "--follow-order", "Act-1")
    assert ended.returncode == 2
    assert "order 'Act-1' is not in" in ended.stderr
    assert "did you mean Acts-1?" in ended.stderr


def test_two_runs_of_one_input_do_not_differ(headrace_run: Run, audit: Path, tmp_path: Path) -> None:
    headrace.backtest([Reverting, Acts({5: 1, 9: -1})], walk(500), audit=tmp_path / "two.jsonl")
    ended = headrace_run("diff", audit, "two.jsonl")
    assert (ended.returncode, ended.stdout) == (0, "the same events, in the same order\n")


def test_the_first_difference_is_shown_with_its_fields(headrace_run: Run, audit: Path, tmp_path: Path) -> None:
    headrace.backtest([Reverting, Acts({5: 1, 9: -2})], walk(500), audit=tmp_path / "two.jsonl")
    ended = headrace_run("diff", audit, "two.jsonl")
    assert ended.returncode == 1
    assert " in quantity" in ended.stdout
    found = json.loads(headrace_run("diff", audit, "two.jsonl", "--json").stdout)
    assert found["difference"]["fields"] == ["quantity"]
    lines = [file.read_bytes().splitlines() for file in (audit, tmp_path / "two.jsonl")]
    line = found["difference"]["line"]
    assert lines[0][: line - 1] == lines[1][: line - 1]
    assert lines[0][line - 1] != lines[1][line - 1]


def test_an_audit_that_ends_before_the_other_differs(headrace_run: Run, audit: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.jsonl").write_bytes(b"".join(audit.read_bytes().splitlines(keepends=True)[:-1]))
    ended = headrace_run("diff", audit, "cut.jsonl")
    assert ended.returncode == 1
    assert "cut.jsonl: has ended" in ended.stdout


@pytest.mark.parametrize("arguments", [["audit", "missing"], ["diff", "missing", "missing"]], ids=" ".join)
def test_a_missing_audit_is_one_line(headrace_run: Run, arguments: list[str]) -> None:
    ended = headrace_run(*arguments)
    assert ended.returncode == 1
    assert ended.stderr.startswith("headrace: audit missing cannot be read")
