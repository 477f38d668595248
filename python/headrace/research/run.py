"""``headrace.backtest``: strategies over data of the past, with cash, fees and limits, on an engine's replay mode.

::

    data ─▶ feeds ─▶ engine in replay mode ─▶ gates, cash ─▶ simulated broker        Observer ─▶ BacktestResult
              (options that are not given are filled in, and noted)

What happens when
    a strategy raises: its exception leaves ``backtest``; under ``on_fault="quarantine"`` the run goes on without it.
    Ctrl-C is pressed: the run stops at a quiet point, and the result is that of what ran.

Guarantees: there is no second engine: what decides here decides live; the same inputs and seed give the same hashes.
Does not: write files, but for ``audit=``.
"""

from __future__ import annotations

import random
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack, cast

import numpy as np

from headrace.engine.options import complete
from headrace.engine.parts import build_parts
from headrace.engine.replay import run_parts
from headrace.errors import OptionError, RecordingError
from headrace.feeds.bounded import bounded, refuse_outside
from headrace.feeds.given import feeds_of
from headrace.market.checks import of_type, refuse_unknown, whole
from headrace.market.instrument import Instrument, RiskLimits
from headrace.market.wording import amount_text
from headrace.research.data import names_of
from headrace.research.observer import Observer
from headrace.research.record import result_of, settings_of
from headrace.research.settings import (
    PAPER_LIMITS,
    PAPER_STEP,
    VENUE_FEES,
    BacktestOptions,
    cash_of,
    check_span,
    fees_of,
    paper_instrument,
    time_ns,
    unmatched_notes,
)
from headrace.strategies.spec import specs_of
from headrace.trading.brokers import Fees, SimulatedBroker
from headrace.trading.brokers.latency import latency_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from headrace.engine.options import EngineOptions
    from headrace.engine.parts import EngineParts
    from headrace.engine.report import Report
    from headrace.engine.running_replay import RunningReplay
    from headrace.feeds.base import AnyFeed
    from headrace.feeds.given import Source
    from headrace.research.result import BacktestResult
    from headrace.strategies.spec import Strategies

__all__ = ["backtest", "backtest_observed", "backtest_options", "run_backtest", "run_observed"]

# Options of a backtest that are options of its engine, too.
_OF_ENGINE = (
    *("sizing", "margin", "account_limits", "strategy_limits", "runner", "gates", "services", "event_types"),
    *("audit", "on_fault", "warmup", "progress"),
)
_OF_BROKER = ("fees", "latency", "fill")


def backtest(
    strategies: Strategies, data: Source | Iterable[Source], **options: Unpack[BacktestOptions]
) -> BacktestResult:
    """Run strategies over data of the past, with orders filled on paper, and return what they did.

    strategies : one or several, as ``headrace.replay`` takes them; a file that ``headrace run`` runs needs no change.
    data : recordings (paths), arrays, DataFrames or feeds; one or several, merged by receive time.
    cash : what the account begins with: 100_000, ``"100000USDT"``, or amounts by currency; 100,000 unless given. An
        amount without a currency is of the only settlement currency of the data.
    margin : leverage and maintenance margin by venue or instrument, {"BINANCE_USDM": Margin(leverage=10)}; a position
        without one is paid for whole.
    account_limits, strategy_limits : TradingLimits of all strategies together, and by strategy, "*" for the others.
    fees : a part of the notional, ``"MAKER/TAKER"``, Fees, or Fees by venue or instrument; by default the base tier of
        each venue, and 0 with a warning at an unknown one.
    latency : how long orders, amends and cancels are on their way: ``"5ms"``, ns, ``"normal(5ms, 1ms)"``,
        ``"file(latency.csv)"``, a Latency, or these by venue or instrument, "*" for all others.
    fill : the fill model, "quote", "trade_through", "queue", "book_walk", "next_open", "close_slip", "path", or one of
        your own, or these by venue or instrument; by default as the data allows.
    start, end : the span of the data, ``start <= ts_init < end``: ``"2026-01-05"``, a datetime, or ns, in UTC.
    seed : of the generators of ``random`` and ``numpy.random`` during the run; they are as before afterwards.
    venue : of recordings that do not name theirs. instruments, limits : in place of paper ones, which allow anything
        that the cash pays for. sizing : how large an order a Signal becomes; None: signals are no orders.
    broker : your own in place of the simulated one; then fees, latency and fill are its own affair. gates : a
        RiskEngine of your own in place of ``limits``. runner : a subclass of StrategyRunner.
    services, event_types : what runs beside the strategies, and its own events with their lanes, as of ``Engine``.
    audit : a file for every event, or an AuditRunner. on_fault : "raise" or "quarantine". hashing : compute audit_hash
        and input_hash.
    check : look at ticks of tables and at candles while they are read: times that go back, wrong units, NaN and zero
        prices end the run, other findings are warnings. warmup : how long orders are refused from the beginning on.
    progress : called about ten times a second.

    Raises OptionError (and its kin) before anything runs, what the data and the strategies raise.
    """
    return run_backtest(*backtest_options(strategies, data, options))


def backtest_observed(
    strategies: Strategies, data: Source | Iterable[Source], **options: Unpack[BacktestOptions]
) -> Observer:
    """Run as ``backtest`` does, and return what was observed: for those that repeat a run and compare."""
    return run_observed(*backtest_options(strategies, data, options))


def run_observed(engine: EngineOptions, options: BacktestOptions) -> Observer:
    """Run the engine that these options describe, as ``run_backtest`` does, and return what was observed."""
    return _run(engine, options).observer


def backtest_options(
    strategies: Strategies, data: Source | Iterable[Source], options: BacktestOptions
) -> tuple[EngineOptions, BacktestOptions]:
    """Return the options of the engine, and of the run, that ``run_backtest`` takes; as ``backtest``."""
    refuse_unknown("a backtest", options, BacktestOptions.__annotations__)
    feeds = feeds_of(data, options.get("venue"))
    given = options.get("instruments", ())
    engine: EngineOptions = {
        "feeds": feeds,
        "strategies": specs_of(strategies),
        "instruments": [given] if isinstance(given, str | Instrument) else list(given),
        "limits": options.get("limits"),
        "broker": _broker(options),
    }
    return engine, options


def run_backtest(
    engine: EngineOptions, options: BacktestOptions, *, on_begin: Callable[[RunningReplay], object] | None = None
) -> BacktestResult:
    """Run the engine that these options describe, in replay mode; what they leave open is filled in.

    engine : feeds, strategies and a broker included. options : those that concern the run and its result; one that is
    the engine's, too, goes before the engine's own. on_begin : called with the replay before it runs.
    """
    run = _run(engine, options, on_begin)
    return result_of(run.parts, run.observer, run.report, run.settings, run.notes)


class _Run(NamedTuple):
    """A run that is over."""

    parts: EngineParts
    observer: Observer
    report: Report
    settings: dict[str, Any]
    notes: list[str]


def _run(
    engine: EngineOptions, options: BacktestOptions, on_begin: Callable[[RunningReplay], object] | None = None
) -> _Run:
    hashing, seed = options.get("hashing", True), whole("seed", options.get("seed", 0), 0, (1 << 32) - 1, "seeds")
    of_type("hashing", hashing, bool)
    start_ns, end_ns = time_ns("start", options.get("start")), time_ns("end", options.get("end"))
    check_span(start_ns, end_ns)
    notes: list[str] = []
    listed = [Instrument(own) if isinstance(own, str) else own for own in _listed(engine["instruments"])]
    feeds = cast("Sequence[AnyFeed]", engine["feeds"])
    names = list(dict.fromkeys([*(own.name for own in listed), *names_of(feeds)]))
    given = {name: value for name in _OF_ENGINE if (value := options.get(name)) is not None}
    engine = {
        **engine,
        **cast("EngineOptions", given),
        "mode": "replay",
        "speed": None,
        "hashing": hashing,
        "check": options.get("check", True),
        "feeds": bounded(feeds, start_ns, end_ns),
        "instruments": [_completed(own, notes) for own in listed],
        "limits": _limits(engine.get("limits"), notes),
        "cash": _cash(options, listed, names, notes),
    }
    if not listed:
        notes.append(f"instruments: any of the data; price tick and lot size {PAPER_STEP:f}, contract by its venue")
    if engine.get("broker") is None:
        engine["broker"] = _paper_broker(options, names, notes)
    parts = build_parts(complete(engine))
    if not listed:
        parts.gates.instrument_of = partial(_instrument_of, parts, frozenset(names))
    observer = Observer(parts, hashing=hashing)
    settings = settings_of(parts, options, seed=seed, span=(start_ns, end_ns))
    with _seeded(seed):
        try:
            report = run_parts(parts, on_begin)
        except RecordingError as error:
            if error.report is not None:
                error.result = result_of(parts, observer, error.report, settings, notes)
            raise
    if report.is_empty and not report.stopped:
        refuse_outside(parts.feeds)
    notes += unmatched_notes(options, {*names, *report.instruments})
    if not report.stopped and (problem := parts.names.problem_of_configured(own.name for own in listed)):
        notes.append(f"warning: instruments: {problem}")
    return _Run(parts, observer, report, settings, notes)


def _instrument_of(parts: EngineParts, names: AbstractSet[str], name: str) -> Instrument | None:
    """Return a paper instrument for a name that the data have; None: it is a mistake."""
    is_known = name in names or parts.dispatcher.instruments.id(name) is not None
    return paper_instrument(name) if is_known else None


def _listed(given: Any) -> list[Instrument | str]:
    return [given] if isinstance(given, str | Instrument) else list(given or ())


def _completed(instrument: Instrument, notes: list[str]) -> Instrument:
    """Return an instrument with the steps that it lacks."""
    lacking = [name for name in ("price_tick", "lot_size") if getattr(instrument, name) is None]
    if not lacking:
        return instrument
    notes.append(f"{instrument.name}: {' and '.join(lacking)} {PAPER_STEP:f}")
    fields = ("limits", "contract", "size", "settles", "price_tick", "lot_size")
    values = {name: getattr(instrument, name) for name in fields}
    return Instrument(instrument.name, **{**values, **dict.fromkeys(lacking, PAPER_STEP)})


def _limits(limits: RiskLimits | None, notes: list[str]) -> RiskLimits:
    if limits is not None and limits != RiskLimits():
        return limits
    shown = ", ".join(f"{name} {getattr(PAPER_LIMITS, name):,}" for name in PAPER_LIMITS.__struct_fields__)
    notes.append(f"limits: {shown}")
    return PAPER_LIMITS


def _cash(
    options: BacktestOptions, listed: Sequence[Instrument], names: Sequence[str], notes: list[str]
) -> dict[str, Decimal] | None:
    """Return the cash by currency; None: no cash is given, and the data have several currencies.

    Raises OptionError: an amount whose currency the data do not decide.
    """
    cash = cash_of(options.get("cash"))
    if "" in cash:
        known = {own.name: own for own in listed}
        currencies = sorted({(known.get(name) or paper_instrument(name)).settles for name in names})
        amount = cash.pop("")
        if len(currencies) != 1 and options.get("cash") is None:
            notes.append(
                f"cash: no bound, since the data have {', '.join(currencies) or 'no instrument before the run'}"
            )
            return None
        if len(currencies) != 1:
            shown = ", ".join(currencies) or "none that is known before the run"
            example = f"{amount:f}{currencies[0] if currencies else 'USDT'}"
            msg = f"cash={amount:f} names no currency, and the data have {shown}: write cash={example!r}"
            raise OptionError(msg, option="cash")
        cash = {currencies[0]: amount}
    if options.get("cash") is None:
        notes.append(f"cash: {', '.join(f'{amount_text(own)} {name}' for name, own in cash.items())}")
    return cash


def _broker(options: BacktestOptions) -> Any:
    broker = options.get("broker")
    if broker is not None:
        for name in _OF_BROKER:
            if options.get(name) is not None:
                msg = f"{name} is given with broker={broker!r}, which has its own {name}: leave one of them out"
                raise OptionError(msg, option=name)
    return broker


def _paper_broker(options: BacktestOptions, names: Sequence[str], notes: list[str]) -> SimulatedBroker:
    fees = fees_of(options.get("fees"))
    if fees is None:
        venues = dict.fromkeys(name.rpartition(".")[2] for name in names)
        notes += [_fee_note(venue) for venue in venues]
        fees = dict(VENUE_FEES)
    everywhere = fees.pop("*", Fees())
    return SimulatedBroker(
        latency_ns=latency_of("latency", options.get("latency", 0), seed=options.get("seed", 0)),
        maker_fee=everywhere.maker,
        taker_fee=everywhere.taker,
        fees=fees,
        fill=options.get("fill"),
    )


def _fee_note(venue: str) -> str:
    own = VENUE_FEES.get(venue)
    if own is None:
        return f"warning: fees of {venue} are not known: 0; set them with fees="
    return f"fees of {venue}: maker {own.maker * 100:f} %, taker {own.taker * 100:f} % (its base tier)"


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the generators that strategies share; they are as before afterwards."""
    own, numpy_own = random.getstate(), np.random.get_state()  # noqa: NPY002 - the one that strategies may use
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - as above
    try:
        yield
    finally:
        random.setstate(own)
        np.random.set_state(numpy_own)  # noqa: NPY002 - as above
