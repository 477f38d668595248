"""Finisher: brings one claimed recommendation to its end, in one fenced transaction.

Guarantees: what raises is either a lost database or a stale finish; any other fault ends the row as FAILED, with its
reason, so that no row is tried again for ever.
Does not: try again after a lost connection; the runner does, once it has looked whether the commit arrived.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from headrace.errors import StoreUnavailableError
from headrace.execution import ledger
from headrace.execution.database.base import transaction
from headrace.execution.decision import decide, judge_daily_limit
from headrace.execution.gates import GateError
from headrace.execution.ledger import Holder, StaleFinish
from headrace.execution.schema.states import RecommendationStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from headrace.execution.database.base import Connection
    from headrace.execution.decision import Decision
    from headrace.execution.gates import Gate
    from headrace.execution.recommendation import Claimed
    from headrace.execution.settings import ExecutionSettings

__all__ = ["Finisher", "Outcome"]

log = logging.getLogger(__name__)


class Outcome(NamedTuple):
    """How a row ended. why : of one that was skipped or failed. refused_by : gates."""

    status: RecommendationStatus
    why: str | None = None
    refused_by: tuple[str, ...] = ()


class Finisher:
    """What a run finishes its rows with.

    gates : all of them, by name. now_ms : the time of a simulated day; None: the database's clock.
    """

    def __init__(
        self, holder: Holder, settings: ExecutionSettings, gates: Mapping[str, Gate], now_ms: Callable[[], int | None]
    ) -> None:
        self.holder = holder
        self.settings = settings
        self._gates = gates
        self._now_ms = now_ms

    def finish(self, connection: Connection, claimed: Claimed) -> Outcome:
        """Decide and commit. Raises StaleFinish, StoreUnavailableError."""
        try:
            view = ledger.read_view(connection, claimed, self.settings, self._now_ms())
            return self._commit(connection, decide(self._gates, view))
        except (StaleFinish, StoreUnavailableError):
            raise
        except GateError as error:
            return self._fail(connection, claimed, str(error))
        except Exception as error:
            log.exception("recommendation %d cannot be executed", claimed.id, extra={"run_id": self.holder.run})
            return self._fail(connection, claimed, f"{type(error).__name__}: {error}")

    def _commit(self, connection: Connection, decision: Decision) -> Outcome:
        claimed = decision.view.recommendation
        is_real = self.settings.execution_mode == "REAL"
        with transaction(connection):
            today = ledger.count_today(connection, claimed.ticker, decision.view.now_ms)
            whole = judge_daily_limit(self._gates, decision, today)
            if whole.plan is not None and is_real:
                ledger.mark_sent(connection, self.holder, whole)
                return Outcome(RecommendationStatus.SENT)
            status = RecommendationStatus.SKIPPED if whole.plan is None else RecommendationStatus.SIMULATED
            gates = whole.gates_json
            ledger.end(connection, self.holder, claimed, status, gates=gates, why=whole.why)
            if whole.plan is not None:
                ledger.insert_execution(connection, ledger.execution_values(self.holder, whole, gates))
        return Outcome(status, whole.why, whole.refused_by)

    def _fail(self, connection: Connection, claimed: Claimed, why: str) -> Outcome:
        status = RecommendationStatus.FAILED
        text = why.encode("utf-8", "backslashreplace").decode().replace("\0", "")[:1000]
        with transaction(connection):
            ledger.end(connection, self.holder, claimed, status, gates=None, why=text)
        return Outcome(status, text)
