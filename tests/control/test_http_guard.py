"""The guard of the control API: each refusal on each route, unknown ones included, in one order."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from headrace.control.dashboard import page_files
from headrace.control.http.rates import ClientRates
from headrace.control.settings import HttpSettings
from headrace.limits import HTTP_BODY_BYTES_MAX
from tests.support.http_serving import Answer, Audits, Served, serving

pytestmark = pytest.mark.asyncio

UNKNOWN = (
    "/v2/status",
    "/v1/statu",
    "/schema",
    "/schema/openapi.json",
    "/v1/../v1/status",
    "/v1//status",
    "//v1/status",
)
# Not in the document.
UNDOCUMENTED = ("/openapi.json", "/docs")
OPEN = ("/health/live", *(file.path for file in page_files().files))
WRONG_METHODS = [*(("POST", path) for path in ("/v1/status", "/v2/status")), ("DELETE", "/v1/status")]
LARGE = b"x" * (HTTP_BODY_BYTES_MAX + 1)


class Routes(NamedTuple):
    """The paths of a server, parameters filled in: documents that need a token, and commands."""

    gets: list[str]
    commands: list[str]

    @property
    def every(self) -> list[tuple[str, str]]:
        """Method and path of each route, and some that there are not."""
        gets = (("GET", path) for path in (*self.gets, *UNKNOWN))
        return [*gets, *(("POST", path) for path in self.commands), *WRONG_METHODS]


async def routes_of(served: Served) -> Routes:
    """Return what the server says that it has: a route that is new is tested, too."""
    paths = (await served.get("/openapi.json")).json["paths"]
    gets = [re.sub(r"\{[^}]+\}", "1", path) for path, item in paths.items() if "get" in item and path not in OPEN]
    commands = [path for path, item in paths.items() if "post" in item]
    assert {"/v1/status", "/v1/stream", "/v1/books/1"} <= set(gets)
    assert "/v1/commands/halt" in commands
    return Routes([*gets, *UNDOCUMENTED], commands)


async def every(served: Served, routes: Routes, body: bytes = b"", **headers: str | None) -> dict[Any, Answer]:
    """Ask every route once, with the same change of a good request."""
    found = {}
    for method, path in routes.every:
        more = {"Content_Type": "application/json", "Idempotency_Key": "k"} if method == "POST" else {}
        found[method, path] = await served.ask(method, path, served.headers(**{**more, **headers}), body)
    return found


def assert_refused(answers: dict[Any, Answer], status: int, kind: str) -> None:
    for route, answer in answers.items():
        assert (answer.status, answer.json["type"]) == (status, kind), route
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json["status"] == status
        assert answer.json["detail"]


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost", "127.0.0.1:{port}.evil", "::1"]
)
async def test_a_host_that_is_not_ours_is_421_on_every_route(tmp_path: Path, host: str) -> None:
    async with serving(tmp_path) as served:
        # Whatever else is wrong with the request.
        answers = await every(
            served,
            await routes_of(served),
            LARGE,
            Host=host.format(port=served.port),
            Origin="null",
            Authorization=None,
        )
        assert_refused(answers, 421, "host")
        answers = await every(
            served, await routes_of(served), X_Forwarded_Host=served.host, Forwarded=f"host={served.host}", Host=host
        )
        assert_refused(answers, 421, "host")


async def test_no_host_and_two_hosts_are_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        old = f"GET /v1/status HTTP/1.0\r\nAuthorization: Bearer {served.token}\r\n\r\n"
        assert (await served.say(old.encode()))[0].status == 421
        twice = [("Host", served.host), ("Host", served.host), ("Authorization", f"Bearer {served.token}")]
        assert (await served.ask("GET", "/v1/status", twice)).status in (400, 421)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1", "http://127.0.0.1:{port}/", ""])
async def test_an_origin_that_is_not_allowed_is_403_on_every_route(tmp_path: Path, origin: str) -> None:
    async with serving(tmp_path) as served:
        answers = await every(
            served, await routes_of(served), LARGE, Origin=origin.format(port=served.port), Authorization=None
        )
        assert_refused(answers, 403, "origin")


async def test_our_own_page_and_a_configured_one_are_let_in(tmp_path: Path) -> None:
    settings = HttpSettings(listen="127.0.0.1:0", origins=("https://ops.example",))
    async with serving(tmp_path, settings=settings) as served:
        for origin in (f"http://{served.host}", f"http://localhost:{served.port}", "https://ops.example"):
            answer = await served.get("/v1/status", Origin=origin)
            assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, origin)
        asked = served.headers(Origin="https://ops.example", Access_Control_Request_Method="POST", Authorization=None)
        answer = await served.ask("OPTIONS", "/v1/commands/pause", asked)
        assert answer.status == 204
        assert "Idempotency-Key" in answer.headers["access-control-allow-headers"]
        assert "access-control-allow-credentials" not in answer.headers


async def test_too_many_requests_of_one_client_are_429_on_every_route(tmp_path: Path) -> None:
    async with serving(tmp_path, rates=ClientRates(per_s=1e-3, burst=1)) as served:
        routes = await routes_of(served)
        answers = await every(served, routes, LARGE, Authorization=None)
        assert_refused(answers, 429, "rate")
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers.values())


async def test_a_client_below_the_rate_is_never_refused_and_one_above_waits() -> None:
    rates = ClientRates(per_s=10, burst=5, clients_max=2)
    assert [rates.wait_s("a", 0.0) for _ in range(5)] == [0.0] * 5
    assert 0 < rates.wait_s("a", 0.0) <= 0.1 + 1e-9
    assert rates.wait_s("b", 0.0) == 0.0
    assert rates.wait_s("a", 0.1) == 0.0
    assert rates.wait_s("a", 0.1) > 0
    # The longest silent is forgotten.
    rates.wait_s("c", 0.1)
    rates.wait_s("d", 0.1)
    assert [rates.wait_s("a", 0.1) for _ in range(5)] == [0.0] * 5


@pytest.mark.parametrize(
    "change",
    [
        lambda token: None,
        lambda token: "",
        lambda token: token,
        lambda token: f"Basic {token}",
        lambda token: f"Bearer {token[:-1]}",
        lambda token: f"Bearer {token}x",
        lambda token: f"Bearer {token} {token}",
        lambda token: "Bearer " + "x" * 43,
        lambda token: "Bearer ",
    ],
)
async def test_no_valid_token_is_401_on_every_route(tmp_path: Path, change: Callable[[str], str | None]) -> None:
    async with serving(tmp_path) as served:
        answers = await every(served, await routes_of(served), LARGE, Authorization=change(served.token))
        assert_refused(answers, 401, "token")
        assert all(answer.headers["www-authenticate"].startswith("Bearer") for answer in answers.values())
        in_url = await served.ask("GET", f"/v1/status?token={served.token}", served.headers(Authorization=None))
        assert in_url.status == 401


async def test_live_alone_needs_no_token_and_tells_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        answer = await served.get("/health/live", Authorization=None)
        assert (answer.status, answer.json) == (200, {"status": "live"})


async def test_open_paths_are_refused_like_all_others_but_for_the_token(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:

        async def refusals(path: str, method: str = "GET", body: bytes = b"", **headers: str | None) -> Any:
            answer = await served.ask(method, path, served.headers(Authorization=None, **headers), body)
            return answer.status, answer.json["type"]

        for path in OPEN:
            assert (await served.get(path, Authorization=None)).status == 200, path
            assert await refusals(path, Host="evil.example") == (421, "host"), path
            assert await refusals(path, Origin="https://evil.example") == (403, "origin"), path
            assert await refusals(path, method="POST") == (405, "method"), path
            assert await refusals(path, body=LARGE) == (413, "too-large"), path
            assert await refusals(f"{path}?nonsense=1") == (422, "invalid"), path
    async with serving(tmp_path / "other", rates=ClientRates(per_s=1e-3, burst=1)) as served:
        await served.get("/health/live")
        for path in OPEN:
            assert (await served.get(path)).status == 429, path


async def test_unknown_paths_are_404_and_name_the_nearest(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        for path in UNKNOWN:
            answer = await served.ask("GET", path, served.headers(), LARGE)
            assert (answer.status, answer.json["type"]) == (404, "not-found"), path
        assert (await served.get("/v1/statu")).json["nearest"] == "/v1/status"


async def test_a_method_that_a_path_has_not_is_405_with_those_it_has(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        routes = await routes_of(served)
        for path in routes.gets:
            for method in ("POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE"):
                answer = await served.ask(method, path, served.headers(), LARGE if method != "HEAD" else b"")
                assert (answer.status, answer.headers["allow"]) == (405, "GET"), (method, path)
        for path in routes.commands:
            answer = await served.ask("GET", path, served.headers())
            assert (answer.status, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("announced", [True, False])
async def test_a_large_body_is_413_on_every_route_and_is_not_read(tmp_path: Path, announced: bool) -> None:
    async with serving(tmp_path) as served:
        routes = await routes_of(served)
        for method, path in [*(("GET", path) for path in routes.gets), *(("POST", path) for path in routes.commands)]:
            if announced:
                answer = await served.ask(method, path, served.headers(Content_Type="text/plain"), LARGE)
            else:
                chunks = b"".join(b"%x\r\n%s\r\n" % (8_192, b"x" * 8_192) for _ in range(12)) + b"0\r\n\r\n"
                head = "".join(f"{name}: {value}\r\n" for name, value in served.headers().items())
                request = f"{method} {path} HTTP/1.1\r\n{head}Transfer-Encoding: chunked\r\n\r\n".encode()
                answer = (await served.say(request + chunks))[0]
            assert (answer.status, answer.json["type"]) == (413, "too-large"), (method, path)


@pytest.mark.parametrize(
    "media_type", [None, "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1"]
)
async def test_a_body_that_is_no_json_by_its_type_is_415(tmp_path: Path, media_type: str | None) -> None:
    async with serving(tmp_path) as served:
        for path in (*(await routes_of(served)).commands, "/v1/commands/paus"):
            headers = served.headers(Content_Type=media_type)
            answer = await served.ask("POST", path, headers, b"not json")
            assert (answer.status, answer.json["type"]) == (415, "media-type")
        encoded = served.headers(Content_Type="application/json", Content_Encoding="gzip")
        assert (await served.ask("POST", "/v1/commands/pause", encoded, b"{}")).status == 415


async def test_unknown_query_parameters_are_422_with_the_nearest_name(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        answer = await served.get("/v1/orders?limt=3")
        assert (answer.status, answer.json["field"], answer.json["nearest"]) == (422, "limt", "limit")
        for path in (await routes_of(served)).gets:
            assert (await served.get(f"{path}?nonsense=1")).status == 422, path
        for value in ("0", "1001", "x", "1.5", ""):
            answer = await served.get(f"/v1/orders?limit={value}")
            assert (answer.status, answer.json["field"]) == (422, "limit"), value


async def test_every_answer_has_the_security_headers_and_tells_no_server(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        for answer in (await served.get("/v1/status"), await served.get("/nothing"), await served.get("/docs")):
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert "server" not in answer.headers
            assert answer.headers["date"].endswith("GMT")


async def test_each_refused_login_is_an_audit_event_without_the_token(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        seen = Audits(served.engine.bus)
        wrong = "y" * 43
        for _ in range(3):
            await served.get("/v1/status", Authorization=f"Bearer {wrong}")
        audits = await seen.until(3)
        assert {(own.actor, own.action, own.target, own.outcome) for own in audits} == {
            ("http:nobody@127.0.0.1", "login", "/v1/status", "rejected")
        }
        assert wrong not in str(audits)


async def test_a_read_only_token_reads_and_commands_nothing(tmp_path: Path) -> None:
    tokens = {"watcher": "w" * 43, "boss": "b" * 50}
    (tmp_path / "http.token").write_text(f"boss {tokens['boss']}\nwatcher {tokens['watcher']} read-only\n")
    (tmp_path / "http.token").chmod(0o600)
    async with serving(tmp_path) as served:

        async def pause(name: str) -> Any:
            headers = served.headers(
                Authorization=f"Bearer {tokens[name]}", Content_Type="application/json", Idempotency_Key=f"k-{name}"
            )
            return await served.ask("POST", "/v1/commands/pause", headers, b'{"strategy": "one"}')

        assert (await served.get("/v1/status", Authorization=f"Bearer {tokens['watcher']}")).status == 200
        refused = await pause("watcher")
        assert (refused.status, refused.json["type"]) == (403, "read-only")
        assert str(served.engine.strategies["one"].state) == "running"
        accepted = await pause("boss")
        assert (accepted.status, accepted.json["actor"]) == (200, "http:boss@127.0.0.1")
