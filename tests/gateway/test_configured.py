"""A gateway out of a configuration: headrace gateway runs, obeys headrace ctl, and drains at Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tomllib

import pytest
import yaml  # type: ignore[import-untyped]

from headrace.app.build import engine_of
from headrace.app.check import findings
from headrace.app.config import load_config
from headrace.errors import ConfigError
from headrace.feeds import SyntheticFeed
from headrace.venues import SimulatedVenue

CONFIG = """
[engine]
name = "live"
state_folder = "state"
audit = "audit.jsonl"

[[feeds]]
kind = "binance"
venue = "BINANCE"
url = "{ws}"
rest_url = "{rest}"

[gateway]
snapshots = "snapshots.sqlite"

[[gateway.routes]]
type = "TICKER"
instruments = ["BTCUSDT.BINANCE"]
filters = [{{ path = "payload.bid_price", op = "neq", value = 0 }}]
throttle = "100ms"

[[gateway.routes]]
type = "FUSED"
instruments = ["BTCUSDT.BINANCE"]

[[gateway.pollers]]
name = "top"
endpoint = "depth?limit=5"
interval_s = 0.2
"""


async def headrace(*arguments, **options):
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    command = (sys.executable, "-m", "headrace.cli", *map(str, arguments))
    pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE}
    return await asyncio.create_subprocess_exec(*command, env=environment, **pipes, **options)


async def said(*arguments):
    process = await headrace(*arguments)
    out, error = await process.communicate()
    return process.returncode, out.decode(), error.decode()


@pytest.mark.timeout(90)
@pytest.mark.asyncio
@pytest.mark.parametrize("verb", ["gateway", "run"])
async def test_a_configured_gateway_obeys_ctl_and_drains(tmp_path, verb):
    async with SimulatedVenue(SyntheticFeed("BTCUSDT", frames=60_000), speed=1) as venue:
        config = tmp_path / "live.toml"
        config.write_text(CONFIG.format(**venue.addresses["BINANCE"]))
        process = await headrace(verb, config, "--json")
        try:
            async with asyncio.timeout(60):
                while not venue.subscriptions or not venue.subscriptions[0]:
                    assert process.returncode is None, await process.communicate()
                    await asyncio.sleep(0.05)
                code, _, error = await said("ctl", "subscribe", "TRADE", "BTCUSDT.BINANCE", "--config", config)
                assert (code, error) == (0, "")
                assert "btcusdt@trade" in venue.subscriptions[0]
                code, out, error = await said("ctl", "list-routes", "--json", "--config", config)
                routes = json.loads(out)["detail"]["routes"]
                assert list(routes) == [f"{kind} BTCUSDT.BINANCE" for kind in ("TICKER", "FUSED", "TRADE")]
                assert routes["FUSED BTCUSDT.BINANCE"]["received"] > 0
                code, _, error = await said("ctl", "subscribe", "TRADE", "NONEUSDT.BINANCE", "--config", config)
                assert (code, "does not list NONEUSDT" in error) == (1, True)
                process.send_signal(signal.SIGINT)
                out, error = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert process.returncode == 0, error
    report = json.loads(out)
    assert report["ended_by"] == "SIGINT"
    assert report["ticks"]["quote"] > 0
    assert (tmp_path / "snapshots.sqlite").exists()
    assert b'"action":"subscribe"' in (tmp_path / "audit.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("lines", "key"),
    [
        ('[[gateway.routes]]\ntype = "TRADES"\ninstruments = ["A.BINANCE"]', r"gateway\.routes\[0\]\.type"),
        ('[[gateway.routes]]\ntype = "TRADE"\ninstruments = ["A.BINANCE"]', r"gateway\.routes\[0\]\.instruments"),
        ('[[gateway.routes]]\ntype = "TRADE"\ninstruments = []', r"gateway\.routes\[0\]\.instruments"),
        ('[[gateway.pollers]]\nname = "x"\nendpoint = "depth"\ninterval_s = 0', r"gateway\.pollers\[0\]\.interval_s"),
        ("[gateway]\nrouts = 1", r"has no key 'routs' \(did you mean routes"),
    ],
)
def test_wrong_keys_of_a_gateway_are_refused(tmp_path, lines, key):
    config = tmp_path / "live.toml"
    config.write_text(lines)
    with pytest.raises(ConfigError, match=key):
        load_config(config, environment={})


def test_a_check_of_a_gateway_writes_nothing(tmp_path):
    config = tmp_path / "live.toml"
    config.write_text(CONFIG.format(ws="ws://127.0.0.1:1", rest="http://127.0.0.1:1"))
    assert [finding.text for finding in findings(load_config(config, environment={})) if finding.is_wrong] == []
    assert list(tmp_path.iterdir()) == [config]


def test_a_gateway_without_an_adapter_is_refused(tmp_path):
    config = tmp_path / "live.toml"
    config.write_text('[engine]\nstate_folder = "state"\n[gateway]\n')
    with pytest.raises(ConfigError, match="gateway has no adapter"):
        engine_of(load_config(config, environment={}))


def test_keys_of_a_gateway_come_from_environment_and_overrides_too(tmp_path):
    config = tmp_path / "live.toml"
    config.write_text(CONFIG.format(ws="ws://127.0.0.1:1", rest="http://127.0.0.1:1"))
    environment = {"HEADRACE__GATEWAY__LEVELS": "5", "HEADRACE__GATEWAY__ROUTES__1__TYPE": "TRADE"}
    overrides = ["gateway.snapshot_ttl_s=7", 'gateway.routes.0.instruments=["ETHUSDT.BINANCE"]']
    section = load_config(config, environment=environment, overrides=overrides).gateway
    assert section is not None
    assert (section.levels, section.snapshot_ttl_s) == (5, 7.0)
    assert [(own.type, own.instruments) for own in section.routes] == [
        ("TICKER", ("ETHUSDT.BINANCE",)),
        ("TRADE", ("BTCUSDT.BINANCE",)),
    ]
    again = load_config(None, environment={}, overrides=["gateway.levels=3"])
    assert again.gateway is not None
    assert again.gateway.levels == 3


def test_a_gateway_is_the_same_in_yaml(tmp_path):
    config, text = tmp_path / "live.yaml", CONFIG.format(ws="ws://127.0.0.1:1", rest="http://127.0.0.1:1")
    config.write_text(yaml.safe_dump(tomllib.loads(text)))
    (tmp_path / "live.toml").write_text(text)
    assert load_config(config, environment={}) == load_config(tmp_path / "live.toml", environment={})
