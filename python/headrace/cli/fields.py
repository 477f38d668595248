"""``headrace fields``: the parameters that a handler may declare, from the one field table."""

from __future__ import annotations

import click

from headrace.cli.options import debug_option
from headrace.engine.tables import Table, tables_text
from headrace.market.fields import FIELDS
from headrace.market.tick import KINDS

__all__ = ["fields_command"]

COLUMNS = ("name", "one tick", "column", "unit", "kinds", "meaning")


@click.command("fields")
@debug_option
def fields_command() -> None:
    """List the fields that handlers may declare as parameters."""
    rows = [
        (field.name, field.singular or "-", field.plural or "-", field.unit, _kinds_text(field.kinds), field.formula)
        for field in FIELDS
    ]
    click.echo(tables_text([Table("fields, by parameter name", COLUMNS, rows, texts=len(COLUMNS))]))


def _kinds_text(kinds: tuple[str, ...]) -> str:
    return "all" if len(kinds) == len(KINDS) else ", ".join(kinds)
