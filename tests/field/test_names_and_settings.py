"""What names files, and what a missing setting leaves empty, is refused when the engine is made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headrace import Engine, Strategy
from headrace.errors import OptionError, SubscriptionError
from tests.support.engines import Recorder, engine_over, market


@pytest.mark.parametrize("option", ["name", "run_id"])
@pytest.mark.parametrize("value", ["", "a/b", "../x", "a\nb", "\0", "a\ud800", "x" * 65, ".hidden", "my engine"])
def test_a_name_that_no_file_can_have_is_refused(option: str, value: str) -> None:
    with pytest.raises(OptionError, match=rf"{option}=.*letters, digits"):
        engine_over(market([1.0]), [], mode="replay", **{option: value})


@pytest.mark.parametrize("option", ["audit", "dispatch_log", "record", "state_folder"])
def test_an_empty_path_is_no_folder(option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionError, match=f"{option}='' is not allowed: use a path, or None"):
        engine_over(market([1.0]), [], mode="live", **{option: ""})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("slice_ns", [-1, 0])
def test_a_turn_without_time_is_refused(slice_ns: int) -> None:
    with pytest.raises(OptionError, match=r"slice_ns=.*from 1 on"):
        Engine(slice_ns=slice_ns)


def test_true_is_no_speed_and_numbers_of_numpy_are() -> None:
    with pytest.raises(OptionError, match="speed=True is not allowed"):
        engine_over(market([1.0]), [Recorder()], speed=True).run()
    assert engine_over(market([1.0, 2.0]), [Recorder()], speed=np.float32(1e6)).run().ended_by == "feeds ended"


def test_an_error_says_each_type_once() -> None:
    with pytest.raises(OptionError, match=r"use a whole number$"):
        Engine(ring_capacity="4096")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["bar", "Bars", "bars_"])
@pytest.mark.parametrize("value", ["1s", ("1s",), ["1m"]])
def test_bars_nearly_called_so_are_refused(name: str, value: object) -> None:
    strategy = type("Own", (Strategy,), {name: value, "on_bar": lambda self, bar: None})()
    with pytest.raises(SubscriptionError, match=rf"Own\.{name} is never read: did you mean bars\?"):
        engine_over(market([1.0]), [strategy]).run()


def test_an_own_attribute_near_bars_is_no_mistake() -> None:
    strategy = type("Own", (Recorder,), {"bar": None, "bars_seen": (), "bands": (1, 2)})()
    assert engine_over(market([1.0]), [strategy]).run().ended_by == "feeds ended"


def test_a_handler_that_an_object_misspells_is_refused() -> None:
    class Own(Recorder):
        def __init__(self) -> None:
            super().__init__()
            self.on_qoute = self.on_start

    with pytest.raises(SubscriptionError, match=r"Own\.on_qoute is never read: did you mean on_quote\?"):
        engine_over(market([1.0]), [Own()]).run()


def test_an_object_may_have_handlers_and_callbacks_of_its_own() -> None:
    class Own(Strategy):
        def __init__(self) -> None:
            self.seen: list[float] = []
            self.on_quote = self.note
            self.on_click = self.once = None

        def note(self, bid_price: float) -> None:
            self.seen.append(bid_price)

    strategy = Own()
    engine_over(market([1.0, 2.0]), [strategy]).run()
    assert strategy.seen == [1.0, 2.0]
