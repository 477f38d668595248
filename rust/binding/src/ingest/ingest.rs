//! Ingest: frames and arrays in, one publish at a time.
//!
//! ```text
//!   frame, lines ─▶ Decoder ─┐
//!   array ───────────────────┴▶ publishing ─▶ Ring
//! ```
//! Guarantees: a publish from inside a handler that the ring would have to wait for is refused before anything is
//! numbered.
//! Does not: wait for a pull subscription or an awaiting task of its own thread: that would be for ever, so it is an error.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headrace_core::ingest::decode;
use headrace_core::ingest::hash::InputHash;
use headrace_core::ingest::lines::Lines;
use headrace_core::market::instrument::InstrumentTable;
use headrace_core::market::kind;
use headrace_core::market::tick::Tick;
use headrace_lockfree::ReaderId;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::clock::ReplayTime;
use crate::dispatch::group::{Bounds, Group};
use crate::errors::{raise, refuse_after_fork};
use crate::hot::columns::ticks_of;
use crate::ingest::bars::BarsCore;
use crate::ingest::decoder::Decoder;
use crate::ingest::publishing::{Now, Publishing, reentrant};
use crate::ingest::ring::{Ring, RingCore, WriterGuard, concurrent_publish};
use crate::ingest::sequencer::{Sequencer, SequencerCore, Working, WorkingGuard, refuse_unknown};
use crate::ingest::tally::{Reject, RejectTuple, Tally};
use crate::lock::lock;

/// 18 KiB: a piece, numbered, fits the first cache beside what else is hot.
const PIECE_TICKS: usize = 256;

thread_local! {
    static THREAD: Cell<u64> = const { Cell::new(0) };
}

/// A number for the calling thread, never 0.
pub(crate) fn this_thread() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    THREAD.with(|cell| {
        if cell.get() == 0 {
            // Relaxed: only uniqueness counts.
            cell.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        cell.get()
    })
}

/// One frame as it came in.
pub(crate) struct Arrival<'a> {
    pub(crate) decoder: &'a Decoder,
    pub(crate) frame: &'a [u8],
    pub(crate) ts_init: i64,
    /// Where from, for its letter when it is rejected.
    pub(crate) source: &'a str,
    pub(crate) row: u64,
}

/// Who advances a group's reader.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advance {
    /// `Dispatcher.dispatch`, or a publish of the same thread that finds the ring held.
    Inline,
    /// A thread of its own.
    Thread,
    /// Its consumer: a pull subscription, or a task that awaits handlers.
    Consumer,
}

/// What publishing needs, shared with the replay driver.
pub(crate) struct IngestCore {
    pub(crate) ring: Arc<RingCore>,
    pub(crate) instruments: Arc<Mutex<InstrumentTable>>,
    pub(crate) sequencer: Arc<SequencerCore>,
    groups: Mutex<Vec<(Advance, Arc<Group>)>>,
    /// Those of them that are dispatched inline: asked for with every time of a replay.
    inline: Mutex<Arc<[Arc<Group>]>>,
    pub(crate) bars: BarsCore,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) hash: Option<Mutex<InputHash>>,
    tally: Mutex<Tally>,
    pub(crate) block_max: Option<Duration>,
    /// Replay: a lossy inline group is dispatched before it could be lapped.
    pub(crate) replay: bool,
}

impl IngestCore {
    pub(crate) fn add_group(&self, advance: Advance, group: &Arc<Group>) {
        self.change_groups(|groups| groups.push((advance, Arc::clone(group))));
    }

    pub(crate) fn remove_group(&self, group: &Arc<Group>) {
        self.change_groups(|groups| groups.retain(|(_, known)| !Arc::ptr_eq(known, group)));
    }

    fn change_groups(&self, change: impl FnOnce(&mut Vec<(Advance, Arc<Group>)>)) {
        let mut groups = lock(&self.groups);
        change(&mut groups);
        let inline = groups.iter().filter(|(advance, _)| *advance == Advance::Inline);
        *lock(&self.inline) = inline.map(|(_, group)| Arc::clone(group)).collect();
    }

    pub(crate) fn inline_groups(&self) -> Arc<[Arc<Group>]> {
        Arc::clone(&lock(&self.inline))
    }

    /// Whether a consumer of this thread still has ticks to take.
    pub(crate) fn has_consumers_behind(&self) -> bool {
        let groups = lock(&self.groups);
        groups
            .iter()
            .any(|(advance, group)| *advance == Advance::Consumer && group.has_members() && !group.is_idle())
    }

    pub(crate) fn group_of(&self, reader: ReaderId) -> Option<(Advance, Arc<Group>)> {
        let groups = lock(&self.groups);
        groups
            .iter()
            .find(|(_, group)| group.reader == reader)
            .map(|(advance, group)| (*advance, Arc::clone(group)))
    }

    /// Takes the working state; `room` is what must fit when the call comes from inside a handler.
    pub(crate) fn begin(&self, py: Python<'_>) -> PyResult<(WorkingGuard, WriterGuard<'_>)> {
        refuse_after_fork(py)?;
        // Acquire: whoever sees it closed sees what was done before.
        if self.ring.closed.load(Ordering::Acquire) {
            return Err(raise(
                py,
                "ClosedError",
                "this dispatcher is closed: nothing can be published to it any more",
                &[],
            ));
        }
        let working = self.sequencer.take().ok_or_else(|| self.busy(py))?;
        let writer = self.ring.writer().ok_or_else(|| concurrent_publish(py))?;
        Ok((working, writer))
    }

    fn busy(&self, py: Python<'_>) -> PyErr {
        let me = this_thread();
        if self
            .inline_groups()
            .iter()
            .any(|group| group.is_busy() && group.thread() == me)
        {
            return reentrant(py, 0);
        }
        concurrent_publish(py)
    }

    /// Refuses a publish from inside a handler that could have to wait for that handler.
    fn refuse_reentrant(&self, py: Python<'_>, writer: &mut WriterGuard<'_>, ticks: usize) -> PyResult<()> {
        let me = this_thread();
        let inside = || {
            lock(&self.groups)
                .iter()
                .any(|(_, group)| group.thread() == me && group.is_busy())
        };
        // Each tick may bring a gap with it.
        if writer.free() < 2 * ticks && inside() {
            return Err(reentrant(py, ticks as u64));
        }
        Ok(())
    }

    /// Dispatches the inline groups of this thread, as far as they are not being dispatched already.
    pub(crate) fn dispatch_inline(&self, py: Python<'_>, now: &Now<'_, '_>) -> PyResult<u64> {
        let mut done = 0;
        for group in self.inline_groups().iter() {
            group.set_thread(this_thread());
            if let Some(result) = group.dispatch(py, now.get()?, Bounds::default()) {
                done += result?.0;
            }
        }
        Ok(done)
    }
}

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
        let core = IngestCore {
            ring: Arc::clone(&ring.core),
            instruments: Arc::clone(&sequencer.instruments.get().table),
            sequencer: Arc::clone(&sequencer.core),
            groups: Mutex::new(Vec::new()),
            inline: Mutex::new(Arc::new([])),
            bars: BarsCore::default(),
            stop: Arc::new(AtomicBool::new(false)),
            hash: hashing.then(|| Mutex::new(InputHash::default())),
            tally: Mutex::new(Tally::default()),
            block_max: block_max_ns.map(Duration::from_nanos),
            replay,
        };
        Self {
            core: Arc::new(core),
            now,
            time,
        }
    }

    /// Numbers and publishes ticks; returns how many went onto the ring, gaps included.
    fn publish(&self, py: Python<'_>, ticks: &Bound<'_, PyAny>) -> PyResult<usize> {
        let (mut working, mut writer) = self.core.begin(py)?;
        let working = &mut *working;
        let known = lock(&self.core.instruments).rows().len();
        let total = ticks_of(py, ticks)?.len();
        refuse_unknown(py, ticks_of(py, ticks)?, &working.kinds, known)?;
        self.core.refuse_reentrant(py, &mut writer, total)?;
        let now = Now::Clock(self.now.bind(py));
        let mut publishing = Publishing::new(total, &now);
        self.core.send_waiting(py, working, &mut writer, &mut publishing)?;
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
                refuse_unknown(py, &rest[..end], &working.kinds, known)?;
            }
            let Working {
                sequencer,
                kinds,
                outgoing,
                waiting,
                ..
            } = &mut *working;
            self.core.number(sequencer, kinds, &rest[..end], outgoing);
            at += end;
            if ended.is_err() {
                waiting.extend_from_slice(outgoing);
            } else {
                ended = self.core.send_or_keep(py, working, &mut writer, &mut publishing);
            }
        }
        ended.map_err(|error| publishing.say_waiting(py, error, working.waiting.len()))?;
        publishing.end()
    }

    /// Decodes, numbers and publishes one frame; returns how many ticks went onto the ring.
    fn publish_frame(&self, py: Python<'_>, decoder: &Decoder, frame: &[u8], ts_init: i64) -> PyResult<usize> {
        self.refuse_foreign(py, decoder)?;
        let (mut working, mut writer) = self.core.begin(py)?;
        let arrival = Arrival {
            decoder,
            frame,
            ts_init,
            source: "",
            row: 0,
        };
        self.frame(py, &arrival, &mut working, &mut writer)
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
        let (mut working, mut writer) = self.core.begin(py)?;
        let now = Now::Clock(self.now.bind(py));
        let mut publishing = Publishing::new(0, &now);
        self.core.send_waiting(py, &mut working, &mut writer, &mut publishing)?;
        let mut published = publishing.end()?;
        let mut ended: Option<PyErr> = None;
        for line in Lines::new(block, first_row) {
            match line.parts {
                Some((ts_init, frame)) => {
                    let arrival = Arrival {
                        decoder,
                        frame,
                        ts_init,
                        source,
                        row: line.number,
                    };
                    if ended.is_some() {
                        // The block is taken whole: what finds no room any more waits behind what waits already.
                        let outcome = self.core.decode(&arrival, &mut working);
                        arrival.count(outcome, &mut lock(&self.core.tally));
                        self.core.number_incoming(&mut working);
                        let Working { outgoing, waiting, .. } = &mut *working;
                        waiting.extend_from_slice(outgoing);
                        continue;
                    }
                    match self.frame(py, &arrival, &mut working, &mut writer) {
                        Ok(count) => published += count,
                        // Ticks wait: then the frame was taken, and so is the rest of the block.
                        Err(error) if !working.waiting.is_empty() => ended = Some(error),
                        Err(error) => return Err(error),
                    }
                }
                None => {
                    let rejected = decode::Outcome::Rejected(decode::RejectReason::BadLine);
                    lock(&self.core.tally).count(rejected, |reason| Reject {
                        source: source.to_owned(),
                        row: line.number,
                        reason,
                        ts_init: 0,
                        frame: line.bytes.to_vec(),
                    });
                }
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

    /// SHA-256 over everything published, in lower-case hex; None without hashing.
    fn input_hash(&self) -> Option<String> {
        self.core.hash.as_ref().map(|hash| lock(hash).hex())
    }

    /// Asks every dispatch and every waiting publish to stop; ``False`` allows them again.
    fn set_stop(&self, stop: bool) {
        // Relaxed: takes effect soon, and orders nothing.
        self.core.stop.store(stop, Ordering::Relaxed);
        self.core.ring.wake_all();
    }

    /// No more ticks will come: whoever waits for some is woken.
    fn close(&self) {
        // Release: whoever sees it closed sees what was done before.
        self.core.ring.closed.store(true, Ordering::Release);
        self.core.ring.wake_all();
    }

    /// Ticks that were numbered and wait for room; None while somebody publishes.
    fn waiting(&self) -> Option<usize> {
        self.core.sequencer.take().map(|working| working.waiting.len())
    }

    /// Whether it was asked to stop.
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
        Err(raise(py, "DecoderError", message, &[]))
    }

    fn frame(
        &self,
        py: Python<'_>,
        arrival: &Arrival<'_>,
        working: &mut Working,
        writer: &mut WriterGuard<'_>,
    ) -> PyResult<usize> {
        let outcome = self.core.decode(arrival, working);
        // Refused before it is counted: the caller publishes it again.
        self.core.refuse_reentrant(py, writer, working.incoming.len())?;
        arrival.count(outcome, &mut lock(&self.core.tally));
        let now = Now::Clock(self.now.bind(py));
        let mut publishing = Publishing::new(working.incoming.len(), &now);
        self.core.sequence_and_send(py, working, writer, &mut publishing)?;
        publishing.end()
    }
}

impl IngestCore {
    /// Decodes a frame into `working.incoming`.
    pub(crate) fn decode(&self, arrival: &Arrival<'_>, working: &mut Working) -> decode::Outcome {
        working.incoming.clear();
        let mut decoder = arrival.decoder.lock();
        let (frame, ts_init) = (arrival.frame, arrival.ts_init);
        let outcome = decoder.decode(frame, ts_init, &mut lock(&self.instruments), &mut working.incoming);
        if let Some(passed) = decoder.passed_over() {
            working.sequencer.pass_over(passed);
        }
        outcome
    }
}

impl Arrival<'_> {
    /// Counts what the frame was.
    pub(crate) fn count(&self, outcome: decode::Outcome, tally: &mut Tally) {
        tally.count(outcome, |reason| Reject {
            source: self.source.to_owned(),
            row: self.row,
            reason,
            ts_init: self.ts_init,
            frame: self.frame.to_vec(),
        });
    }
}
