"""Own gates: what a user's gate and risk engine must be, and their verdicts, checked.

Guarantees: what comes back from them is a GateVerdict with texts in it, or an exception, which refuses the order.
Does not: decide where they stand in the chain; ``chain`` does.
"""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

from headrace.errors import OptionError
from headrace.market.user_functions import refuse_unfinished, unfinished_problem
from headrace.trading.risk.gate import Gate, GateVerdict, RiskEngine
from headrace.trading.risk.gates import unknown_instrument

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.trading.risk.gate import GateRequest

__all__ = ["check_of", "judge_of"]


def check_of(gate: object) -> Callable[[GateRequest], GateVerdict]:
    """Return the check of a gate. Raises OptionError: it is none, or answers later."""
    if not isinstance(gate, Gate) or isinstance(gate, type) or str(gate.name) != gate.name:
        msg = f"{gate!r} is no gate: pass an object with a name and a method check(request)"
        raise OptionError(msg, option="gate")
    if msg := unfinished_problem(f"{type(gate).__name__}.check", gate.check):
        raise OptionError(msg, option="gate")
    return partial(_verdict, "check", gate.check)


def judge_of(engine: object) -> Callable[[GateRequest], GateVerdict]:
    """Return the judgement of a risk engine; an instrument whose money cannot be computed is refused without it.

    Raises OptionError: it is none, or answers later.
    """
    if not isinstance(engine, RiskEngine) or isinstance(engine, type):
        msg = f"gates={engine!r:.100} is no risk engine: pass an object with a method judge(request)"
        raise OptionError(msg, option="gates")
    if msg := unfinished_problem(f"{type(engine).__name__}.judge", engine.judge):
        raise OptionError(msg, option="gates")
    return lambda request: unknown_instrument(request) or _verdict("judge", engine.judge, request)


def _verdict(method: str, call: Callable[[GateRequest], object], request: GateRequest) -> GateVerdict:
    """Return a verdict with texts in it. Raises TypeError, and what the method and its texts raise."""
    verdict = refuse_unfinished(call(request), "since a gate answers at once")
    if not isinstance(verdict, GateVerdict) or not isinstance(verdict.passed, bool):
        msg = f"{method} returned {verdict!r}: return a GateVerdict, with True or False as its first field"
        raise TypeError(msg)
    texts = (str(verdict.observed), str(verdict.threshold), str(verdict.reason))
    quantity: object = verdict.quantity
    if quantity is None:
        return GateVerdict(verdict.passed, *texts)
    asked = request.order.quantity
    if not (isinstance(quantity, Decimal) and 0 < quantity <= asked):
        msg = f"{method} reduces the order to {quantity!r}: give a Decimal above 0, and not above {asked}"
        raise TypeError(msg)
    return GateVerdict(verdict.passed, *texts, quantity)
