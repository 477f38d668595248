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
        // The newest first, then the cursor: so they all lie before the place where the member joins.
        let newest = self.core.newest.load();
        let at = self.core.ring.cursor();
        let shared = Arc::new(SubscriptionShared::new(name, at, &options));
        let mut member = Member::new(Arc::clone(&shared), options, handlers);
        member.newest = newest;
        self.request(Request::Join(Box::new(member)));
        self.answer_if_idle(py);
        shared
    }

    /// Changes a member from the next edge of a span on.
    pub(crate) fn change(&self, py: Python<'_>, shared: &Arc<SubscriptionShared>, change: Change) {
        self.request(Request::Change(Arc::clone(shared), change));
        self.answer_if_idle(py);
    }

    /// Answers at once when the group is not being dispatched: from here on a gated member holds the writer.
    pub(super) fn answer_if_idle(&self, py: Python<'_>) {
        if let Some(mut state) = self.take(py)
            && state.next == state.span_end
        {
            self.answer(&mut state);
            self.settle(&mut state);
        }
    }

    /// Whether an answer will have the writer wait for this group.
    pub(super) fn requests_gate(&self, state: &GroupState) -> bool {
        let blocks = |shared: &Arc<SubscriptionShared>| {
            let member = state.delivery.index_of(shared);
            member.is_some_and(|member| state.delivery.members[member].blocks())
        };
        let gates = |request: &Request| match request {
            Request::Join(member) => member.blocks(),
            Request::Resume(shared) => blocks(shared),
            Request::Change(_, Change::Tuning(tuning)) => tuning.overflow == Overflow::Block,
            Request::Change(..) | Request::Leave(_) => false,
        };
        self.requests.look(|requests| requests.iter().any(gates))
    }

    /// Answers requests whose place has come. Calls no handler.
    pub(super) fn answer(&self, state: &mut GroupState) {
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
                        answer_resume(state, index);
                    }
                }
            }
        }
        self.requests.put_back(waiting);
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
        let blocks = member.blocks();
        self.end_sets(state);
        lock(&self.counts).members.push(Arc::clone(&member.shared));
        state.delivery.members.push(member);
        state.delivery.attend(state.delivery.members.len() - 1);
        if blocks {
            state.join_gate();
        }
    }

    pub(super) fn answer_leave(&self, state: &mut GroupState, shared: &Arc<SubscriptionShared>) {
        let Some(index) = state.delivery.index_of(shared) else {
            shared.left.set(shared.joined.get());
            return;
        };
        self.end_sets(state);
        state.delivery.members[index].skip_held();
        let left = self.core.ring.cursor();
        let from = state.position().max(shared.joined.get());
        shared.skipped.add(left.saturating_sub(from));
        shared.left.set(left);
        state.delivery.remove(index);
        lock(&self.counts).members.remove(index);
        state.leave_gate_unless_needed();
    }

    fn answer_change(&self, state: &mut GroupState, index: usize, change: Change) {
        self.end_sets(state);
        let member = &mut state.delivery.members[index];
        match change {
            Change::Handlers(handlers) => member.bind(handlers),
            Change::Tuning(tuning) => member.options.tuning = tuning,
        }
        if member.blocks() && member.is_running() {
            state.join_gate();
        } else {
            state.leave_gate_unless_needed();
        }
    }
}

fn answer_resume(state: &mut GroupState, index: usize) {
    // Read while it is not running yet: that the pause took it from the gate is no demotion.
    state.read_all();
    if !state.delivery.members[index]
        .shared
        .change_state(&[state::RESUMING], state::RUNNING)
    {
        return;
    }
    state.delivery.members[index].end_pause();
    state.delivery.attend(index);
    state.read_all();
    if state.lapsed > 0 {
        // Lapped meanwhile: the loss is reported at its place, and the newest come behind it.
        state.delivery.members[index].needs_newest = true;
    } else if state.delivery.members[index].lost.is_some() {
        match state.undelivered_newest() {
            Some(newest) => state.delivery.members[index].newest = newest,
            None => state.delivery.members[index].needs_newest = true,
        }
    }
    if state.delivery.members[index].blocks() {
        state.join_gate();
    }
}
