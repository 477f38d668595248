"""The control API over HTTP: an engine, a worker of recommendations or a backtest, served to browsers and scripts.

Imported where ``[control.http]`` is configured: it needs the extra ``http``.
"""

from headrace.control.http.backtest_api import BacktestApi
from headrace.control.http.engine_api import EngineApi
from headrace.control.http.execution_api import ExecutionApi
from headrace.control.http.server import HttpServer, Served, token_path

__all__ = ["BacktestApi", "EngineApi", "ExecutionApi", "HttpServer", "Served", "token_path"]
