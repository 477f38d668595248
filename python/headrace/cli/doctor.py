"""``headrace doctor``: the versions and build flags of the installation, for a bug report."""

from __future__ import annotations

import os
import platform
import sys

import click

import headrace
import headrace._native as _native
from headrace.cli.options import debug_option
from headrace.engine.tables import Table, tables_text

__all__ = ["doctor_command"]

CORE = ("numpy", "msgspec", "click")
EXTRAS = {
    "boto3": "aws",
    "rich": "cli",
    "aiohttp": "binance",
    "picows": "binance",
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
@debug_option
def doctor_command() -> None:
    """Show versions, build flags and extras."""
    from importlib import metadata

    rows = [
        ("headrace", headrace.__version__),
        ("installed at", os.path.dirname(headrace.__file__)),  # noqa: PTH120 - as the interpreter shows it
        ("python", f"{platform.python_implementation()} {platform.python_version()} ({sys.executable})"),
        ("machine", f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"),
        *((f"build {name}", str(value)) for name, value in _native.build_info().items()),
        *((name, metadata.version(name)) for name in CORE),
        *((f"extra {extra}: {name}", _version_or_hint(name, extra)) for name, extra in EXTRAS.items()),
        ("PYTHONHASHSEED", os.environ.get("PYTHONHASHSEED", "unset; replay sets it to 0")),
    ]
    click.echo(tables_text([Table("doctor", ("", ""), rows)]))


def _version_or_hint(name: str, extra: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return f'not installed: pip install "headrace[{extra}]"'
