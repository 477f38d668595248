"""Logs: each record is one line with its run, whatever it holds; an import configures nothing."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from headrace.bus import EventBus
from headrace.market.clock import ReplayClock
from headrace.market.events import Audit, Signal
from headrace.telemetry import configure_logging, follow_events

PACKAGE = logging.getLogger("headrace")


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    before = (PACKAGE.handlers[:], PACKAGE.level, PACKAGE.propagate)
    # The test runner's capture, which raises what a record must not, listens to each logger that does not propagate.
    PACKAGE.handlers[:], PACKAGE.propagate = [], True
    yield
    PACKAGE.handlers[:], PACKAGE.level, PACKAGE.propagate = before


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_importing_the_package_configures_nothing() -> None:
    code = (
        "import logging, headrace, headrace.telemetry; p = logging.getLogger('headrace');"
        "print(p.handlers, p.level, p.propagate, logging.getLogger().handlers)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told == "[] 0 True []\n"


def test_a_record_is_one_json_object_with_run_and_extra_fields() -> None:
    stream = io.StringIO()
    configure_logging("INFO", "json", "run-7", stream=stream)
    log = logging.getLogger("headrace.strategies.strategy.Momentum")
    log.info("bought %s\nat %s", 1, 2.5, extra={"order_id": "7", "level": "mine"})
    (line,) = lines(stream)
    assert line.pop("ts").endswith("Z")
    assert line == {
        "level": "INFO",
        "logger": "headrace.strategies.strategy.Momentum",
        "message": "bought 1\nat 2.5",
        "run_id": "run-7",
        "order_id": "7",
        "level_": "mine",
    }
    assert stream.getvalue().count("\n") == 1


def test_a_failure_is_one_line_with_its_traceback() -> None:
    stream = io.StringIO()
    configure_logging("INFO", "json", "run", stream=stream)
    try:
        raise ValueError("not today")
    except ValueError:
        logging.getLogger("headrace.x").exception("it failed", stack_info=True)
    (line,) = lines(stream)
    assert line["level"] == "ERROR"
    assert "ValueError: not today" in line["exception"]
    assert "test_logs.py" in line["stack"]


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("no text of mine")

    __repr__ = __str__


def circle() -> list[object]:
    own: list[object] = []
    own.append(own)
    return own


@pytest.mark.parametrize(
    ("message", "arguments", "extra"),
    [
        ("%d", ("x",), {}),
        ("plain", (), {"value": Hostile()}),
        ("%s", (Hostile(),), {}),
        ("\ud800", (), {}),
        ("plain", (), {"value": circle()}),
        ("plain", (), {"value": {(1, 2): object()}}),
        ("plain", (), {"value": float("nan")}),
    ],
)
@pytest.mark.parametrize("form", ["json", "text"])
def test_a_record_that_cannot_be_shown_is_still_one_line(
    message: str,
    arguments: tuple[object, ...],
    extra: dict[str, object],
    form: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stream = io.StringIO()
    configure_logging("INFO", form, stream=stream)
    logging.getLogger("headrace.x").info(message, *arguments, extra=extra)
    assert stream.getvalue().count("\n") == 1
    if form == "json":
        assert lines(stream)[0]["logger"] == "headrace.x"
    # logging prints its own tracebacks there.
    assert capsys.readouterr().err == ""


def test_a_text_record_has_time_level_run_and_message() -> None:
    stream = io.StringIO()
    configure_logging("INFO", "text", "run-7", stream=stream)
    logging.getLogger("headrace.engine.run").warning("it is late")
    assert stream.getvalue().endswith("Z WARNING engine.run [run-7]: it is late\n")


def test_a_record_that_names_its_run_keeps_it() -> None:
    stream = io.StringIO()
    configure_logging("INFO", "json", "run", stream=stream)
    logging.getLogger("headrace.x").info("of another", extra={"run_id": "another"})
    assert lines(stream)[0]["run_id"] == "another"


def test_configuring_again_replaces_and_leaves_what_others_added() -> None:
    others = logging.NullHandler()
    PACKAGE.addHandler(others)
    first, second = io.StringIO(), io.StringIO()
    configure_logging("INFO", stream=first)
    configure_logging("WARNING", stream=second)
    logging.getLogger("headrace.x").warning("once")
    logging.getLogger("headrace.x").info("too low")
    assert first.getvalue() == ""
    assert second.getvalue().count("\n") == 1
    assert others in PACKAGE.handlers


def events_logged(level: Any) -> list[dict[str, Any]]:
    stream = io.StringIO()
    configure_logging(level, "json", stream=stream)
    bus = EventBus(clock=ReplayClock(5), mode="replay")
    follow_events(bus)
    bus.publish_nowait(Signal(instrument="A.B", side=1))
    bus.publish_nowait(Audit(actor="ann", action="pause", target="Momentum", outcome="accepted", reason="lunch"))
    bus.drain()
    return lines(stream)


def test_debug_logs_every_event_and_info_only_commands() -> None:
    assert [(line["level"], line["message"].split()[0]) for line in events_logged("DEBUG")] == [
        ("DEBUG", "Audit"),
        ("DEBUG", "Signal"),
    ]
    (line,) = events_logged("INFO")
    assert (line["level"], line["message"]) == ("INFO", "ann: pause Momentum: accepted (lunch)")


def test_a_bus_without_logging_has_no_log_subscriber() -> None:
    configure_logging("WARNING")
    bus = EventBus()
    assert follow_events(bus) is None
    assert not bus.stats().handlers
