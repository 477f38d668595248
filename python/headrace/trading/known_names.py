"""KnownNames: the names that an engine has met; any other one is an error, so that a typing error is never "flat".

::

    instruments   configured · seen in a tick · named exactly in a subscription · announced by a feed
    strategies    of the engine · submitted an order

Guarantees: an unknown name raises with the nearest known one; a known one costs one look-up in a table.
Does not: add names to the dispatcher's table.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import headrace._native as _native
from headrace.errors import InstrumentError, OptionError
from headrace.market.checks import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from headrace.dispatch.dispatcher import Dispatcher

__all__ = ["KnownNames"]

# An error lists so many names.
LISTED_MAX = 10


class KnownNames:
    """The names of one engine.

    announced : returns the names that feeds announce. strategies : the engine's own.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        *,
        announced: Callable[[], Iterable[str]] = tuple,
        strategies: Collection[str] = (),
    ) -> None:
        self._dispatcher = dispatcher
        self._announced = announced
        self._strategies = strategies
        # What strategies declare before they subscribe it, and who has submitted an order.
        self._declared: set[str] = set()
        self._traders: set[str] = set()

    def declare(self, instruments: Iterable[str]) -> None:
        """Add the exact names of a subscription that will be made; patterns name nothing."""
        self._declared.update(filter(_is_exact, instruments))

    def add_trader(self, strategy: str) -> None:
        """Add a strategy that has submitted an order: a service may trade, too."""
        self._traders.add(strategy)

    def check_instrument(self, name: object) -> None:
        """Raise InstrumentError for an unknown instrument."""
        if isinstance(name, str) and (self._dispatcher.instruments.id(name) is not None or name in self._others()):
            return
        known = list(dict.fromkeys((*self._dispatcher.instruments, *self._others())))
        hint = nearest(name, known) if isinstance(name, str) else ""
        msg = f"{name!r} is no known instrument{hint}: write SYMBOL.VENUE; there are {_listed(known)}"
        raise InstrumentError(msg)

    def instruments(self) -> list[str]:
        """Return the instruments that are configured, seen or announced, each once."""
        return list(dict.fromkeys((*self._dispatcher.instruments, *self._announced())))

    def problem_of_pattern(self) -> Callable[[str], str]:
        """Return a function that returns what is wrong with a pattern: no instrument of now matches; empty: one does.

        Each pattern is judged once, since many strategies have the same few.
        """
        names = self.instruments()

        @cache
        def problem(pattern: str) -> str:
            if any(_native.matches_pattern(pattern, name) for name in names):
                return ""
            return f"no instrument matches{nearest(pattern, names)}; there is {', '.join(names) or 'none'}"

        return problem

    def problem_of_configured(self, configured: Iterable[str]) -> str:
        """Return which configured instruments no feed announced and no tick was of, behind a run; empty: none."""
        _, streams = self._dispatcher.sequencer.save()
        met = sorted({*self._announced(), *(instrument for instrument, _, seq, _ in streams if seq)})
        missing = [f"{own!r}{nearest(own, met)}" for own in configured if own not in met]
        if not missing:
            return ""
        return f"the data have nothing of {_listed(missing)}; there is {_listed(met)}"

    def check(self, strategy: object, instrument: object) -> None:
        """Check names that choose orders or positions; None chooses all.

        Raises OptionError for an unknown strategy, and InstrumentError.
        """
        try:
            is_known = strategy is None or strategy in self._strategies or strategy in self._traders
        except TypeError:  # What has no hash is no name.
            is_known = False
        if not is_known:
            known = list(dict.fromkeys((*self._strategies, *sorted(self._traders))))
            hint = nearest(strategy, known) if isinstance(strategy, str) else ""
            msg = f"strategy={strategy!r} is unknown{hint}; there are {_listed(known)}"
            raise OptionError(msg, option="strategy")
        if instrument is not None:
            self.check_instrument(instrument)

    def _others(self) -> Iterator[str]:
        yield from sorted(self._declared)
        for subscription in self._dispatcher.subscriptions.values():
            yield from filter(_is_exact, subscription.options.instruments or ())
        yield from self._announced()


def _is_exact(name: str) -> bool:
    return "*" not in name and "?" not in name


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LISTED_MAX:,} more" if len(names) > LISTED_MAX else ""
    return (", ".join(names[:LISTED_MAX]) or "none") + more
