"""StreamStates: how each stream of a feed stands, and the frames that say so.

::

    subscribed ─▶ SILENT ─▶ a frame ─▶ UP ─▶ something newer did not come ─▶ STALE        connection lost ─▶ DOWN

Guarantees: each change is one frame, for each symbol that it concerns; a change after a loss is told, whatever it was.
Does not: decide how a stream stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.feeds.stream_status import status_frame
from headrace.venues.binance.rules import StreamName

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["StreamStates"]


class StreamStates:
    """The states of one feed's streams.

    symbols : of the feed's own, which a stream of all symbols concerns. push : receives a frame.
    """

    def __init__(self, symbols: Sequence[str], push: Callable[[bytes], None]) -> None:
        self._symbols = symbols
        self._push = push
        self.by_name: dict[str, str] = {}

    def change(self, names: Iterable[str], state: str, reason: str, epoch: int, *, lost: bool = False) -> list[str]:
        """Note a new state of streams, push it, and return those that it is new for. reason : one of STATUS_REASONS."""
        changed = [name for name in names if lost or self.by_name.get(name) != state]
        for name in changed:
            self.by_name[name] = state
            stream = StreamName.parse(name)
            for symbol in [stream.symbol.upper()] if stream.symbol else self._symbols:
                self._push(status_frame(symbol, stream.kind, state, reason, epoch=epoch, is_lost=lost))
        return changed
