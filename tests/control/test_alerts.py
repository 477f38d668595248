"""Alerts: states, what is told and when, by a real HTTP server, a real process and the log."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from headrace.bus import EventBus
from headrace.commands import Command, CommandBus
from headrace.control.alerts import AlertService, AlertsSettings, RuleSettings, SinkSettings
from headrace.control.alerts.alert import Alert
from headrace.control.alerts.commands import AcknowledgeAlert, SilenceAlerts, TestAlert
from headrace.control.alerts.measures import MEASURES
from headrace.control.alerts.settings import alert_problems
from headrace.control.alerts.sinks import signature
from headrace.engine.service import ServiceContext
from headrace.market.clock import Mode, WallClock
from headrace.market.events import Status

SECOND = 1_000_000_000
START = 1_796_000_000 * SECOND


def states_of(rule: RuleSettings, values: Sequence[float | None]) -> list[str]:
    """The state after each of some values, a second apart."""
    alert = Alert(rule, "one", since_ns=START)
    found = []
    for number, value in enumerate(values):
        alert.look(START + number * SECOND, value)
        found.append(str(alert.state))
    return found


def test_a_rule_fires_when_it_was_broken_for_its_time() -> None:
    rule = RuleSettings(name="lag", measure="lag", above=1.0, for_s=2.0)
    assert states_of(rule, [0, 2, 0, 2, 2, 2, 2, 1]) == [
        *("ok", "pending", "ok", "pending", "pending", "firing", "firing", "ok")
    ]


def test_between_bound_and_clear_the_state_stays() -> None:
    rule = RuleSettings(name="lag", measure="lag", above=1.0, clear=0.5)
    assert states_of(rule, [0.9, 1.1, 0.9, 0.6, 0.5, 0.9]) == ["ok", "firing", "firing", "firing", "ok", "ok"]


def test_below_is_the_other_side() -> None:
    rule = RuleSettings(name="equity", measure="equity", below=100.0, clear=110.0)
    assert states_of(rule, [100, 99, 105, 110]) == ["ok", "firing", "firing", "ok"]


def test_lost_input_never_resolves_an_alert() -> None:
    rule = RuleSettings(name="lag", measure="lag", above=1.0)
    assert states_of(rule, [2, None, None, 0, None, 0]) == ["firing", "firing", "firing", "ok", "no-data", "ok"]


def test_lost_input_of_a_rule_that_is_not_broken_is_no_data() -> None:
    rule = RuleSettings(name="lag", measure="lag", above=1.0, for_s=5.0)
    assert states_of(rule, [0, None, 2, None, 0]) == ["ok", "no-data", "pending", "no-data", "ok"]


class Receiver:
    """A webhook's receiver over HTTP. answers : statuses, then 200."""

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.arrived = asyncio.Event()
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        self.requests.append((dict(request.headers), await request.read()))
        self.arrived.set()
        return web.Response(status=self.answers.pop(0) if self.answers else 200)

    async def received(self, count: int) -> list[dict[str, Any]]:
        async with asyncio.timeout(10):
            while len(self.requests) < count:
                self.arrived.clear()
                await self.arrived.wait()
        return [json.loads(body) for _, body in self.requests]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_post("/hook", self.take)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        try:
            yield f"http://{host}:{port}/hook"
        finally:
            await runner.cleanup()


class World:
    """An alert service that is given documents, and its commands."""

    def __init__(self, settings: AlertsSettings) -> None:
        self.bus = EventBus()
        self.commands = CommandBus(bus=self.bus, clock=WallClock())
        self.alerts = AlertService(settings, engine="paper", retry_first_s=0.01)
        self.alerts.register(self.commands)
        self.changes: list[Status] = []
        self.bus.subscribe(Status, self.changes.append)
        self.now_ns = START

    def look(self, *, after_s: float = 1.0, **lags: float) -> dict[str, Any]:
        """Judge a document with the lag of strategies; return the alerts that are not ok."""
        self.now_ns += round(after_s * SECOND)
        rows: dict[str, Any] = {name: {"lag_s": lag, "accounts": {}} for name, lag in lags.items()}
        self.alerts.look(self.now_ns, {"strategies": rows})
        return self.alerts.sections()["alerts"]

    async def do(self, command: Command) -> str:
        ack = await self.commands.submit(command, actor="me@here/7")
        return f"{ack.status} {ack.reason}".strip()


@asynccontextmanager
async def alerting(settings: AlertsSettings) -> AsyncIterator[World]:
    world = World(settings)
    await world.commands.start()
    context = ServiceContext(bus=world.bus, clock=WallClock(), run_id="run", mode=Mode.LIVE)
    await world.alerts.setup(context)
    running = asyncio.create_task(world.alerts.run())
    await asyncio.sleep(0)
    try:
        yield world
    finally:
        await world.alerts.stop()
        await running
        await world.commands.stop()


LAG = RuleSettings(name="lag", measure="lag", above=1.0, repeat_s=60.0)


def told_by(url: str, **options: Any) -> AlertsSettings:
    sink = SinkSettings(name="hook", kind="webhook", url=url, **options)
    return AlertsSettings(defaults=False, rules=(LAG,), sinks=(sink,))


@pytest.mark.asyncio
async def test_webhook_gets_what_fires_and_what_is_over(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef0123\n")
    receiver = Receiver()
    async with (
        receiver.serving() as url,
        alerting(told_by(url, secret_file=str(secret))) as world,
    ):
        world.look(one=0.5, two=3.5)
        world.look(one=0.5, two=0.0)
        fired, over = await receiver.received(2)
    assert (fired["state"], fired["rule"], fired["subject"], fired["value"]) == ("firing", "lag", "two", 3.5)
    assert (over["state"], over["title"]) == ("ok", "OK: lag (two) on paper")
    assert fired["since_ns"] == str(START + SECOND)
    for headers, body in receiver.requests:
        timestamp = headers["X-Headrace-Timestamp"]
        assert headers["X-Headrace-Signature"] == signature(b"0123456789abcdef0123", timestamp, body)
        assert signature(b"0123456789abcdef0123", str(int(timestamp) + 1), body) != headers["X-Headrace-Signature"]
    world.bus.drain()
    assert [(own.subject, own.state) for own in world.changes] == [("alert lag/two", "firing"), ("alert lag/two", "ok")]


@pytest.mark.asyncio
async def test_webhook_is_tried_again_with_the_same_id() -> None:
    receiver = Receiver(500, 503, 429)
    async with receiver.serving() as url, alerting(told_by(url)) as world:
        world.look(one=2.0)
        messages = await receiver.received(4)
        assert len({own["id"] for own in messages}) == 1
        assert len({headers["X-Headrace-Delivery"] for headers, _ in receiver.requests}) == 1
        async with asyncio.timeout(10):
            while not world.alerts.metrics()["sent"] >= 2:  # noqa: ASYNC110 - the log's, and the webhook's
                await asyncio.sleep(0.01)
        assert world.alerts.health() == "ok"


@pytest.mark.asyncio
async def test_a_refused_message_is_given_up_and_shown() -> None:
    receiver = Receiver(404)
    async with receiver.serving() as url, alerting(told_by(url)) as world:
        world.look(one=2.0)
        await receiver.received(1)
        async with asyncio.timeout(10):
            while world.alerts.health() == "ok":  # noqa: ASYNC110 - nothing tells of a failure
                await asyncio.sleep(0.01)
        assert "404" in world.alerts.health()
        world.look(one=0.0)
        assert (await receiver.received(2))[1]["state"] == "ok"


@pytest.mark.asyncio
async def test_an_alert_that_goes_on_is_told_again_after_its_time() -> None:
    receiver = Receiver()
    async with receiver.serving() as url, alerting(told_by(url)) as world:
        for _ in range(125):
            world.look(one=2.0)
        messages = await receiver.received(3)
        await asyncio.sleep(0.05)
        assert len(receiver.requests) == 3
    assert [own["repeated"] for own in messages] == [False, True, True]
    assert len({own["id"] for own in messages}) == 3


@pytest.mark.asyncio
async def test_an_acknowledged_alert_is_told_no_more_until_it_is_over() -> None:
    receiver = Receiver()
    async with receiver.serving() as url, alerting(told_by(url)) as world:
        world.look(one=2.0)
        assert await world.do(AcknowledgeAlert("lag/one", "I am at it")) == "accepted"
        rows = world.look(one=2.0)
        assert rows["lag/one"]["acknowledged_by"] == "me@here/7"
        for _ in range(125):
            world.look(one=2.0)
        world.look(one=0.0)
        world.look(one=2.0)
        messages = await receiver.received(3)
        assert [own["state"] for own in messages] == ["firing", "ok", "firing"]
        assert world.look(one=2.0)["lag/one"]["acknowledged_by"] == ""
        assert "did you mean lag/one" in await world.do(AcknowledgeAlert("lag/onee"))


@pytest.mark.asyncio
async def test_a_silenced_alert_is_shown_and_told_after_the_silence() -> None:
    receiver = Receiver()
    async with receiver.serving() as url, alerting(told_by(url)) as world:
        world.now_ns = time.time_ns()
        assert (await world.do(SilenceAlerts("lag/*", for_s=100.0, reason="maintenance"))).startswith("accepted")
        rows = world.look(one=2.0)
        assert (rows["lag/one"]["state"], rows["lag/one"]["silenced_by"]) == ("firing", "me@here/7")
        assert world.alerts.sections()["silences"]["lag/*"]["reason"] == "maintenance"
        await asyncio.sleep(0.05)
        assert not receiver.requests
        world.look(after_s=101.0, one=2.0)
        assert (await receiver.received(1))[0]["state"] == "firing"
        assert await world.do(SilenceAlerts("lag/*", for_s=0.0)) == "noop there is no such silence"


@pytest.mark.asyncio
async def test_one_failing_rule_stops_no_other() -> None:
    rules = (RuleSettings(name="broken", measure="service", above=0), LAG)
    async with alerting(AlertsSettings(defaults=False, rules=rules)) as world:
        document: dict[str, Any] = {
            "services": {"mine": {"no health": 1}},
            "strategies": {"one": {"lag_s": 2.0}},
        }
        world.alerts.look(START, {**document, "services": {"mine": {"health": "down"}}})
        world.alerts.look(START + SECOND, document)
        sections = world.alerts.sections()
    assert sections["alerts"]["lag/one"]["state"] == "firing"
    assert sections["alerts"]["broken/mine"]["state"] == "firing"
    assert "KeyError" in sections["alerts"]["broken/mine"]["problem"]
    assert "KeyError" in sections["alert_rules"]["broken"]["problem"]


@pytest.mark.asyncio
async def test_a_subject_that_is_gone_does_not_resolve() -> None:
    async with alerting(AlertsSettings(defaults=False, rules=(LAG,))) as world:
        world.look(one=2.0, two=0.0)
        rows = world.look()
    assert (rows["lag/one"]["state"], rows["lag/two"]["state"]) == ("firing", "no-data")
    assert rows["lag/one"]["missing_ns"] is not None


@pytest.mark.asyncio
async def test_test_alert_reaches_every_sink_and_names_the_nearest() -> None:
    receiver = Receiver()
    async with receiver.serving() as url, alerting(told_by(url)) as world:
        assert (await world.do(TestAlert())) == "accepted on its way to (log), hook"
        (message,) = await receiver.received(1)
        assert (message["state"], message["text"].split(" ")[0]) == ("test", "me@here/7")
        assert "did you mean hook" in await world.do(TestAlert("hok"))


@pytest.mark.asyncio
async def test_a_template_stays_json_whatever_stands_in_it() -> None:
    receiver = Receiver()
    template = '{"text": "$title: $text", "n": "$value"}'
    async with receiver.serving() as url, alerting(told_by(url, template=template)) as world:
        world.look(**{'a "quoted" \\ name': 2.0})
        (message,) = await receiver.received(1)
    assert message["text"].startswith('WARNING: lag (a "quoted" \\ name) on paper: lag of')
    assert message["n"] == "2"


@pytest.mark.asyncio
async def test_a_command_gets_the_alert_on_its_input(tmp_path: Path) -> None:
    program = f"import sys; open({str(tmp_path / 'got')!r}, 'w').write(sys.stdin.read())"
    sink = SinkSettings(name="run", kind="command", argv=(sys.executable, "-c", program))
    async with alerting(AlertsSettings(defaults=False, rules=(LAG,), sinks=(sink,))) as world:
        world.look(one=2.0)
        async with asyncio.timeout(20):
            while not (tmp_path / "got").exists() or not (tmp_path / "got").read_text():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    assert json.loads((tmp_path / "got").read_text())["subject"] == "one"


@pytest.mark.asyncio
async def test_a_hanging_command_and_a_dead_webhook_hold_up_no_other_sink() -> None:
    receiver = Receiver()
    async with receiver.serving() as url:
        sinks = (
            SinkSettings(name="hang", kind="command", argv=(sys.executable, "-c", "import time; time.sleep(60)")),
            SinkSettings(name="dead", kind="webhook", url="http://127.0.0.1:1/"),
            SinkSettings(name="hook", kind="webhook", url=url),
        )
        async with alerting(AlertsSettings(defaults=False, rules=(LAG,), sinks=sinks)) as world:
            world.look(one=2.0)
            assert (await receiver.received(1))[0]["state"] == "firing"


def test_what_no_type_expresses_is_refused_with_its_key() -> None:
    settings = AlertsSettings(
        rules=(
            RuleSettings(name="a", measure="lagg", above=1.0),
            RuleSettings(name="a", measure="lag", above=1.0, below=2.0),
            RuleSettings(name="c", measure="lag", above=1.0, clear=2.0, sinks=("hok",)),
        ),
        sinks=(
            SinkSettings(name="hook", kind="webhook", template="$titel"),
            SinkSettings(name="run", kind="command"),
        ),
    )
    said = {key: f"{value} {advice}" for key, value, advice in alert_problems(settings)}
    assert said.keys() == {
        *("rules[0].measure", "rules[1].name", "rules[1].above", "rules[2].clear", "rules[2].sinks"),
        *("sinks[0].url", "sinks[0].template", "sinks[1].argv"),
    }
    assert "did you mean lag?" in said["rules[0].measure"]
    assert "did you mean hook?" in said["rules[2].sinks"]


def test_usual_rules_are_right_themselves() -> None:
    settings = AlertsSettings(rules=AlertsSettings().all_rules)
    assert not list(alert_problems(settings))
    assert {rule.measure for rule in settings.rules} <= MEASURES.keys()


def test_every_measure_stands_in_the_docs(root: Path) -> None:
    page = (root / "docs" / "how-to" / "alerts.md").read_text()
    for name, measure in MEASURES.items():
        assert f"| `{name}` | {measure.unit} | {measure.subjects} | {measure.meaning} |" in page
