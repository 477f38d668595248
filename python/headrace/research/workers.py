"""Workers: where the trials of a sweep run: in this process, in several, or on a Dask cluster.

::

    processes   the data are written once as arrays, and each process maps them
    cluster     the data are sent to each worker once; it runs one trial at a time, whatever its number of threads

Guarantees: a trial is the same wherever it runs; what runs trials ends with the sweep, a cluster apart.
Does not: send strategies: each worker imports them, so their modules and files are there under the same names.
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import headrace._native as _native
from headrace.errors import OptionError
from headrace.limits import CLUSTER_S, CLUSTER_TRIALS
from headrace.research.past import Past
from headrace.research.rows import extra
from headrace.research.trial import Trial, Trials

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import ExitStack

    from headrace.research.past import Packed
    from headrace.research.trial import Recipe

__all__ = ["RunTrials", "on_cluster", "on_processes"]

log = logging.getLogger(__name__)

# Takes parameters by number of trial; yields trials as they end.
RunTrials = Callable[[Mapping[int, Mapping[str, Any]]], "Iterator[Trial]"]


def on_processes(stack: ExitStack, trials: Trials, workers: int) -> RunTrials:
    """Return what runs trials in this process, or in several, which end with the stack."""
    if workers == 1:
        return lambda left: (trials.run(number, own) for number, own in left.items())
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headrace-sweep-")))
    setting = (trials.recipe, trials.past.saved(folder), trials.metric)
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_begin, initargs=setting)
    stack.callback(pool.shutdown, wait=True, cancel_futures=True)
    # No more wait in the pool than it has workers, so that an interrupt ends soon.
    return lambda left: _run_all(lambda *own: pool.submit(_run_here, *own), left, workers + 1)


def on_cluster(stack: ExitStack, trials: Trials, address: str) -> RunTrials:
    """Return what runs trials on the workers of a Dask cluster; trials that wait there are cancelled with the stack.

    Raises MissingExtraError, and OptionError: no scheduler or no worker answers, or one has another version.
    """
    distributed = extra("distributed", "dask")
    try:
        client = stack.enter_context(distributed.Client(address, timeout=CLUSTER_S, set_as_default=False))
        client.wait_for_workers(1, timeout=CLUSTER_S)
    except (OSError, TimeoutError, ValueError) as error:
        msg = (
            f"dask={address!r} has no worker that answers within {CLUSTER_S:.0f} s ({error}): "
            "start dask scheduler, and dask worker on each machine"
        )
        raise OptionError(msg, option="dask") from error
    _check_workers(client.run(_facts))
    setting = client.scatter((trials.recipe, trials.past.packed(), trials.metric), broadcast=True)
    pool = client.get_executor(pure=False)
    stack.callback(pool.shutdown, wait=False)
    return lambda left: _run_all(lambda *own: pool.submit(_run_there, setting, *own), left, CLUSTER_TRIALS)


def _run_all(
    submit: Callable[..., Future[Trial]], left: Mapping[int, Mapping[str, Any]], at_once: int
) -> Iterator[Trial]:
    """Yield trials as they end; so many are submitted at once."""
    waiting = iter(left.items())
    running: dict[Future[Trial], tuple[int, Mapping[str, Any]]] = {}
    try:
        while True:
            while len(running) < at_once and (own := next(waiting, None)) is not None:
                running[submit(*own)] = own
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                del running[future]
                yield future.result()
    finally:
        for future in running:
            future.cancel()


# In a process

# One, from the beginning of a process on.
_here: list[Trials] = []


def _begin(recipe: Recipe, saved: Any, metric: str) -> None:
    """Map the data, once for all trials of a process."""
    _here[:] = [Trials(recipe, Past.mapped(saved), metric)]


def _run_here(number: int, parameters: Mapping[str, Any]) -> Trial:
    return _here[0].run(number, parameters)


# On a worker of a cluster

# A run seeds the generators of its process.
_one_at_a_time = threading.Lock()


def _run_there(setting: tuple[Recipe, Packed, str], number: int, parameters: Mapping[str, Any]) -> Trial:
    recipe, packed, metric = setting
    with _one_at_a_time:
        return Trials(recipe, Past.unpacked(packed), metric).run(number, parameters)


def _facts() -> tuple[str, str]:
    return str(_native.build_info()["version"]), os.environ.get("PYTHONHASHSEED", "random")


def _check_workers(facts: Mapping[str, tuple[str, str]]) -> None:
    """Refuse workers of another version; warn of those whose sets iterate in another order in each process."""
    own, _ = _facts()
    for worker, (version, hash_seed) in facts.items():
        if version != own:
            msg = f"worker {worker} has headrace {version}, and not {own}: install the same version everywhere"
            raise OptionError(msg, option="dask")
        if hash_seed == "random":
            log.warning("worker %s: start it with PYTHONHASHSEED=0, so that sets iterate in one order", worker)
