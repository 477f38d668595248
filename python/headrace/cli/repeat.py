"""``headrace repeat``: a live run once more, from its dispatch log, and whether it decides alike.

Guarantees: nothing is written, no order leaves, no socket listens; exit code 1 when a decision differs.
Does not: need anything but the log, the recordings it names, and the code of the strategies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from headrace.cli.ending import exit_code_for_strategies, print_report, strategy_failures
from headrace.cli.failure import Failure
from headrace.cli.options import debug_option, json_option, overrides_option, venue_option
from headrace.market.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.app.config import EngineConfig
    from headrace.engine.repeat import Repeat
    from headrace.feeds.base import AnyFeed

__all__ = ["repeat_command"]


@click.command("repeat")
@click.argument("log", metavar="LOG")
@click.argument("files", nargs=-1, metavar="[FILE[@VENUE]]...")
@venue_option
@overrides_option
@json_option
@debug_option
def repeat_command(
    *, log: str, files: tuple[str, ...], venue: str | None, overrides: tuple[str, ...], as_json: bool
) -> int:
    """Repeat the live run that wrote LOG, and say whether every decision was the same.

    Each FILE is the recording of a live feed, in the order of the feeds; without FILEs those count that the run made
    with --record. LOG hides secrets as ***, which is what your classes get: give what they need by --set.
    """
    # Loaded here: an engine needs asyncio, and other verbs do not wait for that.
    from headrace.app.build import engine_of
    from headrace.engine.repeat import Repeat
    from headrace.market.clock import Mode

    repeat = Repeat(log)
    config = _config_of(repeat, log, overrides)
    engine = engine_of(config, mode=Mode.REPEAT, dispatch_log=log, feeds=_feeds_of(repeat, config, files, venue))
    with strategy_failures():
        report = engine.run()
    repeated = report.repeated
    assert repeated is not None
    print_report(report, as_json=as_json)
    if not repeated.whole:
        cut = f", and {counted(repeated.torn_bytes, 'byte')} of a torn line were cut" if repeated.torn_bytes else ""
        told = f"{log} has no last line: the live run was killed, and is repeated up to there{cut}"
        click.echo(f"headrace: {told}", err=True)
    if not repeated.same:
        click.echo(f"headrace: the repetition decides otherwise: {repeated.difference}", err=True)
    code = exit_code_for_strategies(report)
    return code if repeated.same else 1


def _config_of(repeat: Repeat, log: str, overrides: tuple[str, ...]) -> EngineConfig:
    from headrace.app.config import logged_config

    config = logged_config(repeat.config, log, overrides)
    # What the live run wrote is not written again.
    section = msgspec.structs.replace(config.engine, audit=None, dispatch_log=None, record=None)
    return msgspec.structs.replace(config, engine=section)


def _feeds_of(repeat: Repeat, config: EngineConfig, files: Sequence[str], venue: str | None) -> list[AnyFeed]:
    """Return the feeds of the live run, each live one replaced by its recording."""
    from headrace.app.build import make_feeds
    from headrace.feeds.given import feeds_of

    live = [feed for feed in repeat.header.feeds if feed.is_live]
    recorded = list(files) or [feed.recording for feed in live]
    if len(recorded) != len(live):
        names = ", ".join(feed.name for feed in live) or "none"
        raise Failure(
            f"{counted(len(recorded), 'FILE')} for {counted(len(live), 'live feed')} ({names}): name one for each",
            exit_code=2,
        )
    if missing := [feed.name for feed, file in zip(live, recorded, strict=True) if not file]:
        msg = f"the live feed {missing[0]} was not recorded: name its recording as FILE[@VENUE]"
        raise Failure(msg, exit_code=2)
    stand_ins = iter(feeds_of(recorded, venue) if recorded else [])
    made = [feed for number, own in enumerate(config.feeds) for feed in make_feeds(own, f"$.feeds[{number}]")]
    if not live:
        return made
    return [next(stand_ins) if feed.is_live else own for feed, own in zip(repeat.header.feeds, made, strict=True)]
