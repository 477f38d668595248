"""A live feed of Binance out of a configuration: its keys, and a run over the simulated venue's sockets."""

from __future__ import annotations

import asyncio

import pytest

from headrace.app.build import engine_of
from headrace.app.config import load_config
from headrace.errors import ConfigError
from headrace.venues import SimulatedVenue
from tests.support.engines import until
from tests.support.venue_client import market

CONFIG = """
[engine]
name = "live"
state_folder = "state"

[[feeds]]
kind = "binance"
venue = "BINANCE"
symbols = ["BTCUSDT"]
streams = ["bookTicker", "trade"]
url = "{ws}"
rest_url = "{rest}"

[[strategies]]
use = "headrace.examples.momentum:Momentum"
"""


@pytest.mark.asyncio
async def test_a_configured_engine_receives_over_sockets(tmp_path):
    async with SimulatedVenue(market(2_000)) as venue:
        config = tmp_path / "live.toml"
        config.write_text(CONFIG.format(**venue.addresses["BINANCE"]))
        engine = engine_of(load_config(config, environment={}))
        async with engine:
            await until(lambda: venue.stats().has_ended, within_s=20.0)
            await asyncio.sleep(0.1)
    report = engine.report()
    assert report.ticks["quote"] > 1_000
    assert report.ticks["trade"] > 100


@pytest.mark.parametrize(
    ("feed", "key"),
    [
        ('kind = "binance"\nsymbols = ["BTCUSDT"]', "venue"),
        ('kind = "binance"\nvenue = "BINANCE"', "symbols"),
        ('kind = "binance"\nvenue = "BINANC"\nsymbols = ["BTCUSDT"]', "venue"),
        ('kind = "binance"\nvenue = "BINANCE"\nsymbols = ["BTCUSDT"]\nnetwork = "test"', "network"),
        ('kind = "binance"\nvenue = "BINANCE"\nsymbols = ["BTCUSDT"]\npath = "x"', "path"),
        ('kind = "synthetic"\nsymbols = ["BTCUSDT"]', "symbols"),
    ],
)
def test_wrong_keys_of_a_live_feed_are_refused(tmp_path, feed, key):
    config = tmp_path / "live.toml"
    config.write_text(f"[[feeds]]\n{feed}\n")
    with pytest.raises(ConfigError, match=rf"feeds\[0\]\.{key}"):
        load_config(config, environment={})
