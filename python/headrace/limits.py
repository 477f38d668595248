"""Every default and bound, with its unit and its reason. ``docs/reference/limits.md`` is generated from here.

Bounds of the native core are read from the core, so that no number stands twice.

Guarantees: names end in their unit; relations between bounds are asserted below.
Does not: hold configuration; an option of the same name overrides a default for one object.
"""

from typing import NamedTuple

import headrace._native as _native

__all__ = ["LIMITS", "Limit"]


class Limit(NamedTuple):
    """One bound: its value, its unit, and the reason for the value."""

    name: str
    value: int | float
    unit: str
    reason: str


_core = _native.limit_table()

LIMITS = (
    Limit("RING_CAPACITY", _core["RING_CAPACITY"], "ticks", "5 MiB: more than a second of the busiest recorded minute"),
    Limit("INSTRUMENTS_MAX", _core["INSTRUMENTS_MAX"], "instruments", "three times what the largest venue lists"),
    Limit("SYMBOL_BYTES_MAX", _core["SYMBOL_BYTES_MAX"], "bytes", "the longest listed symbols have about 20"),
    Limit("KINDS_MAX", _core["KINDS_MAX"], "kinds", "a set of kinds is one 64-bit word"),
    Limit("FRAME_BYTES_MAX", _core["FRAME_BYTES_MAX"], "bytes", "ten times a 5,000-level snapshot"),
    Limit("FRAME_DEPTH_MAX", _core["FRAME_DEPTH_MAX"], "levels", "documented frames nest 4 deep"),
    Limit("RESTART_JUMP", _core["RESTART_JUMP"], "numbers", "no restored sequencer uses a number twice"),
    Limit("GAPS_KNOWN_MAX", _core["GAPS_KNOWN_MAX"], "gaps", "what comes after all is late, and no duplicate"),
    Limit("LATE_RUN_MAX", _core["LATE_RUN_MAX"], "events", "late in a row: the venue's numbers began anew"),
    Limit("LATE_RUN_NS", _core["LATE_RUN_NS"], "ns", "late events alone for so long: the venue's numbers began anew"),
    Limit("WINDOW_TICKS_MAX", _core["WINDOW_TICKS_MAX"], "ticks", "a window is a copy: 72 MB"),
    Limit("BATCH_MAX", 1_024, "ticks", "columns pay off from about 19 ticks; above 1,024 they leave the first caches"),
    Limit("BATCH_MAX_MAX", 65_536, "ticks", "a batch is a copy: 4.5 MiB"),
    Limit("BLOCK_MAX_NS", 1_000_000_000, "ns", "a live reader that holds the feed longer than 1 s is demoted"),
    Limit("SLOW_HANDLER_MS", 100, "ms", "an inline handler that runs longer delays all others: it is named in the log"),
    Limit("QUARANTINE_FAULTS", 3, "faults", "one may be bad data, two a coincidence"),
    Limit("QUARANTINE_CALLS", 1_000, "calls", "QUARANTINE_FAULTS within so many calls quarantine a strategy"),
    Limit("OWED_MAX", 1_024, "calls", "awaitables that plain handlers returned, not awaited yet: a batch of them"),
    Limit("CLOSE_DEADLINE_S", 5.0, "s", "a thread that does not end by then is named in the log and left running"),
    Limit("DEAD_LETTERS_MAX", 10_000, "letters", "a day of three faults a minute fits twice"),
    Limit("DEAD_LETTERS_BYTES_MAX", 16 << 20, "bytes", "memory that a process can spare for its failed work"),
    Limit("DEAD_FRAMES_MAX", _core["REJECTS_MAX"], "frames", "enough to see a pattern; of all sources together"),
    Limit("LETTER_TEXT_MAX", 20_000, "characters", "a deep traceback fits; a text of megabytes does not"),
    Limit("LETTER_TICKS_MAX", 8, "ticks", "the first ticks of a failed call, enough to repeat it"),
    Limit("WINDOW_MIN_NS", 1_000_000, "ns", "a singular handler is cheaper than a shorter window"),
    Limit(
        "BARS_EMPTY_MAX", _core["BARS_EMPTY_MAX"], "bars", "in a row; then a series waits for a tick: a day of seconds"
    ),
    Limit(
        "BARS_HISTORY_MAX", _core["BARS_HISTORY_MAX"], "bars", "of one kind, for indicators: a week of minutes, 0.6 MB"
    ),
    Limit("WATCH_EVERY_S", 0.1, "s", "a slow handler is named within 1 s"),
    # The event bus
    Limit("LANE_CAPACITY_CONTROL", 100, "events", "life cycle and audit: rare, and never dropped"),
    Limit("LANE_CAPACITY_ORDER", 50, "events", "more orders than that at once come from a strategy out of control"),
    Limit("LANE_CAPACITY_SIGNAL", 100, "events", "a hundred strategies may signal on one tick"),
    Limit("LANE_CAPACITY_DATA", 1_000, "events", "bars of a thousand instruments close at once"),
    Limit("LANE_EVENTS_MAX", 1_000_000, "events", "in a lane of a replay: its capacity bounds what waits live"),
    Limit("LANE_GROWTH_MAX", 8, "times", "the order lane grows up to so many times its capacity"),
    Limit("LANE_GROW_AT", 0.8, "of capacity", "a lane that is fuller than this for LANE_GROW_S doubles"),
    Limit("LANE_GROW_S", 1.0, "s", "a burst is over by then; what lasts longer is load"),
    Limit("LANE_SHRINK_AT", 0.2, "of capacity", "a lane that is emptier than this for LANE_SHRINK_S halves"),
    Limit("LANE_SHRINK_S", 60.0, "s", "so that a lane does not swing between two sizes"),
    Limit("LANE_ATTEMPTS_DATA", 3, "attempts", "a bar may be delivered again; a signal or an order may not"),
    Limit("CONSEQUENCES_MAX", 8, "times capacity", "events that handlers publish while they run may queue up to it"),
    Limit("TURNS_DATA", 16, "turns", "under a flood on the other lanes, the data lane gets one turn of so many"),
    Limit("LANE_WAIT_S", 1.0, "s", "the longest wait of a publisher for room in its lane"),
    Limit("BARRIER_S", 30.0, "s", "wall time after which a bus that is not idle is a deadlock; its holder is named"),
    # Sweeps
    Limit("CLUSTER_S", 30.0, "s", "a scheduler answers and a first worker joins within it, or the address is wrong"),
    Limit("CLUSTER_TRIALS", 256, "trials", "on a Dask cluster at once: more than it has workers, few to be canceled"),
    # Orders
    Limit("GATE_RECORDS_MAX", 10_000, "evaluations", "what every gate saw of the latest thousand orders"),
    Limit("ORDERS_KEPT_MAX", 10_000, "orders", "of those that have ended; open orders are always kept"),
    Limit("ORDERS_CROSSING_MAX", 400, "orders", "of other threads, not judged yet: as many as a grown order lane"),
    Limit("AMOUNT_DIGITS_MAX", 28, "digits", "of a quantity, price, tick, lot or size: a product has 56 of 60"),
    Limit("AMOUNT_EXPONENT_MAX", 18, "powers of 10", "an amount has no digit beyond 10^18, and none behind 10^-18"),
    Limit("FLATTEN_S", 5.0, "s", "a flatten waits so long for canceled orders to end, then closes what is held"),
    Limit("TIMER_CHAIN_MAX", 10_000, "timers", "each set for now by the one before: the time would never go on"),
    # Shutdown and services
    Limit("DRAIN_S", 10.0, "s", "lanes drain within it at shutdown; what is left is reported"),
    Limit("DRAIN_RUNNING_S", 0.5, "s", "a handler that still runs may finish within it; then it is cancelled"),
    Limit("DRAIN_LAST_S", 0.1, "s", "what waits when the time is over, however busy the machine: more than one slice"),
    Limit("END_TURNS_MIN", 50, "turns", "of the loop that a cancelled task has, also where few fit into its time"),
    Limit("FORCE_S", 0.4, "s", "of a forced end, for all that waits for users' code: the end takes a second at most"),
    Limit("FORCE_STEP_S", 0.05, "s", "what a step of a forced end has, after others took the time"),
    Limit("FEED_WAITING_MAX", 10_000, "items", "of a feed that pushes on while a reader holds the ring, for a second"),
    Limit("RESTART_FIRST_S", 0.5, "s", "the wait before a failed service is restarted; it doubles each time"),
    Limit("RESTART_MAX_S", 30.0, "s", "the longest wait before a service is restarted"),
    # The audit
    Limit("AUDIT_BUFFER_BYTES", 1 << 16, "bytes", "one write for some hundred events"),
    Limit("AUDIT_FLUSH_S", 1.0, "s", "a killed process loses at most so much of its audit"),
    # Telemetry
    Limit("SCRAPE_TIMEOUT_S", 5.0, "s", "a scraper sends its request at once; a connection that sends none is closed"),
    Limit("SCRAPE_BYTES_MAX", 8_192, "bytes", "of a request's head; a scraper sends some hundred"),
    # The command bus
    Limit("COMMAND_TIMEOUT_S", 5.0, "s", "a command whose handler takes longer is answered with 'outcome unknown'"),
    Limit("COMMAND_WORKERS", 4, "workers", "a command that hangs leaves three for the others"),
    Limit("COMMAND_KEYS_MAX", 10_000, "keys", "answers kept for repeated commands"),
    Limit("COMMAND_KEYS_S", 3_600.0, "s", "for so long, a repeated command gets its first answer"),
    Limit("COMMAND_CANCEL_S", 0.5, "s", "a cancelled handler may clean up for so long; then its target goes on"),
    Limit("COMMAND_RATE", 1_000, "commands/s", "no operator types faster; a faster script is out of control"),
    Limit(
        "TRACE_SAMPLE",
        0.0001,
        "of the frames",
        "a span costs what fifty frames do: spans take a two-hundredth",
    ),
    Limit("COMMANDS_WAITING_MAX", 1_000, "commands", "a second's worth; more would be answered too late to matter"),
    Limit("AUDITS_WAITING_MAX", 1_000, "events", "audits that wait for room in a full control lane; more are logged"),
    # The control socket
    Limit("CONTROL_LINE_BYTES_MAX", 65_536, "bytes", "the longest command has some hundred bytes"),
    Limit("CONTROL_CONNECTIONS_MAX", 32, "connections", "a handful of operators and their scripts"),
    Limit("CONTROL_IDLE_S", 60.0, "s", "a connection without a request for so long is closed"),
    # The control API over HTTP
    Limit("HTTP_TOKEN_CHARACTERS_MIN", 43, "characters", "256 bits in base64: nobody guesses it"),
    Limit("HTTP_HEAD_BYTES_MAX", 16_384, "bytes", "of a request line and its headers; a browser sends some 800"),
    Limit("HTTP_BODY_BYTES_MAX", 65_536, "bytes", "of a request; the longest command has some hundred bytes"),
    Limit("HTTP_CONNECTIONS_MAX", 128, "connections", "eight tabs of a browser and its scripts, several times"),
    Limit("HTTP_RATE", 500, "requests/s", "of one client; a page asks for ten a second"),
    Limit("HTTP_BURST", 1_000, "requests", "of one client at once, before HTTP_RATE holds"),
    Limit("HTTP_CLIENTS_MAX", 10_000, "clients", "whose rate is kept; the longest silent is forgotten first"),
    Limit("HTTP_RECEIVE_S", 10.0, "s", "for a whole request, head and body; a command has one packet"),
    Limit("HTTP_SEND_S", 30.0, "s", "a client that reads nothing for so long is cut off"),
    Limit("HTTP_IDLE_S", 60.0, "s", "a connection without a request for so long is closed"),
    Limit("HTTP_DISCARD_BYTES_MAX", 1 << 20, "bytes", "of a refused body are read, so that the client gets the answer"),
    Limit("HTTP_DISCARD_S", 1.0, "s", "a refused body is read for so long, then the connection is closed"),
    Limit("HTTP_STRANGERS_SHARE", 0.01, "of a core", "for clients that have shown no token; the ticks have the rest"),
    Limit("HTTP_STRANGERS_CREDIT_S", 0.02, "s", "such clients may take at once: a page's files, or a hundred refusals"),
    Limit("HTTP_KEYS_MAX", 100_000, "keys", "answers kept for repeated commands: one a second, for a day"),
    Limit("HTTP_KEYS_S", 86_400.0, "s", "for so long, a repeated command gets its first answer"),
    Limit("HTTP_BOOK_LEVELS_MAX", 5_000, "levels", "of each side of a book; no venue's snapshot has more"),
    Limit("HTTP_PAGE_MAX", 1_000, "items", "of one page; a longer one would hold up the engine"),
    # The stream of an operator's page
    Limit("STREAM_EVERY_S", 0.1, "s", "an eye sees no more; less often where reading the state takes long"),
    Limit("STREAM_SHARE_MAX", 0.02, "of a core", "reading the state may take so much; the ticks have the rest"),
    Limit("STREAM_CLIENTS_MAX", 64, "clients", "an operator's few pages, each with one stream for all of its tabs"),
    Limit("STREAM_HEARTBEAT_S", 5.0, "s", "a page that hears nothing for two of them says that it is cut off"),
    Limit("STREAM_TAIL_MAX", 1_000, "entries", "of fills, orders, audit and log each, for who comes or was away"),
    Limit("HISTORY_SERIES_MAX", 256, "series", "16 MiB: the account, ten strategies and some thirty instruments"),
    Limit("PLOTS_MAX", 16, "lines", "of one strategy: an eye tells no more of them apart"),
    # The configuration
    Limit("CONFIG_BYTES_MAX", 1 << 20, "bytes", "a file of a thousand instruments has a fifth of it"),
    Limit("CONFIG_DEPTH_MAX", 32, "levels", "the tree has 4; the rest is for parameters of your own classes"),
    # Execution on SQL
    Limit("STORE_BUSY_S", 30.0, "s", "a transaction lasts less than 1 s; thirty in a row before this one"),
    Limit("STORE_CONNECT_S", 5.0, "s", "a server on another continent answers within 1 s"),
    Limit("TRANSACTION_IDLE_S", 5.0, "s", "a transaction lasts ms; one that idles longer belongs to a stopped process"),
    Limit("STORE_POLL_S", 0.2, "s", "between two looks where nothing wakes a worker"),
    Limit("FETCH_S", 10.0, "s", "of a feed of news or bars; a slower one is tried again at the next run"),
    Limit("FETCH_BYTES_MAX", 8 << 20, "bytes", "of a feed; those of news have some hundred thousand"),
    Limit("ENGINE_BARS_MAX", 100_000, "bars", "kept while the database is away: 30 tickers for two days of minutes"),
    Limit("ORDER_POLL_S", 1.0, "s", "between two looks at open orders: 6 % of spot's weight for each symbol with some"),
    Limit("ORDER_MISSING_S", 60.0, "s", "the venue refuses a request after 5 s, and shows an order some seconds late"),
    Limit("ORDER_ANSWER_S", 6.0, "s", "a request's own timeout, and some more; then the outcome is asked for"),
    Limit("SPOOL_BYTES_MAX", 16 << 20, "bytes", "some 30,000 signals: a database that is away for a night"),
    Limit("SSM_TIMEOUT_S", 3.0, "s", "a run of ten ends within 10 s, its settings included"),
    Limit("WAKEUP_RETRY_S", 5.0, "s", "the wait before a worker listens again; meanwhile it polls"),
    Limit("MIGRATION_LOCK_S", 60.0, "s", "another process's migrations are over by then"),
    Limit("STORE_RETRIES", 6, "tries", "with the waits between them 6 s: a server that restarts is back"),
    Limit("STORE_RETRY_FIRST_S", 0.2, "s", "the wait before the second try; it doubles each time"),
    Limit("STORE_BATCH_MAX", 500, "rows", "in one transaction, so that none lasts over 1 s"),
    Limit("ARCHIVE_AGE_S", 3_600.0, "s", "of what may be archived: a transaction that began before is over by then"),
    Limit("ARCHIVE_BATCH", 200, "rows", "read by one statement, or removed by one transaction, within 1 s"),
    Limit("ARCHIVE_GROUP", 20_000, "rows", "of a row group of a Parquet file: some MB of memory"),
    # The engine
    Limit("SLICE_NS", 200_000, "ns", "dispatch holds the loop at most so long, then other tasks run"),
    Limit("LATCH_POLL_S", 0.02, "s", "the time between two looks at the latch file: five within HALT_S"),
    Limit("PATTERNS_AFTER_S", 10.0, "s", "of data; an instrument that a pattern means has had a tick by then"),
    Limit("FUNDING_LATE_S", 900.0, "s", "REST is asked every 5 minutes, and may fail twice"),
    Limit("HALT_S", 0.1, "s", "a halt takes effect within it, whatever the strategies do"),
)

_values = {limit.name: limit.value for limit in LIMITS}


def _whole(name: str) -> int:
    return int(_values[name])


RING_CAPACITY = _whole("RING_CAPACITY")
INSTRUMENTS_MAX = _whole("INSTRUMENTS_MAX")
FRAME_BYTES_MAX = _whole("FRAME_BYTES_MAX")
FRAME_DEPTH_MAX = _whole("FRAME_DEPTH_MAX")
BATCH_MAX = _whole("BATCH_MAX")
BATCH_MAX_MAX = _whole("BATCH_MAX_MAX")
BLOCK_MAX_NS = _whole("BLOCK_MAX_NS")
SLOW_HANDLER_MS = _whole("SLOW_HANDLER_MS")
QUARANTINE_FAULTS = _whole("QUARANTINE_FAULTS")
QUARANTINE_CALLS = _whole("QUARANTINE_CALLS")
OWED_MAX = _whole("OWED_MAX")
CLOSE_DEADLINE_S = float(_values["CLOSE_DEADLINE_S"])
DEAD_LETTERS_MAX = _whole("DEAD_LETTERS_MAX")
DEAD_LETTERS_BYTES_MAX = _whole("DEAD_LETTERS_BYTES_MAX")
DEAD_FRAMES_MAX = _whole("DEAD_FRAMES_MAX")
LETTER_TEXT_MAX = _whole("LETTER_TEXT_MAX")
LETTER_TICKS_MAX = _whole("LETTER_TICKS_MAX")
WINDOW_MIN_NS = _whole("WINDOW_MIN_NS")
WINDOW_TICKS_MAX = _whole("WINDOW_TICKS_MAX")
BARS_HISTORY_MAX = _whole("BARS_HISTORY_MAX")
WATCH_EVERY_S = float(_values["WATCH_EVERY_S"])
LANE_CAPACITY_CONTROL = _whole("LANE_CAPACITY_CONTROL")
LANE_CAPACITY_ORDER = _whole("LANE_CAPACITY_ORDER")
LANE_CAPACITY_SIGNAL = _whole("LANE_CAPACITY_SIGNAL")
LANE_CAPACITY_DATA = _whole("LANE_CAPACITY_DATA")
LANE_EVENTS_MAX = _whole("LANE_EVENTS_MAX")
LANE_GROWTH_MAX = _whole("LANE_GROWTH_MAX")
LANE_GROW_AT = float(_values["LANE_GROW_AT"])
LANE_GROW_S = float(_values["LANE_GROW_S"])
LANE_SHRINK_AT = float(_values["LANE_SHRINK_AT"])
LANE_SHRINK_S = float(_values["LANE_SHRINK_S"])
LANE_ATTEMPTS_DATA = _whole("LANE_ATTEMPTS_DATA")
CONSEQUENCES_MAX = _whole("CONSEQUENCES_MAX")
TURNS_DATA = _whole("TURNS_DATA")
LANE_WAIT_S = float(_values["LANE_WAIT_S"])
BARRIER_S = float(_values["BARRIER_S"])
CLUSTER_S = float(_values["CLUSTER_S"])
CLUSTER_TRIALS = _whole("CLUSTER_TRIALS")
GATE_RECORDS_MAX = _whole("GATE_RECORDS_MAX")
ORDERS_KEPT_MAX = _whole("ORDERS_KEPT_MAX")
ORDERS_CROSSING_MAX = _whole("ORDERS_CROSSING_MAX")
AMOUNT_DIGITS_MAX = _whole("AMOUNT_DIGITS_MAX")
AMOUNT_EXPONENT_MAX = _whole("AMOUNT_EXPONENT_MAX")
FLATTEN_S = float(_values["FLATTEN_S"])
TIMER_CHAIN_MAX = _whole("TIMER_CHAIN_MAX")
DRAIN_S = float(_values["DRAIN_S"])
DRAIN_RUNNING_S = float(_values["DRAIN_RUNNING_S"])
DRAIN_LAST_S = float(_values["DRAIN_LAST_S"])
END_TURNS_MIN = _whole("END_TURNS_MIN")
FORCE_S = float(_values["FORCE_S"])
FORCE_STEP_S = float(_values["FORCE_STEP_S"])
FEED_WAITING_MAX = int(_values["FEED_WAITING_MAX"])
RESTART_FIRST_S = float(_values["RESTART_FIRST_S"])
RESTART_MAX_S = float(_values["RESTART_MAX_S"])
AUDIT_BUFFER_BYTES = _whole("AUDIT_BUFFER_BYTES")
AUDIT_FLUSH_S = float(_values["AUDIT_FLUSH_S"])
SCRAPE_TIMEOUT_S = float(_values["SCRAPE_TIMEOUT_S"])
SCRAPE_BYTES_MAX = _whole("SCRAPE_BYTES_MAX")
COMMAND_TIMEOUT_S = float(_values["COMMAND_TIMEOUT_S"])
COMMAND_WORKERS = _whole("COMMAND_WORKERS")
COMMAND_KEYS_MAX = _whole("COMMAND_KEYS_MAX")
COMMAND_KEYS_S = float(_values["COMMAND_KEYS_S"])
COMMAND_CANCEL_S = float(_values["COMMAND_CANCEL_S"])
COMMAND_RATE = _whole("COMMAND_RATE")
TRACE_SAMPLE = float(_values["TRACE_SAMPLE"])
COMMANDS_WAITING_MAX = _whole("COMMANDS_WAITING_MAX")
AUDITS_WAITING_MAX = _whole("AUDITS_WAITING_MAX")
CONTROL_LINE_BYTES_MAX = _whole("CONTROL_LINE_BYTES_MAX")
CONTROL_CONNECTIONS_MAX = _whole("CONTROL_CONNECTIONS_MAX")
CONTROL_IDLE_S = float(_values["CONTROL_IDLE_S"])
HTTP_TOKEN_CHARACTERS_MIN = _whole("HTTP_TOKEN_CHARACTERS_MIN")
HTTP_HEAD_BYTES_MAX = _whole("HTTP_HEAD_BYTES_MAX")
HTTP_BODY_BYTES_MAX = _whole("HTTP_BODY_BYTES_MAX")
HTTP_CONNECTIONS_MAX = _whole("HTTP_CONNECTIONS_MAX")
HTTP_RATE = _whole("HTTP_RATE")
HTTP_BURST = _whole("HTTP_BURST")
HTTP_CLIENTS_MAX = _whole("HTTP_CLIENTS_MAX")
HTTP_RECEIVE_S = float(_values["HTTP_RECEIVE_S"])
HTTP_SEND_S = float(_values["HTTP_SEND_S"])
HTTP_IDLE_S = float(_values["HTTP_IDLE_S"])
HTTP_DISCARD_BYTES_MAX = _whole("HTTP_DISCARD_BYTES_MAX")
HTTP_DISCARD_S = float(_values["HTTP_DISCARD_S"])
HTTP_STRANGERS_SHARE = float(_values["HTTP_STRANGERS_SHARE"])
HTTP_STRANGERS_CREDIT_S = float(_values["HTTP_STRANGERS_CREDIT_S"])
HTTP_KEYS_MAX = _whole("HTTP_KEYS_MAX")
HTTP_KEYS_S = float(_values["HTTP_KEYS_S"])
HTTP_BOOK_LEVELS_MAX = _whole("HTTP_BOOK_LEVELS_MAX")
HTTP_PAGE_MAX = _whole("HTTP_PAGE_MAX")
STREAM_EVERY_S = float(_values["STREAM_EVERY_S"])
STREAM_SHARE_MAX = float(_values["STREAM_SHARE_MAX"])
STREAM_CLIENTS_MAX = _whole("STREAM_CLIENTS_MAX")
STREAM_HEARTBEAT_S = float(_values["STREAM_HEARTBEAT_S"])
STREAM_TAIL_MAX = _whole("STREAM_TAIL_MAX")
HISTORY_SERIES_MAX = _whole("HISTORY_SERIES_MAX")
PLOTS_MAX = _whole("PLOTS_MAX")
CONFIG_BYTES_MAX = _whole("CONFIG_BYTES_MAX")
CONFIG_DEPTH_MAX = _whole("CONFIG_DEPTH_MAX")
STORE_BUSY_S = float(_values["STORE_BUSY_S"])
STORE_CONNECT_S = float(_values["STORE_CONNECT_S"])
TRANSACTION_IDLE_S = float(_values["TRANSACTION_IDLE_S"])
STORE_POLL_S = float(_values["STORE_POLL_S"])
FETCH_S = float(_values["FETCH_S"])
FETCH_BYTES_MAX = _whole("FETCH_BYTES_MAX")
ENGINE_BARS_MAX = _whole("ENGINE_BARS_MAX")
ORDER_POLL_S = float(_values["ORDER_POLL_S"])
ORDER_MISSING_S = float(_values["ORDER_MISSING_S"])
ORDER_ANSWER_S = float(_values["ORDER_ANSWER_S"])
SPOOL_BYTES_MAX = _whole("SPOOL_BYTES_MAX")
SSM_TIMEOUT_S = float(_values["SSM_TIMEOUT_S"])
WAKEUP_RETRY_S = float(_values["WAKEUP_RETRY_S"])
MIGRATION_LOCK_S = float(_values["MIGRATION_LOCK_S"])
STORE_RETRIES = _whole("STORE_RETRIES")
STORE_RETRY_FIRST_S = float(_values["STORE_RETRY_FIRST_S"])
STORE_BATCH_MAX = _whole("STORE_BATCH_MAX")
ARCHIVE_AGE_S = float(_values["ARCHIVE_AGE_S"])
ARCHIVE_BATCH = _whole("ARCHIVE_BATCH")
ARCHIVE_GROUP = _whole("ARCHIVE_GROUP")
SLICE_NS = _whole("SLICE_NS")
PATTERNS_AFTER_S = float(_values["PATTERNS_AFTER_S"])
FUNDING_LATE_S = float(_values["FUNDING_LATE_S"])
HALT_S = float(_values["HALT_S"])
LATCH_POLL_S = float(_values["LATCH_POLL_S"])

assert BATCH_MAX <= BATCH_MAX_MAX
assert LETTER_TICKS_MAX < BATCH_MAX
assert WATCH_EVERY_S + SLOW_HANDLER_MS / 1e3 < 1
assert RING_CAPACITY & (RING_CAPACITY - 1) == 0
assert LANE_SHRINK_AT * 2 < LANE_GROW_AT
assert ORDERS_CROSSING_MAX == LANE_CAPACITY_ORDER * LANE_GROWTH_MAX
assert RESTART_FIRST_S < RESTART_MAX_S
assert LATCH_POLL_S * 4 < HALT_S
