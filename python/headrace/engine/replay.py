"""``headrace.replay``: recordings, arrays or feeds through strategies in one call, on an engine in replay mode.

What happens when
    a strategy raises: under ``on_fault="raise"`` its own exception leaves ``replay``; else it ends in quarantine.
    Ctrl-C is pressed: the run stops at a quiet point and the report says ``stopped``; a second Ctrl-C interrupts.
    an event loop runs already (a notebook): the replay gets a thread of its own, and the call still waits for it.

Guarantees: no file, folder, lock or socket is made; only SIGINT is handled; the garbage collector is not touched.
Does not: trade: without a broker ``buy`` and ``sell`` raise; ``headrace.Engine`` has one.
"""

from __future__ import annotations

import logging
import signal
import threading
from typing import TYPE_CHECKING, Literal

from headrace.limits import RING_CAPACITY
from headrace.market.running_loop import has_running_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from headrace.engine.options import EngineOptions
    from headrace.engine.parts import EngineParts
    from headrace.engine.report import Report
    from headrace.engine.running_replay import RunningReplay
    from headrace.feeds.given import Source
    from headrace.feeds.progress import Progress
    from headrace.market.instrument import Instrument
    from headrace.strategies.spec import Strategies

__all__ = ["on_own_thread", "replay", "run_parts", "warn_of_configured"]

log = logging.getLogger(__name__)


def replay(
    sources: Source | Iterable[Source],
    strategies: Strategies = (),
    *,
    venue: str | None = None,
    instruments: str | Instrument | Iterable[str | Instrument] = (),
    speed: float | Literal["max"] = "max",
    overflow: str | None = None,
    batch_max: int | None = None,
    on_fault: Literal["raise", "quarantine"] = "raise",
    hashing: bool = False,
    ring_capacity: int = RING_CAPACITY,
    duplicates: Literal["drop", "deliver"] = "drop",
    late: Literal["deliver", "drop"] = "deliver",
    progress: Callable[[Progress], object] | None = None,
) -> Report:
    """Replay recordings, arrays or feeds through strategies and return what happened.

    sources : one or several: a path (gzip, zstd or plain lines, or ``.npy`` of TICK_DTYPE), ``"FILE@BINANCE_USDM"``
        to name the venue with it, ``"FILE@BTCUSDT.BINANCE"`` the instrument of a file of columns, an array of
        TICK_DTYPE, or a Feed. Merged by receive time.
    strategies : one or several: a Strategy, its class, a plain function, or a pair of one of these and its subscription
        options. Called for each tick in this order. Names are made unique: ``Class``, ``Class-2``.
    venue : of the files that do not name theirs; else it is found in their first 1,000 frames.
    instruments : names known from the start, or Instrument objects, whose contracts the field ``notional`` follows; the
        instrument ids of arrays are rows of this list, and ids beyond it are named after themselves, ``3.ARRAY``. One
        that the data have nothing of is a warning.
    speed : ``"max"``, or how many seconds of the recording pass in one second.
    overflow, batch_max : for every strategy that is not paired with options of its own.
    on_fault : ``"raise"``: the first exception of a strategy ends the run and leaves this call; ``"quarantine"``: a
        strategy that faults too often is skipped from then on.
    hashing : compute ``input_hash`` and every ``delivered_hash``; costs about a fifth of the speed.
    ring_capacity : ticks, a power of two.
    duplicates, late : what happens to frames that the venue repeated, or sent after newer ones.
    progress : called about ten times a second, on the replay's own thread.

    Raises OptionError (and its kin: unknown fields, handlers, policies) and RecordingError or VenueError before any
    strategy is called; RecordingError and SourceOrderError where the damage stands; what a strategy raised.
    """
    # An engine needs asyncio, which takes 20 ms to import.
    from headrace.engine.options import complete
    from headrace.engine.parts import build_parts
    from headrace.feeds.given import feeds_of
    from headrace.strategies.spec import specs_of

    shared = {name: value for name, value in (("overflow", overflow), ("batch_max", batch_max)) if value is not None}
    options: EngineOptions = {
        "mode": "replay",
        "feeds": feeds_of(sources, venue),
        "strategies": specs_of(strategies, shared),
        "instruments": instruments,
        "speed": speed,
        "on_fault": on_fault,
        "hashing": hashing,
        "ring_capacity": ring_capacity,
        "duplicates": duplicates,
        "late": late,
        "progress": progress,
    }
    parts = build_parts(complete(options))
    report = run_parts(parts)
    warn_of_configured(parts, report)
    return report


def run_parts(parts: EngineParts, on_begin: Callable[[RunningReplay], object] | None = None) -> Report:
    """Run the parts of a replay to their end, also inside of a running event loop, and return what happened.

    on_begin : called with the replay before it runs.
    """
    from headrace.engine.event_loop import run_in_loop
    from headrace.engine.interrupts import Interrupts
    from headrace.engine.report import report_of
    from headrace.engine.run import EngineRun
    from headrace.engine.running_replay import RunningReplay

    run = EngineRun(parts)
    if on_begin is not None:
        on_begin(RunningReplay(parts, run))
    with Interrupts((run.stop,), signals=(signal.SIGINT,)):
        if has_running_loop():
            on_own_thread(lambda: run_in_loop(run.run(), run.end.waits))
        else:
            run_in_loop(run.run(), run.end.waits)
    return report_of(parts, run)


def warn_of_configured(parts: EngineParts, report: Report) -> None:
    """Behind a whole replay, log which configured instruments the data had nothing of."""
    is_whole = report.mode == "replay" and not report.stopped
    if is_whole and (problem := parts.names.problem_of_configured(parts.gates.instruments)):
        log.warning("instruments: %s", problem)


def on_own_thread(job: Callable[[], None]) -> None:
    """Run the job on a thread, and raise what it raised."""
    raised: list[BaseException] = []

    def work() -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001 - raised by the caller, whatever it is
            raised.append(error)

    thread = threading.Thread(target=work, name="headrace-replay", daemon=True)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
