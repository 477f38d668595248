"""The venue's numbers, twice or begun anew: two recordings of one market, repeated frames, a venue's restart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headrace import BarSpec, Engine, GapCause, Strategy, replay
from tests.support.command import Run
from tests.support.feeding import BTC

START_NS = 1_723_161_255_000_000_000
SECOND_NS = 1_000_000_000


def trade(number: int, ts_init: int, *, ms: int | None = None, price: float = 100) -> bytes:
    """A recorded trade; its venue time follows from its number."""
    time_ms = START_NS // 1_000_000 + number if ms is None else ms
    frame = f'{{"e":"trade","E":{time_ms},"s":"BTCUSDT","t":{number},"p":"{price}","q":"1","T":{time_ms},"m":true}}'
    return b"%d %s\n" % (ts_init, frame.encode())


def quote(number: int, ts_init: int, *, bid: float = 100) -> bytes:
    """A recorded quote."""
    frame = f'{{"u":{number},"s":"BTCUSDT","b":"{bid}","B":"1","a":"{bid + 1}","A":"1"}}'
    return b"%d %s\n" % (ts_init, frame.encode())


class Watch(Strategy):
    """Notes what came."""

    def __init__(self) -> None:
        self.trades: list[int] = []
        self.gaps: list[GapCause] = []

    def on_trade(self, trade_id: int) -> None:
        self.trades.append(trade_id)

    def on_gap(self, cause: GapCause) -> None:
        self.gaps.append(cause)


@pytest.fixture
def collected(tmp_path: Path) -> list[str]:
    """Two collectors' recordings of ten trades; the second one missed the first trade, and lags."""
    one = b"".join(trade(number, START_NS + number) for number in range(1, 11))
    two = b"".join(trade(number, START_NS + number + 3) for number in range(2, 11))
    paths = [tmp_path / "one.log", tmp_path / "two.log"]
    for path, lines in zip(paths, (one, two), strict=True):
        path.write_bytes(lines)
    return [f"{path}@BINANCE" for path in paths]


def test_two_recordings_merged_give_each_trade_once(collected: list[str]) -> None:
    watch = Watch()
    report = replay(collected, watch)
    assert watch.trades == list(range(1, 11))
    assert (report.duplicates, report.late, report.restarts, report.gaps) == (9, 0, 0, 0)


def test_duplicates_and_late_stand_in_every_report(collected: list[str], headrace_run: Run) -> None:
    document = json.loads(headrace_run("replay", *collected, "--json").stdout)
    assert (document["duplicates"], document["late"], document["restarts"]) == (9, 0, 0)
    shown = headrace_run("replay", *collected).stdout
    assert ["duplicates", "9"] in [line.split() for line in shown.splitlines()]
    repeated = Path(collected[0].removesuffix("@BINANCE"))
    repeated.write_bytes(b"".join(trade(number, START_NS + number) * 2 for number in range(1, 11)))
    shown = headrace_run("inspect", collected[0]).stdout
    assert ["duplicates", "10"] in [line.split() for line in shown.splitlines()]
    assert ["late", "0"] in [line.split() for line in shown.splitlines()]


def test_the_command_line_delivers_duplicates_and_drops_late(collected: list[str], headrace_run: Run) -> None:
    ended = headrace_run("replay", *collected, "--json", "--duplicates", "deliver")
    assert json.loads(ended.stdout)["ticks"] == {"trade": 19}
    late = Path(collected[0].removesuffix("@BINANCE"))
    late.write_bytes(b"".join(quote(number, START_NS) for number in (10, 12, 11)))
    for choice, count in (("deliver", 3), ("drop", 2)):
        document = json.loads(headrace_run("replay", collected[0], "--json", "--late", choice).stdout)
        assert (document["ticks"], document["late"]) == ({"quote": count}, 1)


def test_the_configuration_says_what_becomes_of_them(collected: list[str], headrace_run: Run, tmp_path: Path) -> None:
    paths = [name.removesuffix("@BINANCE") for name in collected]
    feeds = [f'[[feeds]]\nkind = "recording"\nvenue = "BINANCE"\npath = "{path}"\n' for path in paths]
    own = '[[strategies]]\nuse = "headrace.examples.trade_flow:TradeFlow"\n'
    (tmp_path / "two.toml").write_text("".join(['[engine]\nduplicates = "deliver"\n', *feeds, own]))
    ended = headrace_run("backtest", "two.toml", "--json")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["ticks"] == {"trade": 19}


@pytest.mark.parametrize("make", [trade, quote])
def test_numbers_that_begin_anew_are_one_gap_and_bars_go_on(make, tmp_path: Path) -> None:
    """Three old events; then a venue that counts from 1 again, ten events a second, for a minute."""

    class Bars(Watch):
        bars = (BarSpec(BTC, "10s", price="bid" if make is quote else "trade"),)

        def __init__(self) -> None:
            super().__init__()
            self.counts: list[int] = []

        def on_bar(self, bar) -> None:
            self.counts.append(bar.count)

    times = [START_NS + index * SECOND_NS // 10 for index in range(603)]
    ids = [*range(9_000, 9_003), *range(1, 601)]
    lines = [
        trade(number, ts, ms=ts // 1_000_000) if make is trade else quote(number, ts)
        for number, ts in zip(ids, times, strict=True)
    ]
    path = tmp_path / "restarted.log"
    path.write_bytes(b"".join(lines))
    bars = Bars()
    report = Engine(feeds=f"{path}@BINANCE", strategies=[bars], instruments=[BTC], mode="replay").run()
    # A hundred events are late until ten seconds are over.
    assert (report.restarts, report.late, report.gaps) == (1, 100, 1)
    assert bars.gaps == [GapCause.RESTART]
    assert bars.counts == [3, 47, 100, 100, 100, 100]
    assert "venue numbers began anew" in str(report)
