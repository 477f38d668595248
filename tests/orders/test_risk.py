"""The gates: each refuses by its rule, reports the observed and the allowed value, and refuses without its limit."""

from __future__ import annotations

import decimal
import tomllib
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest

from headrace.errors import OptionError
from headrace.limits import GATE_RECORDS_MAX
from headrace.market.events import OrderRequested
from headrace.market.instrument import Instrument, RiskLimits
from headrace.trading.risk import Exposure, Gate, GateRequest, GateVerdict, Refusal, RiskGates
from headrace.trading.risk.gates import GATES
from tests.support.feeding import BTC, ETH, HandClock
from tests.support.trading import KNOWN, WIDE, S, Switch

D = Decimal


class Quote(NamedTuple):
    bid_price: float = 99.5
    ask_price: float = 100.5
    ts_init: int = S
    bid_size: float = 1.0
    ask_size: float = 1.0


FRESH = Quote()
ONE = D(1)


def gates(
    limits: RiskLimits | None = WIDE, instruments: Any = KNOWN, quote: Quote | None = FRESH, **more: Any
) -> RiskGates:
    return RiskGates(limits, instruments, clock=more.pop("clock", HandClock(S)), quotes=lambda _: quote, **more)


def wide(**limits: Any) -> RiskLimits:
    return msgspec.structs.replace(WIDE, **limits)


def order(side: Any = 1, quantity: Any = ONE, price: Any = None, instrument: str = BTC, **more: Any) -> OrderRequested:
    return OrderRequested(
        **{
            "order_id": "A-1",
            "strategy": "A",
            "instrument": instrument,
            "side": side,
            "order_type": "market" if price is None else "limit",
            "quantity": quantity,
            "price": price,
            **more,
        }
    )


FREE = Exposure("all", D(0), D(0), 0)


def refused(chain: RiskGates, asked: OrderRequested, exposure: Exposure = FREE) -> GateVerdict | None:
    """Return the verdict of the refusing gate, which must have this name; None when the order passed."""
    refusal = chain.check(asked, exposure)
    return None if refusal is None else refusal.verdict


def gate_of(chain: RiskGates, asked: OrderRequested, exposure: Exposure = FREE) -> str | None:
    refusal = chain.check(asked, exposure)
    return None if refusal is None else refusal.gate


def test_the_chain_has_its_gates_in_their_order() -> None:
    assert [gate.name for gate in GATES] == [
        *("halted", "permission", "instrument", "tick_and_lot", "price_collar"),
        *("quantity_max", "notional_max", "open_orders", "message_rate"),
    ]
    assert list(gates().counts()) == [gate.name for gate in GATES]


def test_an_order_within_all_limits_passes_every_gate() -> None:
    chain = gates()
    assert chain.check(order(), FREE) is None
    assert set(chain.counts().values()) == {(1, 0)}


def test_no_gate_is_checked_after_the_first_refusal() -> None:
    chain = gates(wide(quantity_max=D(1), notional_max=D(1)))
    assert gate_of(chain, order(quantity=D(2))) == "quantity_max"
    assert [name for name, counts in chain.counts().items() if counts == (0, 0)] == [
        *("notional_max", "open_orders", "message_rate")
    ]


def test_each_evaluation_is_recorded_with_what_it_saw_and_allows() -> None:
    clock = HandClock(7 * S)
    chain = gates(wide(quantity_max=D(1)), clock=clock)
    chain.check(order(quantity=D(2)), FREE)
    last = chain.records()[-1]
    assert last[:6] == (7 * S, "A-1", "A", BTC, "quantity_max", False)
    assert (last.observed, last.threshold) == ("2", "1")
    assert "send less" in last.reason
    assert [record.gate for record in chain.records()] == [gate.name for gate in GATES[:6]]
    assert all(record.passed for record in chain.records()[:5])


def test_the_record_is_bounded_and_the_counts_are_not() -> None:
    chain = gates(wide(message_rate_max=1e9))
    asked = GATE_RECORDS_MAX // len(GATES) + 10
    for _ in range(asked):
        chain.check(order(), FREE)
    assert len(chain.records()) == GATE_RECORDS_MAX
    assert chain.counts()["message_rate"] == (asked, 0)


# Halted


def test_in_a_halt_not_even_a_reducing_order_passes() -> None:
    switch = Switch()
    chain = gates(kill_switch=switch)
    switch.is_halted = True
    reducing = Exposure("reduce", D(5), D(0), 0, by_operator=True)
    assert gate_of(chain, order(-1, reduce_only=True), reducing) == "halted"
    assert chain.check_halted(order(), FREE) == Refusal(
        "halted",
        GateVerdict(False, "halted", "armed", "the kill switch is set: no new order passes until it is rearmed"),
    )
    assert chain.counts()["halted"] == (0, 2)
    switch.is_halted = False
    assert chain.check(order(), FREE) is None


def test_a_check_of_an_unset_kill_switch_is_not_counted() -> None:
    chain = gates(kill_switch=Switch())
    assert chain.check_halted(order(), FREE) is None
    assert chain.counts()["halted"] == (0, 0)


# Permission


@pytest.mark.parametrize(
    ("position", "working", "side", "quantity", "passes"),
    [
        (5, 0, -1, 5, True),
        (5, 0, -1, 6, False),
        (5, 0, 1, 1, False),
        (-5, 0, 1, 5, True),
        (-5, 0, 1, 6, False),
        (-5, 0, -1, 1, False),
        (0, 0, 1, 1, False),
        (0, 0, -1, 1, False),
        (5, 3, -1, 2, True),
        (5, 3, -1, 3, False),
    ],
)
@pytest.mark.parametrize("by", ["permission", "reduce_only"])
def test_reduce_only_counts_the_open_orders_on_its_side(
    position: int, working: int, side: int, quantity: int, passes: bool, by: str
) -> None:
    exposure = Exposure("reduce" if by == "permission" else "all", D(position), D(working), 1)
    asked = order(side, D(quantity), reduce_only=by == "reduce_only")
    verdict = refused(gates(), asked, exposure)
    assert (verdict is None) == passes
    if verdict is not None:
        assert (
            verdict.observed
            == f"{'buys' if side > 0 else 'sells'} {quantity} at position {position}, {working} working"
        )
        assert ("the order is reduce_only" if by == "reduce_only" else "A is paused") in verdict.reason


def test_a_position_is_compared_at_full_precision() -> None:
    held = D("-1234.5678901234")
    with decimal.localcontext(decimal.Context(prec=3)):
        asked = order(1, D("1234.5678901235"), reduce_only=True)
        chain = gates(instruments=[Instrument(BTC, D("0.5"), D("0.0000000001"))])
        assert gate_of(chain, asked, Exposure("all", held, D(0), 0)) == "permission"
        same = order(1, D("1234.5678901234"), reduce_only=True)
        assert gate_of(chain, same, Exposure("all", held, D(0), 0)) is None


def test_without_permission_only_an_operator_reduces() -> None:
    chain = gates()
    assert gate_of(chain, order(-1), Exposure("none", D(5), D(0), 0)) == "permission"
    assert gate_of(chain, order(-1, reduce_only=True), Exposure("none", D(5), D(0), 0, by_operator=True)) is None
    assert gate_of(chain, order(1, reduce_only=True), Exposure("none", D(5), D(0), 0, by_operator=True)) == "permission"


# Instrument


def test_an_unknown_instrument_is_refused_with_lines_to_add() -> None:
    verdict = refused(gates(), order(instrument="XRPUSDT.BINANCE"))
    assert verdict is not None
    assert verdict.observed == "XRPUSDT.BINANCE is unknown"
    added = tomllib.loads(verdict.reason.partition("add:\n")[2])
    known = msgspec.convert({"name": "XRPUSDT.BINANCE", **added["instruments"]["XRPUSDT.BINANCE"]}, Instrument)
    assert refused(gates(instruments=[known]), order(instrument="XRPUSDT.BINANCE")) is None


def test_an_instrument_without_a_quote_is_refused() -> None:
    assert gate_of(gates(quote=None), order()) == "instrument"
    assert gate_of(RiskGates(WIDE, KNOWN, clock=HandClock(S)), order()) == "instrument"


@pytest.mark.parametrize(("bid", "ask"), [(float("nan"), 1.0), (1.0, float("inf")), (0.0, 1.0), (1.0, 0.0)])
def test_a_quote_without_two_sides_is_none(bid: float, ask: float) -> None:
    assert gate_of(gates(quote=Quote(bid, ask)), order()) == "instrument"


def test_a_quote_is_stale_after_its_time_and_not_before() -> None:
    clock = HandClock(6 * S)
    chain = gates(wide(stale_after_s=5.0), clock=clock)
    assert gate_of(chain, order()) is None
    clock.at_ns += 1
    verdict = refused(chain, order())
    assert verdict is not None
    assert (verdict.threshold, "stale" in verdict.reason) == (5.0, True)


# Tick and lot


@pytest.mark.parametrize(
    ("quantity", "price", "passes"),
    [
        ("0.1", None, True),
        ("0.3", "100.5", True),
        ("0.05", None, False),
        ("0.15", "100.5", False),
        ("0.1", "100.25", False),
        ("10.000", "100.50", True),
    ],
)
def test_quantities_fit_the_lot_and_limit_prices_the_tick(quantity: str, price: str | None, passes: bool) -> None:
    asked = order(quantity=D(quantity), price=None if price is None else D(price))
    assert gate_of(gates(), asked) == (None if passes else "tick_and_lot")


def test_a_market_order_needs_no_tick_and_a_limit_does() -> None:
    chain = gates(instruments=[Instrument(BTC, lot_size=D("0.1"))])
    assert refused(chain, order()) is None
    verdict = refused(chain, order(price=D(100)))
    assert verdict is not None
    assert f'[instruments."{BTC}"]\nprice_tick = "0.01"' in verdict.reason


# Price collar


@pytest.mark.parametrize(("price", "passes"), [("101", True), ("99", True), ("101.5", False), ("98.5", False)])
def test_a_limit_lies_within_the_collar_around_the_mid(price: str, passes: bool) -> None:
    chain = gates(wide(price_collar=D("0.01")))
    assert gate_of(chain, order(price=D(price))) == (None if passes else "price_collar")


def test_the_collar_does_not_apply_to_market_orders() -> None:
    assert gate_of(gates(wide(price_collar=None)), order()) is None


# Sizes


def test_an_order_may_have_quantity_max_and_no_more() -> None:
    chain = gates(wide(quantity_max=D(2)))
    assert gate_of(chain, order(quantity=D(2))) is None
    assert gate_of(chain, order(quantity=D("2.1"))) == "quantity_max"


@pytest.mark.parametrize(
    ("side", "price", "passes"),
    [(1, "100", True), (1, "100.5", False), (-1, "100.5", False), (1, None, False), (-1, None, True)],
)
def test_notional_uses_the_limit_or_the_opposite_quote(side: int, price: str | None, passes: bool) -> None:
    chain = gates(wide(notional_max=D(1000)))
    asked = order(side, D(10), None if price is None else D(price))
    assert gate_of(chain, asked) == (None if passes else "notional_max")


def test_a_position_may_be_closed_however_large_it_is() -> None:
    chain = gates(wide(quantity_max=D(1), notional_max=D(1)))
    held = Exposure("all", D(50), D(0), 0)
    assert gate_of(chain, order(-1, D(50)), held) is None
    assert gate_of(chain, order(-1, D("50.1")), held) == "quantity_max"
    assert gate_of(gates(wide(quantity_max=None, notional_max=None)), order(-1, D(50)), held) is None


# Counts


def test_open_orders_max_bounds_the_open_orders() -> None:
    chain = gates(wide(open_orders_max=2))
    assert gate_of(chain, order(), msgspec.structs.replace(FREE, open_orders=1)) is None
    assert gate_of(chain, order(), msgspec.structs.replace(FREE, open_orders=2)) == "open_orders"
    by_operator = Exposure("all", D(5), D(0), 2, by_operator=True)
    assert gate_of(chain, order(-1), by_operator) is None


def test_messages_within_a_second_are_counted_with_cancels() -> None:
    clock = HandClock(S)
    chain = gates(wide(message_rate_max=3.0, stale_after_s=100.0), clock=clock)
    assert gate_of(chain, order()) is None
    chain.count_message("A")
    assert gate_of(chain, order()) is None
    verdict = refused(chain, order())
    assert verdict is not None
    assert (verdict.observed, verdict.threshold) == (4, 3.0)
    assert gate_of(chain, order(strategy="B")) is None
    clock.at_ns = 2 * S - 1
    assert gate_of(chain, order()) == "message_rate"
    clock.at_ns = 2 * S
    assert gate_of(chain, order()) is None


def test_a_refused_order_is_no_message() -> None:
    chain = gates(wide(message_rate_max=1.0, quantity_max=D(1)))
    for _ in range(5):
        assert gate_of(chain, order(quantity=D(2))) == "quantity_max"
    assert gate_of(chain, order()) is None
    assert gate_of(chain, order()) == "message_rate"


def test_a_rate_below_one_is_one_message_in_so_many_seconds() -> None:
    clock = HandClock(S)
    chain = gates(wide(message_rate_max=0.5), clock=clock)
    assert gate_of(chain, order()) is None
    clock.at_ns = 3 * S - 1
    assert gate_of(chain, order()) == "message_rate"
    clock.at_ns = 3 * S
    assert gate_of(chain, order()) is None


def test_operator_orders_have_no_rate_limit() -> None:
    chain = gates(wide(message_rate_max=1.0))
    assert gate_of(chain, order()) is None
    assert gate_of(chain, order(-1), Exposure("all", D(5), D(0), 0, by_operator=True)) is None


# What is missing

LIMITS = ["quantity_max", "notional_max", "price_collar", "open_orders_max", "message_rate_max", "stale_after_s"]


@pytest.mark.parametrize("value", [None, D("NaN"), float("nan"), D("Infinity"), D(-1), "nothing"])
@pytest.mark.parametrize("field", LIMITS)
def test_a_missing_limit_refuses_with_the_line_to_add(field: str, value: Any) -> None:
    verdict = refused(gates(wide(**{field: value})), order(price=D(100)))
    assert verdict is not None
    assert verdict.threshold == "not set"
    added = tomllib.loads(verdict.reason.partition("add:\n")[2])
    completed = wide(**{field: getattr(msgspec.convert(added["risk"], RiskLimits), field)})
    assert refused(gates(completed), order(price=D(100))) is None


@pytest.mark.parametrize("value", [None, D("NaN"), D(0), D(-1)])
@pytest.mark.parametrize("field", ["price_tick", "lot_size"])
def test_a_missing_step_refuses_with_the_line_to_add(field: str, value: Any) -> None:
    lacking = msgspec.structs.replace(KNOWN[0], **{field: value})
    verdict = refused(gates(instruments=[lacking]), order(price=D(100)))
    assert verdict is not None
    added = tomllib.loads(verdict.reason.partition("add:\n")[2])["instruments"][BTC]
    completed = msgspec.structs.replace(KNOWN[0], **{field: D(added[field])})
    assert refused(gates(instruments=[completed]), order(price=D(100))) is None


def test_without_any_limit_nothing_passes() -> None:
    assert gate_of(gates(None), order()) == "instrument"
    assert gate_of(gates(RiskLimits(stale_after_s=1.0)), order()) == "quantity_max"


def test_an_instruments_own_limits_go_before_the_engines() -> None:
    own = Instrument(BTC, D("0.5"), D("0.1"), RiskLimits(quantity_max=D(1)))
    chain = gates(wide(quantity_max=D(5)), instruments=[own, KNOWN[1]])
    assert gate_of(chain, order(quantity=D(2))) == "quantity_max"
    assert gate_of(chain, order(quantity=D(2), instrument=ETH)) is None
    assert chain.limits_of(BTC).notional_max == WIDE.notional_max


def test_an_instruments_nan_limit_is_not_replaced() -> None:
    own = Instrument(BTC, D("0.5"), D("0.1"), RiskLimits(quantity_max=D("NaN")))
    assert gate_of(gates(instruments=[own]), order()) == "quantity_max"


def test_floats_and_ints_are_limits_too() -> None:
    chain = gates(wide(quantity_max=0.3), instruments=[Instrument(BTC, 0.5, 0.1)])  # type: ignore[arg-type]
    assert gate_of(chain, order(quantity=D("0.3"))) is None
    assert gate_of(chain, order(quantity=D("0.4"))) == "quantity_max"


def test_an_instrument_listed_twice_is_an_error() -> None:
    with pytest.raises(OptionError, match="twice"):
        gates(instruments=[KNOWN[0], KNOWN[0]])


# User gates


class Weekdays:
    name = "weekdays"

    def check(self, request: GateRequest) -> GateVerdict:
        return GateVerdict(passed=False, observed="Sunday", threshold="Monday to Friday", reason="wait for Monday")


class Broken:
    name = "broken"

    def check(self, request: GateRequest) -> GateVerdict:
        raise RuntimeError("no calendar")


def test_a_custom_gate_comes_last_and_is_counted() -> None:
    chain = gates()
    chain.add(Weekdays())
    assert isinstance(Weekdays(), Gate)
    assert refused(chain, order()) == GateVerdict(False, "Sunday", "Monday to Friday", "wait for Monday")
    assert chain.counts()["weekdays"] == (0, 1)


def test_a_gate_that_raises_refuses(caplog: pytest.LogCaptureFixture) -> None:
    chain = gates()
    chain.add(Broken())
    verdict = refused(chain, order())
    assert verdict is not None
    assert (verdict.passed, verdict.observed) == (False, "RuntimeError: no calendar")
    assert "gate broken raised" in caplog.text


def test_two_gates_of_one_name_are_an_error() -> None:
    chain = gates()
    chain.add(Weekdays())
    with pytest.raises(OptionError, match="weekdays"):
        chain.add(Weekdays())
    assert gate_of(chain, order()) == "weekdays"


def test_messages_of_a_rate_that_never_forgets_are_bounded() -> None:
    seen: list[int] = []

    class Looks:
        name = "looks"

        def check(self, request: GateRequest) -> GateVerdict:
            seen.append(len(request.messages))
            return GateVerdict(passed=True, observed=0, threshold=0)

    chain = gates(wide(message_rate_max=1e-300))
    chain.add(Looks())
    for _ in range(1_000):
        chain.count_message("A")
    assert gate_of(chain, order()) == "message_rate"
    # By an operator it passes, and the gate behind sees what is kept.
    assert gate_of(chain, order(-1, reduce_only=True), Exposure("none", D(5), D(0), 0, by_operator=True)) is None
    assert seen == [2]


@pytest.mark.parametrize("count", ["2.5", "2.7", "2.3", 0.1])
def test_part_of_an_order_is_no_count(count: Any) -> None:
    verdict = refused(gates(wide(open_orders_max=count)), order())
    assert verdict is not None
    assert "open_orders_max is not set, or is no number" in verdict.reason
    assert gate_of(gates(wide(open_orders_max=2)), order()) is None


def test_a_missing_rate_is_refused_with_the_count_that_it_would_be() -> None:
    chain = gates(wide(message_rate_max=None))
    chain.count_message("A")
    verdict = refused(chain, order())
    assert verdict is not None
    assert (verdict.observed, verdict.threshold) == (2, "not set")


# Books


@pytest.mark.parametrize(("state", "passes"), [(None, True), ("LIVE", True), ("SYNCING", False), ("STALE", False)])
def test_who_uses_books_orders_only_where_the_book_is_live(state: str | None, passes: bool) -> None:
    asked: list[tuple[str, str]] = []

    def books(strategy: str, instrument: str) -> str | None:
        asked.append((strategy, instrument))
        return state

    refusal = gates(books=books).check(order(), FREE)
    assert asked == [("A", BTC)]
    assert (refusal is None) == passes
    if refusal is not None:
        verdict = refusal.verdict
        assert (refusal.gate, verdict.observed, verdict.threshold) == ("instrument", state, "LIVE")
        assert "A uses it" in verdict.reason


@pytest.mark.parametrize("passed", [1, "yes", None, np.True_])
def test_gate_whose_answer_is_no_bool_refuses(passed: Any) -> None:
    class Vague:
        name = "vague"

        def check(self, request: GateRequest) -> GateVerdict:
            return GateVerdict(passed, "", "")

    chain = gates()
    chain.add(Vague())
    assert gate_of(chain, order()) == "vague"


# Trades


@pytest.mark.parametrize(
    ("age_s", "passes"),
    [(0.0, True), (5.0, True), (5.1, False), (None, False)],
    ids=["now", "at the limit", "old", "none"],
)
def test_a_strategy_of_trades_orders_only_while_they_are_fresh(age_s: float | None, passes: bool) -> None:
    chain = gates(wide(stale_after_s=5.0), trades=lambda _strategy, _instrument: {"trade": newest_ns(age_s)})
    verdict = refused(chain, order())
    assert (verdict is None) == passes
    if verdict is not None:
        assert "trade" in verdict.reason
    # What reduces a position, and what an operator sends, needs no trade.
    assert gate_of(chain, order(-1, reduce_only=True), Exposure("none", D(5), D(0), 0, by_operator=True)) is None
    assert gate_of(chain, order(-1), Exposure("all", D(5), D(0), 0)) is None


def newest_ns(age_s: float | None) -> int | None:
    # The clock stands at a second.
    return None if age_s is None else S - round(age_s * 1e9)
