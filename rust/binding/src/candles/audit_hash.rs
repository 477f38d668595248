//! `AuditHash`: SHA-256 of the lines that an audit of a run would have, and of the candles that it was given.
//!
//! ```text
//!   event ─▶ Python encodes it ─▶ update ─┐
//!   candle ─▶ the line of its stream ─────┼▶ LineHasher
//!          └▶ CandleRows, when full ──────┘
//! ```
//! Guarantees: a candle's line is the one that Python would write; what JSON cannot hold is left to Python.
//! Does not: write an audit.

use std::collections::BTreeMap;
use std::sync::Arc;

use pyo3::prelude::*;

use super::candle_merge::CandleMerge;
use super::line_hasher::LineHasher;
use super::shared::Shared;
use crate::bus::{BusHandler, CandleTap};
use crate::errors::refuse_after_fork;
use crate::hot::exclusive::{self, Exclusive};

struct Hash {
    shared: Arc<Shared>,
    lines: Exclusive<LineHasher>,
}

impl Hash {
    /// The hasher, which runs nothing of Python, so no other call comes in between.
    #[inline]
    fn lines<'a, 'py>(&'a self, py: Python<'py>) -> exclusive::Taken<'a, 'py, LineHasher> {
        self.lines.take(py).expect("one call at a time")
    }
}

impl CandleTap for Hash {
    fn take(&self, py: Python<'_>, stream: u32) -> bool {
        self.shared.with_closed(py, stream, |own, taken| {
            let Some(line) = own.line.get().filter(|_| taken.candle.is_plain()) else {
                return false;
            };
            self.lines(py).candle(line, taken, own.is_partial(&taken.candle));
            true
        })
    }
}

/// The hash of an audit, of which the lines of candles are made natively. candles : of the run.
#[pyclass(frozen, module = "headrace._native")]
pub(crate) struct AuditHash(Arc<Hash>);

impl AuditHash {
    /// Takes candles of an instrument, as rows of numbers, for the hash of the input.
    pub(super) fn take_input(&self, py: Python<'_>, instrument: &str, rows: Vec<u8>) {
        self.0.lines(py).input(instrument, rows);
    }
}

#[pymethods]
impl AuditHash {
    #[new]
    fn new(candles: &CandleMerge) -> Self {
        Self(Arc::new(Hash {
            shared: Arc::clone(&candles.shared),
            lines: Exclusive::default(),
        }))
    }

    /// Takes the next line.
    fn update(&self, py: Python<'_>, data: &[u8]) -> PyResult<()> {
        refuse_after_fork(py)?;
        self.0.lines(py).bytes(data);
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
        let hashes = self.0.lines(py).hashes();
        Ok(py.detach(hashes).lines)
    }

    /// The hashes of the candles that ``CandleRows`` passed on, lower-case hex, by instrument.
    fn input_hexdigests(&self, py: Python<'_>) -> PyResult<BTreeMap<String, String>> {
        refuse_after_fork(py)?;
        let hashes = self.0.lines(py).hashes();
        Ok(py.detach(hashes).inputs)
    }
}
