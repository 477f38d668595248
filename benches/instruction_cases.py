"""The fixed script under callgrind: every case at its own size, in one order, in one process.

    python -m benches.instruction_cases FOLDER bare_loop=2 on_quote=34 …      blocks of 256 ticks, or frames

FOLDER holds a file of recorded lines for each frame type, which the runner (``instructions``) writes. It takes the
difference of two runs that differ in one size, so what starting costs goes away.
Does not: collect garbage, so nothing depends on what another case left behind; or wake the watch of slow handlers,
whose look every tenth of a second would count for more the slower the machine is.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np

import headrace
from benches.event_bus import QuoteAdder, QuoteEvent, a_bus, events
from benches.frames import TYPES
from benches.handlers import PerBatch, PerQuote, PerTick, own_times, quotes
from benches.workload import Adder, instrument_names, quote_objects
from headrace.dispatch import slow_handlers as watch

BLOCK = 256
RING_CAPACITY = 4_096
NEVER_S = 3_600.0
# What a decoder must have seen before a snapshot: the symbol. The same frame opens every case.
OPENER_TYPE = "aggTrade"


def through_ring(strategy: Callable[[], PerQuote | PerTick | PerBatch], strategies: int, blocks: int) -> None:
    """Publish and dispatch so many blocks."""
    block = quotes(BLOCK).copy()
    # What a block is made into between two publishes is not counted with them: a plain array is written in C.
    rows = block.view(np.ndarray)
    handlers = [strategy() for _ in range(strategies)]
    with _dispatcher() as dispatcher:
        for handler in handlers:
            dispatcher.subscribe(handler)
        for _ in range(blocks):
            dispatcher.publish(block)
            dispatcher.dispatch()
            rows["venue_seq"] += BLOCK
            rows["ts_init"] += BLOCK
        assert dispatcher.ring.cursor == blocks * BLOCK, f"{dispatcher.ring.cursor} ticks were published"
    for handler in handlers:
        assert handler.count == blocks * BLOCK, f"{handler.count} of {blocks * BLOCK} ticks arrived"


def replayed(blocks: int) -> None:
    """Replay so many blocks, each tick with a receive time of its own."""
    ticks, strategy = own_times(blocks * BLOCK), PerQuote()
    headrace.replay(ticks, strategy, instruments=instrument_names())
    assert strategy.count == blocks * BLOCK, f"{strategy.count} of {blocks * BLOCK} ticks arrived"


def through_bus(blocks: int) -> None:
    """Publish and drain so many blocks of ready-made events, to one plain handler."""
    bus, adder, block = a_bus(), QuoteAdder(), events(stamped=True)[:BLOCK]
    bus.subscribe(QuoteEvent, adder.on_quote_event)
    for _ in range(blocks):
        for event in block:
            bus.publish_nowait(event)
        bus.drain()
    assert adder.count == blocks * BLOCK


def bare_loop(blocks: int) -> None:
    """Anchor A, to see the share that is CPython's own."""
    ticks, adder = quote_objects()[:BLOCK], Adder()
    handler = adder.on_tick
    for _ in range(blocks):
        for tick in ticks:
            handler(tick)
    assert adder.count == blocks * BLOCK


def decoded(frame_type: str, lines: list[bytes], opener: bytes, frames: int) -> None:
    """Publish so many frames of one type, as one block of lines."""
    with _dispatcher() as dispatcher:
        decoder = headrace.Decoder("BINANCE", dispatcher.instruments)
        dispatcher.publish_lines(decoder, opener)
        dispatcher.publish_lines(decoder, b"".join(lines[:frames]))
        got = dispatcher.stats().frames[frame_type] - (frame_type == OPENER_TYPE)
    assert got == frames, f"{got} of {frames} {frame_type} frames were accepted"


def cases(folder: Path) -> dict[str, Callable[[int], None]]:
    """Every case by name, in the order in which they run."""
    found: dict[str, Callable[[int], None]] = {
        "bare_loop": bare_loop,
        "publish": partial(through_ring, PerQuote, 0),
        "on_quote": partial(through_ring, PerQuote, 1),
        "on_quote_16": partial(through_ring, PerQuote, 16),
        "on_tick": partial(through_ring, PerTick, 1),
        "on_quotes": partial(through_ring, PerBatch, 1),
        "replay": replayed,
        "event_bus": through_bus,
    }
    lines = {name: (folder / name).read_bytes().splitlines(keepends=True) for name in TYPES}
    opener = lines[OPENER_TYPE].pop(0)
    return found | {f"decode_{name}": partial(decoded, name, lines[name], opener) for name in TYPES}


def _dispatcher() -> headrace.Dispatcher:
    return headrace.Dispatcher(instruments=instrument_names(), ring_capacity=RING_CAPACITY)


def main() -> None:
    """Run every case at the size it is given."""
    gc.disable()
    sizes = dict(argument.split("=") for argument in sys.argv[2:])
    with mock.patch.object(watch, "WATCH_EVERY_S", NEVER_S):
        for name, run in cases(Path(sys.argv[1])).items():
            run(int(sizes[name]))


if __name__ == "__main__":
    main()
