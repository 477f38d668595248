"""A real browser, Debian's chromium, and what it finds wrong with a page."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def opened_browser() -> Iterator[Any]:
    """Yield a browser; without one the test is skipped, or fails under ``HEADRACE_REQUIRE_BROWSER=1``."""
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        if os.environ.get("HEADRACE_REQUIRE_BROWSER") == "1":
            pytest.fail("HEADRACE_REQUIRE_BROWSER=1 demands a browser: install chromium", pytrace=False)
        pytest.skip("no browser: install chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


def watched(page: Any) -> tuple[list[str], list[str]]:
    """Return two lists that grow: what goes wrong in a page, and what it asks of others."""
    problems: list[str] = []
    asked: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("request", lambda own: None if own.url.startswith(("file:", "data:", "blob:")) else asked.append(own.url))
    return problems, asked
