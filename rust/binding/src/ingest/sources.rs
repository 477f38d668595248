//! Sources: blocks that Python hands over, as one stream of items in order of their receive times.
//!
//! ```text
//!   blocks ─▶ Merge ─▶ item: a frame, a broken line, or ticks of one receive time ─▶ decoded ticks
//! ```
//! Guarantees: the order of items, and with it every number and hash, depends on the sources alone.
//! Does not: read files (Python hands over blocks), number or publish.

use std::sync::{Arc, Mutex};

use headrace_core::error::MergeError;
use headrace_core::ingest::decode::Outcome;
use headrace_core::ingest::merge::{Block, Merge, Payload, Peek, Step};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::arrival::Arrival;
use super::decoder::Decoder;
use super::ingest_core::IngestCore;
use super::sequencer::{Working, refuse_unfit};
use super::tally::{RejectTuple, Tally};
use crate::errors::{internal, raise, raise_about, raise_with};
use crate::hot::columns::ticks_of;
use crate::lock::lock;

struct Source {
    name: String,
    decoder: Option<Py<Decoder>>,
}

/// What came of the items so far; read also while the pump runs.
#[derive(Default)]
pub(crate) struct Counted {
    tally: Tally,
    first_ts: Option<i64>,
    last_ts: Option<i64>,
    items: u64,
    /// Frames accepted, by source.
    accepted: Vec<u64>,
}

/// All sources of one pump.
#[derive(Default)]
pub(crate) struct Sources {
    sources: Vec<Source>,
    merge: Option<Merge>,
    counted: Arc<Mutex<Counted>>,
}

impl Sources {
    /// With counts that others hold, too.
    pub(crate) fn new(counted: &Arc<Mutex<Counted>>) -> Self {
        Self {
            counted: Arc::clone(counted),
            ..Self::default()
        }
    }

    pub(crate) fn add(&mut self, name: String, decoder: Option<Py<Decoder>>) -> PyResult<usize> {
        if self.merge.is_some() {
            return Err(internal("a source was added after the pump began"));
        }
        self.sources.push(Source { name, decoder });
        lock(&self.counted).accepted.push(0);
        Ok(self.sources.len() - 1)
    }

    pub(crate) fn push(&mut self, source: usize, block: &Bound<'_, PyAny>) -> PyResult<()> {
        let block = match block.cast::<PyBytes>() {
            Ok(bytes) => Block::Lines(bytes.as_bytes().to_vec()),
            Err(_) => Block::Ticks(ticks_of(block.py(), block)?.to_vec()),
        };
        self.merge().push(source, block);
        Ok(())
    }

    pub(crate) fn finish(&mut self, source: usize) {
        self.merge().end(source);
    }

    /// Closes the list of sources.
    pub(crate) fn begin(&mut self) {
        self.merge();
    }

    fn merge(&mut self) -> &mut Merge {
        let sources = self.sources.len();
        self.merge.get_or_insert_with(|| Merge::new(sources))
    }

    /// When the next item comes. The error is a source whose times go back.
    pub(crate) fn peek(&mut self, py: Python<'_>) -> PyResult<Peek> {
        match self.merge().peek_ts() {
            Ok(next) => Ok(next),
            Err(error) => Err(self.went_back(py, error)),
        }
    }

    fn went_back(&self, py: Python<'_>, error: MergeError) -> PyErr {
        let message = format!("{}, {error}", self.sources[error.source_index].name);
        raise_with(py, "SourceOrderError", message, &[("row", error.row)])
    }

    /// Takes the next item, which `peek` announced, and decodes it into `working.incoming`.
    pub(crate) fn take_next(&mut self, py: Python<'_>, core: &IngestCore, working: &mut Working) -> PyResult<()> {
        let Self {
            sources,
            merge,
            counted,
            ..
        } = self;
        let merge = merge.as_mut().ok_or_else(|| internal("a pump without sources"))?;
        let item = match merge.next() {
            Ok(Step::Item(item)) => item,
            Ok(Step::Need(_) | Step::End) | Err(_) => return Err(internal("an item that was announced did not come")),
        };
        let source = &sources[item.source];
        if let Payload::Ticks(ticks) = &item.payload {
            let known = lock(&core.instruments).rows().len();
            refuse_unfit(py, ticks, &working.kinds, known).map_err(|error| {
                let message = format!("feed {} yielded ticks, {}", source.name, error.value(py));
                let about = raise_about(py, "FeedError", message, ("feed", &source.name));
                about.set_cause(py, Some(error));
                about
            })?;
        }
        let mut counted = lock(counted);
        working.incoming.clear();
        match (item.payload, &source.decoder) {
            (Payload::Frame(frame), Some(decoder)) => {
                let arrival = Arrival {
                    decoder: decoder.get(),
                    frame,
                    ts_init: item.ts_init,
                    source: &source.name,
                    row: item.row,
                };
                counted.take_frame(item.source, &arrival, core, working);
                return Ok(());
            }
            (Payload::BadLine(line) | Payload::Frame(line), _) => {
                counted.tally.count_bad_line(&source.name, item.row, item.ts_init, line);
            }
            (Payload::Ticks(ticks), _) => {
                working.incoming.extend_from_slice(ticks);
            }
        }
        let is_line = matches!(item.payload, Payload::BadLine(_));
        counted.count_item((!is_line).then_some(item.ts_init));
        Ok(())
    }

    /// Decodes a frame that came by itself, with no block around it, into `working.incoming`; false: it was rejected.
    ///
    /// The error is a time before the last one's, or a source of ticks.
    pub(crate) fn take_frame(
        &mut self,
        py: Python<'_>,
        core: &IngestCore,
        working: &mut Working,
        (index, ts_init, frame): (usize, i64, &[u8]),
    ) -> PyResult<bool> {
        let source = &self.sources[index];
        let Some(decoder) = &source.decoder else {
            let message = format!(
                "{} yielded a frame and names no venue: give the feed one, so that it can be decoded",
                source.name
            );
            return Err(raise(py, "DecoderError", message));
        };
        let mut counted = lock(&self.counted);
        let row = counted.items + 1;
        if let Some(previous) = counted.last_ts.filter(|last| ts_init < *last) {
            drop(counted);
            let error = MergeError {
                source_index: index,
                row,
                ts_init,
                previous,
            };
            return Err(self.went_back(py, error));
        }
        let arrival = Arrival {
            decoder: decoder.get(),
            frame,
            ts_init,
            source: &source.name,
            row,
        };
        let outcome = counted.take_frame(index, &arrival, core, working);
        Ok(!matches!(outcome, Outcome::Rejected(_)))
    }
}

impl Counted {
    /// Decodes a frame of a source into `working.incoming`, and counts what it was.
    fn take_frame(
        &mut self,
        source: usize,
        arrival: &Arrival<'_>,
        core: &IngestCore,
        working: &mut Working,
    ) -> Outcome {
        let outcome = arrival.decode(core, working);
        arrival.count(outcome, &mut self.tally);
        self.accepted[source] += u64::from(matches!(outcome, Outcome::Accepted(_)));
        self.count_item(Some(arrival.ts_init));
        outcome
    }

    /// `ts_init`: when it was received; `None`: that is unknown.
    fn count_item(&mut self, ts_init: Option<i64>) {
        self.items += 1;
        self.first_ts = self.first_ts.or(ts_init);
        self.last_ts = ts_init.or(self.last_ts);
    }

    /// When the last item was received that was taken.
    pub(crate) fn last_ts(&self) -> Option<i64> {
        self.last_ts
    }

    pub(crate) fn write_to(&self, py: Python<'_>, dict: &Bound<'_, PyDict>) -> PyResult<()> {
        self.tally.write_to(py, dict)?;
        dict.set_item("first_ts", self.first_ts)?;
        dict.set_item("last_ts", self.last_ts)?;
        dict.set_item("items", self.items)?;
        dict.set_item("accepted", self.accepted.clone())
    }

    pub(crate) fn take_rejects(&mut self) -> Vec<RejectTuple> {
        self.tally.take_rejects()
    }
}
