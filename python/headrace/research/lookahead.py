"""Look-ahead: the same run with its future cut off, and with other futures; a decision that changes has seen it.

::

    the run ─▶ decisions: signals, orders, fills ─▶ cuts: just behind some of them, and at random ticks
    each cut C ─▶ truncated: the data end before C       ┐
                  higher, lower: other prices from C on  ┴▶ every decision before C must be the same

What the end of the data causes
    a window or an interval that the end cuts, orders that it cancels: so of a truncated run only what came before its
    last time is compared. What depends on the end alone is found by the altered runs, which go on behind C.

Guarantees: a strategy that uses the next tick is found wherever a cut stands behind its decision; the report says how
many decisions were compared, and no comparison is no proof.
Does not: find what is learned from the whole past outside of the run, such as parameters that were fitted to it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, Unpack

from headrace.engine.tables import Table, tables_html, tables_text
from headrace.errors import OptionError
from headrace.feeds.given import feeds_of
from headrace.market.checks import whole
from headrace.market.tick import ns_text
from headrace.market.wording import counted
from headrace.research.past import Past, past_of
from headrace.research.run import backtest_observed, run_observed
from headrace.strategies.spec import StrategySpec
from headrace.strategies.strategy import Strategy

if TYPE_CHECKING:
    from headrace.engine.options import EngineOptions
    from headrace.feeds.given import Source
    from headrace.research.observer import Observer
    from headrace.research.settings import BacktestOptions
    from headrace.strategies.spec import Strategies

__all__ = ["Decision", "Finding", "LookAhead", "look_ahead", "look_ahead_in"]

# A class or a spec makes a new object for each run; a function gets the data, cut or altered, and returns strategies.
Maker: TypeAlias = (
    "type[Strategy] | StrategySpec | Iterable[type[Strategy] | StrategySpec] | Callable[[Any], Strategies]"
)
CUTS = 10
FUTURES = {"higher": 1.25, "lower": 0.8}
SHOWN_MAX = 20


class Decision(NamedTuple):
    """What a strategy did, or what came of it. ts : ns. what : its values, as text."""

    ts: int
    kind: str
    strategy: str
    what: str


class Finding(NamedTuple):
    """A decision that another future changed.

    cut_ns : what was received from then on was cut off or altered. future : "truncated", "higher" or "lower".
    with_future : the decision with the data as they are. without : in its place with the other future; None: none.
    """

    cut_ns: int
    future: str
    with_future: Decision | None
    without: Decision | None


@dataclass(frozen=True, kw_only=True, slots=True)
class LookAhead:
    """What was found. runs : in all. compared : decisions, over all runs. decisions : of the run itself."""

    findings: tuple[Finding, ...]
    runs: int
    compared: int
    decisions: int
    cuts: tuple[int, ...]

    @property
    def is_clean(self) -> bool:
        """Whether decisions were compared, and none changed."""
        return self.compared > 0 and not self.findings

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "clean": self.is_clean,
            "runs": self.runs,
            "compared": self.compared,
            "decisions": self.decisions,
            "cuts": list(self.cuts),
            "findings": [
                {
                    "cut_ns": own.cut_ns,
                    "future": own.future,
                    "with_future": None if own.with_future is None else own.with_future._asdict(),
                    "without": None if own.without is None else own.without._asdict(),
                }
                for own in self.findings
            ],
        }

    def tables(self) -> list[Table]:
        """Return the verdict and the first findings as tables."""
        if self.findings:
            verdict = f"{counted(len(self.findings), 'decision')} changed with the future"
        elif self.compared:
            verdict = "no decision changed with the future"
        else:
            verdict = "nothing was compared: there is no decision before any cut"
        facts = [
            ("verdict", verdict),
            ("decisions compared", f"{self.compared:,}"),
            ("decisions of the run", f"{self.decisions:,}"),
            ("runs", f"{self.runs:,}"),
        ]
        rows = [
            (ns_text(own.cut_ns), own.future, _shown(own.with_future), _shown(own.without))
            for own in self.findings[:SHOWN_MAX]
        ]
        columns = ("future from, UTC", "future", "decided", "decided with another future")
        return [Table("look-ahead", ("", ""), facts), Table("changed decisions", columns, rows, texts=4)]

    def __str__(self) -> str:
        return tables_text(self.tables())

    def _repr_html_(self) -> str:
        return tables_html(self.tables())


def _shown(decision: Decision | None) -> str:
    return (
        "nothing" if decision is None else f"{ns_text(decision.ts)} {decision.strategy} {decision.kind} {decision.what}"
    )


def look_ahead(
    strategies: Maker,
    data: Source | Iterable[Source],
    *,
    cuts: int = CUTS,
    on_run: Callable[[int, int], object] | None = None,
    **options: Unpack[BacktestOptions],
) -> LookAhead:
    """Repeat a run with other futures and return the decisions that changed.

    strategies : classes or specs, of which each run makes new objects; or a function that gets the data, an array of
        TICK_DTYPE or CANDLE_DTYPE (of several feeds a list), and returns strategies: then a strategy that computes
        ahead from the whole data is found, too.
    data : as ``backtest`` takes it; it is read into memory. cuts : how many; half of them behind decisions.
    on_run : called behind each run, with runs done and all runs. options : of ``backtest``; ``seed`` also places the
        cuts.

    Raises OptionError and what the runs raise.
    """
    make = _maker(strategies)
    venue = options.pop("venue", None)

    def observe(given: Any, sources: list[Source]) -> Observer:
        return backtest_observed(make(given), sources, **options)

    return _compared(observe, past_of(data, venue), cuts, options.get("seed", 0), on_run)


def look_ahead_in(
    recipe: Callable[[], tuple[EngineOptions, BacktestOptions]],
    *,
    cuts: int = CUTS,
    on_run: Callable[[int, int], object] | None = None,
) -> LookAhead:
    """Repeat the run of an engine with other futures, as ``look_ahead`` does.

    recipe : returns the options of the engine and of its backtest, with new objects for each run. Its feeds are read
    into memory, once. Raises OptionError and what the runs raise.
    """
    first, options = recipe()

    def observe(_given: Any, sources: list[Source]) -> Observer:
        engine, own = recipe()
        return run_observed({**engine, "feeds": feeds_of(sources)}, own)

    return _compared(observe, past_of(first["feeds"], None), cuts, options.get("seed", 0), on_run)


def _compared(
    observe: Callable[[Any, list[Source]], Observer],
    past: Past,
    cuts: int,
    seed: int,
    on_run: Callable[[int, int], object] | None,
) -> LookAhead:
    """Run over the whole data and over those with other futures, and compare.

    observe : runs once; it gets what a maker of strategies gets, and the data.
    """
    whole("cuts", cuts, 1, 10_000, "cuts")
    runs = 1 + cuts * (1 + len(FUTURES))
    report_run = on_run or (lambda _done, _all: None)
    base = _decisions(observe(past.given(), past.sources()))
    report_run(1, runs)
    findings: dict[tuple[Decision | None, Decision | None], Finding] = {}
    compared = done = 0
    chosen = _cuts(past, base, cuts, seed)
    for cut_ns in chosen:
        for future, known, shown in _futures(past, cut_ns):
            done += 1
            report_run(1 + done, runs)
            sources = shown.sources()
            if not sources:
                continue
            other = _decisions(observe(known.given(), sources))
            end_ns = int(shown.times[-1]) if future == "truncated" else cut_ns
            mine, theirs = ([own for own in each if own.ts < end_ns] for each in (base, other))
            compared += len(mine)
            for found in _differences(mine, theirs):
                findings.setdefault(found, Finding(cut_ns, future, *found))
    ordered = sorted(findings.values(), key=lambda own: (own.with_future or own.without or own)[0])
    return LookAhead(findings=tuple(ordered), runs=1 + done, compared=compared, decisions=len(base), cuts=tuple(chosen))


def _maker(strategies: Maker) -> Callable[[Any], Strategies]:
    """Return a function that makes new strategies for the data of a run. Raises OptionError."""
    each = [strategies] if isinstance(strategies, type | StrategySpec) or callable(strategies) else list(strategies)
    if all(isinstance(own, StrategySpec) or (isinstance(own, type) and issubclass(own, Strategy)) for own in each):
        return lambda _data: [_fresh(own) for own in each]
    if callable(strategies) and not isinstance(strategies, Strategy):
        return strategies
    msg = "strategies are objects, which one run changes for the next: give classes, or a function that makes them"
    raise OptionError(msg, option="strategies")


def _fresh(given: Any) -> Any:
    """Return a spec whose object no run has used."""
    if not isinstance(given, StrategySpec) or given.factory is None:
        return given
    return StrategySpec(
        strategy=given.factory(),
        name=given.name,
        parameters=given.parameters,
        subscription=given.subscription,
        bars=given.bars,
    )


def _futures(past: Past, cut_ns: int) -> Iterable[tuple[str, Past, Past]]:
    """Yield each other future: its name, what a maker of strategies receives, and what the run is fed with.

    The run goes on to the first time behind the cut: it does not end where decisions are compared.
    """
    truncated = past.until(cut_ns)
    yield "truncated", truncated, truncated
    times = past.times
    behind = times[times >= cut_ns]
    end_ns = int(behind[min(1, len(behind) - 1)]) + 1 if len(behind) else cut_ns
    for name, factor in FUTURES.items():
        altered = past.altered(cut_ns, factor)
        yield name, altered, altered.until(end_ns)


def _cuts(past: Past, decisions: list[Decision], count: int, seed: int) -> list[int]:
    """Return when the future begins: behind decisions, and at random times; the same for one seed."""
    rng = random.Random(f"look-ahead {seed}")
    times = past.times
    decided = sorted({own.ts for own in decisions if own.kind != "fill" and own.ts < int(times[-1])})
    chosen = {own + 1 for own in rng.sample(decided, min(len(decided), (count + 1) // 2))}
    others = [int(own) for own in times[1:] if int(own) not in chosen]
    chosen.update(rng.sample(others, min(len(others), count - len(chosen))))
    return sorted(chosen)


def _decisions(observer: Observer) -> list[Decision]:
    """Return signals, orders and fills of a run, in the order of time."""
    found = [
        Decision(
            own.ts, "signal", own.source, f"{own.instrument} {own.side:+d} {own.strength!r} {own.price!r} {own.reason}"
        )
        for own in observer.signals
    ]
    for order in observer.orders:
        price = "market" if order.price is None else f"{order.price:f}"
        kind = " ".join(
            f"{name} {value}"
            for name in ("trigger_price", "trail", "trail_unit", "limit_offset", "post_only", "oco")
            if (value := getattr(order, name)) and value != "price"
        )
        what = f"{order.instrument} {order.side:+d} {order.quantity:f} at {price} {order.time_in_force}"
        found.append(Decision(order.ts, "order", order.strategy, " ".join(filter(None, (what, kind, order.tag)))))
    for fill in observer.fills:
        what = f"{fill.instrument} {fill.side:+d} {fill.quantity:f} at {fill.price:f}"
        found.append(Decision(fill.ts, "fill", fill.strategy, what))
    return sorted(found, key=lambda own: own.ts)


def _differences(mine: list[Decision], theirs: list[Decision]) -> Iterable[tuple[Decision | None, Decision | None]]:
    """Yield the decisions of one run that the other lacks, each with the other's at the same time, of the same kind."""
    left = list(theirs)
    missing = []
    for own in mine:
        if own in left:
            left.remove(own)
        else:
            missing.append(own)
    for own in missing:
        other = next((them for them in left if them[:3] == own[:3]), None)
        if other is not None:
            left.remove(other)
        yield own, other
    for other in left:
        yield None, other
