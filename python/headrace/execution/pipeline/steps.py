"""Pipeline: the steps from market data and news to recommendations, each with its interval and its record.

::

    bars ─▶ features ─▶ news ─▶ watchlist ─▶ signals        in this order; each in ``pipeline_runs``

What happens when a step fails
    Its record holds the error, the other steps go on, and it is tried again at its next time.

Guarantees: a step may be repeated, or run by two hosts at once: rows are keyed by what they are made of.
Does not: wait; ``headrace pipeline --every`` and ``service`` do.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from headrace.errors import HeadraceError
from headrace.execution.loadable import BARS, FEATURES, WATCHLIST
from headrace.execution.pipeline.bar_sources import bar_source_of
from headrace.execution.pipeline.features import BARS_NEEDED, features_of
from headrace.execution.pipeline.fetching import fetched
from headrace.execution.pipeline.news import Lexicon, entries_of, tickers_in
from headrace.execution.recommendation import Bar, NewRecommendation
from headrace.execution.values import canonical, json_text
from headrace.limits import STORE_BATCH_MAX
from headrace.market.checks import one_of, refuse
from headrace.market.money import SHOWN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from headrace.execution.database.base import Value
    from headrace.execution.pipeline.bar_sources import BarSource
    from headrace.execution.pipeline.news import Classifier
    from headrace.execution.pipeline.settings import PipelineSettings, SignalRule
    from headrace.execution.store import Store

__all__ = ["STEPS", "Pipeline", "StepResult", "checked_steps"]

log = logging.getLogger(__name__)

NEWS_AGE_MS = 3_600_000
_NEWEST = """
SELECT MS(ts), open, high, low, close, volume FROM (SELECT * FROM lane_telemetry
    WHERE ticker = :ticker AND ts <= NOW() ORDER BY ts DESC LIMIT :most) b ORDER BY ts
"""
_RAW = """
INSERT INTO inbound_events_raw (event_id, source, title, summary, link, published_at)
VALUES (:event_id, :source, :title, :summary, :link, AT(:published_ms)) ON CONFLICT (event_id) DO NOTHING
"""
_UNCLASSIFIED = """
SELECT r.event_id, r.title, r.summary FROM inbound_events_raw r
WHERE NOT EXISTS (SELECT 1 FROM inbound_events_classified c WHERE c.event_id = r.event_id)
ORDER BY r.received_at LIMIT :most
"""
_CLASSIFIED = """
INSERT INTO inbound_events_classified (event_id, tickers_json, sentiment, score, classifier)
VALUES (:event_id, JSON(:tickers), :sentiment, :score, :classifier) ON CONFLICT (event_id) DO NOTHING
"""
_SCORED = """
SELECT f.ticker, f.volume_ratio, f.recent_vol, f.trend, MS(f.ts) FROM lane_features f
WHERE f.ts = (SELECT MAX(x.ts) FROM lane_features x WHERE x.ticker = f.ticker)
"""
_LISTED = """
SELECT w.ticker, f.volume_ratio, f.trend, MS(f.ts) FROM watchlist_state w JOIN lane_features f ON f.ticker = w.ticker
WHERE f.ts = (SELECT MAX(x.ts) FROM lane_features x WHERE x.ticker = w.ticker) ORDER BY w.rank
"""
_NEWS = """
SELECT CAST(c.tickers_json AS TEXT), c.sentiment FROM inbound_events_classified c
JOIN inbound_events_raw r ON r.event_id = c.event_id WHERE r.received_at >= AT(:since) ORDER BY r.received_at
"""
_RECORD = """
INSERT INTO pipeline_runs (step, started_at, rows_count, skipped_json, error)
VALUES (:step, AT(:started), :rows, JSON(:skipped), :error)
"""


STEPS = ("bars", "features", "news", "watchlist", "signals")


def checked_steps(steps: Sequence[str]) -> tuple[str, ...]:
    """Return names of steps in the order of the pipeline. Raises OptionError for one that is unknown, or for none."""
    for step in steps:
        one_of("steps", step, STEPS)
    if not steps or isinstance(steps, str):
        refuse("steps", steps, f"some of {', '.join(STEPS)}, in a list")
    return tuple(step for step in STEPS if step in steps)


class StepResult(NamedTuple):
    """What a step did. skipped : reasons, with how often. error : why it failed; None: it did not."""

    step: str
    rows: int
    skipped: dict[str, int]
    error: str | None


class Pipeline:
    """The steps over one store.

    bar_source : of bars; classifier : of news; by default those that the settings name. steps : the names of those to
    do; they keep their order. Raises OptionError, MissingExtraError.
    """

    def __init__(
        self,
        store: Store,
        settings: PipelineSettings,
        *,
        bar_source: BarSource | None = None,
        classifier: Classifier | None = None,
        steps: Sequence[str] = STEPS,
    ) -> None:
        self._store = store
        self._settings = settings
        # Not by "or": an engine's bars are empty at first.
        self._bar_source = bar_source_of(settings) if bar_source is None else bar_source
        self._classifier = _classifier_of(settings) if classifier is None else classifier
        self._due: dict[str, float] = {}
        every: dict[str, Callable[[Counter[str]], int]] = {
            "bars": self._bars,
            "features": self._features,
            "news": self._news,
            "watchlist": self._watchlist,
            "signals": self._signals,
        }
        self._steps = {step: every[step] for step in checked_steps(steps)}

    def run_now(self, step: str) -> StepResult:
        """Do one of its steps, whatever its interval, and record it."""
        return self._done(step, self._steps[step])

    def run(self) -> list[StepResult]:
        """Do the steps whose interval is over, and record each."""
        found = []
        for step, work in self._steps.items():
            if time.monotonic() < self._due.get(step, 0.0):
                continue
            settings = self._settings
            interval_s = settings.watchlist_interval_s if step == "watchlist" else settings.interval_s
            # A step that is called at its interval is due again then, not a moment after it.
            self._due[step] = time.monotonic() + interval_s * 0.95
            found.append(self._done(step, work))
        return found

    def _done(self, step: str, work: Callable[[Counter[str]], int]) -> StepResult:
        started, skipped, rows, error = time.time_ns() // 1_000_000, Counter[str](), 0, None
        try:
            rows = work(skipped)
        except (HeadraceError, OSError) as problem:
            error = f"{type(problem).__name__}: {problem}"
            log.error("step %s failed, and is tried again: %s", step, problem)  # noqa: TRY400 - its text says all
        values: dict[str, Value] = {
            "step": step,
            "started": started,
            "rows": rows,
            "skipped": json_text(dict(skipped)),
            "error": error,
        }
        self._store.write(lambda own: own.changed(_RECORD, values))
        for reason, count in skipped.items():
            log.info("step %s: %s (%d)", step, reason, count)
        return StepResult(step, rows, dict(skipped), error)

    def _bars(self, skipped: Counter[str]) -> int:
        source = self._bar_source
        if source is None or not self._settings.tickers:
            skipped["no source of bars, or no tickers, are configured"] += 1
            return 0
        rows = [*source.bars(self._settings.tickers)]
        self._store.write_rows(BARS, rows)
        seen = {row["ticker"] for row in rows}
        skipped.update(f"no bars of {ticker}" for ticker in self._settings.tickers if ticker not in seen)
        return len(rows)

    def _features(self, skipped: Counter[str]) -> int:
        rows = []
        for ticker in self._settings.tickers:
            found = features_of(self._newest(ticker))
            if found is None:
                skipped[f"no bars of {ticker}"] += 1
                continue
            own = found._asdict()
            if missing := [name for name, value in own.items() if value is None]:
                skipped[f"too few bars of {ticker} for {', '.join(missing)}"] += 1
            values = {name: own[name] for name in ("sma_20", "sma_50", "volume_ratio", "trend", "recent_vol")}
            texts = {name: _text(value) for name, value in values.items()}
            rows.append({"ticker": ticker, "ts": found.end_ms, **texts})
        self._store.write_rows(FEATURES, rows)
        return len(rows)

    def _newest(self, ticker: str) -> list[Bar]:
        rows = self._store.read(lambda own: own.rows(_NEWEST, {"ticker": ticker, "most": BARS_NEEDED}))
        return [Bar(row[0], *(Decimal(str(value)) for value in row[1:])) for row in rows]

    def _news(self, skipped: Counter[str]) -> int:
        for address in self._settings.news:
            try:
                entries = entries_of(address, fetched(address))
            except HeadraceError as error:
                skipped[f"{address}: {error}"] += 1
                continue
            self._write_all(_RAW, [own._asdict() for own in entries])
        return self._classify()

    def _classify(self) -> int:
        total = 0
        while rows := self._store.read(lambda own: own.rows(_UNCLASSIFIED, {"most": STORE_BATCH_MAX})):
            values = []
            for number, title, summary in rows:
                text = f"{title}. {summary}"
                found = self._classifier.classify(text)
                tickers = json_text({"tickers": tickers_in(text, self._settings.tickers)})
                values.append(
                    {
                        "event_id": number,
                        "tickers": tickers,
                        "sentiment": found.label,
                        "score": found.score,
                        "classifier": self._classifier.name,
                    }
                )
            self._write_all(_CLASSIFIED, values)
            total += len(values)
        return total

    def _write_all(self, text: str, rows: Sequence[Mapping[str, Value]]) -> None:
        """Run a statement for each row, in transactions of at most 500."""
        for start in range(0, len(rows), STORE_BATCH_MAX):
            batch = rows[start : start + STORE_BATCH_MAX]
            self._store.write(lambda own, batch=batch: own.many(text, batch))  # type: ignore[misc]

    def _watchlist(self, skipped: Counter[str]) -> int:
        """Score each ticker: its volume ratio, times its volatility in per cent; twice where it has a trend."""
        scores = []
        for ticker, ratio, vol, trend, _ in self._store.read(lambda own: own.rows(_SCORED)):
            if ticker not in self._settings.tickers:
                continue
            if ratio is None or vol is None or trend is None:
                skipped[f"too few features of {ticker}"] += 1
                continue
            score = SHOWN.multiply(SHOWN.multiply(Decimal(str(ratio)), Decimal(str(vol))), 100 * (1 + abs(trend)))
            scores.append((score, ticker, {"volume_ratio": ratio, "recent_vol": vol, "trend": trend}))
        best = sorted(scores, key=lambda own: (-own[0], own[1]))[: self._settings.watchlist_size]
        now = time.time_ns() // 1_000_000
        rows: list[Mapping[str, Value]] = [
            {
                "ticker": ticker,
                "rank": rank,
                "score": canonical(score),
                "reasons_json": json_text({name: str(value) for name, value in reasons.items()}),
                "updated_at": now,
            }
            for rank, (score, ticker, reasons) in enumerate(best, 1)
        ]

        def replace(connection: Any) -> None:
            connection.changed("DELETE FROM watchlist_state")
            WATCHLIST.write_inside(connection, rows)

        self._store.write(replace)
        return len(rows)

    def _signals(self, skipped: Counter[str]) -> int:
        since = time.time_ns() // 1_000_000 - NEWS_AGE_MS
        sentiment: dict[str, str] = {}
        for text, label in self._store.read(lambda own: own.rows(_NEWS, {"since": since})):
            sentiment.update(dict.fromkeys(msgspec.json.decode(text)["tickers"], label))
        found = []
        for ticker, ratio, trend, ts in self._store.read(lambda own: own.rows(_LISTED)):
            facts = {"trend": trend, "volume_ratio": ratio, "sentiment": sentiment.get(ticker)}
            matched = [rule for rule in self._settings.rules if _holds(rule, facts)]
            if not matched:
                skipped["no rule matches"] += 1
            found += [_recommendation(rule, ticker, ts, facts) for rule in matched]
        self._store.recommend_all(found)
        return len(found)


def _classifier_of(settings: PipelineSettings) -> Classifier:
    if settings.finbert_model is None:
        return Lexicon()
    from headrace.execution.pipeline.finbert import FinBert

    return FinBert(Path(settings.finbert_model))


def _holds(rule: SignalRule, facts: Mapping[str, Any]) -> bool:
    """Return whether all conditions of a rule hold; a fact that is missing meets none."""
    ratio = facts["volume_ratio"]
    if rule.trend is not None and facts["trend"] != rule.trend:
        return False
    if rule.volume_ratio_min is not None and not (ratio is not None and float(ratio) >= rule.volume_ratio_min):
        return False
    return rule.sentiment is None or facts["sentiment"] == rule.sentiment


def _recommendation(rule: SignalRule, ticker: str, ts: int, facts: Mapping[str, Any]) -> NewRecommendation:
    """Return what a rule recommends; the same rule, ticker and features are one recommendation."""
    shown = {name: value if value is None or name == "trend" else str(value) for name, value in facts.items()}
    # News that comes between two runs must not make another recommendation of the same features.
    shown.pop("sentiment")
    return NewRecommendation.checked(
        ticker=ticker,
        action=rule.action,
        confidence=rule.confidence,
        reason={"rule": rule.name, "features_ms": ts, "sentiment": rule.sentiment, **shown},
        idempotency_key=f"{rule.name}:{ticker}:{ts}",
    )


def _text(value: Any) -> Value:
    return canonical(value) if isinstance(value, Decimal) else value
