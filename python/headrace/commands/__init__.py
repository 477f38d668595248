"""Commands: what an operator may ask of a running engine, and the bus that takes it to its handler and answers."""

from headrace.commands.ack import Ack, AckStatus, Outcome
from headrace.commands.bus import CommandBus
from headrace.commands.family import (
    COMMANDS,
    Argument,
    CancelAll,
    CancelOrder,
    Command,
    CommandEntry,
    Drain,
    Flatten,
    Halt,
    PauseStrategy,
    Rearm,
    RedriveDeadLetter,
    RestartStrategy,
    ResumeStrategy,
    SetSubscription,
    Status,
    StopStrategy,
    entry_of,
)
from headrace.commands.meter import CommandStats
from headrace.commands.middleware import Authorization, Idempotency, RateLimit, default_middleware
from headrace.commands.onion import Middleware, Proceed
from headrace.commands.submission import CommandContext, Submission, current_submission

__all__ = [
    "COMMANDS",
    "Ack",
    "AckStatus",
    "Argument",
    "Authorization",
    "CancelAll",
    "CancelOrder",
    "Command",
    "CommandBus",
    "CommandContext",
    "CommandEntry",
    "CommandStats",
    "Drain",
    "Flatten",
    "Halt",
    "Idempotency",
    "Middleware",
    "Outcome",
    "PauseStrategy",
    "Proceed",
    "RateLimit",
    "Rearm",
    "RedriveDeadLetter",
    "RestartStrategy",
    "ResumeStrategy",
    "SetSubscription",
    "Status",
    "StopStrategy",
    "Submission",
    "current_submission",
    "default_middleware",
    "entry_of",
]
