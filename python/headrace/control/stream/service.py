"""StreamService: reads an engine's state at a pace, and hands each client what changed since it last looked.

::

    10 times a second, while there are clients   state ─▶ Board ─▶ each client's own turn ─▶ an event of its stream
    once a second                                state ─▶ History, alerts

What happens when
    reading takes long: it happens less often, so that it never takes more than 2 % of a core.
    a client is slow: it gets the next event when the last one is sent, with all that changed in between.
    a client breaks off: its turn ends, and nothing of it is left.
    nothing changes: a heartbeat goes out every 5 s, so that a client knows that the figures are of now.

Guarantees: a client never holds up the engine or another client; memory does not grow with clients that are gone.
Does not: speak HTTP; ``control.http`` sends what ``events`` yields.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, ClassVar

import msgspec

from headrace.control.plain import plain
from headrace.control.stream.board import Board, Follower, Place
from headrace.control.stream.history import History
from headrace.control.stream.samples import samples_of
from headrace.control.stream.tails import Tails
from headrace.engine.service import RestartPolicy, Service
from headrace.errors import ControlError
from headrace.limits import STREAM_CLIENTS_MAX, STREAM_EVERY_S, STREAM_HEARTBEAT_S, STREAM_SHARE_MAX

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from headrace.control.stream.board import Document, Update
    from headrace.engine.service import ServiceContext

__all__ = ["StreamService"]

SAMPLE_S = 1.0


class StreamService(Service):
    """The stream of one engine.

    read : returns the state document; called on the engine's thread. clients_max : at a time. heartbeat_s : after so
    long without a change. on_sample : called once a second with the time, ns, and the document.
    """

    restart: ClassVar[RestartPolicy] = "on_failure"

    def __init__(
        self,
        read: Callable[[], Document],
        *,
        clients_max: int = STREAM_CLIENTS_MAX,
        heartbeat_s: float = STREAM_HEARTBEAT_S,
    ) -> None:
        self._read = read
        self._clients_max = clients_max
        self._heartbeat_s = heartbeat_s
        self.tails = Tails()
        self.board = Board(self.tails.by_name)
        self.history = History()
        self.on_sample: list[Callable[[int, Document], None]] = []
        self._clients = 0
        self._counts = dict.fromkeys(("readings", "events", "refused"), 0)
        self._read_s = -SAMPLE_S
        self._sampled_s = -SAMPLE_S
        self._cost_s = 0.0
        self._stopping = asyncio.Event()
        # The number of the last change, and where the board stood; the event is a new one after each.
        self._turn = 0
        self._told: Place | None = None
        self._changed = asyncio.Event()
        # The last update that was sent, and its event.
        self._shared: tuple[Update, bytes] | None = None
        self._wanted = asyncio.Event()
        # Ends the clients with the server that sends to them.
        self._ending: asyncio.Task[object] | None = None

    @property
    def name(self) -> str:
        """What reports call it."""
        return "stream"

    @property
    def clients(self) -> int:
        """How many clients follow it now."""
        return self._clients

    async def setup(self, context: ServiceContext) -> None:
        """Follow the bus and the log."""
        self._stopping.clear()
        self.tails.open(context.bus)

    async def run(self) -> None:
        """Read at a pace until it is stopped."""
        while not self._stopping.is_set():
            now_s = time.monotonic()
            if self._clients or now_s - self._sampled_s >= SAMPLE_S:
                self._take(now_s)
            await self._pause()

    async def stop(self) -> None:
        """End every client's stream."""
        self._stopping.set()
        self._wanted.set()
        self._wake()
        if self._ending is not None:
            self._ending.cancel()
        self.tails.close()

    def end_clients_with(self, stopping: asyncio.Event) -> None:
        """End every client's stream when an event is set, and take no more; called in the loop."""

        async def end() -> None:
            await stopping.wait()
            self._stopping.set()
            self._wake()

        self._ending = asyncio.create_task(end(), name="headrace end streams")

    def metrics(self) -> Mapping[str, float]:
        """Return how many clients there are, what was read and sent, and what the last reading cost."""
        return {**self._counts, "clients": self._clients, "version": self.board.version, "cost_s": self._cost_s}

    def document(self) -> Document:
        """Return the state as it is, or was a tenth of a second ago. On the engine's thread."""
        self._refresh()
        return {"clock": dict(self.board.clock), **self.board.document}

    def events(self, last_event_id: str = "") -> AsyncGenerator[bytes, None]:
        """Return the server-sent events of one client until the engine stops; close it when the client is gone.

        last_event_id : of the last event that the client has had; it goes on from there where that is known still.
        Raises ControlError: there are as many clients as may be.
        """
        if self._clients >= self._clients_max:
            self._counts["refused"] += 1
            msg = f"{self._clients_max} streams are open already: close one, or try again later"
            raise ControlError(msg)
        return self._events(last_event_id)

    async def _events(self, last_event_id: str) -> AsyncGenerator[bytes, None]:
        self._clients += 1
        self._wanted.set()
        try:
            self._refresh()
            follower = Follower(self.board, self._place_of(last_event_id))
            # The first event goes out at once, also when nothing is new: it says that the stream is there.
            turn = self._turn
            yield self._event(follower.take())
            while await self._is_changed(turn):
                turn = self._turn
                yield self._event(follower.take())
            # A client then knows that nothing was cut off.
            yield b"event: end\ndata: {}\n\n"
        finally:
            self._clients -= 1

    async def _is_changed(self, turn: int) -> bool:
        """Wait for a change after a turn, or for a heartbeat's time; False: the engine stops."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._heartbeat_s):
                while turn == self._turn and not self._stopping.is_set():
                    await self._changed.wait()
        return not self._stopping.is_set()

    def _event(self, update: Update | None) -> bytes:
        """Return an update, or a heartbeat, as a server-sent event."""
        self._counts["events"] += 1
        if update is None:
            return b"event: heartbeat\ndata: %b\n\n" % msgspec.json.encode({"clock": self.board.clock})
        # Clients that stand at one place get the same update, and the same bytes.
        if self._shared is not None and self._shared[0] is update:
            return self._shared[1]
        data: dict[str, object] = {"version": update.place.version, "clock": update.clock}
        data |= {"sections": update.sections, "entries": update.entries}
        data |= {name: own for name in ("whole", "conflated", "lost") if (own := getattr(update, name))}
        kind = b"state" if update.whole else b"update"
        event_id = ".".join(map(str, (self.board.board_id, update.place.version, *update.place.numbers)))
        text = msgspec.json.encode(data, enc_hook=plain)
        event = b"id: %b\nevent: %b\ndata: %b\n\n" % (event_id.encode(), kind, text)
        self._shared = (update, event)
        return event

    def _place_of(self, event_id: str) -> Place | None:
        """Return the place that an event's id names; None: it is of another process, or no id."""
        board_id, *numbers = event_id.split(".")
        if board_id != self.board.board_id or not numbers or not all(map(_is_number, numbers)):
            return None
        version, *rest = map(int, numbers)
        return Place(version, tuple(rest))

    def _refresh(self) -> None:
        """Read the state, unless it was read a moment ago."""
        now_s = time.monotonic()
        if now_s - self._read_s >= self._every_s:
            self._take(now_s)

    def _take(self, now_s: float) -> None:
        began_s = time.thread_time()
        document = self._read()
        self.board.update(document)
        self._read_s = now_s
        if now_s - self._sampled_s >= SAMPLE_S:
            self._sampled_s = now_s
            now_ns = time.time_ns()
            self.history.add(now_ns, samples_of(document))
            for call in self.on_sample:
                call(now_ns, document)
        self._counts["readings"] += 1
        self._cost_s = time.thread_time() - began_s
        if self.board.place != self._told:
            self._told = self.board.place
            self._turn += 1
            self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    @property
    def _every_s(self) -> float:
        """The time between two readings."""
        return max(STREAM_EVERY_S, self._cost_s / STREAM_SHARE_MAX)

    async def _pause(self) -> None:
        """Wait for the next reading; without clients, for the next sample or the first client."""
        self._wanted.clear()
        if self._clients:
            await asyncio.sleep(self._every_s)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(self._every_s, SAMPLE_S - (time.monotonic() - self._sampled_s))):
                await self._wanted.wait()


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20
