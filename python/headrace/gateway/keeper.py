"""SnapshotKeeper: puts snapshots into the store off the loop, and has the store swept of what is old.

::

    keep(instrument, snapshot) ─▶ pool ─▶ compare and swap ─▶ conflict: again, counted
    every quarter of the time to live ─▶ sweep ─▶ stale marks

Guarantees: of two snapshots of an instrument the newer one stays, whoever writes first; a store that fails is counted
and logged once, and the events go on.
Does not: decide when a snapshot is worth keeping.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.errors import SnapshotError
from headrace.gateway.snapshots import Snapshot, update

if TYPE_CHECKING:
    from headrace.gateway.pool import WorkPool
    from headrace.gateway.snapshots import SnapshotStore
    from headrace.market.clock import Clock

__all__ = ["SnapshotKeeper"]

log = logging.getLogger(__name__)

SWEEPS_PER_TTL = 4


class SnapshotKeeper:
    """The one writer of a gateway. ttl_ns : a snapshot that is older is stale."""

    def __init__(self, store: SnapshotStore, pool: WorkPool, clock: Clock, *, ttl_ns: int) -> None:
        self.store = store
        self._pool = pool
        self._clock = clock
        self._ttl_ns = ttl_ns
        # What waits behind the write of an instrument that is under way: the newest of it.
        self._waiting: dict[str, dict[str, Any]] = {}
        self._writes: dict[str, asyncio.Task[None]] = {}
        self.stored = self.retries = self.failures = self.swept = 0

    def keep(self, instrument: str, snapshot: dict[str, Any]) -> None:
        """Store a snapshot of an instrument; it has an ``update_id``. Called on the loop's thread."""
        self._waiting[instrument] = snapshot
        if instrument not in self._writes:
            task = asyncio.get_running_loop().create_task(self._write(instrument), name=f"headrace keep {instrument}")
            self._writes[instrument] = task

    async def sweep_for_ever(self) -> None:
        """Have old snapshots marked and removed until cancelled."""
        while True:
            await asyncio.sleep(self._ttl_ns / SWEEPS_PER_TTL / 1e9)
            try:
                self.swept += await self._pool.run(self.store.sweep, self._clock.now_ns(), self._ttl_ns)
            except SnapshotError as error:
                self._failed(error)

    async def finish(self) -> None:
        """Wait until everything is stored."""
        while self._writes:
            await asyncio.wait(self._writes.values())

    async def _write(self, instrument: str) -> None:
        try:
            while (snapshot := self._waiting.pop(instrument, None)) is not None:
                try:
                    change = partial(_newer, fresh=snapshot)
                    _, retries = await self._pool.run(update, self.store, instrument, change, self._clock.now_ns())
                except SnapshotError as error:
                    self._failed(error)
                else:
                    self.stored += 1
                    self.retries += retries
        finally:
            del self._writes[instrument]

    def _failed(self, error: SnapshotError) -> None:
        self.failures += 1
        if self.failures == 1:
            log.error("a snapshot could not be stored; more like this are counted: %s", error)


def _newer(current: Snapshot | None, fresh: dict[str, Any]) -> bytes:
    """Return the newer one of two snapshots."""
    if current is not None and msgspec.json.decode(current.data)["update_id"] > fresh["update_id"]:
        return current.data
    return msgspec.json.encode(fresh)
