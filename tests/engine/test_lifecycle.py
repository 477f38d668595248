"""The life cycle against its table: every state and verb, in any order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import LifeCycleError
from headrace.strategies.states import LIVING, TRANSITIONS, LifeCycle, StrategyState

VERBS = sorted({verb for _, verb in TRANSITIONS})
START = StrategyState.CREATED


def routes() -> dict[StrategyState, list[str]]:
    """Return the shortest list of verbs from the first state to each state."""
    found: dict[StrategyState, list[str]] = {START: []}
    waiting = [START]
    while waiting:
        state = waiting.pop(0)
        for (before, verb), after in TRANSITIONS.items():
            if before is state and after not in found:
                found[after] = [*found[state], verb]
                waiting.append(after)
    return found


def taken_to(state: StrategyState) -> LifeCycle:
    """Return a life cycle in this state."""
    life = LifeCycle("momentum")
    for verb in routes()[state]:
        life.move(verb)
    assert life.state is state
    return life


def test_every_state_can_be_reached_and_left() -> None:
    assert set(routes()) == set(StrategyState)
    assert {state for state, _ in TRANSITIONS} == set(StrategyState)


def test_every_live_state_can_end_and_every_end_can_restart() -> None:
    ends = {StrategyState.STOPPED, StrategyState.FAILED}
    assert set(StrategyState) - ends - {START} == LIVING
    reaches = {
        state: {after for (before, _), after in TRANSITIONS.items() if before is state} for state in StrategyState
    }
    for state in LIVING:
        seen: set[StrategyState] = set()
        fresh = {state}
        while fresh:
            seen |= fresh
            fresh = {after for one in fresh for after in reaches[one]} - seen
        assert seen & ends
    for state in ends:
        assert reaches[state] == {StrategyState.STARTING}


@pytest.mark.parametrize("state", StrategyState)
@pytest.mark.parametrize("verb", [*VERBS, "explode", ""])
def test_a_verb_follows_the_table_or_changes_nothing(state: StrategyState, verb: str) -> None:
    life = taken_to(state)
    version = life.version
    after = TRANSITIONS.get((state, verb))
    assert life.allows(verb) is (after is not None)
    if after is not None:
        assert life.move(verb) == (state, after)
        assert (life.state, life.version) == (after, version + 1)
        return
    with pytest.raises(LifeCycleError, match=r"possible here: \w+") as raised:
        life.move(verb)
    assert (raised.value.strategy, raised.value.state, raised.value.verb) == ("momentum", str(state), verb)
    assert (life.state, life.version) == (state, version)


@given(st.lists(st.sampled_from(VERBS), max_size=80))
def test_versions_rise_by_one_with_each_change_only(verbs: list[str]) -> None:
    life = LifeCycle("momentum")
    for verb in verbs:
        before, version = life.state, life.version
        try:
            moved = life.move(verb)
        except LifeCycleError:
            assert (life.state, life.version) == (before, version)
        else:
            assert moved == (before, life.state)
            assert life.version == version + 1
