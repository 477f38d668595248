//! Sources: blocks that Python hands over, as one stream of items in order of their receive times.
//!
//! ```text
//!   blocks ─▶ Merge ─▶ item: a frame, a broken line, or ticks of one receive time ─▶ decoded ticks
//! ```
//! Guarantees: the order of items, and with it every number and hash, depends on the sources alone.
//! Does not: read files (Python hands over blocks), number or publish.

use std::sync::Arc;

use headrace_core::error::MergeError;
use headrace_core::ingest::decode::Outcome;
use headrace_core::ingest::merge::{Block, Merge, Payload, Peek, Step};
use headrace_core::market::tick::Tick;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::arrival::Arrival;
use super::counted::Counted;
use super::decoder::{Decoder, ReadBlock};
use super::ingest::PIECE_TICKS;
use super::ingest_core::IngestCore;
use super::numbering::Numbered;
use super::publisher::Publisher;
use super::sequencer::{Working, first_unfit, refuse_unfit};
use crate::dispatch::Quiet;
use crate::errors::{internal, raise, raise_about, raise_with};
use crate::hot::columns::ticks_of;
use crate::lock::lock;
use crate::tables::instruments::{names_of, refuse_unnamed};
use crate::tables::kinds::kinds;

struct Source {
    name: String,
    decoder: Option<Py<Decoder>>,
    /// Its block is one of ticks that can be numbered.
    is_fit: bool,
    /// Its ticks have the numbers of the run that published them, and keep them.
    is_numbered: bool,
}

impl Source {
    /// Refuses ticks that cannot be numbered.
    #[inline(always)] // Nearly always one look.
    fn check(&self, publisher: &Publisher<'_, '_>, ticks: &[Tick]) -> PyResult<()> {
        if self.is_fit {
            Ok(())
        } else {
            self.check_ticks(publisher, ticks)
        }
    }

    /// Whether its ticks can be numbered, and have no numbers.
    #[inline(always)] // With every time of a replay.
    fn is_to_be_numbered(&self) -> bool {
        self.is_fit && !self.is_numbered
    }

    /// Numbers ticks, unless they have numbers.
    fn number(&self, publisher: &mut Publisher<'_, '_>, ticks: &[Tick]) -> PyResult<()> {
        if !self.is_numbered {
            publisher.number(ticks);
            return Ok(());
        }
        publisher.adopt(ticks).map_err(|index| {
            let (py, tick) = (publisher.py, &ticks[index]);
            let table = lock(&publisher.core.instruments);
            let of = table.get(tick.instrument).map_or("no instrument", |row| row.name.as_str());
            let kind = publisher.working.kinds.get(tick.kind).map_or("", |row| row.name.as_str());
            let message = format!(
                "feed {} yielded {kind} {} of {of}, and that number was given before: its ticks keep the numbers of the run \
                 that published them, so an instrument of it has no other source",
                self.name, tick.seq
            );
            raise_about(py, "FeedError", message, ("feed", &self.name))
        })
    }

    #[cold]
    fn check_ticks(&self, publisher: &Publisher<'_, '_>, ticks: &[Tick]) -> PyResult<()> {
        let py = publisher.py;
        let known = lock(&publisher.core.instruments).rows().len();
        refuse_unfit(py, ticks, &publisher.working.kinds, known).map_err(|error| self.refused(py, error))
    }

    /// What is wrong with its ticks, as an error of the feed.
    fn refused(&self, py: Python<'_>, error: PyErr) -> PyErr {
        let message = format!("feed {} yielded ticks, {}", self.name, error.value(py));
        let about = raise_about(py, "FeedError", message, ("feed", &self.name));
        about.set_cause(py, Some(error));
        about
    }
}

/// A copy of ticks, and whether all of them can be numbered: each piece is looked at while it is in the first cache.
fn copied(ticks: &[Tick], known: usize) -> (Vec<Tick>, bool) {
    let (kinds, mut copy) = (kinds(), Vec::with_capacity(ticks.len()));
    let is_fit = ticks.chunks(PIECE_TICKS).fold(true, |is_fit, piece| {
        copy.extend_from_slice(piece);
        is_fit && first_unfit(piece, &kinds, known).is_none()
    });
    (copy, is_fit)
}

/// All sources of one pump.
#[derive(Default)]
pub(crate) struct Sources {
    sources: Vec<Source>,
    merge: Option<Merge>,
    counted: Arc<Counted>,
}

impl Sources {
    /// With counts that others hold, too.
    pub(crate) fn new(counted: &Arc<Counted>) -> Self {
        Self {
            counted: Arc::clone(counted),
            ..Self::default()
        }
    }

    pub(crate) fn add(&mut self, name: String, decoder: Option<Py<Decoder>>, is_numbered: bool) -> PyResult<usize> {
        if self.merge.is_some() {
            return Err(internal("a source was added after the pump began"));
        }
        self.sources.push(Source {
            name,
            decoder,
            is_fit: false,
            is_numbered,
        });
        self.counted.add_source();
        Ok(self.sources.len() - 1)
    }

    pub(crate) fn push(&mut self, source: usize, block: &Bound<'_, PyAny>, core: &IngestCore) -> PyResult<()> {
        let block = if let Ok(bytes) = block.cast::<PyBytes>() {
            Block::Lines(bytes.as_bytes().to_vec())
        } else if let Ok(read) = block.cast::<ReadBlock>() {
            let read = read.get().take(block.py())?;
            if let Some(source) = self.sources.get_mut(source) {
                source.is_fit = true;
            }
            Block::Read(read)
        } else {
            // What is unknown now may be known when its turn comes.
            let py = block.py();
            let known = names_of(block)?.unwrap_or_else(|| lock(&core.instruments).rows().len());
            let (ticks, is_fit) = copied(ticks_of(py, block)?, known);
            if let Some(source) = self.sources.get_mut(source) {
                source.is_fit = is_fit;
                if !is_fit {
                    // An id that has no name would be another source's later.
                    refuse_unnamed(py, block).map_err(|error| source.refused(py, error))?;
                }
            }
            Block::Ticks(ticks)
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

    /// When the next ticks come, if all that was received then is in hand as one piece; `None`: `peek` says what comes.
    #[inline]
    pub(super) fn whole_time(&mut self) -> Option<i64> {
        self.merge().whole_time()
    }

    /// Takes the ticks of the time that `whole_time` returned, and numbers them.
    pub(super) fn number_time(&mut self, publisher: &mut Publisher<'_, '_>) -> PyResult<()> {
        let merge = self.merge.as_mut().ok_or_else(|| internal("a pump without sources"))?;
        let whole = merge.whole();
        let (origin, ticks) = whole.ok_or_else(|| internal("a time that was announced did not come"))?;
        let source = &self.sources[origin.source];
        let mut numbered = source.check(publisher, ticks);
        if numbered.is_ok() {
            self.counted.count_time(origin, ticks[0].ts_init);
            numbered = source.number(publisher, ticks);
        }
        merge.pass_time();
        numbered
    }

    /// Takes the next tick, if it is alone at its time, is to be numbered, and `pass` is true of it; false: nothing was
    /// done.
    #[inline(always)] // With every time of a replay.
    pub(super) fn pass_alone(&mut self, pass: impl FnOnce(&Tick) -> bool) -> bool {
        let Some(merge) = &mut self.merge else { return false };
        let Some((origin, tick)) = merge.alone() else {
            return false;
        };
        let ts_init = tick.ts_init;
        if !self.sources[origin.source].is_to_be_numbered() || !pass(tick) {
            return false;
        }
        merge.pass_alone();
        self.counted.count_time(origin, ts_init);
        true
    }

    /// Numbers the ticks of the next times before `end_ns`, as far as they are quiet, `ticks_max` at most.
    pub(super) fn number_ahead(
        &mut self,
        publisher: &mut Publisher<'_, '_>,
        (end_ns, ticks_max): (i64, usize),
        quiet: &mut Quiet<'_>,
    ) -> Option<Numbered> {
        let merge = self.merge.as_mut()?;
        let ticks_max = publisher.room().min(ticks_max);
        let (source, ticks) = merge.ahead(end_ns, ticks_max, |tick| quiet.takes(tick))?;
        if !self.sources[source].is_to_be_numbered() || !quiet.makes_room(publisher.py, ticks.len()) {
            return None;
        }
        let numbered = publisher.number_ahead(ticks);
        let first_ns = ticks[..numbered.taken].first()?.ts_init;
        let times = merge.pass(numbered.taken);
        self.counted.count_items(times, first_ns, numbered.last_ns);
        Some(numbered)
    }

    /// Takes the next item, which `peek` announced, decodes and numbers it.
    pub(super) fn number_next(&mut self, publisher: &mut Publisher<'_, '_>) -> PyResult<()> {
        let core = publisher.core;
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
        match (item.payload, &source.decoder) {
            (Payload::Frame(frame, read), Some(decoder)) => {
                let arrival = Arrival {
                    decoder: decoder.get(),
                    frame,
                    read,
                    ts_init: item.ts_init,
                    source: &source.name,
                    row: item.row,
                };
                let outcome = counted.take_frame(item.source, &arrival, core, &mut publisher.working);
                if let (Outcome::Accepted(_), [first, ..]) = (outcome, &publisher.working.incoming[..]) {
                    merge.name_symbol(first.instrument);
                }
                publisher.number_incoming();
                return Ok(());
            }
            (Payload::BadLine(line) | Payload::Frame(line, _), _) => {
                counted.count_bad_line(&source.name, item.row, item.ts_init, line);
                publisher.number(&[]);
            }
            (Payload::Ticks(ticks), _) => {
                source.check(publisher, ticks)?;
                source.number(publisher, ticks)?;
            }
        }
        if matches!(item.payload, Payload::BadLine(_)) {
            counted.count_untimed();
        } else {
            counted.count_items(1, item.ts_init, item.ts_init);
        }
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
        let counted = &self.counted;
        let row = counted.items() + 1;
        if let Some(previous) = counted.last_ts().filter(|last| ts_init < *last) {
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
            read: None,
            ts_init,
            source: &source.name,
            row,
        };
        let outcome = counted.take_frame(index, &arrival, core, working);
        Ok(!matches!(outcome, Outcome::Rejected(_)))
    }
}
