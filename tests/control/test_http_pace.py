"""The pace of strangers: a small part of a busy thread, all of an idle one, and never a known client's time."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from headrace.control.http import pace
from headrace.control.http.pace import Pace
from headrace.limits import HTTP_STRANGERS_CREDIT_S, HTTP_STRANGERS_SHARE
from tests.support.http_serving import Served, serving

pytestmark = pytest.mark.asyncio

# On a machine that is busy with other tests.
LATE_S = 25.0
WORK_S = 100e-6
TURN_S = 300e-6


def spend(seconds: float) -> None:
    """Use so much of the thread's own time."""
    end_s = time.thread_time() + seconds
    while time.thread_time() < end_s:
        pass


class Busy:
    """Keeps the loop busy as ticks do: a turn in each of its rounds, until it is over."""

    def __init__(self) -> None:
        self.spent_s = 0.0
        self.is_over = False
        self._turn()

    def _turn(self) -> None:
        began_s = time.thread_time()
        spend(TURN_S)
        self.spent_s += time.thread_time() - began_s
        if not self.is_over:
            asyncio.get_running_loop().call_soon(self._turn)


async def test_strangers_get_their_share_of_a_busy_thread_and_no_more() -> None:
    own, spent_s, most_s = Pace(asyncio.get_running_loop()), 0.0, 0.0

    def work() -> None:
        nonlocal spent_s, most_s
        began_s = time.thread_time()
        spend(WORK_S)
        took_s = time.thread_time() - began_s
        spent_s, most_s = spent_s + took_s, max(most_s, took_s)
        own.run(work)

    own.run(work)
    busy = Busy()
    while busy.spent_s < 1.0:  # noqa: ASYNC110 - nothing signals it
        await asyncio.sleep(0)
    busy.is_over = True
    own.close()
    # The last piece of work may begin with the last of the credit.
    wanted_s = HTTP_STRANGERS_CREDIT_S + busy.spent_s * HTTP_STRANGERS_SHARE / (1 - HTTP_STRANGERS_SHARE)
    assert spent_s <= wanted_s + most_s + pace.SLOT_S
    # What waits for credit is looked at, so it gets what it may have; a part goes to looking itself.
    assert spent_s >= HTTP_STRANGERS_CREDIT_S


async def test_nothing_waits_for_credit_on_an_idle_thread() -> None:
    own, done, count = Pace(asyncio.get_running_loop()), 0, 2_000

    def work() -> None:
        nonlocal done
        spend(WORK_S)
        done += 1

    for _ in range(count):
        own.run(work)
    # At the share of a busy thread it would take ten seconds.
    async with asyncio.timeout(LATE_S):
        while done < count:  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0)
    assert own.waiting == 0


async def test_what_a_task_takes_in_steps_is_paid_for_and_raises_as_it_does() -> None:
    loop = asyncio.get_running_loop()
    own, seen = Pace(loop), []

    async def work() -> None:
        spend(2 * HTTP_STRANGERS_CREDIT_S)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    task = loop.create_task(own.timed(work, lambda: True))
    await asyncio.sleep(0)
    own.run(lambda: seen.append("a stranger"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["cancelled"]
    own.close()

    free = Pace(loop)
    with pytest.raises(ZeroDivisionError):
        await free.timed(failing, lambda: False)
    free.run(lambda: seen.append("at once"))
    await asyncio.sleep(0)
    assert seen == ["cancelled", "at once"]


async def failing() -> None:
    spend(2 * HTTP_STRANGERS_CREDIT_S)
    raise ZeroDivisionError


async def test_a_known_client_is_answered_while_strangers_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "HTTP_STRANGERS_CREDIT_S", 1e-3)
    async with serving(tmp_path) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        head = "".join(f"{name}: {value}\r\n" for name, value in served.headers(Connection=None).items())

        async def status() -> None:
            writer.write(f"GET /v1/status HTTP/1.1\r\n{head}\r\n".encode())
            async with asyncio.timeout(LATE_S):
                answer = await reader.readuntil(b"\r\n\r\n")
                length = int(answer.partition(b"content-length: ")[2].partition(b"\r\n")[0])
                await reader.readexactly(length)
            assert answer.startswith(b"HTTP/1.1 200 ")

        await status()
        busy = Busy()
        strangers = [asyncio.create_task(refused(served)) for _ in range(32)]
        while not served.server.metrics()["open"] > 1:  # noqa: ASYNC110 - nothing tells of a connection
            await asyncio.sleep(0)
        for _ in range(3):
            await status()
        assert not all(task.done() for task in strangers)
        busy.is_over = True
        assert await asyncio.gather(*strangers) == [401] * len(strangers)
        writer.close()


async def refused(served: Served) -> int:
    return (await served.get("/v1/status", Authorization="Bearer " + "x" * 43)).status
