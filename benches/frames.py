"""Frames to decode: recorded ones where ``HEADRACE_RECORDINGS`` names a folder, generated ones for what it lacks.

Guarantees: frames of a type come in their venue's order and once, so the sequencer drops none as a duplicate; the
snapshot, which it never checks, is repeated until there are enough.
Does not: mix venues. It reads the first spot recording, or the first one there is.
"""

from __future__ import annotations

import gzip
import os
from collections import defaultdict
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import msgspec

import headrace._native as _native
from headrace.feeds import SyntheticFeed

TYPES = ("bookTicker", "trade", "aggTrade", "depthUpdate", "snapshot")
LINES_MAX = 60_000
SYNTHETIC_LINES = 30_000
# The rarest type of a session, snapshots apart, comes about once in so many lines; with room to spare.
LINES_PER_DEPTH_UPDATE = 60
BLOCK_BYTES = 64 * 1024


class Frames(NamedTuple):
    """Frames of one type, whose they are, and a frame of another type that names the symbol first."""

    type: str
    source: str
    venue: str
    frames: list[bytes]
    opener: bytes

    @property
    def bytes_mean(self) -> float:
        """Mean size of a frame."""
        return sum(map(len, self.frames)) / len(self.frames)

    def blocks(self) -> list[bytes]:
        """The frames as a recording holds them, in blocks of about the size in which files are read."""
        blocks, lines, size = [], [], 0
        for row, frame in enumerate(self.frames):
            line = b"%d %b\n" % (1_700_000_000_000_000_000 + row, frame)
            lines.append(line)
            size += len(line)
            if size >= BLOCK_BYTES:
                blocks.append(b"".join(lines))
                lines, size = [], 0
        return [*blocks, b"".join(lines)] if lines else blocks


def recordings() -> list[Path]:
    """Every recording there is, spot ones first; none when ``HEADRACE_RECORDINGS`` is not set."""
    folder = os.environ.get("HEADRACE_RECORDINGS")
    files = Path(folder).glob("*.gz") if folder else ()
    return sorted(files, key=lambda path: ("spot" not in path.name, path.name))


def frames_by_type(count: int) -> dict[str, Frames]:
    """At most ``count`` frames of each type."""
    found: dict[str, Frames] = {}
    for path in recordings()[:1]:
        with gzip.open(path, "rb") as file:
            lines = list(islice(file, LINES_MAX))
        venue = _native.detect_venue(b"".join(lines[:1_000]))
        assert venue, f"{path.name} does not say its venue"
        found = _sorted_by_type(lines, path.name, venue, count)
    feed = SyntheticFeed(frames=SYNTHETIC_LINES)
    generated = _sorted_by_type(list(feed.lines()), "generated", feed.venue, count)
    return {frame_type: found.get(frame_type, generated[frame_type]) for frame_type in TYPES}


def lines_by_type(count: int) -> dict[str, list[bytes]]:
    """Generated lines, ``count`` of each type, the same in every run."""
    found: dict[str, list[bytes]] = {frame_type: [] for frame_type in TYPES}
    for line in SyntheticFeed(frames=count * LINES_PER_DEPTH_UPDATE).lines():
        if frame_type := _type_of(msgspec.json.decode(line.partition(b" ")[2])):
            found[frame_type].append(line)
    found["snapshot"] *= count
    short = [frame_type for frame_type, lines in found.items() if len(lines) < count]
    assert not short, f"too few frames of {short} in the generated session"
    return {frame_type: lines[:count] for frame_type, lines in found.items()}


def _sorted_by_type(lines: list[bytes], source: str, venue: str, count: int) -> dict[str, Frames]:
    sorted_frames: dict[str, list[bytes]] = defaultdict(list)
    for line in lines:
        frame = line.rstrip().partition(b" ")[2]
        if frame_type := _type_of(msgspec.json.decode(frame)):
            sorted_frames[frame_type].append(frame)
    openers = {
        frame_type: sorted_frames["trade" if frame_type == "bookTicker" else "bookTicker"][0] for frame_type in TYPES
    }
    if snapshots := sorted_frames.get("snapshot"):
        sorted_frames["snapshot"] = snapshots[:1] * max(1, count // 100)
    return {
        frame_type: Frames(frame_type, source, venue, frames[:count], openers[frame_type])
        for frame_type, frames in sorted_frames.items()
    }


def _type_of(message: dict) -> str | None:
    """Only frames of a combined stream, and snapshots, which have no stream."""
    if "lastUpdateId" in message:
        return "snapshot"
    if "stream" not in message:
        return None
    data = message["data"]
    event_type = data.get("e") or ("bookTicker" if "B" in data else "")
    return event_type if event_type in TYPES else None
