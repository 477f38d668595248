"""Real orders against the simulated venue: sent once, whatever becomes of the answer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from headrace.errors import OptionError, VenueRequestError
from headrace.execution import RunResult, Store
from headrace.trading.brokers.binance import BinanceBroker
from headrace.trading.brokers.outcome import AskableBroker
from tests.support.executing import market, recommend, row, run, settings, statuses
from tests.support.venue_thread import INSTRUMENT, VenueThread


@pytest.fixture(scope="module")
def venue() -> Iterator[VenueThread]:
    with VenueThread() as made:
        yield made


def broker(venue: VenueThread) -> BinanceBroker:
    return BinanceBroker(rest_url=venue.rest_url, api_key="test-key", secret="test-secret", timeout_s=2)


# Two units of the book's 100.
REAL = settings(execution_mode="REAL", paper_equity=Decimal(1_000), max_position_pct=Decimal("0.205"))


def real(store: Store, venue: VenueThread, **options: Any) -> RunResult:
    return run(store, REAL, broker=broker(venue), **options)


def orders_at(venue: VenueThread) -> int:
    return sum(len(own.rest.orders._orders) for own in venue.venue._markets.values())


@pytest.fixture
def one(store: Store) -> int:
    market(store, INSTRUMENT, close=100)
    [number] = recommend(store, ticker=INSTRUMENT, prefix=f"own-{time.time_ns()}")
    return number


def test_an_order_that_is_filled_is_executed_with_the_venues_price(store: Store, venue: VenueThread, one: int) -> None:
    assert isinstance(broker(venue), AskableBroker)
    result = real(store, venue)
    assert (result.counts.sent, result.counts.executed) == (1, 1)
    [found] = store.query("SELECT execution_mode, entry_price, qty, notional, client_order_id FROM dispatch_executions")
    assert [str(value) for value in found[:4]] == ["REAL", "100.1", "2", "200.2"]
    assert row(store, one, "status", "client_order_id") == ("EXECUTED", found[4])


def test_a_refused_order_fails_and_is_not_sent_again(store: Store, venue: VenueThread) -> None:
    market(store, "NOTHING.BINANCE", close=100)
    [number] = recommend(store, ticker="NOTHING.BINANCE")
    assert real(store, venue).counts.failed == 1
    status, why = row(store, number, "status", "failure_reason")
    assert status == "FAILED"
    assert "Invalid symbol" in str(why)


def sent_once_at_each_cut(store: Store, venue: VenueThread, sizes: range) -> None:
    market(store, INSTRUMENT, close=100)
    before = orders_at(venue)
    for size in sizes:
        recommend(store, ticker=INSTRUMENT, prefix=f"cut-{size}-{time.time_ns()}")
        venue.inject("cut_answer", 60, size=size)
        cut = real(store, venue).counts
        assert (cut.sent, cut.executed, cut.failed) == (1, 0, 0), size
        venue.inject("cut_answer", 0)
        assert real(store, venue).counts.executed == 1, size
    assert orders_at(venue) - before == len(sizes)
    assert statuses(store) == {"EXECUTED": len(sizes)}


@pytest.mark.timeout(120)
def test_an_answer_that_is_cut_leaves_the_order_sent_once(store: Store, venue: VenueThread) -> None:
    sent_once_at_each_cut(store, venue, range(0, 300, 60))


@pytest.mark.deep
@pytest.mark.timeout(900)
def test_an_answer_that_is_cut_at_every_byte_leaves_the_order_sent_once(store: Store, venue: VenueThread) -> None:
    sent_once_at_each_cut(store, venue, range(300))


def test_a_venue_that_denies_the_order_for_a_while_gets_it_once(store: Store, venue: VenueThread, one: int) -> None:
    before = orders_at(venue)
    venue.inject("unseen_orders", 1)
    venue.inject("cut_answer", 60, size=0)
    assert real(store, venue).counts.sent == 1
    venue.inject("cut_answer", 0)
    assert real(store, venue).counts.executed == 0
    assert row(store, one, "status") == ("SENT",)
    deadline = time.monotonic() + 10
    while row(store, one, "status") == ("SENT",) and time.monotonic() < deadline:
        real(store, venue)
    venue.inject("unseen_orders", 0)
    assert row(store, one, "status") == ("EXECUTED",)
    assert orders_at(venue) - before == 1


def test_an_order_that_never_arrived_fails_at_the_horizon(store: Store, venue: VenueThread, one: int) -> None:
    before = orders_at(venue)
    venue.inject("unavailable", 60)
    assert real(store, venue).counts.sent == 1
    venue.inject("unavailable", 0)
    assert real(store, venue).counts.failed == 0
    short = settings(execution_mode="REAL", outcome_horizon_minutes=Decimal("0.000001"))
    assert run(store, short, broker=broker(venue)).counts.failed == 1
    assert row(store, one, "status") == ("FAILED",)
    assert orders_at(venue) == before


def test_a_halt_between_commit_and_send_sends_nothing(store: Store, venue: VenueThread, one: int) -> None:
    before, looks = orders_at(venue), []

    def halted() -> bool:
        # Set once the row is SENT.
        looks.append(1)
        return row(store, one, "status") == ("SENT",)

    real(store, venue, is_halted=halted)
    status, why = row(store, one, "status", "failure_reason")
    assert status == "FAILED"
    assert "kill switch" in str(why)
    assert orders_at(venue) == before


def test_a_sent_row_is_neither_reaped_nor_claimed(store: Store, venue: VenueThread, one: int) -> None:
    venue.inject("cut_answer", 60, size=0)
    real(store, venue)
    venue.inject("cut_answer", 0)
    result = run(store, settings(processing_ttl_minutes=Decimal("0.000001")))
    assert (result.counts.reaped, result.counts.pulled) == (0, 0)
    assert row(store, one, "status") == ("SENT",)


def test_the_daily_limit_counts_orders_on_their_way(store: Store, venue: VenueThread, one: int) -> None:
    venue.inject("cut_answer", 60, size=0)
    real(store, venue)
    [other] = recommend(store, ticker=INSTRUMENT, prefix="other")
    run(store, settings(max_trades_per_ticker_per_day=1))
    venue.inject("cut_answer", 0)
    assert row(store, other, "failure_reason") == ("gates: ticker_daily_limit",)


def test_real_without_a_broker_refuses_to_run(store: Store) -> None:
    with pytest.raises(OptionError, match=r"\[broker\]"):
        run(store, REAL)


def test_a_wrong_key_is_an_error_of_the_request(venue: VenueThread) -> None:
    wrong = BinanceBroker(rest_url=venue.rest_url, api_key="no", secret="no")
    with pytest.raises(VenueRequestError, match="401"):
        wrong.outcome("x", INSTRUMENT)
