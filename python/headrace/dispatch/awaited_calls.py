"""Awaited calls: the calls of async handlers, awaited one after the other in the order of their ticks.

Guarantees: a call that is not awaited is closed; a fault is judged as that of any other handler.
Does not: import asyncio before something is awaited; that import takes half of the package's import time.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeAlias

from headrace.market.events import Cause, current_cause

if TYPE_CHECKING:
    from collections.abc import Coroutine

    import headrace._native as _native

__all__ = ["AwaitedCall", "await_calls"]

# Handler number, the awaitable, and the fields of its Cause.
AwaitedCall: TypeAlias = "tuple[int, Coroutine[Any, Any, object], tuple[str | None, str, int, int, int]]"


async def await_calls(group: _native.DispatchGroup, membership: _native.Membership, calls: list[AwaitedCall]) -> None:
    """Await calls one after the other; end early when a fault ends the subscription's calls."""
    import asyncio  # see the header

    remaining = list(reversed(calls))
    try:
        while remaining:
            handler, awaitable, cause = remaining.pop()
            try:
                await _timed(membership, awaitable, Cause(*cause))
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                may_go_on = group.report_fault(handler, error)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - a strategy's sys.exit must not end the others
                may_go_on = group.report_fault(handler, error)
            else:
                continue
            if not may_go_on:
                return
    finally:
        for _, awaitable, _ in remaining:
            awaitable.close()


async def _timed(membership: _native.Membership, awaitable: Coroutine[Any, Any, object], cause: Cause) -> None:
    """Await a call; its latency is the time until it is done, other tasks' turns included."""
    before = current_cause.set(cause)
    started_ns = time.perf_counter_ns()
    try:
        await awaitable
    finally:
        current_cause.reset(before)
        membership.record_latency(time.perf_counter_ns() - started_ns)
