"""What the tests of the page share: one browser a module, one served engine, a tab on a desk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.browser import opened_browser
from tests.support.dashboard import DESK, ServedEngine, Tab


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedEngine]:
    with ServedEngine(tmp_path_factory.mktemp("served")) as served:
        yield served


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with opened_browser() as opened:
        yield opened


@pytest.fixture
def context(browser: Any) -> Iterator[Any]:
    made = browser.new_context(viewport=DESK)
    yield made
    made.close()


@pytest.fixture
def tab(context: Any, engine: ServedEngine) -> Tab:
    return Tab(context, engine)
