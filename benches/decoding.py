"""Frames to published ticks, one row per frame type: decoded, numbered, on the ring (row 8).

    blocks of recorded lines ─▶ publish_lines         the figure of row 8: how recordings are read
    frame by frame           ─▶ publish_frame         how a live feed calls, one Python call a frame

Guarantees: before anything is timed, every tick's first two values and the number of ticks are compared with those that
msgspec gets from the same frames.
Does not: give the others the sequencer's work. They stop at an object; ours is checked, numbered and published.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import headrace
from benches.baselines.json_decoders import DECODERS, msgspec_routed, ticks_of
from benches.frames import Frames, frames_by_type
from benches.harness import Case, Patience, Row, Span, Timer, interleave, rate

CHECKED_FRAMES = 50
TARGET = 3.0


def publish_blocks(frames: Frames, blocks: list[bytes]) -> Span:
    """Time per frame, whole blocks of lines at a time."""
    with _dispatcher() as dispatcher:
        decoder = _opened(dispatcher, frames)
        with Timer() as timer:
            for block in blocks:
                dispatcher.publish_lines(decoder, block)
        _check_count(dispatcher, frames)
    return timer.per(len(frames.frames))


def publish_frames(frames: Frames) -> Span:
    """Time per frame, one call each."""
    with _dispatcher() as dispatcher:
        decoder = _opened(dispatcher, frames)
        with Timer() as timer:
            for row, frame in enumerate(frames.frames, 1):
                dispatcher.publish_frame(decoder, frame, row)
        _check_count(dispatcher, frames)
    return timer.per(len(frames.frames))


def decode_all(decode: Callable[[bytes], Any], frames: Frames) -> Span:
    """Time per frame of a peer, which keeps nothing."""
    with Timer() as timer:
        for frame in frames.frames:
            decode(frame)
    return timer.per(len(frames.frames))


def check_values(frames: Frames) -> None:
    """Compare the first frames' ticks with msgspec's, value by value."""
    sample = frames.frames[: 1 if frames.type == "snapshot" else CHECKED_FRAMES]
    plain = [tick for frame in sample for tick in ticks_of(msgspec_routed(frame))]
    wanted = [(tick.first, tick.second) for tick in plain]
    got = np.zeros(len(wanted) + 1, headrace.TICK_DTYPE)
    with _dispatcher() as dispatcher:
        decoder = _opened(dispatcher, frames)
        reader = dispatcher.subscribe(kinds=[plain[0].kind])
        for row, frame in enumerate(sample, 1):
            dispatcher.publish_frame(decoder, frame, row)
        count = 0
        while fresh := reader.read_into(got[count:]):
            count += fresh
    values = [(first, second) for first, second, *_ in got["values"][:count].tolist()]
    assert values == wanted, f"{frames.type}: {count} ticks differ from the {len(wanted)} that msgspec decoded"


def rows(frames_max: int, rounds: int, patience: Patience) -> list[Row]:
    """Measure every type with at most so many frames."""
    return [row for frames in frames_by_type(frames_max).values() for row in _rows_of(frames, rounds, patience)]


def _rows_of(frames: Frames, rounds: int, patience: Patience) -> list[Row]:
    check_values(frames)
    cases = [
        Case("lines", partial(publish_blocks, frames, frames.blocks())),
        Case("frame", partial(publish_frames, frames)),
        *(Case(name, partial(decode_all, decode, frames)) for name, decode in DECODERS.items()),
    ]
    result = interleave(cases, rounds, patience)
    what = f"{frames.type} of {frames.bytes_mean:,.0f} B, {frames.source}"

    def row(number: str, name: str, peer: str, target: float | None = None) -> Row:
        return Row(number, f"{name}: {what}", rate(result.median_ns(name)), result.speed(name, peer), peer, target)

    return [
        row("8", "lines", "msgspec", TARGET),
        row("", "frame", "msgspec"),
        *(row("", "lines", peer) for peer in DECODERS if peer != "msgspec"),
    ]


def _dispatcher() -> headrace.Dispatcher:
    return headrace.Dispatcher(instruments_max=16)


def _opened(dispatcher: headrace.Dispatcher, frames: Frames) -> headrace.Decoder:
    """A decoder that has seen the symbol, which a snapshot does not name."""
    decoder = headrace.Decoder(frames.venue, dispatcher.instruments)
    assert dispatcher.publish_frame(decoder, frames.opener, 0) == 1
    return decoder


def _check_count(dispatcher: headrace.Dispatcher, frames: Frames) -> None:
    accepted = dict(dispatcher.stats().frames)
    assert accepted[frames.type] == len(frames.frames), f"of {len(frames.frames)} {frames.type} frames: {accepted}"
    assert not dispatcher.stats().duplicates, "the sequencer dropped duplicates: the rest had less to do"
