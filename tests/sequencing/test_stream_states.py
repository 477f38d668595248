"""States of streams come in the order of the frames, live and in a replay, and reach `on_status`."""

from __future__ import annotations

from pathlib import Path

import pytest

import headrace
from headrace import Strategy
from headrace.market.tick import STATUS_REASONS, STREAM_STATES
from tests.support.frames import status, trade, written


class Watching(Strategy):
    def __init__(self) -> None:
        self.said: list[object] = []

    def on_status(self, instrument: str, stream: str | None, state: str, reason: str, epoch: int) -> None:
        self.said.append((instrument, stream, state, reason, epoch))

    def on_gap(self, cause: headrace.GapCause, lost_kind: str | None) -> None:
        self.said.append((cause.name, lost_kind))

    def on_trade(self, trade_id: int) -> None:
        self.said.append(trade_id)


def test_a_streams_states_come_between_its_ticks(tmp_path: Path) -> None:
    frames = [
        status("trade", "SILENT", "CONNECTED"),
        trade(7),
        status("trade", "DOWN", "DISCONNECTED"),
        status("trade", "SILENT", "RECONNECTED", epoch=2, lost=True),
        status("kline_1m", "SILENT", "RECONNECTED", epoch=2, lost=True),
        trade(9),
    ]
    watching = Watching()
    headrace.replay(written(tmp_path, frames), watching, venue="BINANCE")
    btc = "BTCUSDT.BINANCE"
    assert watching.said == [
        (btc, "trade", "SILENT", "CONNECTED", 1),
        7,
        (btc, "trade", "DOWN", "DISCONNECTED", 1),
        (btc, "trade", "SILENT", "RECONNECTED", 2),
        (btc, None, "SILENT", "RECONNECTED", 2),
        ("RECONNECT", "trade"),
        9,
    ]


def test_the_depth_stream_is_named_depth_and_the_tick_says_the_same(tmp_path: Path) -> None:
    seen: list[object] = []

    class Whole(Strategy):
        def on_status(self, tick: headrace.StatusTick) -> None:
            seen.append((tick.stream, tick.state, tick.reason, tick.epoch))
            assert "state=STALE" in repr(tick)

    frames = [status("depth", "STALE", "NOTHING_CAME", epoch=4)]
    headrace.replay(written(tmp_path, frames), Whole(), venue="BINANCE")
    assert seen == [("depth", "STALE", "NOTHING_CAME", 4)]


@pytest.mark.parametrize(("state", "reason"), [("STALE", "free text"), ("down", "DISCONNECTED")])
def test_an_unknown_state_or_reason_is_refused(tmp_path: Path, state: str, reason: str) -> None:
    report = headrace.replay(written(tmp_path, [trade(1), status("trade", state, reason)]), venue="BINANCE")
    assert report.rejected == {"unknown_type": 1}


def test_the_tables_name_each_number_once() -> None:
    for names in (STREAM_STATES, STATUS_REASONS):
        assert len(set(names.values())) == len(names)
    assert STREAM_STATES[6] == "LIVE"
