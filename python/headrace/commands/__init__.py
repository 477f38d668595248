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
from headrace.commands.middleware import (
    AuditTrail,
    Authorization,
    Idempotency,
    RateLimit,
    Telemetry,
    Validation,
    default_middleware,
)
from headrace.commands.onion import Middleware, Proceed
from headrace.commands.submission import CommandDesk, Submission

__all__ = [
    "COMMANDS",
    "Ack",
    "AckStatus",
    "Argument",
    "AuditTrail",
    "Authorization",
    "CancelAll",
    "CancelOrder",
    "Command",
    "CommandBus",
    "CommandDesk",
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
    "Telemetry",
    "Validation",
    "default_middleware",
    "entry_of",
]
