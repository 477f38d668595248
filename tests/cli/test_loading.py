"""Loading: a named object is imported, its parameters are converted, and an error is one line."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from headrace.app.objects import load_object, make_object
from headrace.errors import ConfigError
from headrace.market.checks import refuse
from headrace.trading.brokers import SimulatedBroker


class Plain:
    def __init__(
        self,
        count: int,
        share: float = 0.5,
        money: Decimal = Decimal(0),
        amount: Decimal | str | float = 0,
        untyped=0,
        place: Path | None = None,
        *,
        flag: bool = False,
    ) -> None:
        self.values = (count, share, money, amount, untyped, place, flag)


class Anything:
    def __init__(self, **values: object) -> None:
        self.values = values


class Refuses:
    def __init__(self) -> None:
        raise RuntimeError("not today")


class Gives:
    """Gives a part of ours what it refuses."""

    def __init__(self) -> None:
        refuse("fee_tiers", 3, "a list")


@pytest.mark.parametrize(
    ("parameters", "made"),
    [
        ({"count": 3}, (3, 0.5, Decimal(0), 0, 0, None, False)),
        ({"count": "3", "share": "0.25", "money": "0.10", "flag": "yes"}, (3, 0.25, Decimal("0.10"), 0, 0, None, True)),
        ({"count": 3, "share": 1, "money": 0.1, "amount": 0.001}, (3, 1.0, Decimal("0.1"), 0.001, 0, None, False)),
        ({"count": 3, "untyped": 0.5, "amount": "1.10"}, (3, 0.5, Decimal(0), "1.10", 0.5, None, False)),
        ({"count": 3, "untyped": "7"}, (3, 0.5, Decimal(0), 0, 7, None, False)),
    ],
)
def test_parameters_become_what_the_constructor_declares(parameters: dict[str, object], made: tuple[Any, ...]) -> None:
    assert make_object(Plain, parameters).values == made


def test_text_parameters_are_converted_to_the_annotated_type() -> None:
    broker = make_object(SimulatedBroker, {"taker_fee": "0.0004", "latency_ns": "5"})
    assert isinstance(broker, SimulatedBroker)
    with pytest.raises(ConfigError, match="taker_fee"):
        make_object(SimulatedBroker, {"taker_fee": "a lot"})
    with pytest.raises(ConfigError, match=r"slippage_ticks=soon does not fit SimulatedBroker: it takes int"):
        make_object(SimulatedBroker, {"slippage_ticks": "soon"})


@pytest.mark.parametrize(
    ("make", "parameters", "said"),
    [
        (Plain, {}, "needs parameter 'count': parameters.count=VALUE"),
        (Plain, {"cuont": 1}, "did you mean count?"),
        (Plain, {"count": "many"}, r"parameters\.count=many does not fit Plain: it takes int"),
        (Plain, {"count": 1.5}, "it takes int"),
        (Refuses, {}, r"Refuses cannot be made: test_loading\.py line \d+: RuntimeError: not today"),
        (Refuses, {"a": 1}, "has no parameter 'a'; it has none"),
        (Gives, {}, r"Gives cannot be made: test_loading\.py line \d+: OptionError: fee_tiers"),
        (
            SimulatedBroker,
            {"fill": "magic"},
            r"\]: SimulatedBroker cannot be made: fill='magic' is unknown",
        ),
        (partial(Plain, flag=True), {"cuont": 1}, "Plain has no parameter"),
    ],
)
def test_wrong_parameters_are_one_line_with_the_place(make: Any, parameters: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        make_object(make, parameters, "$.strategies[0]")
    assert str(raised.value).startswith("$.strategies[0]: ")
    assert raised.value.path == "$.strategies[0]"


def test_a_secret_that_does_not_fit_is_not_shown() -> None:
    def make(api_key: int) -> int:
        return api_key

    with pytest.raises(ConfigError, match=r"parameters\.api_key does not fit make") as raised:
        make_object(make, {"api_key": "s3cret"})
    assert "s3cret" not in str(raised.value)


def test_a_class_with_keyword_arguments_gets_every_parameter() -> None:
    assert make_object(Anything, {"a": "1", "b": [2]}).values == {"a": "1", "b": [2]}


def test_a_file_is_imported_once_and_may_import_its_neighbors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "beside_it.py").write_text("VALUE = 7\n")
    (tmp_path / "named_file.py").write_text("from beside_it import VALUE\n\nclass Own:\n    value = VALUE\n")
    spec = f"{tmp_path / 'named_file.py'}:Own"
    found = load_object(spec)
    assert getattr(found, "value", None) == 7
    assert load_object(spec) is found


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("nothing", "write module:Class"),
        ("json:Encoder", r"json has no 'Encoder', did you mean JSONEncoder?|json has no 'Encoder'"),
        ("no_such_module_at_all:X", "there is no module"),
        ("nowhere/file.py:X", r"the file nowhere/file\.py is missing"),
    ],
)
def test_a_text_that_names_nothing_is_refused(spec: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_object(spec, "$.broker.use")
