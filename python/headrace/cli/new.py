"""``headrace new``: write a first strategy, which is short and runs without changes."""

from __future__ import annotations

import keyword
import shlex
from pathlib import Path

import click

from headrace.cli.failure import Failure
from headrace.cli.options import debug_option
from headrace.dispatch.run_file import remove_empty

__all__ = ["new_command"]

TEMPLATE = '''\
"""A strategy: every handler declares the fields it needs, by parameter name (`headrace fields` lists them)."""
from headrace import Strategy


class {name}(Strategy):
    def __init__(self, spread_max: float = 1.0) -> None:
        self.spread_max = spread_max
        self.wide = 0

    def on_quote(self, symbol: str, spread: float) -> None:
        if spread > self.spread_max:
            self.wide += 1
'''


@click.command("new")
@click.argument("file", type=click.Path(path_type=Path))
@debug_option
def new_command(file: Path) -> None:
    """Write a first strategy to FILE, my_strategy.py; an existing file is left alone."""
    name = "".join(word.capitalize() for word in file.stem.split("_"))
    if file.suffix != ".py" or not file.stem.isidentifier() or not name or keyword.iskeyword(file.stem):
        msg = f"{file} cannot be imported: name it like my_strategy.py, with letters, digits and _"
        raise Failure(msg, exit_code=2)
    try:
        with file.open("x", encoding="utf-8") as target:
            target.write(TEMPLATE.format(name=name))
    except FileExistsError as error:
        raise Failure(f"{file} exists already and is not changed: choose another name") from error
    except OSError as error:
        remove_empty(file)
        raise Failure(f"{file} cannot be written: {error.strerror}") from error
    spec = shlex.quote(f"{file}:{name}")
    click.echo(f"wrote {file}; try it with: headrace replay RECORDING --strategy {spec}")
