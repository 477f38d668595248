"""Space: the parameters of a sweep, and the values that they take in each trial.

::

    a=1:10:1   1, 2, … 10          b=0.1:0.5   any float between         c=log(0.0001,0.1)   spread over magnitudes
    d=fast,slow   one of these     e=log(1,100,3)   three values: 1, 10, 100

    grid     trial n has the n-th combination, the last parameter changes first
    random   trial n depends on the seed and n alone
    tpe      on the seed, n, and the results of the batches before its own (Optuna's TPE sampler)

Guarantees: no trial depends on when another one ends, so that any number of workers makes the same trials.
Does not: run trials.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec
import numpy as np

from headrace.errors import MissingExtraError, OptionError
from headrace.market.checks import refuse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Axis", "Search", "axis_of", "grid", "proposed"]

Search: TypeAlias = Literal["grid", "random", "tpe"]
FORMS = "1:10:1, 0.1:0.5, log(0.0001,0.1), or values between commas"
_LOG = re.compile(r"log\(([^,:]+)[,:]([^,:]+)(?:[,:]([0-9]+))?\)")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


class Axis(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The values of one parameter: ``choices``, or a range from ``low`` to ``high``.

    step : None: any value between. log : spread over magnitudes. whole : integers.
    """

    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    log: bool = False
    whole: bool = False

    def values(self) -> tuple[Any, ...]:
        """Return all values, for a grid. Raises OptionError for a range without steps."""
        if self.choices:
            return self.choices
        if self.step is None:
            msg = f"a range from {self.low:g} to {self.high:g} has no steps: write LOW:HIGH:STEP, or search at random"
            raise OptionError(msg, option="param")
        count = int((self.high - self.low) / self.step * (1 + 1e-12) + 1e-9) + 1
        return tuple(self._typed(self.low + number * self.step) for number in range(count))

    def _typed(self, value: float) -> int | float:
        # 0.1 + 2 * 0.1 is 0.30000000000000004.
        return round(value) if self.whole else float(f"{value:.12g}")

    def drawn(self, rng: np.random.Generator) -> Any:
        """Return one value at random."""
        if self.choices:
            return self.choices[int(rng.integers(len(self.choices)))]
        if self.step is not None:
            each = self.values()
            return each[int(rng.integers(len(each)))]
        if self.log:
            return self._typed(math.exp(rng.uniform(math.log(self.low), math.log(self.high))))
        return self._typed(rng.uniform(self.low, self.high))

    def suggested(self, trial: Any, name: str) -> Any:
        """Return what Optuna suggests."""
        if self.choices:
            return trial.suggest_categorical(name, self.choices)
        if self.whole:
            return trial.suggest_int(name, int(self.low), int(self.high), step=int(self.step or 1))
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)


def axis_of(name: str, given: str | Sequence[Any]) -> Axis:
    """Return an axis from text, or from a list of values. Raises OptionError."""
    if not isinstance(given, str):
        values = tuple(given)
        if not values:
            refuse(name, given, FORMS)
        return Axis(choices=values)
    if match := _LOG.fullmatch(given.strip()):
        return _log_axis(name, given, match)
    parts = given.split(":")
    if len(parts) in (2, 3) and all(_NUMBER.fullmatch(part.strip()) for part in parts):
        low, high, *steps = (float(part) for part in parts)
        whole = all(part.strip().lstrip("+-").isdigit() for part in parts)
        step = steps[0] if steps else (1.0 if whole else None)
        if low > high or (step is not None and not step > 0):
            refuse(name, given, "LOW:HIGH:STEP with LOW below HIGH and a STEP above 0")
        return Axis(low=low, high=high, step=step, whole=whole)
    if not given.strip():
        refuse(name, given, FORMS)
    return Axis(choices=tuple(_value(part.strip()) for part in given.split(",")))


def _log_axis(name: str, given: str, match: re.Match[str]) -> Axis:
    try:
        low, high, count = float(match[1]), float(match[2]), int(match[3] or 0)
    except ValueError:
        refuse(name, given, FORMS)
    if not 0 < low < high or (match[3] and count < 2):
        refuse(name, given, "log(LOW,HIGH) with 0 < LOW < HIGH, or log(LOW,HIGH,COUNT) from 2 on")
    if count:
        each = np.exp(np.linspace(math.log(low), math.log(high), count))
        return Axis(choices=tuple(float(f"{own:.12g}") for own in each))
    return Axis(low=low, high=high, log=True)


def _value(text: str) -> Any:
    if _NUMBER.fullmatch(text):
        return int(text) if text.lstrip("+-").isdigit() else float(text)
    return text


def grid(space: Mapping[str, Axis]) -> list[dict[str, Any]]:
    """Return every combination, the last parameter changes first. Raises OptionError."""
    each = itertools.product(*(axis.values() for axis in space.values()))
    return [dict(zip(space, own, strict=True)) for own in each]


def proposed(
    space: Mapping[str, Axis],
    search: Search,
    numbers: range,
    *,
    seed: int,
    earlier: Sequence[tuple[Mapping[str, Any], float]] = (),
) -> Iterator[dict[str, Any]]:
    """Yield the parameters of some trials, which are one batch for tpe.

    earlier : parameters and values of all trials of the batches before, in the order of their numbers.
    """
    if search == "tpe":
        yield from _by_tpe(space, numbers, seed, earlier)
    elif search == "random":
        for number in numbers:
            rng = np.random.default_rng([seed, number])
            yield {name: axis.drawn(rng) for name, axis in space.items()}
    else:
        each = grid(space)
        yield from (each[number] for number in numbers)


def _by_tpe(
    space: Mapping[str, Axis], numbers: range, seed: int, earlier: Sequence[tuple[Mapping[str, Any], float]]
) -> Iterator[dict[str, Any]]:
    try:
        import optuna
    except ImportError as error:
        msg = 'search="tpe" needs Optuna: pip install "headrace[sweep]"; grid and random do without'
        raise MissingExtraError(msg) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    own_seed = int.from_bytes(hashlib.sha256(f"{seed}:{numbers.start}".encode()).digest()[:4], "big")
    sampler = optuna.samplers.TPESampler(seed=own_seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for parameters, value in earlier:
        fixed = optuna.trial.FixedTrial(dict(parameters))
        for name, axis in space.items():
            axis.suggested(fixed, name)
        is_there = math.isfinite(value)
        state = optuna.trial.TrialState.COMPLETE if is_there else optuna.trial.TrialState.FAIL
        study.add_trial(
            optuna.trial.create_trial(
                state=state,
                value=value if is_there else None,
                params=dict(fixed.params),
                distributions=dict(fixed.distributions),
            )
        )
    for _ in numbers:
        trial = study.ask()
        yield {name: axis.suggested(trial, name) for name, axis in space.items()}
