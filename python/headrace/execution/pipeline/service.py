"""PipelineService: the steps of the pipeline inside of a running engine, with the engine's own bars.

::

    Bar on the bus ─▶ EngineBars ─┐
    file · Alpaca (by settings) ──┴▶ Pipeline.run, in a thread, at its intervals ─▶ tables ─▶ recommendations

What happens when
    a step fails: it is on record, ``health`` says so, and it is tried again at its next time.
    the database is away: ``health`` says so, the engine's bars wait, and all is tried again at the next time.
    the engine stops: the bars that wait are stored first; where that fails, the log says how many were not.

Guarantees: several services may share the steps, each with its own part of them. In a replay it does nothing.
Does not: make bars; strategies declare which ones the engine makes.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any

from headrace.engine.service import Service
from headrace.errors import StoreError
from headrace.execution.pipeline.bar_sources import EngineBars, bar_source_of
from headrace.execution.pipeline.settings import PipelineSettings
from headrace.execution.pipeline.steps import STEPS, Pipeline, checked_steps
from headrace.execution.store import Store
from headrace.market.checks import converted
from headrace.market.clock import Mode
from headrace.market.events import Bar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from headrace.bus.subscription import BusSubscription
    from headrace.engine.service import ServiceContext
    from headrace.execution.pipeline.bar_sources import BarSource
    from headrace.execution.pipeline.news import Classifier
    from headrace.execution.pipeline.steps import StepResult

__all__ = ["PipelineService"]

log = logging.getLogger(__name__)


class PipelineService(Service):
    """Makes recommendations beside an engine's strategies.

    url : of the database; None: the file in the state folder. settings : as ``[pipeline]``; without a file and without
    Alpaca the bars are the engine's. steps : which of bars, features, news, watchlist, signals. timeframe, price : of
    the engine's bars. classifier : of news. Raises OptionError.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        settings: PipelineSettings | Mapping[str, Any],
        steps: Sequence[str] = STEPS,
        timeframe: str = "1m",
        price: str = "trade",
        classifier: Classifier | None = None,
    ) -> None:
        self._url = url
        if not isinstance(settings, PipelineSettings):
            settings = converted("a pipeline", settings, PipelineSettings)
        self._settings = settings
        self._steps = checked_steps(steps)
        self._classifier = classifier
        self._source: BarSource | None = bar_source_of(self._settings)
        self._own_bars = EngineBars(self._settings.tickers, timeframe, price)
        self._subscription: BusSubscription | None = None
        self._pipeline: Pipeline | None = None
        self._store: Store | None = None
        self._over = asyncio.Event()
        # One thread at a time works with the store.
        self._lock = threading.Lock()
        self._trouble = ""
        self._results: dict[str, StepResult] = {}
        self._rows = dict.fromkeys(self._steps, 0)

    @property
    def name(self) -> str:
        """The class's name, and the steps where they are a part."""
        return type(self).__name__ if self._steps == STEPS else f"{type(self).__name__} {'+'.join(self._steps)}"

    async def setup(self, context: ServiceContext) -> None:
        """Open the database and subscribe to bars. Raises StoreError."""
        self._over.clear()
        if context.mode is not Mode.LIVE:
            return
        self._store = await asyncio.to_thread(Store, self._url)
        source = self._source
        if source is None and "bars" in self._steps:
            source = self._own_bars
            self._subscription = context.bus.subscribe(Bar, self._own_bars.add, name=self.name)
        self._pipeline = Pipeline(
            self._store, self._settings, bar_source=source, classifier=self._classifier, steps=self._steps
        )

    async def run(self) -> None:
        """Do the steps at their intervals, until ``stop``."""
        wait_s = min(self._settings.interval_s, self._settings.watchlist_interval_s)
        while self._pipeline is not None and not self._over.is_set():
            await asyncio.to_thread(self._work)
            try:
                async with asyncio.timeout(wait_s):
                    await self._over.wait()
            except TimeoutError:
                continue

    async def stop(self) -> None:
        """End after the step in hand, store the engine's bars that wait, and close the database."""
        self._over.set()
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.close()
        await asyncio.to_thread(self._end)

    def _work(self) -> None:
        """Do the steps that are due, in a thread."""
        with self._lock:
            if self._pipeline is None:
                return
            try:
                for result in self._pipeline.run():
                    self._note(result)
                self._trouble = ""
            except StoreError as error:
                self._trouble = f"the database is away, {len(self._own_bars):,} bars wait: {error}"
                log.warning("%s", self._trouble)

    def _end(self) -> None:
        with self._lock:
            pipeline, self._pipeline = self._pipeline, None
            store, self._store = self._store, None
            try:
                if pipeline is not None and len(self._own_bars):
                    self._note(pipeline.run_now("bars"))
            except StoreError as error:
                self._trouble = f"the database is away: {error}"
            finally:
                if store is not None:
                    store.close()
            if len(self._own_bars):
                log.error("%d bars of the engine were not stored: %s", len(self._own_bars), self.health())

    def health(self) -> str:
        """Return "ok", or what is wrong with the database or with steps."""
        return (
            self._trouble
            or "; ".join(f"{own.step}: {own.error}" for own in self._results.values() if own.error)
            or "ok"
        )

    def metrics(self) -> Mapping[str, float]:
        """Return rows by step, and of the engine's bars how many wait, were dropped, or were partial."""
        rows = {f"{step}_rows": float(count) for step, count in self._rows.items()}
        bars = self._own_bars
        return {**rows, "bars_waiting": len(bars), "bars_dropped": bars.dropped, "bars_partial": bars.partial}

    def _note(self, result: StepResult) -> None:
        self._results[result.step] = result
        self._rows[result.step] += result.rows
        if result.step == "bars" and result.error is None:
            self._own_bars.done()
