//! `Decoder`: one venue's frames to unnumbered ticks, and the tables of what it refuses.
//!
//! Guarantees: a refused frame changes nothing but a count.
//! Does not: number ticks (`Sequencer`).

use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{Builder, JoinHandle};

use headrace_core::error::DetectError;
use headrace_core::ingest::decode::{self, Outcome, RejectReason};
use headrace_core::ingest::lines::Lines;
use headrace_core::market::instrument::{InstrumentTable, Venue};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use crate::errors::{internal, raise, refuse_after_fork};
use crate::hot::columns::tick_array;
use crate::lock::lock;
use crate::tables::instruments::Instruments;

/// Decodes the frames of one source at one venue.
///
/// venue : "BINANCE", "BINANCE_USDM" or "BINANCE_COINM".
/// instruments : the table that new symbols are added to.
/// One decoder a source: a snapshot without a symbol belongs to the only symbol that its source has had so far.
/// Raises DecoderError.
#[pyclass(frozen, module = "headrace")]
pub(crate) struct Decoder {
    inner: Mutex<decode::Decoder>,
    pub(crate) instruments: Arc<Mutex<InstrumentTable>>,
    venue: Venue,
}

impl Decoder {
    pub(crate) fn lock(&self) -> MutexGuard<'_, decode::Decoder> {
        lock(&self.inner)
    }
}

#[pymethods]
impl Decoder {
    #[new]
    fn new(py: Python<'_>, venue: &str, instruments: &Instruments) -> PyResult<Self> {
        let venue = Venue::from_name(venue).ok_or_else(|| {
            let known = Venue::ALL.map(Venue::name).join(", ");
            raise(
                py,
                "DecoderError",
                format!("venue '{venue}' has no decoder: use one of {known}"),
            )
        })?;
        Ok(Self {
            inner: Mutex::new(decode::Decoder::new(venue)),
            instruments: Arc::clone(&instruments.table),
            venue,
        })
    }

    /// Its venue.
    #[getter]
    fn venue(&self) -> &'static str {
        self.venue.name()
    }

    /// The ids of the instruments that its frames have named so far, in ascending order.
    fn instrument_ids(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = self.lock().instruments().collect();
        ids.sort_unstable();
        ids
    }

    /// Reads the frames of a block of whole recorded lines ahead of their turn, for `Pump.push`.
    ///
    /// Returns at once, and changes nothing of the decoder: a thread that never takes the interpreter's lock reads them.
    fn read_block(&self, py: Python<'_>, block: PyBackedBytes) -> PyResult<ReadBlock> {
        refuse_after_fork(py)?;
        let venue = self.venue;
        let thread = Builder::new().name("headrace-read".to_owned());
        let reading = thread.spawn(move || decode::ReadBlock::new(block, venue))?;
        Ok(ReadBlock(Mutex::new(Some(reading))))
    }

    /// Decodes one frame.
    ///
    /// frame : the bytes as the venue sent them.
    /// ts_init : when it was received, ns since 1970-01-01 UTC.
    /// Returns ``(outcome, name, ticks)``: outcome "accepted", "ignored" or "rejected"; name its type or reason; ticks
    /// shape (n,), dtype TICK_DTYPE, ``seq`` 0.
    fn decode(&self, py: Python<'_>, frame: &[u8], ts_init: i64) -> PyResult<(&'static str, &'static str, Py<PyAny>)> {
        refuse_after_fork(py)?;
        let mut ticks = Vec::new();
        let outcome = {
            let mut table = lock(&self.instruments);
            self.lock().decode(frame, ts_init, &mut table, &mut ticks)
        };
        let (outcome, name) = match outcome {
            Outcome::Accepted(frame_type) => ("accepted", frame_type.name()),
            Outcome::Ignored(ignored) => ("ignored", ignored.name()),
            Outcome::Rejected(reason) => ("rejected", reason.name()),
        };
        Ok((outcome, name, tick_array(py, &ticks)?))
    }
}

/// A block of recorded lines whose frames are read ahead, in a thread of its own; a pump takes it once.
#[pyclass(frozen, module = "headrace._native")]
pub(crate) struct ReadBlock(Mutex<Option<JoinHandle<decode::ReadBlock>>>);

impl ReadBlock {
    /// What was read; waits for it without the interpreter's lock. The error: a pump has taken it.
    pub(super) fn take(&self, py: Python<'_>) -> PyResult<decode::ReadBlock> {
        let reading = lock(&self.0).take();
        let reading = reading.ok_or_else(|| internal("a block was pushed twice"))?;
        py.detach(|| reading.join())
            .map_err(|_| internal("the thread that reads a block has ended"))
    }
}

/// The venue that a block of recorded lines comes from; None when its frames do not show it. Raises VenueError when
/// they come from two markets.
#[pyfunction]
pub(crate) fn detect_venue(py: Python<'_>, block: &[u8]) -> PyResult<Option<&'static str>> {
    let frames = || Lines::new(block, 1).filter_map(|line| line.parts.map(|(_, frame)| frame));
    match py.detach(|| decode::detect_venue(frames())) {
        Ok(venue) => Ok(Some(venue.name())),
        Err(DetectError::Undecided) => Ok(None),
        Err(error @ DetectError::Mixed { .. }) => Err(raise(py, "VenueError", error.to_string())),
    }
}

/// Every reason for which a frame is rejected: (name, meaning, what to do).
#[pyfunction]
pub(crate) fn reject_table() -> Vec<(&'static str, &'static str, &'static str)> {
    RejectReason::TABLE
        .iter()
        .map(|(_, name, meaning, advice)| (*name, *meaning, *advice))
        .collect()
}
