"""What audits say: the events of a strategy, the whole story of one order, and where two audits differ.

::

    tick (cause) ─▶ signal ─▶ OrderRequested ─▶ OrderAccepted ─▶ fills (and the quote of each) ─▶ PositionChanged

Guarantees: an audit is read once, line by line; events keep their order and their line. Of a line only what a search
looks at is read (``Head``); what it finds is read whole. Any line that is damaged in its head or as JSON is an error.
Does not: change files, or need the recordings: a tick is named, not shown.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from headrace.bus.audit import audit_header, event_lines, event_of_line, read_audit
from headrace.errors import OptionError
from headrace.market.checks import nearest
from headrace.market.event_json import encode_event
from headrace.market.events import EVENT_LANES, Event, OrderEvent, OrderFill, OrderRequested, PositionChanged, Signal

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from headrace.market.events import Cause

__all__ = ["Difference", "Line", "cause_text", "difference_of", "events_of", "order_story"]

# The header is the first line of a file.
FIRST_LINE = 2


_TYPES = {kind.__name__: kind for kind in EVENT_LANES}


class Head(msgspec.Struct, frozen=True, gc=False):
    """What a search looks at in a line. Fields that an event does not have are empty."""

    type: str
    source: str = ""
    ts: int = 0
    strategy: str | None = None
    instrument: str | None = None
    order_id: str = ""


class Line(NamedTuple):
    """An event with its line in the audit."""

    number: int
    event: Event


class Difference(NamedTuple):
    """The first place where two audits differ.

    line : in both files. first, second : the event of each; None: that audit has ended. fields : those that differ.
    """

    line: int
    first: Event | None
    second: Event | None
    fields: tuple[str, ...]


def events_of(
    path: str | os.PathLike[str], *, strategy: str | None = None, since_ns: int | None = None
) -> Iterator[Line]:
    """Yield the events of an audit. strategy : only what concerns it. since_ns : only events of that time or later.

    An incomplete last line, which a killed process leaves, is skipped and logged. Raises AuditError.
    """
    for number, line, head in _heads(path):
        if since_ns is not None and head.ts < since_ns:
            continue
        if strategy is None or strategy in (head.source, head.strategy):
            yield Line(number, event_of_line(path, number, line))


def order_story(path: str | os.PathLike[str], order_id: str) -> list[Line]:
    """Return everything that concerns an order: the signal behind it, its own events, positions after its fills.

    Raises AuditError, and OptionError with the nearest id for one that the audit does not have.
    """
    story: list[Line] = []
    # The last signal of each strategy and instrument: its line as it is.
    signals: dict[tuple[str | None, str | None], tuple[int, bytes]] = {}
    known: list[str] = []
    filled: OrderFill | None = None
    for number, line, head in _heads(path):
        kind = _TYPES[head.type]
        if kind is Signal:
            signals[head.source, head.instrument] = number, line
        elif issubclass(kind, OrderEvent):
            if kind is OrderRequested:
                known.append(head.order_id)
            if head.order_id != order_id:
                continue
            event = event_of_line(path, number, line)
            if kind is OrderRequested and (last := signals.get((head.strategy, head.instrument))) is not None:
                signal = Line(last[0], event_of_line(path, *last))
                story += [signal] if signal.event.cause == event.cause else []
            story.append(Line(number, event))
            filled = event if isinstance(event, OrderFill) else filled
        elif kind is PositionChanged and filled is not None and _is_of(head, filled):
            story.append(Line(number, event_of_line(path, number, line)))
            filled = None
    if not story:
        msg = f"order {order_id!r} is not in {path}{nearest(order_id, known)}; it has {len(known):,} orders"
        raise OptionError(msg, option="follow_order")
    return story


def _heads(path: str | os.PathLike[str]) -> Iterator[tuple[int, bytes, Head]]:
    """Yield the lines of an audit, each with its number and its head; as ``events_of``."""
    read = msgspec.json.Decoder(Head).decode
    for number, line in event_lines(path, allow_torn=True):
        try:
            head = read(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            head = None
        if head is None or head.type not in _TYPES:
            event_of_line(path, number, line)
            raise AssertionError  # What has no head is no event.
        yield number, line, head


def _is_of(position: Head, fill: OrderFill) -> bool:
    return (position.strategy, position.instrument) == (fill.strategy, fill.instrument)


def difference_of(first: str | os.PathLike[str], second: str | os.PathLike[str]) -> Difference | None:
    """Return the first event in which two audits differ; None: they are the same. Headers are not compared.

    Raises AuditError.
    """
    audit_header(first)
    audit_header(second)
    pairs = itertools.zip_longest(read_audit(first, allow_torn=True), read_audit(second, allow_torn=True))
    for number, (mine, theirs) in enumerate(pairs, FIRST_LINE):
        if mine is None or theirs is None:
            return Difference(number, mine, theirs, ())
        if mine != theirs and encode_event(mine) != encode_event(theirs):
            return Difference(number, mine, theirs, _differing(mine, theirs))
    return None


def _differing(one: Event, other: Event) -> tuple[str, ...]:
    if type(one) is not type(other):
        return ("type",)
    names = one.__struct_fields__
    return tuple(name for name in names if _text(getattr(one, name)) != _text(getattr(other, name)))


def _text(value: object) -> bytes:
    return msgspec.json.encode(value)


def cause_text(cause: Cause | None) -> str:
    """Return the ticks of a cause as text; a dash where there is none."""
    if cause is None:
        return "-"
    numbers = f"{cause.first}" if cause.first == cause.last else f"{cause.first} to {cause.last}"
    return f"{cause.instrument or 'every instrument'} {cause.kind} {numbers}"
