"""``headrace demo``: generated Binance frames, live, over four strategies of which one is too slow and one is broken.

::

    three generated markets ─▶ merged by time ─▶ Dispatcher, ring of 4,096 ticks ─┬▶ SpreadWatch   per tick
                                                                                  ├▶ TradeFlow     columns
                                                                                  ├▶ SlowJournal   in a thread, loses
                                                                                  └▶ Faulty        ends in quarantine

Guarantees: what the table claims is checked before it is printed; a claim that does not hold is exit code 1.
Does not: reach for the network, or leave files behind.
"""

from __future__ import annotations

import heapq
import sys
import time
from typing import TYPE_CHECKING

import click

from headrace import Decoder, Dispatcher
from headrace.cli.failure import Failure
from headrace.cli.options import debug_option
from headrace.examples.faulty import Faulty
from headrace.examples.slow_journal import SlowJournal
from headrace.examples.spread_watch import SpreadWatch
from headrace.examples.trade_flow import TradeFlow
from headrace.feeds import synthetic_session
from headrace.report import Table, duration_text, progress_display, tables_text
from headrace.result import strategy_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from headrace import SubscriptionStats

__all__ = ["demo_command"]

FRAMES = 500_000
QUICK_FRAMES = 50_000
# Small, so that a slow reader is overtaken within a second.
RING_TICKS = 4_096
# Lines between two turns of dispatch, as a socket would hand them over, and the wait for the next ones, in which other
# threads run.
TURN_LINES = 64
TURN_PAUSE_S = 1e-6
# How long the slow strategy may take for what is left in the ring; it needs about a second.
DRAIN_S = 10.0
LAW = ("delivered", "filtered", "missed", "conflated", "skipped", "pending")


@click.command("demo")
@click.option("--quick", is_flag=True, help=f"{QUICK_FRAMES:,} frames instead of {FRAMES:,}.")
@debug_option
def demo_command(*, quick: bool) -> None:
    """Show a session: generated frames over four strategies, one of them too slow, one broken."""
    frames = QUICK_FRAMES if quick else FRAMES
    feeds = synthetic_session(frames=frames)
    click.echo(f"{frames:,} generated frames of {len(feeds)} markets, live, through a ring of {RING_TICKS:,} ticks\n")
    journal = SlowJournal()
    display = progress_display(sys.stderr, "demo")
    started_s = time.perf_counter()
    with Dispatcher(ring_capacity=RING_TICKS, on_fault="quarantine") as dispatcher:
        for strategy in (SpreadWatch(), TradeFlow(), journal, Faulty()):
            dispatcher.subscribe(strategy)
        decoders = [Decoder(feed.venue, dispatcher.instruments) for feed in feeds]
        try:
            for number, (index, line) in enumerate(_merged([feed.lines() for feed in feeds])):
                dispatcher.publish_lines(decoders[index], line)
                if number % TURN_LINES == 0:
                    dispatcher.dispatch()
                    display.update(number, frames, f"{number:,} frames")
                    time.sleep(TURN_PAUSE_S)
            dispatcher.dispatch()
        finally:
            display.close()
        _wait_for(dispatcher, "SlowJournal")
        wall_s = time.perf_counter() - started_s
        stats = dispatcher.stats()
    facts = [
        ("frames", f"{frames:,}"),
        ("ticks", f"{stats.published:,}"),
        ("wall time, generating included", duration_text(wall_s * 1e9)),
    ]
    click.echo(tables_text([Table("session", ("", ""), facts), strategy_table(stats.subscriptions)]))
    click.echo("\n" + _law_text("SlowJournal", stats.subscriptions["SlowJournal"], journal))
    _check(stats.subscriptions)


def _merged(markets: list[Iterator[bytes]]) -> Iterator[tuple[int, bytes]]:
    """Merge the markets by receive time, the first 19 characters of a line."""
    keyed = [((line[:19], index, line) for line in lines) for index, lines in enumerate(markets)]
    return ((index, line) for _, index, line in heapq.merge(*keyed))


def _wait_for(dispatcher: Dispatcher, name: str) -> None:
    """Let a strategy in a thread read what is left in the ring."""
    deadline_s = time.monotonic() + DRAIN_S
    while dispatcher.stats().subscriptions[name].pending and time.monotonic() < deadline_s:
        time.sleep(0.01)


def _law_text(name: str, stats: SubscriptionStats, journal: SlowJournal) -> str:
    """Return the loss law of one subscription, a line per term."""
    terms = [(term, int(getattr(stats, term))) for term in LAW]
    total = sum(count for _, count in terms)
    verdict = "every tick is accounted for" if total == stats.published else "DOES NOT ADD UP"
    lines = [
        f"loss law of {name}, which is too slow and chose drop_oldest",
        f"  published  {stats.published:>12,}",
        *(f"  {'=' if index == 0 else '+'} {term:<9}{count:>12,}" for index, (term, count) in enumerate(terms)),
        f"  sum        {total:>12,}  {verdict}",
        f"  it was told of {journal.missing:,} missed ticks, by {journal.gaps:,} calls of on_gap, each at its place",
    ]
    return "\n".join(lines)


def _check(strategies: Mapping[str, SubscriptionStats]) -> None:
    """Refuse to end well when the session was not what it claims to be."""
    for name, stats in strategies.items():
        if stats.published != sum(getattr(stats, term) for term in LAW):
            raise Failure(f"the loss law does not hold for {name}: please report this with the table above")
    slow, faulty = strategies["SlowJournal"], strategies["Faulty"]
    if not slow.missed or slow.pending:
        raise Failure(
            f"SlowJournal missed {slow.missed:,} ticks and left {slow.pending:,}: it should lose, then catch up"
        )
    if faulty.state != "quarantined":
        raise Failure(f"Faulty is {faulty.state} after {faulty.faults:,} faults: it should end in quarantine")
