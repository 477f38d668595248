"""The API page of docs/reference: the public classes, from their docstrings and signatures.

Guarantees: what a class has is what the page shows; nothing is written by hand but the order of the classes.
Does not: show what is inherited from outside of the package, or what begins with an underscore.
"""

from __future__ import annotations

import inspect
import re
import sys
from typing import TYPE_CHECKING, Any

import msgspec

import headrace
from headrace.dispatch.newest import Newest
from headrace.engine.report import PositionReport, SourceReport, StrategyReport
from headrace.market.events import (
    Bar,
    Cause,
    OrderAccepted,
    OrderAmended,
    OrderAmendRejected,
    OrderAmendRequested,
    OrderCanceled,
    OrderExpired,
    OrderFill,
    OrderRejected,
    OrderRequested,
    OrderTriggered,
    Signal,
)
from headrace.strategies.timers import Timer
from headrace.trading.account import Account, Balance
from headrace.trading.orders import Order
from headrace.trading.positions import Position

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["api_parts"]

CLASSES: dict[str, tuple[type, ...]] = {
    "Engine and strategy": (headrace.Engine, headrace.Strategy, headrace.StrategySpec),
    "Bars, signals, timers": (headrace.BarSpec, Bar, Signal, Timer, Cause),
    "Orders and positions": (
        *(Order, Position, Account, Balance, headrace.Instrument, headrace.RiskLimits, headrace.SimulatedBroker),
        *(OrderRequested, OrderAccepted, OrderRejected, OrderTriggered, OrderFill, OrderCanceled, OrderExpired),
        *(OrderAmendRequested, OrderAmended, OrderAmendRejected),
    ),
    "Report": (headrace.Report, StrategyReport, PositionReport, SourceReport),
    "Ticks": (headrace.Dispatcher, Newest, headrace.Subscription, headrace.SubscriptionStats),
}
# ``name : text`` begins an entry; so does ``name, name : text``.
ENTRY = re.compile(r"(?:^|(?<=[.;)] ))(\w+(?:(?:, | \.\.\. )\w+)*) : ")


def api_parts() -> Iterator[str]:
    """The headings, texts and tables of the page, in their order."""
    yield "## headrace.replay"
    yield from signed("headrace.replay", headrace.replay)
    for title, classes in CLASSES.items():
        yield f"## {title}"
        for cls in classes:
            yield from described_class(cls)


def described_class(cls: type) -> Iterator[str]:
    """A class: its text, its fields or its constructor, its properties and methods."""
    yield f"### {cls.__name__}"
    yield f"`from {home_of(cls)} import {cls.__name__}`"
    yield markdown_of(cls)
    if fields := field_rows(cls):
        yield "\n".join(["| field | type | default |", "| --- | --- | --- |", *fields])
    for name, member in members_of(cls):
        if isinstance(member, property) or not callable(member):
            yield f"**{cls.__name__}.{name}**: {markdown_of(member)}"
        else:
            yield from signed(f"{cls.__name__}.{name}", member)


def home_of(cls: type) -> str:
    """The shortest module that exports a class."""
    if cls.__name__ in headrace.__all__:
        return "headrace"
    home = cls.__module__
    while cls.__name__ in getattr(sys.modules[home.rpartition(".")[0]], "__all__", ()):
        home = home.rpartition(".")[0]
    return home


def signed(name: str, function: Callable[..., object]) -> Iterator[str]:
    """A function's signature, and its text."""
    is_async = "async " if inspect.iscoroutinefunction(function) else ""
    yield f"```text\n{is_async}{name}{signature_of(function)}\n```"
    yield markdown_of(function)


def members_of(cls: type) -> Iterator[tuple[str, Any]]:
    """The public properties and methods that the package wrote, in the order of the source."""
    fields = {parameter for parameter, _, _ in fields_of(cls)}
    found: dict[str, Any] = {}
    for base in cls.__mro__:
        if base.__module__.startswith("headrace"):
            for name, member in vars(base).items():
                plain = getattr(member, "__func__", member)
                if not name.startswith("_") and name not in fields and inspect.getdoc(plain) and has_text(plain):
                    found.setdefault(name, plain)
    yield from found.items()


def has_text(member: object) -> bool:
    """Whether a member's text is its own: constants have that of their type."""
    return isinstance(member, property) or callable(member) or hasattr(member, "func")


def fields_of(cls: type) -> list[tuple[str, str, str]]:
    """The name, type and default of each field of a struct, a data class or a named tuple."""
    is_record = issubclass(cls, msgspec.Struct | tuple) or hasattr(cls, "__dataclass_fields__")
    if not is_record:
        return []
    return [
        (parameter.name, annotation_text(parameter.annotation), default_text(parameter.default))
        for parameter in inspect.signature(cls).parameters.values()
    ]


def field_rows(cls: type) -> list[str]:
    """The lines of a table of fields."""
    return ["| `{}` | `{}` | {} |".format(*(cell.replace("|", "\\|") for cell in row)) for row in fields_of(cls)]


def signature_of(function: Callable[..., object]) -> str:
    """A signature, one line where it is short, without ``self``."""
    signature = inspect.signature(function)
    parts: list[str] = []
    for parameter in signature.parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not any(part.startswith("*") for part in parts):
            parts.append("*")
        stars = {"VAR_POSITIONAL": "*", "VAR_KEYWORD": "**"}.get(parameter.kind.name, "")
        text = f"{stars}{parameter.name}: {annotation_text(parameter.annotation)}"
        parts.append(text if parameter.default is parameter.empty else f"{text} = {parameter.default!r}")
    returned = annotation_text(signature.return_annotation)
    line = f"({', '.join(parts)}) -> {returned}"
    return line if len(line) < 80 else "(\n    " + ",\n    ".join(parts) + f",\n) -> {returned}"


def annotation_text(annotation: object) -> str:
    """An annotation as a source writes it, without modules."""
    text = getattr(annotation, "__forward_arg__", annotation)
    text = text if isinstance(text, str) else inspect.formatannotation(text)
    text = re.sub(r"\b(?:\w+\.)+(?=\w)", "", text)
    # Interpreters before 3.14 write some unions so.
    return re.sub(r"^Optional\[(.*)\]$", r"\1 | None", text)


def default_text(default: object) -> str:
    """A default as code; a dash: the field must be given."""
    if default is inspect.Parameter.empty:
        return "-"
    return "made anew" if "factory" in repr(default).lower() else f"`{default!r}`"


def markdown_of(documented: object) -> str:
    """A docstring as Markdown: a paragraph of entries becomes a list."""
    text = (inspect.getdoc(documented) or "").replace("``", "`")
    return "\n\n".join(paragraph(" ".join(part.split())) for part in text.split("\n\n"))


def paragraph(text: str) -> str:
    """One paragraph, or the list of its entries."""
    begins = [match.start() for match in ENTRY.finditer(text)]
    if not begins or begins[0] != 0:
        return text
    ends = [*begins[1:], len(text)]
    entries = [text[begin:end].strip() for begin, end in zip(begins, ends, strict=True)]
    return "\n".join("- `{}`: {}".format(*entry.split(" : ", 1)) for entry in entries)
