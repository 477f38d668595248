"""A recording on disk comes as blocks of whole lines, or as one clear error."""

from __future__ import annotations

import asyncio
import gzip
import threading
from codecs import BOM_UTF8
from pathlib import Path

import pytest

from headrace.errors import RecordingError, VenueError
from headrace.feeds import Feed, RecordingFeed, SizedFeed, SyntheticFeed
from headrace.limits import FRAME_BYTES_MAX
from tests.support.engines import START


async def blocks_of(feed: RecordingFeed) -> list[bytes]:
    await feed.open()
    try:
        return [block async for block in feed]
    finally:
        await feed.close()


def read(path: Path, *, venue: str | None = None, block_bytes: int = 1 << 20) -> list[bytes]:
    return asyncio.run(blocks_of(RecordingFeed(path, venue=venue, block_bytes=block_bytes)))


@pytest.fixture(scope="module")
def content() -> bytes:
    return b"".join(SyntheticFeed(frames=3_000).lines())


@pytest.mark.parametrize("block_bytes", [1, 100, 4_096, 1 << 20])
def test_every_line_comes_whole_and_once_whatever_the_block_size(
    tmp_path: Path, content: bytes, block_bytes: int
) -> None:
    path = tmp_path / "session"
    path.write_bytes(content[:20_000].rpartition(b"\n")[0] + b"\n")
    blocks = read(path, venue="BINANCE", block_bytes=block_bytes)
    assert b"".join(blocks) == path.read_bytes()
    assert all(block.endswith(b"\n") for block in blocks)


def test_gzip_is_recognised_by_its_content_not_by_its_name(tmp_path: Path, content: bytes) -> None:
    zipped, plain = tmp_path / "a.txt", tmp_path / "b.gz"
    zipped.write_bytes(gzip.compress(content))
    plain.write_bytes(content)
    assert b"".join(read(zipped)) == b"".join(read(plain)) == content


def test_gzip_files_appended_to_one_another_are_one_recording(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "two.gz"
    half = content.index(b"\n", len(content) // 2) + 1
    path.write_bytes(gzip.compress(content[:half]) + gzip.compress(content[half:]))
    assert b"".join(read(path)) == content


def test_a_last_line_without_line_break_is_delivered(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "session"
    path.write_bytes(content[:-1])
    assert b"".join(read(path)) == content[:-1]


@pytest.mark.parametrize("venue", ["BINANCE", "BINANCE_USDM", "BINANCE_COINM"])
def test_the_venue_is_found_out_from_the_first_frames(tmp_path: Path, venue: str) -> None:
    symbol = "BTCUSD_PERP" if venue == "BINANCE_COINM" else "BTCUSDT"
    path = SyntheticFeed(symbol, venue=venue, frames=500).write(tmp_path / "session.gz")
    feed = RecordingFeed(path)
    asyncio.run(blocks_of(feed))
    assert feed.venue == venue


def test_an_undecided_venue_is_an_error_that_names_the_option(tmp_path: Path) -> None:
    path = tmp_path / "trades"
    trade = b'{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":1,"p":"1.0","q":"1.0","T":1723161255342,"m":true}'
    path.write_bytes(b"1723161254087896568 %b\n" % trade)
    with pytest.raises(VenueError, match=r"trades .*FILE@VENUE or --venue"):
        read(path)


def test_frames_of_two_markets_are_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mixed"
    spot, usdm = SyntheticFeed(frames=50), SyntheticFeed(venue="BINANCE_USDM", frames=50)
    path.write_bytes(b"".join([*spot.lines(), *usdm.lines()]))
    with pytest.raises(VenueError, match=r"mixed: .*two markets") as caught:
        read(path)
    assert caught.value.path == str(path)


def test_the_venue_is_looked_for_beyond_the_first_block(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "session"
    path.write_bytes(b'%d {"result":null,"id":1}\n' % START * 50 + content)
    feed = RecordingFeed(path, block_bytes=200)
    assert b"".join(asyncio.run(blocks_of(feed))) == path.read_bytes()
    assert feed.venue == "BINANCE"


@pytest.mark.parametrize(
    ("ts", "said"),
    [
        (1_767_571_200, "seconds"),
        (1_767_571_200_000, "milliseconds"),
        (1_767_571_200_000_000, "microseconds"),
        (7, "2200"),
    ],
)
def test_a_receive_time_in_another_unit_is_refused(tmp_path: Path, ts: int, said: str) -> None:
    path = tmp_path / "session"
    path.write_bytes(b'%d {"result":null,"id":1}\n' % ts)
    with pytest.raises(RecordingError, match=f"receive time {ts}, .*{said}"):
        read(path, venue="BINANCE")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"nowhere\.gz is missing") as caught:
        read(tmp_path / "nowhere.gz")
    assert caught.value.path == str(tmp_path / "nowhere.gz")


def test_a_folder_is_no_recording(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="is a folder"):
        read(tmp_path)


@pytest.mark.parametrize("empty", [b"", gzip.compress(b"")], ids=["plain", "gzip"])
def test_an_empty_file_is_an_error(tmp_path: Path, empty: bytes) -> None:
    path = tmp_path / "session"
    path.write_bytes(empty)
    with pytest.raises(RecordingError, match="is empty"):
        read(path)


async def blocks_and_error(feed: RecordingFeed) -> tuple[list[bytes], RecordingError]:
    await feed.open()
    blocks: list[bytes] = []

    async def drain() -> None:
        async for block in feed:
            blocks.append(block)  # noqa: PERF401 - what came before the error is what is asserted

    with pytest.raises(RecordingError) as caught:
        await drain()
    await feed.close()
    return blocks, caught.value


def test_a_truncated_gzip_yields_its_whole_lines_then_raises(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "session.gz"
    path.write_bytes(gzip.compress(content)[:-2_000])
    blocks, error = asyncio.run(blocks_and_error(RecordingFeed(path, block_bytes=8_192)))
    assert blocks
    assert content.startswith(b"".join(blocks))
    assert "truncated" in str(error)
    assert f"{sum(map(len, blocks)):,} bytes" in str(error)


def test_damaged_gzip_data_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "session.gz"
    zipped = bytearray(gzip.compress(content))
    middle = len(zipped) // 2
    zipped[middle : middle + 64] = bytes(64)
    path.write_bytes(bytes(zipped))
    _, error = asyncio.run(blocks_and_error(RecordingFeed(path, block_bytes=8_192)))
    assert "damaged" in str(error)


def test_a_line_too_long_is_cut_and_the_next_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "session"
    first, last = b"%d first" % START, b"%d last" % START
    path.write_bytes(first + b"\n%d " % START + b"x" * (FRAME_BYTES_MAX + 3_000_000) + b"\n" + last + b"\n")
    lines = b"".join(read(path, venue="BINANCE")).split(b"\n")
    assert [lines[0], lines[2], lines[3]] == [first, last, b""]
    assert FRAME_BYTES_MAX + 2 < len(lines[1]) < FRAME_BYTES_MAX + 64


def test_the_worker_is_never_more_than_its_bound_ahead(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "session"
    path.write_bytes(content * 4)

    async def first_then_wait() -> int:
        feed = RecordingFeed(path, venue="BINANCE", block_bytes=4_096, blocks_ahead=2)
        await feed.open()
        blocks = aiter(feed)
        for _ in range(3):
            await anext(blocks)
        worker, reader = feed._worker, feed._reader
        assert worker is not None
        assert reader is not None
        # This job waits behind all blocks that were read ahead, and reads one more.
        _, position = await asyncio.wrap_future(worker.submit(reader.next_block))
        await feed.close()
        return position

    # One block to find the venue, two yielded, two ahead, and the one more.
    assert asyncio.run(first_then_wait()) <= 6 * 4_096 + len(BOM_UTF8)


def test_the_largest_block_size_reads_the_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "session.gz"
    path.write_bytes(gzip.compress(content))
    assert b"".join(read(path, venue="BINANCE", block_bytes=1 << 30)) == content


def test_bytes_done_rises_to_the_size_of_the_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "session.gz"
    path.write_bytes(gzip.compress(content))

    async def positions() -> list[int]:
        feed = RecordingFeed(path, block_bytes=8_192)
        await feed.open()
        seen = [feed.bytes_done async for _ in feed]
        assert feed.bytes_total == path.stat().st_size
        await feed.close()
        return seen

    seen = asyncio.run(positions())
    assert seen == sorted(seen)
    assert seen[-1] == path.stat().st_size


def test_closing_half_way_ends_the_worker_and_closes_the_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "session"
    path.write_bytes(content)

    async def half() -> None:
        feed = RecordingFeed(path, block_bytes=4_096)
        await feed.open()
        await anext(aiter(feed))
        await feed.close()
        await feed.close()

    asyncio.run(half())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("headrace-recording")]


def test_a_feed_closed_while_it_is_read_raises(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "session"
    path.write_bytes(content)

    async def close_half_way() -> None:
        feed = RecordingFeed(path, block_bytes=4_096)
        await feed.open()
        blocks = aiter(feed)
        for _ in range(3):
            await anext(blocks)
        await feed.close()
        await anext(blocks)

    with pytest.raises(RecordingError, match="not open"):
        asyncio.run(close_half_way())


def test_a_closed_feed_raises_until_it_is_opened(tmp_path: Path) -> None:
    async def unopened() -> None:
        await anext(aiter(RecordingFeed(tmp_path / "session", venue="BINANCE")))

    with pytest.raises(RecordingError, match=r"feed\.open\(\)"):
        asyncio.run(unopened())


def test_a_recording_is_a_feed_with_a_known_size(tmp_path: Path) -> None:
    feed = RecordingFeed(tmp_path / "session")
    assert isinstance(feed, Feed)
    assert isinstance(feed, SizedFeed)
