"""Runner: one worker, whose runs claim recommendations and bring each to its end exactly once.

::

    run record ─▶ expire ─▶ reap ─▶ claim ─▶ for each: newest bar and features ─▶ gates ─▶ price, size, stops
      ─▶ status and ledger in one fenced transaction ─▶ counts and summary on the run

What happens when
    the process is killed: its rows are reaped when their leases end, after ``processing_ttl_minutes``.
    it is stopped (``stop``): the row in hand is finished, the others are released, which costs them no attempt.
    its connection is lost: it connects again and looks whether its last finish was committed before it goes on.
    a finish comes too late: it is refused and counted; the worker that has the row now goes on.
    a gate of the user raises: that recommendation ends as FAILED, with the gate's name.
    the kill switch is set: nothing is claimed, and nothing sent.

Guarantees: any number of runners may work at once; settings are read anew at each run, which stores what it used.
Does not: wait between runs; ``workers`` does.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
import uuid
from typing import TYPE_CHECKING, NamedTuple, Self

from headrace.errors import OptionError, StoreError, StoreUnavailableError
from headrace.execution import claims, ledger
from headrace.execution.counts import RunCounts
from headrace.execution.finishing import Finisher, Outcome
from headrace.execution.gates import GATES
from headrace.execution.leases import LeaseKeeper
from headrace.execution.ledger import Holder, StaleFinish
from headrace.execution.real_orders import RealOrders, sent_orders, settle
from headrace.execution.schema.grants import owner_warning
from headrace.execution.schema.migrating import check_version
from headrace.execution.schema.states import RecommendationStatus
from headrace.execution.values import json_text
from headrace.limits import STORE_RETRIES, STORE_RETRY_FIRST_S
from headrace.market.money import ZERO
from headrace.trading.brokers.outcome import OrderOutcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeVar

    from headrace.execution.database.base import Connection, Database, Value
    from headrace.execution.gates import Gate
    from headrace.execution.real_orders import SentOrder
    from headrace.execution.recommendation import Claimed
    from headrace.execution.settings import ExecutionSettings
    from headrace.trading.brokers.outcome import AskableBroker

    Result = TypeVar("Result")

__all__ = ["RunResult", "Runner", "owner_name"]

log = logging.getLogger(__name__)

# The kill switch was set between the commit and the send: nothing left.
_HALTED = OrderOutcome("ended", ZERO, ZERO, "the kill switch was set before it was sent")
_BEGIN_RUN = (
    "INSERT INTO dispatcher_runs (run_id, run_config_json) VALUES (:run, JSON(:config)) ON CONFLICT (run_id) DO NOTHING"
)
_END_RUN = """
UPDATE dispatcher_runs SET finished_at = NOW(), pulled_count = :pulled, processed_count = :processed,
    simulated_count = :simulated, skipped_count = :skipped, failed_count = :failed, run_summary_json = JSON(:summary)
WHERE run_id = :run
"""


class RunResult(NamedTuple):
    """What a run did. halted : the kill switch was set, so nothing was claimed."""

    run_id: str
    counts: RunCounts
    halted: bool


def owner_name() -> str:
    """Return a name for a worker that no other has: host, process and a random id for each start."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


class Runner:
    """One worker on one connection; used by one thread. A context manager.

    settings : called at the begin of each run. gates : further gates, by name. is_halted : whether the kill switch is
    set. now_ms : the time of a simulated day; None: the database's clock. broker : of real orders, which a run with
    execution_mode = "REAL" needs; it is closed with the runner.
    """

    def __init__(
        self,
        database: Database,
        settings: Callable[[], ExecutionSettings],
        *,
        gates: Mapping[str, Gate] | None = None,
        is_halted: Callable[[], bool] = lambda: False,
        now_ms: Callable[[], int] | None = None,
        broker: AskableBroker | None = None,
        owner: str | None = None,
    ) -> None:
        self._database = database
        self._settings = settings
        self._gates = {**GATES, **(gates or {})}
        self._is_halted = is_halted
        self._now_ms = now_ms
        self.owner = owner or owner_name()
        self._orders = None if broker is None else RealOrders(broker)
        self._connection: Connection | None = None
        self._is_new = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the broker and the connection; may be called twice."""
        orders, self._orders = self._orders, None
        if orders is not None:
            orders.close()
        self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def run(self, stop: threading.Event | None = None) -> RunResult:
        """Do one run. stop : set: finish the row in hand, release the others.

        Raises OptionError for settings that no run accepts, StoreError when the database is away for longer than some
        seconds. Then the leases of what it held end by themselves.
        """
        settings = self._settings().checked()
        if settings.execution_mode == "REAL" and self._orders is None:
            msg = "execution_mode is REAL, and there is no broker: add a section [broker] with use = module:Class"
            raise OptionError(msg, option="execution_mode")
        started = time.monotonic()
        holder = Holder(self.owner, str(uuid.uuid4()))
        counts = RunCounts(runs=1)
        extra = {"run_id": holder.run, "owner": self.owner}
        config = json_text(settings.document())
        self._repeated(lambda own: own.changed(_BEGIN_RUN, {"run": holder.run, "config": config}))
        halted = self._is_halted()
        if halted:
            log.warning("the kill switch is set: nothing is claimed", extra=extra)
        else:
            self._work(holder, settings, counts, stop or threading.Event())
        counts.seconds = time.monotonic() - started
        self._end_run(holder.run, counts, halted=halted)
        log.info("run ended", extra={**extra, **counts.document()})
        return RunResult(holder.run, counts, halted)

    def has_work(self) -> bool:
        """Return whether a run would find something to do; no while the kill switch is set."""
        if self._is_halted():
            return False
        settings = self._settings()
        return self._repeated(lambda own: claims.has_work(own, settings, self._now()))

    @property
    def has_broker(self) -> bool:
        """Whether its runs ask for the outcomes of real orders."""
        return self._orders is not None

    def backlog(self) -> claims.Backlog:
        """Return what waits in the database."""
        return self._repeated(claims.backlog)

    def _work(self, holder: Holder, settings: ExecutionSettings, counts: RunCounts, stop: threading.Event) -> None:
        """Expire, reap, claim and process, until enough is claimed, nothing is left, or ``stop`` is set."""
        counts.expired = self._repeated(lambda own: claims.expire(own, holder.run, settings, self._now()))
        reaped = self._repeated(lambda own: claims.reap(own, holder.run, settings))
        counts.reaped, counts.reaped_failed = len(reaped.released), len(reaped.failed)
        for failed in reaped.failed:
            log.error("recommendation %d FAILED: max_attempts", failed, extra={"run_id": holder.run})
        self._resolve(holder, settings, counts)
        finisher = Finisher(holder, settings, self._gates, self._now)
        with LeaseKeeper(self._database, self.owner, holder.run, settings) as keeper:
            while counts.pulled < settings.max_signals_per_run and not stop.is_set() and not self._is_halted():
                held = self._claim(holder, settings, settings.max_signals_per_run - counts.pulled)
                if not held:
                    return
                counts.pulled += len(held)
                self._process_all(finisher, counts, held, stop, keeper)

    def _claim(self, holder: Holder, settings: ExecutionSettings, most: int) -> list[Claimed]:
        """Claim; a claim whose commit was lost is not repeated: its leases end, or the next look finds them."""
        connection = self._connected()
        try:
            return claims.claim(connection, self.owner, holder.run, settings, most, self._now())
        except StoreUnavailableError as error:
            self._disconnect()
            log.warning("nothing is claimed now: %s", error, extra={"run_id": holder.run, "owner": self.owner})
            return []

    def _process_all(
        self,
        finisher: Finisher,
        counts: RunCounts,
        held: list[Claimed],
        stop: threading.Event,
        keeper: LeaseKeeper,
    ) -> None:
        left = list(held)
        try:
            while left and not stop.is_set() and not self._is_halted():
                keeper.progressed()
                self._process(finisher, counts, left[0])
                del left[0]
        finally:
            if left:
                self._release(counts, left)

    def _release(self, counts: RunCounts, left: list[Claimed]) -> None:
        try:
            counts.released += claims.release(self._connected(), self.owner, left)
        except StoreError as error:
            self._disconnect()
            log.warning("%d rows are not released; their leases end by themselves: %s", len(left), error)

    def _process(self, finisher: Finisher, counts: RunCounts, claimed: Claimed) -> None:
        """Bring one row to its end, and count it."""
        extra = {"run_id": finisher.holder.run, "recommendation_id": claimed.id, "ticker": claimed.ticker}
        tries = 0

        def attempt(connection: Connection) -> Outcome:
            nonlocal tries
            tries += 1
            # The answer to the commit before may have been lost.
            found = ledger.ended_as(connection, finisher.holder, claimed) if tries > 1 else None
            return finisher.finish(connection, claimed) if found is None else Outcome(found)

        try:
            outcome = self._repeated(attempt)
        except StaleFinish as stale:
            counts.stale += 1
            log.warning("a stale finish was refused: %s", stale, extra=extra)
            return
        counts.count(outcome.status, outcome.refused_by)
        if outcome.status is RecommendationStatus.SENT:
            self._send(finisher, counts, claimed)
            return
        level = logging.ERROR if outcome.status is RecommendationStatus.FAILED else logging.INFO
        log.log(level, "%s%s", outcome.status, f": {outcome.why}" if outcome.why else "", extra=extra)

    def _send(self, finisher: Finisher, counts: RunCounts, claimed: Claimed) -> None:
        """Send an order whose row is SENT, once; what is not known then is asked for by later runs."""
        assert self._orders is not None
        [order] = self._repeated(lambda own: sent_orders(own, claimed.id))
        outcome = _HALTED if self._is_halted() else self._orders.send(order)
        self._settle(finisher.holder, finisher.settings, counts, order, outcome)

    def _resolve(self, holder: Holder, settings: ExecutionSettings, counts: RunCounts) -> None:
        """Ask for the outcome of every order that is still SENT."""
        if self._orders is not None:
            for order in self._repeated(sent_orders):
                self._settle(holder, settings, counts, order, self._orders.ask(order))

    def _settle(
        self,
        holder: Holder,
        settings: ExecutionSettings,
        counts: RunCounts,
        order: SentOrder,
        outcome: OrderOutcome | None,
    ) -> None:
        extra = {"run_id": holder.run, "recommendation_id": order.id, "client_order_id": order.client_order_id}
        status = self._repeated(lambda own: settle(own, order, outcome, settings))
        if status is None:
            log.warning("SENT: the outcome is not known yet", extra=extra)
            return
        counts.count(RecommendationStatus(status))
        log.log(logging.INFO if status == "EXECUTED" else logging.ERROR, "%s", status, extra=extra)

    def _end_run(self, run: str, counts: RunCounts, *, halted: bool) -> None:
        summary = json_text({**counts.document(), "halted": halted, "owner": self.owner})
        names = ("pulled", "processed", "simulated", "skipped", "failed")
        values: dict[str, Value] = {name: getattr(counts, name) for name in names}
        self._repeated(lambda own: own.changed(_END_RUN, {**values, "summary": summary, "run": run}))

    def _now(self) -> int | None:
        return None if self._now_ms is None else self._now_ms()

    def _connected(self) -> Connection:
        if self._connection is None:
            connection = self._database.connect()
            try:
                check_version(connection, complete=True)
                if self._is_new and (warning := owner_warning(connection)):
                    log.warning("%s", warning, extra={"owner": self.owner})
                self._is_new = False
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _repeated(self, work: Callable[[Connection], Result]) -> Result:
        """Do what may be done twice, on a new connection when one is lost. Raises StoreUnavailableError in the end."""
        for number in range(STORE_RETRIES):
            try:
                return work(self._connected())
            except StoreUnavailableError as error:
                self._disconnect()
                if number == STORE_RETRIES - 1:
                    raise
                log.warning("%s; trying again", error, extra={"owner": self.owner})
                time.sleep(STORE_RETRY_FIRST_S * 2**number)
        raise AssertionError
