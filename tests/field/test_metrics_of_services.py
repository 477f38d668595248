"""What one service says of itself wrongly is contained, counted and named; every other metric is served."""

from __future__ import annotations

import asyncio
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from headrace import Engine
from headrace.engine.service import Service
from headrace.errors import OptionError
from headrace.telemetry import PrometheusEndpoint
from tests.support.engines import HandFeed, Recorder

pytestmark = pytest.mark.asyncio


@pytest.fixture(autouse=True)
def state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a state folder of the test's own."""
    monkeypatch.setenv("HEADRACE_STATE", str(tmp_path / "state"))


class Sound(Service):
    """Says what it should, in any type of number."""

    def metrics(self) -> dict[str, Any]:
        return {"whole": 1, "amount": Decimal("2.5"), "yes": True, "none": math.nan}


class Wrong(Service):
    """Says what the test wants it to."""

    says: Any = None
    well: Any = "ok"

    def metrics(self) -> Any:
        if isinstance(self.says, BaseException):
            raise self.says
        return self.says() if callable(self.says) else self.says

    def health(self) -> Any:
        if isinstance(self.well, BaseException):
            raise self.well
        return self.well


async def scrape(endpoint: PrometheusEndpoint) -> tuple[int, str]:
    assert endpoint.address is not None
    reader, writer = await asyncio.open_connection(*endpoint.address)
    writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
    answer = (await reader.read()).decode()
    writer.close()
    return int(answer.split()[1]), answer


async def awaited() -> dict[str, float]:
    return {}


WRONG = [
    *("text", None, [1.0], {"value": "1"}, {1: 1.0}, {"value": None}, {"\ud800": 1.0}, {"huge": 10**400}),
    *(awaited, lambda: (_ for _ in ()), ValueError("oh"), SystemExit("oh"), BaseExceptionGroup("oh", [KeyError("in")])),
]


def told(says: object) -> str:
    """Name a value as a test's name has it: the same in each process, so no address."""
    text = getattr(says, "__qualname__", f"{says!r:.30}")
    return text.encode("ascii", "replace").decode()


@pytest.mark.parametrize("says", WRONG, ids=told)
async def test_one_services_metrics_silence_no_others(says: Any, caplog: pytest.LogCaptureFixture) -> None:
    wrong = Wrong()
    wrong.says = says
    engine = Engine(feeds=HandFeed(), strategies=Recorder(), services=[wrong, Sound()])
    endpoint = PrometheusEndpoint(engine.metrics, port=0)
    engine.services.add(endpoint)
    async with engine:
        for times in (1, 2):
            status, text = await scrape(endpoint)
            assert status == 200
            assert 'headrace_service_value{name="amount",service="Sound"} 2.5' in text
            assert f'headrace_service_faults_total{{service="Wrong"}} {times}.0' in text
            assert 'name="value",service="Wrong"' not in text
    assert caplog.text.count("Wrong.metrics of service Wrong failed") == 1


@pytest.mark.parametrize("well", [None, 1, ValueError("oh"), SystemExit("oh")], ids=repr)
async def test_a_health_that_is_no_text_is_not_well(well: Any) -> None:
    wrong = Wrong()
    wrong.says, wrong.well = {}, well
    engine = Engine(feeds=HandFeed(), strategies=Recorder(), services=[wrong])
    endpoint = PrometheusEndpoint(engine.metrics, port=0)
    engine.services.add(endpoint)
    async with engine:
        status, text = await scrape(endpoint)
    assert (status, 'headrace_service_healthy{service="Wrong"} 0.0' in text) == (200, True)
    assert "raised" in engine.services.health()["Wrong"] or engine.services.health()["Wrong"] == "ended"


async def test_the_endpoint_answers_500_when_metrics_cannot_be_read(caplog: pytest.LogCaptureFixture) -> None:
    engine = Engine(feeds=HandFeed(), strategies=Recorder())

    class Unreadable:
        def snapshot(self) -> Any:
            raise RuntimeError("unreadable")

    endpoint = PrometheusEndpoint(Unreadable(), port=0)  # type: ignore[arg-type]
    engine.services.add(endpoint)
    async with engine:
        status, text = await scrape(endpoint)
        assert endpoint.metrics()["failed"] == 1
    assert (status, "RuntimeError" in text) == (500, True)
    assert "unreadable" in caplog.text


ADDRESSES = [{"port": 8.5}, {"port": "80"}, {"port": True}, {"port": 1 << 16}, {"host": 1}]


@pytest.mark.parametrize("wrong", ADDRESSES, ids=str)
async def test_an_endpoint_refuses_what_is_no_address(wrong: Any) -> None:
    engine = Engine(feeds=HandFeed(), strategies=Recorder())
    with pytest.raises(OptionError, match=next(iter(wrong))):
        PrometheusEndpoint(engine.metrics, **{"port": 0, **wrong})
