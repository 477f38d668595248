//! The run: what only the dispatching call of a group touches, from the reader to the sets of calls.
//!
//! ```text
//!   reader ─▶ backlog ─▶ open_run (where it ends, what is owed before it) ─▶ run_ticks ─▶ end_run (plural handlers)
//! ```
//! Guarantees: positions stay dense: what the writer overwrote is counted in each member, and told before the next tick.
//! Does not: know threads; whoever holds the state runs it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use headrace_core::fan_out::plan::Plan;
use headrace_core::market::kind;
use headrace_core::market::tick::{GapCause, TICK_WORDS, Tick};
use headrace_lockfree::{Read, Reader};
use pyo3::prelude::*;

use super::backlog::Backlog;
use super::compile::CallSet;
use super::delivery::Delivery;
use super::entry::View;
use super::group::{Bounds, Group};
use super::options::Overflow;
use super::plural::edge_before;
use super::requests::Request;
use super::subscription::Missing;
use crate::ingest::ring::RingCore;
use crate::lock::lock;

/// Ticks of a run when no plural handler asks for another length.
pub(super) const RUN_TICKS: usize = 1_024;

/// Ticks between two looks at the clock, when a dispatch has a time limit.
pub(super) const TICKS_PER_LOOK: usize = 32;

/// A dispatch that ends so much after its limit has slow handlers: the next one looks after each tick.
const SLOW_BY: Duration = Duration::from_millis(1);

/// What only the dispatching call touches.
pub(super) struct Run {
    pub(super) core: Arc<RingCore>,
    pub(super) reader: Reader<TICK_WORDS>,
    pub(super) backlog: Backlog,
    /// Position of `backlog[0]`.
    pub(super) base: u64,
    /// Whole events end here; behind it lies the beginning of one that is still being published.
    pub(super) usable: usize,
    /// The last dispatch with a time limit overran it.
    pub(super) is_slow: bool,
    pub(super) run_start: usize,
    pub(super) run_end: usize,
    pub(super) next: usize,
    /// Receive time of the last tick before the backlog.
    pub(super) last_ts: i64,
    /// A thread of its own moves it on, while others publish.
    pub(super) races: bool,
    /// What this call sees of the ring.
    pub(super) view: View,
    /// Positions that the writer overwrote, not yet told.
    pub(super) lapsed: u64,
    /// After a loss: drop ticks until an event begins.
    pub(super) resync: bool,
    pub(super) plan: Plan,
    pub(super) sets: Vec<CallSet>,
    pub(super) delivery: Delivery,
    pub(super) run_ticks: usize,
    pub(super) conflates: bool,
}

impl Run {
    /// Nothing taken yet, from the reader's position on.
    pub(super) fn new(core: &Arc<RingCore>, reader: Reader<TICK_WORDS>, delivery: Delivery) -> Self {
        Self {
            core: Arc::clone(core),
            backlog: Backlog::default(),
            base: reader.position(),
            reader,
            usable: 0,
            is_slow: false,
            run_start: 0,
            run_end: 0,
            next: 0,
            last_ts: i64::MIN,
            races: false,
            view: View::default(),
            lapsed: 0,
            resync: false,
            plan: Plan::default(),
            sets: Vec::new(),
            delivery,
            run_ticks: RUN_TICKS,
            conflates: false,
        }
    }

    pub(super) fn is_interrupted(&self, bounds: Bounds) -> bool {
        let has_step = !self.delivery.awaiting.is_empty()
            || self
                .delivery
                .members
                .iter()
                .any(|member| member.options.pull && !member.held.ticks.is_empty());
        self.delivery.raised.is_some() || (bounds.one_step && has_step) || self.position() >= bounds.until_position
    }

    /// Nobody was here: what lies before the first member's position is nobody's.
    pub(super) fn skip_to(&mut self, position: u64) {
        let buffered = self.base + self.backlog.len() as u64 + self.lapsed;
        if position >= buffered {
            self.backlog.truncate(0);
            (self.usable, self.next, self.run_start, self.run_end, self.lapsed) = (0, 0, 0, 0, 0);
            self.reveal();
            self.lapsed = 0;
            self.reader.jump(position);
            self.base = self.reader.position();
        } else {
            let skip = (position - self.base) as usize;
            (self.next, self.run_start, self.run_end) = (skip, skip, skip);
            self.usable = self.usable.max(skip);
        }
    }

    /// Whether the next tick goes on with an event whose beginning is past.
    pub(super) fn is_mid_event(&mut self) -> bool {
        self.read_all();
        self.backlog.get(self.next).is_some_and(Tick::continues_event)
    }

    /// Takes everything that is published into the backlog, so that the reader stands at the cursor.
    pub(super) fn read_all(&mut self) {
        while self.lapsed == 0 && self.readable() > 0 {
            self.read(self.readable());
        }
    }

    /// From here on the writer waits for this group.
    pub(super) fn join_gate(&mut self) {
        if !self.reader.is_gated() {
            self.read_all();
            // What the writer published between the two lines is lost like any overrun.
            self.reveal();
            self.lapsed += self.reader.join_gate();
        }
    }

    /// The writer need not wait any more, unless a member still wants it to.
    pub(super) fn leave_gate_unless_needed(&mut self) {
        let members = &self.delivery.members;
        if !members
            .iter()
            .any(|member| member.options.tuning.overflow == Overflow::Block)
        {
            self.reader.leave_gate();
        }
    }

    /// The newest quotes that are not among the ticks still to be dispatched.
    ///
    /// `None`: the writer overtook the reader meanwhile. Behind the jump older ticks would follow on what is newest now.
    pub(super) fn undelivered_newest(&mut self) -> Option<Vec<Tick>> {
        // The newest first, then the ring: what is newest lies before the cursor, so it is read below or was before.
        let mut newest = self.newest();
        self.read_all();
        if self.lapsed > 0 {
            return None;
        }
        let coming = &self.backlog[self.next..];
        newest.retain(|tick| {
            !coming
                .iter()
                .any(|next| (next.instrument, next.kind, next.seq) == (tick.instrument, tick.kind, tick.seq))
        });
        Some(newest)
    }

    /// Gaps and newest quotes of members that joined or run again.
    pub(super) fn give_what_is_owed(&mut self, py: Python<'_>) {
        for member in 0..self.delivery.members.len() {
            let this = &mut self.delivery.members[member];
            if this.is_dozing() {
                this.newest.clear();
            }
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
    pub(super) fn refill(&mut self, group: &Group) -> bool {
        if let Some(last) = self.usable.checked_sub(1).and_then(|last| self.backlog.get(last)) {
            self.last_ts = last.ts_init;
        }
        self.base += self.usable as u64;
        self.backlog.consume(self.usable);
        (self.usable, self.next, self.run_start, self.run_end) = (0, 0, 0, 0);
        loop {
            let before = self.backlog.len();
            if self.lapsed == 0 {
                let waiting = self.readable();
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
            if self.usable == 0 {
                self.cut_at_a_hidden_lapse(group);
            }
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
                if self.delivery.members.iter().any(|member| member.wants_newest)
                    && let Some(newest) = self.undelivered_newest()
                {
                    let resumed = self.delivery.members.iter_mut();
                    for member in resumed.filter(|member| member.wants_newest) {
                        member.wants_newest = false;
                        member.newest.clone_from(&newest);
                    }
                }
                if self.conflates {
                    let newest = self.newest();
                    let conflating = self.delivery.members.iter_mut();
                    for member in conflating.filter(|member| member.options.tuning.overflow == Overflow::Conflate) {
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
    pub(super) fn read(&mut self, want: usize) {
        let mut left = want;
        while left > 0 {
            match self.reader.try_read(Tick::slice_as_words_mut(self.backlog.spare(left))) {
                Read::Records(0) => break,
                Read::Records(count) => {
                    self.backlog.grow(count);
                    left -= count;
                }
                Read::Lapped { missed } => {
                    self.note_lapse(missed);
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
    pub(super) fn count_missed(&mut self, lost: u64) {
        if lost == 0 {
            return;
        }
        let first = self.base;
        self.base += lost;
        self.view.lost += lost;
        for member in &mut self.delivery.members {
            if member.is_dozing() {
                member.withhold(first, self.base - 1, lost);
                continue;
            }
            member.shared.missed.add(lost);
            Missing::widen(&mut member.tell, GapCause::Overrun, first, self.base - 1, lost);
        }
    }
}

impl Group {
    /// The end of the next run, and what must happen before its first tick.
    pub(super) fn open_run(&self, py: Python<'_>, state: &mut Run) {
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
        let cursor = state.cursor();
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

    pub(super) fn run_ticks(&self, py: Python<'_>, state: &mut Run, bounds: Bounds) {
        let Run {
            backlog,
            base,
            run_start,
            run_end,
            next,
            plan,
            sets,
            delivery,
            is_slow,
            ..
        } = state;
        let (base, run_start, run_end) = (*base, *run_start, *run_end);
        let mut index = *next;
        // As far as this call goes; the run may go on.
        let stop_at = run_end.min(usize::try_from(bounds.until_position.saturating_sub(base)).unwrap_or(usize::MAX));
        while index < stop_at {
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
                while end < stop_at && plan.set_of(&backlog[end]) == Some(set_id) {
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
            let looks = *is_slow || index % TICKS_PER_LOOK == 0;
            if looks && let Some(until) = bounds.until {
                let now = Instant::now();
                if now >= until {
                    *is_slow = now - until > SLOW_BY;
                    break;
                }
            }
            // Relaxed: a stop takes effect soon, and orders nothing.
            let stopped = delivery.raised.is_some() || self.stop.load(Ordering::Relaxed);
            if stopped || (bounds.one_step && !delivery.awaiting.is_empty()) {
                break;
            }
        }
        *next = index;
    }
}
