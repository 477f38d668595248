"""Faults: the effect of a strategy's exception, and the dead letter that is kept of it.

::

    exception ─▶ dead letter ─▶ on_fault="raise": ends the dispatch │ "quarantine": after 3 within 1,000 calls

One count for each strategy
    The calls of all its subscriptions and callbacks are counted together, and so are its faults. A restart clears them.

Guarantees: one strategy's faults do not affect another; a hostile ``__str__`` or an endless traceback does no harm.
Does not: refer to dispatchers, so that it forms no cycle with the native side that calls it.
"""

from __future__ import annotations

import logging
import traceback
import weakref
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeAlias

from headrace.dispatch.awaited_calls import AwaitedCall
from headrace.errors import StrategyFaultError
from headrace.limits import LETTER_TEXT_MAX, QUARANTINE_CALLS, QUARANTINE_FAULTS
from headrace.market.dead_letters import DeadLetter
from headrace.market.user_functions import close_unfinished

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import numpy as np

    from headrace.dispatch.awaited_calls import CauseFields, TicksFields
    from headrace.dispatch.subscription import Subscription
    from headrace.market.clock import Clock
    from headrace.market.dead_letters import DeadLetters

__all__ = ["FaultDesk", "FaultRecord", "Policy", "error_text", "safe_text", "safe_traceback"]

log = logging.getLogger(__name__)

Policy: TypeAlias = Literal["raise", "quarantine"]


class Counted(Protocol):
    """What counts its own calls."""

    @property
    def calls(self) -> int:
        """How many calls it had."""


class FaultRecord:
    """The calls and faults of one strategy: of all its subscriptions and callbacks.

    policy : of its callbacks without ticks. callbacks : how many of those were called that do not count their calls.
    """

    def __init__(self, name: str, policy: Policy) -> None:
        self.name = name
        self.policy = policy
        self.callbacks = 0
        self._counted: list[Counted] = []
        self._calls_before = 0
        # The numbers of the calls that failed last.
        self._recent: tuple[int, ...] = ()

    @property
    def calls(self) -> int:
        """How many calls it had so far."""
        return self.callbacks + self._calls_before + sum(own.calls for own in self._counted)

    def join(self, counted: Counted) -> None:
        """Count the calls of a subscription, or of a callback."""
        self._counted.append(counted)

    def leave(self, counted: Counted) -> None:
        """Keep the calls of what is closed."""
        self._counted.remove(counted)
        self._calls_before += counted.calls

    def clear(self) -> None:
        """Forget its faults, since a fresh object runs."""
        self._recent = ()

    def is_too_often(self) -> bool:
        """Count a fault; return whether there were too many within so many calls."""
        calls = self.calls
        self._recent = (*self._recent, calls)[-QUARANTINE_FAULTS:]
        is_full = len(self._recent) == QUARANTINE_FAULTS
        if is_full and calls - self._recent[0] < QUARANTINE_CALLS:
            self._recent = ()
            return True
        return False


class FailedTicks(NamedTuple):
    """The ticks of a call that failed, from native code; the first ones of a batch of ``total``."""

    instrument: str | None = None
    kind: str | None = None
    ticks: np.ndarray | None = None
    positions: list[int] = []  # noqa: RUF012 - never written
    total: int = 0

    def __str__(self) -> str:
        if self.ticks is None or not self.total:
            return "outside of a tick"
        seq, position = int(self.ticks["seq"][0]), self.positions[0]
        first = f"{self.instrument or 'no instrument'} {self.kind} seq {seq} at position {position}"
        return f"at {first}" if self.total == 1 else f"at {self.total} ticks from {first}"


class _Joined(NamedTuple):
    """A subscription: whose calls they are, what its faults do, and itself."""

    record: FaultRecord
    policy: Policy
    subscription: weakref.ref[Subscription]


class FaultDesk:
    """Judges the exceptions of strategies; native code calls ``_on_fault``, ``_on_awaitable`` and ``_on_lag``."""

    def __init__(self, default: Policy, letters: DeadLetters, clock: Clock) -> None:
        self.default: Policy = default
        self._letters = letters
        self._clock = clock
        self._joined: dict[str, _Joined] = {}
        # Closed while they were being dispatched, under a name that another subscription has now.
        self._replaced: list[_Joined] = []
        # The engine's callback when a strategy is quarantined, with its name and the reason.
        self.on_quarantine: Callable[[str, str], None] = _no_engine
        # The first error outside a dispatch that ends the run; the engine's driver raises it.
        self.raised: BaseException | None = None

    def record(self, name: str, policy: Policy | None = None) -> FaultRecord:
        """Return a new record of calls and faults. policy : None: the default."""
        return FaultRecord(name, policy or self.default)

    def add(self, subscription: Subscription, record: FaultRecord, policy: Policy | None) -> None:
        """Judge a subscription's faults by this record and policy; None: by the default."""
        record.join(subscription.membership)
        if subscription.name in self._joined:
            self._replaced.append(self._joined[subscription.name])
        self._joined[subscription.name] = _Joined(record, policy or self.default, weakref.ref(subscription))

    def remove(self, subscription: Subscription) -> None:
        """Keep nothing of a closed subscription, whose last call is over."""
        joined = self._joined.get(subscription.name)
        if joined is not None and joined.subscription() is subscription:
            del self._joined[subscription.name]
        else:
            joined = next(old for old in self._replaced if old.subscription() is subscription)
            self._replaced.remove(joined)
        joined.record.leave(subscription.membership)

    def disconnect(self) -> None:
        """Drop the callback for quarantines: native code keeps this object alive, and with it the callback."""
        self.on_quarantine = _no_engine

    def keep(self, strategy: str, handler: str, error: BaseException, ticks: TicksFields | None = None) -> FailedTicks:
        """Keep a letter of a callback that failed, and return its ticks."""
        about = FailedTicks() if ticks is None else FailedTicks(*ticks)
        letter = DeadLetter(
            kind="call",
            reason=error_text(error),
            source=strategy,
            handler=handler,
            ts_ns=self._clock.now_ns(),
            instrument=about.instrument,
            tick_kind=about.kind,
            positions=tuple(about.positions),
            ticks=about.ticks,
            ticks_total=about.total,
            traceback=safe_traceback(error),
        )
        self._letters.add(letter)
        return about

    def judge(self, record: FaultRecord, handler: str, error: BaseException) -> None:
        """Judge a fault in a callback without ticks: a timer's, an event's, or one of the life cycle."""
        where = f"in {record.name}.{handler}"
        if record.policy == "raise":
            self.raised = self.raised or _raisable(error, where, record.name, handler)
        else:
            self._quarantines(record, error, where)

    def _on_fault(
        self,
        subscription: str,
        handler: str,
        error: BaseException,
        failed: TicksFields,
    ) -> BaseException | bool | None:
        """Keep the letter and judge: None: go on; True: quarantine; an exception: end the dispatch by raising it."""
        where = f"in {subscription}.{handler}, {self.keep(subscription, handler, error, failed)}"
        joined = self._joined.get(subscription)
        if (joined.policy if joined else self.default) == "raise":
            return _raisable(error, where, subscription, handler)
        return self._quarantines(joined.record if joined else self.record(subscription), error, where) or None

    def _on_awaitable(self, subscription: str, call: tuple[int, Awaitable[object], CauseFields, TicksFields]) -> None:
        """Await what a plain handler returned. Raises TypeError where that is impossible."""
        joined = self._joined.get(subscription)
        own = None if joined is None else joined.subscription()
        if own is None or not own.is_open:
            close_unfinished(call[1])
        else:
            own.take_returned(AwaitedCall(*call))

    def _quarantines(self, record: FaultRecord, error: BaseException, where: str) -> bool:
        is_too_often = record.is_too_often()
        verdict = ": quarantined" if is_too_often else ""
        log.warning("%s %s%s", error_text(error), where, verdict)
        if is_too_often:
            self.on_quarantine(record.name, f"{QUARANTINE_FAULTS} faults within {QUARANTINE_CALLS} calls")
        return is_too_often

    def _on_lag(self, subscription: str, behind_ticks: int, behind_ns: int) -> None:
        log.warning("subscription %s lags: %d ticks, %.3f s behind", subscription, behind_ticks, behind_ns / 1e9)


def _no_engine(_strategy: str, _reason: str) -> None:
    """Do nothing: there is no engine."""


def _raisable(error: BaseException, where: str, subscription: str, handler: str) -> BaseException:
    """Return the error with its place, or an error about one that would not arrive as it is.

    A StopIteration becomes another error inside of a coroutine, a group is taken apart on its way, and what is no
    Exception would end the process.
    """
    if isinstance(error, Exception) and not isinstance(error, StopIteration | StopAsyncIteration | BaseExceptionGroup):
        _add_note(error, where)
        return error
    advice = "a strategy must not end the process; return instead" if not isinstance(error, Exception) else ""
    msg = f"{type(error).__name__} {where}: {advice or safe_text(error) or 'its cause shows the line'}"
    fault = StrategyFaultError(msg, subscription=subscription, handler=handler)
    fault.__cause__ = error
    return fault


def _add_note(error: Exception, where: str) -> None:
    try:
        BaseException.add_note(error, where)
    except KeyboardInterrupt:
        raise
    except BaseException as refusal:  # noqa: BLE001 - hostile notes must not hide the error itself
        log.warning("%s %s; its notes cannot be written (%s)", type(error).__name__, where, type(refusal).__name__)


def error_text(error: BaseException) -> str:
    """Return an exception's type and text."""
    text = safe_text(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def safe_text(error: BaseException) -> str:
    """Return the text of an exception, at most LETTER_TEXT_MAX characters."""
    try:
        return str(error)[:LETTER_TEXT_MAX]
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - a hostile __str__
        return "(its text raises, too)"


def safe_traceback(error: BaseException) -> str:
    """Return an exception's traceback as Python prints it, its last LETTER_TEXT_MAX characters."""
    try:
        # The end names the exception and its place.
        return "".join(traceback.format_exception(error))[-LETTER_TEXT_MAX:]
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - a hostile __str__, or a traceback as deep as the stack
        return f"{type(error).__name__} (its traceback cannot be printed)\n"
