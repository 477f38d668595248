"""Handlers that choose by an event's key, and event types that only their owner publishes."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from headrace.bus import EventBus
from headrace.errors import EventTypeError, LaneFullError, OptionError
from headrace.market.events import (
    Bar,
    Event,
    Lane,
    OrderCanceled,
    OrderEvent,
    OrderRequested,
    Signal,
    Status,
)
from tests.support.busing import BTC, Notes, bar, lanes, order, signal

ADVICE = "call submit(...)"


def canceled(strategy: str, number: int = 0) -> OrderCanceled:
    return OrderCanceled(order_id=str(number), strategy=strategy, instrument=BTC, left=Decimal(0))


class Chosen:
    """A ``where`` for one key that remembers its calls."""

    def __init__(self, key: object) -> None:
        self.key = key
        self.called: list[object] = []

    def __call__(self, key: object) -> bool:
        self.called.append(key)
        return key == self.key


# Keys


def test_where_is_called_once_for_each_key() -> None:
    bus, a, b, every = EventBus(), Notes(), Notes(), Notes()
    where = Chosen("a")
    bus.subscribe(OrderEvent, a.take, where=where, name="a")
    bus.subscribe(OrderEvent, every.take, name="every")
    bus.subscribe(OrderCanceled, b.take, where=lambda key: key == "b", name="b")
    for number in range(1, 7):
        bus.publish_nowait(canceled("abc"[number % 3], number))
    bus.drain()
    assert (a.numbers, b.numbers, every.numbers) == ([3, 6], [1, 4], [1, 2, 3, 4, 5, 6])
    assert where.called == ["b", "c", "a"]
    calls = {name: own.calls for name, own in bus.stats().handlers.items()}
    assert calls == {"a": 2, "every": 6, "b": 2}


@pytest.mark.parametrize(
    ("event", "key"),
    [
        (bar(1), (BTC, "1s", "trade", "ts_init", False)),
        (msgspec.structs.replace(bar(1), count=0), (BTC, "1s", "trade", "ts_init", True)),
        (signal(1, source="Momentum"), "Momentum"),
        (order(1), "s"),
    ],
)
def test_each_keyed_type_has_its_key(event: Event, key: object) -> None:
    bus, where = EventBus(), Chosen(key)
    seen: list[Event] = []
    bus.subscribe(type(event), seen.append, where=where)
    bus.publish_nowait(msgspec.structs.replace(event, ts=1))
    bus.drain()
    assert where.called == [key]
    assert len(seen) == 1


def test_handlers_of_one_key_keep_their_order_among_all_others() -> None:
    bus = EventBus()
    log: list[tuple[str, int]] = []
    for name in ("first", "a", "b", "middle", "a again", "last"):
        where = (lambda key, own=name[0]: key == own) if name[0] in "ab" else None
        bus.subscribe(Event if name == "middle" else OrderEvent, Notes(name, log).take, where=where)
    bus.publish_nowait(canceled("b", 1))
    bus.publish_nowait(canceled("a", 2))
    bus.drain()
    assert [name for name, number in log if number == 1] == ["first", "b", "middle", "last"]
    assert [name for name, number in log if number == 2] == ["first", "a", "middle", "a again", "last"]


def test_a_later_subscription_gets_events_of_a_known_key() -> None:
    bus, early, late = EventBus(), Notes(), Notes()
    first = bus.subscribe(OrderEvent, early.take, where=Chosen("a"))
    bus.publish_nowait(canceled("a", 1))
    bus.drain()
    bus.subscribe(OrderEvent, late.take, where=Chosen("a"))
    bus.publish_nowait(canceled("a", 2))
    bus.drain()
    first.close()
    bus.publish_nowait(canceled("a", 3))
    bus.drain()
    assert (early.numbers, late.numbers) == ([1, 2], [2, 3])


def test_a_letter_of_a_keyed_handler_is_redriven_to_it_alone() -> None:
    bus = EventBus()
    log: list[tuple[str, int]] = []
    for name in "abc":
        bus.subscribe(OrderEvent, Notes(name, log, fails_on={7} if name == "b" else None).take, where=Chosen("s"))
    bus.subscribe(OrderEvent, Notes("other", log).take, where=Chosen("t"))
    bus.publish_nowait(canceled("s", 7))
    bus.drain()
    assert [name for name, _ in log] == ["a", "b", "c"]
    (letter,) = bus.dead_letters.list()
    log.clear()
    bus.dead_letters.redrive(letter.id)
    bus.drain()
    assert [name for name, _ in log] == ["b"]


def test_events_of_a_keyed_handler_carry_its_name() -> None:
    bus = EventBus()
    sources: list[str] = []
    for name in ("skipped", "named"):
        bus.subscribe(
            OrderEvent,
            lambda _: bus.publish_nowait(Status(subject="x", state="up")),
            where=Chosen(name),
            name=name,
        )
    bus.subscribe(Status, lambda event: sources.append(event.source))
    bus.publish_nowait(canceled("named"))
    bus.drain()
    assert sources == ["named"]


def test_async_handlers_choose_by_key_too() -> None:
    async def main() -> None:
        bus, a, b = EventBus(), Notes(), Notes()
        bus.subscribe(OrderEvent, a.take_async, where=Chosen("a"))
        bus.subscribe(OrderEvent, b.take_async, where=Chosen("b"))
        for number, strategy in enumerate("abba"):
            bus.publish_nowait(canceled(strategy, number))
        await bus.wait_until_idle()
        assert (a.numbers, b.numbers) == ([0, 3], [1, 2])

    asyncio.run(main())


@pytest.fixture
def unraisable(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the texts of unraisable exceptions."""
    texts: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda caught: texts.append(f"{caught.exc_value} {caught.object}"))
    return texts


def test_a_raising_where_counts_as_no_match(unraisable: list[str]) -> None:
    bus, notes = EventBus(), Notes()

    def broken(_: object) -> bool:
        raise ValueError("no choice")

    bus.subscribe(OrderEvent, Notes().take, where=broken, name="broken")
    bus.subscribe(OrderEvent, notes.take)
    bus.publish_nowait(canceled("a", 1))
    bus.drain()
    assert notes.numbers == [1]
    assert [("no choice" in text, "broken" in text) for text in unraisable] == [(True, True)]
    assert bus.stats().handlers["broken"].calls == 0


def test_an_interrupted_where_is_called_again_by_the_next_drain() -> None:
    bus, notes = EventBus(), Notes()
    interrupts = [KeyboardInterrupt()]

    def where(_: object) -> bool:
        if interrupts:
            raise interrupts.pop()
        return True

    bus.subscribe(OrderEvent, notes.take, where=where)
    bus.publish_nowait(canceled("a", 1))
    with pytest.raises(KeyboardInterrupt):
        bus.drain()
    assert notes.numbers == []
    bus.drain()
    assert notes.numbers == [1]
    assert bus.stats().lanes[Lane.ORDER].processed == 1


def test_an_unhashable_key_goes_to_handlers_of_every_key(unraisable: list[str]) -> None:
    bus, keyed, every = EventBus(), Notes(), Notes()
    bus.subscribe(OrderEvent, keyed.take, where=lambda _: True)
    bus.subscribe(OrderEvent, every.take)
    odd = OrderCanceled(order_id="1", strategy=[], instrument=BTC, left=Decimal(0), ts=1)  # type: ignore[arg-type]
    bus.publish_nowait(odd)
    bus.drain()
    assert (keyed.numbers, every.numbers) == ([], [1])
    assert ["unhashable" in text for text in unraisable] == [True]


@pytest.mark.parametrize("what", [Event, Status, (Signal, Status), lambda _: True])
def test_events_without_a_key_cannot_be_chosen_by_it(what: Any) -> None:
    bus = EventBus()
    with pytest.raises(OptionError, match=r"Status.* has none") as raised:
        bus.subscribe(what, Notes().take, where=lambda _: True)
    assert raised.value.option == "where"
    assert bus.stats().handlers == {}


def test_a_subclass_has_the_key_of_its_type() -> None:
    class Hourly(Bar, frozen=True, kw_only=True):
        pass

    bus = EventBus()
    seen: list[Event] = []
    bus.subscribe(Bar, seen.append, where=lambda key: key[1] == "1h")
    bus.declare(Hourly, Lane.DATA)
    fields = {name: getattr(bar(), name) for name in Bar.__struct_fields__}
    bus.publish_nowait(Hourly(**{**fields, "timeframe": "1h", "ts": 1}))
    bus.publish_nowait(Hourly(**{**fields, "timeframe": "1m", "ts": 1}))
    bus.drain()
    assert len(seen) == 1


def test_a_bus_held_by_its_predicates_is_collected() -> None:

    def made() -> weakref.ref[EventBus]:
        bus = EventBus()
        bus.subscribe(OrderEvent, Notes().take, where=lambda key: key == bus.run_id)
        bus.publish_nowait(canceled("a"))
        bus.drain()
        return weakref.ref(bus)

    gone = made()
    gc.collect()
    assert gone() is None


# Owners


def test_an_owned_type_is_published_by_its_owner_alone() -> None:
    bus, notes = EventBus(), Notes()
    bus.subscribe(OrderEvent, lambda event: notes.log.append(("", int(event.order_id))))
    publish = bus.own(OrderRequested, ADVICE)
    for event in (order(1), order(1, ts=5)):
        with pytest.raises(EventTypeError, match=r"OrderRequested is published only by its owner: call submit\(") as no:
            bus.publish_nowait(event)
        assert no.value.event_type == "OrderRequested"
        with pytest.raises(EventTypeError):
            asyncio.run(bus.publish(event))
    publish(order(2))
    publish(order(3, ts=5))
    bus.publish_nowait(canceled("s", 4))
    bus.drain()
    assert notes.numbers == [2, 3, 4]


def test_ownership_survives_handlers_that_come_and_go() -> None:
    bus, notes = EventBus(), Notes()
    publish = bus.own(OrderRequested, ADVICE)
    bus.subscribe(OrderEvent, notes.take, where=Chosen("s")).close()
    with pytest.raises(EventTypeError):
        bus.publish_nowait(order(1, ts=5))
    bus.subscribe(OrderEvent, notes.take)
    with pytest.raises(EventTypeError):
        bus.publish_nowait(order(1, ts=5))
    publish(order(2, ts=5))
    assert bus.drain() == 1


def test_a_subclass_of_an_owned_type_is_owned() -> None:
    class Early(OrderRequested, frozen=True, kw_only=True):
        pass

    class Late(OrderRequested, frozen=True, kw_only=True):
        pass

    bus = EventBus()
    bus.declare(Early, Lane.ORDER)
    bus.own(OrderRequested, ADVICE)
    bus.declare(Late, Lane.ORDER)
    for kind in (Early, Late):
        with pytest.raises(EventTypeError, match="only by its owner"):
            bus.publish_nowait(
                kind(order_id="1", strategy="s", instrument=BTC, side=1, order_type="market", quantity=Decimal(1), ts=1)
            )


def test_a_type_has_one_owner() -> None:
    bus = EventBus()
    bus.own(OrderRequested, ADVICE)
    with pytest.raises(OptionError, match="has an owner"):
        bus.own(OrderRequested, ADVICE)


def test_a_full_lane_refuses_its_owner_too() -> None:
    bus = EventBus(lanes=lanes(order=1))
    publish = bus.own(OrderRequested, ADVICE)
    publish(order(1, ts=5))
    with pytest.raises(LaneFullError):
        publish(order(2, ts=5))


def test_a_letter_of_an_owned_type_is_redriven_all_the_same() -> None:
    bus = EventBus()
    fails = [ValueError("once")]
    seen: list[Event] = []

    def handler(event: Event) -> None:
        if fails:
            raise fails.pop()
        seen.append(event)

    bus.subscribe(OrderRequested, handler)
    bus.own(OrderRequested, ADVICE)(order(1, ts=5))
    bus.drain()
    bus.dead_letters.redrive(bus.dead_letters.list()[0].id)
    bus.drain()
    assert len(seen) == 1
