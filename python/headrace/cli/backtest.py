"""``headrace backtest``: the engine of a configuration over its recordings, with orders filled by its broker.

Guarantees: the configuration is that of ``headrace run``; nothing leaves the process but the audit that it names.
Does not: pace; it is as fast as its handlers.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path

import click

from headrace.cli.ending import exit_code_of, print_report, progress_to, strategy_failure
from headrace.cli.options import debug_option, overrides_option
from headrace.engine.tables import progress_display

__all__ = ["backtest_command"]


@click.command("backtest")
@click.argument("config_file", metavar="CONFIG", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@overrides_option
@click.option("--audit", metavar="FILE", help="Write every event to this new file; as --set engine.audit=FILE.")
@click.option("--strict", is_flag=True, help="Exit with 1 when frames were rejected.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of tables.")
@debug_option
def backtest_command(
    *, config_file: Path, overrides: tuple[str, ...], audit: str | None, strict: bool, as_json: bool
) -> int:
    """Replay the feeds of CONFIG through its strategies, gates and broker, and report what became of the orders."""
    # Loaded here: an engine needs asyncio, and other verbs do not wait for that.
    from headrace.app.build import engine_of
    from headrace.app.config import load_config
    from headrace.market.clock import Mode
    from headrace.telemetry.logs import configure_logging

    shortcuts = [] if audit is None else [f"engine.audit={audit}"]
    config = load_config(config_file, overrides=[*overrides, *shortcuts])
    display = progress_display(sys.stderr, "backtest")
    # What strategies print must not stand in the document.
    quiet = redirect_stdout(sys.stderr) if as_json else nullcontext()
    try:
        with quiet:
            engine = engine_of(config, mode=Mode.REPLAY, progress=progress_to(display))
            configure_logging(config.engine.log_level, config.engine.log_format, engine.run_id)
            report = engine.run()
    except Exception as error:
        display.close()
        if failure := strategy_failure(error):
            raise failure from error
        raise
    finally:
        display.close()
    print_report(report, as_json=as_json)
    return exit_code_of(report, strict=strict)
