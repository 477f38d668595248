//! `Publisher`: from ticks to numbered ticks to the ring, and what happens when a reader holds it.
//!
//! ```text
//!   waiting, then new ones ─▶ number ─▶ input hash, bars ─▶ ring, in chunks of at most a quarter of it
//!                                                            │ held by …
//!                                                            ├ an inline group of this thread: it is dispatched
//!                                                            └ any other reader: as its `Patience` says
//! ```
//! Guarantees: what was numbered is never dropped: when a publish ends early, the rest waits and goes first with the
//! next one. Waiting for another thread happens without the interpreter's lock.
//! Does not: decide what is published.

use std::sync::atomic::Ordering;
use std::time::Duration;

use headrace_core::market::tick::Tick;
use headrace_lockfree::ReaderId;
use pyo3::prelude::*;

use super::ingest_core::{Advance, IngestCore};
use super::publishing::{Holding, Patience, Publishing, reentrant};
use super::ring_core::{WriterGuard, concurrent_publish};
use super::sequencer::Working;
use crate::dispatch::Bounds;
use crate::errors::{raise, raise_with, refuse_after_fork};
use crate::hot::exclusive::Taken;
use crate::lock::lock;
use crate::thread::this_thread;

/// The numbering and the writer, taken for one call that publishes.
pub(crate) struct Publisher<'a, 'py> {
    pub(super) py: Python<'py>,
    pub(super) core: &'a IngestCore,
    pub(super) working: Taken<'a, 'py, Working>,
    pub(super) writer: WriterGuard<'a, 'py>,
}

impl<'a, 'py> Publisher<'a, 'py> {
    /// Takes both. Raises ClosedError, ConcurrentPublishError, ReentrantPublishError, ForkedError.
    #[inline(always)] // With every time of a replay.
    pub(crate) fn begin(py: Python<'py>, core: &'a IngestCore) -> PyResult<Self> {
        refuse_after_fork(py)?;
        // Acquire: a thread that sees it closed sees what was done before.
        if core.ring.closed.load(Ordering::Acquire) {
            return Err(raise(
                py,
                "ClosedError",
                "this dispatcher is closed: nothing can be published to it any more",
            ));
        }
        let working = core.sequencer.working.take(py).ok_or_else(|| busy(py, core))?;
        let writer = core.ring.writer(py).ok_or_else(|| concurrent_publish(py))?;
        Ok(Self {
            py,
            core,
            working,
            writer,
        })
    }

    /// Refuses a publish from inside a handler that could have to wait for that handler.
    pub(super) fn refuse_reentrant(&mut self, ticks: usize) -> PyResult<()> {
        let me = this_thread();
        let inside = || {
            lock(&self.core.groups)
                .iter()
                .any(|(_, group)| group.thread() == me && group.is_busy())
        };
        // Each tick may bring a gap with it.
        if self.writer.free() < 2 * ticks && inside() {
            return Err(reentrant(self.py, ticks as u64));
        }
        Ok(())
    }

    /// Numbers `working.incoming` and publishes it, behind what waits.
    pub(crate) fn sequence_and_send(&mut self, publishing: &mut Publishing<'_, '_, '_>) -> PyResult<()> {
        self.number_incoming();
        self.send_numbered(publishing)
    }

    /// Numbers and publishes a tick that is as expected, when there is nothing else to do but that, and writes it to
    /// `numbered`; false: there is, and nothing was done.
    #[inline(always)] // With every time of a replay.
    pub(super) fn pass(&mut self, tick: &Tick, numbered: &mut Tick) -> bool {
        if self.is_watched() || !self.working.waiting.is_empty() || self.writer.free() == 0 {
            return false;
        }
        let Some(seq) = self.working.sequencer.expect(tick) else {
            return false;
        };
        *numbered = *tick;
        numbered.seq = seq;
        self.writer.publish_one(numbered);
        true
    }

    /// How many ticks can be published at once, even if there is a gap before each.
    pub(super) fn room(&mut self) -> usize {
        if self.working.waiting.is_empty() {
            self.core.chunk_max().min(self.writer.free()) / 2
        } else {
            0
        }
    }

    /// Publishes `working.outgoing` when it fits as it is: nothing else can happen meanwhile. False: it does not.
    #[inline]
    pub(super) fn send_at_once(&mut self) -> bool {
        let (core, Working { outgoing, waiting, .. }) = (self.core, &*self.working);
        let fits = waiting.is_empty() && outgoing.len() <= core.chunk_max().min(self.writer.free());
        if fits {
            self.writer.try_publish(outgoing);
        }
        fits
    }

    /// Publishes `working.outgoing`, behind what waits.
    pub(super) fn send_numbered(&mut self, publishing: &mut Publishing<'_, '_, '_>) -> PyResult<()> {
        self.send_waiting(publishing)?;
        if publishing.gave_up {
            self.keep_outgoing();
            return Ok(());
        }
        self.send_or_keep(publishing)
            .map_err(|error| publishing.say_waiting(self.py, error, self.working.waiting.len()))
    }

    /// Lets `working.outgoing` wait behind what waits already.
    pub(super) fn keep_outgoing(&mut self) {
        let Working { outgoing, waiting, .. } = &mut *self.working;
        waiting.extend_from_slice(outgoing);
    }

    /// Publishes what an earlier publish left; an error: still no room, and nothing of this one was taken.
    pub(crate) fn send_waiting(&mut self, publishing: &mut Publishing<'_, '_, '_>) -> PyResult<()> {
        if self.working.waiting.is_empty() {
            return Ok(());
        }
        let waiting = std::mem::take(&mut self.working.waiting);
        let result = self.send(&waiting, publishing);
        self.working.waiting.extend_from_slice(&waiting[publishing.sent..]);
        result.map_err(|error| {
            publishing.taken = 0;
            publishing.say_waiting(self.py, error, self.working.waiting.len())
        })
    }

    /// Publishes `working.outgoing`; what finds no room waits.
    pub(super) fn send_or_keep(&mut self, publishing: &mut Publishing<'_, '_, '_>) -> PyResult<()> {
        let outgoing = std::mem::take(&mut self.working.outgoing);
        let result = self.send(&outgoing, publishing);
        // A replay that gives up was stopped, and goes on no more.
        if result.is_err() || (publishing.gave_up && !self.core.replay) {
            self.working.waiting.extend_from_slice(&outgoing[publishing.sent..]);
        }
        self.working.outgoing = outgoing;
        result
    }

    /// From here on handlers and other threads may look at what is being published.
    fn let_others_run(&self, publishing: &mut Publishing<'_, '_, '_>) {
        publishing.ran_others = true;
        *lock(&self.core.sequencer.counts) = Some(self.working.sequencer.counts());
    }

    /// Publishes `ticks`, a piece of a publish, or as many of them as its patience allows.
    fn send(&mut self, ticks: &[Tick], publishing: &mut Publishing<'_, '_, '_>) -> PyResult<()> {
        let chunk_max = self.core.chunk_max();
        publishing.sent = 0;
        while publishing.sent < ticks.len() {
            let done = publishing.sent;
            let mut end = ticks.len().min(done + chunk_max);
            if let Patience::UpTo(position) = publishing.patience {
                let left = usize::try_from(position.saturating_sub(self.writer.position())).unwrap_or(usize::MAX);
                end = end.min(done.saturating_add(left));
                if end == done {
                    publishing.gave_up = true;
                    return Ok(());
                }
            }
            let count = self.writer.try_publish(&ticks[done..end]);
            publishing.sent += count;
            publishing.published += count;
            if self.core.replay && publishing.sent < ticks.len() {
                self.let_others_run(publishing);
                self.core.dispatch_inline(self.py, publishing.now)?;
            }
            if count > 0 {
                publishing.holding = Holding::default();
                if let Patience::Return(holding) = &mut publishing.patience {
                    **holding = Holding::default();
                }
            } else if !self.make_room(publishing, ticks.len() - done)? {
                publishing.gave_up = true;
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether a tick fits, once what can be done for that was done; else the publish gives up for now.
    pub(crate) fn has_room(&mut self, publishing: &mut Publishing<'_, '_, '_>) -> PyResult<bool> {
        while !publishing.gave_up && self.writer.free() == 0 {
            publishing.gave_up = !self.make_room(publishing, 1)?;
        }
        Ok(!publishing.gave_up)
    }

    /// Does what can be done about a full ring; false: nothing, for now.
    fn make_room(&mut self, publishing: &mut Publishing<'_, '_, '_>, left: usize) -> PyResult<bool> {
        let (py, core, asked) = (self.py, self.core, publishing.asked);
        self.let_others_run(publishing);
        // Relaxed: a stop takes effect soon, and orders nothing.
        if core.stop.load(Ordering::Relaxed) {
            if core.replay || !matches!(publishing.patience, Patience::Wait) {
                // The caller looks at the flag next, and returns STOPPED.
                return Ok(false);
            }
            let published = publishing.published;
            let message = format!("stopped after {published} of {asked} ticks: the ring had no room for the rest");
            let facts = [("published", published as u64), ("asked", asked as u64)];
            return Err(raise_with(py, "StoppedError", message, &facts));
        }
        let Some((holder, _)) = core.ring.ring.holder() else {
            return Ok(true);
        };
        let group = core.group_of(holder);
        let mine = group.as_ref().is_some_and(|(_, group)| {
            let thread = group.thread();
            thread == 0 || thread == this_thread()
        });
        match (group, &mut publishing.patience) {
            (Some((Advance::Inline, _)), Patience::UpTo(_)) if mine => Ok(false),
            (Some((Advance::Inline, group)), patience) if mine => {
                group.set_thread(this_thread());
                // Only a publish that comes again can leave the rest to a live turn.
                let has_stops = matches!(patience, Patience::Return(_)) && group.has_stops();
                let bounds = Bounds {
                    has_stops,
                    ..Bounds::NESTED
                };
                match group.dispatch(py, publishing.now.get()?, bounds) {
                    Some(Ok((done, _))) => Ok(done > 0 || !has_stops),
                    Some(Err(error)) => publishing.keep(py, error, core.replay).map(|()| true),
                    None => Err(reentrant(py, left as u64)),
                }
            }
            (Some((Advance::Consumer, _)), Patience::Wait) if mine => Err(self.held_by_own_consumer(publishing)),
            (_, Patience::Wait) => {
                // Timed from before the wait.
                publishing.holding.elapsed(holder);
                self.writer.wait_for_room(py, holder);
                py.check_signals()?;
                demote_at_the_bound(core, holder, publishing.holding.elapsed(holder));
                Ok(true)
            }
            (_, Patience::Return(holding)) => Ok(demote_at_the_bound(core, holder, holding.elapsed(holder))),
            (_, Patience::UpTo(_)) => {
                core.ring.ring.demote(holder);
                Ok(true)
            }
        }
    }

    /// The error for a publish that a pull or async subscription of its own thread holds up.
    #[cold]
    fn held_by_own_consumer(&self, publishing: &Publishing<'_, '_, '_>) -> PyErr {
        let (published, asked) = (publishing.published, publishing.asked);
        let message = format!(
            "the ring is full after {published} of {asked} ticks, and held by a pull or async subscription of this very \
             thread: read it before publishing more, give it overflow='drop_oldest', or make the ring larger \
             (ring_capacity={})",
            self.core.ring.ring.capacity()
        );
        let facts = [("published", published as u64), ("asked", asked as u64)];
        raise_with(self.py, "RingHeldError", message, &facts)
    }
}

/// The error for a publish while another one runs.
fn busy(py: Python<'_>, core: &IngestCore) -> PyErr {
    let me = this_thread();
    let is_inside = core
        .inline_groups()
        .iter()
        .any(|group| group.is_busy() && group.thread() == me);
    if is_inside {
        reentrant(py, 0)
    } else {
        concurrent_publish(py)
    }
}

/// Takes a reader out of the gate that has held it for too long; returns whether it had.
fn demote_at_the_bound(core: &IngestCore, holder: ReaderId, held: Duration) -> bool {
    let too_long = core.block_max.is_some_and(|bound| held >= bound);
    if too_long {
        core.ring.ring.demote(holder);
    }
    too_long
}
