"""Candles: what a replay does at the open and the close of each candle, one stage at a time, or natively in one go.

::

    closes at T ─▶ 1. the broker fills resting orders ─▶ barrier ─▶ 2. margin is judged ─▶ barrier ─▶ on_bar, on_bars
    opens at T  ─▶ 3. the broker fills arriving orders ─▶ barrier

When stages are passed natively (``quiet_run``), many times in one call
    The broker is the SimulatedBroker itself, or none; no account is on margin; no strategy takes frames; no two feeds
    have the same candles. Then stages 1 and 3 are calls of the broker with the candles of instruments of which it has
    orders, stage 2 is nothing, and the last one is to publish bars and to drain the bus, as here. It ends before a time
    at which a timer or a bar of ticks is due, and behind a stage at which an order was filled or a handler left
    something to do.

Guarantees: orders that a candle fills are filled before a strategy sees that candle; what a strategy orders at a close
meets the open of the same time; both ways make the same calls in the same order.
Does not: read feeds (``feeds.candle_merge``), or wait: the driver resolves each stage.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from headrace.engine.loop.driver import BARS_AT_ONCE
from headrace.trading.brokers import CandleBroker, SimulatedBroker, call_broker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sized

    import headrace._native as _native
    from headrace.commands import CommandBus
    from headrace.engine.loop.driver import Driver
    from headrace.feeds.sources import Sources
    from headrace.market.bars import BarSpec
    from headrace.market.events import Bar
    from headrace.trading.brokers import Broker

__all__ = ["Candles"]

log = logging.getLogger(__name__)


class Candles:
    """The candles of one replay.

    driver : publishes bars. sources : are open. native : of the run, without streams. judge : judges the margin of an
    account at closed candles.
    """

    def __init__(
        self,
        driver: Driver,
        sources: Sources,
        native: _native.CandleMerge,
        broker: Broker | None,
        judge: Callable[[list[Bar]], None] | None,
    ) -> None:
        self._merge = sources.merge_candles(native, has_opens=isinstance(broker, CandleBroker))
        self._sources = sources.candles
        # Else bars may be made of them.
        self._has_no_ticks = len(sources.candles) == len(sources.feeds)
        self._broker = broker if isinstance(broker, CandleBroker) else None
        self._driver = driver
        self._judge = judge
        # The broker has had them, strategies have not; at these margin was not judged yet.
        self._closed: list[Bar] = []
        self._unjudged: list[Bar] = []

    @property
    def due_ns(self) -> int | None:
        """When the next stage is due."""
        return self._closed[0].ts_close if self._closed else self._merge.due_ns

    @property
    def is_open_next(self) -> bool:
        """Whether the next stage is that of opens: timers of the same time come before it."""
        return not self._closed and self._merge.is_open_next

    def make(self, specs: Iterable[BarSpec]) -> None:
        """Make the bars that strategies take and that no feed has from shorter ones; warn of those that cannot be."""
        specs = list(specs)
        self._merge.make(specs)
        for spec in self._merge.unmade(specs) if self._has_no_ticks else ():
            there = ", ".join(f"{own.timeframe} {own.price} of {own.instrument}" for own in self._sources)
            what = f"no candle makes {spec.timeframe} {spec.price} bars of {spec.instrument}"
            log.warning("%s: there are %s, and longer ones are made of those that divide them", what, there)
        self._driver.bars.follow_candles(self._merge.unread())

    async def fill(self) -> None:
        """Read on where the next stage is not known."""
        await self._merge.fill()

    # Natively

    def quiet_run(
        self, commands: CommandBus, waiting: Iterable[Sized], *, events_max: int, bars_max: int
    ) -> Callable[[], int] | None:
        """Return what passes stages natively, as many as may pass, and returns how many; None: none ever may.

        waiting : each is empty while nothing waits. events_max, bars_max : that are handled and published at once.
        """
        broker, driver, native = self._broker, self._driver, self._merge.native
        is_plain = broker is None or type(broker) is SimulatedBroker
        if not is_plain or self._judge is not None or not self._merge.has_one_stream_each:
            return None
        orders = None
        if isinstance(broker, SimulatedBroker):
            known = broker.orders
            orders = (known, lambda: {own.request.instrument for own in known.values()}, partial(call_broker, broker))
        waits = (list(waiting), commands, driver.dispatcher.faults, orders)
        pass_stages = driver.dispatcher.candle_run(native, driver.bus.core)

        def run() -> int:
            if self._closed or driver.bars.frame_takers:
                return 0
            passed = pass_stages(waits, bars_max=bars_max, events_max=events_max)
            self._closed = native.take_closing()
            return passed

        return run

    # One stage at a time

    def step(self) -> None:
        """Do the next stage, at its time."""
        if self._closed:
            self._pass_on()
        elif self._merge.is_open_next:
            opens = self._merge.take_opens()
            if self._broker is not None:
                call_broker(self._broker, "on_candles_open", opens)
        else:
            self._close(self._merge.take_closes())

    def _close(self, bars: list[Bar]) -> None:
        filling = [bar for bar in bars if self._merge.fills(bar)]
        if self._broker is not None:
            call_broker(self._broker, "on_candles_close", filling)
        self._closed, self._unjudged = bars, filling
        if self._driver.is_at_rest:
            # No order was filled: nothing comes between the broker and the strategies.
            self._pass_on()

    def _pass_on(self) -> None:
        """Judge margin, when all fills are accounted for; where that closes nothing, publish the bars."""
        if self._judge is not None and self._unjudged:
            candles, self._unjudged = self._unjudged, []
            self._judge(candles)
            if not self._driver.is_at_rest:
                return
        closed, self._closed = self._closed, []
        driver = self._driver
        frames = driver.bars.published(closed)
        is_few = len(closed) + len(frames) < BARS_AT_ONCE and not driver.unpublished
        is_sent = is_few and self._merge.native.publish(driver.bus.core, closed)
        driver.publish_each(frames if is_sent else [*closed, *frames])
