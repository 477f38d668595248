"""DispatcherOptions: every option of a dispatcher, with its type and its default.

Guarantees: an unknown option is an error that names the nearest one.
Does not: check what a part checks itself, such as the ring's capacity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypedDict

from headrace.errors import OptionError
from headrace.limits import BLOCK_MAX_NS, INSTRUMENTS_MAX, RING_CAPACITY, SLOW_HANDLER_MS
from headrace.market.checks import of_type, one_of, refuse_unknown, whole
from headrace.market.clock import Clock, EngineClock, Mode, ModeName
from headrace.market.dead_letters import DeadLetters

if TYPE_CHECKING:
    from collections.abc import Iterable

    import headrace._native as _native
    from headrace.dispatch.faults import Policy
    from headrace.dispatch.loop_wakeup import WakeupKind
    from headrace.market.instrument import Instrument

__all__ = ["DispatcherOptions", "complete"]

# The largest time that native code holds.
TIME_MAX = (1 << 63) - 1


class DispatcherOptions(TypedDict, total=False):
    """The options of ``Dispatcher``, which says what each means."""

    instruments: Iterable[str | Instrument] | Instrument | _native.Instruments
    discovery: bool
    instruments_max: int
    ring_capacity: int
    ring: _native.Ring | None
    sequencer: _native.Sequencer | None
    clock: Clock | None
    mode: ModeName
    on_fault: Policy | None
    hashing: bool
    duplicates: Literal["drop", "deliver"]
    late: Literal["drop", "deliver"]
    dead_letters: DeadLetters | None
    slow_handler_ms: int
    block_max_ns: int | None
    wakeup: WakeupKind
    called_by_owner: Iterable[str]


_DEFAULTS: DispatcherOptions = {
    "instruments": (),
    "discovery": True,
    "instruments_max": INSTRUMENTS_MAX,
    "ring_capacity": RING_CAPACITY,
    "ring": None,
    "sequencer": None,
    "clock": None,
    "mode": Mode.LIVE,
    "on_fault": None,
    "hashing": False,
    "duplicates": "drop",
    "late": "deliver",
    "dead_letters": None,
    "slow_handler_ms": SLOW_HANDLER_MS,
    "block_max_ns": BLOCK_MAX_NS,
    "wakeup": "auto",
    "called_by_owner": (),
}


def complete(given: DispatcherOptions) -> DispatcherOptions:
    """Return all options, checked. Raises OptionError."""
    refuse_unknown("a dispatcher", given, _DEFAULTS)
    options: DispatcherOptions = {**_DEFAULTS, **given}
    if options["on_fault"] is not None:
        one_of("on_fault", options["on_fault"], ("raise", "quarantine"))
    one_of("wakeup", options["wakeup"], ("auto", "eventfd", "pipe"))
    whole("slow_handler_ms", options["slow_handler_ms"], 0, TIME_MAX, "ms")
    if options["block_max_ns"] is not None:
        whole("block_max_ns", options["block_max_ns"], 0, TIME_MAX, "ns")
    mode = options["mode"] = Mode(one_of("mode", options["mode"], Mode))
    clock = options["clock"]
    if mode is Mode.REPLAY and clock is not None and not isinstance(clock, EngineClock):
        msg = f"clock={clock!r} with mode='replay': a replay's time comes from its ticks; remove clock="
        raise OptionError(msg, option="clock")
    of_type("clock", clock, Clock, None)
    of_type("dead_letters", options["dead_letters"], DeadLetters, None)
    return options
