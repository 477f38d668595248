"""Runner: one strategy in an engine and its life cycle.

::

    commands, faults ─▶ start · pause · resume · quarantine · stop · restart ─▶ LifeCycle ─▶ StrategyStateChanged
                                                    └▶ Instance (its object) · Callbacks · Deliveries (its events)

What runs when
    paused: no tick handler, bar or signal; fills and order events are delivered, due timers wait for the resume.
    quarantined, stopped: nothing of it runs; its orders are cancelled, its position goes on being accounted.

Guarantees: the state changes only along the table of ``states``; what a callback raises stays its own.
Does not: judge orders (``risk``) or keep positions.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from contextlib import nullcontext
from typing import TYPE_CHECKING, Unpack

from headrace.dispatch.faults import error_text
from headrace.errors import HeadraceError, OptionError, SubscriptionError
from headrace.market.events import StrategyStateChanged
from headrace.market.user_errors import is_requested
from headrace.strategies.callbacks import CallbackError, Callbacks
from headrace.strategies.context import ContextParts, StrategyContext
from headrace.strategies.deliveries import EVENTS, Deliveries
from headrace.strategies.instance import Instance
from headrace.strategies.own_log import log_of, writes
from headrace.strategies.past_ticks import PastTicks
from headrace.strategies.states import LifeCycle, StrategyState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from headrace.dispatch.awaited_calls import AwaitedCalls
    from headrace.dispatch.options import TuneOptions
    from headrace.dispatch.subscription import Subscription
    from headrace.dispatch.subscription_stats import SubscriptionStats
    from headrace.strategies.spec import StrategySpec
    from headrace.strategies.strategy import Strategy

__all__ = ["StrategyRunner"]


class StrategyRunner:
    """Runs one strategy."""

    def __init__(self, spec: StrategySpec, name: str, parts: ContextParts) -> None:
        self.name = name
        self.spec = spec
        self.life = LifeCycle(name)
        self._past_ticks = PastTicks(name)
        self._parts = parts
        self._instance: Instance | None = None
        self._generation = 0
        faults = parts.dispatcher.faults
        self._record = faults.record(name, spec.subscription.get("on_fault"))
        self._callbacks = Callbacks(self.life, faults, self._record)
        # Of its objects' event callbacks; most strategies of a large run have none.
        self._deliveries: Deliveries | None = None

    @property
    def state(self) -> StrategyState:
        """Where it is in its life."""
        return self.life.state

    @property
    def calls(self) -> int:
        """How many calls it had, of all its objects."""
        return self._record.calls

    @property
    def strategy(self) -> Strategy | Callable[..., object] | None:
        """The object or function that runs; None before the first start."""
        return None if self._instance is None else self._instance.strategy

    @property
    def skipped(self) -> Mapping[str, int]:
        """How many events were skipped in a state without deliveries, by callback; they are not delivered later."""
        return {} if self._deliveries is None else self._deliveries.skipped

    @property
    def subscriptions(self) -> Sequence[Subscription]:
        """Its open subscriptions to ticks."""
        return () if self._instance is None else self._instance.context.subscriptions

    def tick_stats(self) -> list[SubscriptionStats]:
        """Return the statistics of its subscriptions; of those that it dropped, their sum."""
        return [*(own.stats() for own in self.subscriptions), *self._past_ticks]

    async def _close(self, subscriptions: Iterable[Subscription]) -> None:
        """Close subscriptions; a thread of its own may take seconds to end, in which the others go on."""
        for subscription in subscriptions:
            if not subscription.awaited.is_at_rest:
                await subscription.awaited.finish()
            if subscription.options.mode == "thread":
                await asyncio.to_thread(subscription.close)
            else:
                subscription.close()
            self._past_ticks.add_stopped(subscription.stats())

    def prepare(self) -> None:
        """Make the object and check its handlers and options; a failure of its constructor is its own.

        Raises SubscriptionError and OptionError: the engine must not begin.
        """
        self._move("start", "")
        self._past_ticks.begin_anew()
        self._record.clear()
        try:
            self._make().check()
        except (SubscriptionError, OptionError):
            # Wrong however often it is tried.
            self.fail("its handlers or options are wrong")
            raise
        except BaseException as error:
            self.fail(error_text(error))
            if is_requested(error):
                raise
            self._callbacks.fail("__init__", error)

    def _make(self) -> Instance:
        """Make the object; another one that was made before can do nothing more."""
        strategy = self.spec.first() if self._generation == 0 else self.spec.fresh()
        self._generation += 1
        if self._instance is not None:
            self._instance.context.retire()
        context = StrategyContext(
            self.name,
            strategy,
            self._parts,
            generation=self._generation,
            record=self._record,
            callbacks=self._callbacks,
            past_ticks=self._past_ticks,
        )
        self._record.policy = self.spec.options_of(strategy).get("on_fault") or self._parts.dispatcher.faults.default
        self._instance = Instance(strategy, self.spec, context, self._parts)
        self._callbacks.known = self._instance.callbacks
        return self._instance

    async def begin(self, *, load: object = None) -> None:
        """Load its state and call ``on_start``. A failure is its own: its state is FAILED."""
        if self.life.state is not StrategyState.STARTING:
            return
        try:
            self._parts.orders.set_permission(self.name, "all")
            if load is not None:
                await self._callbacks.call("on_load", load)
            await self._callbacks.call("on_start")
        except CallbackError as failure:
            error = failure.raised
            self.fail(error_text(error))
            if isinstance(error, SubscriptionError):
                # It subscribed what cannot be bound: the engine must not begin.
                raise error from None
            self._callbacks.fail(failure.callback, error)
        except BaseException:
            self.fail("its start was cancelled")
            raise

    def join(self, kept: Subscription | None = None) -> None:
        """Subscribe it, or give it the subscription of the object before it; from here on it runs.

        Raises SubscriptionError and OptionError, which are the engine's business.
        """
        if self.life.state is not StrategyState.STARTING:
            return
        assert self._instance is not None
        try:
            self._instance.join(kept)
            self._open_deliveries(self._instance)
        except Exception as error:
            self.fail(str(error))
            raise
        self._move("started", "")

    def _open_deliveries(self, instance: Instance) -> None:
        if EVENTS.keys().isdisjoint(instance.callbacks):
            return
        if self._deliveries is None:
            parts, judge = self._parts, self._callbacks.judge
            self._deliveries = Deliveries(
                self.life, parts.bus, self._record, is_refused=parts.orders.is_refused, judge=judge
            )
        self._deliveries.open(self.name, instance.callbacks, instance.bars)

    async def pause(self, reason: str) -> None:
        """Stop its ticks; orders that add exposure are refused from now on."""
        self._move("pause", reason)
        for subscription in self.subscriptions:
            subscription.pause()
        self._parts.orders.set_permission(self.name, "reduce")
        await self._callbacks.call_isolated("on_pause")

    async def resume(self, reason: str) -> None:
        """Go on: gaps are told, newest quotes given, and timers fire that were due meanwhile."""
        self._move("resume", reason)
        self._parts.orders.set_permission(self.name, "all")
        try:
            await self._callbacks.call_isolated("on_resume")
        finally:
            # It may have gone into quarantine, or the engine may have ended, while that was awaited.
            if self.state is StrategyState.RUNNING:
                self._callbacks.fire_held()
                for subscription in self.subscriptions:
                    subscription.resume()

    def quarantine(self, reason: str) -> None:
        """End its calls; its orders are cancelled unless they are to be kept."""
        if not self.life.allows("quarantine"):
            return
        self._move("quarantine", reason)
        for subscription in self.subscriptions:
            subscription.pause()
        self._parts.orders.set_permission(self.name, "none")
        if self.spec.on_quarantine == "cancel":
            self._cancel_orders("its strategy is in quarantine")

    async def stop(self, reason: str, *, within_s: float | None = None) -> None:
        """Call ``on_stop``, cancel its orders and let go of everything.

        within_s : how long an async ``on_stop`` may take; longer is its fault, and it is cancelled.
        """
        await self._close(await self._end(reason, within_s))

    async def restart(self, reason: str) -> None:
        """Stop it and start a fresh one, with what the old one saved and its ticks from now on, the gap told.

        One in quarantine is not asked to save: its callbacks no longer run. One that is not alive is just started,
        without, and its log says so.
        """
        saved: object = None
        if self.state in (StrategyState.RUNNING, StrategyState.PAUSED):
            await self._come_to_rest()
            try:
                saved = await self._callbacks.call("on_save")
            except CallbackError as failure:
                # It starts without, and its letter says why.
                self._callbacks.fail("on_save", failure.raised)
        elif "on_save" in self._callbacks.known:
            log = log_of(self.name)
            log.warning("%s is %s and saves nothing: it starts without what it knew", self.name, self.state)
        with nullcontext() if self._instance is None else self._instance.bars_go_on():
            await self._start_over(reason, saved)

    async def _start_over(self, reason: str, saved: object) -> None:
        ticks_of = await self._end(reason) if self.life.allows("stop") else []
        # What it subscribed to itself, its ``on_start`` does again.
        first = None if self._instance is None else self._instance.ticks
        kept = first if first in ticks_of else None
        try:
            await self._close(subscription for subscription in ticks_of if subscription is not kept)
            self.prepare()
            await self.begin(load=saved)
            self.join(kept)
        except HeadraceError as error:
            self._callbacks.fail("on_start", error)
        finally:
            if kept is not None and self.state is not StrategyState.RUNNING:
                await self._close([kept])

    def tune(self, **changes: Unpack[TuneOptions]) -> bool:
        """Change how its ticks come; False: they come so already. Raises OptionError, and then changes nothing."""
        for subscription in self.subscriptions:
            subscription.options.changed(**changes)
        changed = [subscription.tune(**changes) for subscription in self.subscriptions]
        return any(changed)

    def warn_of_unmatched(self, problem_of: Callable[[str], str]) -> None:
        """Log each pattern of its subscriptions and bars that has a problem."""
        if self._instance is not None:
            self._instance.warn_of_unmatched(problem_of)

    @property
    def async_callbacks(self) -> list[str]:
        """Names of its event callbacks that are awaited in tasks of their own."""
        return sorted(name for name, callback in self._callbacks.known.items() if inspect.iscoroutinefunction(callback))

    async def _end(self, reason: str, within_s: float | None = None) -> list[Subscription]:
        """Stop it, and return its subscriptions to ticks, paused. However ``on_stop`` ends: it is stopped."""
        runs = self.life.state in (StrategyState.RUNNING, StrategyState.PAUSED)
        self._move("stop", reason)
        if self.life.state is StrategyState.STOPPED:
            return []
        self._parts.orders.set_permission(self.name, "reduce")
        try:
            await self._come_to_rest()
            failure = await self._callbacks.call_isolated("on_stop", within_s) if runs else None
        except BaseException:
            await self._close(self._let_go(reason))
            raise
        return self._let_go(reason, failure)

    async def _come_to_rest(self) -> None:
        """Stop its ticks, and wait for its calls that are being awaited; those that take too long are cancelled."""
        ticks_of = self.subscriptions
        for subscription in ticks_of:
            subscription.pause()
        # Without a call the loop gets no turn: what is not awaited is repeated exactly.
        busy: list[Deliveries | AwaitedCalls] = [own.awaited for own in ticks_of if not own.awaited.is_at_rest]
        if self._deliveries is not None and not self._deliveries.is_at_rest:
            busy.insert(0, self._deliveries)
        if busy:
            await asyncio.gather(*(own.finish() for own in busy))

    def _let_go(self, reason: str, failure: BaseException | None = None) -> list[Subscription]:
        ticks_of = self._give_back()
        self._parts.orders.set_permission(self.name, "none")
        self._cancel_orders("its strategy was stopped")
        if failure is None:
            self._move("stopped", reason)
        else:
            self._move("fail", f"on_stop: {error_text(failure)}")
        return ticks_of

    def _cancel_orders(self, reason: str) -> None:
        """Cancel its open orders; a broker that fails at that must not keep it from ending."""
        try:
            self._parts.orders.cancel_all(strategy=self.name, reason=reason)
        except Exception:
            log = log_of(self.name)
            log.exception("%s: not every order could be cancelled; its report names those open", self.name)

    def fail(self, reason: str) -> None:
        """End it as FAILED: its subscriptions close, and it starts no further."""
        for subscription in self._give_back():
            subscription.close()
            self._past_ticks.add_stopped(subscription.stats())
        self._parts.orders.set_permission(self.name, "none")
        self._move("fail", reason)

    def _move(self, verb: str, reason: str) -> None:
        before, after = self.life.move(verb, reason)
        if writes(self.name, logging.INFO):
            log_of(self.name).info("%s: %s -> %s%s", self.name, before, after, f" ({reason})" if reason else "")
        self._parts.publish(
            StrategyStateChanged(
                source="engine",
                ts=self._parts.clock.now_ns(),
                run_id=self._parts.run_id,
                strategy=self.name,
                before=str(before),
                after=str(after),
                reason=reason,
                version=self.life.version,
            )
        )

    def _give_back(self) -> list[Subscription]:
        """Leave events, timers and bars; return the subscriptions to ticks."""
        if self._deliveries is not None:
            self._deliveries.close()
        self._callbacks.forget_held()
        return [] if self._instance is None else self._instance.leave()
