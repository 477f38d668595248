"""``headrace replay --dispatch-log FILE``: a live run of ``headrace run`` once more, and whether it decides alike.

Guarantees: nothing is written, no order leaves, no socket listens; exit code 1 when a decision differs.
Does not: need anything but the log and the feeds that its configuration names.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click
import msgspec

if TYPE_CHECKING:
    from headrace.app.config import EngineConfig

__all__ = ["repeat_run"]


def repeat_run(path: str, *, as_json: bool) -> int:
    """Repeat the run that wrote this log, and return the exit code."""
    # Loaded here: an engine needs asyncio, and other verbs should not wait for that.
    from headrace.app.build import engine_of

    engine = engine_of(_config_of(path), replay=True, dispatch_log=path)
    report = engine.run()
    repeated = report.repeated
    assert repeated is not None
    click.echo(json.dumps(report.to_dict()) if as_json else str(report))
    if not repeated.whole:
        click.echo(f"headrace: {path} has no last line: the live run was killed, and is repeated up to there", err=True)
    if not repeated.same:
        click.echo(f"headrace: the repetition decides otherwise: {repeated.difference}", err=True)
    return 0 if repeated.same else 1


def _config_of(path: str) -> EngineConfig:
    from headrace.app.config import EngineConfig
    from headrace.engine.repeat import Repeat

    config = msgspec.convert(Repeat(path).config, EngineConfig, strict=False)
    # What the live run wrote stays as it is.
    section = msgspec.structs.replace(config.engine, audit=None, dispatch_log=None)
    return msgspec.structs.replace(config, engine=section)
