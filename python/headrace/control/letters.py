"""Dead letters as an operator sees them: a row of a list, or all that one holds.

Guarantees: what may be large is left out or shortened.
Does not: list them; the store does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.market.dead_letters import DeadLetter

__all__ = ["letter_document", "letter_summary"]

TEXT_CHARACTERS_MAX = 20_000
REASON_CHARACTERS_MAX = 200
SHOWN = ("id", "kind", "source", "ts_ns", "lane", "handler", "instrument", "tick_kind", "attempts")


def letter_summary(letter: DeadLetter) -> dict[str, Any]:
    """Return a letter without what may be large."""
    event = None if letter.event is None else type(letter.event).__name__
    shown = {name: getattr(letter, name) for name in SHOWN}
    return {**shown, "reason": letter.reason[:REASON_CHARACTERS_MAX], "event": event}


def letter_document(letter: DeadLetter) -> dict[str, Any]:
    """Return all of a letter but its ticks."""
    return {
        **{name: value for name, value in letter._asdict().items() if name not in ("ticks", "event_bytes")},
        "reason": letter.reason[:TEXT_CHARACTERS_MAX],
        "frame": letter.frame[:TEXT_CHARACTERS_MAX].decode("utf-8", "backslashreplace"),
        "traceback": letter.traceback[-TEXT_CHARACTERS_MAX:],
    }
