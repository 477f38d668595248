//! A group: subscriptions that share one reader of the ring and are dispatched together, tick by tick.
//!
//! ```text
//!   ring ─▶ backlog │ span │ span │ open event │      a span ends at a gap, a join, an event's edge after batch_max ticks
//!                      └▶ each tick to every member, in registration order ─▶ end of span: plural handlers
//! ```
//! Guarantees: dispatching holds no lock and is not reentrant; after an error it goes on behind the tick that raised
//! it; every position is accounted for in each member's counters. A lapped group counts the positions that it lost,
//! reports them to its members before the next tick, and goes on at the next event. A group demoted by the writer goes
//! on as a lossy one.
//! Does not: publish, or decide when it is dispatched.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use headrace_core::market::instrument::InstrumentTable;
use headrace_lockfree::{Mailbox, ReaderId};
use pyo3::prelude::*;

use super::delivery::{Awaiting, Delivery};
use super::group_state::GroupState;
use super::request::Request;
use super::running::{Running, Seen};
use super::seat::Seat;
use super::stops::Stops;
use super::subscription::{SubscriptionShared, state};
use crate::hot::tick_types::tick_types;
use crate::ingest::RingCore;
use crate::lock::lock;
use crate::tables::kinds::kinds;
use crate::tables::names::Names;
use crate::thread::this_thread;

/// Members and sets as statistics need them.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) members: Vec<Arc<SubscriptionShared>>,
    pub(super) sets: Vec<(Arc<AtomicU64>, Vec<u32>)>,
}

/// A group as other threads see it.
pub(crate) struct Group {
    pub(crate) core: Arc<RingCore>,
    pub(super) instruments: Arc<Mutex<InstrumentTable>>,
    pub(super) state: Mutex<Option<Box<GroupState>>>,
    pub(super) requests: Mailbox<Request>,
    pub(super) counts: Mutex<Counts>,
    pub(super) position: AtomicU64,
    pub(super) last_ts: AtomicI64,
    /// Number of the thread that dispatches it; 0: none has yet.
    pub(super) thread: AtomicU64,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) closed: AtomicBool,
    /// Its state is gone for good.
    ended: AtomicBool,
    /// Set once, for the inline group of a live engine.
    pub(super) stops: OnceLock<Stops>,
    pub(super) running: Arc<Running>,
    /// By kind number.
    kind_names: Vec<Py<PyAny>>,
    pub(super) seat: Seat,
    /// In the dispatch log.
    pub(crate) number: u32,
    pub(super) hashing: bool,
}

impl Group {
    pub(crate) fn new(
        py: Python<'_>,
        core: &Arc<RingCore>,
        instruments: &Arc<Mutex<InstrumentTable>>,
        stop: &Arc<AtomicBool>,
        hooks: Py<PyAny>,
        hashing: bool,
        races: bool,
    ) -> PyResult<Self> {
        let table = kinds();
        // Lossy until a member joins with `overflow="block"`.
        let reader = core.ring.lossy_reader();
        let running = Arc::new(Running::default());
        let names = Names::new(py, &table);
        let kind_names = names.kinds(py);
        let types = tick_types(py)?;
        let plural = table
            .rows()
            .iter()
            .filter(|row| !row.plural.is_empty())
            .map(|row| row.kind)
            .collect();
        let delivery = Delivery::new(names, types, core.newest.keys(), plural, Arc::clone(&running), hooks);
        let (position, id) = (reader.position(), reader.id());
        let mut state = Box::new(GroupState::new(core, reader, delivery));
        state.races = races;
        let group = Self {
            core: Arc::clone(core),
            instruments: Arc::clone(instruments),
            state: Mutex::new(None),
            requests: Mailbox::default(),
            counts: Mutex::new(Counts::default()),
            position: AtomicU64::new(position),
            last_ts: AtomicI64::new(i64::MIN),
            thread: AtomicU64::new(0),
            stop: Arc::clone(stop),
            closed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            stops: OnceLock::new(),
            running,
            kind_names,
            seat: Seat::new(id),
            number: core.log.number_group(),
            hashing,
        };
        *lock(&group.state) = Some(state);
        Ok(group)
    }

    pub(crate) fn pause(&self, shared: &SubscriptionShared) -> bool {
        let from = [state::RUNNING, state::NARROWED, state::RESUMING, state::DOZING];
        let paused = shared.change_state(&from, state::PAUSED);
        let mut seat = self.seat.lock();
        // The writer need not wait for this group when no member is left that it waits for.
        if !lock(&self.counts).members.iter().any(|member| member.holds_gate()) {
            seat.leave_gate(&self.core.ring);
        }
        paused
    }

    /// Has a member run again, from the next edge of a span on. One that blocks holds the writer when this returns.
    pub(crate) fn resume(&self, py: Python<'_>, shared: &Arc<SubscriptionShared>) -> bool {
        let state = self.take(py);
        let resumed = {
            let mut seat = self.seat.lock();
            let resumed = shared.change_state(&[state::PAUSED, state::QUARANTINED], state::RESUMING);
            if resumed && shared.blocks() && state.is_none() && !self.is_closed() {
                seat.keep_place(&self.core.ring);
            }
            resumed
        };
        if resumed {
            self.request(Request::Resume(Arc::clone(shared)));
            if let Some(mut state) = state {
                if shared.blocks() {
                    state.join_gate(&self.seat);
                }
                self.answer_at_an_edge(&mut state);
            }
        }
        resumed
    }

    /// Takes a member out; its numbers stand still from here on, or from the next edge of a span when it is being
    /// dispatched now.
    pub(crate) fn leave(&self, py: Python<'_>, shared: &Arc<SubscriptionShared>) {
        if self.request_leave(shared) {
            self.answer_if_idle(py);
        }
    }

    fn request_leave(&self, shared: &Arc<SubscriptionShared>) -> bool {
        let leaves = shared.close();
        if leaves {
            self.request(Request::Leave(Arc::clone(shared)));
        }
        leaves
    }

    /// Frees the gate at once: the writer need not wait for this group any more.
    pub(crate) fn leave_gate(&self) {
        self.seat.lock().leave_gate(&self.core.ring);
    }

    /// Whether this is the reader by which it holds the writer.
    pub(crate) fn reads_as(&self, reader: ReaderId) -> bool {
        self.seat.lock().is_one(reader)
    }

    /// Ends the group: its reader leaves the ring.
    pub(crate) fn close(&self, py: Python<'_>) {
        // Release: a thread that sees it closed sees what was done before.
        self.closed.store(true, Ordering::Release);
        let mut members = lock(&self.counts).members.clone();
        self.requests.look(|requests| {
            members.extend(requests.iter().filter_map(|request| match request {
                Request::Join(member) => Some(Arc::clone(&member.shared)),
                _ => None,
            }));
        });
        for shared in members {
            self.request_leave(&shared);
        }
        self.leave_gate();
        self.end_if_closed(py);
        self.core.wake_all();
    }

    /// Removes the members of a closed group, and drops its reader. When the state is taken, that happens when it comes
    /// back. What was counted stays with the members.
    pub(super) fn end_if_closed(&self, py: Python<'_>) {
        if !self.is_closed() {
            return;
        }
        if let Some(mut state) = self.take(py) {
            // It may stand inside a span, whose end will not come.
            self.answer(&mut state);
            *lock(&self.counts) = Counts::default();
            state.group = None;
            // Relaxed: a look at the end of the process, which looks again.
            self.ended.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn position(&self) -> u64 {
        // Relaxed: a number for statistics.
        self.position.load(Ordering::Relaxed)
    }

    /// The thread that dispatches this group, 0 when none has yet.
    pub(crate) fn thread(&self) -> u64 {
        // Relaxed: compared by the publishing thread with its own id only.
        self.thread.load(Ordering::Relaxed)
    }

    pub(crate) fn set_thread(&self, thread: u64) {
        // Relaxed: as above.
        self.thread.store(thread, Ordering::Relaxed);
    }

    /// The call that runs now: its number, and the names of its subscription and handler.
    pub(super) fn named_running(&self) -> Option<(u64, String)> {
        let (mark, member, handler) = self.running.call()?;
        let counts = lock(&self.counts);
        let shared = counts.members.get(member)?;
        let handlers = lock(&shared.handlers);
        Some((mark, format!("{}.{}", shared.name, handlers.get(handler)?)))
    }

    pub(super) fn count_members(&self) -> usize {
        lock(&self.counts).members.len() + self.requests.look(<[Request]>::len)
    }

    /// Whether it is a member, or asked to leave and has no answer yet.
    pub(super) fn holds(&self, shared: &Arc<SubscriptionShared>) -> bool {
        let leaves = |request: &Request| matches!(request, Request::Leave(leaver) if Arc::ptr_eq(leaver, shared));
        self.requests.look(|requests| requests.iter().any(leaves))
            || lock(&self.counts)
                .members
                .iter()
                .any(|member| Arc::ptr_eq(member, shared))
    }

    pub(super) fn count_attended(&self, py: Python<'_>) -> Option<usize> {
        self.with_state(py, |state| state.delivery.count_attended())
    }

    /// The ticks of this member's handler call that runs now, in this very thread.
    pub(super) fn cause_of(&self, py: Python<'_>, shared: &Arc<SubscriptionShared>) -> Option<Cause> {
        if self.thread() != this_thread() {
            return None;
        }
        let (_, member, _) = self.running.call()?;
        let is_running = lock(&self.counts)
            .members
            .get(member)
            .is_some_and(|running| Arc::ptr_eq(running, shared));
        is_running.then(|| self.named(py, self.running.seen()))
    }

    /// Calls to be awaited, with their causes by name.
    pub(super) fn named_calls(&self, py: Python<'_>, calls: Awaiting) -> Vec<(u16, Py<PyAny>, Cause)> {
        let calls = calls.into_iter();
        calls
            .map(|(handler, awaitable, seen)| (handler, awaitable, self.named(py, seen)))
            .collect()
    }

    /// The ticks of a call, by name.
    pub(super) fn named(&self, py: Python<'_>, seen: Seen) -> Cause {
        let instrument = lock(&self.instruments).get(seen.instrument).map(|row| row.name.clone());
        let kind = self
            .kind_names
            .get(usize::from(seen.kind))
            .unwrap_or(&self.kind_names[0]);
        (instrument, kind.clone_ref(py), seen.first, seen.last, seen.ts_init)
    }

    /// Whether a thread dispatches it now.
    pub(crate) fn is_busy(&self) -> bool {
        // Relaxed: see `end_if_closed`.
        lock(&self.state).is_none() && !self.ended.load(Ordering::Relaxed)
    }

    pub(crate) fn has_members(&self) -> bool {
        !lock(&self.counts).members.is_empty() || self.requests.look(|requests| !requests.is_empty())
    }

    /// Positions between the oldest tick still to be dispatched and the cursor.
    pub(crate) fn is_idle(&self) -> bool {
        self.position() >= self.core.ring.cursor()
    }

    /// (published, filtered, pending, pending_ns) of a member: the terms of the loss law that are sums over the group.
    pub(crate) fn account(&self, shared: &Arc<SubscriptionShared>) -> (u64, u64, u64, i64) {
        let counts = lock(&self.counts);
        let joined = shared.joined.get();
        let member = counts.members.iter().position(|member| Arc::ptr_eq(member, shared));
        let Some(member) = member else {
            let left = shared.left.get();
            let closed = shared.state() == state::CLOSED;
            let published = if closed {
                left.saturating_sub(joined)
            } else {
                self.core.ring.cursor() - joined
            };
            return (published, shared.filtered.get(), if closed { 0 } else { published }, 0);
        };
        let elsewhere = counts
            .sets
            .iter()
            .filter(|(_, members)| !members.contains(&(member as u32)));
        // Relaxed: statistics.
        let filtered: u64 = elsewhere.map(|(seen, _)| seen.load(Ordering::Relaxed)).sum();
        let cursor = self.core.ring.cursor();
        let pending = cursor - self.position().max(joined).min(cursor) + shared.buffered.get();
        // Relaxed: statistics.
        let last_ts = self.last_ts.load(Ordering::Relaxed);
        let newest = self.core.newest_ts();
        let behind = if pending == 0 || last_ts == i64::MIN {
            0
        } else {
            newest.saturating_sub(last_ts).max(0)
        };
        (cursor - joined, shared.filtered.get() + filtered, pending, behind)
    }

    /// Whether it was closed.
    pub(super) fn is_closed(&self) -> bool {
        // Acquire: a thread that sees it closed sees what was done before.
        self.closed.load(Ordering::Acquire)
    }

    pub(super) fn with_state<T>(&self, py: Python<'_>, act: impl FnOnce(&mut GroupState) -> T) -> Option<T> {
        let mut state = self.take(py)?;
        let result = act(&mut state);
        Some(result)
    }
}

/// The ticks of a call: instrument, kind, first and last `seq`, `ts_init` of the last.
pub(super) type Cause = (Option<String>, Py<PyAny>, u64, u64, i64);
