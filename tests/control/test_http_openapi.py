"""The document of the control API: it is what is committed, and what the server does."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path

import pytest

from headrace.commands import COMMANDS
from headrace.control.http.rates import ClientRates
from tests.support.commanding import ACCEPTED, Note
from tests.support.http_serving import Served, serving

pytestmark = pytest.mark.asyncio

# The stream has no end, and drain ends the engine.
ENDLESS = ("/v1/stream", "/v1/commands/drain")


async def test_the_document_is_the_committed_one(root: Path, tmp_path: Path) -> None:
    written = json.loads((root / "docs/reference/openapi.json").read_text())
    async with serving(tmp_path) as served:
        document = (await served.get("/openapi.json")).json
    # An engine without a gateway takes no commands about routes.
    routes = {f"/v1/commands/{own.verb}" for own in COMMANDS.values()} - set(document["paths"])
    assert all(path in written["paths"] for path in routes)
    assert {path: own for path, own in written["paths"].items() if path not in routes} == document["paths"]
    assert {name: written["components"]["schemas"][name] for name in document["components"]["schemas"]} == (
        document["components"]["schemas"]
    )


async def test_a_users_own_command_is_in_the_document_and_on_the_page(tmp_path: Path) -> None:
    async with serving(tmp_path, own={Note: lambda _: ACCEPTED}) as served:
        document = (await served.get("/openapi.json")).json
        assert "subject" in document["components"]["schemas"]["Note"]["properties"]
        assert "/v1/commands/note" in document["paths"]
        page = (await served.get("/docs")).body.decode()
        assert "/v1/commands/note" in page
        # It loads nothing and runs nothing.
        assert not re.search(r"<script|<link|<img|<iframe|https?://|@import|url\(", page)


async def test_every_path_of_the_document_answers_and_has_a_summary(tmp_path: Path) -> None:
    async with serving(tmp_path, audit=str(tmp_path / "audit.jsonl")) as served:
        document = (await served.get("/openapi.json")).json
        for path, item in document["paths"].items():
            (operation,) = item.values()
            assert operation["summary"], path
            assert "401" in operation["responses"], path
            if "get" in item and path not in ENDLESS:
                told = re.sub(r"\{[^}]+\}", "1", path)
                status = (await served.get(told)).status
                assert status in (200, 404, 422), path
                assert str(status) in operation["responses"], path


async def schemathesis(served: Served, *options: str) -> str:
    """Let schemathesis make requests by the document, and return what it says when it finds a fault."""
    excluded = [option for path in ENDLESS for option in ("--exclude-path", path)]
    arguments = ("run", f"{served.server.url}/openapi.json", "-H", f"Authorization: Bearer {served.token}")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", *arguments, *excluded, "--request-timeout", "30", *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return "" if process.returncode == 0 else said.decode()


@pytest.mark.timeout(300)
async def test_generated_requests_get_no_server_error_and_answers_conform(tmp_path: Path) -> None:
    fast = ClientRates(per_s=1e6, burst=1_000_000)
    async with serving(tmp_path, audit=str(tmp_path / "audit.jsonl"), rates=fast) as served:
        # The same requests each time; the deep test below looks for new ones.
        assert not await schemathesis(served, "--phases", "fuzzing", "--max-examples", "3", "--seed", "1")


@pytest.mark.deep
@pytest.mark.timeout(1_800)
async def test_many_generated_requests_get_no_server_error_and_answers_conform(tmp_path: Path) -> None:
    fast = ClientRates(per_s=1e6, burst=1_000_000)
    async with serving(tmp_path, audit=str(tmp_path / "audit.jsonl"), rates=fast) as served:
        assert not await schemathesis(served, "--phases", "examples,coverage,fuzzing", "--max-examples", "60")
