"""The gates: small pure functions, each of which says what it observed, what it allows, and whether that passes.

Guarantees: all gates are evaluated and recorded, also when an earlier one refused; a limit that is missing, NaN or 0
refuses, and so does what was not observed.
Does not: read a database or a clock; the view holds both.
"""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from headrace.execution.values import json_text
from headrace.market.money import MONEY, decimal_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from headrace.execution.recommendation import Bar, Claimed, Features
    from headrace.execution.settings import ExecutionSettings

__all__ = ["DAILY_LIMIT", "GATES", "Gate", "GateError", "GateResult", "GateView", "evaluate"]

Observation: TypeAlias = "float | int | str | list[str] | None"
# The one gate that is evaluated under the ticker's lock, with the status it decides.
DAILY_LIMIT = "ticker_daily_limit"


class GateView(msgspec.Struct, frozen=True):
    """What a gate may look at. bar, features : the newest at now_ms; None: there is none.

    executed_today : executions of this ticker in the UTC day of now_ms, real orders on their way included.
    """

    recommendation: Claimed
    settings: ExecutionSettings
    now_ms: int
    bar: Bar | None
    features: Features | None
    executed_today: int = 0


class GateResult(msgspec.Struct, frozen=True):
    """What a gate observed, what it allows, and whether that passes."""

    observed: Observation
    threshold: Observation
    passed: bool


Gate: TypeAlias = "Callable[[GateView], GateResult]"


class GateError(Exception):
    """A user's gate that raised or returned no GateResult; the message names it."""


def confidence(view: GateView) -> GateResult:
    """Pass a confidence that is high enough."""
    observed, least = view.recommendation.confidence, view.settings.confidence_min
    passed = _is_limit(least) and observed == observed and decimal_of(observed) >= least
    return GateResult(observed, _number(least), passed)


def action_allowed(view: GateView) -> GateResult:
    """Pass an action of the list."""
    allowed: list[str] = list(view.settings.allowed_actions)
    return GateResult(view.recommendation.action, allowed, view.recommendation.action in allowed)


def bar_freshness(view: GateView) -> GateResult:
    """Pass when the newest closed bar is young enough, from its end."""
    return _age(view.bar, view.now_ms, view.settings.max_bar_age_seconds)


def feature_freshness(view: GateView) -> GateResult:
    """Pass when the newest features are young enough."""
    return _age(view.features, view.now_ms, view.settings.max_feature_age_seconds)


def ticker_daily_limit(view: GateView) -> GateResult:
    """Pass while fewer executions of the ticker were made today than are allowed."""
    most = view.settings.max_trades_per_ticker_per_day
    return GateResult(view.executed_today, most, most > 0 and view.executed_today < most)


GATES: Mapping[str, Gate] = {
    "confidence": confidence,
    "action_allowed": action_allowed,
    "bar_freshness": bar_freshness,
    "feature_freshness": feature_freshness,
    DAILY_LIMIT: ticker_daily_limit,
}


def evaluate(gates: Iterable[tuple[str, Gate]], view: GateView) -> dict[str, GateResult]:
    """Return what gates say, by name. Raises GateError for a user's gate that raised or returned something else."""
    results = {}
    for name, gate in gates:
        try:
            result = gate(view)
        except Exception as error:
            msg = f"gate {name} raised {type(error).__name__}: {error}"
            raise GateError(msg) from error
        # A user's gate may return anything.
        if type(result) is not GateResult or type(result.passed) is not bool:
            msg = f"gate {name} returned {result!r:.100}: return a GateResult(observed, threshold, passed)"
            raise GateError(msg)
        results[name] = result if gate is GATES.get(name) else _plain(name, result)
    return results


def _plain(name: str, result: GateResult) -> GateResult:
    """Return what a user's gate said as JSON holds it. Raises GateError for what JSON cannot hold, such as NaN."""
    try:
        observed, threshold = msgspec.json.decode(json_text({"of": [result.observed, result.threshold]}))["of"]
    except (TypeError, ValueError) as error:
        msg = f"gate {name} returned {result!r:.100}, which cannot be written as JSON: {error}"
        raise GateError(msg) from error
    return GateResult(observed, threshold, result.passed)


def _age(newest: Bar | Features | None, now_ms: int, most: Decimal) -> GateResult:
    if newest is None:
        return GateResult(None, _number(most), passed=False)
    age_ms = max(0, now_ms - newest.end_ms)
    return GateResult(age_ms / 1000, _number(most), age_ms <= _age_max_ms(most))


def _is_limit(value: Decimal) -> bool:
    return value.is_finite() and value > 0


# Limits come out of the settings: the same few Decimals for all recommendations of a run.
@lru_cache(maxsize=64)
def _age_max_ms(most: Decimal) -> int:
    """Return the whole ms of a limit in seconds; -1, which no age passes, for one that is no limit."""
    return int(MONEY.multiply(most, 1000).to_integral_value(ROUND_FLOOR)) if _is_limit(most) else -1


@lru_cache(maxsize=64)
def _number(value: Decimal) -> float | int | None:
    """Return a threshold as JSON holds it; None for one that is no number."""
    if not value.is_finite():
        return None
    return int(value) if value == value.to_integral_value() else float(value)
