"""How handlers declare their fields, and every wrong declaration."""

from __future__ import annotations

import functools
from typing import Any, ClassVar

import pytest

from headrace import Dispatcher, Strategy
from headrace.dispatch.signature import bind_function, bind_strategy
from headrace.errors import SubscriptionError
from tests.support.feeding import quotes, trades


def refusal(handler: Any, **options: Any) -> str:
    with Dispatcher() as dispatcher, pytest.raises(SubscriptionError) as refused:
        dispatcher.subscribe(handler, **options)
    assert isinstance(refused.value, TypeError)
    return str(refused.value)


def strategy(**methods: Any) -> Strategy:
    made: Strategy = type("Mine", (Strategy,), methods)()
    return made


def test_the_base_class_declares_no_handler() -> None:
    assert not [name for name in dir(Strategy) if name.startswith("on_")]


def test_a_strategy_without_handlers_is_refused_with_their_names() -> None:
    said = refusal(Strategy())
    assert "no handler" in said
    assert "on_quote, on_quotes" in said


@pytest.mark.parametrize(
    ("written", "meant"),
    [("on_qoute", "on_quote"), ("on_quotess", "on_quotes"), ("on_aggtrade", "on_agg_trade"), ("on_ticket", "on_tick")],
)
def test_an_unknown_callback_names_the_nearest_and_all(written: str, meant: str) -> None:
    said = refusal(strategy(**{written: lambda self: None}))
    assert f"Mine.{written} is no known callback" in said
    assert f"did you mean {meant}?" in said
    assert "on_gap" in said
    assert "on_trades" in said


def test_a_callback_that_is_no_callable_is_refused() -> None:
    assert "on_quote is 3, which cannot be called" in refusal(strategy(on_quote=3))
    assert "on_quote is None, which cannot be called" in refusal(strategy(on_quote=None))


@pytest.mark.parametrize("name", ["on_start", "on_stop", "on_timer", "on_bar", "on_fill", "on_pause"])
def test_callbacks_of_an_engine_are_refused(name: str) -> None:
    assert "Engine" in refusal(strategy(**{name: lambda self: None, "on_quote": lambda self, bid_price: None}))


@pytest.mark.parametrize(
    ("written", "meant"), [("bid_prize", "bid_price"), ("asksize", "ask_size"), ("symbl", "symbol"), ("mids", "mid")]
)
def test_an_unknown_parameter_names_the_nearest_and_all(written: str, meant: str) -> None:
    scope: dict[str, Any] = {}
    exec(f"def on_quote(self, {written}): pass", scope)
    said = refusal(strategy(on_quote=scope["on_quote"]))
    assert f"declares {written!r}, which is no field" in said
    assert f"did you mean {meant}?" in said
    assert "microprice" in said
    assert "aggressor_side" not in said


def test_another_kinds_field_is_refused_with_its_kinds() -> None:
    def on_quote(self, price): ...

    said = refusal(strategy(on_quote=on_quote))
    assert "'price'" in said
    assert "trade, agg_trade, level" in said
    assert "bid_price" in said


def test_trade_id_is_for_trades_only() -> None:
    def on_agg_trade(self, trade_id): ...

    assert "'trade_id', a field of trade that agg_trade does not have" in refusal(strategy(on_agg_trade=on_agg_trade))


def test_on_tick_may_only_declare_fields_of_all_its_kinds() -> None:
    def on_tick(self, price): ...

    said = refusal(strategy(on_tick=on_tick))
    assert "quote" in said
    assert "subscribe with kinds=" in said
    with Dispatcher() as dispatcher:
        dispatcher.subscribe(strategy(on_tick=on_tick), kinds=["trade", "level"])


@pytest.mark.parametrize("parameter", ["*args", "**kwargs", "*", "bid_price, *rest"])
def test_star_parameters_are_refused(parameter: str) -> None:
    scope: dict[str, Any] = {}
    text = "*, bid_price" if parameter == "*" else parameter
    exec(f"def on_quote(self, {text}): pass", scope)
    if parameter == "*":  # A bare star only makes the parameters after it keyword-only.
        assert bind_strategy(strategy(on_quote=scope["on_quote"]), None)[0].keywords == ("bid_price",)
    else:
        assert "name the fields it needs" in refusal(strategy(on_quote=scope["on_quote"]))


@pytest.mark.parametrize("kind", ["quote", "trade", "agg_trade", "level", "tick"])
def test_singular_and_plural_of_one_kind_are_refused(kind: str) -> None:
    methods = {f"on_{kind}": lambda self, seq: None, f"on_{kind}s": lambda self, seq: None}
    assert "singular and plural of the same" in refusal(strategy(**methods))


@pytest.mark.parametrize("field", ["symbol", "venue", "instrument"])
def test_a_plural_handler_with_symbol_gets_the_columns_name(field: str) -> None:
    scope: dict[str, Any] = {}
    exec(f"def on_quotes(self, {field}): pass", scope)
    assert "declare instrument_id" in refusal(strategy(on_quotes=scope["on_quotes"]))


def test_tick_is_singular_and_ticks_is_plural() -> None:
    def on_quotes(self, tick): ...
    def on_quote(self, ticks): ...

    assert "declare ticks" in refusal(strategy(on_quotes=on_quotes))
    assert "declare tick;" in refusal(strategy(on_quote=on_quote))


def test_a_class_is_not_an_object_of_it() -> None:
    class Mine(Strategy):
        def on_quote(self, bid_price): ...

    assert "is a class" in refusal(Mine)


def test_what_is_neither_strategy_nor_callable_is_refused() -> None:
    assert "neither a Strategy nor callable" in refusal(7)


def test_a_builtin_without_signature_is_refused() -> None:
    assert "no readable signature" in refusal(max, callback="on_quote")


def test_a_function_must_have_a_callbacks_name_or_callback() -> None:
    def quote_handler(bid_price): ...

    said = refusal(quote_handler)
    assert "function 'quote_handler' is no known callback" in said
    assert "callback='on_quote'" in said
    assert "did you mean on_quotes?" in refusal(quote_handler, callback="on_qoutes")


def test_handlers_of_kinds_that_are_not_subscribed_are_refused() -> None:
    class Mine(Strategy):
        def on_quote(self, bid_price): ...
        def on_trade(self, price): ...

    assert "on_trade is never called" in refusal(Mine(), kinds=["quote"])


def test_positional_only_after_a_default_that_stays_is_refused() -> None:
    def on_quote(self, limit=3.0, bid_price=0.0, /): ...

    assert "swap them" in refusal(strategy(on_quote=on_quote))


@pytest.mark.parametrize("error", ["on_qoute", "bid_prize"])
def test_a_refused_subscription_leaves_nothing_behind(error: str) -> None:
    scope: dict[str, Any] = {}
    exec("def on_qoute(self): pass" if error == "on_qoute" else "def on_quote(self, bid_prize): pass", scope)
    bad = strategy(**{name: made for name, made in scope.items() if name.startswith("on_")})
    with Dispatcher() as dispatcher:
        with pytest.raises(SubscriptionError) as refused:
            dispatcher.subscribe(bad)
        assert refused.value.handler in {"on_qoute", "on_quote"}
        assert not dispatcher.subscriptions


class Forms(Strategy):
    """One of each form of parameter."""

    def __init__(self) -> None:
        self.got: list[tuple[object, ...]] = []

    def on_quote(self, symbol, /, bid_price, limit=3.0, ask_price=-1.0, *, spread, label="mine", mid=0.0):
        self.got.append((symbol, bid_price, limit, ask_price, spread, label, mid))


def test_every_kind_of_parameter_gets_its_field() -> None:
    forms = Forms()
    with Dispatcher() as dispatcher:
        dispatcher.subscribe(forms)
        dispatcher.publish(quotes(dispatcher, [10.0]))
        dispatcher.dispatch()
    assert forms.got == [("BTCUSDT", 10.0, 3.0, 11.0, 1.0, "mine", 10.5)]


def test_a_default_that_names_a_field_is_overridden_by_it() -> None:
    got = []

    def on_quote(bid_price=-5.0, unknown=7):
        got.append((bid_price, unknown))

    with Dispatcher() as dispatcher:
        dispatcher.subscribe(on_quote)
        dispatcher.publish(quotes(dispatcher, [1.0]))
        dispatcher.dispatch()
    assert got == [(1.0, 7)]


def test_a_handler_without_parameters_is_called() -> None:
    calls = []
    with Dispatcher() as dispatcher:
        dispatcher.subscribe(lambda: calls.append(1), callback="on_quote")
        dispatcher.publish(quotes(dispatcher, [1.0, 2.0]))
        dispatcher.dispatch()
    assert calls == [1, 1]


class CallableObject:
    """An object with ``__call__``."""

    def __init__(self) -> None:
        self.got: list[float] = []

    def __call__(self, bid_price):
        self.got.append(bid_price)


def test_functions_methods_partials_and_callables_subscribe() -> None:
    plain: list[float] = []
    method: list[float] = []
    partial: list[float] = []

    def on_quote(bid_price):
        plain.append(bid_price)

    class Holder:
        def receive(self, bid_price):
            method.append(bid_price)

    def collect(where, bid_price):
        where.append(bid_price)

    called = CallableObject()
    with Dispatcher() as dispatcher:
        dispatcher.subscribe(on_quote)
        dispatcher.subscribe(Holder().receive, callback="on_quote")
        dispatcher.subscribe(functools.partial(collect, partial), callback="on_quote")
        dispatcher.subscribe(called, callback="on_quote")
        dispatcher.publish(quotes(dispatcher, [1.0, 2.0]))
        dispatcher.dispatch()
    assert plain == method == partial == called.got == [1.0, 2.0]


def test_static_and_class_methods_are_handlers() -> None:
    got: list[tuple[str, float]] = []

    class Mine(Strategy):
        @staticmethod
        def on_quote(bid_price):
            got.append(("static", bid_price))

        @classmethod
        def on_trade(cls, price):
            got.append((cls.__name__, price))

    with Dispatcher() as dispatcher:
        dispatcher.subscribe(Mine())
        dispatcher.publish(quotes(dispatcher, [1.0]))
        dispatcher.publish(trades(dispatcher, [2.0]))
        dispatcher.dispatch()
    assert got == [("static", 1.0), ("Mine", 2.0)]


def test_inherited_and_overridden_handlers_are_found() -> None:
    class Base(Strategy):
        def __init__(self) -> None:
            self.got: list[object] = []

        def on_quote(self, bid_price):
            self.got.append(("base", bid_price))

        def on_trade(self, price):
            self.got.append(("base", price))

    class Derived(Base):
        def on_quote(self, ask_price):
            self.got.append(("derived", ask_price))

    derived = Derived()
    with Dispatcher() as dispatcher:
        dispatcher.subscribe(derived)
        dispatcher.publish(quotes(dispatcher, [1.0]))
        dispatcher.publish(trades(dispatcher, [5.0]))
        dispatcher.dispatch()
    assert derived.got == [("derived", 2.0), ("base", 5.0)]


def test_class_defaults_are_overridden_by_the_call() -> None:
    class Mine(Strategy):
        subscription: ClassVar[dict[str, object]] = {"instruments": "ETH*", "batch_max": 7}

        def on_quotes(self, bid_price): ...

    with Dispatcher() as dispatcher:
        own = dispatcher.subscribe(Mine())
        said = dispatcher.subscribe(Mine(), batch_max=9, instruments="*")
        assert (own.options.instruments, own.options.batch_max) == (("ETH*",), 7)
        assert (said.options.instruments, said.options.batch_max) == (("*",), 9)


def test_default_names_are_unique() -> None:
    class Mine(Strategy):
        def on_quote(self, bid_price): ...

    with Dispatcher() as dispatcher:
        names = [dispatcher.subscribe(Mine()).name for _ in range(3)]
        assert names == ["Mine", "Mine-2", "Mine-3"]
        assert list(dispatcher.subscriptions) == names


def test_a_strategy_is_a_plain_class_that_a_test_can_call() -> None:
    forms = Forms()
    with Dispatcher() as dispatcher:
        dispatcher.subscribe(forms)
    forms.on_quote("BTCUSDT", 1.0, spread=0.5)
    assert forms.got == [("BTCUSDT", 1.0, 3.0, -1.0, 0.5, "mine", 0.0)]


def test_binding_reads_the_signature_once() -> None:
    """A handler replaced on the instance after subscribing is not looked up again."""
    got: list[str] = []

    class Mine(Strategy):
        def on_quote(self, bid_price):
            got.append("first")

    mine = Mine()
    with Dispatcher() as dispatcher:
        dispatcher.subscribe(mine)
        mine.on_quote = lambda bid_price: got.append("second")  # type: ignore[method-assign]
        dispatcher.publish(quotes(dispatcher, [1.0]))
        dispatcher.dispatch()
    assert got == ["first"]


def test_an_async_handler_is_bound_as_async() -> None:
    async def on_quote(bid_price): ...

    assert bind_function(on_quote, None, None)[0].is_async


def test_a_handler_set_on_the_object_is_found() -> None:
    class Chooses(Strategy):
        def __init__(self) -> None:
            self.prices: list[float] = []
            self.on_trade = self.takes

        def takes(self, price):
            self.prices.append(price)

        def __getattr__(self, name: str) -> object:
            assert not name.startswith("on_"), "whoever answers to every name has no handlers by that"
            raise AttributeError(name)

    chooses = Chooses()
    with Dispatcher(on_fault="raise") as dispatcher:
        dispatcher.subscribe(chooses)
        dispatcher.publish(trades(dispatcher, [1.0, 2.0]))
        dispatcher.dispatch()
    assert chooses.prices == [1.0, 2.0]
