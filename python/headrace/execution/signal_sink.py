"""SignalSink: strategies' signals become recommendations, so that a live engine feeds workers on any host.

::

    Signal on the bus ─▶ spool on disk ─▶ batches ─▶ dispatch_recommendations        retried while the database is away

    ticker      the instrument's text        action      by the side: BUY_STOCK, SELL_STOCK, or as actions= says
    confidence  the signal's strength        key         run, strategy, instrument, kind and seq of its tick

Guarantees: in order; a signal is stored once, whatever is repeated; one that is refused is counted, and logged with its
reason. In a replay or repeat it does nothing, as all services.
Does not: wait on the engine's thread for the database.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import TYPE_CHECKING

from msgspec import to_builtins

from headrace.engine.service import Service
from headrace.errors import HeadraceError, RecommendationError, StoreUnavailableError
from headrace.execution.recommendation import NewRecommendation
from headrace.execution.settings import SIDES
from headrace.execution.spool import Spool
from headrace.execution.store import Store
from headrace.limits import RESTART_FIRST_S, RESTART_MAX_S, SPOOL_BYTES_MAX, STORE_BATCH_MAX
from headrace.market.checks import file_name, refuse
from headrace.market.clock import Mode
from headrace.market.events import Signal
from headrace.trading.state_folder import state_path

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from headrace.bus.subscription import BusSubscription
    from headrace.engine.service import ServiceContext

__all__ = ["SignalSink"]

log = logging.getLogger(__name__)

ACTIONS = {1: "BUY_STOCK", -1: "SELL_STOCK"}


class SignalSink(Service):
    """Stores signals as recommendations.

    url : of the database; None: the file in the state folder. actions : by side. spool : the folder of what waits;
    None: ``spool`` in the state folder. spool_name : of its files; two engines on one host need two names.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        actions: Mapping[int, str] | None = None,
        spool: Path | None = None,
        spool_name: str = "signals",
        spool_bytes_max: int = SPOOL_BYTES_MAX,
    ) -> None:
        self._url = url
        self._actions = dict(ACTIONS if actions is None else {int(side): own for side, own in actions.items()})
        for side, action in self._actions.items():
            if side not in ACTIONS or action not in SIDES:
                refuse("actions", actions, f"1 and -1, each with one of {', '.join(SIDES)}")
        self._spool_folder = spool
        self._spool_name = file_name("spool_name", spool_name)
        self._spool_bytes_max = spool_bytes_max
        self._spool: Spool | None = None
        self._subscription: BusSubscription | None = None
        self._more = asyncio.Event()
        self._is_over = False
        self._last_key: tuple[str, int] = ("", 0)
        self._trouble = ""
        self.counts: Counter[str] = Counter()

    async def setup(self, context: ServiceContext) -> None:
        """Open the spool and subscribe. Raises StateFolderError."""
        self._is_over = False
        if context.mode is not Mode.LIVE:
            return
        folder = self._spool_folder or state_path() / "spool"
        self._spool = Spool(folder, self._spool_name, bytes_max=self._spool_bytes_max)
        self._subscription = context.bus.subscribe(Signal, self._on_signal, name=self.name)
        self._more.set()

    async def run(self) -> None:
        """Store what is in the spool, until ``stop``; then what is left, once."""
        if self._spool is None:
            return
        try:
            await self._store(self._spool)
        finally:
            self._spool.close()

    async def _store(self, spool: Spool) -> None:
        wait_s = RESTART_FIRST_S
        while True:
            await self._more.wait()
            self._more.clear()
            try:
                while await asyncio.to_thread(self._store_batch):
                    wait_s = RESTART_FIRST_S
                self._trouble = ""
            except StoreUnavailableError as error:
                self._trouble = f"the database is away, {len(spool):,} bytes wait: {error}"
                log.warning("%s; trying again in %g s", error, wait_s)
                if not self._is_over:
                    await asyncio.sleep(wait_s)
                    wait_s = min(wait_s * 2, RESTART_MAX_S)
                    self._more.set()
            if self._is_over:
                return

    async def stop(self) -> None:
        """End; what could not be stored stays in the spool for the next start."""
        self._is_over = True
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None
        self._more.set()

    def health(self) -> str:
        """Return "ok", or what is wrong with the database or the spool."""
        return self._trouble or "ok"

    def metrics(self) -> dict[str, float]:
        """Return counts of signals by fate, and the bytes that wait."""
        fates = ("stored", "skipped", "refused", "lost")
        waiting = 0 if self._spool is None else len(self._spool)
        return {**{fate: float(self.counts[fate]) for fate in fates}, "spool_bytes": float(waiting)}

    def _on_signal(self, signal: Signal) -> None:
        assert self._spool is not None
        if signal.side == 0:
            self._drop("skipped", signal, "side 0 closes a position, which is no recommendation")
            return
        if signal.side not in self._actions:
            self._drop("skipped", signal, f"no action is configured for side {signal.side}")
            return
        cause = None if signal.cause is None else to_builtins(signal.cause)
        try:
            new = NewRecommendation.checked(
                ticker=signal.instrument,
                action=self._actions[signal.side],
                confidence=signal.strength,
                reason={"rule": signal.reason, "strategy": signal.source, "price": signal.price, "ts": signal.ts},
                idempotency_key=self._key(signal),
                cause=cause,
            )
        except RecommendationError as error:
            self._drop("refused", signal, str(error))
            return
        if self._append(new):
            self._more.set()
        else:
            self._trouble = f"the spool is full or cannot be written: {self.counts['lost'] + 1:,} signals are lost"
            self._drop("lost", signal, self._trouble)

    def _append(self, new: NewRecommendation) -> bool:
        assert self._spool is not None
        try:
            return self._spool.append(new._asdict())
        except OSError:
            return False

    def _key(self, signal: Signal) -> str:
        """Return the key of a signal: of its tick, and a number where one strategy signals twice on one tick."""
        cause = signal.cause
        tick = f"at:{signal.ts}" if cause is None else f"{cause.instrument}:{cause.kind}:{cause.last}"
        key = f"{signal.run_id}:{signal.source}:{signal.instrument}:{tick}"
        number = self._last_key[1] + 1 if self._last_key[0] == key else 1
        self._last_key = (key, number)
        return key if number == 1 else f"{key}#{number}"

    def _drop(self, fate: str, signal: Signal, why: str) -> None:
        self.counts[fate] += 1
        level = logging.INFO if fate == "skipped" else logging.ERROR
        log.log(level, "signal of %s for %s is %s: %s", signal.source, signal.instrument, fate, why)

    def _store_batch(self) -> bool:
        """Store the oldest records, in a thread; return whether there may be more. Raises StoreUnavailableError."""
        assert self._spool is not None
        batch = [NewRecommendation(**record) for record in self._spool.first(STORE_BATCH_MAX)]
        if not batch:
            return False
        with Store(self._url) as store:
            try:
                store.recommend_all(batch)
                self.counts["stored"] += len(batch)
            except StoreUnavailableError:
                raise
            except HeadraceError:
                self._store_each(store, batch)
        self._spool.done()
        return True

    def _store_each(self, store: Store, batch: list[NewRecommendation]) -> None:
        """Store a batch of which one is refused, row by row. Raises StoreUnavailableError."""
        for new in batch:
            try:
                store.recommend_all([new])
                self.counts["stored"] += 1
            except StoreUnavailableError:
                raise
            except HeadraceError as error:
                self.counts["refused"] += 1
                log.error("recommendation %s is refused: %s", new.idempotency_key, error)  # noqa: TRY400 - text says all
