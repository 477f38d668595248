"""EngineState: what an operator sees of a running engine, as one document of plain values.

::

    {"engine":     {"state": "running", "halted": false, …},            one value a key
     "strategies": {"momentum": {"state": "running", "missed": 0, …}},   one row a key
     "feeds", "streams", "instruments", "lanes", "accounts", "positions", "orders", "plots", "routes", "services",
     "gates"}

``docs/how-to/stream.md`` lists every section and field.

Guarantees: all values are of one moment; amounts are texts, and so are integers above 2^53, which includes every time
in ns; a number that is unknown, NaN or infinite is null. Paper and live money are rows of different keys.
Does not: change anything, keep what is over, or cost anything between two readings.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.control.plain import plain_amount, plain_number, plain_whole
from headrace.control.stream.board import CLOCK
from headrace.control.stream.rates import Rates
from headrace.gateway.adapter import Adapter
from headrace.market.tick import has_side
from headrace.trading.brokers import PaperBroker
from headrace.trading.kill_switch import KillSwitch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from headrace.control.stream.board import Document
    from headrace.engine.engine import Engine
    from headrace.engine.report import Report, SourceReport, StrategyReport
    from headrace.engine.running_replay import RunningReplay
    from headrace.gateway.gateway import Gateway
    from headrace.trading.account import Balance
    from headrace.trading.orders import Order

__all__ = ["API_VERSION", "EngineState", "money_of"]

# Of the document and its updates; a page that is older than the server sees it here.
API_VERSION = 1
# Rows of a section that a venue or a strategy can make long; the engine's section has the whole count.
INSTRUMENTS_SHOWN_MAX = 200
ORDERS_SHOWN_MAX = 500
# Instruments that one reading reads anew; of 200, each is read once a second.
INSTRUMENTS_AT_ONCE = 20
# How often the rows are read again that cost more than counters do.
SLOWLY_NS = 1_000_000_000
# Differences of prices are rounded to so many digits behind the point: a double has no more of a price.
PRICE_DIGITS = 10
TICK_FATES = ("published", "delivered", "filtered", "missed", "conflated", "skipped", "pending", "calls", "faults")
ORDER_FATES = ("submitted", "open", "pending_cancel", "filled", "canceled", "rejected", "expired", "fills", "unknown")
POSITION_AMOUNTS = ("quantity", "average_price", "realized_pnl", "unrealized_pnl", "fees", "funding", "net_pnl")
BALANCE_AMOUNTS = ("deposit", "realized_pnl", "unrealized_pnl", "fees", "funding", "balance", "equity")
LANE_COUNTS = ("published", "processed", "dead", "dropped", "refused", "depth", "depth_max", "capacity")


class EngineState:
    """The state document of one engine, read on the engine's thread.

    gateway : of the engine, if it has one.
    """

    def __init__(self, engine: Engine | RunningReplay, *, gateway: Gateway | None = None) -> None:
        self._engine = engine
        self._gateway = gateway
        self._rates = Rates()
        self._slow_ns = 0
        self._slow: Document = {}
        self._began_ns = time.time_ns()
        # Rows of instruments, and whose turn it is to be read anew.
        self._quoted: dict[str, dict[str, Any]] = {}
        self._turn = 0

    def read(self) -> Document:
        """Return the document as it is now. O(strategies + subscriptions + open orders + positions)."""
        engine, now_ns = self._engine, time.time_ns()
        # What a service measures is not shown, and may be dear: ten times a second it is not asked for.
        report = engine.report(with_metrics=False)
        self._rates.begin(now_ns)
        if now_ns - self._slow_ns >= SLOWLY_NS:
            self._slow_ns = now_ns
            self._slow = {"routes": self._routes(), "streams": self._streams()}
        money = money_of(engine)
        strategies = {name: self._strategy(own, money) for name, own in report.strategies.items()}
        return {
            CLOCK: {"now_ns": plain_whole(now_ns), "engine_ns": plain_whole(engine.clock.now_ns())},
            "engine": self._engine_row(report, money),
            "rates": self._rates_row(report),
            "feeds": {own.name: self._feed(own) for own in report.sources},
            "strategies": strategies,
            "instruments": self._instruments(report),
            "lanes": {
                str(lane): {name: plain_whole(getattr(own, name)) for name in LANE_COUNTS}
                for lane, own in report.lanes.items()
            },
            "accounts": {f"{money}/{own.currency}": _account(own, money) for own in report.totals.values()},
            "positions": dict(_positions(report, money)),
            "orders": {own.order_id: _order(own, money) for own in self._open_orders()},
            "plots": {
                "/".join(filter(None, line)): {**line._asdict(), "value": value}
                for line, value in engine.plots.newest.items()
            },
            "services": {
                name: {"health": own.health, "restarts": own.restarts} for name, own in report.services.items()
            },
            "gates": {
                name: {"passed": own.passed, "refused": own.refused}
                for name, own in engine.orders.gates.counts().items()
            },
            **self._slow,
        }

    def _engine_row(self, report: Report, money: str) -> dict[str, Any]:
        engine, switch = self._engine, self._engine.kill_switch
        halt = None
        if isinstance(switch, KillSwitch) and report.halted:
            halt = {
                "reason": switch.reason or "",
                "actor": switch.actor or "",
                "since_ns": plain_whole(switch.since_ns),
            }
        states = [own.state for own in report.strategies.values()]
        return {
            "api": API_VERSION,
            "name": report.name,
            "run_id": report.run_id,
            "mode": report.mode,
            "money": money,
            "state": _state_of(report, is_stopping=engine.is_stopping),
            "ended_by": "" if report.ended_by == "running" else report.ended_by,
            "began_ns": plain_whole(self._began_ns),
            "halted": report.halted,
            "halt": halt,
            "strategies": len(states),
            "quarantined": sum(state in ("quarantined", "failed") for state in states),
            "instruments": len(report.instruments),
            "ticks": plain_whole(sum(report.ticks.values()) + report.gaps),
            "gaps": report.gaps,
            "late": report.late,
            "duplicates": report.duplicates,
            "rejected_frames": sum(report.rejected.values()),
            "dead_letters": report.dead_letters.total,
            "commands": report.commands,
            "open_orders": sum(own.orders.open for own in report.strategies.values()),
            "refused_orders": sum(own.orders.rejected for own in report.strategies.values()),
        }

    def _rates_row(self, report: Report) -> dict[str, Any]:
        each = list(report.strategies.values())
        per_s = self._rates.per_s
        return {
            "ticks_per_s": per_s("ticks", sum(report.ticks.values()) + report.gaps),
            "delivered_per_s": per_s("delivered", sum(own.delivered for own in each)),
            "missed_per_s": per_s("missed", sum(own.missed for own in each)),
            "events_per_s": per_s("events", sum(own.published for own in report.lanes.values())),
            "orders_per_s": per_s("orders", sum(own.orders.submitted for own in each)),
            "lag_s": max((own.pending_ns for own in each), default=0) / 1e9,
            "pending": max((own.pending for own in each), default=0),
            "p99_ns": max((own.latency.p99 for own in each if own.latency.count), default=None),
        }

    def _feed(self, own: SourceReport) -> dict[str, Any]:
        changed_ns = self._rates.changed_ns(f"feed {own.name}", own.frames)
        state = own.state.partition(":")[0]
        return {
            "venue": own.venue,
            "state": state or "past",
            "reason": own.state.partition(": ")[2],
            "frames": own.frames,
            "frames_per_s": self._rates.per_s(f"frames {own.name}", own.frames),
            # Ticks are no frames.
            "frame_ns": plain_whole(changed_ns) if own.frames else None,
        }

    def _streams(self) -> dict[str, Any]:
        """The streams of the venues' feeds: DOWN, SILENT, UP or STALE, with their connection's number."""
        rows: dict[str, Any] = {}
        for feed in self._engine.feeds:
            if not isinstance(feed, Adapter):
                continue
            epochs = getattr(feed, "epochs", {})
            for topic, state in feed.states.items():
                epoch = epochs.get(topic, 0)
                row = {"venue": feed.venue, "state": state, "epoch": epoch, "reconnects": max(0, epoch - 1)}
                rows[f"{feed.venue} {topic}"] = row
        return rows

    def _routes(self) -> dict[str, Any]:
        if self._gateway is None:
            return {}
        rows = self._gateway.commands.rows()
        found: dict[str, Any] = {}
        for route in self._gateway.table.routes:
            kind, name = str(route.canonical_type), f"{route.canonical_type} {route.instrument}"
            rules = msgspec.to_builtins(route.filters)
            found[name] = {"type": kind, "instrument": route.instrument, **rows[name], "rules": rules}
        return found

    def _strategy(self, own: StrategyReport, money: str) -> dict[str, Any]:
        latency = own.latency
        timed = latency.count > 0
        return {
            "state": own.state,
            "version": own.version,
            "reason": own.stopped_by,
            **{name: plain_whole(getattr(own, name)) for name in TICK_FATES},
            "delivered_per_s": self._rates.per_s(f"delivered {own.name}", own.delivered),
            "lag_s": own.pending_ns / 1e9,
            "p50_ns": latency.p50 if timed else None,
            "p99_ns": latency.p99 if timed else None,
            "max_ns": latency.max if timed else None,
            "subscriptions": list(own.subscriptions),
            "orders": {name: getattr(own.orders, name) for name in ORDER_FATES},
            "refusals": {gate: refused.times for gate, refused in own.refusals.items()},
            "accounts": {f"{money}/{total.currency}": _account(total, money) for total in own.totals.values()},
        }

    def _instruments(self, report: Report) -> dict[str, Any]:
        """Return a row of each instrument; some are read anew, in turn, so that many cost no more than a few."""
        held = (own.instrument for strategy in report.strategies.values() for own in strategy.positions)
        names = list(dict.fromkeys((*held, *report.instruments)))[:INSTRUMENTS_SHOWN_MAX]
        known = self._quoted
        start = self._turn % len(names) if names else 0
        in_turn = {
            *names[start : start + INSTRUMENTS_AT_ONCE],
            *names[: max(0, start + INSTRUMENTS_AT_ONCE - len(names))],
        }
        self._turn = start + INSTRUMENTS_AT_ONCE
        books = self._engine.dispatcher.books.states
        self._quoted = {
            name: known[name] if name in known and name not in in_turn else self._instrument(name, books.get(name))
            for name in names
        }
        return self._quoted

    def _instrument(self, name: str, book: str | None) -> dict[str, Any]:
        return {"book": book, **self._quote(name), **self._trade(name)}

    def _trade(self, name: str) -> dict[str, Any]:
        trade = self._engine.dispatcher.newest.trade(name)
        if trade is None:
            return {}
        return {
            "last_price": trade.price,
            "last_size": plain_number(trade.size),
            "trade_ns": plain_whole(trade.ts_init),
            "trades_per_s": self._rates.per_s(f"trades {name}", trade.seq),
        }

    def _quote(self, name: str) -> dict[str, Any]:
        quote = self._engine.dispatcher.newest.quote(name)
        if quote is None:
            return {}
        bid, ask = quote.bid_price, quote.ask_price
        has_bid, has_ask = has_side(bid, quote.bid_size), has_side(ask, quote.ask_size)
        has_both = has_bid and has_ask
        return {
            "bid_price": bid if has_bid else None,
            "ask_price": ask if has_ask else None,
            "bid_size": plain_number(quote.bid_size) if has_bid else None,
            "ask_size": plain_number(quote.ask_size) if has_ask else None,
            "spread": round(ask - bid, PRICE_DIGITS) if has_both else None,
            "mid": round((ask + bid) / 2, PRICE_DIGITS) if has_both else None,
            "quote_ns": plain_whole(quote.ts_init),
            "quotes_per_s": self._rates.per_s(f"quotes {name}", quote.seq),
        }

    def _open_orders(self) -> Sequence[Order]:
        return self._engine.orders.orders(open_only=True)[-ORDERS_SHOWN_MAX:]


def money_of(engine: Engine | RunningReplay) -> str:
    """Return "paper" or "live", or "none" for an engine without a broker."""
    broker = engine.orders.broker
    if broker is None:
        return "none"
    return "paper" if isinstance(broker, PaperBroker) or engine.mode != "live" else "live"


def _state_of(report: Report, *, is_stopping: bool) -> str:
    if is_stopping:
        return "stopping"
    return "running" if report.wall_s else "starting"


def _account(own: Balance, money: str) -> dict[str, Any]:
    return {
        "money": money,
        "currency": own.currency,
        **{name: plain_amount(getattr(own, name)) for name in BALANCE_AMOUNTS},
    }


def _positions(report: Report, money: str) -> Iterable[tuple[str, dict[str, Any]]]:
    for strategy in report.strategies.values():
        for own in strategy.positions:
            yield (
                f"{strategy.name}/{own.instrument}",
                {
                    "strategy": strategy.name,
                    "instrument": own.instrument,
                    "money": money,
                    "currency": own.currency,
                    **{name: plain_amount(getattr(own, name)) for name in POSITION_AMOUNTS},
                },
            )


def _order(own: Order, money: str) -> dict[str, Any]:
    request = own.request
    return {
        "strategy": own.strategy,
        "instrument": own.instrument,
        "money": money,
        "side": "buy" if own.side > 0 else "sell",
        "order_type": request.order_type,
        "quantity": plain_amount(own.quantity),
        "price": plain_amount(own.price),
        "filled": plain_amount(own.filled),
        "left": plain_amount(own.left),
        "average_price": plain_amount(own.average_price) if own.filled else None,
        "state": str(own.state),
        "reason": own.reason,
        "tag": request.tag,
        "requested_ns": plain_whole(request.ts),
        "changed_ns": plain_whole(own.ts),
    }
