"""The types of configuration keys, with the bounds that the schema and the errors take from them.

Guarantees: what a type refuses is refused when a file is read, with the key and what it takes.
Does not: import what a ``Use`` names (``app.objects``).
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import msgspec

from headrace.market.checks import FILE_NAME

__all__ = [
    "AboveZero",
    "AtLeastOne",
    "BrokerUse",
    "EngineName",
    "FeedKind",
    "FilePath",
    "ParserUse",
    "RingCapacity",
    "Table",
    "Timeframe",
    "Use",
]

# In a file, relative to the file's folder; in the environment and in overrides, relative to the current folder.
FilePath: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[^\x00]+$", extra={"is": "path", "takes": "a path"})]
# Nothing follows, not even a line break, which "$" would allow in Python.
_END = r"(?![\s\S])"
# module:Class, or path/file.py:Class; it is imported.
Use: TypeAlias = Annotated[str, msgspec.Meta(pattern="^[^:]+:[^:]+$", extra={"is": "use", "takes": "module:Class"})]
FeedKind: TypeAlias = Annotated[
    str,
    msgspec.Meta(
        pattern="^(recording|synthetic|binance|[^:]+:[^:]+)$",
        extra={"is": "use", "takes": '"recording", "synthetic", "binance" or module:Class'},
    ),
]
ParserUse: TypeAlias = Annotated[
    str,
    msgspec.Meta(
        pattern="^(snapshot|json|[^:]+:[^:]+)$", extra={"is": "use", "takes": '"snapshot", "json" or module:function'}
    ),
]
BrokerUse: TypeAlias = Annotated[
    str, msgspec.Meta(pattern="^(simulated|[^:]+:[^:]+)$", extra={"is": "use", "takes": '"simulated" or module:Class'})
]
EngineName: TypeAlias = Annotated[
    str, msgspec.Meta(pattern=f"^{FILE_NAME}{_END}", extra={"takes": "up to 64 letters, digits and . _ -"})
]
# Parameters of a class's constructor; their names are checked when the object is made.
Table: TypeAlias = dict[str, Any]
RingCapacity: TypeAlias = Annotated[
    int, msgspec.Meta(ge=2, le=1 << 62, extra_json_schema={"enum": [1 << bits for bits in range(1, 63)]})
]
Timeframe: TypeAlias = Annotated[
    str,
    msgspec.Meta(
        pattern=f"^(?=0*[1-9])[0-9]{{1,12}}(ms|s|m|h|d|t){_END}", extra={"takes": 'a time like "1m", or "100t"'}
    ),
]
AtLeastOne: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
# Finite; no duration or rate needs more.
AboveZero: TypeAlias = Annotated[float, msgspec.Meta(gt=0, le=1e12)]
