//! `Sequencer`: numbers ticks per (instrument, kind) and checks the venue's own numbers.
//!
//! Guarantees: state is moved out while it works, so no lock is held and a second caller gets an error.
//! Does not: publish.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};

use headrace_core::ingest::sequencer::{
    self, SavedStream, SequencerCounts, SequencerOptions, SequencerState, Unwanted,
};
use headrace_core::limits::KINDS_MAX;
use headrace_core::market::kind::{self, KindTable};
use headrace_core::market::tick::Tick;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::{raise, raise_with, refuse_after_fork};
use crate::hot::columns::{tick_array, ticks_of};
use crate::hot::exclusive::{Exclusive, Taken};
use crate::lock::lock;
use crate::tables::instruments::Instruments;
use crate::tables::kinds::kinds;

/// What is moved out while a call works with it.
pub(crate) struct Working {
    pub(crate) sequencer: sequencer::Sequencer,
    pub(crate) kinds: KindTable,
    pub(crate) incoming: Vec<Tick>,
    pub(crate) outgoing: Vec<Tick>,
    /// Numbered, and not on the ring yet, because it had no room: goes there first with the next publish.
    pub(crate) waiting: Vec<Tick>,
}

/// Shared between the Python object and the ingest that uses it.
pub(crate) struct SequencerCore {
    pub(crate) working: Exclusive<Working>,
    /// The counts as they were when other threads or handlers began to run in the middle of a publish.
    pub(crate) counts: Mutex<Option<SequencerCounts>>,
}

/// The row of the first tick of an unknown kind or instrument, or of a size below 0.
pub(super) fn first_unfit(ticks: &[Tick], kinds: &KindTable, instruments: usize) -> Option<usize> {
    let known_kinds = kinds.rows().len();
    // NO_INSTRUMENT wraps to 0, so that one comparison serves it, too.
    let is_unfit = |tick: &Tick| {
        usize::from(tick.kind).wrapping_sub(1) >= known_kinds
            || tick.kind == kind::BOOK
            || tick.instrument.wrapping_add(1) as usize > instruments
            || tick.has_negative_size()
    };
    ticks.iter().position(is_unfit)
}

/// Refuses ticks of an unknown kind or instrument, or of a size below 0; the error names the first.
pub(crate) fn refuse_unfit(py: Python<'_>, ticks: &[Tick], kinds: &KindTable, instruments: usize) -> PyResult<()> {
    match first_unfit(ticks, kinds, instruments) {
        None => Ok(()),
        Some(row) => Err(unfit_tick(py, row, &ticks[row], kinds, instruments)),
    }
}

#[cold]
fn unfit_tick(py: Python<'_>, row: usize, tick: &Tick, kinds: &KindTable, instruments: usize) -> PyErr {
    let facts = [("row", row as u64)];
    if kinds.get(tick.kind).is_none() {
        let known: Vec<&str> = kinds.rows().iter().map(|row| row.name.as_str()).collect();
        let message = format!(
            "row {row}: kind {} is not in the kind table ({}): build ticks with headrace.ticks(...), or register the kind \
             before making the dispatcher",
            tick.kind,
            known.join(", ")
        );
        return raise_with(py, "KindError", message, &facts);
    }
    if tick.kind == kind::BOOK {
        let message = format!("row {row}: books are made of levels, and never published: publish the levels");
        return raise_with(py, "KindError", message, &facts);
    }
    if tick.has_negative_size() {
        let message = format!("row {row}: a size is below 0, which no market has: give the direction as side");
        return raise_with(py, "PublishError", message, &facts);
    }
    let message = format!(
        "row {row}: instrument id {} is unknown, the table has {instruments}: build ticks with headrace.ticks(..., \
         instruments=table) and give the same table to the dispatcher",
        tick.instrument
    );
    raise_with(py, "InstrumentError", message, &facts)
}

/// A saved state: (jump, [(instrument, kind, seq, venue_last), …]).
type SavedTuple = (u64, Vec<(String, String, u64, u64)>);

/// Numbers ticks densely per (instrument, kind), and checks the venue's own numbers.
///
/// instruments : the table that the ticks' ids belong to.
/// duplicates, late : "drop" (counted) or "deliver" (flagged).
/// A loss becomes a tick of kind gap, in its place. Raises ValueError, RestoreError.
#[pyclass(frozen, module = "headrace")]
pub(crate) struct Sequencer {
    pub(crate) core: Arc<SequencerCore>,
    pub(crate) instruments: Py<Instruments>,
    options: SequencerOptions,
}

fn unwanted(name: &str, value: &str) -> PyResult<Unwanted> {
    match value {
        "drop" => Ok(Unwanted::Drop),
        "deliver" => Ok(Unwanted::Deliver),
        other => {
            let message = format!("{name}='{other}' is unknown: use 'drop' or 'deliver'");
            Err(pyo3::exceptions::PyValueError::new_err(message))
        }
    }
}

impl Sequencer {
    fn taken<'py>(&self, py: Python<'py>) -> PyResult<Taken<'_, 'py, Working>> {
        refuse_after_fork(py)?;
        self.core.working.take(py).ok_or_else(|| {
            let message = "this sequencer is numbering ticks now, in another thread or above this call: \
                           use it from one thread, outside of handlers that a publish called";
            raise(py, "ConcurrentPublishError", message)
        })
    }
}

#[pymethods]
impl Sequencer {
    #[new]
    #[pyo3(signature = (instruments, *, duplicates="drop", late="deliver"))]
    fn new(instruments: Py<Instruments>, duplicates: &str, late: &str) -> PyResult<Self> {
        let options = SequencerOptions {
            duplicates: unwanted("duplicates", duplicates)?,
            late: unwanted("late", late)?,
        };
        let working = Working {
            sequencer: sequencer::Sequencer::new(options),
            kinds: KindTable::clone(&kinds()),
            incoming: Vec::new(),
            outgoing: Vec::new(),
            waiting: Vec::new(),
        };
        let core = Arc::new(SequencerCore {
            counts: Mutex::new(None),
            working: Exclusive::new(working),
        });
        Ok(Self {
            core,
            instruments,
            options,
        })
    }

    /// Numbers whole events: returns them with their ``seq``, and gap ticks in their places.
    ///
    /// ticks : shape (n,), dtype TICK_DTYPE, C-contiguous. Returns a new array of TICK_DTYPE.
    /// Raises KindError, InstrumentError (nothing was numbered), ConcurrentPublishError, ValueError.
    fn sequence(&self, py: Python<'_>, ticks: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let mut working = self.taken(py)?;
        let Working {
            sequencer,
            kinds,
            outgoing,
            ..
        } = &mut *working;
        outgoing.clear();
        let ticks = ticks_of(py, ticks)?;
        let instruments = self.instruments.get();
        let known = instruments.lock().rows().len();
        refuse_unfit(py, ticks, kinds, known)?;
        sequencer.sequence(ticks, &instruments.lock(), kinds, outgoing);
        tick_array(py, outgoing)
    }

    /// The feed was reconnected: the next event of each stream (of these instruments, or of all) comes after a gap.
    #[pyo3(signature = (instruments=None))]
    fn reconnect(&self, py: Python<'_>, instruments: Option<Vec<String>>) -> PyResult<()> {
        let mut working = self.taken(py)?;
        let table = self.instruments.get();
        let ids: Option<Vec<u32>> =
            instruments.map(|names| names.iter().filter_map(|name| table.lock().id(name)).collect());
        working
            .sequencer
            .reconnect(|id| ids.as_ref().is_none_or(|ids| ids.contains(&id)));
        Ok(())
    }

    /// What it has done: ``{"sequenced": {kind: n}, "gaps": n, "duplicates": n, "late": n, "restarts": n}``.
    fn counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counts = match self.core.working.take(py) {
            Some(working) => working.sequencer.counts(),
            None => {
                let known = *lock(&self.core.counts);
                known.map_or_else(|| self.taken(py).map(|working| working.sequencer.counts()), Ok)?
            }
        };
        let sequenced = PyDict::new(py);
        for row in kinds().rows().iter().filter(|row| usize::from(row.kind) < KINDS_MAX) {
            let count = counts.sequenced[usize::from(row.kind)];
            if count > 0 {
                sequenced.set_item(&row.name, count)?;
            }
        }
        let dict = PyDict::new(py);
        dict.set_item("sequenced", sequenced)?;
        dict.set_item("gaps", counts.gaps)?;
        dict.set_item("duplicates", counts.duplicates)?;
        dict.set_item("late", counts.late)?;
        dict.set_item("restarts", counts.restarts)?;
        Ok(dict)
    }

    /// Everything that a later sequencer needs: ``(jump, [(instrument, kind, seq, venue_last), …])``.
    fn save(&self, py: Python<'_>) -> PyResult<SavedTuple> {
        let state = self.taken(py)?.sequencer.save();
        let streams = state.streams.into_iter();
        Ok((
            state.jump,
            streams
                .map(|stream| (stream.instrument, stream.kind, stream.seq, stream.venue_last))
                .collect(),
        ))
    }

    /// Goes on from a saved state: starts 2^20 numbers above it, with a gap, cause RESTART. Raises RestoreError, also for
    /// a state that this process has restored already.
    fn restore(&self, py: Python<'_>, state: SavedTuple) -> PyResult<()> {
        let mark = mark_of(&state);
        if mark.is_some_and(|mark| lock(&RESTORED).contains(&mark)) {
            let message = "this state was restored before, and its numbers would be given twice: save the sequencer \
                           that has it, and restore that";
            return Err(raise(py, "RestoreError", message.to_owned()));
        }
        let (jump, streams) = state;
        let streams = streams
            .into_iter()
            .map(|(instrument, kind, seq, venue_last)| SavedStream {
                instrument,
                kind,
                seq,
                venue_last,
            })
            .collect();
        let restored = sequencer::Sequencer::restore(self.options, SequencerState { jump, streams });
        self.taken(py)?.sequencer = restored.map_err(|error| raise(py, "RestoreError", error.to_string()))?;
        if let Some(mark) = mark {
            let mut marks = lock(&RESTORED);
            marks.truncate(RESTORED_MAX - 1);
            marks.push_front(mark);
        }
        Ok(())
    }
}

/// Marks of the states that this process has restored, the newest first.
static RESTORED: Mutex<VecDeque<u64>> = Mutex::new(VecDeque::new());
/// As many restores as no process makes: it is there so that nothing grows without end.
const RESTORED_MAX: usize = 1_024;

/// What tells a state from others; `None` for one that no number was given from.
fn mark_of(state: &SavedTuple) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    (state.0 > 0 || !state.1.is_empty()).then(|| hasher.finish())
}
