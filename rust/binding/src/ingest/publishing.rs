//! Publishing: from numbered ticks to the ring, and what happens when a reader holds it.
//!
//! ```text
//!   waiting, then new ones ─▶ number ─▶ input hash, bars ─▶ ring, in chunks of at most a quarter of it
//!                                                            │ held by …
//!                                                            ├ an inline group of this thread: it is dispatched
//!                                                            └ anybody else: as its `Patience` says
//! ```
//! Guarantees: what was numbered is never dropped: when a publish ends early, the rest waits and goes first with the next
//! one. Waiting for another thread happens without the interpreter's lock.
//! Does not: decide what is published.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use headrace_core::ingest::sequencer;
use headrace_core::market::kind::KindTable;
use headrace_core::market::tick::Tick;
use headrace_lockfree::ReaderId;
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;

use crate::dispatch::group::Bounds;
use crate::errors::raise;
use crate::ingest::ring::WriterGuard;
use crate::ingest::sequencer::Working;
use crate::ingest::{Advance, IngestCore, this_thread};
use crate::lock::lock;

/// What a publish does when the ring is held by somebody whom it cannot dispatch.
pub(crate) enum Patience<'a> {
    /// Waits for another thread; for a consumer of this thread that would be for ever, so it is an error.
    Wait,
    /// Gives up for now, and comes again: over all tries no longer than a reader may hold the ring.
    Return(&'a mut Holding),
    /// Publishes up to this position, as it was published before: who holds it then, had lost the gate there.
    UpTo(u64),
}

/// Who has held the ring, and from when on; nobody when something was published meanwhile.
#[derive(Default)]
pub(crate) struct Holding(Option<(ReaderId, Instant)>);

impl Holding {
    fn elapsed(&mut self, holder: ReaderId) -> Duration {
        let (_, since) = *self
            .0
            .filter(|(held_by, _)| *held_by == holder)
            .get_or_insert_with(|| (holder, Instant::now()));
        self.0 = Some((holder, since));
        since.elapsed()
    }
}

/// One publish under way.
pub(crate) struct Publishing<'a, 'b, 'py> {
    /// Ticks on the ring so far, gaps included; and how many it was asked for.
    pub(crate) published: usize,
    asked: usize,
    /// Ticks of the piece under way that are on the ring.
    sent: usize,
    /// Ticks of this publish that were numbered: they are on the ring, or wait.
    taken: usize,
    now: &'a Now<'b, 'py>,
    patience: Patience<'a>,
    /// It gave up for now: what is not on the ring waits.
    pub(crate) gave_up: bool,
    /// Whether handlers or other threads ran meanwhile.
    pub(crate) ran_others: bool,
    /// What a strategy raised that was dispatched to make room: the publish goes on, so that it costs no tick.
    raised: Option<PyErr>,
    /// For who waits: who has held the ring.
    holding: Holding,
}

impl<'a, 'b, 'py> Publishing<'a, 'b, 'py> {
    pub(crate) fn new(asked: usize, now: &'a Now<'b, 'py>) -> Self {
        Self {
            published: 0,
            asked,
            sent: 0,
            taken: asked,
            now,
            patience: Patience::Wait,
            gave_up: false,
            ran_others: false,
            raised: None,
            holding: Holding::default(),
        }
    }

    pub(crate) fn with(mut self, patience: Patience<'a>) -> Self {
        self.patience = patience;
        self
    }

    /// Whether it may go on from this position.
    pub(crate) fn goes_on(&self, position: u64) -> bool {
        !self.gave_up && !matches!(self.patience, Patience::UpTo(last) if position >= last)
    }

    /// Keeps a strategy's error for the end; in a replay, and for the user's interrupt, the end is now.
    fn keep(&mut self, py: Python<'_>, error: PyErr, replay: bool) -> PyResult<()> {
        if replay || error.is_instance_of::<PyKeyboardInterrupt>(py) {
            return Err(error);
        }
        self.raised.get_or_insert(error);
        Ok(())
    }

    /// Adds to a publish error what became of the ticks that are not on the ring.
    pub(crate) fn say_waiting(&self, py: Python<'_>, error: PyErr, waiting: usize) -> PyErr {
        let value = error.value(py);
        if value.hasattr("published").unwrap_or(false) {
            let said = || -> PyResult<()> {
                value.setattr("taken", self.taken)?;
                value.setattr("waiting", waiting)?;
                let what = if self.taken == 0 {
                    "nothing of this publish was taken"
                } else {
                    "nothing was lost"
                };
                let note =
                    format!("{what}: {waiting} numbered ticks wait, and go onto the ring first with the next publish");
                value.call_method1("add_note", (note,)).map(drop)
            };
            if let Err(unexpected) = said() {
                unexpected.write_unraisable(py, None);
            }
        }
        error
    }

    pub(crate) fn end(self) -> PyResult<usize> {
        self.raised.map_or(Ok(self.published), Err)
    }
}

/// Of a dispatch that makes room.
pub(crate) const NESTED: Bounds = Bounds {
    until: None,
    until_position: u64::MAX,
    nested: true,
    one_step: false,
};

/// Where a dispatch gets its time from.
pub(crate) enum Now<'a, 'py> {
    /// A clock's bound method `now_ns`.
    Clock(&'a Bound<'py, PyAny>),
    /// The replay's time T.
    At(i64),
}

impl Now<'_, '_> {
    pub(crate) fn get(&self) -> PyResult<i64> {
        match self {
            Now::Clock(clock) => clock.call0()?.extract(),
            Now::At(now_ns) => Ok(*now_ns),
        }
    }
}

/// The error for a publish from inside a handler that could have to wait for that handler.
pub(crate) fn reentrant(py: Python<'_>, asked: u64) -> PyErr {
    let message = "the ring has no room for this publish, and it comes from inside a handler that the ring would have to \
                   wait for: publish less, publish after the handler returns, or make the ring larger";
    raise(
        py,
        "ReentrantPublishError",
        message,
        &[("published", 0), ("asked", asked)],
    )
}

impl IngestCore {
    /// Numbers `working.incoming` and publishes it, behind what waits.
    pub(crate) fn sequence_and_send(
        &self,
        py: Python<'_>,
        working: &mut Working,
        writer: &mut WriterGuard<'_>,
        publishing: &mut Publishing<'_, '_, '_>,
    ) -> PyResult<()> {
        self.send_waiting(py, working, writer, publishing)?;
        self.number_incoming(working);
        if publishing.gave_up {
            let Working { outgoing, waiting, .. } = working;
            waiting.extend_from_slice(outgoing);
            return Ok(());
        }
        self.send_or_keep(py, working, writer, publishing)
            .map_err(|error| publishing.say_waiting(py, error, working.waiting.len()))
    }

    /// Numbers `working.incoming` into `working.outgoing`.
    pub(crate) fn number_incoming(&self, working: &mut Working) {
        let Working {
            sequencer,
            kinds,
            incoming,
            outgoing,
            ..
        } = working;
        self.number(sequencer, kinds, incoming, outgoing);
    }

    /// Publishes what an earlier publish left; an error: still no room, and nothing of this one was taken.
    pub(crate) fn send_waiting(
        &self,
        py: Python<'_>,
        working: &mut Working,
        writer: &mut WriterGuard<'_>,
        publishing: &mut Publishing<'_, '_, '_>,
    ) -> PyResult<()> {
        if working.waiting.is_empty() {
            return Ok(());
        }
        let waiting = std::mem::take(&mut working.waiting);
        let result = self.send(py, writer, &waiting, &working.sequencer, publishing);
        working.waiting.extend_from_slice(&waiting[publishing.sent..]);
        result.map_err(|error| {
            publishing.taken = 0;
            publishing.say_waiting(py, error, working.waiting.len())
        })
    }

    /// Publishes `working.outgoing`; what finds no room waits.
    pub(crate) fn send_or_keep(
        &self,
        py: Python<'_>,
        working: &mut Working,
        writer: &mut WriterGuard<'_>,
        publishing: &mut Publishing<'_, '_, '_>,
    ) -> PyResult<()> {
        let Working {
            sequencer,
            outgoing,
            waiting,
            ..
        } = working;
        let result = self.send(py, writer, outgoing, sequencer, publishing);
        // A replay that gives up was stopped, and goes on no more.
        if result.is_err() || (publishing.gave_up && !self.replay) {
            waiting.extend_from_slice(&outgoing[publishing.sent..]);
        }
        result
    }

    /// Numbers `ticks` into `outgoing`.
    pub(crate) fn number(
        &self,
        sequencer: &mut sequencer::Sequencer,
        kinds: &KindTable,
        ticks: &[Tick],
        outgoing: &mut Vec<Tick>,
    ) {
        outgoing.clear();
        if ticks.is_empty() {
            return;
        }
        let table = lock(&self.instruments);
        sequencer.sequence(ticks, &table, kinds, outgoing);
        self.bars.feed(outgoing, &table);
        if let Some(hash) = &self.hash {
            let mut hash = lock(hash);
            for tick in outgoing.iter() {
                hash.update(tick, table.get(tick.instrument).map_or("", |row| row.name.as_str()));
            }
        }
    }

    /// From here on handlers and other threads may look at what is being published.
    fn let_others_run(&self, sequencer: &sequencer::Sequencer, publishing: &mut Publishing<'_, '_, '_>) {
        publishing.ran_others = true;
        *lock(&self.sequencer.counts) = Some(sequencer.counts());
    }

    /// Publishes `ticks`, a piece of a publish, or as many of them as its patience allows.
    fn send(
        &self,
        py: Python<'_>,
        writer: &mut WriterGuard<'_>,
        ticks: &[Tick],
        sequencer: &sequencer::Sequencer,
        publishing: &mut Publishing<'_, '_, '_>,
    ) -> PyResult<()> {
        let chunk_max = (self.ring.ring.capacity() / 4).max(1);
        publishing.sent = 0;
        while publishing.sent < ticks.len() {
            let done = publishing.sent;
            let mut end = ticks.len().min(done + chunk_max);
            if let Patience::UpTo(position) = publishing.patience {
                let left = usize::try_from(position.saturating_sub(writer.position())).unwrap_or(usize::MAX);
                end = end.min(done.saturating_add(left));
                if end == done {
                    publishing.gave_up = true;
                    return Ok(());
                }
            }
            let count = writer.try_publish(&ticks[done..end]);
            publishing.sent += count;
            publishing.published += count;
            if self.replay && publishing.sent < ticks.len() {
                self.let_others_run(sequencer, publishing);
                self.dispatch_inline(py, publishing.now)?;
            }
            if count > 0 {
                publishing.holding = Holding::default();
                if let Patience::Return(holding) = &mut publishing.patience {
                    **holding = Holding::default();
                }
            } else if !self.make_room(py, writer, sequencer, publishing, ticks.len() - done)? {
                publishing.gave_up = true;
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether a tick fits, once what can be done for that was done; else the publish gives up for now.
    pub(crate) fn has_room(
        &self,
        py: Python<'_>,
        writer: &mut WriterGuard<'_>,
        working: &Working,
        publishing: &mut Publishing<'_, '_, '_>,
    ) -> PyResult<bool> {
        while !publishing.gave_up && writer.free() == 0 {
            publishing.gave_up = !self.make_room(py, writer, &working.sequencer, publishing, 1)?;
        }
        Ok(!publishing.gave_up)
    }

    /// Does what can be done about a full ring; false: nothing, for now.
    pub(crate) fn make_room(
        &self,
        py: Python<'_>,
        writer: &mut WriterGuard<'_>,
        sequencer: &sequencer::Sequencer,
        publishing: &mut Publishing<'_, '_, '_>,
        left: usize,
    ) -> PyResult<bool> {
        let asked = publishing.asked;
        self.let_others_run(sequencer, publishing);
        // Relaxed: a stop takes effect soon, and orders nothing.
        if self.stop.load(Ordering::Relaxed) {
            if self.replay || !matches!(publishing.patience, Patience::Wait) {
                // The run looks at the flag next, and says so.
                return Ok(false);
            }
            let published = publishing.published;
            let message = format!("stopped after {published} of {asked} ticks: the ring had no room for the rest");
            let facts = [("published", published as u64), ("asked", asked as u64)];
            return Err(raise(py, "StoppedError", message, &facts));
        }
        let Some((holder, _)) = self.ring.ring.holder() else {
            return Ok(true);
        };
        let group = self.group_of(holder);
        let mine = group.as_ref().is_some_and(|(_, group)| {
            let thread = group.thread();
            thread == 0 || thread == this_thread()
        });
        match (group, &mut publishing.patience) {
            (Some((Advance::Inline, _)), Patience::UpTo(_)) if mine => Ok(false),
            (Some((Advance::Inline, group)), _) if mine => {
                group.set_thread(this_thread());
                match group.dispatch(py, publishing.now.get()?, NESTED) {
                    Some(Ok(_)) => Ok(true),
                    Some(Err(error)) => publishing.keep(py, error, self.replay).map(|()| true),
                    None => Err(reentrant(py, left as u64)),
                }
            }
            (Some((Advance::Consumer, _)), Patience::Wait) if mine => {
                let message = format!(
                    "the ring is full after {} of {asked} ticks, and held by a pull or async subscription of this very \
                     thread: read it before publishing more, give it overflow='drop_oldest', or make the ring larger \
                     (ring_capacity={})",
                    publishing.published,
                    self.ring.ring.capacity()
                );
                let facts = [("published", publishing.published as u64), ("asked", asked as u64)];
                Err(raise(py, "RingHeldError", message, &facts))
            }
            (_, Patience::Wait) => {
                // Timed from before the wait.
                publishing.holding.elapsed(holder);
                writer.wait_for_room(py, holder);
                py.check_signals()?;
                self.demote_at_the_bound(holder, publishing.holding.elapsed(holder));
                Ok(true)
            }
            (_, Patience::Return(holding)) => Ok(self.demote_at_the_bound(holder, holding.elapsed(holder))),
            (_, Patience::UpTo(_)) => {
                self.ring.ring.demote(holder);
                Ok(true)
            }
        }
    }

    /// Takes a reader out of the gate that has held it for too long; says whether it had.
    fn demote_at_the_bound(&self, holder: ReaderId, held: Duration) -> bool {
        let too_long = self.block_max.is_some_and(|bound| held >= bound);
        if too_long {
            self.ring.ring.demote(holder);
        }
        too_long
    }
}
