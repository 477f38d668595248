//! A group: subscriptions that share one reader of the ring and are dispatched together, tick by tick.
//!
//! ```text
//!   ring ─▶ backlog │ run │ run │ open event │        a run ends at a gap, a join, an event's edge after batch_max ticks
//!                     └▶ each tick to every member, in registration order ─▶ end of run: plural handlers
//! ```
//! Guarantees: dispatching holds no lock and is not reentrant; after an error it goes on behind the tick that raised it;
//! every position is accounted for in each member's counters.
//! A lapped group learns how many positions it lost, tells its members before the next tick, and goes on at the next
//! event. A group demoted by the writer goes on as a lossy one.
//! Does not: publish, or decide when it is dispatched.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use headrace_core::field::{Field, KindSet};
use headrace_core::instrument::InstrumentTable;
use headrace_core::kind;
use headrace_core::plan::{Filter, Plan};
use headrace_core::tick::{GapCause, TICK_WORDS, Tick};
use headrace_lockfree::{Park, Read, Reader, ReaderId, WAIT_MAX, WaitStrategy};
use pyo3::prelude::*;

use crate::backlog::Backlog;
use crate::delivery::{About, CallSet, CallSite, Class, Delivery, Enters, Member, edge_before};
use crate::errors::raise;
use crate::hot::tick_object::tick_types;
use crate::hot::vectorcall::{Call, Slots};
use crate::kinds::kinds;
use crate::names::Names;
use crate::ring::RingCore;
use crate::subscription::{Handler, Missing, Options, Overflow, Role, SubscriptionShared, state};

/// Ticks of a run when no plural handler asks for another length.
const RUN_TICKS: usize = 1_024;
/// Ticks between two looks at the clock, when a dispatch has a time limit.
const TICKS_PER_LOOK: usize = 32;

/// What was asked of a group from outside; done at the next edge of a run.
enum Request {
    Join {
        at: u64,
        shared: Arc<SubscriptionShared>,
        options: Box<Options>,
        handlers: Vec<Handler>,
        newest: Vec<Tick>,
    },
    Leave(Arc<SubscriptionShared>),
    Resume(Arc<SubscriptionShared>),
}

/// Members and sets as statistics need them.
#[derive(Default)]
struct Counts {
    members: Vec<Arc<SubscriptionShared>>,
    sets: Vec<(Arc<AtomicU64>, Vec<u32>)>,
}

/// A group as other threads see it.
pub(crate) struct Group {
    pub(crate) core: Arc<RingCore>,
    instruments: Arc<Mutex<InstrumentTable>>,
    state: Mutex<Option<Box<GroupState>>>,
    requests: Mutex<Vec<Request>>,
    asked: AtomicBool,
    counts: Mutex<Counts>,
    position: AtomicU64,
    last_ts: AtomicI64,
    /// Thread that dispatches it, by the id that Python gives; 0: not known yet.
    thread: AtomicU64,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) closed: AtomicBool,
    pub(crate) current: Arc<AtomicU64>,
    pub(crate) reader: ReaderId,
    hashing: bool,
}

/// What only the dispatching call touches.
struct GroupState {
    core: Arc<RingCore>,
    reader: Reader<TICK_WORDS>,
    backlog: Backlog,
    /// Position of `backlog[0]`.
    base: u64,
    /// Whole events end here; behind it lies the beginning of one that is still being published.
    usable: usize,
    run_start: usize,
    run_end: usize,
    next: usize,
    /// Positions that the writer overwrote, not yet told.
    lapsed: u64,
    /// After a loss: drop ticks until an event begins.
    resync: bool,
    plan: Plan,
    sets: Vec<CallSet>,
    delivery: Delivery,
    run_ticks: usize,
    conflates: bool,
}

/// How a dispatch is bounded.
#[derive(Clone, Copy, Default)]
pub(crate) struct Bounds {
    pub(crate) until: Option<Instant>,
    /// Stop as soon as something is to be awaited, or was held for a pull.
    pub(crate) one_step: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Group {
    pub(crate) fn new(
        py: Python<'_>,
        core: &Arc<RingCore>,
        instruments: &Arc<Mutex<InstrumentTable>>,
        stop: &Arc<AtomicBool>,
        hooks: Py<PyAny>,
        hashing: bool,
    ) -> PyResult<Self> {
        let table = kinds();
        // Lossy until somebody joins who wants to hold the writer.
        let reader = core.ring.lossy_reader();
        let current = Arc::new(AtomicU64::new(0));
        let names = Names::new(py, &table);
        let types = tick_types(py)?;
        let plural = table
            .rows()
            .iter()
            .filter(|row| !row.plural.is_empty())
            .map(|row| row.kind)
            .collect();
        let delivery = Delivery::new(names, types, core.newest.keys(), plural, Arc::clone(&current), hooks);
        let (position, id) = (reader.position(), reader.id());
        let mut state = Box::new(GroupState {
            core: Arc::clone(core),
            reader,
            backlog: Backlog::default(),
            base: position,
            usable: 0,
            run_start: 0,
            run_end: 0,
            next: 0,
            lapsed: 0,
            resync: false,
            plan: Plan::default(),
            sets: Vec::new(),
            delivery,
            run_ticks: RUN_TICKS,
            conflates: false,
        });
        let group = Self {
            core: Arc::clone(core),
            instruments: Arc::clone(instruments),
            state: Mutex::new(None),
            requests: Mutex::new(Vec::new()),
            asked: AtomicBool::new(false),
            counts: Mutex::new(Counts::default()),
            position: AtomicU64::new(position),
            last_ts: AtomicI64::new(i64::MIN),
            thread: AtomicU64::new(0),
            stop: Arc::clone(stop),
            closed: AtomicBool::new(false),
            current,
            reader: id,
            hashing,
        };
        group.compile(py, &mut state);
        *lock(&group.state) = Some(state);
        Ok(group)
    }

    fn request(&self, request: Request) {
        lock(&self.requests).push(request);
        // Relaxed: a hint; the lock orders the requests themselves, and a late look costs one run.
        self.asked.store(true, Ordering::Relaxed);
        self.core.wake_all();
    }

    /// Adds a member from the cursor on.
    pub(crate) fn join(
        &self,
        py: Python<'_>,
        name: String,
        options: Options,
        handlers: Vec<Handler>,
    ) -> Arc<SubscriptionShared> {
        // The newest first, then the cursor: so they all lie before the place where the member joins.
        let newest = self.core.newest.load();
        let at = self.core.ring.cursor();
        let shared = Arc::new(SubscriptionShared::new(name, at, self.hashing));
        self.request(Request::Join {
            at,
            shared: Arc::clone(&shared),
            options: Box::new(options),
            handlers,
            newest,
        });
        self.answer_if_idle(py);
        shared
    }

    /// Answers at once when nobody is dispatching: from here on a gated member holds the writer.
    fn answer_if_idle(&self, py: Python<'_>) {
        if let Some(mut state) = self.take() {
            if state.next == state.run_end {
                self.answer(py, &mut state);
                self.settle(&state);
            }
            self.put(state);
        }
    }

    pub(crate) fn pause(&self, shared: &SubscriptionShared) -> bool {
        let paused = shared.change_state(&[state::RUNNING, state::RESUMING], state::PAUSED);
        self.free_gate_unless_running();
        paused
    }

    /// Nobody runs: the writer need not wait for this group.
    fn free_gate_unless_running(&self) {
        if lock(&self.counts)
            .members
            .iter()
            .all(|member| member.state() != state::RUNNING)
        {
            self.leave_gate();
        }
    }

    pub(crate) fn resume(&self, shared: &Arc<SubscriptionShared>) -> bool {
        let resumed = shared.change_state(&[state::PAUSED, state::QUARANTINED], state::RESUMING);
        if resumed {
            self.request(Request::Resume(Arc::clone(shared)));
        }
        resumed
    }

    /// Takes a member out; its numbers stand still from here on, or from the next edge of a run when it is being
    /// dispatched now.
    pub(crate) fn leave(&self, py: Python<'_>, shared: &Arc<SubscriptionShared>) {
        let from = [state::RUNNING, state::PAUSED, state::QUARANTINED, state::RESUMING];
        if shared.change_state(&from, state::CLOSED) {
            self.request(Request::Leave(Arc::clone(shared)));
            self.answer_if_idle(py);
        }
    }

    /// Frees the gate at once: the writer need not wait for this group any more.
    pub(crate) fn leave_gate(&self) {
        self.core.ring.demote(self.reader);
    }

    /// Ends the group: its reader leaves the ring.
    pub(crate) fn close(&self, py: Python<'_>) {
        // Release: whoever sees it closed sees what was done before.
        self.closed.store(true, Ordering::Release);
        // Cloned in a statement of its own: the lock must be free when `leave` takes it.
        let members = lock(&self.counts).members.clone();
        for shared in members {
            self.leave(py, &shared);
        }
        if let Some(state) = self.take() {
            // What was counted stays in the members; the state, with its reader, is dropped here.
            drop(state);
        } else {
            self.leave_gate();
        }
        self.core.wake_all();
    }

    fn take(&self) -> Option<Box<GroupState>> {
        lock(&self.state).take()
    }

    fn put(&self, state: Box<GroupState>) {
        *lock(&self.state) = Some(state);
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

    pub(crate) fn is_hashing(&self) -> bool {
        self.hashing
    }

    pub(crate) fn member_names(&self) -> Vec<String> {
        lock(&self.counts)
            .members
            .iter()
            .map(|member| member.name.clone())
            .collect()
    }

    pub(crate) fn is_busy(&self) -> bool {
        lock(&self.state).is_none()
    }

    pub(crate) fn has_members(&self) -> bool {
        !lock(&self.counts).members.is_empty() || !lock(&self.requests).is_empty()
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

    /// Dispatches what the ring holds. Returns how many ticks were gone through, and what is to be awaited.
    ///
    /// `None`: the group is being dispatched already, above this call or in another thread.
    pub(crate) fn dispatch(&self, py: Python<'_>, now_ns: i64, bounds: Bounds) -> Option<PyResult<(u64, Awaiting)>> {
        let mut state = self.take()?;
        let before = state.base + state.next as u64;
        state.delivery.now_ns = now_ns;
        let result = self.run(py, &mut state, bounds);
        // Relaxed: see `Delivery::current`.
        self.current.store(0, Ordering::Relaxed);
        self.settle(&state);
        let done = (state.base + state.next as u64).saturating_sub(before);
        let raised = state.delivery.raised.take();
        let awaiting = std::mem::take(&mut state.delivery.awaiting);
        if self.closed.load(Ordering::Acquire) {
            // Acquire: closed while it ran. The reader leaves here.
            drop(state);
        } else {
            self.put(state);
        }
        Some(match (result, raised) {
            (Err(error), _) | (Ok(()), Some(error)) => Err(error),
            (Ok(()), None) => Ok((done, awaiting)),
        })
    }

    fn settle(&self, state: &GroupState) {
        // Relaxed: statistics.
        self.position.store(state.base + state.next as u64, Ordering::Relaxed);
        if state.next > 0
            && let Some(last) = state.backlog.get(state.next - 1)
        {
            // Relaxed: statistics.
            self.last_ts.store(last.ts_init, Ordering::Relaxed);
        }
        for (index, member) in state.delivery.members.iter().enumerate() {
            member.shared.buffered.set(state.delivery.count_waiting(index));
        }
    }

    fn run(&self, py: Python<'_>, state: &mut GroupState, bounds: Bounds) -> PyResult<()> {
        loop {
            py.check_signals()?;
            // Relaxed: a stop takes effect soon, and orders nothing.
            if self.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            if state.next == state.run_end {
                // Relaxed: a hint, see `request`.
                if self.asked.load(Ordering::Relaxed) {
                    self.answer(py, state);
                }
                state.give_what_is_owed(py);
                if state.is_interrupted(bounds) {
                    return Ok(());
                }
                if state.delivery.members.is_empty() {
                    // Nobody's ticks.
                    state.skip_to(self.core.ring.cursor());
                    return Ok(());
                }
                if state.run_end == state.usable && !state.refill() {
                    state.give_what_is_owed(py);
                    let now_ns = state.delivery.now_ns;
                    state.delivery.run_due(py, now_ns);
                    return Ok(());
                }
                self.open_run(py, state);
            }
            self.run_ticks(py, state, bounds);
            if state.next == state.run_end {
                let run = &state.backlog[state.run_start..state.run_end];
                state.delivery.end_run(py, run, state.base + state.run_start as u64);
            }
            if state.is_interrupted(bounds) || bounds.until.is_some_and(|until| Instant::now() >= until) {
                return Ok(());
            }
        }
    }

    /// Answers requests whose place has come. Calls no handler.
    fn answer(&self, py: Python<'_>, state: &mut GroupState) {
        let mut requests = std::mem::take(&mut *lock(&self.requests));
        // Relaxed: a hint; requests that must wait set it again below.
        self.asked.store(false, Ordering::Relaxed);
        let mut waiting = Vec::new();
        for request in requests.drain(..) {
            let position = state.base + state.next as u64;
            match request {
                Request::Join { at, .. } if at > position && !state.delivery.members.is_empty() => {
                    waiting.push(request)
                }
                Request::Join {
                    at,
                    shared,
                    options,
                    handlers,
                    newest,
                } => {
                    if state.delivery.members.is_empty() && at > position {
                        state.skip_to(at);
                    }
                    let mut member = Member::new(shared, *options, handlers);
                    let lost = (state.base + state.next as u64).saturating_sub(at);
                    if lost > 0 {
                        member.shared.missed.add(lost);
                        Missing::widen(&mut member.tell, GapCause::Overrun, at, at + lost - 1, lost);
                    }
                    member.newest = newest;
                    let blocks = member.options.overflow == Overflow::Block;
                    self.fold_counts(state);
                    state.delivery.members.push(member);
                    self.compile(py, state);
                    if blocks {
                        state.join_gate();
                    }
                }
                Request::Leave(shared) => self.answer_leave(py, state, &shared),
                Request::Resume(_) if state.is_mid_event() => waiting.push(request),
                Request::Resume(shared) => {
                    let found = state
                        .delivery
                        .members
                        .iter()
                        .position(|member| Arc::ptr_eq(&member.shared, &shared));
                    let Some(index) = found else { continue };
                    // Read while it is not running yet: that the pause took it from the gate is no demotion.
                    state.read_all();
                    if !shared.change_state(&[state::RESUMING], state::RUNNING) {
                        continue;
                    }
                    state.delivery.members[index].end_pause();
                    state.read_all();
                    if state.lapsed > 0 {
                        // Lapped meanwhile: the loss is told where it stands, and the newest come behind it.
                        state.delivery.members[index].wants_newest = true;
                    } else if state.delivery.members[index].tell.is_some() {
                        state.delivery.members[index].newest = state.undelivered_newest();
                    }
                    if state.delivery.members[index].options.overflow == Overflow::Block {
                        state.join_gate();
                    }
                }
            }
        }
        if !waiting.is_empty() {
            let mut requests = lock(&self.requests);
            waiting.append(&mut requests);
            *requests = waiting;
            // Relaxed: a hint.
            self.asked.store(true, Ordering::Relaxed);
        }
    }

    fn answer_leave(&self, py: Python<'_>, state: &mut GroupState, shared: &Arc<SubscriptionShared>) {
        let found = state
            .delivery
            .members
            .iter()
            .position(|member| Arc::ptr_eq(&member.shared, shared));
        let Some(index) = found else {
            shared.left.set(shared.joined.get());
            return;
        };
        self.fold_counts(state);
        state.delivery.members[index].skip_held();
        let left = self.core.ring.cursor();
        let from = (state.base + state.next as u64).max(shared.joined.get());
        shared.skipped.add(left.saturating_sub(from));
        shared.left.set(left);
        state.delivery.members.remove(index);
        self.compile(py, state);
        if !state
            .delivery
            .members
            .iter()
            .any(|member| member.options.overflow == Overflow::Block)
        {
            state.reader.leave_gate();
        }
    }

    /// The end of the next run, and what must happen before its first tick.
    fn open_run(&self, py: Python<'_>, state: &mut GroupState) {
        let start = state.next;
        let mut end = state.usable.min(start + state.run_ticks);
        if end < state.usable {
            let edge = edge_before(&state.backlog[start..state.usable], end - start);
            end = start + edge;
        }
        // A batch never spans a gap: a gap tick begins a run.
        let gap = state.backlog[start + 1..end]
            .iter()
            .position(|tick| tick.kind == kind::GAP);
        if let Some(gap) = gap {
            end = start + 1 + gap;
        }
        // Relaxed: a hint, see `request`.
        if self.asked.load(Ordering::Relaxed) {
            for request in lock(&self.requests).iter() {
                if let Request::Join { at, .. } = request {
                    let index = at.saturating_sub(state.base) as usize;
                    if index > start && index < end {
                        end = index;
                    }
                }
            }
        }
        (state.run_start, state.run_end) = (start, end);
        // A lapse may have left newest quotes to give.
        state.give_what_is_owed(py);
        let first_ts = state.backlog[start].ts_init;
        let cursor = self.core.ring.cursor();
        let position = state.base + start as u64;
        state.delivery.run_due(py, first_ts);
        for member in 0..state.delivery.members.len() {
            state.delivery.cut_window(py, member, &state.backlog[start]);
            if state.delivery.members[member].options.watches_lag() {
                state
                    .delivery
                    .watch_lag(py, member, cursor - position, first_ts, cursor);
            }
            let this = &state.delivery.members[member];
            if this.tell.is_some() && this.is_running() && !this.options.is_private() {
                state.delivery.tell(py, member, Some(&state.backlog[start]));
            }
        }
    }

    fn run_ticks(&self, py: Python<'_>, state: &mut GroupState, bounds: Bounds) {
        let GroupState {
            backlog,
            base,
            run_start,
            run_end,
            next,
            plan,
            sets,
            delivery,
            ..
        } = state;
        let (base, run_start, run_end) = (*base, *run_start, *run_end);
        let mut index = *next;
        while index < run_end {
            let tick = &backlog[index];
            let Some(set_id) = plan.set_of(tick) else {
                self.extend(py, plan, sets, delivery);
                if plan.set_of(tick).is_none() {
                    // An id that no table knows: published raw, to a ring of one's own.
                    sets[0].count_seen(1);
                    index += 1;
                }
                continue;
            };
            let set = &mut sets[set_id as usize];
            if set.sites.is_empty() {
                let mut end = index + 1;
                while end < run_end && plan.set_of(&backlog[end]) == Some(set_id) {
                    end += 1;
                }
                set.count_seen((end - index) as u64);
                for class in &set.classes {
                    delivery.classes[*class as usize].push(tick.kind, index - run_start, end - run_start);
                }
                index = end;
                continue;
            }
            let position = base + index as u64;
            set.count_seen(1);
            let CallSet {
                slots, sites, classes, ..
            } = set;
            match slots.fill(py, &delivery.types, &delivery.names, tick, position, delivery.now_ns) {
                Ok(objects) => delivery.call_sites(py, sites, objects, tick, position, index),
                Err(error) => delivery.fail_sites(py, sites, &error, tick, position),
            }
            for class in classes.iter() {
                delivery.classes[*class as usize].push(tick.kind, index - run_start, index + 1 - run_start);
            }
            index += 1;
            let looks = index % TICKS_PER_LOOK == 0;
            if looks && bounds.until.is_some_and(|until| Instant::now() >= until) {
                break;
            }
            // Relaxed: a stop takes effect soon, and orders nothing.
            let stopped = delivery.raised.is_some() || self.stop.load(Ordering::Relaxed);
            if stopped || (bounds.one_step && !delivery.awaiting.is_empty()) {
                break;
            }
        }
        *next = index;
    }

    /// Compiles instruments that appeared since.
    #[cold]
    fn extend(&self, py: Python<'_>, plan: &mut Plan, sets: &mut Vec<CallSet>, delivery: &mut Delivery) {
        let fresh = {
            let table = lock(&self.instruments);
            plan.extend(&table);
            table.rows()[delivery.names.len().min(table.rows().len())..].to_vec()
        };
        delivery.names.extend(py, &fresh);
        for (kind, members) in &plan.sets()[sets.len()..] {
            let set = compile_set(py, delivery, *kind, members);
            lock(&self.counts).sets.push((Arc::clone(&set.seen), members.clone()));
            sets.push(set);
        }
    }

    /// Adds what each set has seen to the members that are not in it, before the sets change.
    fn fold_counts(&self, state: &mut GroupState) {
        let counts = lock(&self.counts);
        for (seen, members) in &counts.sets {
            // Relaxed: this thread writes it.
            let seen = seen.swap(0, Ordering::Relaxed);
            for (index, member) in state.delivery.members.iter().enumerate() {
                if !members.contains(&(index as u32)) {
                    member.shared.filtered.add(seen);
                }
            }
        }
    }

    fn compile(&self, py: Python<'_>, state: &mut GroupState) {
        let delivery = &mut state.delivery;
        let filters = delivery
            .members
            .iter()
            .map(|member| member.options.filter.clone())
            .collect();
        let (plan, fresh) = {
            let table = lock(&self.instruments);
            let plan = Plan::compile(filters, delivery.types.len(), &table);
            (
                plan,
                table.rows()[delivery.names.len().min(table.rows().len())..].to_vec(),
            )
        };
        delivery.names.extend(py, &fresh);
        compile_classes(delivery);
        let sets: Vec<CallSet> = plan
            .sets()
            .iter()
            .map(|(kind, members)| compile_set(py, delivery, *kind, members))
            .collect();
        let plural = delivery
            .members
            .iter()
            .filter(|member| member.has_plural || member.options.pull);
        state.run_ticks = plural.map(|member| member.options.batch_max).max().unwrap_or(RUN_TICKS);
        state.conflates = delivery
            .members
            .iter()
            .any(|member| member.options.overflow == Overflow::Conflate);
        let mut counts = lock(&self.counts);
        counts.members = delivery
            .members
            .iter()
            .map(|member| Arc::clone(&member.shared))
            .collect();
        counts.sets = sets
            .iter()
            .map(|set| (Arc::clone(&set.seen), set.members.clone()))
            .collect();
        (state.plan, state.sets) = (plan, sets);
    }

    /// Dispatches until the group is closed or told to stop; waits without the interpreter's lock.
    pub(crate) fn run_thread(&self, py: Python<'_>, now: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut park = Park::new(self.core.ring.wakeup());
        loop {
            // Relaxed: a stop takes effect soon, and orders nothing. Acquire: see `close`.
            if self.stop.load(Ordering::Relaxed) || self.closed.load(Ordering::Acquire) {
                return Ok(());
            }
            let now_ns: i64 = now.call0()?.extract()?;
            match self.dispatch(py, now_ns, Bounds::default()) {
                Some(result) => result?,
                None => return Ok(()),
            };
            let due = self.with_state(|state| state.delivery.next_due()).flatten();
            let ready = || {
                !self.is_idle()
                    // Relaxed, Acquire: as above.
                    || self.asked.load(Ordering::Relaxed)
                    || self.stop.load(Ordering::Relaxed)
                    || self.closed.load(Ordering::Acquire)
            };
            match due {
                Some(due) => {
                    let left = u64::try_from(due.saturating_sub(now.call0()?.extract()?)).unwrap_or(0);
                    let timeout = std::time::Duration::from_nanos(left).min(WAIT_MAX);
                    py.detach(|| self.core.ring.wakeup().wait(timeout, ready));
                }
                None => {
                    py.detach(|| park.wait(ready));
                }
            }
        }
    }

    fn with_state<T>(&self, act: impl FnOnce(&mut GroupState) -> T) -> Option<T> {
        let mut state = self.take()?;
        let result = act(&mut state);
        self.put(state);
        Some(result)
    }

    /// Hands out everything that waits for a window or an interval, as at the end of a replay.
    pub(crate) fn finish(&self, py: Python<'_>, now_ns: i64) -> Option<PyResult<()>> {
        let mut state = self.take()?;
        state.delivery.now_ns = now_ns;
        state.delivery.run_due(py, i64::MAX);
        self.settle(&state);
        let raised = state.delivery.raised.take();
        self.put(state);
        Some(raised.map_or(Ok(()), Err))
    }

    /// The earliest moment at which there is something to do without a new tick.
    pub(crate) fn next_due(&self) -> Option<i64> {
        self.with_state(|state| state.delivery.next_due()).flatten()
    }

    /// Says that an awaited call failed; true when its subscription may go on.
    pub(crate) fn report_fault(&self, py: Python<'_>, member: usize, handler: u16, error: PyErr) -> PyResult<bool> {
        let Some(mut state) = self.take() else { return Ok(false) };
        let last = state.next.saturating_sub(1);
        let tick = state.backlog.get(last).copied();
        let position = state.base + last as u64;
        let ticks = tick.as_slice();
        let positions = crate::hot::columns::Positions::From(position);
        state.delivery.fault(
            py,
            member,
            handler,
            error,
            About {
                ticks,
                positions,
                batch: false,
            },
        );
        let running = state.delivery.members.get(member).is_some_and(Member::is_running);
        let raised = state.delivery.raised.take();
        self.settle(&state);
        self.put(state);
        raised.map_or(Ok(running), Err)
    }

    /// Takes ticks that a pull subscription holds, at most `room`: a gap only at their beginning.
    pub(crate) fn pull(&self, py: Python<'_>, now_ns: i64, room: usize) -> Option<PyResult<Vec<Tick>>> {
        if self.with_state(|state| {
            state
                .delivery
                .members
                .first()
                .is_none_or(|member| member.held.ticks.is_empty())
        })? {
            let bounds = Bounds {
                one_step: true,
                ..Bounds::default()
            };
            if let Err(error) = self.dispatch(py, now_ns, bounds)? {
                return Some(Err(error));
            }
        }
        self.with_state(|state| {
            let Some(member) = state.delivery.members.first_mut() else {
                return Ok(Vec::new());
            };
            if !member.is_running() {
                return Ok(Vec::new());
            }
            let held = &mut member.held;
            let gap = held.ticks.iter().skip(1).position(|tick| tick.kind == kind::GAP);
            let whole = gap.map_or(held.ticks.len(), |gap| gap + 1);
            let count = edge_before(&held.ticks[..whole], whole.min(room));
            let ticks = held.ticks[..count].to_vec();
            member.shared.delivered.add(held.counted(count, u64::MAX));
            member.held.remove_first(count);
            member.shared.buffered.set(member.count_buffered());
            Ok(ticks)
        })
    }
}

/// (handler, awaitable), in order.
pub(crate) type Awaiting = Vec<(u16, Py<PyAny>)>;

impl GroupState {
    fn is_interrupted(&self, bounds: Bounds) -> bool {
        let has_step = !self.delivery.awaiting.is_empty()
            || self
                .delivery
                .members
                .iter()
                .any(|member| member.options.pull && !member.held.ticks.is_empty());
        self.delivery.raised.is_some() || (bounds.one_step && has_step)
    }

    /// Nobody was here: what lies before the first member's position is nobody's.
    fn skip_to(&mut self, position: u64) {
        let buffered = self.base + self.backlog.len() as u64 + self.lapsed;
        if position >= buffered {
            self.backlog.truncate(0);
            (self.usable, self.next, self.run_start, self.run_end, self.lapsed) = (0, 0, 0, 0, 0);
            self.reader.jump(position);
            self.base = self.reader.position();
        } else {
            let skip = (position - self.base) as usize;
            (self.next, self.run_start, self.run_end) = (skip, skip, skip);
            self.usable = self.usable.max(skip);
        }
    }

    fn is_mid_event(&self) -> bool {
        self.backlog.get(self.next).is_some_and(Tick::continues_event)
    }

    /// Takes everything that is published into the backlog, so that the reader stands at the cursor.
    fn read_all(&mut self) {
        while self.lapsed == 0 && self.reader.pending() > 0 {
            let waiting = usize::try_from(self.reader.pending()).unwrap_or(usize::MAX);
            self.read(waiting);
        }
    }

    /// From here on the writer waits for this group.
    fn join_gate(&mut self) {
        if !self.reader.is_gated() {
            self.read_all();
            // What the writer published between the two lines is lost like any overrun.
            self.lapsed += self.reader.join_gate();
        }
    }

    /// The newest quotes that are not among the ticks still to be dispatched.
    fn undelivered_newest(&mut self) -> Vec<Tick> {
        // The newest first, then the ring: what is newest lies before the cursor, so it is read below or was before.
        let mut newest = self.core.newest.load();
        self.read_all();
        let coming = &self.backlog[self.next..];
        newest.retain(|tick| {
            !coming
                .iter()
                .any(|next| (next.instrument, next.kind, next.seq) == (tick.instrument, tick.kind, tick.seq))
        });
        newest
    }

    /// Gaps and newest quotes of members that joined or run again.
    fn give_what_is_owed(&mut self, py: Python<'_>) {
        for member in 0..self.delivery.members.len() {
            let this = &self.delivery.members[member];
            if this.newest.is_empty() || !this.is_running() {
                continue;
            }
            if this.tell.is_some() {
                self.delivery.tell(py, member, None);
            }
            let newest = std::mem::take(&mut self.delivery.members[member].newest);
            self.delivery.give_snapshots(py, member, &newest);
        }
    }

    /// Reads on: true when there are whole events to dispatch.
    fn refill(&mut self) -> bool {
        self.base += self.usable as u64;
        self.backlog.consume(self.usable);
        (self.usable, self.next, self.run_start, self.run_end) = (0, 0, 0, 0);
        loop {
            let before = self.backlog.len();
            if self.lapsed == 0 {
                let waiting = usize::try_from(self.reader.pending()).unwrap_or(usize::MAX);
                // Conflation folds all that is there; others take a run at a time.
                self.read(if self.conflates {
                    waiting
                } else {
                    waiting.min(self.run_ticks.max(before + 1))
                });
            }
            if self.resync {
                let lost = self.backlog.iter().take_while(|tick| tick.continues_event()).count();
                self.backlog.consume(lost);
                self.count_missed(lost as u64);
                self.resync = self.backlog.is_empty();
                if self.resync && lost > 0 {
                    continue;
                }
            }
            self.usable = self
                .backlog
                .iter()
                .rposition(Tick::ends_event)
                .map_or(0, |last| last + 1);
            if self.lapsed > 0 {
                // The rest of the open event is gone: so is its beginning.
                self.lapsed += (self.backlog.len() - self.usable) as u64;
                self.backlog.truncate(self.usable);
                if self.usable > 0 {
                    break;
                }
                let lapsed = std::mem::take(&mut self.lapsed);
                self.count_missed(lapsed);
                self.resync = true;
                if self.delivery.members.iter().any(|member| member.wants_newest) {
                    let newest = self.undelivered_newest();
                    let resumed = self.delivery.members.iter_mut();
                    for member in resumed.filter(|member| member.wants_newest) {
                        member.wants_newest = false;
                        member.newest.clone_from(&newest);
                    }
                }
                if self.conflates {
                    let newest = self.core.newest.load();
                    let conflating = self.delivery.members.iter_mut();
                    for member in conflating.filter(|member| member.options.overflow == Overflow::Conflate) {
                        member.newest.clone_from(&newest);
                    }
                }
                continue;
            }
            let read_nothing = self.backlog.len() == before;
            if self.usable == 0 && (read_nothing || self.backlog.len() >= self.run_ticks) {
                // An event longer than a run, or one that nobody finishes: what is there is handed on.
                self.usable = self.backlog.len();
            }
            break;
        }
        if self.conflates {
            self.delivery.fold.fold(&self.backlog[..self.usable]);
        }
        self.usable > 0
    }

    /// Appends at most `want` ticks to the backlog; stops at a lapse.
    fn read(&mut self, want: usize) {
        let mut left = want;
        while left > 0 {
            match self.reader.try_read(Tick::slice_as_words_mut(self.backlog.spare(left))) {
                Read::Records(0) => break,
                Read::Records(count) => {
                    self.backlog.grow(count);
                    left -= count;
                }
                Read::Lapped { missed } => {
                    self.lapsed += missed;
                    break;
                }
                Read::Demoted => {
                    // A pause demotes too, and is no fault of the reader's.
                    for member in self.delivery.members.iter().filter(|member| member.is_running()) {
                        // Relaxed: a fact for statistics.
                        member.shared.demoted.store(true, Ordering::Relaxed);
                    }
                }
            }
        }
    }

    /// Positions that nobody of this group will get: counted, and told before the next tick.
    fn count_missed(&mut self, lost: u64) {
        if lost == 0 {
            return;
        }
        let first = self.base;
        self.base += lost;
        for member in &mut self.delivery.members {
            member.shared.missed.add(lost);
            Missing::widen(&mut member.tell, GapCause::Overrun, first, self.base - 1, lost);
        }
    }
}

/// Members with one filter and nothing of their own share batches and columns.
fn compile_classes(delivery: &mut Delivery) {
    let kinds = delivery.types.len() + 1;
    let mut known: Vec<(&Filter, KindSet)> = Vec::new();
    let mut classes: Vec<Class> = Vec::new();
    let mut member_class = Vec::new();
    for member in &delivery.members {
        if member.options.is_private() || !member.has_plural {
            member_class.push(None);
            continue;
        }
        let takes_all = member.handlers.iter().any(|handler| handler.role == Role::AllTicks);
        let wants_all = if takes_all { member.options.every_kinds } else { 0 };
        let key = (&member.options.filter, wants_all);
        let index = known.iter().position(|class| *class == key).unwrap_or_else(|| {
            known.push(key);
            // Every kind is kept, because ticks are counted by kind.
            classes.push(Class {
                ranges: vec![Vec::new(); kinds],
                wants: member.options.filter.kinds,
                wants_all,
            });
            classes.len() - 1
        });
        member_class.push(Some(index as u32));
    }
    (delivery.classes, delivery.member_class) = (classes, member_class);
}

fn compile_set(py: Python<'_>, delivery: &Delivery, kind: u8, members: &[u32]) -> CallSet {
    let mut fields: Vec<Field> = Vec::new();
    let mut sites: Vec<CallSite> = Vec::new();
    let mut classes: Vec<u32> = Vec::new();
    for index in members {
        let member = &delivery.members[*index as usize];
        let private = member.options.is_private();
        let mut handlers = member.calls_for(kind).peekable();
        if private && handlers.peek().is_none() {
            sites.push(CallSite {
                member: *index,
                enters: Enters::Admitted,
                call: None,
            });
        }
        let mut enters = if private { Enters::Admitted } else { Enters::Counted };
        for handler in handlers {
            let described = &member.handlers[handler];
            let slots = described.fields.iter().map(|field| {
                let slot = fields.iter().position(|known| known == field).unwrap_or_else(|| {
                    fields.push(*field);
                    fields.len() - 1
                });
                slot as u16
            });
            let call = Call::new(
                described.function.clone_ref(py),
                described.receiver.as_ref().map(|receiver| receiver.clone_ref(py)),
                slots.collect(),
                described.keywords.as_ref().map(|keywords| keywords.clone_ref(py)),
                described.by_keyword,
            );
            sites.push(CallSite {
                member: *index,
                enters,
                call: Some((handler as u16, call)),
            });
            enters = Enters::Again;
        }
        if let Some(class) = delivery.member_class[*index as usize]
            && !classes.contains(&class)
        {
            classes.push(class);
        }
    }
    let in_place = sites
        .iter()
        .flat_map(|site| &site.call)
        .all(|(_, call)| call.is_python_function(py));
    CallSet {
        seen: Arc::new(AtomicU64::new(0)),
        members: members.to_vec(),
        slots: Slots::new(&fields, in_place),
        sites,
        classes,
    }
}

/// The error for a dispatch inside a dispatch.
pub(crate) fn reentrant_dispatch(py: Python<'_>) -> PyErr {
    raise(
        py,
        "ReentrantDispatchError",
        "these subscriptions are being dispatched already, above this call or in another thread: \
         return from the handler first",
        &[],
    )
}
