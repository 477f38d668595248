"""Archive: files of Binance's public archive, fetched with their checksums.

::

    {base}/data/{market}/{period}/{what}/{SYMBOL}[/{interval}]/{SYMBOL}-{…}-{date}.zip   and   ….zip.CHECKSUM

What happens when
    a file is not there (404): it is listed as missing, and the others are fetched.
    the connection breaks, or the server fails: the same file again, from where it broke, a few times with a pause.
    a call is interrupted: the next one keeps whole files whose checksum is right, and goes on with a part of one.

Guarantees: a file has its name only when its SHA-256 is that of its checksum file.
Does not: unpack: ``CandleFeed`` and ``TickFeed`` read the .zip files.
"""

from __future__ import annotations

import hashlib
import re
import time
import urllib.error
import urllib.request
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple

from headrace.errors import DataError, OptionError
from headrace.market.checks import one_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from http.client import HTTPResponse
    from pathlib import Path

__all__ = ["BASE_URL", "MARKETS", "PERIODS", "WHATS", "ArchiveRequest", "Fetched", "day_of", "download"]

BASE_URL = "https://data.binance.vision"
MARKETS = {"spot": "spot", "usdm": "futures/um", "coinm": "futures/cm"}
WHATS = ("klines", "aggTrades", "trades", "bookTicker")
PERIODS = ("monthly", "daily")
READ_BYTES = 1 << 18
TIMEOUT_S = 30.0
ATTEMPTS = 4
PAUSE_S = 0.5


class ArchiveRequest(NamedTuple):
    """What to fetch. market : "spot", "usdm" or "coinm". what : of WHATS; klines have an interval.

    first, last : the first and last day, or month, of which a file is fetched.
    """

    symbol: str
    what: str
    first: date
    last: date
    market: str = "spot"
    interval: str = "1m"
    period: Literal["monthly", "daily"] = "monthly"

    def checked(self) -> ArchiveRequest:
        """Return it, if such files exist. Raises OptionError."""
        one_of("market", self.market, MARKETS)
        one_of("what", self.what, WHATS)
        one_of("period", self.period, PERIODS)
        if not re.fullmatch(r"[A-Z0-9_]{2,40}", self.symbol):
            msg = f"symbol={self.symbol!r} is no symbol: write it as the venue does, like BTCUSDT"
            raise OptionError(msg, option="symbol")
        if not re.fullmatch(r"[0-9]{1,2}(s|m|h|d|w|mo)", self.interval):
            msg = f"interval={self.interval!r} is no interval: write 1m, 1h, 1d"
            raise OptionError(msg, option="interval")
        if self.last < self.first:
            msg = f"from={self.first} is behind to={self.last}: exchange them"
            raise OptionError(msg, option="from")
        return self

    def files(self) -> Iterator[str]:
        """Yield the paths of the files below the base URL."""
        kind = f"{self.what}/{self.symbol}" + (f"/{self.interval}" if self.what == "klines" else "")
        name = f"{self.symbol}-{self.interval if self.what == 'klines' else self.what}"
        for stamp in self._stamps():
            yield f"data/{MARKETS[self.market]}/{self.period}/{kind}/{name}-{stamp}.zip"

    def _stamps(self) -> Iterator[str]:
        day = self.first.replace(day=1) if self.period == "monthly" else self.first
        while day <= self.last:
            yield day.strftime("%Y-%m" if self.period == "monthly" else "%Y-%m-%d")
            day = (day + timedelta(days=32)).replace(day=1) if self.period == "monthly" else day + timedelta(days=1)


class Fetched(NamedTuple):
    """What came of a request. files : whole, in order. kept : of them, those that were there. missing : not there."""

    files: list[Path]
    kept: int
    missing: list[str]
    bytes_fetched: int


def download(
    request: ArchiveRequest,
    folder: Path,
    *,
    base_url: str = BASE_URL,
    progress: Callable[[int, int, str], object] = lambda _done, _total, _note: None,
) -> Fetched:
    """Fetch files of the archive into a folder.

    progress : called with files done, files in all, and a note.
    Raises OptionError; DataError: a checksum that is wrong twice, or a server that goes on failing.
    """
    names = list(request.checked().files())
    folder.mkdir(parents=True, exist_ok=True)
    files, missing, kept, fetched = [], [], 0, 0
    for number, name in enumerate(names):
        path = folder / name.rpartition("/")[2]
        progress(number, len(names), path.name)
        url = f"{base_url.rstrip('/')}/{name}"
        checksum = _checksum(url)
        if checksum is None:
            missing.append(path.name)
            continue
        if path.is_file() and _sha256(path) == checksum:
            kept += 1
        else:
            fetched += _fetch(url, path, checksum, _note_of(progress, number, len(names), path.name))
        files.append(path)
    progress(len(names), len(names), "")
    return Fetched(files, kept, missing, fetched)


def _note_of(progress: Callable[[int, int, str], object], done: int, total: int, name: str) -> Callable[[int], object]:
    return lambda size: progress(done, total, f"{name} {size >> 20:,} MiB")


def _checksum(url: str) -> str | None:
    """Return the SHA-256 that a file must have; None: there is no such file."""
    with _opened(f"{url}.CHECKSUM") as answer:
        if answer is None:
            return None
        text = answer.read(4096).decode("ascii", "replace")
    found = re.match(r"\s*([0-9a-fA-F]{64})\b", text)
    if found is None:
        raise _refused(url, f"has a checksum file that holds no SHA-256: {text[:80]!r}")
    return found[1].lower()


def _fetch(url: str, path: Path, checksum: str, told: Callable[[int], object]) -> int:
    """Fetch a file, going on with a part of it; return the bytes that came. Raises DataError."""
    part = path.with_name(f"{path.name}.part")
    came = 0
    for attempt in (1, 2):
        came += _fetch_part(url, part, told)
        if _sha256(part) == checksum:
            part.replace(path)
            return came
        part.unlink()
        if attempt == 2:
            raise _refused(url, "came twice with another SHA-256 than its checksum file says: try later")
    return came


def _fetch_part(url: str, part: Path, told: Callable[[int], object]) -> int:
    """Bring a part up to the whole, from where it ends; a connection that breaks is opened again."""
    came = failures = 0
    while True:
        begin = part.stat().st_size if part.is_file() else 0
        try:
            with _opened(url, begin) as answer:
                if answer is None:
                    raise _refused(url, "has a checksum file and is not there itself: try later")
                # 206: from there on; 200: the server gives the whole file.
                with part.open("ab" if answer.status == 206 else "wb") as out:
                    length = answer.headers.get("Content-Length")
                    left = None if length is None else int(length)
                    while data := answer.read(READ_BYTES):
                        out.write(data)
                        came += len(data)
                        left = None if left is None else left - len(data)
                        told(out.tell())
            if not left:
                return came
            failures += 1
        except (TimeoutError, ConnectionError):
            failures += 1
        if failures >= ATTEMPTS:
            raise _refused(url, f"broke off {failures} times: the same call goes on with it later")
        time.sleep(PAUSE_S * 2**failures)


class _opened:  # noqa: N801 - used like a function
    """A request; what is not there is None. Raises DataError when the server goes on failing."""

    def __init__(self, url: str, begin: int = 0) -> None:
        self._url = url
        self._begin = begin
        self._answer: HTTPResponse | None = None

    def __enter__(self) -> HTTPResponse | None:
        if not self._url.startswith(("http://", "https://")):
            msg = f"base_url={self._url!r} is no address: begin it with https://"
            raise OptionError(msg, option="base_url")
        request = urllib.request.Request(self._url)  # noqa: S310 - http alone, see above
        if self._begin:
            request.add_header("Range", f"bytes={self._begin}-")
        problem = ""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._answer = urllib.request.urlopen(request, timeout=TIMEOUT_S)  # noqa: S310 - as above
            except urllib.error.HTTPError as error:
                error.close()
                if error.code in (404, 403):
                    return None
                if error.code == 416:
                    return self._without_range()
                problem = f"HTTP {error.code} {error.reason}"
            except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
                problem = str(getattr(error, "reason", error))
            else:
                return self._answer
            if attempt < ATTEMPTS:
                time.sleep(PAUSE_S * 2**attempt)
        raise _refused(self._url, f"cannot be fetched: {problem}")

    def _without_range(self) -> HTTPResponse | None:
        self._begin = 0
        return self.__enter__()

    def __exit__(self, *_: object) -> None:
        if self._answer is not None:
            self._answer.close()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(READ_BYTES):
            digest.update(data)
    return digest.hexdigest()


def _refused(url: str, what: str) -> DataError:
    return DataError(f"{url} {what}", path=url, row=0, column="")


def day_of(option: str, text: str) -> date:
    """Return a day, "2025-01-31", or the first of a month, "2025-01". Raises OptionError."""
    for form in ("%Y-%m-%d", "%Y-%m"):
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC).date()
        except ValueError:
            continue
    msg = f"{option}={text!r} is no day: write 2025-01-31, or 2025-01"
    raise OptionError(msg, option=option)
