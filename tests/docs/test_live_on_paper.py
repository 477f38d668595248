"""The README's way from the install to live paper trading, line by line, at a simulated venue."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from headrace.feeds import SyntheticFeed
from headrace.venues import SimulatedVenue

INSTALL = 'pip install "headrace[binance]"'
START = "headrace gateway live.toml"


def lines_of(root: Path) -> list[str]:
    """The commands of the section, without their comments."""
    section = (root / "README.md").read_text(encoding="utf-8").partition("## Live, on paper\n")[2].partition("\n## ")[0]
    return [line.partition("#")[0].strip(" &") for line in re.findall(r"^\$ (.*)$", section, re.MULTILINE)]


@pytest.mark.asyncio
@pytest.mark.timeout(120)
async def test_from_the_install_to_paper_trading_in_ten_lines(root: Path, tmp_path: Path) -> None:
    install, *lines = lines_of(root)
    assert (install, len(lines) < 10, START in lines) == (INSTALL, True, True)
    sources = [SyntheticFeed(symbol, frames=400_000) for symbol in ("BTCUSDT", "ETHUSDT")]
    async with SimulatedVenue(*sources, speed=1) as venue:
        addresses = venue.addresses["BINANCE"]
        environment = {
            **os.environ,
            "HEADRACE_STATE": str(tmp_path / "state"),
            "HEADRACE__FEEDS__0__URL": addresses["ws"],
            "HEADRACE__FEEDS__0__REST_URL": addresses["rest"],
        }

        async def begun(line: str) -> asyncio.subprocess.Process:
            command = (sys.executable, "-m", "headrace.cli", *line.split()[1:])
            pipe = asyncio.subprocess.PIPE
            return await asyncio.create_subprocess_exec(
                *command, cwd=tmp_path, env=environment, stdout=pipe, stderr=pipe
            )

        gateway = None
        try:
            for line in lines:
                process = await begun(line)
                if line == START:
                    gateway = process
                    while not any(venue.subscriptions):
                        assert gateway.returncode is None, await gateway.communicate()
                        await asyncio.sleep(0.05)
                    continue
                _, errors = await process.communicate()
                assert process.returncode == 0, f"{line}: {errors.decode()}"
            assert gateway is not None
            out, errors = await gateway.communicate()
        finally:
            if gateway is not None and gateway.returncode is None:
                gateway.kill()
                await gateway.wait()
    assert gateway.returncode == 0, errors.decode()
    assert b"HALTED" in out
    assert b"bookTicker" in out
