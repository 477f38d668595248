"""Instance: one object of a strategy in an engine, with its subscriptions, from its making until it is stopped.

::

    spec ─▶ object ─▶ check ─▶ join: ticks, bars, events ─▶ leave: a restart passes its subscription on

Guarantees: an object that left can do nothing more once the next one is made, except cancel its orders.
Does not: know the life cycle (``runner``).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from headrace.dispatch.signature import has_tick_handlers, life_cycle_of
from headrace.errors import SubscriptionError
from headrace.strategies.strategy import Strategy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from headrace.dispatch.options import SubscriptionOptions
    from headrace.dispatch.signature import BoundHandler
    from headrace.dispatch.subscription import Subscription
    from headrace.market.bars import BarSpec
    from headrace.strategies.context import ContextParts, StrategyContext
    from headrace.strategies.spec import StrategySpec

__all__ = ["Instance"]

# The callbacks that run between ``check`` and ``join``: they may give their object other handlers and options.
MAY_CHANGE_HANDLERS = frozenset({"on_load", "on_start"})


class Instance:
    """One object, or the function, of a strategy. Raises SubscriptionError: a callback cannot be called."""

    def __init__(
        self,
        strategy: Strategy | Callable[..., object],
        spec: StrategySpec,
        context: StrategyContext,
        parts: ContextParts,
    ) -> None:
        self.strategy = strategy
        self.context = context
        self.callbacks: Mapping[str, Callable[..., Any]] = {}
        # Its first subscription, which a restart passes on; it may have made more.
        self.ticks: Subscription | None = None
        # Those that it has joined.
        self.bars: tuple[BarSpec, ...] = ()
        # What ``check`` found of its ticks.
        self._checked: tuple[SubscriptionOptions, list[BoundHandler]] | None = None
        self._spec = spec
        self._parts = parts
        if isinstance(strategy, Strategy):
            try:
                strategy._context = context  # noqa: SLF001 - its engine provides it
            except AttributeError as error:
                name = type(strategy).__name__
                msg = f"{name} cannot be changed, so an engine cannot run it: remove frozen=True, or its __setattr__"
                raise SubscriptionError(msg, handler="") from error
            self.callbacks = life_cycle_of(strategy)

    def _read(self) -> tuple[SubscriptionOptions, list[BoundHandler]] | None:
        """Return the options and handlers of its ticks, checked; None: it takes none."""
        if isinstance(self.strategy, Strategy) and not has_tick_handlers(self.strategy):
            return None
        options = self._spec.options_of(self.strategy)
        return self._parts.dispatcher.check(self.strategy, callback=self._spec.callback, **options)

    def check(self) -> None:
        """Check handlers and options. Raises SubscriptionError, OptionError."""
        self._checked = self._read()
        if self._checked is not None:
            self._parts.names.declare(self._checked[0].instruments or ())
        self._spec.bars_of(self.strategy)
        for name, option in self._spec.unread_options(self.strategy):
            self.context.log.warning(
                "%s.%s sets nothing: options stand in subscription = {%r: …}",
                *(type(self.strategy).__name__, name, option),
            )

    def join(self, kept: Subscription | None) -> None:
        """Subscribe to its ticks and bars. kept : the subscription of the object before it, which it takes over."""
        spec, context = self._spec, self.context
        if kept is not None:
            kept.take_over(self.strategy, callback=spec.callback)
            context.subscriptions.append(kept)
            self.ticks = kept
        else:
            checked = self._checked if MAY_CHANGE_HANDLERS.isdisjoint(self.callbacks) else self._read()
            self.ticks = None if checked is None else context.join(*checked)
        self._checked = None
        wanted = spec.bars_of(self.strategy)
        handlers = [name for name in ("on_bar", "on_bars") if name in self.callbacks]
        if bool(handlers) != bool(wanted):
            lacks, has = ("on_bar", "bars") if wanted else ("bars", handlers[0])
            context.log.warning("%s has %s and no %s: no bar will reach it", context.name, has, lacks)
        if handlers:
            self._parts.bars.frame_takers += "on_bars" in handlers
            for bar in wanted:
                self._parts.bars.add(bar)
                self.bars = (*self.bars, bar)

    def warn_of_unmatched(self, problem_of: Callable[[str], str]) -> None:
        """Log each pattern of its subscriptions and bars that has a problem."""
        context = self.context
        patterns = {name for own in context.subscriptions for name in own.options.instruments or ()}
        patterns.update(bar.instrument for bar in self.bars)
        for pattern in sorted(patterns - {"*"}):
            if problem := problem_of(pattern):
                context.log.warning("%s gets nothing of %r: %s", context.name, pattern, problem)

    @contextmanager
    def bars_go_on(self) -> Iterator[None]:
        """Keep its bars while another object takes its place: an open interval has the ticks from before, too."""
        bars = self.bars
        for bar in bars:
            self._parts.bars.add(bar)
        try:
            yield
        finally:
            for bar in bars:
                self._parts.bars.remove(bar)

    def leave(self) -> list[Subscription]:
        """Leave bars and timers, and return its subscriptions."""
        for bar in self.bars:
            self._parts.bars.remove(bar)
        if self.bars and "on_bars" in self.callbacks:
            self._parts.bars.frame_takers -= 1
        self.bars = ()
        return self.context.hand_over()
