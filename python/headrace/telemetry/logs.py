"""Logs: the package's records as text or as JSON, one line per record, each with its run id.

::

    INFO   life cycle: states, services, commands          ERROR  failures, with their tracebacks
    DEBUG  every event of the bus (``follow_events``)      WARNING  what may fail soon

Guarantees: an import configures nothing; ``configure_logging`` configures the logger "headrace" alone, and a second
call replaces the first; a record that cannot be encoded is still one line of JSON.
Does not: write files or rotate them; the default stream is stderr.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, TextIO

import msgspec

from headrace.market.event_json import encode_event
from headrace.market.events import Audit, Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from headrace.bus import EventBus
    from headrace.bus.subscription import BusSubscription

__all__ = [
    "JsonFormatter",
    "LineFormatter",
    "TextFormatter",
    "configure_logging",
    "follow_events",
    "install_handler",
    "market_time",
]

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
# The attributes of every record; others come from extra=.
STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "run_id"}
# The clock of the replay that the running code belongs to.
_market_ns: ContextVar[Callable[[], int] | None] = ContextVar("headrace_market_ns", default=None)


@contextlib.contextmanager
def market_time(now_ns: Callable[[], int]) -> Iterator[None]:
    """Show a replay's time on each line that is logged inside of this, beside the wall's."""
    token = _market_ns.set(now_ns)
    try:
        yield
    finally:
        _market_ns.reset(token)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ts, level, logger, message, run_id, extra fields, and the traceback as "exception".

    In a replay also market_ts, the time of the recording.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line."""
        line: dict[str, Any] = {
            "ts": _time_text(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
            "run_id": getattr(record, "run_id", ""),
        }
        if market := _market_text():
            line["market_ts"] = market
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        for name, value in vars(record).items():
            if name not in STANDARD:
                line[f"{name}_" if name in line else name] = value
        return _encoded(line)


class TextFormatter(logging.Formatter):
    """One line of text: time, level, logger without "headrace.", run, message; a traceback below it.

    In a replay the time of the recording stands beside the run.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's text."""
        where = record.name.removeprefix("headrace.")
        run = " ".join(filter(None, (getattr(record, "run_id", ""), _market_text())))
        time = _time_text(record.created)
        text = f"{time} {record.levelname:<7} {where}{f' [{run}]' if run else ''}: {_message(record)}"
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        return text


class LineFormatter(logging.Formatter):
    """A message after a prefix, and in a replay after the time of the recording."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's text."""
        market = _market_text()
        return f"{self._prefix}{market}{' ' if market else ''}{_message(record)}"


def configure_logging(
    level: LogLevel = "INFO",
    format: Literal["text", "json"] = "text",  # noqa: A002 - the name in the configuration
    run_id: str = "",
    *,
    stream: TextIO | None = None,
) -> logging.Handler:
    """Log the package's records of ``level`` and above, and return the handler.

    run_id : set on every record that has none. stream : stderr by default. A second call replaces the first.
    """
    handler = install_handler(JsonFormatter() if format == "json" else TextFormatter(), run_id=run_id, stream=stream)
    logging.getLogger("headrace").setLevel(level)
    return handler


def install_handler(formatter: logging.Formatter, *, run_id: str = "", stream: TextIO | None = None) -> logging.Handler:
    """Add one handler to the package's logger, in place of an earlier one of this function; others stay."""
    handler = _Handler(stream)
    handler.setFormatter(formatter)
    handler.run_id = run_id
    logger = logging.getLogger("headrace")
    for known in [known for known in logger.handlers if isinstance(known, _Handler)]:
        logger.removeHandler(known)
    logger.addHandler(handler)
    logger.propagate = False
    return handler


class _Handler(logging.StreamHandler[TextIO]):
    """A handler that adds the run id to records."""

    run_id = ""

    def format(self, record: logging.LogRecord) -> str:
        if not hasattr(record, "run_id"):
            record.run_id = self.run_id
        return super().format(record)


def follow_events(bus: EventBus) -> BusSubscription | None:
    """Subscribe a log to a bus: commands at INFO, every event at DEBUG. None: the level is higher.

    The level is read once, here, so that a bus whose events are not logged has no subscriber for the log.
    """
    log = logging.getLogger("headrace.events")

    def on_event(event: Event) -> None:
        log.debug("%s %s", type(event).__name__, encode_event(event).decode())

    def on_audit(event: Event) -> None:
        assert isinstance(event, Audit)
        reason = f" ({event.reason})" if event.reason else ""
        log.info("%s: %s %s: %s%s", event.actor, event.action, event.target, event.outcome, reason)

    if log.isEnabledFor(logging.DEBUG):
        return bus.subscribe(Event, on_event, name="log")
    return bus.subscribe(Audit, on_audit, name="log") if log.isEnabledFor(logging.INFO) else None


def _time_text(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _market_text() -> str:
    """Return the time of the recording; empty outside of a replay, and before its first tick."""
    now_ns = _market_ns.get()
    return _time_text(ts_ns / 1e9) if now_ns is not None and (ts_ns := now_ns()) else ""


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001 - arguments that do not fit, or whose text raises
        return f"{record.msg!s} (its arguments cannot be shown: {type(error).__name__})"


def _encoded(line: dict[str, Any]) -> str:
    try:
        return msgspec.json.encode(line, enc_hook=_text_of).decode()
    except (TypeError, ValueError, RecursionError):
        # Surrogates, keys that are no text, or a value that contains itself: each value becomes text.
        plain = {name: _text_of(value).encode("utf-8", "backslashreplace").decode() for name, value in line.items()}
        return msgspec.json.encode(plain).decode()


def _text_of(value: object) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - a hostile __str__
        return f"({type(value).__name__}, whose text raises {type(error).__name__})"
