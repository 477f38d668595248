"""Configuration: precedence, refused values with their place, and files that are written and read again."""

from __future__ import annotations

import inspect
import json
import re
import string
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeGuard, get_type_hints

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.app.check import findings
from headrace.app.config import (
    EngineConfig,
    config_digest,
    config_keys,
    config_schema,
    config_text,
    load_config,
    template_text,
    tree,
)
from headrace.app.config.tree import (
    AccountSection,
    BarSection,
    EngineSection,
    FeedSection,
    InstrumentSection,
    LaneSection,
    StrategySection,
)
from headrace.bus.lane import LANE_OPTIONS, LaneOptions
from headrace.control.alerts import AlertsSettings
from headrace.control.settings import ControlSettings, HttpSettings
from headrace.dispatch.options import SubscribeOptions, SubscriptionOptions
from headrace.errors import ConfigError, MissingExtraError
from headrace.market.bars import BarSpec
from headrace.market.events import Lane
from headrace.market.forms import meanings
from headrace.market.instrument import Instrument, RiskLimits
from headrace.trading.margin import Margin
from headrace.trading.risk import TradingLimits

FULL = """
[engine]
name = "desk"
slice_ns = 100_000
audit = "audit/"

[[feeds]]
kind = "recording"
path = "btc.gz"
venue = "BINANCE"

[[feeds]]
kind = "own.feeds:Wire"
options = { depth = 5, api_key = "hush", host = "a" }

[[strategies]]
use = "own/momentum.py:Momentum"
parameters = { span = 2.5 }
bars = ["1m", { timeframe = "5s", price = "mid" }]

[strategies.subscription]
instruments = ["BTC*.BINANCE"]
every = "100ms"

[broker]

[risk]
quantity_max = 0.10

[instruments."BTCUSDT.BINANCE"]
price_tick = 0.01
limits.notional_max = 1e3

[lanes.order]
capacity = 80
"""

TWO_OF_ONE_NAME = """
[[strategies]]
use = "a:B"
name = "x"
[[strategies]]
use = "a:C"
name = "x"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "engine.toml"
    path.write_text(FULL)
    return path


def load(text: str, folder: Path, name: str = "engine.toml", **more: Any) -> EngineConfig:
    path = folder / name
    path.write_text(text)
    return load_config(path, **{"environment": {}, **more})


def refused(text: str, folder: Path, name: str = "engine.toml", **more: Any) -> ConfigError:
    with pytest.raises(ConfigError) as raised:
        load(text, folder, name, **more)
    return raised.value


# Precedence


def test_defaults_alone_are_a_configuration() -> None:
    assert load_config(environment={}) == EngineConfig()


def test_a_file_is_read_as_it_stands(file: Path) -> None:
    config = load_config(file, environment={})
    assert (config.engine.name, config.engine.slice_ns, config.engine.wait) == ("desk", 100_000, "park")
    assert [feed.kind for feed in config.feeds] == ["recording", "own.feeds:Wire"]
    assert config.feeds[1].options == {"depth": 5, "api_key": "hush", "host": "a"}
    assert config.strategies[0].parameters == {"span": 2.5}
    assert config.strategies[0].subscription.given() == {"instruments": ("BTC*.BINANCE",), "every": "100ms"}
    assert config.strategies[0].bars == ("1m", BarSection(timeframe="5s", price="mid"))
    assert config.broker is not None
    assert config.broker.use == "simulated"
    assert config.lanes.options()[Lane.ORDER] == msgspec.structs.replace(LANE_OPTIONS[Lane.ORDER], capacity=80)
    assert config.lanes.options()[Lane.DATA] == LANE_OPTIONS[Lane.DATA]
    assert config.instrument_table() == [
        Instrument("BTCUSDT.BINANCE", price_tick=Decimal("0.01"), limits=RiskLimits(notional_max=Decimal("1e3")))
    ]


def test_environment_overrides_the_file_and_set_overrides_both(file: Path) -> None:
    environment = {"HEADRACE__ENGINE__NAME": "outside", "HEADRACE__ENGINE__SLICE_NS": "5", "HEADRACE_SEED": "1"}
    config = load_config(file, environment=environment, overrides=["engine.slice_ns=7"])
    assert (config.engine.name, config.engine.slice_ns) == ("outside", 7)
    assert config.engine.audit == str(file.parent / "audit/") + "/"


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE__ENGINE__NAME", "of-the-process")
    assert load_config().engine.name == "of-the-process"
    assert load_config(environment={}).engine.name == "headrace"


def test_of_two_overrides_the_later_wins() -> None:
    assert load_config(environment={}, overrides=["engine.name=a", "engine.name=b"]).engine.name == "b"


def test_an_override_reaches_lists_tables_and_dotted_names(file: Path) -> None:
    config = load_config(
        file,
        environment={"HEADRACE__FEEDS__0__PATH": "eth.gz", "HEADRACE__STRATEGIES__0__PARAMETERS__SPAN": "9"},
        overrides=[
            'instruments."BTCUSDT.BINANCE".lot_size=0.001',
            "instruments.'ETHUSDT.BINANCE'.price_tick = 0.01",
            "strategies.1.use=mine:Second",
            "strategies.1.subscription.instruments=['*']",
            'feeds.1.options={depth = 10, "a=b" = 1}',
            "broker.parameters.latency_ns=5",
            "engine.speed=7.5",
        ],
    )
    assert config.feeds[0].path == "eth.gz"
    assert config.strategies[0].parameters == {"span": 9}
    assert config.instruments["BTCUSDT.BINANCE"].lot_size == Decimal("0.001")
    assert config.instruments["ETHUSDT.BINANCE"].price_tick == Decimal("0.01")
    assert config.strategies[1].use == "mine:Second"
    assert config.strategies[1].subscription.instruments == ("*",)
    assert config.feeds[1].options == {"depth": 10, "a=b": 1}
    assert config.broker is not None
    assert config.broker.parameters == {"latency_ns": 5}
    assert config.engine.speed == 7.5


def test_names_of_instruments_keep_their_case_in_the_environment(file: Path) -> None:
    environment = {
        "HEADRACE__INSTRUMENTS__BTCUSDT.BINANCE__LOT_SIZE": "2",
        "HEADRACE__INSTRUMENTS__ETHUSDT.BINANCE__LOT_SIZE": "3",
    }
    config = load_config(file, environment=environment)
    assert {name: own.lot_size for name, own in config.instruments.items()} == {
        "BTCUSDT.BINANCE": 2,
        "ETHUSDT.BINANCE": 3,
    }


@pytest.mark.parametrize(
    ("override", "name"),
    [
        ("engine.name=12", "12"),
        ("engine.name='12'", "12"),
        ("engine.name=true", "true"),
        ("engine.name=2026-01-01", "2026-01-01"),
    ],
)
def test_a_value_is_text_where_only_text_makes_sense(override: str, name: str) -> None:
    assert load_config(environment={}, overrides=[override]).engine.name == name


def test_decimals_keep_every_digit_of_their_text(tmp_path: Path) -> None:
    text = "[risk]\nquantity_max = 12345678901234567.890123456789"
    assert load(text, tmp_path).risk.quantity_max == Decimal("12345678901234567.890123456789")
    assert load_config(environment={}, overrides=["risk.quantity_max=0.10"]).risk.quantity_max == Decimal("0.10")


def test_only_paths_in_a_file_are_relative_to_the_file(file: Path) -> None:
    config = load_config(file, environment={}, overrides=["engine.dispatch_log=log.jsonl"])
    assert config.feeds[0].path == str(file.parent / "btc.gz")
    assert config.strategies[0].use == f"{file.parent / 'own/momentum.py'}:Momentum"
    assert config.feeds[1].kind == "own.feeds:Wire"
    assert config.engine.dispatch_log == "log.jsonl"


def test_yaml_and_toml_make_equal_configurations(file: Path, tmp_path: Path) -> None:
    config = load_config(file, environment={})
    document = msgspec.to_builtins(config)
    (tmp_path / "engine.yaml").write_bytes(msgspec.yaml.encode(document))
    assert load_config(tmp_path / "engine.yaml", environment={}) == config
    assert load("", tmp_path, "empty.yml") == EngineConfig()


# Refused values, with their place


@pytest.mark.parametrize(
    ("text", "path", "said"),
    [
        ("[engine]\nnmae = 'x'", "$.engine.nmae", "did you mean name"),
        ("[egnine]", "$.egnine", "did you mean engine"),
        ("[engine]\nslice_ns = 'x'", "$.engine.slice_ns", "a whole number from 1 to"),
        ("[engine]\nslice_ns = 0", "$.engine.slice_ns", "a whole number from 1 to"),
        ("[engine]\nwait = 'sleep'", "$.engine.wait", '"park" or "spin"'),
        ("[engine]\nring_capacity = 1000", "$.engine.ring_capacity", "512 or 1024"),
        ("engine = 3", "$.engine", "a table with name"),
        ("[risk]\nquantity_max = 'much'", "$.risk.quantity_max", "a number"),
        ("[risk]\nquantity = 1", "$.risk.quantity", "did you mean quantity_max"),
        ("[[feeds]]\nkind = 'recording'", "$.feeds[0].path", "the recording's path"),
        ("[[feeds]]\nkind = 'synthetic'\npath = 'x'", "$.feeds[0].path", "no path"),
        ("[[feeds]]\nkind = 'magic'", "$.feeds[0].kind", "module:Class"),
        ("[[strategies]]", "$.strategies[0]", "`use`"),
        ("[[strategies]]\nuse = 'nothing'", "$.strategies[0].use", "module:Class"),
        ("[[strategies]]\nuse = 'a:B'\n[[strategies]]\nuse = 1", "$.strategies[1].use", "module:Class"),
        (TWO_OF_ONE_NAME, "$.strategies[1].name", "use a different name for each strategy"),
        ("[[strategies]]\nuse='a:B'\nsubscription.evry='1s'", "$.strategies[0].subscription.evry", "mean every"),
        ("[[strategies]]\nuse='a:B'\nbars=[{timeframe='1s', prize=1}]", "$.strategies[0].bars[0].prize", "mean price"),
        ('[instruments."BTCUSDT.BINANCE"]\nlot_size = 0', '$.instruments."BTCUSDT.BINANCE".lot_size', "above 0"),
        ('[instruments."BTCUSDT.BINANCE"]\nlot_size = nan', '$.instruments."BTCUSDT.BINANCE".lot_size', "above 0"),
        ('[instruments."A.B"]\n[instruments."C.D"]\nlot_size = "x"', '$.instruments."C.D".lot_size', "a number"),
        ('[instruments."A.B"]\nlimits.quantity = 1', '$.instruments."A.B".limits.quantity', "quantity_max"),
        ("[instruments.BTCUSDT]", "$.instruments.BTCUSDT", "SYMBOL.VENUE"),
        ("[lanes.orders]", "$.lanes.orders", "did you mean order"),
        ("[lanes.order]\ncapacity = 0", "$.lanes.order.capacity", "from 1 on"),
        ("[telemetry]\nprometheus_port = 70000", "$.telemetry.prometheus_port", "0 to 65,535"),
        ("[commands]\ntimeout_s = 0", "$.commands.timeout_s", "above 0"),
    ],
)  # fmt: skip
def test_an_error_names_its_path_and_what_is_allowed(tmp_path: Path, text: str, path: str, said: str) -> None:
    error = refused(text, tmp_path)
    assert error.path == path
    assert path.rpartition(".")[0] in str(error)
    assert said in str(error)
    assert str(error).startswith(str(tmp_path / "engine.toml"))
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("more", "origin"),
    [
        ({"environment": {"HEADRACE__ENGINE__SLICE_NS": "x"}}, "HEADRACE__ENGINE__SLICE_NS"),
        ({"environment": {"HEADRACE__ENGINE__SLICE": "1"}}, "HEADRACE__ENGINE__SLICE"),
        ({"environment": {"HEADRACE__": "1"}}, "the environment"),
        ({"environment": {"HEADRACE__FEEDS__X__PATH": "1"}}, "HEADRACE__FEEDS__X__PATH"),
        ({"overrides": ["engine.slice_ns=x"]}, "--set engine.slice_ns"),
        ({"overrides": ["engine.wait.x=1"]}, "--set engine.wait.x"),
        ({"overrides": ["feeds.2.path=x"]}, "--set feeds.2.path"),
        ({"overrides": ["engine={slice=1}"]}, "--set engine"),
        ({"overrides": ["engine"]}, "--set engine"),
        ({"overrides": ["a b=1"]}, "--set a b"),
        ({"overrides": ["=1"]}, "--set"),
    ],
)
def test_a_wrong_value_from_outside_names_where_it_came_from(tmp_path: Path, more: Any, origin: str) -> None:
    assert str(refused("", tmp_path, **more)).startswith(f"{origin}: ")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("engine.toml", "[engine", "no TOML"),
        ("engine.toml", "[engine]\nname = 1\nname = 2", "no TOML"),
        ("engine.yaml", "engine: [", "no YAML"),
        ("engine.yaml", "engine:\n  name: a\n  name: b\n", "line 3 has the key 'name' a second time"),
        ("engine.yaml", "risk: {quantity_max: 1, quantity_max: 100}", "a second time"),
        ("engine.yaml", "- a", "no table"),
        ("engine.yaml", "1: 2", "no text"),
        ("engine.yaml", "feeds: [{kind: synthetic, options: {a: null}}]", "null"),
        ("engine.ini", "", ".toml or .yaml"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    assert said in str(refused(text, tmp_path, name))


def test_a_file_that_is_missing_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="headrace config new"):
        load_config(tmp_path / "nowhere.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="byte 0 is no UTF-8"):
        load_config(tmp_path / "binary.toml")


def test_yaml_without_pyyaml_names_the_package_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(MissingExtraError, match=r'pip install "headrace\[yaml\]"'):
        load("engine: {}", tmp_path, "engine.yaml")


# Written files


def names() -> st.SearchStrategy[str]:
    return st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)


def engine_names() -> st.SearchStrategy[str]:
    return st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)


def free_values() -> st.SearchStrategy[object]:
    plain = st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False) | names()
    return st.recursive(
        plain, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names(), inner, max_size=2), max_leaves=4
    )


def decimals() -> st.SearchStrategy[Decimal]:
    return st.decimals(min_value="0.00000001", max_value=10**12, allow_nan=False, places=8)


def limits() -> st.SearchStrategy[RiskLimits]:
    return st.builds(
        RiskLimits,
        quantity_max=st.none() | decimals(),
        price_collar=st.none() | decimals(),
        open_orders_max=st.none() | st.integers(0, 100),
        stale_after_s=st.none() | st.floats(0, 100),
    )


def configurations() -> st.SearchStrategy[EngineConfig]:
    free = st.dictionaries(names(), free_values(), max_size=3)
    instrument = st.builds(
        lambda symbol: f"{symbol}.BINANCE", st.text(string.ascii_uppercase + string.digits, min_size=1, max_size=6)
    )
    return st.builds(
        EngineConfig,
        engine=st.builds(
            EngineSection,
            name=engine_names(),
            run_id=st.none() | engine_names(),
            speed=st.floats(0.001, 1e6),
            wait=st.sampled_from(["park", "spin"]),
        ),
        feeds=st.lists(st.builds(FeedSection, kind=st.just("synthetic"), options=free), max_size=2).map(tuple),
        strategies=st.lists(
            st.builds(
                StrategySection,
                use=st.just("a.b:C"),
                parameters=free,
                bars=st.lists(st.just("1m") | st.builds(BarSection, timeframe=st.just("5s")), max_size=3).map(tuple),
                subscription=st.builds(
                    SubscriptionOptions, every=st.none() | st.integers(10**6, 10**9) | st.just("1s")
                ),
            ),
            max_size=2,
        ).map(tuple),
        risk=limits(),
        instruments=st.dictionaries(
            instrument,
            st.builds(InstrumentSection, price_tick=st.none() | decimals(), limits=st.none() | limits()),
            max_size=2,
        ),
    )


@given(configurations())
def test_a_written_configuration_is_read_back_equal(
    tmp_path_factory: pytest.TempPathFactory, config: EngineConfig
) -> None:
    path = tmp_path_factory.getbasetemp() / "written.toml"
    path.write_text(config_text(config, secrets=True), encoding="utf-8")
    assert load_config(path, environment={}) == config


def test_secrets_are_not_shown_and_do_not_change_the_digest(file: Path) -> None:
    config = load_config(file, environment={})
    other = load_config(file, environment={}, overrides=["feeds.1.options.api_key=other"])
    assert "hush" not in config_text(config)
    assert 'api_key = "***"' in config_text(config)
    assert 'host = "a"' in config_text(config)
    assert "hush" in config_text(config, secrets=True)
    assert config_digest(config) == config_digest(other)
    assert config_digest(config) != config_digest(load_config(file, environment={}, overrides=["engine.name=x"]))


@pytest.mark.parametrize("wrong", ['feeds.1.options.secret="s3cret', "strategies.0.parameters.token=s3cret\nx"])
def test_no_message_shows_a_secret(file: Path, wrong: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(file, environment={"HEADRACE__FEEDS__0__PASSWORD": "s3cret"}, overrides=[wrong])
    assert "s3cret" not in str(raised.value)


# The tables behind the documentation


def test_every_key_has_a_meaning() -> None:
    assert not [key for key in config_keys() if len(key.meaning) < 4 or not key.takes]


def is_section(value: object) -> TypeGuard[type[msgspec.Struct]]:
    return inspect.isclass(value) and issubclass(value, msgspec.Struct)


def test_every_meaning_belongs_to_a_key() -> None:
    """A key that was renamed leaves no entry behind."""
    sections: list[type[msgspec.Struct]] = [RiskLimits, SubscriptionOptions]
    sections += [own for name in tree.__all__ if is_section(own := getattr(tree, name))]
    for section in sections:
        assert set(meanings(section)) == set(section.__struct_fields__), section


def test_the_schema_has_every_section_and_numbers_for_decimals() -> None:
    schema = json.loads(json.dumps(config_schema()))
    assert set(schema["$defs"]["EngineConfig"]["properties"]) == set(EngineConfig.__struct_fields__)
    risk = schema["$defs"]["RiskLimits"]["properties"]["quantity_max"]
    assert {"type": "number"} in risk["anyOf"][0]["anyOf"]
    assert risk["description"] == "per order"
    assert schema["$defs"]["EngineSection"]["additionalProperties"] is False


def test_a_new_file_loads_and_allows_small_orders_on_paper(tmp_path: Path) -> None:
    text = template_text()
    config = load(text, tmp_path)
    assert all(getattr(config.risk, name) is not None for name in RiskLimits.__struct_fields__)
    assert config.broker is not None
    assert config.broker.use == "simulated"
    assert config.instruments["BTCUSDT.BINANCE"].price_tick is not None
    assert max(map(len, text.splitlines())) <= 100


def test_a_new_file_shows_every_key_with_its_true_default(tmp_path: Path) -> None:
    text = template_text()
    for key in config_keys():
        assert f"{key.key} = " in text, key
    # A default that stands in a comment changes nothing when it is uncommented.
    lines = [
        line.removeprefix("#") if line.startswith("#") and "<" not in line and not line.startswith("# ") else line
        for line in text.splitlines()
    ]
    # An item of these lists would be incomplete; so would one of a section that is there then.
    incomplete = ("[[services]]", "[[pipeline.rules]]", "[runner]", "[gates]", "[audit]")
    told = [line for line in lines if not line.startswith(incomplete)]
    text_told = re.sub(r"(?s)\n\[\[gateway\.(?!routes\.filters).*?(?=\n\[(?!\[gateway))", "", "\n".join(told))
    text_told = re.sub(r"(?s)\n\[\[control\.alerts\..*?(?=\n\[(?!\[control))", "", text_told)
    told_config = load(text_told, tmp_path)
    assert told_config.control == ControlSettings(http=HttpSettings(), alerts=AlertsSettings())
    assert told_config.account.margin == {"BINANCE_USDM": Margin()}
    assert told_config.account.limits == TradingLimits()
    plain = {"gateway": None, "control": ControlSettings(), "account": AccountSection()}
    assert msgspec.structs.replace(told_config, **plain) == load(text, tmp_path)


def test_an_audit_has_one_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\$\.engine\.audit is .*: remove it, or the section \[audit\]"):
        load('[engine]\naudit = "audit/"\n[audit]\nuse = "mine:Audit"\n', tmp_path)


def test_a_new_gateway_loads_checks_and_documents_every_key(tmp_path: Path) -> None:
    text = template_text(gateway=True)
    config = load(text, tmp_path)
    assert config.gateway is not None
    assert config.gateway.routes[0].instruments == ("BTCUSDT.BINANCE",)
    assert [finding.text for finding in findings(config) if finding.is_wrong] == []
    assert all(f"{key.key} = " in text for key in config_keys())
    assert max(map(len, text.splitlines())) <= 100


# Sections that mirror the options of a class


def test_a_configured_subscription_has_every_option() -> None:
    section = get_type_hints(StrategySection)["subscription"]
    assert set(section.__struct_fields__) == set(get_type_hints(SubscribeOptions))


def test_a_bar_section_has_every_option_of_a_bar() -> None:
    assert BarSection.__struct_fields__ == BarSpec.__struct_fields__
    assert BarSection.__struct_defaults__[-3:] == BarSpec.__struct_defaults__[-3:]


def test_a_lane_section_has_every_option_of_a_lane() -> None:
    assert set(LaneSection.__struct_fields__) == set(LaneOptions.__struct_fields__)
    assert set(get_type_hints(LaneSection)) == set(get_type_hints(LaneOptions))


def test_an_instrument_section_has_all_fields_but_the_name() -> None:
    assert {"name", *InstrumentSection.__struct_fields__} == set(Instrument.__struct_fields__)
