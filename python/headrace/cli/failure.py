"""The one way a verb gives up."""

from __future__ import annotations

import click

__all__ = ["Failure"]


class Failure(click.ClickException):
    """A line for the user, and the exit code: 1 for input and strategies, 2 for the command line."""

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click declares the default of all its exceptions as fixed
