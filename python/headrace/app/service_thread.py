"""Services of a process without an engine, on an event loop in a thread of their own.

Guarantees: they are set up when the block begins, and stopped when it has ended, last one first.
Does not: run or restart them: they serve by themselves once they are set up.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from headrace.bus import EventBus
from headrace.engine.service import ServiceContext
from headrace.market.clock import WallClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.engine.service import ServiceProtocol

__all__ = ["serving"]


@contextmanager
def serving(name: str, run_id: str, *services: ServiceProtocol) -> Iterator[None]:
    """Have services in a thread called ``name``. Raises what their ``setup`` raises, a port that is taken included."""
    context = ServiceContext(bus=EventBus(), clock=WallClock(), run_id=run_id, mode="live")
    with asyncio.Runner() as runner:
        set_up: list[ServiceProtocol] = []
        try:
            for service in services:
                set_up.append(service)
                runner.run(service.setup(context))
        except BaseException:
            for service in reversed(set_up):
                runner.run(service.stop())
            raise
        loop = runner.get_loop()
        thread = threading.Thread(target=loop.run_forever, name=name, daemon=True)
        thread.start()
        try:
            yield
        finally:
            for service in reversed(set_up):
                asyncio.run_coroutine_threadsafe(service.stop(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
