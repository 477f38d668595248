"""The readers of ticks that belong to the engine: of its broker, its margin, its funding.

Guarantees: a replay waits for each of them; live none of them holds a feed for others: what the ring lost is lost.
Does not: wake or doze them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from headrace.market.clock import Mode

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.dispatch.dispatcher import Dispatcher
    from headrace.dispatch.subscription import Subscription

__all__ = ["subscribe_own"]


def subscribe_own(
    dispatcher: Dispatcher, mode: Mode, handler: Callable[..., None], *, callback: str, name: str
) -> Subscription:
    """Subscribe a handler of the engine's own."""
    overflow: Literal["block", "drop_oldest"] = "block" if mode is Mode.REPLAY else "drop_oldest"
    return dispatcher.subscribe(handler, callback=callback, name=name, overflow=overflow)
