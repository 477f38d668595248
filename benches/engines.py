"""A whole engine over ticks: bus, orders, risk gates, simulated broker, audit, live turns, bars (row 11).

::

    columns ─┬▶ A                   ready-made objects
             ├▶ headrace.replay ─┐
             ├▶ Engine, replay  ─┼▶ the very same handler, prices and sum
             ├▶ Engine, live    ─┤  speed=1e9
             └▶ Engine, + parts ─┘  bars · hashes · one order in 1,000 ticks through gates, broker and audit
    a session's file ─▶ headrace.replay │ Engine            with its parsing, in a thread beside

Guarantees: every way counted and summed every tick; each order of the full loop was filled and is in the audit.
Does not: measure a strategy that decides anything.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

# Recorded seconds per second: the array is over as fast as its ticks are handled.
FAST = 1e9
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402 - the script finds its own folder first

import headrace  # noqa: E402
from benches.baselines.bare_loop import bare_loop  # noqa: E402
from benches.harness import Case, Patience, Row, Span, Timer, interleave, rate, table  # noqa: E402
from benches.sessions import Everything  # noqa: E402
from benches.workload import CYCLE, check, columns, instrument_ids, instrument_names, quote_objects  # noqa: E402
from headrace.feeds import ArrayFeed, SyntheticFeed  # noqa: E402
from headrace.market.bars import BarSpec  # noqa: E402
from headrace.market.events import Bar, OrderFill  # noqa: E402
from headrace.trading.brokers.simulated import SimulatedBroker  # noqa: E402

TICKS_PER_ORDER = 1_000
STEP_NS = 100_000
# A Monday; any time will do.
START_NS = 1_767_571_200 * 10**9
# What nautilus' BacktestEngine reaches of A, in the table of targets; make bench-peers measures it anew.
NAUTILUS_OF_A = 0.026
INSTRUMENTS = 100
SESSION_FRAMES_MIN = 100_000
LIMITS = headrace.RiskLimits(
    quantity_max=Decimal(100),
    notional_max=Decimal(1_000_000),
    price_collar=Decimal("0.9"),
    open_orders_max=10_000,
    message_rate_max=1e9,
    stale_after_s=3_600.0,
)


class Adds(headrace.Strategy):
    """The handler everybody gets."""

    def __init__(self) -> None:
        self.sum = 0.0
        self.count = 0

    def on_quote(self, bid_price: float, ask_price: float) -> None:
        self.sum += (bid_price + ask_price) / 2
        self.count += 1


class Trades(headrace.Strategy):
    """The same, and an order each thousand ticks; what became of the order comes back to it."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.sum = 0.0
        self.count = 0
        self.fills = 0

    def on_quote(self, bid_price: float, ask_price: float) -> None:
        self.sum += (bid_price + ask_price) / 2
        self.count += 1
        if self.count % TICKS_PER_ORDER == 0:
            order = self.count // TICKS_PER_ORDER
            (self.buy if order % 2 else self.sell)(self.names[order // 2 % INSTRUMENTS], 1)

    def on_fill(self, _fill: OrderFill) -> None:
        self.fills += 1


class Closes(Adds):
    """The same, and it counts bars."""

    def __init__(self) -> None:
        super().__init__()
        self.bars_seen = 0

    def on_bar(self, _bar: Bar) -> None:
        self.bars_seen += 1


def market(count: int) -> np.ndarray:
    """The workload's quotes, 0.1 ms apart."""
    bid, ask = columns(count)
    ids = instrument_ids(count, INSTRUMENTS)
    return headrace.ticks(
        instrument=ids,
        ts_init=START_NS + STEP_NS * np.arange(count),
        kind="quote",
        bid_price=bid,
        ask_price=ask,
        bid_size=10.0,
        ask_size=10.0,
    )


def replayed(ticks: np.ndarray) -> Span:
    """``headrace.replay``: no engine."""
    strategy = Adds()
    with Timer() as timer:
        headrace.replay(ticks, strategy, instruments=instrument_names())
    check([strategy], len(ticks))
    return timer.per(len(ticks))


def engine(ticks: np.ndarray, make: Callable[[], Any] = Adds, **options: Any) -> Span:
    """An engine with one strategy; what it opens and closes is timed, too."""
    strategy = make()
    options = {"mode": "replay", "instruments": instrument_names(), **options}
    made = headrace.Engine(feeds=ArrayFeed(ticks), strategies=[strategy], **options)
    with Timer() as timer:
        made.run()
    check([strategy], len(ticks))
    return timer.per(len(ticks))


def full_loop(ticks: np.ndarray, folder: Path) -> Span:
    """Row 11: everything on, one order each thousand ticks."""
    names = instrument_names()
    strategy = Trades(names)
    audit = folder / "audit.jsonl"
    audit.unlink(missing_ok=True)
    lots = [headrace.Instrument(name, price_tick=Decimal(1) / 64, lot_size=Decimal(1)) for name in names]
    made = headrace.Engine(
        feeds=ArrayFeed(ticks),
        strategies=[strategy],
        instruments=lots,
        limits=LIMITS,
        broker=SimulatedBroker(),
        audit=audit,
        mode="replay",
    )
    with Timer() as timer:
        made.run()
    check([strategy], len(ticks))
    orders = len(ticks) // TICKS_PER_ORDER
    # The last one may still wait for the next quote of its instrument.
    assert orders - 2 <= strategy.fills <= orders, f"{strategy.fills} of {orders} orders were filled"
    filled = audit.read_bytes().count(b'"OrderFilled"')
    assert filled == strategy.fills, f"the audit has {filled} of {strategy.fills} fills"
    return timer.per(len(ticks))


def with_bars(ticks: np.ndarray, specs: tuple[BarSpec, ...]) -> Span:
    """Bars on: the strategy gets each one."""
    strategy = Closes()
    spec = headrace.StrategySpec(strategy=strategy, bars=list(specs))
    made = headrace.Engine(feeds=ArrayFeed(ticks), strategies=[spec], instruments=instrument_names(), mode="replay")
    with Timer() as timer:
        made.run()
    check([strategy], len(ticks))
    assert strategy.bars_seen > 0
    return timer.per(len(ticks))


def rows(count: int, frames: int, rounds: int, patience: Patience) -> list[Row]:
    """Measure with so many ticks, and a generated session of so many frames."""
    ticks = market(count)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cases = [
            Case("A", partial(bare_loop, quote_objects(), count)),
            Case("replay", partial(replayed, ticks)),
            Case("engine", partial(engine, ticks)),
            Case("live", partial(engine, ticks, mode="live", speed=FAST, state_folder=folder)),
            Case("full", partial(full_loop, ticks, folder)),
            Case("bars", partial(with_bars, ticks, (BarSpec(timeframe="1s", price="mid"),))),
            Case(
                "3 bars",
                partial(with_bars, ticks, tuple(BarSpec(timeframe=own, price="mid") for own in ("1s", "5s", "1m"))),
            ),
        ]
        result = interleave(cases, rounds, patience)

        def row(number: str, case: str, what: str, to: str, target: float | None = None) -> Row:
            return Row(number, what, rate(result.median_ns(case)), result.speed(case, to), to, target)

        extra = result.median_ns("bars") - result.median_ns("engine")
        more = result.median_ns("3 bars") - result.median_ns("bars")
        session = _session_rows(folder, frames, rounds, patience)
    return [
        row("", "engine", "engine, replay, array of quotes", "replay", 0.9),
        row("", "engine", "engine, replay, array of quotes", "A"),
        row("", "live", "engine, live, speed=FAST", "A"),
        row("", "live", "engine, live, speed=FAST", "replay"),
        row("11", "full", "full loop, an order in 1,000 ticks: 20 x nautilus", "A", 20 * NAUTILUS_OF_A),
        row("", "full", "full loop, an order in 1,000 ticks", "engine"),
        Row("", "1 s bars of 100 instruments", f"{extra:+.1f} ns/tick", result.speed("bars", "engine"), "engine"),
        Row("", "two more kinds of bar", f"{more:+.1f} ns/tick", result.speed("3 bars", "bars"), "one kind"),
        *session,
    ]


def _session_rows(folder: Path, frames: int, rounds: int, patience: Patience) -> list[Row]:
    # Shorter ones would measure how an engine starts and ends, some milliseconds.
    path = SyntheticFeed(frames=max(frames, SESSION_FRAMES_MIN)).write(folder / "generated.gz")
    expected = Everything()
    headrace.replay(path, expected)

    def timed(run: Callable[[Everything], object]) -> Span:
        strategy = Everything()
        with Timer() as timer:
            run(strategy)
        assert strategy.totals() == expected.totals(), "the engine's calls are not those of headrace.replay"
        return timer.per(strategy.count)

    cases = [
        Case("replay", lambda: timed(lambda own: headrace.replay(path, own)), clock="wall"),
        Case("engine", lambda: timed(lambda own: _run(path, own)), clock="wall"),
    ]
    result = interleave(cases, rounds, patience)
    what = f"engine, replay, session of {expected.count:,} ticks"
    return [Row("", what, rate(result.median_ns("engine")), result.speed("engine", "replay"), "replay", 0.9)]


def _run(path: Path, strategy: headrace.Strategy) -> None:
    headrace.Engine(feeds=path, strategies=[strategy], mode="replay").run()


def main() -> None:
    """Measure this alone."""
    parser = argparse.ArgumentParser(description="A whole engine over ticks.")
    parser.add_argument("--calls", type=int, default=256, help="thousands of ticks")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    patience = Patience(15)
    print(table(rows(options.calls * CYCLE, 30_000, options.rounds, patience)))
    print(patience.verdict())


if __name__ == "__main__":
    main()
