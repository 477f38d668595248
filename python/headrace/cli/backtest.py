"""``headrace backtest``: strategies over recordings, or a configuration's engine, with orders filled on paper.

Guarantees: the configuration and the strategies are those of ``headrace run``, unchanged; what is not given is filled
in and shown; nothing leaves the process but the files that are named. With ``--json`` stdout is one document.
Does not: pace; it is as fast as its handlers.
"""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from headrace.cli.ending import exit_code_of, market_progress_to, run_with_display
from headrace.cli.failure import Failure
from headrace.cli.options import (
    debug_option,
    engine_option,
    json_option,
    loaded_config,
    overrides_option,
    strict_option,
    venue_option,
)
from headrace.cli.strategies import (
    StrategyCommand,
    is_strategy,
    load_strategies,
    parameter_of,
    strategy_options,
    swapped_hint,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.app.served_backtest import ServedBacktest
    from headrace.cli.ending import ShowProgress
    from headrace.feeds.progress import Progress
    from headrace.research.result import BacktestResult
    from headrace.research.settings import BacktestOptions

__all__ = ["CONFIG_SUFFIXES", "backtest_command", "configured", "is_config", "money_options"]

CONFIG_SUFFIXES = (".toml", ".yaml", ".yml")


def is_config(name: str) -> bool:
    """Whether an argument is a configuration; anything else is data."""
    return name.lower().endswith(CONFIG_SUFFIXES)


class _Outcome:
    """What is printed: the engine's report and the result, as tables or one document."""

    def __init__(self, result: BacktestResult) -> None:
        self.result = result

    def to_dict(self) -> dict[str, Any]:
        return {**self.result.engine, **self.result.to_dict()}

    def __str__(self) -> str:
        return f"{self.result.report}\n\n{self.result}"


def _texts_option(flag: str, name: str, metavar: str, text: str) -> Callable[[Any], Any]:
    """Return an option that may be repeated, whose texts become margins or limits; None without any."""

    def parsed(_context: click.Context, _option: click.Parameter, texts: tuple[str, ...]) -> object:
        from headrace.research.texts import limits_of, margins_of, strategy_limits_of

        of: dict[str, Callable[[tuple[str, ...]], object]] = {
            "margin": margins_of,
            "account_limits": limits_of,
            "strategy_limits": strategy_limits_of,
        }
        return of[name](texts) if texts else None

    return click.option(flag, name, multiple=True, metavar=metavar, help=f"{text} Again for more.", callback=parsed)


def money_options(command: Any) -> Any:
    """Add the options of a backtest's money, fills and span."""
    for option in reversed(
        (
            click.option("--cash", metavar="AMOUNT", help="As 100000 or 100000USDT,2BTC.  [default: 100000]"),
            click.option("--fees", metavar="RATE", help="As 0.001, or MAKER/TAKER.  [default: the venue's base tier]"),
            click.option(
                "--latency",
                metavar="TIME",
                help="How long an order is on its way: 5ms, normal(5ms, 1ms), file(PATH).  [default: 0]",
            ),
            click.option(
                "--fill",
                metavar="MODEL",
                help="quote, trade_through, queue, book_walk, next_open, close_slip, path.  [default: by the data]",
            ),
            _texts_option("--margin", "margin", "NAME=LEVERAGE", "By venue or instrument: BINANCE_USDM=10/0.005."),
            _texts_option("--limit", "account_limits", "NAME=VALUE", "Of the account: position_max=5."),
            _texts_option(
                "--strategy-limit", "strategy_limits", "STRATEGY.NAME=VALUE", "By strategy: *.position_max=5."
            ),
            click.option("--start", metavar="TIME", help="First receive time, UTC: 2026-01-05 or 2026-01-05T12:00."),
            click.option("--end", metavar="TIME", help="The receive time before which the data end, UTC."),
            click.option(
                "--no-check",
                "check",
                is_flag=True,
                callback=lambda _context, _option, is_given: not is_given,
                help="Do not look at the data while it is read, as check does.",
            ),
            click.option("--seed", type=click.IntRange(min=0), metavar="N", help="Of random numbers.  [default: 0]"),
        )
    ):
        command = option(command)
    return command


@click.command("backtest", cls=StrategyCommand)
@click.argument("inputs", nargs=-1, metavar="CONFIG | FILE[@VENUE]...")
@strategy_options
@money_options
@venue_option
@overrides_option
@engine_option("--audit", "FILE", "Write every event to this new file")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), metavar="RESULT", help="Save the result.")
@click.option("--listen", metavar="HOST:PORT", help="Show it in a browser while it runs, and its report until Ctrl-C.")
@strict_option
@json_option
@debug_option
@click.pass_context
def backtest_command(context: click.Context, /, *, listen: str | None, **given: Any) -> int:
    """Run strategies over data of the past, with orders filled on paper, and report what they did.

    A CONFIG ends in .toml, .yaml or .yml; anything else is data: a recording, candles or ticks as CSV, Parquet, npz,
    DBN or .npy; several are merged by time. mine.csv@BTCUSDT.BINANCE says what a file is of that does not say it.
    Fees, limits and instruments that are not given are filled in, and shown.
    """
    if listen is None:
        return _backtest(context, None, **given)
    from headrace.app.served_backtest import served_backtest

    with served_backtest(listen) as page:
        click.echo(f"page    {page.url}\ntoken   the last word of {page.token_file}", err=True)
        code = _backtest(context, page, **given)
        click.echo("the report is on the page until Ctrl-C", err=True)
        with suppress(KeyboardInterrupt):
            signal.pause()
    return code


def _backtest(
    context: click.Context, page: ServedBacktest | None, *, out: Path | None, strict: bool, as_json: bool, **given: Any
) -> int:
    def work(progress: ShowProgress) -> _Outcome:
        return _Outcome(_run(context, given, progress, page))

    outcome = run_with_display(
        "backtest",
        work,
        as_json=as_json,
        progress=market_progress_to,
        broken_off=lambda error: None if error.result is None else _Outcome(error.result),
    )
    if page is not None:
        page.api.finish(outcome.to_dict())
    if as_json:
        for note in outcome.result.notes:
            click.echo(f"filled in: {note}", err=True)
    if out is not None:
        outcome.result.save(out)
        click.echo(f"saved {out}; look at it with: headrace report {out}", err=True)
    report = outcome.result.report
    assert report is not None  # It has just run.
    return exit_code_of(report, strict=strict)


def _run(
    context: click.Context, given: dict[str, Any], show: ShowProgress, page: ServedBacktest | None
) -> BacktestResult:
    # Loaded here: an engine needs asyncio, and other verbs do not wait for that.
    from headrace.research.run import backtest_options, run_backtest

    def progress(own: Progress) -> None:
        show(own)
        if page is not None:
            page.api.look(own)

    begin = None if page is None else page.api.begin
    inputs = given.pop("inputs")
    if not inputs:
        hint = swapped_hint("backtest", given["strategies"])
        raise Failure(f"there is nothing to backtest: name a CONFIG, or a FILE and a --strategy{hint}", exit_code=2)
    for name in inputs:
        if is_strategy(name):
            raise Failure(f"{name} is no recording, but a strategy by its form: write --strategy {name}", exit_code=2)
    uses, parameters = given.pop("strategies"), given.pop("parameters")
    configs = [name for name in inputs if is_config(name)]
    overrides, audit = given.pop("overrides"), given.pop("audit")
    options = {name: value for name, value in given.items() if value is not None}
    if not configs:
        if overrides:
            raise Failure(f"--set {overrides[0]} is for a configuration, and none is named", exit_code=2)
        if not uses:
            raise Failure("there is no strategy: name one with --strategy file.py:Class", exit_code=2)
        loaded = load_strategies(uses, parameters, context)
        of_run = cast("BacktestOptions", {"audit": audit, "progress": progress, **options})
        return run_backtest(*backtest_options(loaded, inputs, of_run), on_begin=begin)
    if len(inputs) > 1:
        raise Failure(f"{configs[0]} is a configuration: name it alone, its feeds are its data", exit_code=2)
    overrides, options["audit"] = _with_parameters(overrides, uses, parameters), audit
    engine, options = configured(configs[0], overrides, options)
    engine["progress"] = progress
    if uses:
        engine["strategies"] = load_strategies(uses, parameters, context)
    return run_backtest(engine, options, on_begin=begin)


def _with_parameters(overrides: tuple[str, ...], uses: tuple[str, ...], parameters: tuple[str, ...]) -> tuple[str, ...]:
    """Return the overrides with the parameters of the configuration's own first strategy, when no other is named."""
    if uses:
        return overrides
    return (*overrides, *("strategies.0.parameters.{}={}".format(*parameter_of(text)) for text in parameters))


def configured(file: str, overrides: tuple[str, ...], options: dict[str, Any]) -> tuple[Any, Any]:
    """Return the options of the engine that a configuration describes, and of its backtest. Raises ConfigError."""
    from headrace.app.build import past_options
    from headrace.telemetry.logs import configure_logging

    path = Path(file)
    if not path.is_file():
        raise Failure(f"configuration {file} is missing: check the path", exit_code=2)
    if options.pop("venue", None) is not None:
        raise Failure("--venue is for files: a configuration names the venue of each feed", exit_code=2)
    config = loaded_config(path, overrides, {"audit": options.pop("audit", None)})
    engine = past_options(config)
    configure_logging(config.engine.log_level, config.engine.log_format, engine.get("run_id") or "replay")
    if any(options.get(name) is not None for name in ("fees", "latency", "fill")):
        if config.broker is not None and config.broker.use != "simulated":
            msg = f"--fees, --latency and --fill are for the simulated broker, and {file} has {config.broker.use}"
            raise Failure(msg, exit_code=2)
        engine["broker"] = None
    if options.get("cash") is None and engine.get("cash"):
        options["cash"] = engine["cash"]
    return engine, options
