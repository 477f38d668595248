"""``headrace doctor``: the versions and build flags of the installation, for a bug report; or the way to a venue."""

from __future__ import annotations

import os
import platform
import sys
from typing import TYPE_CHECKING, Unpack

import click

import headrace
import headrace._native as _native
from headrace.cli.options import debug_option, json_option, network_options
from headrace.engine.tables import Table, tables_text

if TYPE_CHECKING:
    from headrace.venues.binance.networks import NetworkOptions

__all__ = ["doctor_command"]

CORE = ("numpy", "msgspec", "click")
EXTRAS = {
    "boto3": "aws",
    "aiohttp": "binance",
    "picows": "binance",
    "feedparser": "news",
    "onnxruntime": "finbert",
    "rich": "cli",
    "opentelemetry-sdk": "otel",
    "apsw": "sqlite",
    "bokeh": "report",
    "optuna": "sweep",
    "pandas": "pandas",
    "polars": "polars",
    "prometheus-client": "prometheus",
    "psycopg": "postgres",
    "pyarrow": "parquet",
    "PyYAML": "yaml",
}


@click.command("doctor")
@click.option("--venue", metavar="VENUE", help="Measure the way to BINANCE, BINANCE_USDM or BINANCE_COINM instead.")
@network_options
@json_option
@debug_option
def doctor_command(*, venue: str | None, as_json: bool, **network: Unpack[NetworkOptions]) -> int:
    """Show versions, build flags and extras; with --venue, the routes to a venue and its clock.

    Exit code 1: a route cannot be reached.
    """
    if venue is not None:
        return _measure(venue, as_json=as_json, **network)
    rows = _installation()
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(dict(rows)))
    else:
        click.echo(tables_text([Table("doctor", ("", ""), rows)]))
    return 0


def _measure(venue: str, *, as_json: bool, **network: Unpack[NetworkOptions]) -> int:
    import asyncio

    from headrace.venues import measured

    health = asyncio.run(measured(venue, **network))
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(health))
    else:
        rows = [(own.address, _ms(own.connect_ms), _ms(own.answer_ms), own.problem) for own in health.routes]
        tables = [Table(f"routes to {venue}", ("address", "connected", "answered", "problem"), rows, texts=4)]
        if health.clock is not None:
            offset, error = health.clock.offset_ms, health.clock.error_ms
            side = "ahead of" if offset > 0 else "behind"
            said = f"the venue's is {abs(offset):,.1f} ms {side} ours, give or take {error:,.1f} ms"
            tables.append(Table("clock", ("", ""), [("offset", said)]))
        click.echo(tables_text(tables))
    return 0 if health.is_reachable else 1


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f} ms"


def _installation() -> list[tuple[str, str]]:
    from importlib import metadata

    return [
        ("headrace", headrace.__version__),
        ("installed at", os.path.dirname(headrace.__file__)),  # noqa: PTH120 - as the interpreter shows it
        ("python", f"{platform.python_implementation()} {platform.python_version()} ({sys.executable})"),
        ("machine", f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"),
        *((f"build {name}", str(value)) for name, value in _native.build_info().items()),
        *((name, metadata.version(name)) for name in CORE),
        *((f"extra {extra}: {name}", _version_or_hint(name, extra)) for name, extra in EXTRAS.items()),
        ("PYTHONHASHSEED", os.environ.get("PYTHONHASHSEED", "unset; replay sets it to 0")),
    ]


def _version_or_hint(name: str, extra: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return f'not installed: pip install "headrace[{extra}]"'
