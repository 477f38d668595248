//! `GroupState`: what only the dispatching call of a group touches, from the reader to the sets of calls.
//!
//! ```text
//!   reader ─▶ backlog: dispatched │ span: dispatched, next … │ whole events │ open event
//!                                 span_start      next     span_end      usable
//! ```
//! Guarantees: one call at a time has it, so nothing in it is shared.
//! Does not: read (`reading`), or dispatch (`span`).

use std::sync::Arc;

use headrace_core::fan_out::plan::Plan;
use headrace_core::market::tick::{TICK_WORDS, Tick};
use headrace_lockfree::Reader;
use pyo3::prelude::*;

use super::backlog::Backlog;
use super::bounds::Bounds;
use super::call_set::CallSet;
use super::delivery::Delivery;
use super::log::flags;
use super::seat::Seat;
use super::stops::Stops;
use super::view::View;
use crate::ingest::RingCore;

/// Ticks of a span when no plural handler has a `batch_max`.
pub(super) const SPAN_TICKS: usize = 1_024;

/// What only the dispatching call touches.
pub(super) struct GroupState {
    pub(super) core: Arc<RingCore>,
    pub(super) reader: Reader<TICK_WORDS>,
    pub(super) backlog: Backlog,
    /// Position of `backlog[0]`.
    pub(super) base: u64,
    /// Whole events end here; behind it lies the beginning of one that is still being published.
    pub(super) usable: usize,
    /// The last dispatch with a time limit overran it.
    pub(super) is_slow: bool,
    pub(super) span_start: usize,
    pub(super) span_end: usize,
    pub(super) next: usize,
    /// Receive time of the last tick before the backlog.
    pub(super) last_ts: i64,
    /// A thread of its own moves it on, while others publish.
    pub(super) races: bool,
    /// What this call sees of the ring.
    pub(super) view: View,
    /// Positions that the writer overwrote, not yet reported.
    pub(super) lapsed: u64,
    /// After a loss: drop ticks until an event begins.
    pub(super) resync: bool,
    pub(super) plan: Plan,
    pub(super) sets: Vec<CallSet>,
    pub(super) delivery: Delivery,
    pub(super) span_ticks: usize,
    pub(super) conflates: bool,
    /// A member that runs again has the newest quotes to come.
    pub(super) owes_newest: bool,
    /// Members changed since `plan` and `sets` were compiled.
    pub(super) is_stale: bool,
}

impl GroupState {
    /// Nothing taken yet, from the reader's position on.
    pub(super) fn new(core: &Arc<RingCore>, reader: Reader<TICK_WORDS>, delivery: Delivery) -> Self {
        Self {
            core: Arc::clone(core),
            backlog: Backlog::default(),
            base: reader.position(),
            reader,
            usable: 0,
            is_slow: false,
            span_start: 0,
            span_end: 0,
            next: 0,
            last_ts: i64::MIN,
            races: false,
            view: View::default(),
            lapsed: 0,
            resync: false,
            plan: Plan::default(),
            sets: Vec::new(),
            delivery,
            span_ticks: SPAN_TICKS,
            conflates: false,
            owes_newest: false,
            is_stale: true,
        }
    }

    pub(super) fn is_span_open(&self) -> bool {
        self.next < self.span_end
    }

    pub(super) fn has_members(&self) -> bool {
        !self.delivery.members.is_empty()
    }

    pub(super) fn is_interrupted(&self, bounds: Bounds) -> bool {
        let has_step = || {
            let mut attended = self.delivery.attended();
            !self.delivery.awaiting.is_empty()
                || attended.any(|(_, member)| member.options.pull && !member.held.ticks.is_empty())
        };
        self.delivery.raised.is_some() || (bounds.one_step && has_step())
    }

    /// Whether something is due before the next tick.
    pub(super) fn is_held(&self, stops: Option<&Stops>) -> bool {
        stops.is_some_and(|stops| {
            let next = self.backlog[..self.usable].get(self.next);
            next.is_some_and(|next| stops.is_due(next.ts_init, self.position()))
        })
    }

    /// The open span is over here, when it has ticks left: they are not of its time.
    pub(super) fn cut_span(&mut self) -> bool {
        let is_cut = self.is_span_open();
        if is_cut {
            // One that has had no tick was opened in this call: what comes before its first tick was done.
            let opened = if self.next == self.span_start {
                flags::READ_ON
            } else {
                0
            };
            self.view.stopped = flags::CUT | opened;
            self.span_end = self.next;
        }
        is_cut
    }

    /// There was no member: what lies before the first member's position is not dispatched.
    pub(super) fn skip_to(&mut self, position: u64) {
        let buffered = self.base + self.backlog.len() as u64 + self.lapsed;
        if position >= buffered {
            self.backlog.truncate(0);
            (self.usable, self.next, self.span_start, self.span_end, self.lapsed) = (0, 0, 0, 0, 0);
            self.reveal();
            self.lapsed = 0;
            self.reader.jump(position);
            self.base = self.reader.position();
        } else if position > self.base + self.backlog.len() as u64 {
            // Inside of what was lost behind the backlog: the rest of that loss is the new member's.
            self.backlog.truncate(0);
            (self.usable, self.next, self.span_start, self.span_end) = (0, 0, 0, 0);
            self.lapsed = buffered - position;
            self.base = position;
        } else {
            let skip = (position - self.base) as usize;
            (self.next, self.span_start, self.span_end) = (skip, skip, skip);
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
    pub(super) fn join_gate(&mut self, seat: &Seat) {
        if let Some(place) = seat.take_place() {
            self.go_over_to(place);
        } else if !self.reader.is_gated() {
            self.read_all();
            // What the writer published between the two lines is lost like any overrun.
            self.reveal();
            self.lapsed += self.reader.join_gate();
        }
    }

    /// Goes on with another reader, which holds the writer at its position since before this one could.
    fn go_over_to(&mut self, mut place: Reader<TICK_WORDS>) {
        let from = place.position();
        self.reveal();
        if self.lapsed == 0 {
            self.read(usize::try_from(from.saturating_sub(self.reader.position())).unwrap_or(usize::MAX));
            self.reveal();
        }
        let end = self.base + self.backlog.len() as u64;
        // What lies before the place may be overwritten, nothing behind it: what was passed over there is read again.
        self.lapsed = from.saturating_sub(end);
        place.jump(end);
        self.reader = place;
    }

    /// The newest quotes that are not among the ticks still to be dispatched.
    ///
    /// `None`: the writer overtook the reader meanwhile. Behind the jump older ticks would follow on what is newest
    /// now.
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

    /// Finds the newest quotes for members that run again; behind a lapse they are found when it is reported.
    pub(super) fn find_newest(&mut self) {
        if self.lapsed > 0 {
            return;
        }
        if let Some(newest) = self.undelivered_newest() {
            self.owes_newest = false;
            self.view.has_settled = true;
            for index in 0..self.delivery.members.len() {
                let member = &mut self.delivery.members[index];
                if std::mem::take(&mut member.needs_newest) && member.is_running() {
                    member.newest.clone_from(&newest);
                    self.delivery.attend(index);
                }
            }
        }
    }

    /// Folds the whole events of the backlog, when a member conflates.
    pub(super) fn fold_backlog(&mut self) {
        if self.conflates {
            self.delivery.fold.fold(&self.backlog[..self.usable]);
        }
    }

    /// Gaps and newest quotes of members that joined or run again.
    #[inline]
    pub(super) fn deliver_owed(&mut self, py: Python<'_>) {
        if !self.delivery.needs_no_walk() {
            self.deliver_owed_to_attended(py);
        }
    }

    fn deliver_owed_to_attended(&mut self, py: Python<'_>) {
        self.delivery.sort_attention();
        for at in 0..self.delivery.attention.len() {
            let member = self.delivery.attention.member(at);
            let this = &mut self.delivery.members[member];
            if this.is_dozing() && !this.newest.is_empty() {
                this.newest.clear();
                self.view.has_settled = true;
            }
            if this.newest.is_empty() || !this.is_running() {
                continue;
            }
            if this.lost.is_some() {
                self.delivery.report_loss(py, member, None);
            }
            let newest = std::mem::take(&mut self.delivery.members[member].newest);
            self.delivery.deliver_snapshots(py, member, &newest);
        }
    }
}
