"""A handler that panics in Rust is a fault like any other; it is in an extension that these tests build.

Guarantees: the panic comes from code outside of the package, which has no hook for tests.
Does not: check how PyO3 converts a panic, except that the result is no Exception.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace import Dispatcher, Strategy
from headrace.errors import StrategyFaultError
from tests.support.feeding import BTC, holds_the_law, quotes, wait_until

# The first build compiles PyO3.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="session")
def panics(root: Path) -> Callable[..., object]:
    """A builtin ``on_quote(bid_price)`` that panics."""
    cargo = shutil.which("cargo") or pytest.fail("cargo is not on this machine")
    target = Path(os.environ.get("CARGO_TARGET_DIR", root / "target")) / "hostile"
    manifest = root / "tests" / "hostile_extension" / "Cargo.toml"
    environment = {**os.environ, "PYO3_PYTHON": sys.executable, "PYO3_BUILD_EXTENSION_MODULE": "1"}
    arguments = ["build", "--quiet", "--locked", "--manifest-path", str(manifest), "--target-dir", str(target)]
    if sys.platform == "darwin":
        environment["RUSTFLAGS"] = "-Clink-arg=-undefined -Clink-arg=dynamic_lookup"
    subprocess.run([cargo, *arguments], env=environment, check=True)
    suffix = "dylib" if sys.platform == "darwin" else "so"
    built = target / "debug" / f"libhostile_extension.{suffix}"
    loader = importlib.machinery.ExtensionFileLoader("hostile_extension", str(built))
    spec = importlib.util.spec_from_loader("hostile_extension", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    on_quote: Callable[..., object] = module.on_quote
    return on_quote


class Good(Strategy):
    def __init__(self) -> None:
        self.bids: list[float] = []

    def on_quote(self, bid_price):
        self.bids.append(bid_price)


@pytest.mark.parametrize("mode", ["inline", "thread"])
def test_a_panic_is_a_fault_and_others_get_every_tick(panics: Callable[..., object], mode: Any) -> None:
    before, after = Good(), Good()
    with Dispatcher(instruments=[BTC]) as dispatcher:
        dispatcher.subscribe(before)
        broken = dispatcher.subscribe(panics, callback="on_quote", name="panics", mode=mode)
        through_python = dispatcher.subscribe(lambda bid_price: panics(bid_price), callback="on_quote", name="calls")
        dispatcher.subscribe(after)
        dispatcher.publish(quotes(dispatcher, range(1_000)))
        dispatcher.dispatch()
        wait_until(lambda: broken.stats().pending == 0)
        for hostile in (broken, through_python):
            stats = hostile.stats()
            assert (stats.faults, stats.delivered, stats.skipped, hostile.state) == (3, 3, 997, "quarantined")
            assert holds_the_law(stats)
        letters = dispatcher.dead_letters.list(kind="call")
        assert len(letters) == 6
        assert all("a handler panicked at" in letter.reason for letter in letters)
    assert before.bids == after.bids == [float(bid) for bid in range(1_000)]


def test_under_raise_a_panic_becomes_an_ordinary_exception(panics: Callable[..., object]) -> None:
    with Dispatcher(instruments=[BTC], on_fault="raise") as dispatcher:
        dispatcher.subscribe(panics, callback="on_quote")
        dispatcher.publish(quotes(dispatcher, [1.0, 2.0]))
        with pytest.raises(StrategyFaultError, match="PanicException in on_quote"):
            dispatcher.dispatch()
