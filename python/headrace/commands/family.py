"""The commands: what an operator may ask of a running engine, as one closed, typed family and one table of it.

::

    Command ┬ strategies   PauseStrategy · ResumeStrategy · RestartStrategy · StopStrategy · SetSubscription
            ├ orders       AmendOrder · CancelOrder · CancelAll · Flatten
            ├ kill switch  Halt · Rearm
            ├ routes       Subscribe · Unsubscribe · SetFilter · ListRoutes
            └ engine       RedriveDeadLetter · Drain · Status

A class says everything about its command: its fields are the arguments, ``verb`` is its name on the command line, the
first line of its docstring the meaning. The table is read off the classes, and the command line, the documentation and
the control socket are made from the table. A command of your own is one more subclass.

Guarantees: immutable; an unknown field, a wrong type and a value out of bounds are refused, with their path.
Does not: do anything; that is its handler (``bus``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal, TypeAlias, cast

import msgspec

from headrace.bus.filters import FilterRule
from headrace.dispatch.options import BatchMax, LagNs, LagTicks, OnLag, OverflowName, TuneOptions
from headrace.errors import CommandError
from headrace.market.canonical import CanonicalType

__all__ = [
    "COMMANDS",
    "AmendOrder",
    "Argument",
    "CancelAll",
    "CancelOrder",
    "Command",
    "CommandEntry",
    "Drain",
    "Flatten",
    "Halt",
    "ListRoutes",
    "PauseStrategy",
    "Rearm",
    "RedriveDeadLetter",
    "RestartStrategy",
    "ResumeStrategy",
    "SetFilter",
    "SetSubscription",
    "Status",
    "StopStrategy",
    "Subscribe",
    "Unsubscribe",
    "entry_of",
]

_Strategy: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=200, description="a strategy's name")]
_Instrument: TypeAlias = Annotated[str, msgspec.Meta(min_length=3, max_length=200, description="SYMBOL.VENUE")]
_Order: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=200, description="the client order id")]
_Amount: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=60, description="as an order takes it")]
_Instruments: TypeAlias = Annotated[
    tuple[_Instrument, ...], msgspec.Meta(min_length=1, max_length=1_000, description="SYMBOL.VENUE, one or several")
]
_RouteType: TypeAlias = Annotated[CanonicalType, msgspec.Meta(description="what a route carries")]
_Filters: TypeAlias = Annotated[
    tuple[FilterRule, ...],
    msgspec.Meta(
        max_length=100, description="rules that all must hold, each with path, op (eq, neq, in, prefix), value"
    ),
]
_Throttle: TypeAlias = Annotated[
    str,
    msgspec.Meta(max_length=20, description="at most one event in this time, like 250ms; others are consolidated"),
]
_Reason: TypeAlias = Annotated[str, msgspec.Meta(max_length=1_000, description="why; it stands in the audit")]


class Command(msgspec.Struct, frozen=True, tag_field="command", tag=True, forbid_unknown_fields=True):
    """What every command is.

    verb : its name on the command line, in lower case and with hyphens. urgent : executed at once, ahead of every
    queue and without a worker. changes : an accepted one changes something, so the bus's version rises.
    revokes : types of which whatever waits is rejected when this one is executed. takes_worker : its handler is one of
    the bounded number at work; not where it mostly waits for something outside, which would hold up the others.
    """

    verb: ClassVar[str] = ""
    urgent: ClassVar[bool] = False
    changes: ClassVar[bool] = True
    takes_worker: ClassVar[bool] = True
    revokes: ClassVar[tuple[type[Command], ...]] = ()

    @property
    def target(self) -> str:
        """What it is about: commands to one target are handled one after the other, in their order."""
        return "engine"


class _StrategyCommand(Command, frozen=True):
    strategy: _Strategy

    @property
    def target(self) -> str:
        return f"strategy:{self.strategy}"


class PauseStrategy(_StrategyCommand, frozen=True):
    """Call its tick handlers no more, and let it add no exposure; fills and cancels get through."""

    verb = "pause"


class ResumeStrategy(_StrategyCommand, frozen=True):
    """Let a paused or quarantined strategy run again; what it missed is told."""

    verb = "resume"


class RestartStrategy(_StrategyCommand, frozen=True):
    """Stop it, make it anew with the same parameters and what it saved, and start it."""

    verb = "restart"


class StopStrategy(_StrategyCommand, frozen=True):
    """Stop it and cancel its open orders; its position goes on being accounted."""

    verb = "stop"


class SetSubscription(_StrategyCommand, frozen=True):
    """Change how its ticks come; what is left out stays as it is."""

    verb = "set-subscription"

    batch_max: BatchMax | None = None
    lag_max_ticks: LagTicks | None = None
    lag_max_ns: LagNs | None = None
    on_lag: OnLag | None = None
    overflow: OverflowName | None = None

    def tuning(self) -> TuneOptions:
        """Return the options that are given."""
        given = {name: getattr(self, name) for name in TuneOptions.__annotations__}
        return cast("TuneOptions", {name: value for name, value in given.items() if value is not None})


class _OrderCommand(Command, frozen=True):
    order_id: _Order

    @property
    def target(self) -> str:
        return f"order:{self.order_id}"


class AmendOrder(_OrderCommand, frozen=True):
    """Change an open order; what is left out stays. The gates judge it, and the answer of its broker is an event."""

    verb = "amend"

    quantity: _Amount | None = None
    price: _Amount | None = None
    stop: _Amount | None = None
    take_profit: _Amount | None = None
    trail: _Amount | None = None

    def values(self) -> dict[str, str]:
        """Return what the order is to have."""
        given = {name: getattr(self, name) for name in self.__struct_fields__ if name != "order_id"}
        return {name: value for name, value in given.items() if value is not None}


class CancelOrder(_OrderCommand, frozen=True):
    """Cancel one open order."""

    verb = "cancel"


class _OrdersCommand(Command, frozen=True):
    strategy: _Strategy | None = None
    instrument: _Instrument | None = None

    @property
    def target(self) -> str:
        if self.strategy is not None:
            return f"strategy:{self.strategy}"
        return "orders" if self.instrument is None else f"instrument:{self.instrument}"


class CancelAll(_OrdersCommand, frozen=True):
    """Cancel every open order, or those of one strategy, one instrument, or both."""

    verb = "cancel-all"


class Flatten(_OrdersCommand, frozen=True):
    """Close every position with market orders, or those of one strategy, one instrument, or both."""

    verb = "flatten"


class _KillSwitchCommand(Command, frozen=True):
    reason: _Reason = ""

    @property
    def target(self) -> str:
        return "kill_switch"


class Rearm(_KillSwitchCommand, frozen=True):
    """Let new orders pass again after a halt."""

    verb = "rearm"


class Halt(_KillSwitchCommand, frozen=True):
    """Let no new order pass from now on, until rearmed; cancels get through. Overtakes every other command."""

    verb = "halt"
    urgent = True
    # A rearm that was asked for before the halt must not undo it.
    revokes = (Rearm,)


class _RoutesCommand(Command, frozen=True):
    type: _RouteType
    instruments: _Instruments

    takes_worker = False

    @property
    def target(self) -> str:
        return f"route:{self.type}:{','.join(self.instruments)}"


class Subscribe(_RoutesCommand, frozen=True):
    """Add routes: have a venue send what they carry; for a route that is there, set its filters and throttle."""

    verb = "subscribe"

    filters: _Filters = ()
    throttle: _Throttle | None = None


class Unsubscribe(_RoutesCommand, frozen=True):
    """Remove routes; the venue sends no more what only they needed."""

    verb = "unsubscribe"


class SetFilter(Command, frozen=True):
    """Replace the filters of a route; without filters everything passes."""

    verb = "set-filter"

    type: _RouteType
    instrument: _Instrument
    filters: _Filters = ()

    @property
    def target(self) -> str:
        """The route."""
        return f"route:{self.type}:{self.instrument}"


class ListRoutes(Command, frozen=True):
    """List what is subscribed, with its filters, state and counts."""

    verb = "list-routes"
    changes = False

    @property
    def target(self) -> str:
        """All routes."""
        return "routes"


class RedriveDeadLetter(Command, frozen=True):
    """Give the event of a dead letter to the bus again; once for each letter."""

    verb = "redrive"

    letter_id: Annotated[int, msgspec.Meta(ge=1, description="the letter's id")]

    @property
    def target(self) -> str:
        """The letter."""
        return f"letter:{self.letter_id}"


class Drain(Command, frozen=True):
    """Stop the feeds, drain the lanes, and end the engine."""

    verb = "drain"


class Status(Command, frozen=True):
    """Say what runs and how it is."""

    verb = "status"
    urgent = True
    changes = False


class Argument(msgspec.Struct, frozen=True):
    """One field of a command, as a command line takes it.

    kind : "text", "texts" (several, required), "whole", "number", "flag" or "choice" (one of ``choices``); "json" for
    everything else.
    """

    name: str
    kind: Literal["text", "texts", "whole", "number", "flag", "choice", "json"]
    required: bool
    meaning: str = ""
    choices: tuple[str, ...] = ()


class CommandEntry(msgspec.Struct, frozen=True):
    """One row of the table.

    name : the command's tag in JSON, its class's name. changes : whether it changes anything.
    """

    name: str
    verb: str
    meaning: str
    urgent: bool
    arguments: tuple[Argument, ...] = ()
    changes: bool = True


def entry_of(command_type: type[Command]) -> CommandEntry:
    """Read a row off a class. Raises CommandError when it is no command, or has no verb or no docstring."""
    name = command_type.__name__
    if Command not in command_type.__mro__:
        msg = f"{name} is no command: make it a subclass of headrace.commands.Command"
        raise CommandError(msg, command=name)
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", command_type.verb):
        msg = f"{name}.verb is {command_type.verb!r}: give it a name in lower case and with hyphens, like 'cancel-all'"
        raise CommandError(msg, command=name)
    meaning = (command_type.__doc__ or "").strip().partition("\n")[0]
    if not meaning:
        msg = f"{name} has no docstring: its first line is what the command line and the documentation say"
        raise CommandError(msg, command=name)
    try:
        info = msgspec.inspect.type_info(command_type)
        msgspec.json.Decoder(command_type)
    except (TypeError, NameError) as error:
        msg = f"{name} has a field that cannot be read from JSON ({error}): use plain types, Decimal, or structs"
        raise CommandError(msg, command=name) from error
    assert isinstance(info, msgspec.inspect.StructType)
    arguments = tuple(_argument(field) for field in info.fields)
    own = command_type
    return CommandEntry(str(info.tag), own.verb, meaning, own.urgent, arguments, own.changes)


def _argument(field: msgspec.inspect.Field) -> Argument:
    inner, meaning = field.type, ""
    if isinstance(inner, msgspec.inspect.UnionType):
        others = [kind for kind in inner.types if not isinstance(kind, msgspec.inspect.NoneType)]
        inner = others[0] if len(others) == 1 else inner
    if isinstance(inner, msgspec.inspect.Metadata):
        meaning = (inner.extra_json_schema or {}).get("description", "")
        inner = inner.type
    if isinstance(inner, msgspec.inspect.LiteralType) and all(isinstance(value, str) for value in inner.values):
        return Argument(field.name, "choice", field.required, meaning, tuple(map(str, inner.values)))
    if isinstance(inner, msgspec.inspect.EnumType) and issubclass(inner.cls, str):
        return Argument(field.name, "choice", field.required, meaning, tuple(map(str, inner.cls)))
    if (
        field.required
        and isinstance(inner, msgspec.inspect.VarTupleType)
        and isinstance(_plain(inner.item_type), msgspec.inspect.StrType)
    ):
        return Argument(field.name, "texts", True, meaning)  # noqa: FBT003 - it is required
    kinds: dict[type[msgspec.inspect.Type], Literal["text", "whole", "number", "flag"]] = {
        msgspec.inspect.StrType: "text",
        msgspec.inspect.DecimalType: "text",
        msgspec.inspect.IntType: "whole",
        msgspec.inspect.FloatType: "number",
        msgspec.inspect.BoolType: "flag",
    }
    return Argument(field.name, kinds.get(type(inner), "json"), field.required, meaning)


def _plain(form: msgspec.inspect.Type) -> msgspec.inspect.Type:
    return form.type if isinstance(form, msgspec.inspect.Metadata) else form


_BUILT_IN: tuple[type[Command], ...] = (
    *(PauseStrategy, ResumeStrategy, RestartStrategy, StopStrategy, SetSubscription),
    *(AmendOrder, CancelOrder, CancelAll, Flatten, Halt, Rearm),
    *(Subscribe, Unsubscribe, SetFilter, ListRoutes, RedriveDeadLetter, Drain, Status),
)

COMMANDS: Mapping[type[Command], CommandEntry] = MappingProxyType({kind: entry_of(kind) for kind in _BUILT_IN})
