"""SignalSink and its spool: signals of a live engine become recommendations, once and in order."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from headrace import Engine, Strategy
from headrace.errors import OptionError, StateFolderError
from headrace.execution import SignalSink, Store
from headrace.execution.spool import Spool
from headrace.feeds import SyntheticFeed
from tests.support.executing import market, run


class Signals(Strategy):
    """Signals on its first ticks."""

    def __init__(self, sides: list[int], strength: float = 0.9) -> None:
        self._sides = list(sides)
        self._strength = strength

    def on_quote(self, instrument: str) -> None:
        if self._sides:
            self.signal(instrument, self._sides.pop(0), strength=self._strength, reason="test")


def live(url: str, folder: Path, sides: list[int], strength: float = 0.9, **options: Any) -> SignalSink:
    """Run an engine over some frames; return its sink."""
    sink = SignalSink(url, spool=folder, **options)
    engine = Engine(
        feeds=[SyntheticFeed(frames=200)],
        strategies=[Signals(sides, strength)],
        services=[sink],
        state_folder=folder,
        speed=1e9,
    )
    asyncio.run(engine.run_async())
    return sink


def rows(store: Store) -> list[tuple[Any, ...]]:
    return store.query("SELECT ticker, action, confidence, idempotency_key FROM dispatch_recommendations ORDER BY id")


def test_signals_become_recommendations_that_lead_back_to_their_tick(store: Store, tmp_path: Path) -> None:
    sink = live(store.database.url, tmp_path, [1, -1, 0])
    found = rows(store)
    assert [own[:3] for own in found] == [("BTCUSDT.BINANCE", action, 0.9) for action in ("BUY_STOCK", "SELL_STOCK")]
    [[cause]] = store.query("SELECT cause_json FROM dispatch_recommendations WHERE id = 1")
    tick = json.loads(cause) if isinstance(cause, str) else cause
    assert (tick["instrument"], tick["kind"]) == ("BTCUSDT.BINANCE", "quote")
    assert f":BTCUSDT.BINANCE:quote:{tick['last']}" in found[0][3]
    assert (sink.counts["stored"], sink.counts["skipped"]) == (2, 1)
    # And so does the row of the ledger.
    market(store, "BTCUSDT.BINANCE")
    assert run(store).counts.simulated == 1
    [[explain]] = store.query("SELECT explain_json FROM dispatch_executions")
    document = json.loads(explain) if isinstance(explain, str) else explain
    assert document["cause"] == tick


def test_a_strength_outside_of_0_to_1_is_refused_and_counted(store: Store, tmp_path: Path) -> None:
    sink = live(store.database.url, tmp_path, [1, 1], strength=1.5)
    assert rows(store) == []
    assert sink.metrics()["refused"] == 2


def test_actions_name_what_each_side_means(store: Store, tmp_path: Path) -> None:
    live(store.database.url, tmp_path, [1, -1], actions={1: "BUY_CALL", -1: "BUY_PUT"})
    assert [own[1] for own in rows(store)] == ["BUY_CALL", "BUY_PUT"]
    with pytest.raises(OptionError, match="actions"):
        SignalSink(store.database.url, actions={2: "BUY_CALL"})


def test_what_the_database_missed_comes_with_the_next_start(store: Store, tmp_path: Path) -> None:
    away = live("postgresql://postgres@127.0.0.1:1/away", tmp_path, [1, -1])
    assert away.counts["stored"] == 0
    assert "bytes wait" in away.health()
    again = live(store.database.url, tmp_path, [])
    assert again.counts["stored"] == 2
    assert [own[1] for own in rows(store)] == ["BUY_STOCK", "SELL_STOCK"]


def test_a_replay_stores_nothing(store: Store, tmp_path: Path) -> None:
    sink = SignalSink(store.database.url, spool=tmp_path)
    Engine(feeds=[SyntheticFeed(frames=200)], strategies=[Signals([1])], services=[sink], mode="replay").run()
    assert rows(store) == []


def test_spool_gives_its_records_in_order_and_again_until_they_are_done(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "own")
    for number in range(10):
        assert spool.append({"n": number})
    assert spool.first(4) == spool.first(4) == [{"n": number} for number in range(4)]
    spool.done()
    spool.close()
    spool = Spool(tmp_path, "own")
    assert [own["n"] for own in spool.first(100)] == [4, 5, 6, 7, 8, 9]
    spool.done()
    assert len(spool) == 0
    assert (tmp_path / "own.jsonl").stat().st_size == 0
    spool.close()


def test_spool_cuts_off_a_torn_line(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "own")
    spool.append({"n": 1})
    spool.close()
    with (tmp_path / "own.jsonl").open("ab") as file:
        file.write(b'{"n": 2')
    spool = Spool(tmp_path, "own")
    assert spool.append({"n": 3})
    assert [own["n"] for own in spool.first(9)] == [1, 3]
    spool.close()


def test_spool_is_bounded_and_of_one_process(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "own", bytes_max=20)
    assert [spool.append({"n": number}) for number in range(4)] == [True, True, False, False]
    with pytest.raises(StateFolderError, match="another process uses it"):
        Spool(tmp_path, "own")
    spool.close()
    os.truncate(tmp_path / "own.jsonl", 0)
    (tmp_path / "own.offset").write_text("no number")
    with pytest.raises(StateFolderError, match="another name"):
        Spool(tmp_path, "own")
