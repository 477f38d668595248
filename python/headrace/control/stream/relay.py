"""Relay: a stream of documents that are made on another thread: of a database, or of a replay that lets no loop in.

::

    another thread ─ put(document) ─▶ Relay ─▶ StreamService ─▶ clients, history

Guarantees: a document is handed over whole; who makes it never waits for a client.
Does not: make documents.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from headrace.control.stream.service import StreamService
from headrace.engine.service import Service

if TYPE_CHECKING:
    from headrace.control.stream.board import Document
    from headrace.engine.service import ServiceContext

__all__ = ["Relay"]


class Relay(Service):
    """A stream that works from ``setup`` on, and needs no ``run``. first : the document until another one is put.

    A document must not be changed once it was put.
    """

    def __init__(self, first: Document) -> None:
        self._newest = first
        self.stream = StreamService(lambda: self._newest)
        self._task: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """What reports call it."""
        return "stream"

    def put(self, document: Document) -> None:
        """Replace the document; from any thread."""
        self._newest = document

    async def setup(self, context: ServiceContext) -> None:
        """Follow the log, and begin to read."""
        await self.stream.setup(context)
        self._task = asyncio.create_task(self.stream.run(), name="headrace stream")

    async def stop(self) -> None:
        """End every client's stream."""
        await self.stream.stop()
        if self._task is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
