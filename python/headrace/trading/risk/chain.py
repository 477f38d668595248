"""RiskGates: the one chain of gates that every order goes through, whoever sent it.

::

    order ─▶ gate ─▶ gate ─▶ … ─▶ passed          each evaluation is counted and recorded: observed, threshold, verdict
               └▶ refused: the first that says no

Guarantees: there is no way around it: the orders of strategies and commands pass the same instance; a gate that raises
refuses.
Does not: send or reject orders; that is ``orders``.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from msgspec.structs import force_setattr

from headrace.dispatch.faults import safe_text
from headrace.errors import OptionError
from headrace.limits import GATE_RECORDS_MAX
from headrace.market.instrument import Instrument, RiskLimits
from headrace.market.listed import completed
from headrace.market.money import decimal_of, is_amount
from headrace.trading.risk.gate import GateRequest, GateVerdict, Refusal
from headrace.trading.risk.gates import ENGINE_GATES, GATES, message_window
from headrace.trading.risk.own_gates import check_of, judge_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from headrace.market.clock import Clock
    from headrace.market.events import OrderRequested
    from headrace.market.listed import Listed
    from headrace.trading.known_names import KnownNames
    from headrace.trading.risk.gate import Exposure, Gate, Halting, QuoteLike, RiskEngine

__all__ = ["GateCounts", "GateRecord", "RiskGates"]

log = logging.getLogger(__name__)

# Of a strategy; at such a rate its window is a second long.
MESSAGES_MAX = 1_000_000
# What is never reached bounds nothing, and a larger number cannot be computed with.
COUNT_MAX = Decimal(10**18)


class GateCounts(NamedTuple):
    """How often a gate was asked, by its answer."""

    passed: int
    refused: int


class GateRecord(NamedTuple):
    """One evaluation: which gate judged which order, when by the engine's clock, what it saw and what it allows."""

    ts: int
    order_id: str
    strategy: str
    instrument: str
    gate: str
    passed: bool
    observed: str
    threshold: str
    reason: str


@dataclass(slots=True)
class _Kept:
    """A gate as the chain keeps it: its name when it was added, the place that an error names, and its answers."""

    name: str
    place: str
    check: Callable[[GateRequest], GateVerdict]
    passed: int = 0
    refused: int = 0


class _Judged(NamedTuple):
    """An order with the verdicts of the first gates of the chain: the last may refuse."""

    ts: int
    order: OrderRequested
    verdicts: list[GateVerdict]


class RiskGates:
    """The chain.

    limits : for every instrument; what an instrument's own limits leave open. The default allows nothing.
    instruments : those that may be traded. clock : the engine's. quotes : the newest quote of an instrument by name.
    kill_switch : None: there is none. names : that may be asked for; None: any. books : the state of the book that a
        strategy uses of an instrument; None: it uses none. trades : by kind of trade that a strategy uses, when an
        instrument's newest was received.

    Raises OptionError (two instruments of one name).
    """

    def __init__(
        self,
        limits: RiskLimits | None = None,
        instruments: Iterable[Instrument] = (),
        *,
        clock: Clock,
        quotes: Callable[[str], QuoteLike | None] | None = None,
        kill_switch: Halting | None = None,
        names: KnownNames | None = None,
        books: Callable[[str, str], str | None] | None = None,
        trades: Callable[[str, str], Mapping[str, int | None]] | None = None,
    ) -> None:
        self.kill_switch = kill_switch
        self._names = names
        self._clock = clock
        self._quotes = quotes or _no_quote
        self._books = books or _no_book
        self._trades = trades or _no_trades
        # What judges in place of the built-in limits; None: they do.
        self.risk_engine: RiskEngine | None = None
        # Makes an instrument that is not listed when an order first names it; None: such orders are refused.
        self.instrument_of: Callable[[str], Instrument | None] | None = None
        self._gates = [_Kept(gate.name, f"{type(gate).__name__}.check", gate.check) for gate in GATES]
        self._limits = _checked_limits(limits or RiskLimits())
        self._instruments: dict[str, Instrument] = {}
        self._merged: dict[str, RiskLimits] = {}
        for instrument in instruments:
            if instrument.name in self._instruments:
                msg = f"instrument {instrument.name!r} is given twice: say everything about it in one Instrument"
                raise OptionError(msg, option="instruments")
            self._add(instrument)
        # By instrument: what its venue says, as far as a feed does.
        self._statuses: dict[str, str] = {}
        # What the user says of them, which no listing changes.
        self._configured = dict(self._instruments)
        # As the gates saw them: made into texts when they are read. So many evaluations are in it.
        self._judged: deque[_Judged] = deque()
        self._evaluations = 0
        rates = [limits.message_rate_max for limits in (self._limits, *self._merged.values())]
        windows = [message_window(rate) for rate in rates if rate]
        # Only messages within the widest window are needed, and no more than refuse the next one.
        self._window_ns = max((window_ns for _, window_ns in windows), default=0)
        self._messages_max = min(max((count for count, _ in windows), default=0) + 1, MESSAGES_MAX)
        self._messages: dict[str, deque[int]] = {}

    def _add(self, instrument: Instrument) -> Instrument:
        checked = self._instruments[instrument.name] = _checked_instrument(instrument)
        given = instrument.limits
        self._merged[instrument.name] = self._limits if given is None else _completed(given, self._limits)
        return checked

    def _new(self, name: str) -> Instrument | None:
        """Make an instrument that is not listed, and may be traded from now on, where that is allowed."""
        made = None if self.instrument_of is None else self.instrument_of(name)
        return None if made is None else self._add(made)

    def add(self, gate: Gate) -> None:
        """Add a gate of your own, after all others. Raises OptionError (no gate, or its name is taken)."""
        check = check_of(gate)
        if any(gate.name == kept.name for kept in self._gates):
            msg = f"there is a gate {gate.name!r} already: give each gate a name of its own"
            raise OptionError(msg, option="gate")
        self._gates.append(_Kept(gate.name, f"{type(gate).__name__}.check", check))

    def judge_by(self, engine: RiskEngine) -> None:
        """Let a risk engine judge in place of the built-in limits; before other gates are added. Raises OptionError."""
        judge = judge_of(engine)
        self.risk_engine = engine
        self._gates[ENGINE_GATES:] = [_Kept("risk_engine", f"{type(engine).__name__}.judge", judge)]

    def take_listing(self, listed: Listed) -> None:
        """Take what a venue lists of an instrument: what was configured comes first, and the rest is completed."""
        name = listed.instrument.name
        configured = self._configured.get(name)
        self._instruments[name] = _checked_instrument(completed(configured, listed.instrument))
        self._merged.setdefault(name, self._limits)
        self._statuses[name] = listed.status

    @property
    def instruments(self) -> Mapping[str, Instrument]:
        """Every instrument that may be traded, by name."""
        return MappingProxyType(self._instruments)

    @property
    def is_halted(self) -> bool:
        """Whether the kill switch is set."""
        return self.kill_switch is not None and self.kill_switch.is_halted

    def limits_of(self, instrument: str) -> RiskLimits:
        """Return what holds for an instrument; a limit that is no number is None. Raises InstrumentError (unknown)."""
        self._check_name(instrument)
        return self._merged.get(instrument, self._limits)

    def quote(self, instrument: str) -> QuoteLike | None:
        """Return the newest quote of an instrument; None: it has had none. Raises InstrumentError (unknown)."""
        self._check_name(instrument)
        return self._quotes(instrument)

    def _check_name(self, instrument: str) -> None:
        if self._names is not None:
            self._names.check_instrument(instrument)

    def check(self, order: OrderRequested, exposure: Exposure) -> Refusal | None:
        """Take an order through the chain; None: every gate let it pass, and it counts as a message."""
        refusal = self._judge(self._gates, order, exposure)
        if refusal is None:
            self.count_message(order.strategy)
        return refusal

    def check_halted(self, order: OrderRequested, exposure: Exposure) -> Refusal | None:
        """Ask the first gate once more, before a passed order goes to the broker; recorded when it refuses."""
        return self._judge(self._gates[:1], order, exposure) if self.is_halted else None

    def count_message(self, strategy: str) -> None:
        """Count an order or a cancel that goes out."""
        sent, now_ns = self._messages.get(strategy), self._clock.now_ns()
        if sent is None:
            sent = self._messages[strategy] = deque(maxlen=self._messages_max)
        while sent and sent[0] <= now_ns - self._window_ns:
            sent.popleft()
        sent.append(now_ns)

    def uncount_message(self, strategy: str) -> None:
        """Take the latest message back: it found no room, so it did not go out."""
        self._messages[strategy].pop()

    def counts(self) -> Mapping[str, GateCounts]:
        """Return how often each gate let an order pass, and refused one."""
        return {gate.name: GateCounts(gate.passed, gate.refused) for gate in self._gates}

    def records(self) -> list[GateRecord]:
        """Return the latest evaluations, oldest first."""
        records = [
            GateRecord(
                *(ts, order.order_id, order.strategy, order.instrument, gate.name, verdict.passed),
                *(str(verdict.observed), str(verdict.threshold), verdict.reason),
            )
            # Copied at once: another thread may be asking while orders go through.
            for ts, order, verdicts in list(self._judged)
            for gate, verdict in zip(self._gates, verdicts, strict=False)
        ]
        return records[-GATE_RECORDS_MAX:]

    def _request(self, order: OrderRequested, exposure: Exposure) -> GateRequest:
        return GateRequest(
            order=order,
            exposure=exposure,
            now_ns=self._clock.now_ns(),
            is_halted=self.is_halted,
            instrument=self._instruments.get(order.instrument) or self._new(order.instrument),
            limits=self._merged.get(order.instrument, self._limits),
            quote=self._quotes(order.instrument),
            messages=self._messages.get(order.strategy, ()),
            book=self._books(order.strategy, order.instrument),
            status=self._statuses.get(order.instrument),
            trades=self._trades(order.strategy, order.instrument),
        )

    def _judge(self, gates: Sequence[_Kept], order: OrderRequested, exposure: Exposure) -> Refusal | None:
        """Let gates judge an order, one after the other until one refuses, and record what each saw."""
        request = self._request(order, exposure)
        verdicts: list[GateVerdict] = []
        self._keep(_Judged(request.now_ns, order, verdicts))
        for gate in gates:
            try:
                verdict = gate.check(request)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                log.exception("gate %s raised on order %s, and refuses it", gate.name, order.order_id)
                observed = f"{type(error).__name__}: {safe_text(error)}"
                reason = f"gate {gate.name} raised {observed}, in {gate.place}: correct it"
                verdict = GateVerdict(passed=False, observed=observed, threshold="a verdict", reason=reason)
            verdicts.append(verdict)
            if not verdict.passed:
                gate.refused += 1
                return Refusal(gate.name, verdict)
            gate.passed += 1
            if verdict.quantity is not None:
                _reduce(order, verdict.quantity)
        return None

    def _keep(self, judged: _Judged) -> None:
        """Keep what the gates will say of an order; of the oldest orders, what is beyond GATE_RECORDS_MAX goes."""
        if self._judged:
            self._evaluations += len(self._judged[-1].verdicts)
        self._judged.append(judged)
        while self._evaluations - len(self._judged[0].verdicts) >= GATE_RECORDS_MAX:
            self._evaluations -= len(self._judged.popleft().verdicts)


def _no_quote(_instrument: str) -> None:
    return None


def _no_book(_strategy: str, _instrument: str) -> None:
    return None


def _no_trades(_strategy: str, _instrument: str) -> Mapping[str, int | None]:
    return {}


def _reduce(order: OrderRequested, quantity: Decimal) -> None:
    """Reduce an order that nothing else has seen, in place; what was asked for stays on it."""
    if order.requested_quantity is None:
        force_setattr(order, "requested_quantity", order.quantity)
    force_setattr(order, "quantity", quantity)


def _checked_limits(limits: RiskLimits) -> RiskLimits:
    """Return limits with Decimals in them, and None for each that is no number from 0 on, or no whole count."""
    count, rate, stale = (
        _bound(value) for value in (limits.open_orders_max, limits.message_rate_max, limits.stale_after_s)
    )
    return RiskLimits(
        quantity_max=_bound(limits.quantity_max),
        notional_max=_bound(limits.notional_max),
        price_collar=_bound(limits.price_collar),
        open_orders_max=None if count is None or count != count.to_integral_value() else int(min(count, COUNT_MAX)),
        message_rate_max=None if rate is None else float(min(rate, COUNT_MAX)),
        stale_after_s=None if stale is None else float(min(stale, COUNT_MAX)),
    )


def _completed(given: RiskLimits, default: RiskLimits) -> RiskLimits:
    """Return an instrument's limits: its own where it gave one, even one that is no number, else the engine's."""
    own = _checked_limits(given)
    return RiskLimits(
        **{
            name: getattr(default if getattr(given, name) is None else own, name)
            for name in RiskLimits.__struct_fields__
        }
    )


def _checked_instrument(instrument: Instrument) -> Instrument:
    """Return an instrument with steps that are amounts above 0, or none."""
    steps = {name: _bound(getattr(instrument, name)) for name in ("price_tick", "lot_size")}
    usable = {name: step if step and is_amount(step) else None for name, step in steps.items()}
    if all(getattr(instrument, name) is step for name, step in usable.items()):
        return instrument
    return msgspec.structs.replace(instrument, **usable)


def _bound(value: Decimal | float | None) -> Decimal | None:
    """Return a limit as a Decimal; None: not set, no number, or below 0."""
    if value is None:
        return None
    try:
        number = decimal_of(value)
    except (ValueError, TypeError):
        return None
    return number if number >= 0 else None
