"""The ``headrace`` command: one file per verb."""

from headrace.cli.app import main

__all__ = ["main"]
