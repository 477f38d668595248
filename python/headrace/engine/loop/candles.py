"""Candles: what a replay does at the open and the close of each candle, one stage at a time.

::

    closes at T ─▶ 1. the broker fills resting orders ─▶ barrier ─▶ 2. on_bar, on_bars ─▶ barrier
    opens at T  ─▶ 3. the broker fills arriving orders ─▶ barrier

Guarantees: orders that a candle fills are filled before a strategy sees that candle; what a strategy orders at a close
meets the open of the same time.
Does not: read feeds (``feeds.candle_merge``), or wait: the driver resolves each stage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.trading.brokers import CandleBroker, call_broker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from headrace.engine.marks import Marks
    from headrace.feeds.sources import Sources
    from headrace.market.bars import BarSpec
    from headrace.market.events import Bar
    from headrace.trading.brokers import Broker

__all__ = ["Candles"]


class Candles:
    """The candles of one replay. sources : are open. marks : are set to the prices. publish : publishes bars."""

    def __init__(
        self, sources: Sources, broker: Broker | None, marks: Marks, publish: Callable[[Sequence[Bar]], None]
    ) -> None:
        self._merge = sources.merge_candles(has_opens=isinstance(broker, CandleBroker))
        self._broker = broker if isinstance(broker, CandleBroker) else None
        self._marks = marks
        self._publish = publish
        # The broker has had them, strategies have not.
        self._closed: list[Bar] = []

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
            closed, self._closed = self._closed, []
            self._publish(closed)
        elif self._merge.is_open_next:
            for instrument, price, seen in self._merge.take_opens():
                self._marks.set(instrument, price, seen.ts_init)
                if self._broker is not None:
                    call_broker(self._broker, "on_candle_open", instrument, price, seen)
        else:
            self._close(self._merge.take_closes())

    def _close(self, bars: list[Bar]) -> None:
        for bar in bars:
            if not self._merge.fills(bar):
                continue
            self._marks.set(bar.instrument, bar.close, bar.ts_close)
            if self._broker is not None:
                call_broker(self._broker, "on_candle_close", bar)
        self._closed = bars
