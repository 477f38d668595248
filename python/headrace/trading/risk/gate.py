"""Gate: one check of an order before it is sent; what it is asked, and what it answers.

Guarantees: a gate sees everything it may judge by in one immutable request, and never a broker.
Does not: check anything; ``gates`` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

import msgspec

from headrace.market.money import MONEY, ZERO

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from decimal import Decimal

    from headrace.market.events import OrderRequested
    from headrace.market.instrument import Instrument, RiskLimits

__all__ = [
    "Exposure",
    "Gate",
    "GateRequest",
    "GateVerdict",
    "Halting",
    "Permission",
    "QuoteLike",
    "Refusal",
    "RiskEngine",
]

# What a strategy may do now: trade, only reduce what it holds, or nothing.
Permission: TypeAlias = Literal["all", "reduce", "none"]


class Halting(Protocol):
    """The kill switch, as far as orders are concerned."""

    @property
    def is_halted(self) -> bool:
        """Whether no new order may pass."""


class QuoteLike(Protocol):
    """The newest quote of an instrument."""

    @property
    def bid_price(self) -> float:
        """The best bid."""

    @property
    def ask_price(self) -> float:
        """The best ask."""

    @property
    def bid_size(self) -> float:
        """The size at the best bid; 0: there is no bid."""

    @property
    def ask_size(self) -> float:
        """The size at the best ask; 0: there is no ask."""

    @property
    def ts_init(self) -> int:
        """When it was received, ns."""


class Exposure(msgspec.Struct, frozen=True):
    """What the orders' manager knows of an order's surroundings.

    permission : the strategy's. position : signed, of its strategy and instrument. working : what that strategy's
    orders on the same side of the instrument, that passed the gates, may still fill. open_orders : how many of both
    sides there are. by_operator : sent to flatten, by command.
    """

    permission: Permission
    position: Decimal
    working: Decimal
    open_orders: int
    by_operator: bool = False


class GateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a gate may judge by.

    now_ns : by the engine's clock. instrument : None when it is unknown. limits : the instrument's own, completed by
    the engine's; a limit of None was not set, or is no number. quote : the newest one. messages : times, ns, at which
    the strategy's latest orders and cancels passed, oldest first. book : the state of the instrument's book; None: the
    strategy uses none. status : the instrument's at its venue, "TRADING" when orders are taken; None: no feed says.
    trades : by kind of trade that the strategy's handlers take, when the instrument's newest was received, ns; None:
    none was.
    """

    order: OrderRequested
    exposure: Exposure
    now_ns: int
    is_halted: bool
    instrument: Instrument | None
    limits: RiskLimits
    quote: QuoteLike | None
    messages: Sequence[int]
    book: str | None = None
    status: str | None = None
    trades: Mapping[str, int | None] = {}

    @property
    def reduces(self) -> bool:
        """Whether the order brings the position nearer to 0, and not beyond, whatever else works on its side."""
        position = self.exposure.position
        if position == 0 or (position > 0) == (self.order.side > 0):
            return False
        return MONEY.add(self.order.quantity, self.exposure.working) <= position.copy_abs()

    @property
    def closes(self) -> Decimal:
        """How much of the order brings the position nearer to 0, beside what else works on its side."""
        position = self.exposure.position
        if position == 0 or (position > 0) == (self.order.side > 0):
            return ZERO
        return min(self.order.quantity, max(ZERO, MONEY.subtract(position.copy_abs(), self.exposure.working)))


class GateVerdict(msgspec.Struct, frozen=True):
    """What a gate says: ``observed`` against ``threshold``; ``reason`` says what to do about a refusal.

    quantity : of an order that passes, what it is reduced to; None: it passes as it is.
    """

    passed: bool
    observed: object
    threshold: object
    reason: str = ""
    quantity: Decimal | None = None


class Refusal(NamedTuple):
    """The gate that refused an order, and its verdict."""

    gate: str
    verdict: GateVerdict


@runtime_checkable
class Gate(Protocol):
    """One check. Write your own: an object with a ``name`` and this method."""

    @property
    def name(self) -> str:
        """What refusals and counters call it."""

    def check(self, request: GateRequest) -> GateVerdict:
        """Judge one order. What it raises refuses the order."""


@runtime_checkable
class RiskEngine(Protocol):
    """Judges orders in place of the built-in limits. Write your own: an object with this method.

    The kill switch and the strategy's permission are looked at before it, and unknown instruments are refused; the
    warm-up, limits of the account and its cash come after it.
    """

    def judge(self, request: GateRequest) -> GateVerdict:
        """Judge one order, at once. What it raises refuses the order; it may pass a smaller quantity."""
