"""Control: how an operator in another process reaches a running engine, over a local socket or HTTP."""

from headrace.control.client import ControlClient, listening_engines
from headrace.control.operator import LatchChange, Operator
from headrace.control.remote import RemoteOperator
from headrace.control.server import ControlServer

__all__ = ["ControlClient", "ControlServer", "LatchChange", "Operator", "RemoteOperator", "listening_engines"]
