"""The keeper of snapshots: the newest one stays, whoever writes first; what is old is marked; failures are counted."""

from __future__ import annotations

import asyncio
import time

import msgspec
import pytest

from headrace.errors import SnapshotNotFoundError
from headrace.gateway import MemorySnapshots, SqliteSnapshots
from headrace.gateway.keeper import SnapshotKeeper
from headrace.gateway.pool import WorkPool
from headrace.market.clock import WallClock
from tests.support.engines import until

pytestmark = pytest.mark.asyncio

KEY = "BTCUSDT.BINANCE"


def keeper_of(store, pool, ttl_s=60.0):
    return SnapshotKeeper(store, pool, WallClock(), ttl_ns=round(ttl_s * 1e9))


def kept(store):
    return msgspec.json.decode(store.get(KEY).data)["update_id"]


class Contested(MemorySnapshots):
    """A store into which another writer writes between a read and the swap, so many times."""

    def __init__(self, times):
        super().__init__()
        self.left = times

    def get(self, key):
        found = None
        try:
            found = super().get(key)
        finally:
            if self.left:
                self.left -= 1
                self.put(key, b'{"update_id":1}', 0)
        return found


async def test_conflicts_are_tried_again_and_counted():
    pool, store = WorkPool(), Contested(3)
    keeper = keeper_of(store, pool)
    keeper.keep(KEY, {"update_id": 7})
    await keeper.finish()
    assert (keeper.stored, keeper.retries, keeper.failures, kept(store)) == (1, 3, 0, 7)
    pool.close()


async def test_a_conflict_without_end_is_a_failure_and_the_next_one_is_stored():
    pool, store = WorkPool(), Contested(10)
    keeper = keeper_of(store, pool)
    keeper.keep(KEY, {"update_id": 7})
    await keeper.finish()
    assert (keeper.stored, keeper.failures) == (0, 1)
    keeper.keep(KEY, {"update_id": 8})
    await keeper.finish()
    assert (keeper.stored, kept(store)) == (1, 8)
    pool.close()


async def test_two_keepers_of_one_file_leave_the_newest(tmp_path):
    pool, path = WorkPool(workers=4), tmp_path / "snapshots.sqlite"
    keepers = [keeper_of(SqliteSnapshots(path), pool) for _ in range(2)]
    for number in range(1, 51):
        for own, keeper in enumerate(keepers):
            keeper.keep(KEY, {"update_id": 2 * number + own})
        await asyncio.sleep(0)
    for keeper in keepers:
        await keeper.finish()
    assert kept(keepers[0].store) == 101
    assert all(keeper.failures == 0 for keeper in keepers)
    for keeper in keepers:
        keeper.store.close()
    pool.close()


async def test_old_snapshots_are_marked_then_removed():
    pool, store = WorkPool(), MemorySnapshots()
    keeper = keeper_of(store, pool, ttl_s=0.2)
    sweeping = asyncio.ensure_future(keeper.sweep_for_ever())
    keeper.keep(KEY, {"update_id": 1})
    await keeper.finish()
    began = time.monotonic()
    await until(lambda: store.get(KEY).stale)
    assert time.monotonic() - began >= 0.15
    with pytest.raises(SnapshotNotFoundError):
        await until(lambda: store.get(KEY) is None)
    assert keeper.swept == 2
    sweeping.cancel()
    pool.close()


async def test_a_store_that_is_not_available_holds_up_nothing(tmp_path):
    pool, store = WorkPool(), SqliteSnapshots(tmp_path / "snapshots.sqlite")
    keeper = keeper_of(store, pool)
    store.close()
    keeper.keep(KEY, {"update_id": 1})
    await keeper.finish()
    assert (keeper.stored, keeper.failures) == (0, 1)
    pool.close()
