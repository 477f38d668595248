"""A feed of ticks that are in an array already, in memory or in a ``.npy`` file.

Guarantees: an array is checked when the feed is made or opened (dtype, shape), before a tick of it is used; a file is
mapped, not read, so its size does not matter.

What its instrument ids mean
    The names that ``headrace.ticks`` gave the array, or that ``instruments`` gives. Without names they are rows of the
    replay's instrument list, and an id beyond the list gets a name like ``3.ARRAY``; then it is the only array.

Does not: number or check the ticks; the sequencer numbers them like all others.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from headrace.errors import OptionError, RecordingError
from headrace.feeds.files import path_text, refuse_endless
from headrace.market.checks import of_type
from headrace.market.tick import NO_INSTRUMENT, TICK_DTYPE, is_tick_dtype
from headrace.market.tick_array import TickArray
from headrace.market.times import column_problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["ArrayFeed"]

# Ticks per item, 1.1 MiB: about a block of a recording, so that a merge reads both at the same pace.
ITEM_TICKS = 16_384


class ArrayFeed:
    """Ticks from an array or a ``.npy`` file.

    source : an array of shape (n,) and dtype TICK_DTYPE (or the view of one kind), or the path of a file that
        ``np.save`` made of such an array.
    name : shown in errors and tables; by default the path, or ``"array"``.
    instruments : the names of the instrument ids, in their order; a ``.npy`` file does not hold them.

    Raises OptionError: an array of another dtype or shape, or times in another unit. Raises RecordingError: a file that
    is missing, is no ``.npy`` file, or holds such an array.
    """

    def __init__(
        self,
        source: np.ndarray | str | os.PathLike[str],
        *,
        name: str | None = None,
        instruments: Iterable[str] = (),
    ) -> None:
        of_type("source", source, np.ndarray, str, os.PathLike)
        of_type("name", name, str, None)
        of_type("instruments", instruments, Iterable)
        self._path = None if isinstance(source, np.ndarray) else Path(source)
        self._name = name or (path_text(self._path) if self._path else "array")
        names = [instruments] if isinstance(instruments, str) else instruments
        self._instruments = tuple(names) or getattr(source, "instruments", ())
        for own in self._instruments:
            of_type("instruments", own, str)
        self._ticks = self._checked(source) if isinstance(source, np.ndarray) else None
        self._bytes_done = 0

    @property
    def name(self) -> str:
        """The name from the option, or the path, or ``"array"``."""
        return self._name

    @property
    def venue(self) -> None:
        """None: the items are ticks, not frames."""
        return

    @property
    def instruments(self) -> tuple[str, ...]:
        """The names of its instrument ids; empty when they have none."""
        return self._instruments

    @property
    def bytes_done(self) -> int:
        """Bytes of the array that were yielded."""
        return self._bytes_done

    @property
    def bytes_total(self) -> int:
        """Bytes of the array; 0 for a file before ``open``."""
        return 0 if self._ticks is None else self._ticks.nbytes

    @property
    def instrument_ids(self) -> int:
        """How many instrument ids the ticks use: the highest one + 1. O(n); 0 for a file before ``open``."""
        if self._ticks is None:
            return 0
        ids = self._ticks["instrument"]
        return int(ids.max(initial=0, where=ids != NO_INSTRUMENT)) + 1 if len(ids) else 0

    async def open(self) -> None:
        """Map the file, if it is one."""
        self._bytes_done = 0
        if self._path is not None:
            import asyncio  # 20 ms, spent only where a loop runs

            self._ticks = await asyncio.to_thread(self._load, self._path)

    async def close(self) -> None:
        """Release the mapped file; an array in memory is left alone."""
        if self._path is not None:
            self._ticks = None

    async def __aiter__(self) -> AsyncIterator[np.ndarray]:
        """Yield slices of at most 16,384 ticks."""
        if self._ticks is None:
            raise self._refused("is not open: await feed.open() first")
        ticks = self._ticks.view(TickArray)
        ticks.instruments = self._instruments
        for start in range(0, len(ticks), ITEM_TICKS):
            item = np.require(ticks[start : start + ITEM_TICKS], requirements=["C", "A"])
            self._bytes_done += item.nbytes
            yield item

    def _load(self, path: Path) -> np.ndarray:
        try:
            refuse_endless(path)
            loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError as error:
            raise self._refused("is missing: check the path") from error
        except (OSError, ValueError, EOFError) as error:
            why = f"cannot be read as .npy ({error}): write it with np.save(path, ticks)"
            raise self._refused(why) from error
        if not isinstance(loaded, np.ndarray):
            loaded.close()
            raise self._refused("holds several arrays: write one of TICK_DTYPE with np.save(path, ticks)")
        return self._checked(loaded)

    def _checked(self, array: np.ndarray) -> np.ndarray:
        if not is_tick_dtype(array.dtype):
            fields = ", ".join(array.dtype.names) if array.dtype.names else str(array.dtype)
            raise self._refused(f"has dtype ({fields}), not TICK_DTYPE: build it with headrace.ticks(...)")
        if array.ndim != 1:
            raise self._refused(f"has shape {array.shape}, an array of ticks has one dimension: reshape it to (-1,)")
        ticks = array.view(TICK_DTYPE)
        # The first times show the unit. A look at all of them would read an array that is larger than the caches once
        # more, or a mapped file; a time that goes back later, NaT too, is refused where it comes.
        if problem := column_problem(ticks["ts_init"][:ITEM_TICKS]):
            raise self._refused(f"has ts_init {problem}")
        return ticks

    def _refused(self, what: str) -> OptionError | RecordingError:
        if self._path is None:
            return OptionError(f"{self._name} {what}", option="sources")
        return RecordingError(f"array file {self._name} {what}", path=str(self._path))
