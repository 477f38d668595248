"""The ``headrace`` command: its verbs and its exit codes.

::

    exit code   0    success
                1    the input or a strategy failed; with --strict also rejected frames; a command was refused
                2    the command line is wrong; no input was read
                3    no engine answers
                130  Ctrl-C

Guarantees: a failure is one line on stderr that begins with ``headrace:``; a traceback is shown only with ``--debug``,
or when the user's own strategy raised.

Does not: do a verb's work; each verb has its own file.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from typing import NoReturn

import click

import headrace
from headrace.cli.audit import audit_command, diff_command
from headrace.cli.backtest import backtest_command
from headrace.cli.check import check_command
from headrace.cli.config import config_command
from headrace.cli.convert import convert_command
from headrace.cli.ctl import ctl_command
from headrace.cli.db import db_command
from headrace.cli.demo import demo_command
from headrace.cli.doctor import doctor_command
from headrace.cli.download import download_command
from headrace.cli.execute import execute_command
from headrace.cli.fields import fields_command
from headrace.cli.gateway import gateway_command
from headrace.cli.inspect import inspect_command
from headrace.cli.lookahead import lookahead_command
from headrace.cli.new import new_command
from headrace.cli.options import VerbGroup, debug_option, unknown_option
from headrace.cli.pipeline import pipeline_command
from headrace.cli.record import record_command
from headrace.cli.repeat import repeat_command
from headrace.cli.replay import replay_command
from headrace.cli.report import report_command
from headrace.cli.run import run_command
from headrace.cli.sweep import sweep_command
from headrace.cli.symbols import symbols_command
from headrace.cli.venue import venue_command
from headrace.errors import (
    ConfigError,
    ControlError,
    HeadraceError,
    InstrumentError,
    OptionError,
    RingError,
    SubscriptionError,
    VenueError,
)
from headrace.market.wording import printable
from headrace.telemetry.logs import LineFormatter, install_handler

__all__ = ["PURPOSES", "main"]

# The purpose of each verb: the one table that --help and the README show.
PURPOSES = {
    "Run something": {
        "demo": "see it work: generated markets, six strategies, orders on paper, an operator; leaves no files behind",
        "replay": "try strategies on recordings: ticks, bars and timers, the same result each time",
        "backtest": "try strategies with orders filled on paper: round trips, equity, figures; no configuration needed",
        "report": "write the result of a backtest as one page: equity, trades on the price, months, figures",
        "sweep": "backtest many parameters in processes, keep and resume the study; or walk forward",
        "lookahead": "repeat a backtest with other futures, and show each decision that changed",
        "run": "run an engine, live, from a configuration: strategies, orders, gates, bars, timers, kill switch",
        "repeat": "make every call of a recorded live run again, and compare its decisions",
        "ctl": "steer a running engine from another terminal: look, pause, cancel, flatten, halt",
        "gateway": "receive a venue's live data by routes that commands change: filtered, joined, kept, on the bus",
        "pipeline": "make recommendations from bars and news: features, watchlist, rules, each step on record",
        "execute": "execute recommendations of a database exactly once, on SQLite or PostgreSQL, by risk gates",
        "record": "write what a venue sends into files, each of which replays alone",
        "venue": "serve recordings or generated markets over real sockets, as Binance would, with faults on demand",
        "db": "migrate, fill, steer and report on the database of recommendations",
        "config": "write, check and show the configuration that run reads",
    },
    "Prepare data": {
        "download": "fetch candles and trades of Binance's public archive, with their checksums",
        "check": "look for gaps, repetitions, wrong units and odd prices in files; exit code 1 when there are any",
        "convert": "write recordings, CSV, npz and DBN files as Parquet, or as each other",
    },
    "Begin, look up": {
        "new": "write a first strategy to a file",
        "inspect": "show what a recording holds: span, venue, types, rates, gaps, rejects",
        "audit": "show the events of a run from its audit: of a strategy, or the whole story of one order",
        "diff": "show the first event in which two audits differ",
        "fields": "list the fields that handlers may declare as parameters",
        "symbols": "list what a venue trades: price tick, lot size, contract, status",
        "doctor": "show versions, build flags and extras; or measure the way to a venue",
    },
}


class _Verbs(VerbGroup):
    """Lists its verbs by their purpose."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """Write the table."""
        for title, purposes in PURPOSES.items():
            with formatter.section(title):
                formatter.write_dl(list(purposes.items()))


@click.group(
    cls=_Verbs,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(headrace.__version__, prog_name="headrace", message="%(prog)s %(version)s")
@debug_option
@click.pass_context
def commands(context: click.Context) -> None:
    """Exchange frames in, sequenced ticks to every strategy, nothing lost without saying so."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for verb in (
    run_command,
    ctl_command,
    replay_command,
    backtest_command,
    report_command,
    sweep_command,
    lookahead_command,
    audit_command,
    diff_command,
    repeat_command,
    demo_command,
    inspect_command,
    fields_command,
    doctor_command,
    new_command,
    config_command,
    gateway_command,
    venue_command,
    pipeline_command,
    execute_command,
    db_command,
    download_command,
    check_command,
    convert_command,
    record_command,
    symbols_command,
):
    commands.add_command(verb)


# Of a write to a full disk. The error of a file names the file, that of the output names none.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
# Errors in options, configurations, strategies and names, not in the input.
OF_THE_COMMAND_LINE = (ConfigError, OptionError, SubscriptionError, VenueError, InstrumentError, RingError)


def main() -> NoReturn:
    """Run the command of this process and exit with its code."""
    _fix_hash_seed()
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # Closed before the start, as for a daemon: nothing is read.
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - as long as the process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal may lack a character, like µ in ASCII; that ends no verb.
            stream.reconfigure(errors="replace")
    _log_to_stderr()
    sys.exit(run(sys.argv[1:], is_process=True))


def run(arguments: list[str], *, is_process: bool = False) -> int:
    """Run one command line and return its exit code. is_process : the process ends with it."""
    debug = "--debug" in arguments
    try:
        with commands.make_context("headrace", list(arguments), obj=is_process) as context:
            outcome = commands.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as error:
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _say("interrupted", 130)
    except BrokenPipeError:
        _discard_output()  # Its reader has ended (| head), which is no error.
        return 1
    except click.NoSuchOption as error:
        return _say(unknown_option(error, arguments), error.exit_code)
    except click.ClickException as error:
        _trace(debug=debug)
        if type(error).__name__ == "NoArgsIsHelpError":  # Since click 8.2; before, the help was no error.
            print(error.format_message(), file=sys.stderr)
            return error.exit_code
        return _say(error.format_message(), error.exit_code)
    except HeadraceError as error:
        _trace(debug=debug)
        unreachable = isinstance(error, ControlError)
        return _say(str(error), 3 if unreachable else 2 if isinstance(error, OF_THE_COMMAND_LINE) else 1)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL and error.filename is None:
            _discard_output()
            return _say(f"the output cannot be written: {error.strerror}; check the free space", 1)
        if debug:
            raise
        return _say(f"{type(error).__name__}: {error} (an error of headrace itself: --debug shows where)", 1)
    return outcome if isinstance(outcome, int) else 0


def _discard_output() -> None:
    """Discard what is still buffered, so that no flush fails at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _trace(*, debug: bool) -> None:
    if debug:
        traceback.print_exc()


def _say(message: str, exit_code: int) -> int:
    print(f"headrace: {printable(' '.join(message.split()))}", file=sys.stderr)
    return exit_code


def _log_to_stderr() -> None:
    """Show the library's log (a fault, a lag, a slow handler) like all other messages of this command."""
    install_handler(LineFormatter("headrace: "))


def _fix_hash_seed() -> None:
    """Restart the process with PYTHONHASHSEED=0, so that a strategy's sets iterate alike in every run.

    For the verbs that run an engine, and not when the seed is set already. The process id stays, so signals still
    arrive.
    """
    if {"replay", "backtest", "lookahead", "sweep", "repeat", "run", "gateway"} & set(
        sys.argv[1:]
    ) and "PYTHONHASHSEED" not in os.environ:
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606 - this same command
