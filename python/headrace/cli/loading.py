"""Make a strategy from ``--strategy SPEC`` and ``--param NAME=VALUE``.

Guarantees: an error in them is one line and exit code 2.
Does not: call anything but the strategy's ``__init__``.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from headrace import Strategy
from headrace.app.objects import load_object, make_object
from headrace.cli.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["load_strategy"]


def load_strategy(spec: str, parameters: Mapping[str, str]) -> Strategy | Callable[..., object]:
    """Import what ``spec`` names; if it is a Strategy class, return an instance made with ``parameters``."""
    found = load_object(spec)
    if isinstance(found, type) and issubclass(found, Strategy):
        return make_object(found, parameters, given_by="--param {}")
    if parameters:
        msg = f"--param {next(iter(parameters))} is for a class, and {spec} is none: use --strategy module:Class"
        raise Failure(msg, exit_code=2)
    if isinstance(found, Strategy) or inspect.isroutine(found):
        return found
    what = type(found).__name__
    msg = f"{spec} is no strategy but a {what}: derive the class from headrace.Strategy, or use a function"
    raise Failure(msg, exit_code=2)
