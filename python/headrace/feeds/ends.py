"""FeedEnds: how each live feed of a run stands, and whether the run goes on when one has ended.

::

    running ─┬─▶ ended     its iteration, or its run(), returned
             └─▶ failed    anything else: what it raised, a wrong item, a cancellation that was not requested

What a run does when a live feed ends beside others
    on_feed_end="stop"        it stops, in order; with the feed's error, if it failed
    on_feed_end="continue"    it goes on; a failure is logged, and stands in the report

Guarantees: each end is a log line, a Control event FEED_ENDED, a metric and a state in the report; and behind the
feed's last tick, a status FEED_ENDED of each of its instruments (``live``).
Does not: start a feed again; a feed that reconnects does so by itself.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from headrace.errors import FeedError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping

    from headrace.feeds.live import LiveSource

__all__ = ["FeedEnds", "FeedState"]

log = logging.getLogger(__name__)


class FeedState(NamedTuple):
    """How a live feed stands. reason : why it failed; empty otherwise."""

    state: Literal["running", "ended", "failed"]
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.state}: {self.reason}" if self.reason else self.state


class FeedEnds:
    """The states of the live feeds of one run, by name. goes_on : whether the run goes on when one of them ends."""

    def __init__(self, *, goes_on: bool) -> None:
        self._goes_on = goes_on
        self._states: dict[str, FeedState] = {}

    def __getitem__(self, name: str) -> FeedState | None:
        """Return how a feed stands; None for a feed of the past."""
        return self._states.get(name)

    def __iter__(self) -> Iterator[tuple[str, FeedState]]:
        """Yield each live feed's name and state."""
        yield from list(self._states.items())

    async def run(
        self,
        sources: Iterable[LiveSource],
        past: Coroutine[Any, Any, None],
        publish: Callable[[str, Mapping[str, object]], None],
    ) -> str:
        """Run live feeds until they have ended, and what brings the feeds of the past with them; return why.

        publish : publishes a Control event. Raises what a feed raised, unless the run goes on without it, and always
        what a strategy, a recording or a feed of the past raised.
        """
        running: dict[asyncio.Task[None], LiveSource | None] = {}
        running[asyncio.create_task(past, name="headrace-recordings")] = None
        for source in sources:
            self._states[source.feed.name] = FeedState("running")
            running[asyncio.create_task(source.run(), name=f"headrace-feed-{source.feed.name}")] = source
        try:
            while running:
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                ended = [task for task in running if task in done]
                names = [self._end(task, running.pop(task), publish) for task in ended]
                if any(names) and running and not self._goes_on:
                    return f"feed {next(filter(None, names))} ended"
        finally:
            for task in running:
                task.cancel()
            if running:
                await asyncio.wait(running)
            for task, other in running.items():
                error = None if task.cancelled() else task.exception()
                if error is not None:
                    name = "of the past" if other is None else other.feed.name
                    log.error("feed %s failed, too", name, exc_info=error)
        return "feeds ended"

    def _end(
        self,
        task: asyncio.Task[None],
        source: LiveSource | None,
        publish: Callable[[str, Mapping[str, object]], None],
    ) -> str:
        """Note how a task ended; return the live feed's name, empty for the feeds of the past."""
        if source is None:
            task.result()
            return ""
        name = source.feed.name
        error = _cancelled(name) if task.cancelled() else task.exception()
        if source.error_of_engine is not None:
            raise source.error_of_engine
        state = FeedState("ended") if error is None else FeedState("failed", f"{type(error).__name__}: {error}")
        self._states[name] = state
        publish("FEED_ENDED", {"feed": name, "state": state.state, "reason": state.reason})
        if error is None:
            log.info("feed %s ended", name)
        elif self._goes_on:
            log.error("feed %s failed, and the run goes on without it", name, exc_info=error)
        else:
            raise error
        return name


def _cancelled(name: str) -> FeedError:
    msg = f"the task of feed {name} was cancelled, and not by the engine; a feed ends by returning"
    return FeedError(msg, feed=name)
