"""Row 8: frames to published ticks, for each frame type: decoded, numbered, on the ring.

    blocks of recorded lines ─▶ publish_lines         the figure of row 8: how recordings are read
    frame by frame           ─▶ publish_frame         how a live feed calls, one Python call a frame

Guarantees: before anything is timed, every tick's first two values and the number of ticks are compared with those that
msgspec gets from the same frames.
Does not: give the others the sequencer's work. They stop at an object; ours is checked, numbered and published.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest

import headrace
from benches.baselines.json_decoders import DECODERS, msgspec_routed, ticks_of
from benches.bench import Bench, Row, Work
from benches.frames import TYPES, Frames, frames_by_type

CHECKED_FRAMES = 50


@cache
def all_frames(count: int) -> dict[str, Frames]:
    """Return at most so many frames of each type, checked against msgspec."""
    found = frames_by_type(count)
    for frames in found.values():
        check_values(frames)
    return found


def publish_blocks(frames: Frames) -> Iterator[Work]:
    """Publish whole blocks of lines at a time."""
    blocks = frames.blocks()
    with _dispatcher() as dispatcher:
        decoder = _opened(dispatcher, frames)

        def work() -> None:
            for block in blocks:
                dispatcher.publish_lines(decoder, block)

        yield work
        _check_count(dispatcher, frames)


def publish_frames(frames: Frames) -> Iterator[Work]:
    """Publish frame by frame, one call each."""
    with _dispatcher() as dispatcher:
        decoder = _opened(dispatcher, frames)

        def work() -> None:
            for row, frame in enumerate(frames.frames, 1):
                dispatcher.publish_frame(decoder, frame, row)

        yield work
        _check_count(dispatcher, frames)


def decode_all(decode: Callable[[bytes], Any], frames: Frames) -> Iterator[Work]:
    """Decode by a library, and keep nothing."""

    def work() -> None:
        for frame in frames.frames:
            decode(frame)

    yield work


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


@pytest.mark.parametrize("frame_type", TYPES)
class TestDecoding:
    """Times are per frame."""

    rows = (
        Row("8", "recorded lines", "lines", "msgspec", at_least=3.0),
        Row("", "recorded lines", "lines", "orjson"),
        Row("", "recorded lines", "lines", "json"),
        Row("", "frame by frame", "frame_by_frame", "msgspec"),
    )

    def test_lines(self, bench: Bench, frame_type: str) -> None:
        _measured(bench, frame_type, publish_blocks)

    def test_frame_by_frame(self, bench: Bench, frame_type: str) -> None:
        _measured(bench, frame_type, publish_frames)

    def test_msgspec(self, bench: Bench, frame_type: str) -> None:
        _measured(bench, frame_type, lambda frames: decode_all(DECODERS["msgspec"], frames))

    def test_orjson(self, bench: Bench, frame_type: str) -> None:
        _measured(bench, frame_type, lambda frames: decode_all(DECODERS["orjson"], frames))

    def test_json(self, bench: Bench, frame_type: str) -> None:
        _measured(bench, frame_type, lambda frames: decode_all(DECODERS["json"], frames))


def _measured(bench: Bench, frame_type: str, case: Callable[[Frames], Iterator[Work]]) -> None:
    frames = all_frames(bench.size.frames)[frame_type]
    bench.about(f"{frame_type} of {frames.bytes_mean:,.0f} B, {frames.source}").items(len(frames.frames))(case, frames)
