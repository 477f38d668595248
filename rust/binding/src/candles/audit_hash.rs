//! `AuditHash`: SHA-256 of the lines that an audit of a run would have.
//!
//! ```text
//!   event ─▶ Python encodes it ─▶ update ─┐
//!   candle ─▶ the line of its stream ─────┴▶ LineHasher
//! ```
//! Guarantees: a candle's line is the one that Python would write; what JSON cannot hold is left to Python.
//! Does not: write an audit.

use std::sync::{Arc, Mutex};

use pyo3::prelude::*;

use super::candle_merge::CandleMerge;
use super::line_hasher::LineHasher;
use super::shared::Shared;
use crate::bus::{BusHandler, CandleTap};
use crate::errors::refuse_after_fork;
use crate::lock::lock;

struct Hash {
    shared: Arc<Shared>,
    lines: Mutex<LineHasher>,
}

impl CandleTap for Hash {
    fn take(&self, stream: u32) -> bool {
        self.shared.with_closed(stream, |own, taken| {
            let Some(line) = own.line.get().filter(|_| taken.candle.is_plain()) else {
                return false;
            };
            lock(&self.lines).candle(line, taken, own.is_partial(&taken.candle));
            true
        })
    }
}

/// The hash of an audit, of which the lines of candles are made natively. candles : of the run.
#[pyclass(frozen, module = "headrace._native")]
pub(crate) struct AuditHash(Arc<Hash>);

#[pymethods]
impl AuditHash {
    #[new]
    fn new(candles: &CandleMerge) -> Self {
        Self(Arc::new(Hash {
            shared: Arc::clone(&candles.shared),
            lines: Mutex::default(),
        }))
    }

    /// Takes the next line.
    fn update(&self, py: Python<'_>, data: &[u8]) -> PyResult<()> {
        refuse_after_fork(py)?;
        lock(&self.0.lines).bytes(data);
        Ok(())
    }

    /// Takes candles in place of a handler, where it can.
    fn tap(&self, handler: &BusHandler) {
        handler.set_tap(self.0.clone());
    }

    /// The hash so far, lower-case hex.
    fn hexdigest(&self, py: Python<'_>) -> PyResult<String> {
        // Its thread is in the parent process alone.
        refuse_after_fork(py)?;
        let hex = lock(&self.0.lines).hex();
        Ok(py.detach(hex))
    }
}
