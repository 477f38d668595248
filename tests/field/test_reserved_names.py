"""A kind cannot be called like a callback of the engine."""

from __future__ import annotations

import pytest

import headrace
from headrace.dispatch.signature import LIFE_CYCLE
from headrace.errors import KindError
from headrace.market.tick import KINDS, RESERVED_KINDS


@pytest.mark.parametrize("name", sorted(RESERVED_KINDS))
def test_a_kind_named_like_a_callback_is_refused(name: str) -> None:
    before = dict(KINDS)
    with pytest.raises(KindError, match=f"on_{name} is a callback of the engine"):
        headrace.register_kind(name, ["px"])
    assert before == KINDS


def test_every_callback_of_the_engine_is_reserved() -> None:
    assert {f"on_{name}" for name in RESERVED_KINDS} == set(LIFE_CYCLE)


@pytest.mark.parametrize("name", ["tick", "quote", "gap"])
def test_a_kind_named_like_a_built_in_handler_is_refused(name: str) -> None:
    with pytest.raises(KindError):
        headrace.register_kind(name, ["px"])
