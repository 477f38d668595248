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
from tests.support.executing import market, recommend, statuses

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
    for path in ("/v1/executions", "/v1/runs"):
        assert worker.ask("GET", path)[0] == 200
    wrong = worker.ask("POST", "/v1/commands/pause-claims", "k4", reason="news", scope="ticker")
    assert (wrong[0], wrong[1]["type"]) == (422, "invalid")
    file = tmp_path / "state" / "http.token"
    resumed = headrace_run("ctl", "resume-claims", "well", "--url", worker.url, "--token-file", file, "--json")
    assert json.loads(resumed.stdout)["status"] == "accepted", resumed.stderr


def test_halt_over_http_stops_the_claims(worker: Worker) -> None:
    assert worker.ask("POST", "/v1/commands/halt", "k1", reason="fire")[1]["status"] == "accepted"
    assert worker.ask("GET", "/v1/status")[1]["halted"] is True
    assert worker.ask("POST", "/v1/commands/rearm", "k2")[1]["status"] == "accepted"
    assert worker.ask("GET", "/v1/status")[1]["halted"] is False
