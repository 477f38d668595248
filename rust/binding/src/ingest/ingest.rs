//! Ingest: frames and arrays in, one publish at a time.
//!
//! ```text
//!   frame, lines ─▶ Decoder ─┐
//!   array ───────────────────┴▶ publishing ─▶ Ring
//! ```
//! Guarantees: a publish from inside a handler that the ring would have to wait for is refused before anything is
//! numbered.
//! Does not: wait for a pull subscription or an awaiting task of its own thread: that would be for ever, so it is an
//! error.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use headrace_core::ingest::lines::Lines;
use headrace_core::market::kind;
use headrace_core::market::tick::Tick;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::arrival::Arrival;
use super::decoder::Decoder;
use super::ingest_core::IngestCore;
use super::now::Now;
use super::publisher::Publisher;
use super::publishing::Publishing;
use super::ring::Ring;
use super::sequencer::{Sequencer, refuse_unfit};
use super::tally::RejectTuple;
use crate::clock::ReplayTime;
use crate::errors::raise;
use crate::hot::columns::ticks_of;
use crate::lock::lock;

/// 18 KiB: a piece, numbered, fits the first cache beside what else is hot.
pub(super) const PIECE_TICKS: usize = 256;

/// How many ticks of an array are numbered and published together: whole events, about `PIECE_TICKS`.
fn piece_of(ticks: &[Tick]) -> usize {
    let start = PIECE_TICKS.min(ticks.len());
    if start == 0 || start == ticks.len() {
        return start;
    }
    // On to the end of the event that begins in this piece.
    start + ticks[start - 1..].iter().take_while(|tick| !tick.ends_event()).count()
}

type QuoteTuple = (f64, f64, f64, f64, i64, u64, u64);

/// Publishes arrays and frames for a dispatcher.
#[pyclass(frozen, module = "headrace._native")]
pub(crate) struct Ingest {
    pub(crate) core: Arc<IngestCore>,
    pub(crate) now: Py<PyAny>,
    /// The time, where it stands still until it is moved: by the replay itself, or by an engine.
    pub(crate) time: Option<Py<ReplayTime>>,
}

#[pymethods]
impl Ingest {
    #[new]
    #[pyo3(signature = (ring, sequencer, now, *, hashing, block_max_ns, replay=false, time=None))]
    fn new(
        ring: &Ring,
        sequencer: &Sequencer,
        now: Py<PyAny>,
        hashing: bool,
        block_max_ns: Option<u64>,
        replay: bool,
        time: Option<Py<ReplayTime>>,
    ) -> Self {
        let core = IngestCore::new(&ring.core, sequencer, hashing, block_max_ns, replay);
        Self {
            core: Arc::new(core),
            now,
            time,
        }
    }

    /// Numbers and publishes ticks; returns how many went onto the ring, gaps included.
    fn publish(&self, py: Python<'_>, ticks: &Bound<'_, PyAny>) -> PyResult<usize> {
        let mut publisher = Publisher::begin(py, &self.core)?;
        let known = lock(&self.core.instruments).rows().len();
        let total = ticks_of(py, ticks)?.len();
        refuse_unfit(py, ticks_of(py, ticks)?, &publisher.working.kinds, known)?;
        publisher.refuse_reentrant(total)?;
        let now = Now::Clock(self.now.bind(py));
        let mut publishing = Publishing::new(total, &now);
        publisher.send_waiting(&mut publishing)?;
        let mut ended = Ok(());
        let mut at = 0;
        while at < total {
            // Borrowed anew for each piece, because sending lets handlers and other threads run, and they may write to
            // the array. A piece is numbered and published while it is in the first cache.
            let rest = ticks_of(py, ticks)?.get(at..).unwrap_or(&[]);
            let end = piece_of(rest);
            if end == 0 {
                break;
            }
            if publishing.ran_others {
                refuse_unfit(py, &rest[..end], &publisher.working.kinds, known)?;
            }
            publisher.number(&rest[..end]);
            at += end;
            if ended.is_err() {
                publisher.keep_outgoing();
            } else {
                ended = publisher.send_or_keep(&mut publishing);
            }
        }
        ended.map_err(|error| publishing.say_waiting(py, error, publisher.working.waiting.len()))?;
        publishing.end()
    }

    /// Decodes, numbers and publishes one frame; returns how many ticks went onto the ring.
    fn publish_frame(&self, py: Python<'_>, decoder: &Decoder, frame: &[u8], ts_init: i64) -> PyResult<usize> {
        self.refuse_foreign(py, decoder)?;
        let mut publisher = Publisher::begin(py, &self.core)?;
        let arrival = Arrival {
            decoder,
            frame,
            read: None,
            ts_init,
            source: "",
            row: 0,
        };
        self.frame(py, &arrival, &mut publisher)
    }

    /// Decodes, numbers and publishes a block of whole recorded lines; returns how many ticks went onto the ring.
    #[pyo3(signature = (decoder, block, *, source="", first_row=1))]
    fn publish_lines(
        &self,
        py: Python<'_>,
        decoder: &Decoder,
        block: &[u8],
        source: &str,
        first_row: u64,
    ) -> PyResult<usize> {
        self.refuse_foreign(py, decoder)?;
        let mut publisher = Publisher::begin(py, &self.core)?;
        let now = Now::Clock(self.now.bind(py));
        let mut publishing = Publishing::new(0, &now);
        publisher.send_waiting(&mut publishing)?;
        let mut published = publishing.end()?;
        let mut ended: Option<PyErr> = None;
        for line in Lines::new(block, first_row) {
            match line.parts {
                Some((ts_init, frame)) => {
                    let arrival = Arrival {
                        decoder,
                        frame,
                        read: None,
                        ts_init,
                        source,
                        row: line.number,
                    };
                    if ended.is_some() {
                        // The block is taken whole: what finds no room any more waits behind what waits already.
                        let outcome = arrival.decode(&self.core, &mut publisher.working);
                        arrival.count(outcome, &mut lock(&self.core.tally));
                        publisher.number_incoming();
                        publisher.keep_outgoing();
                        continue;
                    }
                    match self.frame(py, &arrival, &mut publisher) {
                        Ok(count) => published += count,
                        // Ticks wait: then the frame was taken, and so is the rest of the block.
                        Err(error) if !publisher.working.waiting.is_empty() => ended = Some(error),
                        Err(error) => return Err(error),
                    }
                }
                None => lock(&self.core.tally).count_bad_line(source, line.number, 0, line.bytes),
            }
        }
        ended.map_or(Ok(published), Err)
    }

    /// Frames so far: ``{"frames": {type: n}, "ignored": {type: n}, "rejected": {reason: n}}``.
    fn counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        lock(&self.core.tally).write_to(py, &dict)?;
        Ok(dict)
    }

    /// The rejected frames kept since the last call: (source, row, reason, ts_init, frame).
    fn take_rejects(&self) -> Vec<RejectTuple> {
        lock(&self.core.tally).take_rejects()
    }

    /// The newest published quote of an instrument: (bid price, ask price, bid size, ask size, ts_init, seq, position).
    fn newest_quote(&self, instrument: &str) -> Option<QuoteTuple> {
        let id = lock(&self.core.instruments).id(instrument)?;
        let (quote, position) = self.core.ring.newest.of(id, kind::QUOTE)?;
        let [bid_price, ask_price, bid_size, ask_size] = quote.values.map(f64::from_bits);
        Some((
            bid_price,
            ask_price,
            bid_size,
            ask_size,
            quote.ts_init,
            quote.seq,
            position,
        ))
    }

    /// When the newest tick of an instrument was received, ns, of a kind of state, "trade" or "agg_trade", by its number.
    fn newest_ns(&self, instrument: &str, kind: u8) -> Option<i64> {
        let id = lock(&self.core.instruments).id(instrument)?;
        self.core.ring.newest.newest_ns(id, kind)
    }

    /// The newest trade or aggregate trade of an instrument in order, by its kind's number: (price, size, ts_init, seq).
    fn newest_trade(&self, instrument: &str, kind: u8) -> Option<(f64, f64, i64, u64)> {
        let id = lock(&self.core.instruments).id(instrument)?;
        self.core.ring.newest.newest_trade(id, kind)
    }

    /// (bid price, ask price) of the newest quote of an instrument that had both sides.
    fn last_sides(&self, instrument: &str) -> Option<(f64, f64)> {
        let id = lock(&self.core.instruments).id(instrument)?;
        self.core.ring.newest.last_sides(id)
    }

    /// SHA-256 over everything published, in lower-case hex; None without hashing.
    fn input_hash(&self) -> Option<String> {
        self.core.hash.as_ref().map(|hash| lock(hash).hex())
    }

    /// Stops every dispatch and every waiting publish; ``False`` allows them again.
    fn set_stop(&self, stop: bool) {
        // Relaxed: takes effect soon, and orders nothing.
        self.core.stop.store(stop, Ordering::Relaxed);
        self.core.ring.wake_all();
    }

    /// Whether what plain handlers returned waits to be awaited: a replay does that before the next time.
    fn set_awaits(&self, awaits: bool) {
        // Relaxed: written and read under the interpreter's lock.
        self.core.awaits.store(awaits, Ordering::Relaxed);
    }

    /// No more ticks will come: waiting readers are woken.
    fn close(&self) {
        // Release: a thread that sees it closed sees what was done before.
        self.core.ring.closed.store(true, Ordering::Release);
        self.core.ring.wake_all();
    }

    /// How many dispatch groups it holds, the inline one included.
    #[getter]
    fn groups(&self) -> usize {
        self.core.count_groups()
    }

    /// Ticks that were numbered and wait for room; None during a publish.
    fn waiting(&self, py: Python<'_>) -> Option<usize> {
        self.core
            .sequencer
            .working
            .take(py)
            .map(|working| working.waiting.len())
    }

    /// Whether it was stopped.
    fn stopped(&self) -> bool {
        // Relaxed: as above.
        self.core.stop.load(Ordering::Relaxed)
    }
}

impl Ingest {
    fn refuse_foreign(&self, py: Python<'_>, decoder: &Decoder) -> PyResult<()> {
        if Arc::ptr_eq(&decoder.instruments, &self.core.instruments) {
            return Ok(());
        }
        let message = "this decoder numbers its instruments by another table: make it with Decoder(venue, \
                       dispatcher.instruments)";
        Err(raise(py, "DecoderError", message))
    }

    fn frame(&self, py: Python<'_>, arrival: &Arrival<'_>, publisher: &mut Publisher<'_, '_>) -> PyResult<usize> {
        let outcome = arrival.decode(&self.core, &mut publisher.working);
        let ticks = publisher.working.incoming.len();
        // Refused before it is counted: the caller publishes it again.
        publisher.refuse_reentrant(ticks)?;
        arrival.count(outcome, &mut lock(&self.core.tally));
        let now = Now::Clock(self.now.bind(py));
        let mut publishing = Publishing::new(ticks, &now);
        publisher.sequence_and_send(&mut publishing)?;
        publishing.end()
    }
}
