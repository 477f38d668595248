"""The bounded pool: results and errors come back, and no more work waits than is allowed."""

from __future__ import annotations

import asyncio
import threading

import pytest

from headrace.gateway.pool import WorkPool

pytestmark = pytest.mark.asyncio


async def test_results_and_errors_come_back():
    pool = WorkPool()
    assert await pool.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await pool.run(divmod, 7, 0)
    pool.close()


async def test_no_more_work_waits_than_allowed():
    pool, may_end = WorkPool(workers=1, queue_max=2), threading.Event()
    asked = [asyncio.ensure_future(pool.run(may_end.wait, 10)) for _ in range(5)]
    await asyncio.sleep(0.05)
    assert pool.depth == 2
    may_end.set()
    assert await asyncio.gather(*asked) == [True] * 5
    assert pool.metrics() == {"depth": 0, "done": 5}
    pool.close()
