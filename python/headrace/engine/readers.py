"""Readers: objects that take ticks and are no strategies, such as a gateway's routes; a repetition stands in for them.

::

    live    join ─▶ subscription, mark "reader"         leave ─▶ mark "reader_left"
    again   mark ─▶ the same subscription, of an object whose handlers do nothing

Guarantees: a live run with readers is repeated without what they belong to: its calls are the same ones.
Does not: repeat what a reader did with its ticks; it may decide nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.dispatch import Dispatcher, Subscription
    from headrace.dispatch.signature import HasHandlers

__all__ = ["Reader", "Readers"]


class Reader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A reader as a dispatch log holds it. callbacks : names of its handlers. kinds : None: those of its handlers."""

    name: str
    callbacks: tuple[str, ...]
    instruments: str
    kinds: str | None = None


class Readers:
    """The readers of one engine. mark : writes into its dispatch log."""

    def __init__(self, dispatcher: Dispatcher, mark: Callable[[str, object], None]) -> None:
        self._dispatcher = dispatcher
        self._mark = mark
        self._joined: dict[str, Subscription] = {}

    def join(self, handler: HasHandlers, *, name: str, instruments: str, kinds: str | None = None) -> None:
        """Subscribe an object; its ``on_`` methods are plain handlers. Called between two dispatches.

        Raises what ``Dispatcher.subscribe`` raises.
        """
        callbacks = tuple(own for own in dir(type(handler)) if own.startswith("on_"))
        self._subscribe(handler, Reader(name, callbacks, instruments, kinds))
        self._mark("reader", Reader(name, callbacks, instruments, kinds))

    def leave(self, name: str) -> None:
        """End a reader. Called between two dispatches."""
        self._joined.pop(name).close()
        self._mark("reader_left", name)

    def stand_in(self, reader: Reader) -> None:
        """Subscribe an object whose handlers do nothing, as the live run subscribed one."""
        handlers = dict.fromkeys(reader.callbacks, _do_nothing)
        self._subscribe(type("StandIn", (), {"subscription": {}, **handlers})(), reader)

    def _subscribe(self, handler: HasHandlers, reader: Reader) -> None:
        self._joined[reader.name] = self._dispatcher.subscribe(
            handler, name=reader.name, instruments=reader.instruments, kinds=reader.kinds
        )


def _do_nothing(_reader: object) -> None:
    pass
