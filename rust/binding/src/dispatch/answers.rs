//! Answers: the requests to a group take effect at the next edge of a span.
//!
//! ```text
//!   join, leave, resume, change (any thread) ─▶ requests ─▶ answer (the dispatching thread, between two spans)
//! ```
//! Guarantees: a member gets every tick from the position where it joined; a resumed one begins with a whole event.
//! Does not: call handlers; what is owed to a member is given by the span that follows.

use std::sync::Arc;

use headrace_core::market::tick::GapCause;
use pyo3::prelude::*;

use super::group::Group;
use super::group_state::GroupState;
use super::handler::Handler;
use super::member::Member;
use super::options::{Options, Overflow};
use super::request::{Change, Request};
use super::subscription::{SubscriptionShared, state, widen};
use crate::lock::lock;

impl Group {
    pub(super) fn request(&self, request: Request) {
        self.requests.post(request);
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
        let state = self.take(py);
        if state.is_none() && options.tuning.overflow == Overflow::Block && !self.is_closed() {
            self.seat.lock().keep_place(&self.core.ring);
        }
        // The newest first, then the cursor: so they all lie before the place where the member joins.
        let newest = self.core.newest.load();
        let at = self.core.ring.cursor();
        let shared = Arc::new(SubscriptionShared::new(name, at, &options));
        let mut member = Member::new(Arc::clone(&shared), options, handlers);
        member.newest = newest;
        self.request(Request::Join(Box::new(member)));
        if let Some(mut state) = state {
            if shared.blocks() && state.is_span_open() {
                state.join_gate(&self.seat);
            }
            self.answer_at_an_edge(&mut state);
        }
        shared
    }

    /// Changes a member from the next edge of a span on.
    pub(crate) fn change(&self, py: Python<'_>, shared: &Arc<SubscriptionShared>, change: Change) {
        self.request(Request::Change(Arc::clone(shared), change));
        self.answer_if_idle(py);
    }

    /// Answers at once when the group is not being dispatched: from here on a gated member holds the writer.
    pub(super) fn answer_if_idle(&self, py: Python<'_>) {
        if let Some(mut state) = self.take(py) {
            self.answer_at_an_edge(&mut state);
        }
    }

    /// Answers at once, unless a span is open.
    pub(super) fn answer_at_an_edge(&self, state: &mut GroupState) {
        if !state.is_span_open() {
            self.answer(state);
            self.settle(state);
        }
    }

    /// Whether an answer will have the writer wait for this group.
    pub(super) fn requests_gate(&self) -> bool {
        let gates = |request: &Request| match request {
            Request::Join(member) => member.shared.holds_gate(),
            Request::Resume(shared) => shared.holds_gate(),
            Request::Change(_, Change::Tuning(tuning)) => tuning.overflow == Overflow::Block,
            Request::Change(..) | Request::Leave(_) => false,
        };
        self.requests.look(|requests| requests.iter().any(gates))
    }

    /// Answers requests whose place has come. Calls no handler.
    pub(super) fn answer(&self, state: &mut GroupState) {
        // A logged call does so where the ring stands still.
        if state.view.entry.is_none() && self.seat.lock().has_place() {
            state.join_gate(&self.seat);
        }
        let mut waiting = Vec::new();
        for request in self.requests.take() {
            match request {
                Request::Join(ref member) if member.joined() > state.position() && state.has_members() => {
                    waiting.push(request);
                }
                Request::Join(member) => self.answer_join(state, *member),
                Request::Leave(shared) => {
                    // One that has not come yet never comes.
                    waiting.retain(
                        |request| !matches!(request, Request::Join(member) if Arc::ptr_eq(&member.shared, &shared)),
                    );
                    self.answer_leave(state, &shared);
                }
                Request::Resume(_) | Request::Change(..) if state.is_mid_event() => waiting.push(request),
                Request::Change(shared, change) => {
                    if let Some(index) = state.delivery.index_of(&shared) {
                        self.answer_change(state, index, change);
                    }
                }
                Request::Resume(shared) => {
                    if let Some(index) = state.delivery.index_of(&shared) {
                        self.answer_resume(state, index);
                    }
                }
            }
        }
        self.requests.put_back(waiting);
        self.leave_gate_unless_needed(state);
    }

    /// Leaves the gate, unless the writer waits for one of the members, or is to wait for one that joins.
    pub(super) fn leave_gate_unless_needed(&self, state: &mut GroupState) {
        let is_needed = state.delivery.members.iter().any(|member| member.shared.holds_gate());
        if !is_needed && !self.requests_gate() {
            state.reader.leave_gate();
        }
    }

    fn answer_join(&self, state: &mut GroupState, mut member: Member) {
        let at = member.joined();
        if !state.has_members() && at > state.position() {
            state.skip_to(at);
        }
        let lost = state.position().saturating_sub(at);
        if lost > 0 {
            member.shared.missed.add(lost);
            widen(&mut member.lost, GapCause::Overrun, at, at + lost - 1, lost);
        }
        let blocks = member.shared.holds_gate();
        self.end_sets(state);
        lock(&self.counts).members.push(Arc::clone(&member.shared));
        state.delivery.members.push(member);
        state.delivery.attend(state.delivery.members.len() - 1);
        if blocks {
            state.join_gate(&self.seat);
        }
    }

    pub(super) fn answer_leave(&self, state: &mut GroupState, shared: &Arc<SubscriptionShared>) {
        let Some(index) = state.delivery.index_of(shared) else {
            shared.left.set(shared.joined.get());
            return;
        };
        self.end_sets(state);
        // What waits for a plural call, also in the batches of a span that will not end.
        shared.skipped.add(state.delivery.count_waiting(index));
        shared.buffered.set(0);
        let left = self.core.ring.cursor();
        let from = state.position().max(shared.joined.get());
        shared.skipped.add(left.saturating_sub(from));
        shared.left.set(left);
        state.delivery.remove(index);
        lock(&self.counts).members.remove(index);
    }

    fn answer_change(&self, state: &mut GroupState, index: usize, change: Change) {
        self.end_sets(state);
        let member = &mut state.delivery.members[index];
        match change {
            Change::Handlers(handlers) => member.bind(handlers),
            Change::Tuning(tuning) => member.tune(tuning),
        }
        if member.shared.holds_gate() {
            state.join_gate(&self.seat);
        }
    }

    fn answer_resume(&self, state: &mut GroupState, index: usize) {
        // Read while it is not running yet: that the pause took it from the gate is no demotion.
        state.read_all();
        let shared = Arc::clone(&state.delivery.members[index].shared);
        if shared.blocks() {
            state.join_gate(&self.seat);
        }
        if !shared.change_state(&[state::RESUMING], state::RUNNING) {
            return;
        }
        state.delivery.attend(index);
        state.read_all();
        let member = &mut state.delivery.members[index];
        member.end_pause();
        if state.lapsed > 0 {
            // Lapped in the pause: the loss is reported at its place, and the newest come behind it.
            member.paused_until = state.base + state.backlog.len() as u64 + state.lapsed;
        }
        member.needs_newest = state.lapsed > 0 || member.lost.is_some();
        state.owes_newest |= member.needs_newest;
    }
}
