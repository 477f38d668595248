"""Every error that Headrace raises on purpose, as one tree.

::

    HeadraceError
    ├── OptionError ............ a value that an option does not allow            (also a ValueError)
    ├── SubscriptionError ...... a handler that cannot be bound                   (also a TypeError)
    ├── InstrumentError ........ no SYMBOL.VENUE, unknown, or too many            (also a ValueError)
    ├── KindError .............. no row of the kind table, or one that cannot be  (also a ValueError)
    ├── DecoderError ........... a venue without a decoder, or a foreign decoder  (also a ValueError)
    ├── RecordingError ......... a file that is missing, unreadable or damaged
    │   ├── VenueError ......... a recording that does not tell its venue
    │   └── SourceOrderError ... a source whose receive times go back
    ├── RestoreError ........... a saved sequencer state that is damaged          (also a ValueError)
    ├── RingError .............. a capacity that no ring can have                 (also a ValueError)
    ├── PublishError ........... ticks that could not be published
    │   ├── ConcurrentPublishError . two publishers at once
    │   ├── ReentrantPublishError .. from inside the handler that the ring would wait for
    │   ├── RingHeldError .......... held by a consumer of the publishing thread
    │   └── StoppedError ........... stopped while waiting for room
    ├── ReentrantDispatchError . a dispatch inside a dispatch
    ├── ClosedError ............ used after it was closed
    ├── ForkedError ............ used in the child of a fork
    ├── StrategyFaultError ..... a strategy raised what is no Exception (sys.exit, a panic), under on_fault="raise"
    ├── BusError ............... an event that the bus does not take
    │   ├── EventTypeError ..... of a type that was not declared, or no event     (also a TypeError)
    │   ├── LaneFullError ...... its lane is full
    │   ├── DeadlockError ...... the bus did not become idle: somebody waits for what comes after him
    │   └── LetterError ........ a dead letter that cannot be redriven
    ├── CommandError ........... a command bus that cannot be as it was asked to be
    ├── LifeCycleError ......... a change of state that the table of the life cycle does not hold
    ├── OrderError ............. an order that cannot be made                     (also a ValueError)
    ├── ConfigError ............ a configuration that is wrong, and where         (also a ValueError)
    ├── EngineError ............ an engine that cannot do what it was asked to
    │   └── ServiceError ....... a service that failed for good
    ├── StateFolderError ....... a state folder that cannot be used, or written to
    ├── ControlError ........... an engine that cannot be reached, or does not answer
    ├── DispatchLogError ....... a dispatch log that is damaged, or belongs to other inputs
    ├── AuditError ............. an audit file that cannot be read
    └── MissingExtraError ...... an optional package is not installed             (also an ImportError)

Guarantees: each message says the fact, the value, and what to do next; the facts are attributes.
Does not: import anything; the native module looks its classes up here when it first raises one.
"""

__all__ = [
    "AuditError",
    "BusError",
    "ClosedError",
    "CommandError",
    "ConcurrentPublishError",
    "ConfigError",
    "ControlError",
    "DeadlockError",
    "DecoderError",
    "DispatchLogError",
    "EngineError",
    "EventTypeError",
    "ForkedError",
    "HeadraceError",
    "InstrumentError",
    "KindError",
    "LaneFullError",
    "LetterError",
    "LifeCycleError",
    "MissingExtraError",
    "OptionError",
    "OrderError",
    "PublishError",
    "RecordingError",
    "ReentrantDispatchError",
    "ReentrantPublishError",
    "RestoreError",
    "RingError",
    "RingHeldError",
    "ServiceError",
    "SourceOrderError",
    "StateFolderError",
    "StoppedError",
    "StrategyFaultError",
    "SubscriptionError",
    "VenueError",
]


class HeadraceError(Exception):
    """The root of the tree. ``facts`` become attributes."""

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        for name, value in facts.items():
            setattr(self, name, value)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuilt, (type(self), self.args, self.__dict__))


def _rebuilt(kind: type[HeadraceError], args: tuple[str, ...], facts: dict[str, object]) -> HeadraceError:
    """Make the error again, as another process unpickles it."""
    error = kind(*args)
    error.__dict__.update(facts)
    return error


class OptionError(HeadraceError, ValueError):
    """A value that an option does not allow; ``option`` names it."""

    option: str


class SubscriptionError(HeadraceError, TypeError):
    """A handler that cannot be bound; ``handler`` names it."""

    handler: str


class InstrumentError(HeadraceError, ValueError):
    """A name that is no ``SYMBOL.VENUE``, an unknown id, or one instrument too many."""


class KindError(HeadraceError, ValueError):
    """A kind that the table does not hold, or a row that it cannot take."""


class DecoderError(HeadraceError, ValueError):
    """A venue that has no decoder, or a decoder that belongs to another instrument table."""


class RecordingError(HeadraceError):
    """A recording that is missing, unreadable, truncated or empty; ``path`` names it."""

    path: str


class VenueError(RecordingError):
    """A recording whose frames do not tell which venue sent them."""


class SourceOrderError(RecordingError):
    """A source whose receive times go back; ``row`` is the line or tick, from 1."""

    row: int


class RestoreError(HeadraceError, ValueError):
    """A saved sequencer state that is damaged."""


class RingError(HeadraceError, ValueError):
    """A ring that cannot be: its capacity is no power of two, or memory lacks."""


class PublishError(HeadraceError):
    """Ticks that could not be published: ``published`` of ``asked`` went onto the ring.

    taken : how many of them are the ring's business now: on it, or waiting to go first with the next publish. 0: none.
    waiting : numbered ticks that wait.
    """

    published: int
    asked: int
    taken: int = 0
    waiting: int = 0


class ConcurrentPublishError(PublishError):
    """The ring has one writer, and it is publishing already."""


class ReentrantPublishError(PublishError):
    """A publish from inside a handler, for which the ring would have to wait for that very handler."""


class RingHeldError(PublishError):
    """The ring is held by a pull or async subscription of the publishing thread, which cannot run meanwhile."""


class StoppedError(PublishError):
    """Stopped while ticks waited for room in the ring."""


class ReentrantDispatchError(HeadraceError):
    """A dispatch above this call, or in another thread, is not over yet."""


class ClosedError(HeadraceError):
    """Used after it was closed: no more ticks will come."""


class ForkedError(HeadraceError):
    """Used in the child of a fork, where the threads that serve it do not exist."""


class StrategyFaultError(HeadraceError):
    """A strategy raised something that is no Exception; the original is its ``__cause__``."""

    subscription: str
    handler: str


class BusError(HeadraceError):
    """An event that the bus does not take."""


class EventTypeError(BusError, TypeError):
    """No event, or one of a type that was not declared on this bus; ``event_type`` names it."""

    event_type: str


class LaneFullError(BusError):
    """A lane that refuses when it is full, and is.

    lane : its name. capacity : events. waited_s : by the engine's clock; 0 for who does not wait.
    """

    lane: str
    capacity: int
    waited_s: float


class DeadlockError(BusError):
    """The bus did not become idle in time; ``holder`` has been working on ``event`` all the while."""

    holder: str
    event: str
    waited_s: float


class LetterError(BusError):
    """A dead letter that cannot be redriven: unknown, redriven already, no event's, or its handler is gone."""


class CommandError(HeadraceError):
    """A command without a handler, with two, or of a type that is not of the family; ``command`` names it."""

    command: str


class LifeCycleError(HeadraceError):
    """A change of state that the life cycle's table does not hold."""

    strategy: str
    state: str
    verb: str


class OrderError(HeadraceError, ValueError):
    """An order that cannot be made: its quantity, price or side is no such thing; ``field`` names it."""

    field: str


class ConfigError(HeadraceError, ValueError):
    """A configuration that is wrong; ``path`` says where in it."""

    path: str


class EngineError(HeadraceError):
    """An engine that cannot do what it was asked to."""


class ServiceError(EngineError):
    """A service that failed for good; ``service`` names it, the cause is its last exception."""

    service: str


class StateFolderError(HeadraceError):
    """A state folder that others may write to, or that cannot be written to; ``path`` names what it is about."""

    path: str


class ControlError(HeadraceError):
    """An engine that cannot be reached from here, or does not answer."""


class DispatchLogError(HeadraceError):
    """A dispatch log that is damaged, or that does not fit the inputs; ``path`` and ``line`` say where."""

    path: str
    line: int


class AuditError(HeadraceError):
    """An audit file that cannot be read; ``path`` and ``line`` say where."""

    path: str
    line: int


class MissingExtraError(HeadraceError, ImportError):
    """An optional package is not installed; the message says which command installs it."""
