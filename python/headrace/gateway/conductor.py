"""Conductor: joins a book's deltas with its snapshots into FUSED events, one instrument at a time.

::

    ring ─▶ on_book   ─▶ FUSED  LIVE or DEGRADED: the best levels of both sides
         └▶ on_levels ─▶ FUSED  STALE: the deltas as they come, while no snapshot can be had
                           └─▶ SnapshotKeeper, at most once a second for an instrument, and at each change of quality

Guarantees: levels are those of a book that is in sync; what is not says STALE; no delta is lost in silence.
Does not: build books; the native core does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    from headrace._native import Book
    from headrace.engine.readers import Readers
    from headrace.gateway.flow import Flow
    from headrace.gateway.keeper import SnapshotKeeper

__all__ = ["Conductor"]

KEEP_EVERY_NS = 1_000_000_000


class Conductor:
    """The FUSED events of one instrument. levels : of each side."""

    # Its ``on_`` methods are handlers, by their defaults.
    subscription: ClassVar[Mapping[str, object]] = {}

    def __init__(self, flow: Flow, readers: Readers, keeper: SnapshotKeeper, *, levels: int) -> None:
        self._flow = flow
        self._keeper = keeper
        self._levels = levels
        self.quality = "STALE"
        self._kept_ns = 0
        self._readers = readers
        instrument = flow.route.instrument
        self._name = f"route {flow.route.canonical_type} {instrument}"
        readers.join(self, name=self._name, instruments=instrument)

    def close(self) -> None:
        """Take no more ticks."""
        self._readers.leave(self._name)

    def on_book(self, ts_event: int, ts_init: int, update_id: int, book: Book) -> None:
        """Forward the best levels of a book that is in sync."""
        before, self.quality = self.quality, book.quality
        bids, asks = _rows(*book.bids(self._levels)), _rows(*book.asks(self._levels))
        payload = {"quality": self.quality, "update_id": update_id, "bids": bids, "asks": asks}
        self._flow.counts.received += 1
        self._flow.take("fused", payload, ts_event=ts_event, ts_init=ts_init)
        if self.quality != before or ts_init - self._kept_ns >= KEEP_EVERY_NS:
            self._kept_ns = ts_init
            self._keeper.keep(self._flow.route.instrument, {**payload, "ts_init": ts_init})

    def on_levels(
        self,
        side: npt.NDArray[np.int8],
        price: npt.NDArray[np.float64],
        size: npt.NDArray[np.float64],
        ts_event: npt.NDArray[np.int64],
        ts_init: npt.NDArray[np.int64],
        venue_seq: npt.NDArray[np.uint64],
    ) -> None:
        """Forward the deltas of a book that is not in sync."""
        if self.quality != "STALE":
            return
        deltas = [list(row) for row in zip(side.tolist(), price.tolist(), size.tolist(), strict=True)]
        self._send_stale(int(venue_seq[-1]), deltas, ts_event=int(ts_event[-1]), ts_init=int(ts_init[-1]))

    def on_status(self, stream: str | None, state: str, ts_init: int) -> None:
        """Note that a book is in sync no more."""
        if stream == "depth" and state not in ("LIVE", "UP", "SILENT") and self.quality != "STALE":
            self.quality = "STALE"
            self._send_stale(0, [], ts_event=0, ts_init=ts_init)

    def _send_stale(self, update_id: int, deltas: list[list[Any]], *, ts_event: int, ts_init: int) -> None:
        payload = {"quality": "STALE", "update_id": update_id, "bids": [], "asks": [], "deltas": deltas}
        self._flow.counts.received += 1
        self._flow.take("fused", payload, ts_event=ts_event, ts_init=ts_init)


def _rows(prices: npt.NDArray[np.float64], sizes: npt.NDArray[np.float64]) -> list[list[float]]:
    return [list(row) for row in zip(prices.tolist(), sizes.tolist(), strict=True)]
