"""Failure: the exception that ends a verb with one line."""

from __future__ import annotations

import click

__all__ = ["Failure"]


class Failure(click.ClickException):
    """One line for the user, and an exit code: 1 for input and strategies, 2 for the command line."""

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click declares the default of all its exceptions as fixed
