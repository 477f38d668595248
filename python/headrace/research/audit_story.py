"""What audits say: the events of a strategy, the whole story of one order, and where two audits differ.

::

    tick (cause) ─▶ signal ─▶ OrderRequested ─▶ OrderAccepted ─▶ fills (and the quote of each) ─▶ PositionChanged

Guarantees: an audit is read once, line by line; events keep their order and their line.
Does not: change files, or need the recordings: a tick is named, not shown.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from headrace.bus.audit import audit_header, read_audit
from headrace.errors import OptionError
from headrace.market.checks import nearest
from headrace.market.event_json import encode_event
from headrace.market.events import Event, OrderEvent, OrderFill, OrderRequested, PositionChanged, Signal

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from headrace.market.events import Cause

__all__ = ["Difference", "Line", "cause_text", "difference_of", "events_of", "order_story"]

# The header is the first line of a file.
FIRST_LINE = 2


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
    for number, event in enumerate(read_audit(path, allow_torn=True), FIRST_LINE):
        if since_ns is not None and event.ts < since_ns:
            continue
        if strategy is None or strategy in (event.source, getattr(event, "strategy", None)):
            yield Line(number, event)


def order_story(path: str | os.PathLike[str], order_id: str) -> list[Line]:
    """Return everything that concerns an order: the signal behind it, its own events, positions after its fills.

    Raises AuditError, and OptionError with the nearest id for one that the audit does not have.
    """
    story: list[Line] = []
    signals: dict[tuple[str, str], Line] = {}
    known: list[str] = []
    filled: OrderFill | None = None
    for line in events_of(path):
        event = line.event
        if isinstance(event, Signal):
            signals[event.source, event.instrument] = line
        elif isinstance(event, OrderEvent):
            if isinstance(event, OrderRequested):
                known.append(event.order_id)
            if event.order_id != order_id:
                continue
            if isinstance(event, OrderRequested):
                signal = signals.get((event.strategy, event.instrument))
                story += [signal] if signal is not None and signal.event.cause == event.cause else []
            story.append(line)
            filled = event if isinstance(event, OrderFill) else filled
        elif isinstance(event, PositionChanged) and filled is not None and _is_of(event, filled):
            story.append(line)
            filled = None
    if not story:
        msg = f"order {order_id!r} is not in {path}{nearest(order_id, known)}; it has {len(known):,} orders"
        raise OptionError(msg, option="follow_order")
    return story


def _is_of(position: PositionChanged, fill: OrderFill) -> bool:
    return (position.strategy, position.instrument) == (fill.strategy, fill.instrument)


def difference_of(first: str | os.PathLike[str], second: str | os.PathLike[str]) -> Difference | None:
    """Return the first event in which two audits differ; None: they are the same. Headers are not compared.

    Raises AuditError.
    """
    audit_header(first)
    audit_header(second)
    pairs = itertools.zip_longest(events_of(first), events_of(second))
    for number, (one, other) in enumerate(pairs, FIRST_LINE):
        mine, theirs = (None if own is None else own.event for own in (one, other))
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
