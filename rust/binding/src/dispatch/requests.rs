//! Requests: what was asked of a group from outside, answered at the next edge of a run.
//!
//! ```text
//!   join, leave, resume, change (any thread) ─▶ requests ─▶ answer (the dispatching thread, between two runs)
//! ```
//! Guarantees: a member gets every tick from the position where it joined; a resumed one begins with a whole event.
//! Does not: call handlers; what is owed to a member is given by the run that follows.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use headrace_core::market::tick::{GapCause, Tick};
use pyo3::prelude::*;

use super::group::Group;
use super::member::Member;
use super::options::{Options, Overflow, Tuning};
use super::run::Run;
use super::subscription::{Handler, Missing, SubscriptionShared, state};
use crate::lock::lock;

/// What was asked of a group from outside; done at the next edge of a run.
pub(super) enum Request {
    Join {
        at: u64,
        shared: Arc<SubscriptionShared>,
        options: Box<Options>,
        handlers: Vec<Handler>,
        newest: Vec<Tick>,
    },
    Leave(Arc<SubscriptionShared>),
    Resume(Arc<SubscriptionShared>),
    Change(Arc<SubscriptionShared>, Change),
}

/// What may change in a member while it lives.
pub(crate) enum Change {
    /// Another object's handlers, in place of those of one that was stopped.
    Handlers(Vec<Handler>),
    /// How its ticks come.
    Tuning(Tuning),
}

impl Group {
    pub(super) fn request(&self, request: Request) {
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
        mut options: Options,
        handlers: Vec<Handler>,
    ) -> Arc<SubscriptionShared> {
        options.hashing = self.hashing;
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

    /// Changes a member from the next edge of a run on.
    pub(crate) fn change(&self, py: Python<'_>, shared: &Arc<SubscriptionShared>, change: Change) {
        self.request(Request::Change(Arc::clone(shared), change));
        self.answer_if_idle(py);
    }

    /// Answers at once when nobody is dispatching: from here on a gated member holds the writer.
    pub(super) fn answer_if_idle(&self, py: Python<'_>) {
        if let Some(mut state) = self.take(py)
            && state.next == state.run_end
        {
            self.answer(py, &mut state);
            self.settle(&state);
        }
    }

    /// Whether an answer will have the writer wait for this group.
    pub(super) fn asks_for_the_gate(&self, state: &Run) -> bool {
        let blocks = |shared: &Arc<SubscriptionShared>| {
            let member = state.delivery.index_of(shared);
            member.is_some_and(|member| state.delivery.members[member].options.tuning.overflow == Overflow::Block)
        };
        lock(&self.requests).iter().any(|request| match request {
            Request::Join { options, .. } => options.tuning.overflow == Overflow::Block,
            Request::Resume(shared) => blocks(shared),
            Request::Change(_, Change::Tuning(tuning)) => tuning.overflow == Overflow::Block,
            Request::Change(..) | Request::Leave(_) => false,
        })
    }

    /// Answers requests whose place has come. Calls no handler.
    pub(super) fn answer(&self, py: Python<'_>, state: &mut Run) {
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
                    let blocks = member.options.tuning.overflow == Overflow::Block;
                    self.fold_counts(state);
                    state.delivery.members.push(member);
                    self.compile(py, state);
                    if state.conflates {
                        // What is left of the backlog was read before somebody conflated.
                        state.delivery.fold.fold(&state.backlog[..state.usable]);
                    }
                    if blocks {
                        state.join_gate();
                    }
                }
                Request::Leave(shared) => {
                    // One that has not come yet never comes.
                    waiting.retain(|request| !matches!(request, Request::Join { shared: joins, .. } if Arc::ptr_eq(joins, &shared)));
                    self.answer_leave(py, state, &shared);
                }
                Request::Resume(_) | Request::Change(..) if state.is_mid_event() => waiting.push(request),
                Request::Change(shared, change) => {
                    let Some(index) = state.delivery.index_of(&shared) else {
                        continue;
                    };
                    self.answer_change(py, state, index, change);
                }
                Request::Resume(shared) => {
                    let Some(index) = state.delivery.index_of(&shared) else {
                        continue;
                    };
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
                        match state.undelivered_newest() {
                            Some(newest) => state.delivery.members[index].newest = newest,
                            None => state.delivery.members[index].wants_newest = true,
                        }
                    }
                    if state.delivery.members[index].options.tuning.overflow == Overflow::Block {
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

    pub(super) fn answer_leave(&self, py: Python<'_>, state: &mut Run, shared: &Arc<SubscriptionShared>) {
        let Some(index) = state.delivery.index_of(shared) else {
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
        if self.is_closed() {
            // Nothing is dispatched any more; the counts were folded above, before the sets lost their meaning.
            return;
        }
        self.compile(py, state);
        state.leave_gate_unless_needed();
    }

    fn answer_change(&self, py: Python<'_>, state: &mut Run, index: usize, change: Change) {
        self.fold_counts(state);
        let member = &mut state.delivery.members[index];
        match change {
            Change::Handlers(handlers) => member.bind(handlers),
            Change::Tuning(tuning) => member.options.tuning = tuning,
        }
        self.compile(py, state);
        if state.conflates {
            state.delivery.fold.fold(&state.backlog[..state.usable]);
        }
        let member = &state.delivery.members[index];
        if member.options.tuning.overflow == Overflow::Block && member.is_running() {
            state.join_gate();
        } else {
            state.leave_gate_unless_needed();
        }
    }
}
