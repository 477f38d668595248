"""Gates and fill arithmetic: what the laws say, for any market."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.execution import GATES, Bar, Claimed, ExecutionSettings, Features, GateView
from headrace.execution.decision import decide, judge_daily_limit
from headrace.execution.gates import evaluate
from headrace.execution.pricing import Plan, PricingRefusal, plan_of
from headrace.execution.settings import SIDES

NOW = 1_768_316_400_000
PRICES = st.decimals("0.0001", "100000", places=4)
VOLS = st.decimals("0.000001", "0.7", places=6)
ACTIONS = st.sampled_from(sorted(SIDES))


def view(
    *,
    close: Decimal = Decimal(100),
    vol: Decimal | None = Decimal("0.01"),
    action: str = "BUY_CALL",
    confidence: float = 0.9,
    bar_age_ms: int = 0,
    feature_age_ms: int = 0,
    today: int = 0,
    **settings: Any,
) -> GateView:
    claimed = Claimed(1, "AAPL", action, confidence, {}, NOW, 1, 1, "key", None)
    bar = Bar(NOW - bar_age_ms, close, close, close, close, Decimal(1))
    features = Features(NOW - feature_age_ms, None, None, None, None, vol)
    return GateView(claimed, ExecutionSettings(**settings), NOW, bar, features, today)


def planned(own: GateView) -> Plan | None:
    try:
        return plan_of(own)
    except PricingRefusal:
        return None


@given(close=PRICES, vol=VOLS, action=ACTIONS)
def test_loss_at_the_stop_is_at_most_the_risk_and_the_position_at_most_its_part(
    close: Decimal, vol: Decimal, action: str
) -> None:
    plan = planned(view(close=close, vol=vol, action=action))
    if plan is None:
        return
    entry, stop, qty = map(Fraction, (plan.entry_price, plan.stop_loss_price, plan.qty))
    assert qty == int(qty) >= 1
    assert qty * abs(entry - stop) <= 2_000
    assert qty * entry <= 25_000
    # One more would break one of the two.
    assert (qty + 1) * abs(entry - stop) > 2_000 or (qty + 1) * entry > 25_000


@given(close=PRICES, vol=VOLS)
def test_a_short_is_the_mirror_image_of_a_long(close: Decimal, vol: Decimal) -> None:
    long, short = (planned(view(close=close, vol=vol, action=action)) for action in ("BUY_STOCK", "SELL_STOCK"))
    if long is not None:
        assert long.stop_loss_price < long.entry_price < long.take_profit_price
        assert Fraction(long.entry_price) == Fraction(close) * Fraction(10_005, 10_000)
    if short is not None:
        assert short.take_profit_price < short.entry_price < short.stop_loss_price
        assert Fraction(short.entry_price) == Fraction(close) * Fraction(9_995, 10_000)
        distance = Fraction(short.entry_price) * Fraction(vol) * 2
        assert Fraction(short.stop_loss_price) == Fraction(short.entry_price) + distance
        assert Fraction(short.take_profit_price) == Fraction(short.entry_price) - 2 * distance


@given(close=PRICES, vol=VOLS, action=ACTIONS)
def test_plan_does_not_depend_on_the_thread_s_decimal_context(close: Decimal, vol: Decimal, action: str) -> None:
    own = view(close=close, vol=vol, action=action)
    with localcontext() as context:
        context.prec = 3
        plan = planned(own)
    assert plan == planned(own)


@given(close=PRICES, vol=VOLS, action=ACTIONS, today=st.integers(0, 3))
def test_the_same_view_gives_the_same_decision(close: Decimal, vol: Decimal, action: str, today: int) -> None:
    own = view(close=close, vol=vol, action=action)
    first, second = (judge_daily_limit(GATES, decide(GATES, own), today) for _ in range(2))
    assert first == second
    assert first.gates_json == second.gates_json


@pytest.mark.parametrize(
    ("gate", "passes", "refuses"),
    [
        ("confidence", {"confidence": 0.7}, {"confidence": 0.6999}),
        ("action_allowed", {"action": "BUY_PUT"}, {"action": "SELL_STOCK"}),
        ("bar_freshness", {"bar_age_ms": 120_000}, {"bar_age_ms": 120_001}),
        ("feature_freshness", {"feature_age_ms": 300_000}, {"feature_age_ms": 300_001}),
        ("ticker_daily_limit", {"today": 1}, {"today": 2}),
    ],
)
def test_each_gate_at_its_threshold(gate: str, passes: dict[str, Any], refuses: dict[str, Any]) -> None:
    assert evaluate(GATES.items(), view(**passes))[gate].passed is True
    assert evaluate(GATES.items(), view(**refuses))[gate].passed is False


@pytest.mark.parametrize("limit", [Decimal(0), Decimal("NaN"), Decimal(-1), Decimal("Infinity")])
@pytest.mark.parametrize(
    ("gate", "key"),
    [
        ("confidence", "confidence_min"),
        ("bar_freshness", "max_bar_age_seconds"),
        ("feature_freshness", "max_feature_age_seconds"),
    ],
)
def test_a_limit_that_is_none_refuses(gate: str, key: str, limit: Decimal) -> None:
    limits: dict[str, Any] = {key: limit}
    assert evaluate(GATES.items(), view(**limits))[gate].passed is False


@pytest.mark.parametrize(
    "own",
    [
        view(vol=None),
        view(vol=Decimal(0)),
        view(vol=Decimal("0.5")),
        # The mirrored target would lie at 0, or below.
        view(vol=Decimal("0.25"), action="SELL_STOCK"),
        view(vol=Decimal("0.3"), action="BUY_PUT"),
        view(close=Decimal(90_000)),
    ],
)
def test_a_position_that_cannot_be_is_refused(own: GateView) -> None:
    assert planned(own) is None


def test_a_plan_survives_the_database() -> None:
    plan = plan_of(view())
    assert Plan.from_document(plan.document()) == plan
