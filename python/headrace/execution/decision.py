"""Decision: what becomes of one claimed recommendation, from what its gates say and whether it can be priced.

Guarantees: pure: the same view gives the same decision on every database; every gate's answer is part of it.
Does not: write anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from headrace.execution.gates import DAILY_LIMIT, GateResult, evaluate
from headrace.execution.pricing import PricingRefusal, plan_of
from headrace.execution.values import json_of_plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.execution.gates import Gate, GateView
    from headrace.execution.pricing import Plan

__all__ = ["Decision", "decide", "judge_daily_limit"]


class Decision(msgspec.Struct, frozen=True):
    """What becomes of a recommendation. plan : None: it is skipped, for the reason ``why``. refused_by : gates."""

    view: GateView
    results: dict[str, GateResult]
    plan: Plan | None
    why: str | None
    refused_by: tuple[str, ...] = ()

    @property
    def gates_json(self) -> str:
        """What every gate said, as the database holds it."""
        return json_of_plain(self.results)


def decide(gates: Mapping[str, Gate], view: GateView) -> Decision:
    """Judge a view by every gate but the daily limit, which ``judge_daily_limit`` adds. Raises GateError."""
    results = evaluate([own for own in gates.items() if own[0] != DAILY_LIMIT], view)
    try:
        return Decision(view, results, plan_of(view), None)
    except PricingRefusal as refusal:
        return Decision(view, results, None, f"pricing: {refusal}")


def judge_daily_limit(gates: Mapping[str, Gate], decision: Decision, executed_today: int) -> Decision:
    """Return the whole decision, with the executions that were counted under the ticker's lock. Raises GateError."""
    view = msgspec.structs.replace(decision.view, executed_today=executed_today)
    judged = decision.results | evaluate([(DAILY_LIMIT, gates[DAILY_LIMIT])], view)
    results = {name: judged[name] for name in gates}
    if refused := tuple([name for name, result in results.items() if not result.passed]):
        return Decision(view, results, None, f"gates: {', '.join(refused)}", refused)
    return Decision(view, results, decision.plan, decision.why)
