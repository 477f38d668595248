"""User functions: what a call of one returned, when the body of the function has not run yet.

::

    def f(): …              ran                                  async def f(): …      runs when it is awaited
    def f(): yield          never runs: nothing iterates it      returned coroutine    the same, found by the object

Guarantees: a generator is refused where it is visible, and its call fails where a wrapper hides it; both close it, and
say the same. What is not awaited is closed.
Does not: call or await anything.
"""

from __future__ import annotations

import inspect
from typing import TypeVar

__all__ = [
    "close_unfinished",
    "generator_problem",
    "is_async",
    "refuse_generator",
    "refuse_unfinished",
    "unfinished_problem",
]

T = TypeVar("T")

ADVICE = "a generator, whose body would never run: remove yield"


def is_async(function: object) -> bool:
    """Return whether a function, or the ``__call__`` of an object, is ``async def``."""
    return any(inspect.iscoroutinefunction(own) for own in _looked_at(function))


def generator_problem(where: str, function: object) -> str:
    """Return what is wrong with a function whose body has a ``yield``; an empty text: nothing."""
    is_made = any(inspect.isgeneratorfunction(own) or inspect.isasyncgenfunction(own) for own in _looked_at(function))
    return f"{where} is {ADVICE}" if is_made else ""


def unfinished_problem(where: str, function: object) -> str:
    """Return what is wrong with a function that must return at once; an empty text: nothing."""
    if is_async(function):
        return f"{where} is async, and nothing can await it: write def, and start a task in it"
    return generator_problem(where, function)


def _looked_at(function: object) -> tuple[object, object]:
    # Of the type, as Python calls it: an attribute of the object is not called.
    return function, getattr(type(function), "__call__", None)  # noqa: B004 - its type, not whether


def refuse_generator(returned: T) -> T:
    """Return what a call returned. Raises TypeError for a generator, and closes it; native code calls this, too."""
    if returned is None:
        return returned
    if inspect.isgenerator(returned) or inspect.isasyncgen(returned):
        close_unfinished(returned)
        msg = f"it returned {ADVICE}"
        raise TypeError(msg)
    return returned


def refuse_unfinished(returned: T, advice: str) -> T:
    """Return what a call returned where nothing can be awaited. Raises TypeError for an awaitable or a generator."""
    if returned is not None and inspect.isawaitable(returned):
        close_unfinished(returned)
        msg = f"it returned an awaitable, which cannot be awaited {advice}"
        raise TypeError(msg)
    return refuse_generator(returned)


def close_unfinished(returned: object) -> None:
    """End what is not awaited: close a coroutine or generator, cancel a task or future."""
    end = getattr(returned, "close", None) or getattr(returned, "cancel", None)
    if end is not None:
        end()
