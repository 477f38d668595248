"""A recording that breaks off: what is whole is delivered and reported, then comes the error."""

from __future__ import annotations

import gzip
import json
import random
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import pytest

from headrace import Strategy, replay
from headrace.errors import RecordingError
from tests.support.command import Run

START_NS = 1_767_571_200_000_000_000


def line(number: int) -> bytes:
    """A recorded quote; a millisecond apart."""
    frame = b'{"u":%d,"s":"BTCUSDT","b":"%d.5","B":"1","a":"99999","A":"1"}' % (number, number)
    return b"%d %s\n" % (START_NS + number * 1_000_000, frame)


LINES = [line(number) for number in range(1, 3_001)]


class Seen(Strategy):
    """Notes the ids, one by one and in windows."""

    def __init__(self) -> None:
        self.ids: list[int] = []

    def on_quote(self, venue_seq: int) -> None:
        self.ids.append(venue_seq)


class Windows(Strategy):
    """Notes how many ticks its windows hold together."""

    subscription = {"every": "1m"}  # noqa: RUF012 - a plain class, as a user writes it

    def __init__(self) -> None:
        self.count = 0

    def on_quotes(self, seq) -> None:
        self.count += len(seq)


def zstd(content: bytes) -> bytes:
    """One frame of raw blocks, as RFC 8878 has it: no window beyond 1 MiB, no checksum."""
    blocks = [content[start : start + 100_000] for start in range(0, len(content), 100_000)]
    last = len(blocks) - 1
    heads = [(len(block) << 3 | (number == last)).to_bytes(3, "little") for number, block in enumerate(blocks)]
    return b"\x28\xb5\x2f\xfd\x00\x50" + b"".join(map(bytes.__add__, heads, blocks))


def whole_lines(zipped: bytes) -> int:
    """How many whole lines a cut gzip file holds, by zlib itself."""
    return zlib.decompressobj(31).decompress(zipped).count(b"\n")


@pytest.mark.parametrize("case", range(6))
def test_a_cut_file_gives_every_whole_line_then_raises(case: int, tmp_path: Path, seed: int) -> None:
    zipped = gzip.compress(b"".join(LINES))
    cut = zipped[: random.Random(seed + case).randrange(200, len(zipped) - 1)]
    path = tmp_path / "cut.gz"
    path.write_bytes(cut)
    seen, windows = Seen(), Windows()
    with pytest.raises(RecordingError, match="truncated") as caught:
        replay(f"{path}@BINANCE", [seen, windows])
    count = whole_lines(cut)
    assert seen.ids == list(range(1, count + 1))
    assert windows.count == count
    report = caught.value.report
    assert report is not None
    assert (report.ticks, report.ended_by) == ({"quote": count} if count else {}, "error")
    assert report.strategies["Seen"].delivered == count


def test_a_cut_zstd_file_gives_every_whole_line_then_raises(tmp_path: Path) -> None:
    path = tmp_path / "cut.zst"
    path.write_bytes(zstd(b"".join(LINES))[:150_000])
    seen = Seen()
    with pytest.raises(RecordingError, match="its zstd data ends in the middle"):
        replay(f"{path}@BINANCE", seen)
    # What is cut has the head of the frame, and those of two raw blocks.
    assert seen.ids == list(range(1, b"".join(LINES)[: 150_000 - 6 - 2 * 3].count(b"\n") + 1))


def test_a_zstd_window_that_would_take_the_memory_is_refused(tmp_path: Path) -> None:
    packed = bytearray(zstd(b"".join(LINES)))
    packed[5] = (31 - 10) << 3
    (tmp_path / "wide.zst").write_bytes(packed)
    with pytest.raises(RecordingError, match="too much memory"):
        replay(f"{tmp_path / 'wide.zst'}@BINANCE", Seen())


def test_the_command_prints_the_report_and_then_the_error(tmp_path: Path, headrace_run: Run) -> None:
    zipped = gzip.compress(b"".join(LINES))[:-500]
    (tmp_path / "cut.gz").write_bytes(zipped)
    ended = headrace_run("replay", "cut.gz@BINANCE", "--json")
    assert ended.returncode == 1
    assert json.loads(ended.stdout)["ticks"] == {"quote": whole_lines(zipped)}
    assert "truncated" in ended.stderr


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + b"".join(LINES),
        b"".join(LINES).replace(b"\n", b"\r\n"),
        b"\n \n\t\r\n".join(LINES),
        gzip.compress(b"".join(LINES[:1_000])) + gzip.compress(b"".join(LINES[1_000:])),
        gzip.compress(b"\xef\xbb\xbf" + b"".join(LINES)),
        b"".join(gzip.compress(b"\xef\xbb\xbf" + b"".join(LINES[at : at + 750])) for at in range(0, 3_000, 750)),
        gzip.compress(b"".join(LINES)) + bytes(512),
        zstd(b"".join(LINES)),
        zstd(b"\xef\xbb\xbf" + b"".join(LINES[:1_000])) + zstd(b"".join(LINES[1_000:])),
    ],
    ids=[
        *("BOM", "CRLF", "blank lines", "gzip members", "BOM in gzip", "BOM in each gzip member", "padded gzip"),
        *("zstd", "zstd frames"),
    ],
)
def test_harmless_forms_of_a_file_are_read(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "session"
    path.write_bytes(content)
    seen = Seen()
    report = replay(str(path), seen)
    assert seen.ids == list(range(1, 3_001))
    assert not report.rejected


@pytest.mark.parametrize("size", range(2, 10))
def test_gzip_cut_in_its_head_is_cut_and_not_empty(size: int, tmp_path: Path) -> None:
    path = tmp_path / "cut.gz"
    path.write_bytes(gzip.compress(b"".join(LINES))[:size])
    with pytest.raises(RecordingError, match="truncated"):
        replay(str(path), Seen())


@pytest.mark.parametrize("wrong", [START_NS // 10**6, START_NS * 5], ids=["milliseconds", "far away"])
@pytest.mark.parametrize("at", [1, 2_000, 2_999, 3_000])
def test_wrong_time_ends_behind_the_whole_lines_before_it(wrong: int, at: int, tmp_path: Path) -> None:
    lines = list(LINES)
    lines[at - 1] = b"%d %s" % (wrong, lines[at - 1].partition(b" ")[2])
    path = tmp_path / "session"
    path.write_bytes(b"".join(lines))
    seen = Seen()
    with pytest.raises(RecordingError, match=f"{wrong}|row {at + 1}: receive time"):
        replay(f"{path}@BINANCE", seen)
    assert seen.ids[: at - 1] == list(range(1, at))
    # Between two lines that are right, a time too late is found by the one behind it.
    assert len(seen.ids) <= at


@pytest.mark.parametrize("keep", [1, 5, 10, 13, 19])
@pytest.mark.parametrize("at", [1, 1_500, 3_000])
def test_line_torn_inside_its_time_is_one_reject(keep: int, at: int, tmp_path: Path) -> None:
    lines = list(LINES)
    lines[at - 1] = lines[at - 1][:keep] + (b"\n" if at < 3_000 else b"")
    path = tmp_path / "session"
    path.write_bytes(b"".join(lines))
    seen = Seen()
    report = replay(f"{path}@BINANCE", seen)
    assert seen.ids == [number for number in range(1, 3_001) if number != at]
    assert report.rejected == {"bad_line": 1}


def test_venue_is_looked_for_in_a_bound_of_bytes(tmp_path: Path) -> None:
    # 0.3 MB zipped, 320 MB of frames that show no venue: it took 21 s and 1 GB.
    filler = b"%d {" % START_NS + b'"result":null,"x":"%b"}\n' % (b"x" * 3_000_000)
    path = tmp_path / "session.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(100):
            file.write(filler)
        file.write(LINES[0])
    tracemalloc.start()
    try:
        with pytest.raises(RecordingError, match="holds no accepted frame"):
            replay(str(path), Seen())
        assert tracemalloc.get_traced_memory()[1] < 128 << 20
    finally:
        tracemalloc.stop()


def test_damage_behind_the_frames_that_show_the_venue_is_no_reason(tmp_path: Path) -> None:
    trade = b'{"e":"trade","E":1,"s":"BTCUSDT","t":%d,"p":"1.0","q":"1.0","T":1,"m":true}'
    trades = [b"%d %s\n" % (START_NS, trade % number + b" " * 4_000) for number in range(1, 300)]
    path = tmp_path / "session"
    path.write_bytes(b"".join(trades) + LINES[0] + b"7 {}\n" + LINES[1])
    seen = Seen()
    with pytest.raises(RecordingError, match="receive time 7"):
        replay(str(path), seen)
    assert seen.ids == [1]


def damaged(packed: bytes, bits: int, draw: random.Random) -> bytes:
    """Change a byte of gzip data where it shows: some bits only fill up a byte, and without its end a file is cut."""
    while True:
        changed = bytearray(packed)
        changed[draw.randrange(12, len(packed) - 8)] ^= bits
        try:
            gzip.decompress(changed)
        except (OSError, zlib.error):
            return bytes(changed)
        except EOFError:
            pass


@pytest.mark.parametrize("pack", [gzip.compress, lambda lines: gzip.compress(lines, 0)], ids=["packed", "stored"])
@pytest.mark.parametrize("case", range(12))
def test_changed_byte_in_a_packed_file_is_named_as_damage(case: int, pack: Any, tmp_path: Path, seed: int) -> None:
    path = tmp_path / "session.gz"
    path.write_bytes(damaged(pack(b"".join(LINES)), 1 << case % 8, random.Random(seed + case)))
    with pytest.raises(RecordingError, match=r"is damaged .*its gzip data is corrupt.*copy it again"):
        replay(f"{path}@BINANCE", Seen())


@pytest.mark.parametrize(
    ("row", "place", "digit"), [(500, 7, b"0"), (1, 0, b"8"), (3_000, 0, b"8")], ids=["back", "first", "last"]
)
def test_time_that_damage_made_is_no_error_of_its_writer(row: int, place: int, digit: bytes, tmp_path: Path) -> None:
    plain, time = b"".join(LINES), b"%d" % (START_NS + row * 1_000_000)
    changed = time[:place] + digit + time[place + 1 :]
    path = tmp_path / "session.gz"
    # Stored, not packed: the change is the same one in both, and only the second has the checksum of what it holds.
    path.write_bytes(gzip.compress(plain, 0).replace(time, changed))
    seen = Seen()
    with pytest.raises(RecordingError, match=r"is damaged .*its gzip data is corrupt"):
        replay(f"{path}@BINANCE", seen)
    assert seen.ids[: row - 1] == list(range(1, row))
    path.write_bytes(gzip.compress(plain.replace(time, changed), 0))
    with pytest.raises(RecordingError) as caught:
        replay(f"{path}@BINANCE", Seen())
    assert "damaged" not in str(caught.value)
    # A changed byte may hide the end of what is packed, so that more follows, of any time, and then the file is over.
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(RecordingError, match=r"is damaged .*its gzip data ends in the middle"):
        replay(f"{path}@BINANCE", Seen())
