"""Breakers: the states of the circuit breakers of REST requests, as metrics, events and lines in the log."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from headrace.feeds.base import RestFeed
from headrace.market.events import Status

if TYPE_CHECKING:
    from headrace.engine.parts import EngineParts

__all__ = ["follow_breakers"]

log = logging.getLogger(__name__)


def follow_breakers(parts: EngineParts) -> None:
    """Have each feed that has a breaker tell of its state, now and at each change."""
    for feed in parts.feeds:
        if isinstance(feed, RestFeed):
            feed.on_breaker(partial(_changed, parts, feed.name))


def _changed(parts: EngineParts, feed: str, state: str) -> None:
    is_first = feed not in parts.breakers
    parts.breakers[feed] = state
    if not is_first:
        log.warning("%s: the circuit breaker of its REST requests is %s", feed, state)
        now_ns = parts.clock.now_ns()
        status = Status(source="engine", ts=now_ns, run_id=parts.run_id, subject=f"REST of {feed}", state=state)
        parts.driver.publish(status)
