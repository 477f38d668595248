"""A backtest with its page: on a thread of its own, while it runs and with its report until the block is left.

Guarantees: the address is the one that is given, never that of a configuration, where its live engine may listen; the
token is that of the user's state folder.
Does not: run the backtest.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from headrace.app.service_thread import serving
from headrace.control.settings import HttpSettings, checked_listen
from headrace.trading.state_folder import state_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from headrace.control.http import BacktestApi

__all__ = ["ServedBacktest", "served_backtest"]


class ServedBacktest(NamedTuple):
    """The page of a backtest. api : what shows it. url : where it is. token_file : what it asks for."""

    api: BacktestApi
    url: str
    token_file: Path


@contextmanager
def served_backtest(listen: str) -> Iterator[ServedBacktest]:
    """Serve a backtest at HOST:PORT. Raises OptionError for no address, ControlError when it is taken.

    Raises MissingExtraError without the extra ``http``.
    """
    from headrace.control.http import BacktestApi, HttpServer, token_path

    settings = checked_listen(HttpSettings(), listen)
    folder = state_folder()
    api = BacktestApi()
    server = HttpServer(api, settings, folder=folder)
    with serving("page", "backtest", api, server):
        yield ServedBacktest(api, server.url, token_path(settings, folder))
