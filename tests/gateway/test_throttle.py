"""The throttle: at most one event in a window, each emitted or counted, and what comes in between consolidated."""

from __future__ import annotations

import asyncio
import random

import pytest

from headrace.gateway import CanonicalEvent, CanonicalType
from headrace.gateway.throttle import Throttle
from tests.support.engines import until

pytestmark = pytest.mark.asyncio

WINDOW_NS = 30_000_000


def event(kind, seq, **payload):
    return CanonicalEvent(
        canonical_type=kind, instrument="A.B", seq=seq, key=f"A.B:x:{seq}", ts_event=0, ts_init=seq, payload=payload
    )


async def passed(events):
    """Offer events at once; return what was emitted, and how many were suppressed."""
    emitted = []
    throttle = Throttle(WINDOW_NS, emitted.append)
    suppressed = sum(throttle.offer(own) for own in events)
    await until(lambda: not throttle.is_holding)
    return [own.payload for own in emitted], suppressed


async def test_trades_between_two_events_are_summed():
    trades = [event(CanonicalType.TRADE, seq, price=float(seq), size=2.0) for seq in range(1, 6)]
    emitted, suppressed = await passed(trades)
    assert emitted == [{"price": 1.0, "size": 2.0}, {"price": 5.0, "size": 2.0, "consolidated": 4, "volume": 8.0}]
    assert suppressed == 3


async def test_of_a_book_the_newest_size_of_each_price_stays():
    rows = [(1, 10.0, 1.0), (1, 10.0, 3.0), (-1, 11.0, 2.0), (1, 10.0, 0.0)]
    deltas = [event(CanonicalType.BOOK_DELTA, seq, side=s, price=p, size=z) for seq, (s, p, z) in enumerate(rows)]
    emitted, _ = await passed(deltas)
    assert emitted[1]["levels"] == [[1, 10.0, 0.0], [-1, 11.0, 2.0]]


async def test_deltas_of_a_stale_book_are_joined_and_end_with_a_live_one():
    stale = [event(CanonicalType.FUSED, n, quality="STALE", deltas=[[1, float(n), 1.0]]) for n in range(3)]
    emitted, _ = await passed(stale)
    assert emitted[1]["deltas"] == [[1, 1.0, 1.0], [1, 2.0, 1.0]]
    emitted, _ = await passed([*stale, event(CanonicalType.FUSED, 9, quality="LIVE")])
    assert emitted[1] == {"quality": "LIVE", "consolidated": 3}


async def test_without_a_window_everything_passes():
    emitted = []
    throttle = Throttle(0, emitted.append)
    assert not any(throttle.offer(event(CanonicalType.TICKER, seq)) for seq in range(5))
    assert len(emitted) == 5


async def test_every_event_is_emitted_held_or_suppressed(seed):
    rng, emitted = random.Random(seed), []
    throttle = Throttle(2_000_000, emitted.append)
    offered = suppressed = 0
    for _ in range(200):
        for _ in range(rng.randrange(4)):
            offered += 1
            suppressed += throttle.offer(event(CanonicalType.TICKER, offered))
        assert offered == suppressed + len(emitted) + throttle.is_holding
        await asyncio.sleep(rng.choice([0, 0.001]))
    assert [own.seq for own in emitted] == sorted(own.seq for own in emitted)
