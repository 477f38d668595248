"""The pipeline inside of a running engine: its bars become lane_telemetry, whatever the database does meanwhile."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from headrace import Engine, Strategy
from headrace.app.build import make_service
from headrace.app.config.tree import ServiceSection
from headrace.errors import OptionError
from headrace.execution import Store
from headrace.execution.pipeline import PipelineService, PipelineSettings
from headrace.execution.pipeline.bar_sources import EngineBars
from headrace.feeds import SyntheticFeed
from headrace.market.events import Bar
from tests.support.executing import statuses

BTC = "BTCUSDT.BINANCE"
SECOND = 10**9
SETTINGS = PipelineSettings(tickers=(BTC,), interval_s=0.05, watchlist_interval_s=0.05)


class Watch(Strategy):
    """Declares bars, and keeps them."""

    bars = ("1s",)

    def __init__(self) -> None:
        self.seen: list[Bar] = []

    def on_bar(self, bar: Bar) -> None:
        self.seen.append(bar)


def bar(number: int, **changes: Any) -> Bar:
    start = 1_767_571_200 * SECOND + number * SECOND
    values: dict[str, Any] = {"open": 1.0, "high": 2.0, "low": 1.0, "close": 1.5, "volume": 3.0, "count": 4}
    values |= {"instrument": BTC, "timeframe": "1s", "price": "trade", "ts_open": start, "ts_close": start + SECOND}
    return Bar(**(values | {"ts": start + SECOND, "source": "test", "run_id": "run"} | changes))


def live(service: PipelineService, folder: Path, frames: int = 4_000, speed: float = 1e9) -> Watch:
    """Run an engine over ten recorded seconds; return its strategy."""
    watch = Watch()
    engine = Engine(
        feeds=[SyntheticFeed(frames=frames)], strategies=[watch], services=[service], state_folder=folder, speed=speed
    )
    asyncio.run(engine.run_async())
    return watch


def rows(store: Store) -> list[tuple[Any, ...]]:
    found = store.query("SELECT ticker, close, volume FROM lane_telemetry ORDER BY ts")
    return [(ticker, float(close), float(volume)) for ticker, close, volume in found]


def test_bars_of_a_running_engine_are_stored_and_made_features_of(store: Store, tmp_path: Path) -> None:
    service = PipelineService(store.database.url, settings=SETTINGS, timeframe="1s")
    watch = live(service, tmp_path)
    whole = [own for own in watch.seen if not own.partial and not own.is_empty]
    assert len(whole) >= 5
    assert rows(store) == [(BTC, own.close, own.volume) for own in whole]
    assert service.metrics()["bars_rows"] == len(whole)
    assert service.metrics()["bars_waiting"] == 0
    assert service.metrics()["bars_partial"] == sum(own.partial for own in watch.seen)
    assert service.health() == "ok"
    steps = {step for (step,) in store.query("SELECT step FROM pipeline_runs")}
    assert steps == {"bars", "features", "news", "watchlist", "signals"}


def test_steps_can_be_services_of_their_own(store: Store, tmp_path: Path) -> None:
    services = [
        PipelineService(store.database.url, settings=SETTINGS, steps=["bars"], timeframe="1s"),
        PipelineService(store.database.url, settings=SETTINGS, steps=["signals", "features"]),
    ]
    assert [own.name for own in services] == ["PipelineService bars", "PipelineService features+signals"]
    engine = Engine(
        feeds=[SyntheticFeed(frames=2_000)], strategies=[Watch()], services=services, state_folder=tmp_path, speed=1e9
    )
    asyncio.run(engine.run_async())
    assert rows(store)
    assert {step for (step,) in store.query("SELECT step FROM pipeline_runs")} == {"bars", "features", "signals"}


def test_a_replay_stores_nothing(store: Store) -> None:
    service = PipelineService(store.database.url, settings=SETTINGS, timeframe="1s")
    Engine(feeds=[SyntheticFeed(frames=2_000)], strategies=[Watch()], services=[service], mode="replay").run()
    assert rows(store) == []


def away_for(monkeypatch: pytest.MonkeyPatch, most: int) -> list[int]:
    """Let the first writes of rows meet a server that is not there; return a list with how many did."""
    write, refused = Store.write_rows, [0]

    def write_rows(self: Store, table: Any, rows: Any) -> None:
        if rows and refused[0] < most:
            refused[0] += 1
            Store("postgresql://postgres@127.0.0.1:1/away").close()
        write(self, table, rows)

    monkeypatch.setattr(Store, "write_rows", write_rows)
    return refused


def test_bars_wait_while_the_database_is_away(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is there when the engine starts; then the first bars meet a server that refuses connections."""
    service = PipelineService(store.database.url, settings=SETTINGS, timeframe="1s")
    refused = away_for(monkeypatch, 1)
    watch = live(service, tmp_path, speed=5)
    assert refused == [1]
    whole = [own for own in watch.seen if not own.partial and not own.is_empty]
    assert rows(store) == [(BTC, own.close, own.volume) for own in whole]


def test_bars_that_cannot_be_stored_at_the_end_are_named(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    service = PipelineService(store.database.url, settings=SETTINGS, timeframe="1s")
    away_for(monkeypatch, 10**6)
    live(service, tmp_path)
    left = int(service.metrics()["bars_waiting"])
    assert left > 0
    assert f"{left} bars of the engine were not stored: bars: StoreUnavailableError" in caplog.text
    # The same service in another run stores them.
    monkeypatch.undo()
    live(service, tmp_path, frames=50)
    assert len(rows(store)) == left


def test_a_step_that_fails_is_in_the_health(store: Store, tmp_path: Path) -> None:
    settings = PipelineSettings(tickers=(BTC,), bars=str(tmp_path / "none.csv"))
    service = PipelineService(store.database.url, settings=settings)
    live(service, tmp_path, frames=200)
    assert "bars: FileNotFoundError" in service.health()
    assert statuses(store) == {}


def test_engine_bars_stay_until_they_are_stored() -> None:
    source = EngineBars([BTC], "1s")
    source.add(bar(0))
    assert len(list(source.bars([BTC]))) == len(list(source.bars([BTC]))) == 1
    source.add(bar(1))
    source.done()
    assert [row["ts"] for row in source.bars([BTC])] == [bar(1).ts_close // 10**6]
    source.done()
    assert len(source) == 0


@pytest.mark.parametrize(
    "change",
    [{"instrument": "ETHUSDT.BINANCE"}, {"timeframe": "1m"}, {"price": "mid"}, {"count": 0}, {"partial": True}],
)
def test_engine_bars_keep_only_whole_bars_of_their_kind(change: dict[str, Any]) -> None:
    source = EngineBars([BTC], "1s")
    source.add(bar(0, **change))
    assert len(source) == 0
    assert source.partial == (change == {"partial": True})


def test_engine_bars_are_bounded_and_count_what_they_drop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.execution.pipeline.bar_sources.ENGINE_BARS_MAX", 3)
    source = EngineBars([BTC], "1s")
    for number in range(3):
        source.add(bar(number))
    assert len(list(source.bars([BTC]))) == 3
    source.add(bar(3))
    source.done()
    assert source.dropped == 1
    # What was given is taken off, and nothing that came later.
    assert [row["ts"] for row in source.bars([BTC])] == [bar(3).ts_close // 10**6]


def test_a_configuration_makes_the_service(store: Store) -> None:
    parameters: dict[str, object] = {
        "url": store.database.url,
        "settings": {"tickers": [BTC], "rules": [{"name": "up", "action": "BUY_STOCK", "confidence": 0.8}]},
        "steps": ["bars", "features"],
        "timeframe": "5m",
    }
    made = make_service(
        ServiceSection(use="headrace.execution.pipeline:PipelineService", parameters=parameters), "$.services[0]"
    )
    assert made.name == "PipelineService bars+features"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"steps": ["bar"]}, "use one of bars"),
        ({"steps": []}, "some of bars"),
        ({"settings": {"tikers": []}}, "tikers is no option of a pipeline .did you mean tickers"),
        ({"timeframe": "1x"}, "timeframe"),
        ({"price": "middle"}, "price"),
    ],
)
def test_a_wrong_option_names_what_is_right(given: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        PipelineService("sqlite:///x.sqlite", **{"settings": SETTINGS, **given})


def test_time_of_a_bar_is_its_end(store: Store, tmp_path: Path) -> None:
    watch = live(PipelineService(store.database.url, settings=SETTINGS, timeframe="1s"), tmp_path)
    first = next(own for own in watch.seen if not own.partial and not own.is_empty)
    connection = store.database.connect()
    [[ts]] = connection.rows("SELECT MS(MIN(ts)) FROM lane_telemetry")
    connection.close()
    assert ts == first.ts_close // 10**6
    assert ts < time.time_ns() // 10**6
