"""The table of routes: one truth of what is subscribed, with a version, and unchanged by what is wrong."""

from __future__ import annotations

import random

import pytest

from headrace.errors import OptionError, RouteError
from headrace.gateway import CanonicalType, FilterRule, RouteTable

BTC, ETH = "BTCUSDT.BINANCE", "ETHUSDT.BINANCE"


def test_a_subscription_names_its_topics_and_raises_the_version():
    table = RouteTable()
    change = table.subscribe("TRADE", [BTC, ETH])
    assert change[:3] == (1, (("BINANCE", "btcusdt@trade"), ("BINANCE", "ethusdt@trade")), ())
    assert [route.instrument for route in table.routes] == [BTC, ETH]


def test_the_same_subscription_again_changes_nothing():
    table = RouteTable()
    table.subscribe("TRADE", [BTC])
    assert table.subscribe("TRADE", [BTC]) == (1, (), (), ())


def test_a_topic_is_given_up_with_its_last_route():
    table = RouteTable()
    table.subscribe("BOOK_DELTA", [BTC])
    assert table.subscribe("FUSED", [BTC]).added == ()
    assert table.unsubscribe("BOOK_DELTA", [BTC]).removed == ()
    assert table.unsubscribe("FUSED", [BTC]).removed == (("BINANCE", "btcusdt@depth@100ms"),)
    assert (len(table), table.topics, table.version) == (0, [], 4)


def test_filters_are_replaced_without_touching_topics():
    table = RouteTable()
    table.subscribe("TRADE", [BTC])
    rule = FilterRule("payload.price", "eq", 1.0)
    assert table.set_filter("TRADE", BTC, [rule])[:3] == (2, (), ())
    route = table.get("TRADE", BTC)
    assert route is not None
    assert route.filters == (rule,)
    assert table.set_filter("TRADE", BTC, [rule]).version == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.subscribe("TRADES", [BTC]),
        lambda table: table.subscribe("TRADE", []),
        lambda table: table.subscribe("TRADE", [ETH, "no venue"]),
        lambda table: table.subscribe("TRADE", [ETH], throttle_ns=-1),
        lambda table: table.unsubscribe("TRADE", [BTC, ETH]),
        lambda table: table.set_filter("TRADE", ETH, []),
        lambda table: table.set_filter("FUSED", BTC, []),
    ],
)
def test_a_wrong_change_leaves_everything_as_it_was(change):
    table = RouteTable()
    table.subscribe("TRADE", [BTC])
    before = (table.routes, table.topics, table.version)
    with pytest.raises((RouteError, OptionError)):
        change(table)
    assert (table.routes, table.topics, table.version) == before


def test_a_reverted_change_spares_what_was_changed_since():
    table = RouteTable()
    change = table.subscribe("TRADE", [BTC, ETH])
    rule = FilterRule("payload.price", "eq", 1.0)
    table.set_filter("TRADE", ETH, [rule])
    reverted = table.revert(change)
    assert (reverted.version, reverted.removed) == (3, (("BINANCE", "btcusdt@trade"),))
    assert [(route.instrument, route.filters) for route in table.routes] == [(ETH, (rule,))]
    assert table.revert(table.unsubscribe("TRADE", [ETH])).added == (("BINANCE", "ethusdt@trade"),)


def test_a_held_topic_is_never_given_up():
    table = RouteTable()
    table.hold([("BINANCE", "btcusdt@trade")])
    assert table.held == [("BINANCE", "btcusdt@trade")]
    assert table.subscribe("TRADE", [BTC]).added == ()
    assert table.unsubscribe("TRADE", [BTC]).removed == ()
    assert table.topics == [("BINANCE", "btcusdt@trade")]


def test_an_unknown_route_names_the_nearest():
    table = RouteTable()
    table.subscribe("TRADE", [BTC])
    with pytest.raises(RouteError, match=f"did you mean {BTC}"):
        table.unsubscribe("TRADE", ["BTCUSDC.BINANCE"])


def test_topics_are_always_those_of_the_routes():
    rng, table = random.Random(1), RouteTable()
    subscribed: set[tuple[str, str]] = set()
    for _ in range(2_000):
        kind, name = rng.choice(list(CanonicalType)), rng.choice([BTC, ETH, "BTCUSDT.BINANCE_USDM"])
        if rng.random() < 0.5:
            table.subscribe(kind, [name])
            subscribed.add((kind, name))
        elif (kind, name) in subscribed:
            table.unsubscribe(kind, [name])
            subscribed.discard((kind, name))
        needed = {(route.instrument.rpartition(".")[2], topic) for route in table.routes for topic in route.topics}
        assert set(table.topics) == needed


@pytest.mark.parametrize(
    ("rule", "passes"),
    [
        (("payload.price", "eq", 2.5), True),
        (("payload.price", "eq", "2.5"), False),
        (("payload.price", "neq", 2.5), False),
        (("payload.none", "neq", 2.5), True),
        (("payload.none", "eq", None), False),
        (("instrument", "prefix", "BTC"), True),
        (("instrument", "in", ["A", "BTCUSDT.BINANCE"]), True),
        (("payload.side", "eq", True), False),
        (("payload.side", "eq", 1), True),
        (("payload.side.deeper", "eq", 1), False),
    ],
)
def test_a_rule_compares_without_converting(rule, passes):
    event = {"instrument": BTC, "payload": {"price": 2.5, "side": 1}}
    assert FilterRule(*rule).holds(event) is passes


@pytest.mark.parametrize(
    "rule", [("", "eq", 1), ("a..b", "eq", 1), ("a", "in", 1), ("a", "eq", [1]), ("a", "prefix", 1)]
)
def test_a_wrong_rule_is_refused(rule):
    with pytest.raises(OptionError):
        FilterRule(*rule)
