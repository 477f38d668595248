"""Hostile clients in a process of their own: each gets its refusal, no tick is lost, and nothing of them is left."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from headrace.control.http import protocol
from headrace.control.http.rates import ClientRates
from tests.support import hostile_clients
from tests.support.feeding import holds_the_law
from tests.support.http_serving import Served, serving
from tests.support.memory import rss_bytes

pytestmark = pytest.mark.asyncio

# What each attack may get; a pipelined one gets as many as it asked for.
WANTED = {
    "wrong_host": {"421"},
    "wrong_origin": {"403"},
    "wrong_token": {"401"},
    "malformed": {"400"},
    "huge_head": {"400"},
    "huge_body": {"413"},
    "huge_chunks": {"413"},
    "pipelined": {"200"},
    "replayed_key": {"200", "409"},
    "slow": {"cut"},
    "gone": {"cut"},
}
WARM_UP, ATTACKS = 660, 2_002
GROWTH_BYTES_MAX = 8 << 20


async def attacked(served: Served, count: int) -> dict[str, dict[str, int]]:
    """Let the clients attack so often, and return what they got."""
    arguments = (hostile_clients.__file__, str(served.port), served.token, str(count), "0")
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    assert process.returncode == 0
    answers: dict[str, dict[str, int]] = json.loads(said)
    async with asyncio.timeout(20):
        while served.server.metrics()["open"]:  # noqa: ASYNC110 - nothing tells of a connection that is gone
            await asyncio.sleep(0.01)
    return answers


@pytest.mark.timeout(180)
async def test_2000_hostile_requests_are_refused_lose_no_tick_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HTTP_RECEIVE_S", 0.3)
    async with serving(tmp_path, rates=ClientRates(per_s=1e6, burst=1_000_000)) as served:
        await attacked(served, WARM_UP)
        gc.collect()
        before = rss_bytes()
        answers = await attacked(served, ATTACKS)
        gc.collect()
        growth = rss_bytes() - before
        metrics, strategies = served.server.metrics(), served.engine.report().strategies
        assert (await served.get("/v1/status")).status == 200
    assert {name: set(own) for name, own in answers.items()} == WANTED
    kinds = len(WANTED)
    assert answers["pipelined"]["200"] == hostile_clients.PIPELINED * (ATTACKS // kinds)
    replayed: dict[str, Any] = answers["replayed_key"]
    assert replayed["200"] == replayed["409"]
    assert metrics["failed"] == 0
    # The pause that was accepted concerned one; that of the replayed key's other body nobody.
    assert (strategies["one"].state, strategies["two"].state) == ("paused", "running")
    assert strategies["two"].missed == strategies["two"].skipped == 0
    assert all(holds_the_law(own) for own in strategies.values())
    assert growth < GROWTH_BYTES_MAX, f"{growth / 2**20:.1f} MiB"
