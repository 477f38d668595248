"""Runner: one strategy in an engine: its life cycle, its callbacks, and what the engine lends it.

::

    commands, faults ─▶ start · pause · resume · quarantine · stop · restart ─▶ LifeCycle ─▶ StrategyStateChanged
    bus ─▶ on_bar · on_signal · on_order · on_fill        clock ─▶ on_timer        dispatcher ─▶ tick handlers

What runs when
    paused: no tick handler, bar or signal; fills and order events are delivered, due timers wait for the resume.
    quarantined, stopped: nothing of it runs; its orders are cancelled, its position goes on being accounted.

Guarantees: the state changes only along the table of ``lifecycle``; what a callback raises stays its own.
Does not: judge orders (``risk``) or keep positions.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from headrace.dispatch.faults import error_text
from headrace.dispatch.signature import has_tick_handlers, life_cycle_of
from headrace.dispatch.subscription_stats import sum_of_stats
from headrace.errors import HeadraceError, OptionError, SubscriptionError
from headrace.market.bars import BarSpec
from headrace.market.events import StrategyStateChanged
from headrace.strategies.context import ContextParts, StrategyContext
from headrace.strategies.deliveries import Deliveries, is_ours
from headrace.strategies.spec import StrategySpec, bar_specs
from headrace.strategies.states import LifeCycle, StrategyState
from headrace.strategies.strategy import Strategy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from headrace.dispatch.subscription import Subscription
    from headrace.dispatch.subscription_stats import SubscriptionStats
    from headrace.strategies.timers import Timer

__all__ = ["StrategyRunner"]


class StrategyRunner:
    """Runs one strategy."""

    def __init__(self, spec: StrategySpec, name: str, parts: ContextParts) -> None:
        self.name = name
        self.spec = spec
        self.life = LifeCycle(name)
        # Of subscriptions that it dropped, their sum; of those that were open when it was stopped, each.
        self._dropped_ticks: SubscriptionStats | None = None
        self._stopped_ticks: list[SubscriptionStats] = []
        self.log = logging.getLogger(f"headrace.strategies.strategy.{name}")
        self._parts = parts
        self._strategy: Strategy | Callable[..., object] | None = None
        self._context: StrategyContext | None = None
        # Its own subscription, which a restart hands on; it may have made more.
        self._ticks: Subscription | None = None
        self._callbacks: dict[str, Callable[..., Any]] = {}
        self._bar_specs: list[BarSpec] = []
        self._held_timers: dict[str, Timer] = {}
        # Timers that fire for nobody, each told once.
        self._unheard: set[str] = set()
        self._generation = 0
        self._deliveries = Deliveries(
            self.life,
            parts.bus,
            is_refused=parts.orders.is_refused,
            judge=lambda callback, error: self._judge(callback, error, has_letter=True),
        )

    # Its life

    @property
    def state(self) -> StrategyState:
        """Where it is in its life."""
        return self.life.state

    @property
    def strategy(self) -> Strategy | Callable[..., object] | None:
        """The object or function that runs; None before the first start."""
        return self._strategy

    @property
    def skipped(self) -> Mapping[str, int]:
        """How many events were skipped in a state without deliveries, by callback; they are not delivered later."""
        return self._deliveries.skipped

    @property
    def subscriptions(self) -> Sequence[Subscription]:
        """Its open subscriptions to ticks."""
        return self._context.subscriptions if self._context else ()

    def tick_stats(self) -> list[SubscriptionStats]:
        """Return the statistics of its subscriptions; of those that it dropped, their sum."""
        dropped = [] if self._dropped_ticks is None else [self._dropped_ticks]
        return [*(own.stats() for own in self.subscriptions), *self._stopped_ticks, *dropped]

    def _add_dropped(self, stats: SubscriptionStats) -> None:
        before = [] if self._dropped_ticks is None else [self._dropped_ticks]
        self._dropped_ticks = sum_of_stats(f"{self.name} (dropped)", [*before, stats])

    async def _close(self, subscriptions: Iterable[Subscription]) -> None:
        """Close subscriptions; a thread of its own may take seconds to end, in which the others go on."""
        for subscription in subscriptions:
            if subscription.options.mode == "thread":
                await asyncio.to_thread(subscription.close)
            else:
                subscription.close()
            self._stopped_ticks.append(subscription.stats())

    def prepare(self) -> None:
        """Make the object and check its handlers and options; a failure of its constructor is its own.

        Raises SubscriptionError and OptionError: the engine must not begin.
        """
        self._move("start", "")
        for stats in self._stopped_ticks:
            self._add_dropped(stats)
        self._stopped_ticks = []
        try:
            self._strategy = self.spec.first() if self._generation == 0 else self.spec.fresh()
            self._generation += 1
            if self._context is not None:
                self._context.retire()
            self._context = StrategyContext(
                self.name,
                self._strategy,
                self._parts,
                generation=self._generation,
                on_timer=self._on_timer,
                on_dropped=self._add_dropped,
            )
            if isinstance(self._strategy, Strategy):
                self._strategy._context = self._context  # noqa: SLF001 - lent by its engine
                self._callbacks = life_cycle_of(self._strategy)
            self._check_options()
        except (SubscriptionError, OptionError):
            # Wrong however often it is tried.
            self._fail("its handlers or options are wrong")
            raise
        except BaseException as error:
            self._fail(error_text(error))
            if is_ours(error):
                raise
            self._judge("__init__", error)

    async def begin(self, *, load: object = None) -> None:
        """Load its state and call ``on_start``. A failure is its own: its state is FAILED."""
        if self.state is not StrategyState.STARTING:
            return
        try:
            self._parts.orders.set_permission(self.name, "all")
            if load is not None:
                await self._call_life("on_load", load)
            await self._call_life("on_start")
        except SubscriptionError:
            self._fail("it subscribed what cannot be bound")
            raise
        except BaseException as error:
            self._fail(error_text(error))
            if is_ours(error):
                raise
            self._judge("on_start", error)

    def join(self, ticks_of: Sequence[Subscription] = ()) -> None:
        """Subscribe it, or give it the subscriptions of the object before it; from here on it runs.

        Raises SubscriptionError and OptionError, which are the engine's business.
        """
        if self.state is not StrategyState.STARTING:
            return
        try:
            self._subscribe_all(ticks_of)
        except Exception as error:
            self._fail(str(error))
            raise
        self._move("started", "")

    async def pause(self, reason: str) -> None:
        """Stop its ticks; orders that add exposure are refused from now on."""
        self._move("pause", reason)
        for subscription in self.subscriptions:
            subscription.pause()
        self._parts.orders.set_permission(self.name, "reduce")
        await self._call_isolated("on_pause")

    async def resume(self, reason: str) -> None:
        """Go on: gaps are told, newest quotes given, and timers fire that were due meanwhile."""
        self._move("resume", reason)
        self._parts.orders.set_permission(self.name, "all")
        try:
            await self._call_isolated("on_resume")
        finally:
            # It may have gone into quarantine, or the engine may have ended, while that was awaited.
            if self.state is StrategyState.RUNNING:
                held, self._held_timers = self._held_timers, {}
                for timer in sorted(held.values(), key=lambda timer: timer.due_ns):
                    self._on_timer(timer)
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
            try:
                saved = await self._call_life("on_save")
            except BaseException as error:
                if is_ours(error):
                    raise
                # It starts without, and its letter says why.
                self._judge("on_save", error)
        elif "on_save" in self._callbacks:
            self.log.warning("%s is %s and saves nothing: it starts without what it knew", self.name, self.state)
        ticks_of = await self._end(reason) if self.life.allows("stop") else []
        # What it subscribed to itself, its ``on_start`` does again.
        kept = [subscription for subscription in ticks_of if subscription is self._ticks]
        try:
            await self._close([subscription for subscription in ticks_of if subscription is not self._ticks])
            self.prepare()
            await self.begin(load=saved)
            self.join(kept)
        except HeadraceError as error:
            self._judge("on_start", error)
        finally:
            if self.state is not StrategyState.RUNNING:
                await self._close(kept)

    def give_up(self, reason: str) -> None:
        """Start it no further: it never ran."""
        self._fail(reason)

    def tune(self, changes: Mapping[str, Any]) -> bool:
        """Change how its ticks come; False: they come so already. Raises OptionError, and then changes nothing."""
        for subscription in self.subscriptions:
            subscription.options.changed(**changes)
        changed = [self._parts.dispatcher.tune(own, **changes) for own in self.subscriptions]
        return any(changed)

    @property
    def async_callbacks(self) -> list[str]:
        """Names of its event callbacks that are awaited in tasks of their own."""
        return sorted(name for name, callback in self._callbacks.items() if inspect.iscoroutinefunction(callback))

    def cannot_restart(self) -> str:
        """Return why it cannot be made again; empty when it can."""
        if self.spec.can_restart:
            return ""
        return (
            f"{self.name} was passed as an object, which cannot be made again: pass its class and parameters, or "
            f"factory= in a StrategySpec"
        )

    async def _end(self, reason: str, within_s: float | None = None) -> list[Subscription]:
        """Stop it, and return its subscriptions to ticks, paused. However ``on_stop`` ends: it is stopped."""
        runs = self.state in (StrategyState.RUNNING, StrategyState.PAUSED)
        self._move("stop", reason)
        if self.state is StrategyState.STOPPED:
            return []
        for subscription in self.subscriptions:
            subscription.pause()
        self._parts.orders.set_permission(self.name, "reduce")
        try:
            if runs:
                await self._call_isolated("on_stop", within_s)
        except BaseException:
            await self._close(self._let_go(reason))
            raise
        return self._let_go(reason)

    def _let_go(self, reason: str) -> list[Subscription]:
        ticks_of = self._give_back()
        self._parts.orders.set_permission(self.name, "none")
        self._cancel_orders("its strategy was stopped")
        self._move("stopped", reason)
        return ticks_of

    def _cancel_orders(self, reason: str) -> None:
        """Cancel its open orders; a broker that fails at that must not keep it from ending."""
        try:
            self._parts.orders.cancel_all(strategy=self.name, reason=reason)
        except Exception:
            self.log.exception("%s: not every order could be cancelled; its report names those open", self.name)

    def _fail(self, reason: str) -> None:
        for subscription in self._give_back():
            subscription.close()
            self._stopped_ticks.append(subscription.stats())
        self._parts.orders.set_permission(self.name, "none")
        self._move("fail", reason)

    def _move(self, verb: str, reason: str) -> None:
        before, after = self.life.move(verb, reason)
        self.log.info("%s: %s -> %s%s", self.name, before, after, f" ({reason})" if reason else "")
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

    @property
    def _options(self) -> dict[str, Any]:
        declared = self._strategy.subscription if isinstance(self._strategy, Strategy) else {}
        return {**declared, **self.spec.subscription}

    @property
    def _takes_ticks(self) -> bool:
        return not isinstance(self._strategy, Strategy) or has_tick_handlers(self._strategy)

    @property
    def _wanted_bars(self) -> Sequence[object]:
        declared = self._strategy.bars if isinstance(self._strategy, Strategy) else ()
        return declared if self.spec.bars is None else self.spec.bars

    def _check_options(self) -> None:
        options = self._options
        if self._takes_ticks:
            assert self._strategy is not None
            checked, _ = self._parts.dispatcher.check(self._strategy, callback=self.spec.callback, **options)
            self._parts.names.declare(checked.instruments)
        bar_specs(self._wanted_bars, options.get("instruments", "*"))

    def _subscribe_all(self, ticks_of: Sequence[Subscription]) -> None:
        strategy, context = self._strategy, self._context
        assert strategy is not None
        assert context is not None
        options, wanted = self._options, self._wanted_bars
        if ticks_of:
            for subscription in ticks_of:
                self._parts.dispatcher.rebind(subscription, strategy, callback=self.spec.callback)
                context.subscriptions.append(subscription)
                subscription.resume()
        elif self._takes_ticks:
            self._ticks = context.subscribe(options, callback=self.spec.callback)
        if ("on_bar" in self._callbacks) != bool(wanted):
            lacks, has = ("on_bar", "bars") if wanted else ("bars", "on_bar")
            self.log.warning("%s has %s and no %s: no bar will reach it", self.name, has, lacks)
        if "on_bar" in self._callbacks:
            for spec in bar_specs(wanted, options.get("instruments", "*")):
                self._parts.bars.add(spec)
                self._bar_specs.append(spec)
        self._deliveries.open(self.name, self._callbacks, self._bar_specs)

    def _give_back(self) -> list[Subscription]:
        """Let go of events, timers and bars; return the subscriptions to ticks."""
        self._deliveries.close()
        self._held_timers = {}
        for spec in self._bar_specs:
            self._parts.bars.remove(spec)
        self._bar_specs = []
        return self._context.hand_over() if self._context is not None else []

    # Its callbacks

    def _on_timer(self, timer: Timer) -> None:
        if self.state is StrategyState.RUNNING:
            callback = self._callbacks.get("on_timer")
            if callback is None:
                if timer.name not in self._unheard:
                    self._unheard.add(timer.name)
                    self.log.warning("timer %r fires, and %s has no on_timer", timer.name, self.name)
                return
            self._deliveries.calls += 1
            try:
                callback(timer)
            except BaseException as error:
                if is_ours(error):
                    raise
                self._judge("on_timer", error)
        elif self.state is StrategyState.PAUSED:
            held = self._held_timers.get(timer.name)
            missed = timer.missed + (held.missed + 1 if held else 0)
            self._held_timers[timer.name] = timer._replace(missed=missed)

    async def _call_life(self, name: str, *arguments: Any) -> Any:
        callback = self._callbacks.get(name)
        if callback is None:
            return None
        self._deliveries.calls += 1
        result = callback(*arguments)
        return await result if inspect.isawaitable(result) else result

    async def _call_isolated(self, name: str, within_s: float | None = None) -> None:
        try:
            async with asyncio.timeout(within_s):
                await self._call_life(name)
        except BaseException as error:
            if is_ours(error):
                raise
            self._judge(name, error)

    def _judge(self, name: str, error: BaseException, *, has_letter: bool = False) -> None:
        """Have a failed callback judged like a failed tick handler."""
        faults = self._parts.dispatcher.faults
        if not has_letter:
            faults.keep(self.name, name, error)
        faults.judge(self.name, name, error, calls=self._deliveries.calls)
