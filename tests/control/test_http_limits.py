"""Slow, huge and malformed clients of the control API: each is cut off, and none holds up the engine."""

from __future__ import annotations

import asyncio
import resource
import signal
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest

from headrace import Engine
from headrace.control.http import EngineApi, HttpServer, protocol
from headrace.control.settings import HttpSettings
from headrace.errors import ControlError
from headrace.feeds import ArrayFeed
from headrace.limits import HTTP_BODY_BYTES_MAX, HTTP_DISCARD_BYTES_MAX, HTTP_HEAD_BYTES_MAX
from tests.support.engines import market
from tests.support.http_serving import Served, answers_in, serving

pytestmark = pytest.mark.asyncio

# A client may be told so late on a machine that is busy with other tests.
LATE_S = 20.0


async def received(served: Served, data: bytes) -> bytes:
    """Send bytes, keep the connection open, and return what comes until the server closes it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    try:
        writer.write(data)
        async with asyncio.timeout(LATE_S):
            try:
                return await reader.read()
            except ConnectionResetError:
                return b""
    finally:
        writer.close()


async def connections(served: Served, count: int) -> None:
    """Wait until the server has so many."""
    async with asyncio.timeout(LATE_S):
        while served.server.metrics()["open"] != count:  # noqa: ASYNC110 - the server signals no such thing
            await asyncio.sleep(0.01)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HTTP_RECEIVE_S", 0.3)
    monkeypatch.setattr(protocol, "HTTP_SEND_S", 0.3)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "request_start",
    [
        b"",
        b"G",
        b"GET /v1/status HTTP/1.1\r\nHost: x",
        (
            b"POST /v1/commands/halt HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n"
            b"Content-Type: application/json\r\nIdempotency-Key: k\r\nContent-Length: 10\r\n\r\n{}"
        ),
    ],
)
async def test_a_request_that_does_not_end_is_cut_off(tmp_path: Path, request_start: bytes) -> None:
    async with serving(tmp_path) as served:
        data = request_start.replace(b"{host}", served.host.encode()).replace(b"{token}", served.token.encode())
        assert await received(served, data) == b""
        assert (await served.get("/v1/status")).status == 200
        assert served.engine.kill_switch is not None
        assert not served.engine.kill_switch.is_halted


@pytest.mark.usefixtures("impatient")
async def test_a_client_that_sends_byte_by_byte_gets_no_more_time(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        _, writer = await asyncio.open_connection("127.0.0.1", served.port)

        async def trickle() -> None:
            for byte in b"GET /v1/status HTTP/1.1\r\nX: " + b"y" * 10_000:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.01)

        with pytest.raises(ConnectionError):
            await asyncio.wait_for(trickle(), LATE_S)
        writer.close()


async def test_a_request_in_many_pieces_is_read_less_and_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    data_received = protocol.BoundedProtocol.data_received

    def counted(own: protocol.BoundedProtocol, data: bytes) -> None:
        nonlocal looks
        looks += 1
        data_received(own, data)

    monkeypatch.setattr(protocol.BoundedProtocol, "data_received", counted)
    async with serving(tmp_path) as served:
        head = "".join(f"{name}: {value}\r\n" for name, value in served.headers().items())
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        for byte in f"GET /v1/status HTTP/1.1\r\n{head}X: {'y' * 400}\r\n\r\n".encode():
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.001)
        async with asyncio.timeout(LATE_S):
            assert answers_in(await reader.read())[0].status == 200
        writer.close()
    # More than 500 pieces were sent, in half a second or more.
    assert looks < 40


@pytest.mark.usefixtures("impatient")
async def test_a_client_that_reads_nothing_is_cut_off(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        head = "".join(f"{name}: {value}\r\n" for name, value in served.headers(Connection=None).items())
        own = socket.socket()
        # The less the kernel takes for the client, the sooner the server waits.
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        own.settimeout(0)
        await asyncio.get_running_loop().sock_connect(own, ("127.0.0.1", served.port))
        _, writer = await asyncio.open_connection(sock=own, limit=1_024)

        async def ask_on() -> None:
            while True:
                writer.write(f"GET /openapi.json HTTP/1.1\r\n{head}\r\n".encode())
                await writer.drain()
                await asyncio.sleep(0.001)

        with pytest.raises(ConnectionError):
            await asyncio.wait_for(ask_on(), LATE_S)
        writer.close()
        await connections(served, 0)


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\nHost: x\r\nBad Name: 1\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\nHost: x\r\nX: a\r\n folded\x00\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\nHost: x\r\nX: a\r\n folded\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET /v1/status HTTP/1.1\nHost: x\n\n",
        b"GET /v1/status HTTP/2.0\r\nHost: x\r\n\r\n",
        b"GET /v1/status HTTP/0.9\r\nHost: x\r\n\r\n",
        b"BREW /v1/status HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/\xc3\xa4 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * (HTTP_HEAD_BYTES_MAX + 1_000),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_400_and_the_connection_closes(tmp_path: Path, data: bytes) -> None:
    async with serving(tmp_path) as served:
        answers = answers_in(await received(served, data))
        assert [answer.status for answer in answers] == [400]
        assert answers[0].json["type"] == "malformed"
        assert (await served.get("/v1/status")).status == 200


async def test_malformed_chunks_close_the_connection_and_run_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        head = "".join(
            f"{name}: {value}\r\n"
            for name, value in served.headers(Content_Type="application/json", Idempotency_Key="k").items()
        )
        start = f"POST /v1/commands/halt HTTP/1.1\r\n{head}Transfer-Encoding: chunked\r\n\r\n".encode()
        for chunks in (b"zz\r\n{}\r\n0\r\n\r\n", b"2\r\n{}garbage", b"-2\r\n{}\r\n0\r\n\r\n"):
            answers = answers_in(await received(served, start + chunks))
            assert [answer.status for answer in answers] == [400]
        assert served.engine.kill_switch is not None
        assert not served.engine.kill_switch.is_halted


@pytest.mark.parametrize("header", ["Upgrade: websocket\r\nConnection: upgrade", "Transfer-Encoding: chunked"])
async def test_what_comes_behind_such_a_request_is_no_request(tmp_path: Path, header: str) -> None:
    """Another reader of the same bytes could take the body for a request, or the next request for the body."""
    async with serving(tmp_path) as served:
        head = "".join(f"{name}: {value}\r\n" for name, value in served.headers(Connection=None).items())
        own = "Content-Type: application/json\r\nIdempotency-Key: k\r\n"
        halt = f"POST /v1/commands/halt HTTP/1.1\r\n{head}{own}Content-Length: 2\r\n\r\n{{}}"
        body = f"Content-Length: {len(halt)}\r\n\r\n{halt}" if "Upgrade" in header else f"\r\n0\r\n\r\n{halt}"
        request = f"GET /v1/status HTTP/1.1\r\n{head}{header}\r\n{body}"
        answers = answers_in(await received(served, request.encode()))
        assert [(answer.status, answer.headers["connection"]) for answer in answers] == [(200, "close")]
        assert served.engine.kill_switch is not None
        assert not served.engine.kill_switch.is_halted


async def test_a_request_of_http_1_0_gets_an_answer_and_the_end(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        head = "".join(f"{name}: {value}\r\n" for name, value in served.headers(Connection="keep-alive").items())
        answers = answers_in(await received(served, f"GET /v1/status HTTP/1.0\r\n{head}\r\n".encode()))
        assert [(answer.status, answer.headers["connection"]) for answer in answers] == [(200, "close")]


async def test_a_client_that_waits_for_leave_sends_its_body_then(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        more = {"Content_Type": "application/json", "Idempotency_Key": "k", "Expect": "100-continue"}
        body = b'{"strategy": "one"}'
        head = "".join(f"{name}: {value}\r\n" for name, value in served.headers(**more).items())
        start = f"POST /v1/commands/pause HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(start)
        async with asyncio.timeout(LATE_S):
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(body)
            assert answers_in(await reader.read())[0].status == 200
        writer.close()
        # A refused one is not told to go on.
        refused = start.replace(served.token.encode(), b"x" * len(served.token))
        assert [answer.status for answer in answers_in(await received(served, refused))] == [401]


async def test_a_413_is_readable_while_the_client_still_sends(tmp_path: Path) -> None:
    """A server that closes at once resets the connection, and the client never sees why."""
    async with serving(tmp_path) as served:
        size = HTTP_DISCARD_BYTES_MAX // 2
        head = "".join(f"{name}: {value}\r\n" for name, value in served.headers().items())
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(f"POST /v1/commands/pause HTTP/1.1\r\n{head}Content-Length: {size}\r\n\r\n".encode())
        for _ in range(size // 8_192):
            writer.write(b"x" * 8_192)
            await writer.drain()
        async with asyncio.timeout(LATE_S):
            answers = answers_in(await reader.read())
        writer.close()
        assert [answer.status for answer in answers] == [413]
        assert answers[0].headers["connection"] == "close"


async def test_a_large_body_is_not_kept_and_an_endless_one_ends(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        head = "".join(f"{name}: {value}\r\n" for name, value in served.headers().items())
        start = f"POST /v1/commands/pause HTTP/1.1\r\n{head}Transfer-Encoding: chunked\r\n\r\n".encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(start)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        chunk, sent = b"10000\r\n%s\r\n" % (b"x" * 0x10000), 0
        async with asyncio.timeout(LATE_S):
            try:
                while True:
                    writer.write(chunk)
                    await writer.drain()
                    sent += 0x10000
            except ConnectionError:
                pass
        writer.close()
        del reader
        # What the kernel buffers comes on top of what was read.
        assert HTTP_BODY_BYTES_MAX < sent < HTTP_DISCARD_BYTES_MAX + (16 << 20)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 << 10


async def test_pipelined_requests_are_answered_in_order(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        requests = b""
        for number in range(50):
            path = "/v1/status" if number % 2 else "/nothing"
            last = "close" if number == 49 else "keep-alive"
            head = "".join(f"{name}: {value}\r\n" for name, value in served.headers(Connection=last).items())
            requests += f"GET {path} HTTP/1.1\r\n{head}\r\n".encode()
        answers = await served.say(requests)
        assert [answer.status for answer in answers] == [404, 200] * 25


async def test_connections_are_bounded_and_the_next_one_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HTTP_CONNECTIONS_MAX", 3)
    async with serving(tmp_path) as served:
        open_ones = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(3)]
        await connections(served, 3)
        answers = answers_in(await received(served, b""))
        assert [(answer.status, answer.json["type"]) for answer in answers] == [(503, "unavailable")]
        for _, writer in open_ones:
            writer.close()
        await connections(served, 0)
        assert (await served.get("/v1/status")).status == 200


async def test_requests_over_one_connection_are_not_taken_for_pieces_of_one(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        head = "".join(f"{name}: {value}\r\n" for name, value in served.headers(Connection=None).items())
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        began_s = asyncio.get_running_loop().time()
        for _ in range(4 * protocol.PIECES_AT_ONCE):
            writer.write(f"GET /health/live HTTP/1.1\r\n{head}\r\n".encode())
            async with asyncio.timeout(LATE_S):
                assert b" 200 " in await reader.readline()
                await reader.readuntil(b'{"status":"live"}')
        # Reading would pause for a second between two of them.
        assert asyncio.get_running_loop().time() - began_s < LATE_S
        writer.close()


# Ends


@pytest.mark.alone
async def test_an_engine_ends_with_streams_open_and_half_a_request_received(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        writers = []
        for data in (
            b"",
            b"GET /v1/sta",
            b"POST /v1/commands/halt HTTP/1.1\r\nHost: %s\r\nContent-Length: 9\r\n" % served.host.encode(),
            b"GET /v1/stream HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n"
            % (served.host.encode(), served.token.encode()),
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(data)
            await writer.drain()
            if b"stream" in data:
                assert b"200" in await reader.readline()
            writers.append(writer)
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 5.0
    for writer in writers:
        writer.close()


async def test_no_signal_handler_is_touched_and_nothing_is_left_open(tmp_path: Path) -> None:
    def handlers() -> list[object]:
        return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    before, threads = handlers(), {thread.name for thread in threading.enumerate()}
    engine = Engine(feeds=[ArrayFeed(market([100.0] * 100))], strategies=[], mode="live", state_folder=str(tmp_path))
    server = HttpServer(EngineApi(engine), HttpSettings(listen="127.0.0.1:0"), folder=tmp_path)
    engine.services.add(server)

    during: list[object] = []

    async def look() -> None:
        async with engine:
            during.extend(handlers())

    # Off the main thread's signals: the engine takes none there, and neither may the server.
    await asyncio.to_thread(lambda: asyncio.run(look()))
    assert during == before == handlers()
    assert {thread.name for thread in threading.enumerate() if "http answers" in thread.name} <= threads


async def test_a_port_that_is_taken_is_an_error_with_what_to_do(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        settings = HttpSettings(listen=served.host)
        with pytest.raises(ControlError, match=r"cannot listen at .*port 0 for a free one"):
            async with serving(tmp_path / "other", settings=settings, name="second"):
                pass


async def test_tls_alone_is_spoken_where_a_certificate_is_given(tmp_path: Path) -> None:
    files = await asyncio.to_thread(certificate, tmp_path)
    settings = HttpSettings(listen="127.0.0.1:0", tls_certificate=str(files[0]), tls_key=str(files[1]))
    async with serving(tmp_path, settings=settings) as served:
        assert served.server.url.startswith("https://")
        context = ssl.create_default_context(cafile=files[0])
        reader, writer = await asyncio.open_connection("localhost", served.port, ssl=context)
        head = "".join(f"{name}: {value}\r\n" for name, value in served.headers().items())
        writer.write(f"GET /v1/status HTTP/1.1\r\n{head}\r\n".encode())
        assert answers_in(await reader.read())[0].status == 200
        writer.close()
        assert b"HTTP/1.1 200" not in await received(served, f"GET /v1/status HTTP/1.1\r\n{head}\r\n".encode())


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate of localhost, and its key."""
    files = folder / "cert.pem", folder / "key.pem"
    made = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    subprocess.run([*made, *subject, "-out", files[0], "-keyout", files[1]], check=True, capture_output=True)
    return files
