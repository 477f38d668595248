"""A recording that breaks off: what is whole is delivered and reported, then comes the error."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

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


def whole_lines(zipped: bytes) -> int:
    """How many whole lines a cut gzip file holds, by zlib itself."""
    import zlib

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
    ],
    ids=["BOM", "CRLF", "blank lines", "gzip members", "BOM in gzip"],
)
def test_harmless_forms_of_a_file_are_read(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "session"
    path.write_bytes(content)
    seen = Seen()
    report = replay(str(path), seen)
    assert seen.ids == list(range(1, 3_001))
    assert not report.rejected
