"""``headrace demo --dashboard``: the demo's engine, served with its page until it is stopped.

Guarantees: its state, the token included, is in a temporary folder that is removed at the end.
Does not: open a browser; it prints the address, and the token that its page asks for.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.cli.demo_session import FRAMES_PER_S, demo_engine
from headrace.control.settings import HttpSettings, checked_listen
from headrace.examples.slow_journal import SlowJournal
from headrace.market.events import Control

if TYPE_CHECKING:
    from headrace.control.http import HttpServer

__all__ = ["run_dashboard"]

# The markets end after a day.
FRAMES = FRAMES_PER_S * 86_400


def run_dashboard(listen: str) -> None:
    """Run the engine until Ctrl-C, then print its report. Raises OptionError, ControlError, MissingExtraError."""
    from headrace.control.http import EngineApi, HttpServer, token_path

    settings = checked_listen(HttpSettings(), listen)
    with tempfile.TemporaryDirectory(prefix="headrace-demo-") as folder:
        engine = demo_engine(FRAMES, SlowJournal(), folder, speed=1.0)
        server = HttpServer(EngineApi(engine), settings, folder=folder)
        engine.services.add(server)

        def show(event: Control) -> None:
            if event.name == "ENGINE_READY":
                _show(server, token_path(settings, Path(folder)))

        engine.bus.subscribe(Control, show, name="demo page")
        report = engine.run()
    click.echo(f"\n{report}")


def _show(server: HttpServer, token_file: Path) -> None:
    """Print where the page is."""
    token = token_file.read_text().split()[-1]
    click.echo(f"page    {server.url}\ntoken   {token}\nCtrl-C ends it.\n")
