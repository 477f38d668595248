"""The audit of an engine's run: whole, the same every time, and the end of a replay that cannot write it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from headrace import Strategy
from headrace.app.build import engine_of
from headrace.app.config import config_digest, load_config
from headrace.bus import EventBus, replay_events
from headrace.bus.audit import audit_header, read_audit
from headrace.engine.engine import Engine
from headrace.errors import AuditError
from headrace.feeds import SyntheticFeed
from headrace.market.clock import Mode
from headrace.market.events import Control, Event, Signal, StrategyStateChanged
from tests.support.full_disk import files_no_longer_than


class Talker(Strategy):
    """Publishes a signal at every quote."""

    seen = 0

    def on_quote(self, instrument: str) -> None:
        type(self).seen += 1
        self.signal(instrument, 1)


def run(path: Path) -> Path:
    Engine(feeds=[SyntheticFeed(frames=3_000)], strategies=[Talker], mode="replay", run_id="run", audit=path).run()
    return path


def test_the_audit_holds_every_event_of_a_run(tmp_path: Path) -> None:
    events = list(read_audit(run(tmp_path / "one.jsonl")))
    assert isinstance(events[0], StrategyStateChanged)
    names = [event.name for event in events if isinstance(event, Control)]
    assert names.index("ENGINE_READY") < names.index("EOF")
    signals = [event for event in events if isinstance(event, Signal)]
    assert len(signals) > 1_000
    assert all(event.cause is not None and event.cause.ts_init == event.ts for event in signals)


def test_two_replays_write_the_same_bytes(tmp_path: Path) -> None:
    one, two = run(tmp_path / "one.jsonl"), run(tmp_path / "two.jsonl")
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.asyncio
async def test_the_audits_events_can_be_published_again(tmp_path: Path) -> None:
    path = await asyncio.to_thread(run, tmp_path / "one.jsonl")
    bus = EventBus(mode="replay")
    seen: list[Event] = []
    bus.subscribe(Event, seen.append)
    assert await replay_events(path, bus) == len(seen)
    assert seen == list(read_audit(path))


def test_a_full_disk_ends_a_replay_where_it_is(tmp_path: Path) -> None:
    Talker.seen = 0
    run(tmp_path / "whole.jsonl")
    whole, Talker.seen = Talker.seen, 0
    with files_no_longer_than(100_000), pytest.raises(AuditError, match="File too large"):
        run(tmp_path / "one.jsonl")
    assert 0 < Talker.seen < whole
    assert all(isinstance(event, Event) for event in read_audit(tmp_path / "one.jsonl"))


def test_the_header_names_the_configuration(tmp_path: Path) -> None:
    overrides = ["engine.run_id=run", f"engine.audit={tmp_path}/", "feeds.0={kind='synthetic', options={frames=100}}"]
    config = load_config(environment={}, overrides=overrides)
    engine_of(config, mode=Mode.REPLAY).run()
    assert audit_header(tmp_path / "run.jsonl").config == config_digest(config)
