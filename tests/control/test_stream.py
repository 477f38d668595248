"""The stream: events of what changed, ten a second at most, and nothing left of a client that is gone."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Self

import pytest

from headrace.bus import EventBus
from headrace.control.stream.service import StreamService
from headrace.engine.service import ServiceContext
from headrace.errors import ControlError
from headrace.limits import STREAM_EVERY_S, STREAM_SHARE_MAX
from headrace.market.clock import Mode, WallClock
from headrace.market.events import Control

pytestmark = pytest.mark.asyncio


class World:
    """A stream over a document that the test changes."""

    def __init__(self, **options: Any) -> None:
        self.document: dict[str, dict[str, Any]] = {"rates": {"lag_s": 0}}
        self.reading_s = 0.0
        self.bus = EventBus()
        self.stream = StreamService(self.read, **options)

    def read(self) -> dict[str, dict[str, Any]]:
        until_s = time.thread_time() + self.reading_s
        while time.thread_time() < until_s:
            pass
        return {section: dict(rows) for section, rows in self.document.items()}

    async def __aenter__(self) -> Self:
        context = ServiceContext(bus=self.bus, clock=WallClock(), run_id="run", mode=Mode.LIVE)
        await self.stream.setup(context)
        self.task = asyncio.create_task(self.stream.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stream.stop()
        await self.task


def read(event: bytes) -> tuple[str, str, dict[str, Any]]:
    """An event's id, name and data."""
    fields = dict(line.split(": ", 1) for line in event.decode().strip().split("\n"))
    return fields.get("id", ""), fields["event"], json.loads(fields["data"])


async def next_of(events: AsyncIterator[bytes]) -> tuple[str, str, dict[str, Any]]:
    async with asyncio.timeout(10):
        return read(await anext(events))


async def test_first_event_is_the_whole_state_and_the_next_what_changed() -> None:
    async with World() as world, aclosing(world.stream.events()) as events:
        _, name, data = await next_of(events)
        assert (name, data["sections"]) == ("state", {"rates": {"lag_s": 0}})
        world.document = {"rates": {"lag_s": 1}, "orders": {"a": {"left": "1"}}}
        _, name, data = await next_of(events)
        assert (name, data["sections"]) == ("update", {"rates": {"lag_s": 1}, "orders": {"a": {"left": "1"}}})
        world.document["orders"] = {}
        _, name, data = await next_of(events)
        assert (name, data["sections"]) == ("update", {"orders": {"a": None}})


async def test_at_most_ten_updates_a_second() -> None:
    async with World() as world, aclosing(world.stream.events()) as events:
        await next_of(events)
        began_s = time.monotonic()
        for number in range(12):
            world.document = {"rates": {"lag_s": number + 1}}
            await next_of(events)
        assert time.monotonic() - began_s >= 11 * STREAM_EVERY_S * 0.95


async def test_reading_takes_a_bounded_share_of_a_core() -> None:
    async with World() as world, aclosing(world.stream.events()) as events:
        world.reading_s = 0.01
        await next_of(events)
        began_s, readings = time.monotonic(), world.stream.metrics()["readings"]
        for number in range(4):
            world.document = {"rates": {"lag_s": number + 1}}
            await next_of(events)
        wanted_s = 0.01 / STREAM_SHARE_MAX
        passed_s = time.monotonic() - began_s
        assert world.stream.metrics()["readings"] - readings <= passed_s / wanted_s + 1


async def test_clients_of_one_place_get_the_same_bytes() -> None:
    async with World() as world, aclosing(world.stream.events()) as one, aclosing(world.stream.events()) as other:
        await next_of(one)
        await next_of(other)
        world.document = {"rates": {"lag_s": 1}}
        async with asyncio.timeout(10):
            assert await anext(one) is await anext(other)


async def test_slow_client_gets_the_newest_and_is_told() -> None:
    async with World() as world, aclosing(world.stream.events()) as slow, aclosing(world.stream.events()) as fast:
        await next_of(slow)
        await next_of(fast)
        for number in range(5):
            world.document = {"rates": {"lag_s": number + 1}}
            await next_of(fast)
        _, name, data = await next_of(slow)
        assert (name, data["sections"], data["conflated"]) == ("update", {"rates": {"lag_s": 5}}, 4)


async def test_last_event_id_goes_on_where_the_client_was() -> None:
    async with World() as world:
        async with aclosing(world.stream.events()) as events:
            event_id, _, _ = await next_of(events)
        world.document = {"rates": {"lag_s": 7}}
        world.stream.tails.fills.add(Control(name="a fill", ts=2**60))
        async with aclosing(world.stream.events(event_id)) as events:
            _, name, data = await next_of(events)
            assert name == "update"
            assert data["entries"]["fills"][0]["n"] == 1
            assert data["entries"]["fills"][0]["ts_ns"] == str(2**60)
            if not data["sections"]:
                # It was read a moment before.
                _, name, data = await next_of(events)
            assert data["sections"] == {"rates": {"lag_s": 7}}


@pytest.mark.parametrize("given", ["", "nonsense", "0.0.0.0.0", "12345678.99.0.0.0.0", "{board}.-1.0.0.0.0", "{board}"])
async def test_a_foreign_event_id_gets_the_whole_state(given: str) -> None:
    async with World() as world:
        given = given.replace("{board}", world.stream.board.board_id)
        async with aclosing(world.stream.events(given)) as events:
            assert (await next_of(events))[1] == "state"


async def test_heartbeat_when_nothing_changes() -> None:
    async with World(heartbeat_s=0.15) as world, aclosing(world.stream.events()) as events:
        await next_of(events)
        world.document["clock"] = {"now_ns": "5"}
        seen = [await next_of(events) for _ in range(3)]
        assert [name for _, name, _ in seen] == ["heartbeat"] * 3
        assert seen[-1][2] == {"clock": {"now_ns": "5"}}


async def test_ten_thousand_broken_streams_leave_no_client() -> None:
    async with World(clients_max=20_000) as world:
        for _ in range(10):
            streams = [world.stream.events() for _ in range(1_000)]
            for stream in streams:
                await anext(stream)
            assert world.stream.clients == 1_000
            waits = [asyncio.ensure_future(anext(stream)) for stream in streams]
            await asyncio.sleep(0)
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        assert world.stream.clients == 0


async def test_one_client_too_many_is_refused_and_leaves_its_place_free() -> None:
    async with World(clients_max=1) as world:
        async with aclosing(world.stream.events()) as events:
            await next_of(events)
            with pytest.raises(ControlError, match="1 streams are open already"):
                await anext(world.stream.events())
        async with aclosing(world.stream.events()) as events:
            assert (await next_of(events))[1] == "state"


async def test_stop_ends_every_stream() -> None:
    async with World(heartbeat_s=60.0) as world:
        streams = [world.stream.events() for _ in range(3)]
        for stream in streams:
            await next_of(stream)
        waits = [asyncio.ensure_future(anext(stream, None)) for stream in streams]
        await asyncio.sleep(0)
        await world.stream.stop()
        async with asyncio.timeout(20):
            assert await asyncio.gather(*waits) == [b"event: end\ndata: {}\n\n"] * 3
            assert [await anext(stream, None) for stream in streams] == [None, None, None]
        assert world.stream.clients == 0


async def test_log_lines_of_strategies_come_with_their_name() -> None:
    async with World() as world, aclosing(world.stream.events()) as events:
        await next_of(events)
        logging.getLogger("headrace.strategies.strategy.momentum").warning("spread is %s", 3)
        _, _, data = await next_of(events)
        (line,) = data["entries"]["log"]
        assert (line["strategy"], line["level"], line["message"]) == ("momentum", "WARNING", "spread is 3")
    assert not [own for own in logging.getLogger("headrace").handlers if type(own).__module__.endswith("tails")]


async def test_audited_events_come_in_their_order() -> None:
    async with World() as world, aclosing(world.stream.events()) as events:
        await next_of(events)
        for number in range(5):
            world.bus.publish_nowait(Control(name=f"c{number}", ts=number))
        world.bus.drain()
        _, _, data = await next_of(events)
        assert [own["name"] for own in data["entries"]["audit"]] == ["c0", "c1", "c2", "c3", "c4"]


async def test_history_is_sampled_without_clients() -> None:
    async with World() as world:
        world.document = {"rates": {"lag_s": 0.25}}
        async with asyncio.timeout(10):
            while not world.stream.history.names:  # noqa: ASYNC110 - nothing tells of a sample
                await asyncio.sleep(0.01)
        assert world.stream.metrics()["clients"] == 0
    assert world.stream.history.read(["rates/lag_s"], "15m")["series"]["rates/lag_s"]["last"][-1] is not None
