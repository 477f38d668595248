"""Price, size and stops of an execution, in exact decimal arithmetic.

::

    entry  = close · (1 ± slip)              stop   = entry ∓ entry · recent_vol · stop_loss_atr_mult
    target = entry ± stop distance · reward  qty    = ⌊ min(equity · risk / stop distance, equity · position / entry) ⌋

Guarantees: what is lost at the stop is at most the risk, and the notional at most the position limit, exactly; a short
is the mirror image: the slip lowers its entry, its stop lies above.
Does not: place a price that cannot be: a stop or target at or below 0, or a volatility of 0, is refused.
"""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from headrace.execution.settings import SIDES
from headrace.execution.values import canonical
from headrace.market.money import MONEY

if TYPE_CHECKING:
    from headrace.execution.gates import GateView
    from headrace.execution.settings import ExecutionSettings

__all__ = ["Plan", "PricingRefusal", "plan_of"]

BASIS_POINTS = Decimal(10_000)


class PricingRefusal(Exception):  # noqa: N818 - an answer, not a fault
    """Why no price, size or stop can be given."""


class Plan(NamedTuple):
    """An execution before it is one. side : +1 or -1."""

    side: int
    entry_price: Decimal
    stop_loss_price: Decimal
    take_profit_price: Decimal
    qty: Decimal
    notional: Decimal

    def document(self) -> dict[str, int | str]:
        """Return the plan as JSON holds it."""
        return {
            name: canonical(value) if isinstance(value, Decimal) else value for name, value in self._asdict().items()
        }

    @classmethod
    def from_document(cls, document: dict[str, int | str]) -> Plan:
        """Return the plan of a document."""
        amounts = {name: Decimal(str(value)) for name, value in document.items() if name != "side"}
        return cls(side=int(document["side"]), **amounts)


def plan_of(view: GateView) -> Plan:
    """Return price, size and stops. Raises PricingRefusal."""
    settings, side = view.settings, SIDES.get(view.recommendation.action)
    if side is None:
        raise PricingRefusal(f"action {view.recommendation.action} has no side: use one of {', '.join(SIDES)}")
    if view.bar is None:
        raise PricingRefusal("there is no closed bar")
    if view.features is None or view.features.recent_vol is None or view.features.recent_vol <= 0:
        raise PricingRefusal("recent_vol is missing or 0, so there is no stop")
    above, below, risk, most = _sizes_of(settings)
    # No operators: they round to the digits of the thread's own context.
    toward, away = (MONEY.add, MONEY.subtract) if side > 0 else (MONEY.subtract, MONEY.add)
    entry = MONEY.multiply(view.bar.close, above if side > 0 else below)
    distance = MONEY.multiply(MONEY.multiply(entry, view.features.recent_vol), settings.stop_loss_atr_mult)
    stop = away(entry, distance)
    target = toward(entry, MONEY.multiply(distance, settings.take_profit_risk_reward))
    if min(entry, stop, target) <= 0:
        lowest = "stop" if stop <= 0 else "target"
        raise PricingRefusal(f"the {lowest} would be at or below 0: recent_vol {view.features.recent_vol} is too high")
    qty = MONEY.divide_int(most, entry)
    if MONEY.multiply(qty, distance) > risk:
        qty = MONEY.divide_int(risk, distance)
    if qty < 1:
        raise PricingRefusal(f"the quantity is 0: one unit costs {canonical(entry)} and risks {canonical(distance)}")
    return Plan(side, entry, stop, target, qty, MONEY.multiply(qty, entry))


class _Sizes(NamedTuple):
    """What the settings give each execution. above, below : 1 and the slip, 1 without it. risk, most : amounts."""

    above: Decimal
    below: Decimal
    risk: Decimal
    most: Decimal


@lru_cache(maxsize=8)
def _sizes_of(settings: ExecutionSettings) -> _Sizes:
    slip, equity = MONEY.divide(settings.default_slippage_bps, BASIS_POINTS), settings.paper_equity
    risk = MONEY.multiply(equity, settings.max_risk_per_trade_pct)
    return _Sizes(MONEY.add(1, slip), MONEY.subtract(1, slip), risk, MONEY.multiply(equity, settings.max_position_pct))
