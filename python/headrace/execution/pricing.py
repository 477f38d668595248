"""Price, size and stops of an execution, in exact decimal arithmetic.

::

    entry  = close · (1 ± slip)              stop   = entry ∓ entry · recent_vol · stop_loss_atr_mult
    target = entry ± stop distance · reward  qty    = ⌊ min(equity · risk / stop distance, equity · position / entry) ⌋

Guarantees: what is lost at the stop is at most the risk, and the notional at most the position limit, exactly; a short
is the mirror image: the slip lowers its entry, its stop lies above.
Does not: place a price that cannot be: a stop or target at or below 0, or a volatility of 0, is refused.
"""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING, NamedTuple

from headrace.execution.settings import SIDES
from headrace.execution.values import canonical
from headrace.market.money import MONEY

if TYPE_CHECKING:
    from headrace.execution.gates import GateView

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
    slip = MONEY.divide(settings.default_slippage_bps, BASIS_POINTS)
    entry = MONEY.multiply(view.bar.close, 1 + side * slip)
    distance = MONEY.multiply(MONEY.multiply(entry, view.features.recent_vol), settings.stop_loss_atr_mult)
    stop = MONEY.subtract(entry, side * distance)
    target = MONEY.add(entry, side * MONEY.multiply(distance, settings.take_profit_risk_reward))
    if min(entry, stop, target) <= 0:
        lowest = "stop" if stop <= 0 else "target"
        raise PricingRefusal(f"the {lowest} would be at or below 0: recent_vol {view.features.recent_vol} is too high")
    risk = MONEY.multiply(settings.paper_equity, settings.max_risk_per_trade_pct)
    most = MONEY.multiply(settings.paper_equity, settings.max_position_pct)
    qty = min(_whole(risk, distance), _whole(most, entry))
    if qty < 1:
        raise PricingRefusal(f"the quantity is 0: one unit costs {canonical(entry)} and risks {canonical(distance)}")
    return Plan(side, entry, stop, target, qty, MONEY.multiply(qty, entry))


def _whole(amount: Decimal, unit: Decimal) -> Decimal:
    """Return how many whole units an amount has."""
    whole = MONEY.divide(amount, unit).to_integral_value(ROUND_FLOOR)
    # The quotient is rounded to 60 digits; the product is what counts.
    return whole - 1 if MONEY.multiply(whole, unit) > amount else whole
