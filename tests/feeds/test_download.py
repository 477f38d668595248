"""The download of archive files, from a local server that serves them, breaks off, lies and fails."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import DataError, OptionError
from headrace.feeds import CandleFeed, archive
from headrace.feeds.archive import ArchiveRequest, day_of, download
from tests.support.command import Run
from tests.support.engines import START

MS = START // 1_000_000


def zipped(name: str, size: int = 0) -> bytes:
    """A file of one candle, padded with bytes that do not pack."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        row = f"{MS},1,2,1,2,5,{MS + 59_999},5,3,1,1,0\n"
        file.writestr(name.removesuffix(".zip") + ".csv", row + "\n" * size)
    return out.getvalue()


class Archive(ThreadingHTTPServer):
    """Serves ``files`` by path. breaks_after : bytes after which a connection ends, once. fails : 503 so often."""

    daemon_threads = True

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.sums: dict[str, str] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.breaks_after = 0
        self.fails = 0
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add(self, path: str, data: bytes) -> None:
        self.files[path] = data
        self.sums[path] = hashlib.sha256(data).hexdigest()


class Handler(BaseHTTPRequestHandler):
    server: Archive

    def do_GET(self) -> None:
        server, path = self.server, self.path.lstrip("/")
        server.requests.append((path, self.headers.get("Range")))
        if server.fails:
            server.fails -= 1
            self.send_error(503)
            return
        if path.endswith(".CHECKSUM"):
            name = path.removesuffix(".CHECKSUM")
            self.answer(f"{server.sums[name]}  {name}\n".encode() if name in server.sums else None)
            return
        self.answer(server.files.get(path))

    def answer(self, data: bytes | None) -> None:
        if data is None:
            self.send_error(404)
            return
        begin = int((self.headers.get("Range") or "bytes=0-")[6:].rstrip("-"))
        if begin and begin >= len(data):
            self.send_error(416)
            return
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(data) - begin))
        self.end_headers()
        part = data[begin:]
        if self.server.breaks_after and not self.path.endswith(".CHECKSUM"):
            part, self.server.breaks_after = part[: self.server.breaks_after], 0
        self.wfile.write(part)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Archive]:
    monkeypatch.setattr(archive, "PAUSE_S", 0.001)
    server = Archive()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def path_of(month: str) -> str:
    return f"data/spot/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-{month}.zip"


MONTHS = ("2024-12", "2025-01", "2025-02")
REQUEST = ArchiveRequest("BTCUSDT", "klines", date(2024, 12, 5), date(2025, 2, 1))


def fill(server: Archive, months: tuple[str, ...] = MONTHS, size: int = 100_000) -> None:
    for month in months:
        server.add(path_of(month), zipped(f"BTCUSDT-1m-{month}.zip", size))


def test_files_come_whole_and_read_as_candles(served: Archive, tmp_path: Path) -> None:
    fill(served)
    done = download(REQUEST, tmp_path, base_url=served.url)
    assert [path.name for path in done.files] == [f"BTCUSDT-1m-{month}.zip" for month in MONTHS]
    assert (done.kept, done.missing) == (0, [])
    assert done.bytes_fetched == sum(map(len, served.files.values()))
    assert CandleFeed(done.files[0]).read()["ts_open"].tolist() == [START]
    assert sorted(path.name for path in tmp_path.iterdir()) == [path.name for path in done.files]


def test_whole_files_are_not_fetched_again(served: Archive, tmp_path: Path) -> None:
    fill(served)
    download(REQUEST, tmp_path, base_url=served.url)
    (tmp_path / "BTCUSDT-1m-2025-01.zip").write_bytes(b"damaged since")
    served.requests.clear()
    done = download(REQUEST, tmp_path, base_url=served.url)
    assert done.kept == 2
    assert [path for path, _ in served.requests if path.endswith(".zip")] == [path_of("2025-01")]
    assert (tmp_path / "BTCUSDT-1m-2025-01.zip").read_bytes() == served.files[path_of("2025-01")]


def test_files_that_are_not_there_are_listed(served: Archive, tmp_path: Path) -> None:
    fill(served, ("2024-12", "2025-02"))
    done = download(REQUEST, tmp_path, base_url=served.url)
    assert done.missing == ["BTCUSDT-1m-2025-01.zip"]
    assert len(done.files) == 2


def test_broken_connection_goes_on_where_it_broke(served: Archive, tmp_path: Path) -> None:
    fill(served)
    served.breaks_after = 1_000
    done = download(REQUEST, tmp_path, base_url=served.url)
    assert done.bytes_fetched == sum(map(len, served.files.values()))
    assert [what for path, what in served.requests if path == path_of("2024-12")] == [None, "bytes=1000-"]


def test_part_of_an_interrupted_call_is_gone_on_with(served: Archive, tmp_path: Path) -> None:
    fill(served)
    data = served.files[path_of("2024-12")]
    (tmp_path / "BTCUSDT-1m-2024-12.zip.part").write_bytes(data[:500])
    done = download(REQUEST, tmp_path, base_url=served.url)
    assert ("bytes=500-") in [what for _, what in served.requests]
    assert done.files[0].read_bytes() == data
    # A whole part, too, of which the server has nothing left.
    done.files[0].rename(tmp_path / "BTCUSDT-1m-2024-12.zip.part")
    assert download(REQUEST, tmp_path, base_url=served.url).files[0].read_bytes() == data


def test_file_of_another_checksum_gets_no_name(served: Archive, tmp_path: Path) -> None:
    fill(served)
    served.sums[path_of("2025-01")] = "0" * 64
    with pytest.raises(DataError, match="came twice with another SHA-256"):
        download(REQUEST, tmp_path, base_url=served.url)
    assert [path.name for path in tmp_path.iterdir()] == ["BTCUSDT-1m-2024-12.zip"]


def test_server_that_fails_for_a_while_is_tried_again(served: Archive, tmp_path: Path) -> None:
    fill(served, ("2024-12",))
    served.fails = 2
    request = REQUEST._replace(last=date(2024, 12, 31))
    assert len(download(request, tmp_path, base_url=served.url).files) == 1
    served.fails = 100
    with pytest.raises(DataError, match="HTTP 503"):
        download(request, tmp_path, base_url=served.url)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"symbol": "btc/usdt"}, "is no symbol"),
        ({"market": "moon"}, "market"),
        ({"what": "books"}, "what"),
        ({"interval": "soon"}, "interval"),
        ({"last": date(2024, 1, 1)}, "is behind"),
    ],
)
def test_request_that_fits_no_file_is_refused(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=said):
        download(REQUEST._replace(**change), tmp_path, base_url="http://127.0.0.1:9")
    with pytest.raises(OptionError, match="is no address"):
        download(REQUEST, tmp_path, base_url="ftp://127.0.0.1")
    assert day_of("from", "2025-03") == date(2025, 3, 1)
    with pytest.raises(OptionError, match="is no day"):
        day_of("from", "March")


def test_names_of_files_follow_the_archive() -> None:
    daily = REQUEST._replace(what="aggTrades", market="usdm", period="daily", first=date(2025, 1, 31))
    assert list(daily.files()) == [
        f"data/futures/um/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2025-{day}.zip" for day in ("01-31", "02-01")
    ]


def test_command_lists_what_is_missing(served: Archive, headrace_run: Run, tmp_path: Path) -> None:
    fill(served, ("2024-12",))
    out = tmp_path / "files"
    arguments = ("download", "BTCUSDT", "--from", "2024-12", "--to", "2025-01", "--out", str(out))
    done = headrace_run(*arguments, "--base-url", served.url, "--json")
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["BTCUSDT"]["missing"] == ["BTCUSDT-1m-2025-01.zip"]
    assert "BTCUSDT-1m-2025-01.zip" in headrace_run(*arguments, "--base-url", served.url).stdout
