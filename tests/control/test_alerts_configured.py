"""Alerts of a configured engine: from a line of the configuration to a webhook."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from headrace.app.build import engine_of
from headrace.app.config import config_text, load_config
from headrace.commands import Halt
from headrace.control.alerts.commands import TestAlert
from headrace.errors import ConfigError
from tests.control.test_alerts import Receiver

ENGINE = """
[engine]
name = "paper"
state_folder = "state"
[[feeds]]
kind = "synthetic"
options = { symbols = ["BTCUSDT"], frames = 100_000 }
[[strategies]]
use = "headrace.examples.spread_watch:SpreadWatch"
"""


def file_with(folder: Path, text: str) -> Path:
    path = folder / "engine.toml"
    path.write_text(ENGINE + text)
    return path


@pytest.mark.asyncio
async def test_a_halt_reaches_the_webhook_of_the_configuration(tmp_path: Path) -> None:
    receiver = Receiver()
    async with receiver.serving() as url:
        config = load_config(
            file_with(
                tmp_path,
                f'[[control.alerts.sinks]]\nname = "hook"\nkind = "webhook"\nsecret_url = "{url}"\n'
                '[[control.alerts.rules]]\nname = "my-metric"\nmeasure = "headrace_halted"\nabove = 0.0\n',
            )
        )
        assert url not in config_text(config)
        engine = engine_of(config)
        async with engine:
            await engine.commands.submit(TestAlert(), actor="me")
            await engine.commands.submit(Halt("too risky"), actor="me")
            messages = await receiver.received(3)
    told = {own["rule"]: (own["state"], own["subject"]) for own in messages}
    assert told == {"test": ("test", "test"), "halted": ("firing", "engine"), "my-metric": ("firing", "all")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[control.alerts.rules]]\nname = "a"\nmeasure = "lga"\nabove = 1.0\n', "did you mean lag"),
        ('[[control.alerts.rules]]\nname = "a"\nmeasure = "lag"\n', "rules[0].above"),
        ('[[control.alerts.sinks]]\nname = "a"\nkind = "webhook"\n', "sinks[0].url"),
        ("[control.alerts]\ndefault = true\n", "did you mean defaults"),
    ],
)
def test_a_wrong_line_is_named_when_the_file_is_read(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(file_with(tmp_path, text))
    assert said in str(caught.value)


@pytest.mark.asyncio
async def test_without_the_section_nothing_is_observed(tmp_path: Path) -> None:
    engine = engine_of(load_config(file_with(tmp_path, "")))
    async with engine:
        await asyncio.sleep(0)
        assert not {"alerts", "stream"} & engine.services.health().keys()
