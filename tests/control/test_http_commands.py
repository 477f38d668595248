"""Commands over HTTP: what each becomes, and that each Idempotency-Key is one command."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from headrace import Strategy
from headrace.commands import Command, Outcome
from headrace.control.http.answer_store import AnswerStore
from tests.support.commanding import ACCEPTED, Gate, Note
from tests.support.http_serving import Audits, serving

pytestmark = pytest.mark.asyncio


class Refuser(Command, frozen=True):
    """Answer as its field says."""

    verb = "refuser"

    status: str
    reason: str = ""


def refuse(command: Refuser) -> Outcome:
    if command.status == "raise":
        raise ValueError(command.reason)
    return Outcome(command.status, command.reason)  # type: ignore[arg-type]


async def test_every_command_of_the_table_is_taken_and_listed(tmp_path: Path) -> None:
    async with serving(tmp_path, own={Note: lambda _: ACCEPTED}) as served:
        table = (await served.get("/v1/commands")).json["items"]
        assert [own["verb"] for own in table] == [own.verb for own in served.engine.commands.table()]
        assert "note" in {own["verb"] for own in table}
        answer = await served.command("note", "k", subject="s")
        assert (answer.status, answer.json["status"], answer.json["key"]) == (200, "accepted", "k")
        assert answer.json["actor"] == "http:operator@127.0.0.1"


async def test_pause_and_resume_change_the_strategy_and_a_repeated_state_is_a_noop(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        for verb, key, status, state in (
            ("pause", "1", "accepted", "paused"),
            ("pause", "2", "noop", "paused"),
            ("resume", "3", "accepted", "running"),
        ):
            answer = await served.command(verb, key, strategy="one")
            assert (answer.status, answer.json["status"]) == (200, status)
            assert str(served.engine.strategies["one"].state) == state


async def test_an_outcome_is_a_status(tmp_path: Path) -> None:
    expected = {
        "accepted": (200, None),
        "noop": (200, None),
        "rejected": (409, "rejected"),
        "failed": (500, "failed"),
        "raise": (504, "unknown-outcome"),
    }
    async with serving(tmp_path, own={Refuser: refuse}) as served:
        for status, (code, kind) in expected.items():
            answer = await served.command("refuser", f"k-{status}", status=status, reason="because of that")
            assert (answer.status, answer.json.get("type")) == (code, kind), status
            ack = answer.json if kind is None else answer.json["ack"]
            assert "because of that" in ack["reason"]
            again = await served.command("refuser", f"k-{status}", status=status, reason="because of that")
            assert (again.status, again.body) == (answer.status, answer.body)


async def test_a_handler_that_takes_too_long_is_504_and_not_run_again(tmp_path: Path) -> None:
    gate = Gate()
    async with serving(tmp_path, own={Note: gate}) as served:
        headers = served.headers(Content_Type="application/json", Idempotency_Key="k", Command_Timeout="0.05")
        answer = await served.ask("POST", "/v1/commands/note", headers, b'{"subject": "s"}')
        assert (answer.status, answer.json["type"]) == (504, "unknown-outcome")
        again = await served.command("note", "k", subject="s")
        assert (again.status, again.body, len(gate.began)) == (504, answer.body, 1)
        wrong = served.headers(Content_Type="application/json", Idempotency_Key="k2", Command_Timeout="soon")
        answer = await served.ask("POST", "/v1/commands/note", wrong, b'{"subject": "s"}')
        assert (answer.status, answer.json["field"]) == (422, "Command-Timeout")


@pytest.mark.parametrize(
    ("body", "field", "nearest"),
    [
        (b"", "", ""),
        (b"{", "", ""),
        (b"[]", "", ""),
        (b"null", "", ""),
        (b'"pause"', "", ""),
        (b'{"strategy": "one"} x', "", ""),
        (b"\xff\xfe", "", ""),
        (b"[" * 60_000, "", ""),
        (b'{"strategy": NaN}', "", ""),
        (b"{}", "strategy", ""),
        (b'{"strategy": 1}', "strategy", ""),
        (b'{"strategy": ""}', "strategy", ""),
        (b'{"strategy": null}', "strategy", ""),
        (b'{"strateg": "one"}', "strateg", "strategy"),
        (b'{"strategy": "one", "command": "Halt"}', "command", ""),
        (b'{"strategy": "one", "extra": ' + b"[" * 20_000 + b"]" * 20_000 + b"}", "", ""),
    ],
)
async def test_a_malformed_body_is_422_names_its_field_and_changes_nothing(
    tmp_path: Path, body: bytes, field: str, nearest: str
) -> None:
    async with serving(tmp_path) as served:
        before = served.engine.commands.stats().submitted, served.engine.commands.version
        answer = await served.command("pause", "k", body=body)
        assert (answer.status, answer.json["type"]) == (422, "invalid")
        assert (answer.json.get("field", ""), answer.json.get("nearest", "")) == (field, nearest)
        assert (served.engine.commands.stats().submitted, served.engine.commands.version) == before
        # The key is still free.
        assert (await served.command("pause", "k", strategy="one")).status == 200


VALID = {"text": "one", "texts": ["one"], "whole": 1, "number": 1, "json": []}


async def test_each_command_refuses_wrong_fields_and_a_missing_or_used_key(tmp_path: Path) -> None:
    async with serving(tmp_path, own={Note: lambda _: ACCEPTED}) as served:
        await served.command("note", "used", subject="s")
        table = served.engine.commands.table()
        assert {"pause", "halt", "drain", "flatten", "test-alert", "note"} <= {entry.verb for entry in table}

        async def refusal(key: str | None, **fields: Any) -> tuple[int, str, str]:
            answer = await served.command(entry.verb, key, **fields)
            return answer.status, answer.json["type"], answer.json.get("field", "")

        for entry in table:
            fields = {
                own.name: own.choices[0] if own.choices else VALID[own.kind] for own in entry.arguments if own.required
            }
            assert await refusal("k", **fields, nonsense=1) == (422, "invalid", "nonsense"), entry.verb
            for own in entry.arguments:
                wrong = {**fields, own.name: 1 if own.kind == "json" else {}}
                status, kind, field = await refusal("k", **wrong)
                assert (status, kind, field.partition("[")[0]) == (422, "invalid", own.name), (entry.verb, own.name)
                if own.required:
                    others = {name: value for name, value in fields.items() if name != own.name}
                    assert await refusal("k", **others) == (422, "invalid", own.name), (entry.verb, own.name)
            if entry.changes:
                assert await refusal(None, **fields) == (422, "invalid", "Idempotency-Key"), entry.verb
                if entry.verb != "note":
                    assert await refusal("used", **fields) == (409, "key-reused", "Idempotency-Key"), entry.verb
        assert served.engine.commands.stats().submitted == 1


async def test_an_unknown_command_is_404_and_names_the_nearest(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        answer = await served.command("paus", "k", strategy="one")
        assert (answer.status, answer.json["nearest"]) == (404, "pause")


@pytest.mark.parametrize("key", [None, "", "x" * 129, "k\xe9", "k v", "k\tv"])
async def test_a_missing_or_wrong_key_is_422_and_names_the_header(tmp_path: Path, key: str | None) -> None:
    async with serving(tmp_path) as served:
        headers = served.headers(Content_Type="application/json", Idempotency_Key=key)
        lines = [(name, value.encode().decode("latin-1")) for name, value in headers.items()]
        answer = await served.ask("POST", "/v1/commands/pause", lines, b'{"strategy": "one"}')
        assert (answer.status, answer.json["field"]) == (422, "Idempotency-Key")
        assert str(served.engine.strategies["one"].state) == "running"


async def test_a_command_that_changes_nothing_needs_no_key(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        answer = await served.command("status")
        assert (answer.status, answer.json["detail"]["engine"]) == (200, "paper")


async def test_the_same_key_and_body_get_the_same_answer_and_another_body_409(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        audits = Audits(served.engine.bus)
        first = await served.command("pause", "k", strategy="one")
        # Order and spaces of a body are no other command.
        again = await served.command("pause", "k", body=b'{ "strategy":\n"one" }')
        assert (again.status, again.body) == (200, first.body)
        assert again.headers["idempotent-replayed"] == "true"
        assert "idempotent-replayed" not in first.headers
        for verb, fields in (("pause", {"strategy": "two"}), ("resume", {"strategy": "one"})):
            other = await served.command(verb, "k", body=json.dumps(fields).encode())
            assert (other.status, other.json["type"]) == (409, "key-reused")
        assert served.engine.commands.stats().submitted == 1
        seen = [(own.action, own.target, own.outcome) for own in await audits.until(4)]
        assert sorted(seen) == sorted(
            [
                ("pause", "strategy:one", "accepted"),
                ("pause", "repeated", "noop"),
                ("pause", "key-reused", "rejected"),
                ("resume", "key-reused", "rejected"),
            ]
        )
        assert {own.actor for own in audits.seen} == {"http:operator@127.0.0.1"}


async def test_simultaneous_calls_with_one_key_are_one_command(tmp_path: Path) -> None:
    gate = Gate()
    async with serving(tmp_path, own={Note: gate}) as served:
        calls = [asyncio.create_task(served.command("note", "k", subject="s")) for _ in range(20)]
        await gate.has_begun(1)
        other = await served.command("note", "k", subject="t")
        assert other.status == 409
        gate.open()
        answers = await asyncio.gather(*calls)
        assert {(answer.status, answer.body) for answer in answers} == {(200, answers[0].body)}
        assert len(gate.began) == 1


async def test_keys_belong_to_their_actor(tmp_path: Path) -> None:
    (tmp_path / "http.token").write_text(f"ann {'a' * 43}\nbob {'b' * 43}\n")
    (tmp_path / "http.token").chmod(0o600)
    async with serving(tmp_path, own={Note: lambda _: ACCEPTED}) as served:
        answers = []
        for token, subject in (("a" * 43, "one"), ("b" * 43, "two")):
            headers = served.headers(
                Authorization=f"Bearer {token}", Content_Type="application/json", Idempotency_Key="k"
            )
            body = json.dumps({"subject": subject}).encode()
            answers.append(await served.ask("POST", "/v1/commands/note", headers, body))
        assert [answer.status for answer in answers] == [200, 200]
        assert [answer.json["actor"] for answer in answers] == ["http:ann@127.0.0.1", "http:bob@127.0.0.1"]


async def test_a_key_holds_over_a_restart_of_the_engine(tmp_path: Path) -> None:
    async with serving(tmp_path, own={Note: lambda _: ACCEPTED}) as served:
        first = await served.command("note", "k", subject="s")
    calls: list[Command] = []

    def note(command: Note) -> Outcome:
        calls.append(command)
        return ACCEPTED

    async with serving(tmp_path, own={Note: note}) as served:
        again = await served.command("note", "k", subject="s")
        assert (again.status, again.body) == (200, first.body)
        assert (await served.command("note", "k", subject="t")).status == 409
        assert not calls


async def test_a_command_that_was_running_when_the_engine_died_is_unknown_and_not_run_again(tmp_path: Path) -> None:
    async with serving(tmp_path, own={Note: lambda _: ACCEPTED}) as served:
        await served.command("note", "k", subject="s")
    with sqlite3.connect(tmp_path / "paper.http.sqlite") as connection:
        # As an engine leaves it that was killed meanwhile.
        connection.execute("UPDATE answers SET status = NULL, body = NULL")
    connection.close()
    gate = Gate()
    async with serving(tmp_path, own={Note: gate}) as served:
        answer = await served.command("note", "k", subject="s")
        assert (answer.status, answer.json["type"]) == (504, "unknown-outcome")
        assert not gate.began


async def test_a_client_that_leaves_finds_its_answer_under_its_key(tmp_path: Path) -> None:
    gate = Gate()
    async with serving(tmp_path, own={Note: gate}) as served:
        body = b'{"subject": "s"}'
        headers = served.headers(Content_Type="application/json", Idempotency_Key="k", Content_Length=str(len(body)))
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        _, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(f"POST /v1/commands/note HTTP/1.1\r\n{head}\r\n".encode() + body)
        await gate.has_begun(1)
        writer.transport.abort()
        gate.open()
        answer = await served.command("note", "k", subject="s")
        assert (answer.status, answer.json["status"], len(gate.began)) == (200, "accepted", 1)


async def test_a_halt_goes_through_when_no_answer_can_be_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(tmp_path) as served:
        with sqlite3.connect(tmp_path / "paper.http.sqlite") as connection:
            connection.execute("DROP TABLE answers")
        connection.close()
        pause = await served.command("pause", "k1", strategy="one")
        assert (pause.status, pause.json["type"]) == (503, "unavailable")
        assert str(served.engine.strategies["one"].state) == "running"
        halt = await served.command("halt", "k2", reason="fire")
        assert (halt.status, halt.json["status"]) == (200, "accepted")
        assert served.engine.kill_switch is not None
        assert served.engine.kill_switch.is_halted
    assert "no such table" in caplog.text


@pytest.mark.timeout(120)
async def test_answers_are_bounded_in_number_and_age(tmp_path: Path) -> None:
    now_s = 1_000_000.0
    store = AnswerStore(tmp_path / "answers", keys_max=300, keys_s=60.0, now_s=lambda: now_s)
    try:
        for number in range(1_000):
            now_s += 0.001
            await store.begin("ann", str(number), b"d")
            await store.finish("ann", str(number), 200, b"{}")
        assert len(store) <= 300 + 256
        assert await store.look("ann", "0") is None
        assert (await store.look("ann", "999")) == (b"d", 200, b"{}")
        assert await store.look("bob", "999") is None
        now_s += 61
        assert await store.look("ann", "999") is None
    finally:
        store.close()
    assert (tmp_path / "answers").stat().st_mode & 0o777 == 0o600


async def test_what_json_has_not_is_written_and_large_integers_are_texts(tmp_path: Path) -> None:
    detail: dict[Any, Any] = {
        "large": 1 << 60,
        "small": 1 << 53,
        "object": Strategy,
        "lone": "\ud800",
        "nan": float("nan"),
        3: (1, 2),
    }
    async with serving(tmp_path, own={Note: lambda _: Outcome("accepted", detail=detail)}) as served:
        told = (await served.command("note", "k", subject="s")).json["detail"]
        assert (told["large"], told["small"], told["nan"], told["3"]) == (str(1 << 60), 1 << 53, None, [1, 2])
        assert "Strategy" in told["object"]
        assert told["lone"] == "\\ud800"
