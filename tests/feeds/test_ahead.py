"""Reading ahead: the event loop runs while a block is read, and so many blocks are in memory at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from headrace.feeds.ahead import Ahead

pytestmark = pytest.mark.asyncio


class Blocks:
    """An iterator whose reads a test lets happen one by one; it counts those that began."""

    def __init__(self, count: int) -> None:
        self.begun, self.count = 0, count
        self.may_read = threading.Semaphore(0)
        self.is_closed = False

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        if self.begun == self.count:
            raise StopIteration
        self.begun += 1
        if not self.may_read.acquire(timeout=20):
            raise TimeoutError
        return self.begun

    def close(self) -> None:
        self.is_closed = True


async def test_the_loop_runs_while_a_block_is_read() -> None:
    blocks = Blocks(2)
    ahead = Ahead(iter(blocks), "test")
    reading = asyncio.create_task(ahead.next())
    turns = 0
    while blocks.begun == 0 or turns < 100:
        turns += 1
        await asyncio.sleep(0)
    assert not reading.done()
    for _ in range(2):
        blocks.may_read.release()
    assert await reading == 1
    await ahead.close()
    assert blocks.is_closed


@pytest.mark.parametrize("bound", [0, 1, 3])
async def test_so_many_blocks_are_read_ahead_and_no_more(bound: int) -> None:
    blocks = Blocks(20)
    for _ in range(20):
        blocks.may_read.release()
    ahead = Ahead(iter(blocks), "test", blocks_ahead=bound)
    for number in range(1, 11):
        assert await ahead.next() == number
        # That one, and those ahead of it.
        assert blocks.begun <= number + bound
    await ahead.close()
    assert blocks.begun <= 10 + bound


async def test_an_error_comes_behind_every_block_before_it() -> None:
    def broken() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("the disk is gone")

    ahead = Ahead(broken(), "test", blocks_ahead=5)
    assert [await ahead.next(), await ahead.next()] == [1, 2]
    with pytest.raises(OSError, match="the disk is gone"):
        await ahead.next()
    await ahead.close()
