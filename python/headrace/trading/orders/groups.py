"""Groups: the OCO orders that are open together, so that what only one of them can fill counts once.

::

    sell 1 at 105 (working: 1) ─▶ sell 1 stop 95, oco of it (working: 1, not 2) ─▶ 105 fills 0.4 ─▶ both have 0.6 left

Guarantees: of a group and a side the largest member counts; an order without a group costs nothing here.
Does not: shrink or cancel; the broker does, and says so.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

from headrace.market.money import MONEY, ZERO

if TYPE_CHECKING:
    from headrace.market.events import OrderRequested
    from headrace.trading.orders.order import Order

__all__ = ["Groups", "root_of"]


class _Member(Protocol):
    """What of an order's entry counts."""

    order: Order
    is_grouped: bool

    @property
    def weight(self) -> Decimal: ...


class Groups:
    """The groups of one table, by the id of their first order. Members are orders that passed the gates."""

    def __init__(self) -> None:
        self._members: dict[str, list[_Member]] = {}
        self._counted: dict[tuple[str, int], Decimal] = {}

    def begin(self, first: _Member) -> None:
        """Make a group of an order that is in none; its weight was counted."""
        root, first.is_grouped = root_of(first.order.request), True
        self._members[root] = [first]
        self._counted[root, first.order.side] = first.weight

    def join(self, member: _Member) -> None:
        """Add a member; ``recount`` counts it."""
        member.is_grouped = True
        self._members.setdefault(root_of(member.order.request), []).append(member)

    def leave(self, member: _Member) -> None:
        """Remove a member that is over; ``recount`` counts what is left."""
        self._members[root_of(member.order.request)].remove(member)

    def weight(self, root: str, side: int, *, without: str = "") -> Decimal:
        """Return what a group's orders of one side may still fill; without : the id of an order that is left out."""
        return max(
            (
                own.weight
                for own in self._members.get(root, ())
                if own.order.side == side and own.order.order_id != without
            ),
            default=ZERO,
        )

    def recount(self, root: str, side: int) -> Decimal:
        """Return by how much a group's weight on a side is larger than when it was counted last."""
        before, now = self._counted.get((root, side), ZERO), self.weight(root, side)
        self._counted[root, side] = now
        if not self._members[root]:
            del self._members[root]
            for own in (1, -1):
                self._counted.pop((root, own), None)
        return MONEY.subtract(now, before)


def root_of(request: OrderRequested) -> str:
    """Return the id of the first order of the group that an order is in, or that others may join."""
    return request.oco or request.order_id
