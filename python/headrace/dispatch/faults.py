"""Faults: the effect of a strategy's exception, and the dead letter that is kept of it.

::

    exception ─▶ dead letter ─▶ on_fault="raise": ends the dispatch │ "quarantine": after 3 within 1,000 calls

Guarantees: one strategy's faults do not affect another; a hostile ``__str__`` or an endless traceback does no harm.
Does not: refer to dispatchers, so that it forms no cycle with the native side that calls it.
"""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING, Literal, TypeAlias

from headrace.errors import StrategyFaultError
from headrace.limits import LETTER_TEXT_MAX, QUARANTINE_CALLS, QUARANTINE_FAULTS
from headrace.market.dead_letters import DeadLetter

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from headrace.market.clock import Clock
    from headrace.market.dead_letters import DeadLetters

__all__ = ["FaultDesk", "Policy", "error_text", "safe_text", "safe_traceback"]

log = logging.getLogger(__name__)

Policy: TypeAlias = Literal["raise", "quarantine"]


class FaultDesk:
    """Judges the exceptions of strategies; native code calls ``_on_fault`` and ``_on_lag``."""

    def __init__(self, default: Policy, letters: DeadLetters, clock: Clock) -> None:
        self.default = default
        self._policies: dict[str, Policy] = {}
        self._letters = letters
        self._clock = clock
        self._recent: dict[str, list[int]] = {}
        # The engine's callback when a subscription is quarantined.
        self.on_quarantine: Callable[[str, str], None] = _nobody_is_told
        # The first error outside a dispatch that ends the run; the engine's driver raises it.
        self.raised: BaseException | None = None

    def add(self, subscription: str, policy: Policy | None) -> None:
        """Judge a subscription's faults by this policy; None: by the default."""
        if policy is not None:
            self._policies[subscription] = policy

    def remove(self, subscription: str) -> None:
        """Keep nothing of a closed subscription."""
        self._policies.pop(subscription, None)
        self._recent.pop(subscription, None)

    def keep(self, strategy: str, handler: str, error: BaseException) -> None:
        """Keep a letter of a callback that failed without ticks and without an event."""
        self._letters.add(self._letter(strategy, handler, error))

    def _letter(self, source: str, handler: str, error: BaseException) -> DeadLetter:
        return DeadLetter(
            kind="call",
            reason=error_text(error),
            source=source,
            handler=handler,
            ts_ns=self._clock.now_ns(),
            traceback=safe_traceback(error),
        )

    def tell_nobody(self) -> None:
        """Drop the callback for quarantines: native code keeps this object alive, and with it the callback."""
        self.on_quarantine = _nobody_is_told

    def judge(self, strategy: str, handler: str, error: BaseException, *, calls: int) -> None:
        """Judge a fault in a callback without ticks: a timer's, or one of the life cycle."""
        verdict = self._verdict(strategy, f"in {strategy}.{handler}", handler, error, calls)
        if isinstance(verdict, BaseException):
            self.raised = self.raised or verdict

    def _on_fault(
        self,
        subscription: str,
        handler: str,
        error: BaseException,
        calls: int,
        instrument: str | None,
        tick_kind: str | None,
        ticks: np.ndarray,
        positions: list[int],
        ticks_total: int,
    ) -> BaseException | bool | None:
        """Keep the letter and judge: None: go on; True: quarantine; an exception: end the dispatch by raising it."""
        where = f"in {subscription}.{handler}, {_ticks_text(instrument, tick_kind, ticks, positions, ticks_total)}"
        letter = self._letter(subscription, handler, error)
        self._letters.add(
            letter._replace(
                instrument=instrument,
                tick_kind=tick_kind,
                positions=tuple(positions),
                ticks=ticks,
                ticks_total=ticks_total,
            )
        )
        return self._verdict(subscription, where, handler, error, calls)

    def _verdict(
        self, subscription: str, where: str, handler: str, error: BaseException, calls: int
    ) -> BaseException | bool | None:
        if self._policies.get(subscription, self.default) == "raise":
            if isinstance(error, Exception):
                _add_note(error, where)
                return error
            msg = f"{type(error).__name__} {where}: a strategy must not end the process; return instead"
            fault = StrategyFaultError(msg, subscription=subscription, handler=handler)
            fault.__cause__ = error
            return fault
        recent = self._recent.setdefault(subscription, [])
        recent.append(calls)
        del recent[:-QUARANTINE_FAULTS]
        is_too_often = len(recent) == QUARANTINE_FAULTS and calls - recent[0] < QUARANTINE_CALLS
        verdict = ": quarantined" if is_too_often else ""
        log.warning("%s %s%s", error_text(error), where, verdict)
        if is_too_often:
            recent.clear()
            self.on_quarantine(subscription, f"{QUARANTINE_FAULTS} faults within {QUARANTINE_CALLS} calls")
        return is_too_often or None

    def _on_lag(self, subscription: str, behind_ticks: int, behind_ns: int) -> None:
        log.warning("subscription %s lags: %d ticks, %.3f s behind", subscription, behind_ticks, behind_ns / 1e9)


def _nobody_is_told(_subscription: str, _reason: str) -> None:
    """Do nothing: there is no engine."""


def _ticks_text(
    instrument: str | None, tick_kind: str | None, ticks: np.ndarray, positions: list[int], total: int
) -> str:
    if not total:
        return "outside of a tick"
    first = f"{instrument or 'no instrument'} {tick_kind} seq {int(ticks['seq'][0])} at position {positions[0]}"
    return f"at {first}" if total == 1 else f"at {total} ticks from {first}"


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
