"""``headrace execute --every`` with its control API: a database's recommendations, and the controls as commands."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.execution import Store
from tests.support.command import COMMAND, Run
from tests.support.executing import market, recommend, run, statuses
from tests.support.feeding import wait_until

# Each test starts several processes.
pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def db(tmp_path: Path) -> str:
    """The URL of a migrated file."""
    url = f"sqlite:///{tmp_path}/own.sqlite"
    Store(url, migrate=True).close()
    return url


class Worker:
    """``headrace execute --every`` in a process, and requests to it."""

    def __init__(self, process: subprocess.Popen[str], token_file: Path) -> None:
        self.process = process
        self.url = next(url for line in process.stderr or () if (url := _url(json.loads(line))))
        self._headers = {"Authorization": f"Bearer {token_file.read_text().strip()}"}

    def ask(self, method: str, path: str, key: str = "", **fields: Any) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=60)
        body = json.dumps(fields) if method == "POST" else None
        more = {"Content-Type": "application/json", "Idempotency-Key": key} if body is not None else {}
        connection.request(method, path, body, {**self._headers, **more})
        response = connection.getresponse()
        document = json.loads(response.read())
        connection.close()
        return response.status, document


def _url(line: dict[str, Any]) -> str:
    message = line["message"]
    return message.rpartition(" ")[2] if message.startswith("the control API is at") else ""


@pytest.fixture
def worker(db: str, tmp_path: Path) -> Iterator[Worker]:
    arguments = ("execute", "--db", db, "--every", "1h", "--set", "control.http.listen=127.0.0.1:0")
    folder = ("--set", f"engine.state_folder={tmp_path / 'state'}")
    process = subprocess.Popen(
        [*COMMAND, *arguments, *folder], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    try:
        yield Worker(process, tmp_path / "state" / "http.token")
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 0


def test_controls_are_commands_on_record_with_the_actor(
    worker: Worker, db: str, headrace_run: Run, tmp_path: Path
) -> None:
    status, ack = worker.ask("POST", "/v1/commands/pause-claims", "k1", reason="news")
    assert (status, ack["status"]) == (200, "accepted")
    with Store(db) as store:
        market(store)
        [number] = recommend(store)
    assert worker.ask("GET", "/v1/status")[1]["pending"] == 1
    (paused,) = worker.ask("GET", "/v1/pauses")[1]["items"]
    assert (paused["scope"], paused["actor"], paused["reason"]) == ("all", "http:operator@127.0.0.1", "news")
    canceled = worker.ask("POST", "/v1/commands/cancel-recommendation", "k2", recommendation_id=number, reason="old")
    assert (canceled[0], canceled[1]["status"]) == (200, "accepted")
    again = worker.ask("POST", "/v1/commands/cancel-recommendation", "k3", recommendation_id=number, reason="old")
    assert (again[0], again[1]["type"]) == (409, "rejected")
    with Store(db) as store:
        assert statuses(store) == {"SKIPPED": 1}
    (own,) = worker.ask("GET", "/v1/recommendations")[1]["items"]
    assert (own["id"], own["status"]) == (number, "SKIPPED")
    wrong = worker.ask("POST", "/v1/commands/pause-claims", "k4", reason="news", scope="ticker")
    assert (wrong[0], wrong[1]["type"]) == (422, "invalid")
    over = worker.ask("POST", "/v1/commands/pause-claims", "k5", reason="news", until="2020-01-01T00:00:00Z")
    assert (over[0], over[1]["type"]) == (409, "rejected")
    assert "is over already" in over[1]["detail"]
    file = tmp_path / "state" / "http.token"
    resumed = headrace_run("ctl", "resume-claims", "well", "--url", worker.url, "--token-file", file, "--json")
    assert json.loads(resumed.stdout)["status"] == "accepted", resumed.stderr


def test_halt_over_http_stops_the_claims(worker: Worker) -> None:
    assert worker.ask("POST", "/v1/commands/halt", "k1", reason="fire")[1]["status"] == "accepted"
    assert worker.ask("GET", "/v1/status")[1]["halted"] is True
    assert worker.ask("POST", "/v1/commands/rearm", "k2")[1]["status"] == "accepted"
    assert worker.ask("GET", "/v1/status")[1]["halted"] is False


def test_lists_come_in_pages_by_a_cursor(worker: Worker, db: str) -> None:
    with Store(db) as store:
        market(store)
        # The worker's own run begins when it does, and lets a ticker trade less often than those that follow.
        ended = "SELECT count(*) FROM dispatcher_runs WHERE finished_at IS NOT NULL"
        wait_until(lambda: store.query(ended) == [(1,)])
        for prefix in ("a", "b", "c"):
            recommend(store, 2, prefix=prefix)
            run(store)
        assert store.query(ended) == [(4,)]
        assert store.query("SELECT count(*) FROM dispatch_executions") == [(6,)]
    lists = (("recommendations", "id", 6), ("executions", "recommendation_id", 6), ("runs", "run_id", 4))
    for path, key, count in lists:
        _, whole = worker.ask("GET", f"/v1/{path}")
        assert (len(whole["items"]), whole["next"]) == (count, None)
        pages: list[Any] = []
        after: str | None = ""
        while after is not None:
            status, page = worker.ask("GET", f"/v1/{path}?limit=2{after and f'&after={after}'}")
            assert status == 200
            pages.extend(page["items"])
            after = page["next"]
        assert pages == whole["items"]
        assert len({own[key] for own in pages}) == count
        for wrong in ("nonsense", f"1.{'9' * 30}" if path == "executions" else "9" * 30):
            status, problem = worker.ask("GET", f"/v1/{path}?after={wrong}")
            assert (status, problem["field"]) == ((422 if path == "recommendations" else 404), "after")
