"""Candles: what a replay does at the open and the close of each candle, one stage at a time.

::

    closes at T ─▶ 1. the broker fills resting orders ─▶ barrier ─▶ 2. margin is judged ─▶ barrier ─▶ on_bar, on_bars
    opens at T  ─▶ 3. the broker fills arriving orders ─▶ barrier

Guarantees: orders that a candle fills are filled before a strategy sees that candle; what a strategy orders at a close
meets the open of the same time.
Does not: read feeds (``feeds.candle_merge``), or wait: the driver resolves each stage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.trading.brokers import CandleBroker, call_broker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from headrace.engine.loop.driver import Driver
    from headrace.engine.marks import Marks
    from headrace.feeds.sources import Sources
    from headrace.market.bars import BarSpec
    from headrace.market.events import Bar
    from headrace.trading.brokers import Broker

__all__ = ["Candles"]


class Candles:
    """The candles of one replay.

    driver : publishes bars. sources : are open. marks : are set to the prices. judge : judges the margin of an account
    at closed candles.
    """

    def __init__(
        self,
        driver: Driver,
        sources: Sources,
        broker: Broker | None,
        marks: Marks,
        judge: Callable[[list[Bar]], None] | None,
    ) -> None:
        self._merge = sources.merge_candles(has_opens=isinstance(broker, CandleBroker))
        self._broker = broker if isinstance(broker, CandleBroker) else None
        self._marks = marks
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
        """Make the bars that strategies take and that no feed has from shorter ones."""
        self._merge.make(specs)

    async def fill(self) -> None:
        """Read on where the next stage is not known."""
        await self._merge.fill()

    def step(self) -> None:
        """Do the next stage, at its time."""
        if self._closed:
            self._pass_on()
        elif self._merge.is_open_next:
            opens = self._merge.take_opens()
            for own in opens:
                self._marks.set(own.instrument, own.price, own.ts_open)
            if self._broker is not None:
                call_broker(self._broker, "on_candles_open", opens)
        else:
            self._close(self._merge.take_closes())

    def _close(self, bars: list[Bar]) -> None:
        filling = [bar for bar in bars if self._merge.fills(bar)]
        for bar in filling:
            self._marks.set(bar.instrument, bar.close, bar.ts_close)
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
        self._driver.publish_bars(closed)
