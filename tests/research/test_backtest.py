"""``headrace.backtest``: what is filled in, what a result holds, and that its money adds up."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import headrace
from headrace import BacktestResult, Instrument, Strategy
from headrace.bus import read_audit
from headrace.errors import DataError, OptionError
from headrace.feeds import CandleFeed, RecordingFeed
from headrace.market.events import Bar, OrderFill
from headrace.research.settings import PAPER_LIMITS
from headrace.trading.brokers import Fees
from headrace.trading.margin import Margin
from tests.support import candles as support
from tests.support.backtests import DAY, SECOND, Acts, Reverting, path, walk
from tests.support.engines import START
from tests.support.feeding import BTC, ETH

COIN = "BTCUSD_PERP.BINANCE_COINM"
LINEAR = "SOLUSDT.BINANCE_USDM"


def test_a_backtest_needs_no_more_than_a_strategy_and_data() -> None:
    result = headrace.backtest(Reverting, walk())
    assert len(result.fills) > 50
    assert result.currency == "USDT"
    assert result.cash == {"USDT": Decimal(100_000)}
    noted = " ".join(result.notes)
    for text in ("100,000.00 USDT", "quantity_max", "price tick", "fees of BINANCE: maker 0.1"):
        assert text in noted


def test_money_adds_up_for_random_orders_on_every_contract(seed: int) -> None:
    """By a recomputation in fractions from the fills alone: equity is cash and all profit, less fees."""
    rng = random.Random(seed)
    for _ in range(6):
        data = [walk(300, instrument=name, seed=rng.randrange(1 << 30)) for name in (BTC, LINEAR, COIN)]
        acts = {n: rng.choice([-3, -2, -1, 1, 2, 3]) for n in rng.sample(range(1, 880), 60)}
        cash = {"USDT": 10_000, "BTC": 50}
        fees = {"BINANCE": Fees(Decimal("-0.0001"), Decimal("0.001"))}
        result = headrace.backtest(Acts(acts), data, cash=cash, fees=fees)
        assert result.fills
        for currency, deposit in cash.items():
            assert_adds_up(result, currency, Fraction(deposit))


def assert_adds_up(result: BacktestResult, currency: str, deposit: Fraction) -> None:
    size = {BTC: 1, LINEAR: 1, COIN: 100}
    flow, held = deposit, dict.fromkeys(size, Fraction(0))
    fills = [fill for fill in result.fills if fill.currency == currency]
    for fill in fills:
        signed = Fraction(fill.quantity) * fill.side
        worth = (
            -signed * size[fill.instrument] / Fraction(fill.price)
            if fill.instrument == COIN
            else signed * Fraction(fill.price)
        )
        flow -= worth + Fraction(fill.fee)
        held[fill.instrument] += signed
    marks = {row.instrument: row.mark for row in result.positions}
    for name, quantity in held.items():
        if quantity:
            mark = Fraction(str(marks[name]))
            flow += -quantity * size[name] / mark if name == COIN else quantity * mark
    allowed = Fraction(1, 10**18) * (len(fills) + 1)
    balance = {name: Fraction(str(amount)) for name, amount in result.balances[currency].items()}
    assert abs(balance["equity"] - flow) <= allowed
    parts = balance["deposit"] + balance["realized_pnl"] + balance["unrealized_pnl"] - balance["fees"]
    assert abs(parts - flow) <= allowed
    # The round trips hold all of the profit, and the curve ends where the money does.
    net = sum(Fraction(trade.net_pnl) for trade in result.trades if trade.currency == currency)
    assert abs(deposit + net - flow) <= allowed * 10
    assert result.curves[currency]["equity"][-1] == float(balance["equity"])


def test_the_curve_holds_all_fills_and_marks_until_each_time() -> None:
    acts = {1: 2, 3: -1, 5: -1}
    result = headrace.backtest(Acts(acts), path([100, 101, 102, 103, 104, 105, 106]), cash=1_000, fees=0)
    curve = result.equity
    # Orders meet the quote after their own: bought 2 at 101.01, sold 1 at 102.99 and 1 at 104.99.
    assert curve["equity"].tolist() == pytest.approx([1_000, 999.98, 1_001.98, 1_003.97, 1_004.97, 1_005.96, 1_005.96])
    assert curve["ts"][0] == START
    assert np.all(np.diff(curve["ts"]) == SECOND)
    assert curve["exposure"][1] == pytest.approx(202 / 999.98)
    assert curve["benchmark"][-1] == pytest.approx(1_060)


def test_an_open_position_stays_in_the_result_flagged() -> None:
    result = headrace.backtest(Acts({1: 3}), path([100, 101, 102]), cash=1_000)
    (trade,) = result.trades
    assert (trade.is_open, trade.quantity, trade.exit_price) == (True, Decimal(3), Decimal(102))
    (position,) = result.positions
    assert (position.is_open, position.quantity, position.mark) == (True, Decimal(3), Decimal(102))
    assert (result.statistics.trades, result.statistics.open_trades) == (0, 1)


def test_a_trip_knows_its_worst_and_best_profit() -> None:
    """Bought 2 at 101.01; the mids fall to 95 and rise to 110 before it is sold at 106.99."""
    result = headrace.backtest(Acts({1: 2, 6: -2}), path([100, 101, 97, 95, 110, 106, 107, 300]), cash=1_000, fees=0)
    (trade,) = result.trades
    assert trade.mae == pytest.approx(2 * (95 - 101.01))
    assert trade.mfe == pytest.approx(2 * (110 - 101.01))
    assert float(trade.pnl) == pytest.approx(2 * (106.99 - 101.01))
    assert trade.duration_ns == 5 * SECOND


def test_a_flip_ends_one_trip_and_begins_another() -> None:
    result = headrace.backtest(Acts({1: 2, 3: -5, 5: 3}), path([100, 101, 102, 103, 104, 105, 106]), fees="0.001")
    first, second = result.trades
    assert (first.side, first.quantity, second.side, second.quantity) == (1, Decimal(2), -1, Decimal(3))
    assert first.exit_ts == second.entry_ts
    assert first.fees + second.fees == sum(fill.fee for fill in result.fills)
    assert float(first.pnl) == pytest.approx(2 * (102.99 - 101.01))
    assert float(second.pnl) == pytest.approx(3 * (102.99 - 105.01))


def test_a_tag_reaches_orders_and_trips() -> None:
    act = lambda strategy: strategy.buy(BTC, 1, tag="breakout")  # noqa: E731 - short
    result = headrace.backtest(Acts({1: act, 3: -1}), path([100, 101, 102, 103, 104]))
    assert [order.tag for order in result.orders] == ["breakout", ""]
    assert [trade.tag for trade in result.trades] == ["breakout"]


@pytest.mark.parametrize("tag", [1, None, "x" * 65], ids=repr)
def test_a_tag_is_a_short_text(tag: Any) -> None:
    act = lambda strategy: strategy.buy(BTC, 1, tag=tag)  # noqa: E731 - short
    with pytest.raises(headrace.HeadraceError, match="tag="):
        headrace.backtest(Acts({1: act}), path([100, 101]))


# Cash


def test_cash_without_a_currency_is_of_the_only_one() -> None:
    result = headrace.backtest(Acts({}), walk(10), cash="5000")
    assert result.cash == {"USDT": Decimal(5_000)}


def test_cash_without_a_currency_is_refused_for_two() -> None:
    with pytest.raises(
        OptionError, match=r"cash=5000 names no currency, and the data have BTC, USDT: write cash='5000BTC'"
    ):
        headrace.backtest(Acts({}), [walk(10), walk(10, instrument=COIN)], cash=5_000)


def test_cash_names_its_currencies() -> None:
    result = headrace.backtest(Acts({}), [walk(10), walk(10, instrument=COIN)], cash="5_000USDT, 2BTC")
    assert result.cash == {"USDT": Decimal(5_000), "BTC": Decimal(2)}
    assert result.currency == "USDT"
    assert set(result.curves) == {"USDT", "BTC"}


@pytest.mark.parametrize(
    "cash", ["much", "-5", "5USDT,6USDT", "5,6USDT", {}, {"USDT": -1}, float("nan"), True], ids=repr
)
def test_wrong_cash_is_refused(cash: Any) -> None:
    with pytest.raises(OptionError, match="cash"):
        headrace.backtest(Acts({}), walk(10), cash=cash)


def test_orders_beyond_the_cash_are_refused_and_shown() -> None:
    result = headrace.backtest(Acts({1: 20, 2: 9}), path([100, 100, 100, 100]), cash=1_000)
    refused, filled = result.orders
    assert (refused.state, refused.gate, filled.state) == ("rejected", "cash", "filled")
    assert "1,000.00 USDT is free" in refused.reason
    assert "refused orders" in str(result)


# Fees


def test_fees_are_those_of_the_venue_unless_given() -> None:
    paid = {}
    for name in (BTC, LINEAR):
        result = headrace.backtest(Acts({1: 1}), path([100, 100, 100], instrument=name))
        paid[name] = result.fills[0].fee
    assert paid == {BTC: Decimal("0.10001"), LINEAR: Decimal("0.050005")}


def test_fees_of_an_unknown_venue_are_0_and_said() -> None:
    known = Instrument("ES-USD.ELSEWHERE", price_tick=Decimal("0.01"), lot_size=Decimal(1))
    result = headrace.backtest(Acts({1: 1}), path([100, 100, 100], instrument=known.name), instruments=known)
    assert result.fills[0].fee == 0
    assert any(note.startswith("warning: fees of ELSEWHERE are not known") for note in result.notes)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("margin", Margin(leverage=Decimal(2))),
        ("fees", Fees(Decimal("0.1"), Decimal("0.1"))),
        ("latency", "1s"),
        ("fill", "path"),
    ],
)
def test_names_in_options_that_are_of_nothing_are_told(option: str, value: Any) -> None:
    wrong = {"BINANCE_USM": value, "BTCUSDT.BINANCE_USDN": value, "BINANCE_COINM": value, BTC: value}
    if option == "margin":
        del wrong[BTC]  # Spot has none.
    options: Any = {option: wrong}
    result = headrace.backtest(Acts({}), walk(10), **options)
    assert [note for note in result.notes if "is of nothing" in note] == [
        f"warning: {option} of 'BINANCE_USM' is of nothing in the data (did you mean BINANCE_USDM?)",
        f"warning: {option} of 'BTCUSDT.BINANCE_USDN' is of nothing in the data (did you mean {BTC}?)",
    ]


@pytest.mark.parametrize("given", [["BTCUSTD.BINANCE"], [BTC, "BTCUSTD.BINANCE"], [BTC]], ids=["none", "one", "all"])
@pytest.mark.parametrize("form", ["ticks", "candles"])
def test_instruments_that_the_data_lack_are_told(form: str, given: list[str]) -> None:
    minutes = support.candles(support.flat(*[100.0] * 10))
    data = walk(10) if form == "ticks" else CandleFeed(minutes, instrument=BTC)
    result = headrace.backtest(Acts({}), data, instruments=given)
    problem = f"the data have nothing of 'BTCUSTD.BINANCE' (did you mean {BTC}?); there is {BTC}"
    told = [note for note in result.notes if note.startswith("warning: instruments: ")]
    assert told == [f"warning: instruments: {problem}"] * (given != [BTC])


@pytest.mark.parametrize(("fees", "taker"), [("0.002", "0.20002"), ("0.0001/0.0003", "0.030003"), (0.001, "0.10001")])
def test_fees_are_one_rate_or_two(fees: Any, taker: str) -> None:
    result = headrace.backtest(Acts({1: 1}), path([100, 100, 100]), fees=fees)
    assert result.fills[0].fee == Decimal(taker)


@pytest.mark.parametrize("fees", ["much", "1/2/3", True, {"BINANCE": 0.1}, "2"], ids=repr)
def test_wrong_fees_are_refused(fees: Any) -> None:
    with pytest.raises(OptionError, match="fee"):
        headrace.backtest(Acts({}), walk(10), fees=fees)


def test_a_broker_of_ones_own_has_its_own_fees() -> None:
    with pytest.raises(OptionError, match="fees is given with broker="):
        headrace.backtest(Acts({}), walk(10), fees=0, broker=headrace.SimulatedBroker())


# Span and latency


def test_start_and_end_bound_the_data() -> None:
    start, end = "2026-01-05T01:00", "2026-01-05T02:00:00"
    result = headrace.backtest(Acts({}), walk(500), start=start, end=end)
    assert result.engine["ticks"]["quote"] == 60
    assert result.equity["ts"][0] == START + 3_600 * SECOND
    assert result.settings["start_ns"] == START + 3_600 * SECOND


def test_a_recording_is_cut_at_whole_lines(spot_file: Path) -> None:
    whole = headrace.backtest(Acts({}), spot_file)
    first = whole.engine["first_ns"]
    middle = first + whole.engine["span_ns"] // 3
    parts = [headrace.backtest(Acts({}), spot_file, end=middle), headrace.backtest(Acts({}), spot_file, start=middle)]
    assert all(sum(part.engine["rejected"].values()) == 0 for part in parts)
    for name, count in whole.engine["frames"].items():
        assert sum(part.engine["frames"][name] for part in parts) == count
    assert parts[1].engine["first_ns"] >= middle
    assert parts[0].engine["first_ns"] + parts[0].engine["span_ns"] < middle


@pytest.mark.parametrize("given", [{"start": "soon"}, {"end": True}, {"start": 9, "end": 9}, {"start": -1}], ids=str)
def test_a_wrong_span_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=r"start|end"):
        headrace.backtest(Acts({}), walk(10), **given)


def test_a_span_without_data_names_the_times_that_there_are(spot_file: Path) -> None:
    said = "holds nothing from start to end: what was read lies between 2026-01-05 00:00:00.0"
    for data in (walk(10), candles(), spot_file):
        with pytest.raises(DataError, match=said):
            headrace.backtest(Acts({}), data, start="2031-01-01")
    with pytest.raises(DataError, match="holds nothing from start to end"):
        headrace.backtest(Acts({}), candles(), end="2001-01-01")
    # One of several files may lie outside.
    assert headrace.backtest(Acts({}), [walk(10), walk(10, start_ns=START + DAY)], start=START + DAY).curves


def test_times_of_a_wrong_span_are_readable() -> None:
    with pytest.raises(OptionError, match=r"start=2026-01-06 00:00:00\.0+ is not before end=2026-01-05 "):
        headrace.backtest(Acts({}), walk(10), start="2026-01-06", end="2026-01-05")


def test_candles_in_a_bare_frame_are_told_how_to_say_what_they_are_of() -> None:
    frame = pl.DataFrame({name: [1.0, 2.0] for name in ("time", "open", "high", "low", "close", "volume")})
    for data in (frame, [frame]):
        with pytest.raises(OptionError, match=r"give CandleFeed\(frame, instrument='BTCUSDT.BINANCE'\)"):
            headrace.backtest(Acts({}), data)


def test_latency_delays_the_fill() -> None:
    result = headrace.backtest(Acts({1: 1}), path([100, 101, 102, 103]), latency="1500ms")
    assert result.fills[0].price == Decimal("102.01")


@pytest.mark.parametrize(
    "option", [{"csh": 1}, {"fill": "qoute"}, {"seed": -1}, {"latency": "x"}, {"hashing": 1}], ids=str
)
def test_a_wrong_option_is_refused(option: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        headrace.backtest(Acts({}), walk(10), **option)


# The same twice


class Dice(Strategy):
    """Trades at random, by the generators that the seed of a backtest sets."""

    def on_quote(self, instrument: str) -> None:
        if random.random() < 0.1:
            (self.buy if np.random.random() < 0.5 else self.sell)(instrument, 1)  # noqa: NPY002 - what users write


def test_one_seed_is_one_hash_and_generators_stay_as_they_were() -> None:
    random.seed(3)
    before = random.getstate()
    hashes = {headrace.backtest(Dice, walk(300), seed=5).audit_hash for _ in range(10)}
    assert len(hashes) == 1
    assert random.getstate() == before
    assert headrace.backtest(Dice, walk(300), seed=6).audit_hash not in hashes


def test_two_processes_have_one_hash(spot_file: Path) -> None:
    code = (
        "import sys, headrace\n"
        "from headrace.examples.momentum import Momentum\n"
        "print(headrace.backtest(Momentum, sys.argv[1]).audit_hash)"
    )
    told = {
        subprocess.run([sys.executable, "-c", code, spot_file], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert len(told) == 1
    assert len(told.pop().strip()) == 64


def test_a_strategy_that_raises_in_the_middle_leaves_a_readable_audit(tmp_path: Path) -> None:
    class Breaks(Reverting):
        def on_quote(self, instrument: str, bid_price: float, ask_price: float) -> None:
            super().on_quote(instrument, bid_price, ask_price)
            if self.count == 20:
                raise ZeroDivisionError("in the middle")

    with pytest.raises(ZeroDivisionError, match="in the middle"):
        headrace.backtest(Breaks, walk(), audit=tmp_path / "audit.jsonl")
    events = list(read_audit(tmp_path / "audit.jsonl"))
    whole = headrace.backtest(Reverting, walk())
    filled = [(own.ts, own.quantity, own.price) for own in events if isinstance(own, OrderFill)]
    assert len(filled) > 5
    assert filled == [(own.ts, own.quantity, own.price) for own in whole.fills[: len(filled)]]


def test_the_audit_hash_is_that_of_the_audits_lines(tmp_path: Path) -> None:
    result = headrace.backtest(Reverting, walk(), audit=tmp_path / "audit.jsonl")
    lines = (tmp_path / "audit.jsonl").read_bytes().split(b"\n", 1)[1]
    assert hashlib.sha256(lines).hexdigest() == result.audit_hash


def test_hashing_can_be_left_out() -> None:
    result = headrace.backtest(Reverting, walk(), hashing=False)
    assert (result.audit_hash, result.input_hash) == (None, None)


def test_a_backtest_decides_what_an_engine_decides() -> None:
    """Watching a run changes nothing in it."""
    watched = headrace.backtest(Reverting, walk(), cash=10**9, fees=0)
    engine = headrace.Engine(
        mode="replay",
        feeds=walk(),
        strategies=[Reverting],
        broker=headrace.SimulatedBroker(),
        instruments=[Instrument(BTC, price_tick=Decimal("0.00000001"), lot_size=Decimal("0.00000001"))],
        limits=PAPER_LIMITS,
    )
    report = engine.run()
    assert watched.report is not None
    assert watched.equity_end is not None
    assert report.strategies["Reverting"].orders == watched.report.strategies["Reverting"].orders
    assert report.totals["USDT"].equity == watched.equity_end - 10**9


# Around it


def test_a_backtest_runs_inside_of_an_event_loop() -> None:
    async def notebook() -> BacktestResult:
        return headrace.backtest(Reverting, walk(200))

    assert asyncio.run(notebook()).audit_hash == headrace.backtest(Reverting, walk(200)).audit_hash


class Interrupted(Reverting):
    def on_quote(self, instrument: str, bid_price: float, ask_price: float) -> None:
        super().on_quote(instrument, bid_price, ask_price)
        if self.count == 5:
            os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_reports_what_ran() -> None:
    result = headrace.backtest(Interrupted, [walk(200_000, every_ns=SECOND)])
    assert result.stopped
    assert result.fills
    assert "stopped early" in str(result)


def test_progress_has_the_time_of_the_market() -> None:
    seen: list[Any] = []
    headrace.backtest(Acts({}), walk(200_000, every_ns=SECOND), progress=seen.append)
    assert all(START <= own.now_ns < START + 3 * DAY for own in seen)
    assert seen


def test_data_before_the_run_are_read_again_by_it(spot_file: Path) -> None:
    feed = RecordingFeed(spot_file)
    assert headrace.backtest(Acts({}), feed).input_hash == headrace.backtest(Acts({}), spot_file).input_hash


def test_instruments_of_ones_own_are_used() -> None:
    coarse = Instrument(BTC, price_tick=Decimal("0.01"), lot_size=Decimal("0.5"))
    result = headrace.backtest(Acts({1: "0.7"}), path([100, 101, 102]), instruments=coarse)
    assert result.orders[0].gate == "tick_and_lot"


def test_an_instrument_that_the_data_lack_is_refused() -> None:
    act = lambda strategy: strategy.buy(ETH, 1)  # noqa: E731 - short
    result = headrace.backtest(Acts({1: act}), path([100, 101, 102]))
    assert result.orders[0].gate == "instrument"


# Candles


class Alternating(Strategy):
    """Buys at each close while it is flat, and sells at the next one."""

    bars = ("1d",)

    def on_bar(self, bar: Bar) -> None:
        held = self.position(bar.instrument).quantity
        (self.sell if held else self.buy)(bar.instrument, 1)


def candles(count: int = 4) -> CandleFeed:
    days = START + DAY * np.arange(count)
    opens = 100 + 10.0 * np.arange(count)
    columns = {"ts_open": days, "open": opens, "high": opens + 8, "low": opens - 5, "close": opens + 4}
    return CandleFeed(pd.DataFrame({**columns, "volume": 1.0}), instrument=BTC, timeframe="1d")


def test_candles_mark_positions_and_trips() -> None:
    """Bought at the open of the second day, 110, sold at that of the third, 120."""
    result = headrace.backtest(Alternating, candles(3), cash=1_000, fees=0)
    assert [fill.price for fill in result.fills] == [110, 120]
    (trade,) = result.trades
    assert (trade.mae, trade.mfe, trade.pnl) == (-5.0, 10.0, Decimal(10))
    assert result.equity["equity"].tolist() == [1_000, 1_000, 1_004, 1_010]
    assert result.equity["ts"].tolist() == (START + DAY * np.arange(4)).tolist()


def test_candles_are_part_of_the_input_hash() -> None:
    hashes = [headrace.backtest(Alternating, candles(count)).input_hash for count in (4, 4, 5)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_start_and_end_bound_candles() -> None:
    result = headrace.backtest(Alternating, candles(), start=START + DAY, end=START + 3 * DAY)
    assert result.engine["lanes"]["data"]["published"] == 2
