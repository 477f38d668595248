"""Funding: what perpetual contracts pay each other, from ticks of kind ``funding``, for what was held at that time.

::

    funding tick: mark, rate, settled at S ─▶ quantity held just before S ─▶ FundingPaid = quantity · worth of 1 · rate
    S is due, something was held, and no tick comes ─▶ missing: logged, counted, in the report

What happens to a rate that comes late
    it is paid for what was held when it was settled, up to FUNDING_LATE_S after it; later it is a missing one.

Guarantees: a long position pays a rate above 0, a short one receives it, in the contract's settlement currency, at the
mark of the settlement; each settlement is paid once; a missing rate is never taken for 0.
Does not: use the rate to come that ticks of kind ``mark`` show, or know when funding is due at a venue that is neither
described by a ``Margin`` nor Binance.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from headrace.limits import FUNDING_LATE_S
from headrace.market.checks import duration_ns
from headrace.market.events import FundingPaid, OrderFill
from headrace.market.money import MONEY, ZERO, decimal_of, shown
from headrace.market.tick import ns_text
from headrace.trading.own_reader import subscribe_own

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from decimal import Decimal

    from headrace.dispatch.dispatcher import Dispatcher
    from headrace.dispatch.subscription import Subscription
    from headrace.market.clock import Clock, Mode
    from headrace.market.events import Event
    from headrace.market.instrument import Instrument
    from headrace.trading.margin import Margins
    from headrace.trading.positions import Positions

__all__ = ["Funding", "MissingFunding"]

log = logging.getLogger(__name__)

S = 1_000_000_000
LATE_NS = int(FUNDING_LATE_S * S)
# Of Binance's perpetual contracts; those with another interval need a Margin that says it.
BINANCE_EVERY_NS = 8 * 3_600 * S
# The venue's times are some ms off.
NEAR_NS = 60 * S


class MissingFunding(NamedTuple):
    """Settlements of an instrument without a rate while something was held. first_ns, last_ns : of them."""

    times: int
    first_ns: int
    last_ns: int


class _Held:
    """What one strategy holds of one instrument, as far back as a late rate may reach. changes : (since, quantity)."""

    __slots__ = ("changes",)

    def __init__(self) -> None:
        self.changes: deque[tuple[int, Decimal]] = deque([(0, ZERO)])

    def change(self, now_ns: int, quantity: Decimal) -> None:
        """Note a quantity, and forget what no late rate asks for."""
        self.changes.append((now_ns, quantity))
        while len(self.changes) > 1 and self.changes[1][0] < now_ns - LATE_NS:
            self.changes.popleft()

    def before(self, ns: int) -> Decimal:
        """Return what was held just before a time."""
        return next((quantity for since, quantity in reversed(self.changes) if since < ns), ZERO)


class _Dues:
    """The settlements of one instrument. every_ns : None: when they are due is not known."""

    __slots__ = ("every_ns", "missing", "next_ns", "owed", "paid_ns")

    def __init__(self, every_ns: int | None) -> None:
        self.every_ns = every_ns
        self.next_ns = 0
        # Due while something was held, and not settled yet.
        self.owed: deque[int] = deque()
        self.paid_ns = 0
        self.missing: MissingFunding | None = None

    def note(self, now_ns: int, *, is_held: bool) -> None:
        """Note what fell due since the last change of what is held."""
        if self.every_ns is None:
            return
        if is_held:
            while self.next_ns <= now_ns:
                # A settlement at the very time of a change is for what was held before.
                self.owed.append(self.next_ns)
                self.next_ns += self.every_ns
        else:
            self.next_ns = (now_ns // self.every_ns + 1) * self.every_ns

    def settle(self, ns: int) -> None:
        """Note that the rate of a settlement has come."""
        self.paid_ns = max(self.paid_ns, ns)
        self.owed = deque(due for due in self.owed if abs(due - ns) > NEAR_NS)
        if self.every_ns is not None and abs(self.next_ns - ns) <= NEAR_NS:
            self.next_ns += self.every_ns

    def give_up(self, before_ns: int) -> None:
        """Count what was due before a time as missing."""
        while self.owed and self.owed[0] < before_ns:
            due = self.owed.popleft()
            before = self.missing or MissingFunding(0, due, due)
            self.missing = MissingFunding(before.times + 1, before.first_ns, due)


class Funding:
    """The funding of one engine. Subscribe ``take`` to fills and FundingPaid, behind the orders' manager.

    instrument_of : with its contract. publish : publishes an event, now or when there is room.
    """

    def __init__(
        self,
        positions: Positions,
        margins: Margins,
        instrument_of: Callable[[str], Instrument],
        *,
        clock: Clock,
        publish: Callable[[Event], None],
        run_id: str,
    ) -> None:
        self._positions = positions
        self._margins = margins
        self._instrument_of = instrument_of
        self._clock = clock
        self._publish = publish
        self._run_id = run_id
        # By instrument, of contracts that may have funding; then by strategy.
        self._held: dict[str, dict[str, _Held]] = {}
        self._dues: dict[str, _Dues] = {}
        self._subscription: Subscription | None = None
        self._warned: set[str] = set()

    def attach(self, dispatcher: Dispatcher, mode: Mode) -> None:
        """Take ticks of kind funding once there is a position that may have funding.

        A live feed never waits for it: a rate that the ring lost counts as missing.
        """
        self._subscription = subscribe_own(dispatcher, mode, self._on_funding, callback="on_funding", name="funding")
        self._subscription.doze()

    def close(self) -> None:
        """Leave the ticks. May be called twice."""
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None

    # What happens

    def take(self, event: Event) -> None:
        """Follow what is held, and account for what is paid."""
        if isinstance(event, OrderFill):
            self._follow(event)
        elif isinstance(event, FundingPaid):
            self._positions.pay(event)

    def _follow(self, fill: OrderFill) -> None:
        traded = self._instrument_of(fill.instrument)
        if traded.contract not in ("linear", "inverse"):
            return
        held = self._held.get(fill.instrument)
        if held is None:
            held = self._held[fill.instrument] = {}
            self._dues[fill.instrument] = _Dues(self._every_ns(traded))
            if self._subscription is not None:
                self._subscription.wake()
        self._note(fill.instrument, fill.ts)
        own = held.setdefault(fill.strategy, _Held())
        own.change(fill.ts, self._positions.held(fill.strategy, fill.instrument).quantity)

    def _on_funding(self, instrument: str, mark_price: float, funding_rate: float, ts_event: int, ts_init: int) -> None:
        held = self._held.get(instrument)
        settled_ns, now_ns = ts_event or ts_init, self._clock.now_ns()
        if held is None:
            return
        self._note(instrument, now_ns)
        dues = self._dues[instrument]
        if settled_ns <= dues.paid_ns or now_ns - settled_ns > LATE_NS:
            return
        if not (math.isfinite(mark_price) and math.isfinite(funding_rate) and mark_price > 0):
            log.warning("%s: funding of %s has no mark or rate: it counts as missing", instrument, ns_text(settled_ns))
            return
        dues.settle(settled_ns)
        traded = self._instrument_of(instrument)
        for strategy, own in held.items():
            quantity = own.before(settled_ns)
            if quantity:
                self._pay(traded, strategy, settled_ns, quantity, decimal_of(mark_price), decimal_of(funding_rate))

    def _pay(
        self, traded: Instrument, strategy: str, settled_ns: int, quantity: Decimal, mark: Decimal, rate: Decimal
    ) -> None:
        size = traded.fee(quantity.copy_abs(), mark, rate)
        self._publish(
            FundingPaid(
                source="funding",
                ts=self._clock.now_ns(),
                run_id=self._run_id,
                strategy=strategy,
                instrument=traded.name,
                settled_ns=settled_ns,
                quantity=quantity,
                mark_price=mark,
                rate=rate,
                amount=shown(size if quantity > 0 else MONEY.minus(size)),
                currency=traded.settles,
            )
        )

    # What is missing

    def _every_ns(self, traded: Instrument) -> int | None:
        own = self._margins.of(traded)
        if own is not None and own.funding is not None:
            return duration_ns("funding", own.funding)
        is_perpetual = (traded.venue == "BINANCE_USDM" and "_" not in traded.symbol) or (
            traded.venue == "BINANCE_COINM" and traded.symbol.endswith("_PERP")
        )
        return BINANCE_EVERY_NS if is_perpetual else None

    def _note(self, instrument: str, now_ns: int) -> None:
        dues = self._dues[instrument]
        is_held = any(own.changes[-1][1] for own in self._held[instrument].values())
        dues.note(now_ns, is_held=is_held)
        dues.give_up(now_ns - LATE_NS)
        self._warn(instrument, dues)

    def _warn(self, instrument: str, dues: _Dues) -> None:
        if dues.missing is not None and instrument not in self._warned:
            self._warned.add(instrument)
            when = ns_text(dues.missing.first_ns)
            log.warning(
                "%s: no funding rate came for %s, and a position was held: its payment is unknown", instrument, when
            )

    def missing(self) -> Mapping[str, MissingFunding]:
        """Return the settlements without a rate by now, of which none will come any more, by instrument."""
        found = {}
        for instrument, dues in self._dues.items():
            self._note(instrument, self._clock.now_ns())
            if dues.missing is not None:
                found[instrument] = dues.missing
        return found

    def finish(self) -> None:
        """Count what is owed as missing: the run is over."""
        for instrument, dues in self._dues.items():
            self._note(instrument, self._clock.now_ns())
            dues.give_up(self._clock.now_ns() + 1)
            self._warn(instrument, dues)
