"""News: RSS and Atom feeds into events, and a classifier of their sentiment.

::

    our own client (deadline, bound) ─▶ bytes ─▶ feedparser ─▶ raw events ─▶ Classifier ─▶ classified events

Guarantees: an entry without an id or a date is recognised by its content; a feed that is broken or away is a skip.
Does not: let feedparser open an address.
"""

from __future__ import annotations

import calendar
import hashlib
import re
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias

from headrace.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Classifier", "Label", "Lexicon", "NewsEvent", "Sentiment", "entries_of", "tickers_in"]

POSITIVE = frozenset(
    [
        "beat",
        "beats",
        "gain",
        "gains",
        "growth",
        "jump",
        "jumps",
        "profit",
        "raise",
        "raises",
        "rally",
        "record",
        "rise",
        "rises",
        "soar",
        "soars",
        "strong",
        "surge",
        "surges",
        "upgrade",
        "upgraded",
        "win",
        "wins",
    ]
)
NEGATIVE = frozenset(
    [
        "bankruptcy",
        "cut",
        "cuts",
        "decline",
        "declines",
        "downgrade",
        "downgraded",
        "drop",
        "drops",
        "fall",
        "falls",
        "fraud",
        "investigation",
        "lawsuit",
        "loss",
        "losses",
        "miss",
        "misses",
        "plunge",
        "plunges",
        "recall",
        "slump",
        "weak",
    ]
)
TEXT_MAX = 4_000
Label: TypeAlias = Literal["positive", "neutral", "negative"]


class NewsEvent(NamedTuple):
    """One entry of a feed. published_ms : None where it has no date."""

    event_id: str
    source: str
    title: str
    summary: str
    link: str
    published_ms: int | None


class Sentiment(NamedTuple):
    """What a classifier says. score : how sure it is, 0 to 1."""

    label: Label
    score: float


class Classifier(Protocol):
    """Says what a text means for the price."""

    @property
    def name(self) -> str:
        """Stands beside each classified event."""

    def classify(self, text: str) -> Sentiment:
        """Return the sentiment of a text."""


class Lexicon:
    """Counts good and bad words; the default, without a model."""

    name = "lexicon"

    def classify(self, text: str) -> Sentiment:
        """Return the side with more words; neutral where they are equal."""
        words = re.findall(r"[a-z]+", text.lower())
        good, bad = (sum(word in known for word in words) for known in (POSITIVE, NEGATIVE))
        if good == bad:
            return Sentiment("neutral", 0.5)
        return Sentiment("positive" if good > bad else "negative", round(0.5 + abs(good - bad) / (2 * (good + bad)), 4))


def entries_of(source: str, content: bytes) -> list[NewsEvent]:
    """Return the entries of a feed. Raises MissingExtraError without feedparser."""
    try:
        import feedparser
    except ImportError:
        msg = 'news need feedparser: pip install "headrace[news]"'
        raise MissingExtraError(msg) from None
    return [_event(source, entry) for entry in feedparser.parse(content).entries]


def _event(source: str, entry: Any) -> NewsEvent:
    title, summary, link = (
        str(entry.get(name, ""))[:TEXT_MAX].replace("\0", "") for name in ("title", "summary", "link")
    )
    known = str(entry.get("id") or "") or f"{title}\n{summary}\n{link}"
    date = entry.get("published_parsed") or entry.get("updated_parsed")
    digest = hashlib.sha256(f"{source}\n{known}".encode("utf-8", "backslashreplace")).hexdigest()
    return NewsEvent(digest, source, title, summary, link, None if date is None else calendar.timegm(date) * 1000)


def tickers_in(text: str, tickers: Sequence[str]) -> list[str]:
    """Return the tickers that stand in a text as words of their own."""
    words = set(re.findall(r"[A-Z][A-Z0-9.]*", text))
    return [ticker for ticker in tickers if ticker in words]
