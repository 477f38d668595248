"""Control: how an operator in another process reaches a running engine, over a local socket."""

from headrace.control.client import ControlClient, running_engines
from headrace.control.server import ControlServer

__all__ = ["ControlClient", "ControlServer", "running_engines"]
