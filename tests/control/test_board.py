"""The board: a follower that merges what it takes has the document, however slow it is."""

from __future__ import annotations

import copy
import random
from typing import Any

from headrace.control.stream import board as board_module
from headrace.control.stream.board import Board, Follower, Place, Tail, Update


def merged(document: dict[str, dict[str, Any]], update: Update) -> dict[str, dict[str, Any]]:
    """A document after an update, as a client makes it."""
    after = {} if update.whole else copy.deepcopy(document)
    for section, rows in update.sections.items():
        own = after.setdefault(section, {})
        for key, row in rows.items():
            if row is None and not update.whole:
                own.pop(key, None)
            else:
                own[key] = row
    return {section: rows for section, rows in after.items() if rows}


def without_empty(document: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {section: rows for section, rows in document.items() if rows}


def test_followers_of_any_speed_merge_to_the_document(seed: int) -> None:
    chance = random.Random(seed)
    board = Board({})
    followers = [Follower(board) for _ in range(5)]
    seen: list[dict[str, dict[str, Any]]] = [{} for _ in followers]
    document: dict[str, dict[str, Any]] = {}
    for _ in range(500):
        for _ in range(chance.randrange(4)):
            section, key = chance.choice("abc"), chance.choice("stuvw")
            if chance.random() < 0.3:
                document.get(section, {}).pop(key, None)
            elif chance.random() < 0.05:
                document.pop(section, None)
            else:
                document.setdefault(section, {})[key] = {"value": chance.randrange(3)}
        board.update(copy.deepcopy(document))
        for number, follower in enumerate(followers):
            if chance.random() < 1 / (number + 1):
                update = follower.take()
                if update is not None:
                    seen[number] = merged(seen[number], update)
                assert seen[number] == without_empty(document), f"HEADRACE_SEED={seed}"


def test_slow_follower_is_told_how_many_versions_it_missed() -> None:
    board = Board({})
    follower = Follower(board)
    board.update({"rates": {"lag": 0}})
    follower.take()
    for lag in range(1, 8):
        board.update({"rates": {"lag": lag}})
    update = follower.take()
    assert update is not None
    assert (update.conflated, update.sections) == (6, {"rates": {"lag": 7}})
    assert follower.take() is None


def test_unchanged_rows_are_not_sent_again() -> None:
    board = Board({})
    follower = Follower(board)
    board.update({"strategies": {"one": {"fills": 1}, "two": {"fills": 1}}})
    follower.take()
    assert not board.update({"clock": {"now_ns": 5}, "strategies": {"one": {"fills": 1}, "two": {"fills": 1}}})
    assert follower.take() is None
    board.update({"strategies": {"one": {"fills": 1}, "two": {"fills": 2}}})
    update = follower.take()
    assert update is not None
    assert update.sections == {"strategies": {"two": {"fills": 2}}}


def test_entries_are_taken_once_and_lost_ones_are_counted() -> None:
    tail = Tail(10)
    board = Board({"fills": tail})
    follower = Follower(board)
    board.update({})
    follower.take()
    for number in range(4):
        tail.add({"fill": number})
    update = follower.take()
    assert update is not None
    assert [own["n"] for own in update.entries["fills"]] == [1, 2, 3, 4]
    assert not update.lost
    for number in range(25):
        tail.add({"fill": number})
    update = follower.take()
    assert update is not None
    assert [own["n"] for own in update.entries["fills"]] == list(range(20, 30))
    assert update.lost == {"fills": 15}
    assert update.entries["fills"][-1] == {"n": 29, "fill": 24}


def test_a_place_of_the_future_or_of_forgotten_rows_gets_the_whole_document(monkeypatch: Any) -> None:
    monkeypatch.setattr(board_module, "REMOVALS_MAX", 3)
    board = Board({})
    board.update({"orders": {str(number): {} for number in range(10)}})
    old = board.place
    for number in range(1, 10):
        board.update({"orders": {str(left): {} for left in range(number, 10)}})
    update = board.since(old)
    assert update is not None
    assert update.whole
    assert update.sections == {"orders": {"9": {}}}
    recent = Place(board.version - 2, ())
    update = board.since(recent)
    assert update is not None
    assert not update.whole
    assert update.sections == {"orders": {"7": None, "8": None}}
    update = board.since(Place(board.version + 1, ()))
    assert update is not None
    assert update.whole


def test_followers_of_one_place_share_an_answer() -> None:
    board = Board({})
    board.update({"rates": {"lag": 0}})
    place = board.place
    board.update({"rates": {"lag": 1}})
    assert board.since(place) is board.since(place)
