"""PipelineSettings: what the pipeline reads and by which rules it recommends; the section ``[pipeline]``.

Guarantees: immutable; the defaults recommend nothing without tickers.
Does not: read files.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from headrace.execution.settings import Action

__all__ = ["PipelineSettings", "SignalRule"]

DataPath: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[^\x00]+$", extra={"is": "path", "takes": "a path"})]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(gt=0, le=1e9)]


class SignalRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rule that recommends an action for a ticker of the watchlist when all of its conditions hold.

    name : stands in the recommendation's reason.
    action : BUY_CALL, BUY_PUT, BUY_STOCK or SELL_STOCK.
    confidence : of the recommendation, 0 to 1.
    trend : -1, 0 or 1, of the newest features.
    volume_ratio_min : the lowest ratio of the newest volume to its average.
    sentiment : of the newest news of the ticker within an hour.
    """

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    action: Action
    confidence: Annotated[float, msgspec.Meta(ge=0, le=1)]
    trend: Annotated[int, msgspec.Meta(ge=-1, le=1)] | None = None
    volume_ratio_min: Annotated[float, msgspec.Meta(gt=0, le=1e12)] | None = None
    sentiment: Literal["positive", "neutral", "negative"] | None = None


_RULES = (
    SignalRule(name="uptrend", action="BUY_CALL", confidence=0.75, trend=1, volume_ratio_min=1.2),
    SignalRule(name="downtrend", action="BUY_PUT", confidence=0.75, trend=-1, volume_ratio_min=1.2),
)


class PipelineSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The pipeline that recommends (headrace pipeline).

    tickers : what is watched.
    bars : a CSV file with the columns of lane_telemetry.
    alpaca_url, alpaca_key, alpaca_secret : of Alpaca's market data, for bars in place of a file.
    news : RSS or Atom feeds, as addresses or files.
    finbert_model : a folder with a FinBERT classifier (model.onnx, vocab.txt, config.json) for news; else a lexicon.
    interval_s : between two runs of each step, s.
    watchlist_interval_s : between two scorings of the watchlist, s.
    watchlist_size : the most tickers on the watchlist.
    rules : the rules of recommendations.
    """

    tickers: tuple[str, ...] = ()
    bars: DataPath | None = None
    alpaca_url: str = "https://data.alpaca.markets"
    alpaca_key: str | None = None
    alpaca_secret: str | None = None
    news: tuple[str, ...] = ()
    finbert_model: DataPath | None = None
    interval_s: Seconds = 60.0
    watchlist_interval_s: Seconds = 300.0
    watchlist_size: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 30
    rules: tuple[SignalRule, ...] = _RULES
