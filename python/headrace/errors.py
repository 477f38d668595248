"""Every error that Headrace raises on purpose, as one tree.

::

    HeadraceError
    ├── OptionError ............ a value that an option does not allow            (also a ValueError)
    ├── SubscriptionError ...... a handler that cannot be bound                   (also a TypeError)
    ├── InstrumentError ........ no SYMBOL.VENUE, unknown, or too many            (also a ValueError)
    ├── KindError .............. a kind that is unknown, or that cannot be added  (also a ValueError)
    ├── DecoderError ........... a venue without a decoder, or a foreign decoder  (also a ValueError)
    ├── RecordingError ......... a file that is missing, unreadable or damaged, or cannot be written on
    │   ├── DataError .......... a file or table of ticks or candles that cannot be used, with row and column
    │   ├── VenueError ......... a recording whose venue cannot be found from its frames
    │   └── SourceOrderError ... a source whose receive times go back
    ├── RestoreError ........... a saved sequencer state that is damaged          (also a ValueError)
    ├── RingError .............. a capacity that no ring can have                 (also a ValueError)
    ├── PublishError ........... ticks that could not be published
    │   ├── ConcurrentPublishError . two publishers at once
    │   ├── ReentrantPublishError .. a publish inside the handler that the ring would wait for
    │   ├── RingHeldError .......... a consumer of the publishing thread holds the ring
    │   └── StoppedError ........... stopped while ticks waited for room
    ├── ReentrantDispatchError . a dispatch inside a dispatch
    ├── ClosedError ............ used after it was closed
    ├── BookError .............. a book that has gone on since it was given
    ├── ForkedError ............ used in the child of a fork
    ├── StrategyFaultError ..... a strategy raised what cannot be passed on
    ├── BusError ............... an event that the bus does not accept
    │   ├── EventTypeError ..... an undeclared event type, or an object that is no event (also a TypeError)
    │   ├── LaneFullError ...... the event's lane is full
    │   ├── DeadlockError ...... the bus did not become idle: a handler waits for an event that comes after its own
    │   └── LetterError ........ a dead letter that cannot be redriven
    ├── CommandError ........... a command type or handler that does not fit the command bus
    ├── LifeCycleError ......... a change of state that the table of the life cycle does not hold
    ├── OrderError ............. an order that cannot be made                     (also a ValueError)
    ├── ConfigError ............ a wrong key or value in a configuration          (also a ValueError)
    ├── EngineError ............ an engine call that is not possible, or not possible now
    │   ├── BrokerError ........ a broker that raised
    │   ├── FeedError .......... a feed that yielded no item, raised no plain Exception, or pushes without a bound
    │   └── ServiceError ....... a service that failed for good
    ├── StateFolderError ....... a state folder that cannot be used, or written to
    ├── ControlError ........... an engine that cannot be reached, or does not answer
    ├── DispatchLogError ....... a dispatch log that is damaged, or belongs to other inputs
    ├── AuditError ............. an audit file that cannot be read
    ├── ResultError ............ a file of a backtest's result that cannot be read or written
    ├── RouteError ............. a change of routes that cannot be made            (also a ValueError)
    ├── SnapshotError .......... what a store of snapshots cannot do
    │   ├── SnapshotNotFoundError .... nothing is stored under a key
    │   ├── SnapshotConflictError .... another writer was faster
    │   └── SnapshotUnavailableError . the store cannot be used
    ├── StoreError ............. what a database of recommendations cannot do
    │   ├── StoreRefusedError ... a constraint or a trigger of the database refused it
    │   ├── StoreUnavailableError a database that cannot be reached, or was lost
    │   │   ├── StoreDeadlockError ... a transaction that waited for another one that waited for it
    │   │   └── CommitUnknownError ... a connection that was lost while it committed
    │   └── SchemaVersionError .. a database that is not migrated, or newer than this release
    ├── RecommendationError .... a recommendation, bar or feature that cannot be stored   (also a ValueError)
    ├── VenueRequestError ...... a request that a venue refused, or did not answer in time
    └── MissingExtraError ...... an optional package is not installed             (also an ImportError)

Guarantees: each message states the fact, the value, and what to do next; the facts are attributes.
Does not: import anything; the native module looks up its error classes here when it first raises one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.engine.report import Report
    from headrace.research.result import BacktestResult


class HeadraceError(Exception):
    """The root of the tree. ``facts`` become attributes."""

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        for name, value in facts.items():
            setattr(self, name, value)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuilt, (type(self), self.args, self.__dict__))


def _rebuilt(kind: type[HeadraceError], args: tuple[str, ...], facts: dict[str, object]) -> HeadraceError:
    """Rebuild an unpickled error with its attributes."""
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
    """A name that is not ``SYMBOL.VENUE``, an unknown id, or one instrument more than the table holds."""


class KindError(HeadraceError, ValueError):
    """A kind that the table does not hold, or a row that cannot be added to it."""


class DecoderError(HeadraceError, ValueError):
    """A venue that has no decoder, or a decoder that belongs to another instrument table."""


class RecordingError(HeadraceError):
    """A recording that is missing, unreadable, truncated or empty, or cannot be written on; ``path`` names it.

    report : of the run that it ended, up to there; None when the run had not begun. result : of a backtest, too.
    """

    path: str
    report: Report | None = None
    result: BacktestResult | None = None


class DataError(RecordingError):
    """A file or table of ticks or candles that cannot be used; ``path`` names it.

    row : the row, from 1, without the header; 0 where it is about the whole of it. column : the column, or "".
    """

    row: int
    column: str


class VenueError(RecordingError):
    """A recording from whose frames the venue cannot be found."""


class SourceOrderError(RecordingError):
    """A source whose receive times go back; ``row`` is the line or tick, from 1."""

    row: int


class RestoreError(HeadraceError, ValueError):
    """A saved sequencer state that is damaged."""


class RingError(HeadraceError, ValueError):
    """A ring that cannot be made: its capacity is no power of two, or there is not enough memory."""


class PublishError(HeadraceError):
    """Ticks that could not be published: of ``asked`` ticks, ``published`` went onto the ring.

    taken : how many of them must not be published again: they are on the ring, or wait and go first with the next
        publish. 0: none.
    waiting : numbered ticks that wait for the next publish.
    """

    published: int
    asked: int
    taken: int = 0
    waiting: int = 0


class ConcurrentPublishError(PublishError):
    """A publish while another one runs: the ring has one writer."""


class ReentrantPublishError(PublishError):
    """A publish inside a handler that would have to wait until that same handler returns."""


class RingHeldError(PublishError):
    """A publish would wait for a pull or async subscription of its own thread, which cannot run meanwhile."""


class StoppedError(PublishError):
    """A publish was stopped while its ticks waited for room in the ring."""


class ReentrantDispatchError(HeadraceError):
    """A dispatch inside a dispatch: an outer call, or one in another thread, still runs."""


class ClosedError(HeadraceError):
    """An object was used after it was closed: no more ticks will come."""


class BookError(HeadraceError):
    """A book was kept by a handler and used after it had gone on: keep the arrays that it returns, not the book."""


class ForkedError(HeadraceError):
    """An object was used in the child of a fork, where its threads do not exist."""


class StrategyFaultError(HeadraceError):
    """A strategy raised what is no Exception (sys.exit, a panic), a StopIteration or a group: the ``__cause__``."""

    subscription: str
    handler: str


class BusError(HeadraceError):
    """An event that the bus does not accept."""


class EventTypeError(BusError, TypeError):
    """An object that is no event, or an event type that was not declared on this bus; ``event_type`` names it."""

    event_type: str


class LaneFullError(BusError):
    """A lane that is full and refuses new events.

    lane : its name. capacity : in events. waited_s : by the engine's clock; 0 when the publisher did not wait.
    """

    lane: str
    capacity: int
    waited_s: float


class DeadlockError(BusError):
    """The bus did not become idle in time: ``holder`` was still handling ``event``, after ``waited_s`` seconds."""

    holder: str
    event: str
    waited_s: float


class LetterError(BusError):
    """A dead letter that cannot be redriven.

    It is unknown, was redriven already, holds no event, or its handler is gone.
    """


class CommandError(HeadraceError):
    """A command without a handler, with two handlers, or of a type outside the family; ``command`` names it."""

    command: str


class LifeCycleError(HeadraceError):
    """A change of state that the life cycle's table does not hold."""

    strategy: str
    state: str
    verb: str


class OrderError(HeadraceError, ValueError):
    """An order that cannot be made: its quantity, price or side is not valid; ``field`` names which."""

    field: str


class ConfigError(HeadraceError, ValueError):
    """A wrong key or value in a configuration; ``path`` is where it stands."""

    path: str


class EngineError(HeadraceError):
    """An engine call that is not possible, or not possible now."""


class BrokerError(EngineError):
    """A broker raised; ``broker`` is its name, ``call`` its method, ``__cause__`` its exception."""

    broker: str
    call: str


class FeedError(EngineError):
    """A feed yielded a wrong item, raised what is no plain Exception, or pushes on without a bound.

    ``feed`` is its name. An item is wrong by its type, by a time in another unit, or by ids without names.

    A plain Exception of a feed goes on as it is, with a note that names the feed and its method.
    """

    feed: str


class ServiceError(EngineError):
    """A service that failed for good; ``service`` names it, ``__cause__`` is its last exception."""

    service: str


class StateFolderError(HeadraceError):
    """A state folder that other users may write to, or that cannot be written to; ``path`` is the folder or file."""

    path: str


class ControlError(HeadraceError):
    """A running engine that cannot be reached from here, or does not answer."""


class DispatchLogError(HeadraceError):
    """A dispatch log that is damaged, or that does not fit the inputs; ``path`` and ``line`` are the place."""

    path: str
    line: int


class AuditError(HeadraceError):
    """An audit file that cannot be read; ``path`` and ``line`` are the place."""

    path: str
    line: int


class ResultError(HeadraceError):
    """A file of a backtest's result is missing, damaged, of another version, or cannot be written."""

    path: str


class RouteError(HeadraceError, ValueError):
    """A change of routes that cannot be made; nothing was changed."""


class SnapshotError(HeadraceError):
    """What a store of snapshots cannot do."""


class SnapshotNotFoundError(SnapshotError):
    """Nothing is stored under ``key``."""

    key: str


class SnapshotConflictError(SnapshotError):
    """Another writer was faster: ``expected`` is not the version ``found``."""

    key: str
    expected: int
    found: int


class SnapshotUnavailableError(SnapshotError):
    """The store at ``path`` cannot be used."""

    path: str


class StoreError(HeadraceError):
    """What a database of recommendations cannot do; ``url`` names it, without its password."""

    url: str


class StoreRefusedError(StoreError):
    """A constraint or a trigger of the database refused a statement; nothing was changed."""


class StoreUnavailableError(StoreError):
    """A database that cannot be reached, is busy for too long, or whose connection was lost."""


class StoreDeadlockError(StoreUnavailableError):
    """A transaction that the database ended, because it and another one waited for each other: nothing was changed."""


class CommitUnknownError(StoreUnavailableError):
    """A connection that was lost while it committed: only a look on a new one shows whether it did."""


class SchemaVersionError(StoreError):
    """A database of ``version``, and a release that needs ``newest``."""

    version: int
    newest: int


class RecommendationError(HeadraceError, ValueError):
    """A recommendation, a bar or features that cannot be stored; ``field`` names what is wrong."""

    field: str


class VenueRequestError(HeadraceError):
    """A request that a venue refused, or did not answer in time.

    status : of HTTP, or the code of a refusal over a web socket; None without an answer.
    """

    url: str
    status: int | None


class MissingExtraError(HeadraceError, ImportError):
    """An optional package is not installed; the message names the command that installs it."""


__all__ = [name for name, own in globals().items() if isinstance(own, type) and issubclass(own, HeadraceError)]
