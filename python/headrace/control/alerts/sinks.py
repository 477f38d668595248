"""Sinks: where messages go: the log, a webhook, a process.

What happens when a webhook cannot be reached
    The message is tried again after 1 s, 2 s, … 60 s, for an hour; those behind it wait, in their order. An answer that
    says that it is wrong (4xx) ends the tries. What is given up is counted, and in the log.

The signature
    ``X-Headrace-Signature: v1=HEX`` is HMAC-SHA256, with the key of ``secret_file``, over
    ``X-Headrace-Timestamp``, a dot and the body. A receiver that refuses old timestamps refuses repeated requests; each
    try has a time of its own, and the same ``X-Headrace-Delivery``.

Guarantees: one sink never holds up another, or the engine; memory is bounded: of WAITING_MAX messages that wait, the
oldest is dropped and counted.
Does not: decide what is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import logging
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from headrace.control.alerts.http_post import post
from headrace.errors import ControlError

if TYPE_CHECKING:
    from headrace.control.alerts.message import AlertMessage
    from headrace.control.alerts.settings import SinkSettings

__all__ = ["Delivery", "Sink", "make_sink", "signature"]

log = logging.getLogger(__name__)

WAITING_MAX = 1_000
RETRY_FIRST_S = 1.0
RETRY_MAX_S = 60.0
GIVE_UP_S = 3_600.0
SECRET_BYTES_MIN = 16
LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.ERROR}
# Answers that ask to come again.
LATER = frozenset({408, 425, 429})
OUTPUT_SHOWN_MAX = 500


class RefusedError(Exception):
    """The receiver has refused a message for good, and says why."""


class RetryError(Exception):
    """It may be tried again. after_s : not before, where the receiver says so."""

    def __init__(self, reason: str, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.after_s = after_s


class Sink(Protocol):
    """Where a message goes."""

    async def send(self, message: AlertMessage) -> None:
        """Send a message. Raises RefusedError, and RetryError."""


class LogSink:
    """The engine's log."""

    async def send(self, message: AlertMessage) -> None:
        """Log it."""
        level = logging.INFO if message.state in ("ok", "test") else LEVELS[message.severity]
        log.log(level, "%s: %s", message.title, message.text)


class WebhookSink:
    """An HTTP POST for each message. Raises ControlError: its secret cannot be read, or is too short."""

    def __init__(self, settings: SinkSettings) -> None:
        self._settings = settings
        self._secret = None if settings.secret_file is None else _secret(settings.secret_file)

    async def send(self, message: AlertMessage) -> None:
        """Send it once."""
        settings = self._settings
        url = settings.url or settings.secret_url
        assert url is not None  # ``alert_problems`` refuses a webhook without.
        body = message.as_json() if settings.template is None else message.filled(settings.template)
        timestamp = str(int(time.time()))
        headers = {
            "Content-Type": settings.content_type,
            "X-Headrace-Delivery": message.id,
            "X-Headrace-Timestamp": timestamp,
        }
        if self._secret is not None:
            headers["X-Headrace-Signature"] = signature(self._secret, timestamp, body)
        try:
            answer = await post(url, body, headers, within_s=settings.timeout_s)
        except (OSError, TimeoutError) as error:
            reason = str(error) or f"nothing came within {settings.timeout_s:g} s"
            raise RetryError(reason) from error
        if 200 <= answer.status < 300:
            return
        said = f"the receiver answered {answer.status}"
        if answer.status >= 500 or answer.status in LATER:
            raise RetryError(said, answer.retry_after_s)
        raise RefusedError(said)


class CommandSink:
    """A process for each message."""

    def __init__(self, settings: SinkSettings) -> None:
        self._settings = settings

    async def send(self, message: AlertMessage) -> None:
        """Run it once; a failure is not tried again: it may have had its effect."""
        argv, within_s = self._settings.argv, self._settings.timeout_s
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            msg = f"{argv[0]} cannot be started: {error.strerror or error}"
            raise RefusedError(msg) from error
        try:
            async with asyncio.timeout(within_s):
                _, said = await process.communicate(message.as_json() + b"\n")
        except TimeoutError as error:
            msg = f"{argv[0]} did not end within {within_s:g} s, and was killed"
            raise RefusedError(msg) from error
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode:
            shown = said[-OUTPUT_SHOWN_MAX:].decode("utf-8", "replace").strip()
            msg = f"{argv[0]} ended with {process.returncode}: {shown}"
            raise RefusedError(msg)


class Delivery:
    """The messages of one sink, one after the other. retry_first_s : the wait before the second try."""

    def __init__(self, name: str, sink: Sink, *, retry_first_s: float = RETRY_FIRST_S) -> None:
        self.name = name
        self._sink = sink
        self._retry_first_s = retry_first_s
        self._waiting: deque[AlertMessage] = deque()
        self._arrived = asyncio.Event()
        self.counts = dict.fromkeys(("sent", "retried", "failed", "dropped"), 0)
        # Why the last try failed; empty: it did not.
        self.problem = ""

    @property
    def waiting(self) -> int:
        """How many messages wait, the one that is being sent included."""
        return len(self._waiting)

    def put(self, message: AlertMessage) -> None:
        """Send a message in its turn; one that waits already is not sent twice."""
        if any(own.id == message.id for own in self._waiting):
            return
        if len(self._waiting) >= WAITING_MAX:
            # The first one may be on its way.
            del self._waiting[1]
            self.counts["dropped"] += 1
        self._waiting.append(message)
        self._arrived.set()

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            while self._waiting:
                message = self._waiting[0]
                await self._deliver(message)
                self._waiting.popleft()
            self._arrived.clear()
            await self._arrived.wait()

    async def _deliver(self, message: AlertMessage) -> None:
        wait_s, until_s = self._retry_first_s, time.monotonic() + GIVE_UP_S
        while True:
            try:
                await self._sink.send(message)
            except RetryError as error:
                self.problem = str(error)
                if time.monotonic() > until_s:
                    break
                self.counts["retried"] += 1
                log.warning("alert sink %s: %s; it is tried again in %.3g s", self.name, error, wait_s)
                await asyncio.sleep(max(wait_s, min(error.after_s or 0.0, RETRY_MAX_S)))
                wait_s = min(2 * wait_s, RETRY_MAX_S)
            except Exception as error:
                self.problem = str(error) or type(error).__name__
                if not isinstance(error, RefusedError):
                    log.exception("alert sink %s failed", self.name)
                break
            else:
                self.counts["sent"] += 1
                self.problem = ""
                return
        self.counts["failed"] += 1
        log.error("alert sink %s: %s was not told: %s", self.name, message.title, self.problem)


def make_sink(settings: SinkSettings) -> Sink:
    """Make a sink. Raises ControlError."""
    if settings.kind == "log":
        return LogSink()
    return WebhookSink(settings) if settings.kind == "webhook" else CommandSink(settings)


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """Return the signature of a request."""
    return "v1=" + hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _secret(path: str) -> bytes:
    try:
        secret = Path(path).read_bytes().strip()
    except OSError as error:
        msg = f"the webhook's secret {path} cannot be read ({error.strerror}): make the file, or leave secret_file out"
        raise ControlError(msg) from error
    if len(secret) < SECRET_BYTES_MIN:
        msg = f"the webhook's secret {path} has {len(secret)} bytes: write a random text of {SECRET_BYTES_MIN} or more"
        raise ControlError(msg)
    return secret
