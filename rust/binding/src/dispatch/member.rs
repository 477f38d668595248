//! A member: one subscription as its dispatching thread sees it, with the ticks that wait and the loss to be reported.
//!
//! Guarantees: what a pause withholds is counted, and reported when it ends.
//! Does not: call handlers; that is `delivery`.

use std::collections::BTreeMap;
use std::sync::Arc;

use headrace_core::market::kind::{KindSet, kind_set};
use headrace_core::market::tick::{Gap, GapCause, Tick};

use super::handler::{Handler, Role};
use super::options::{Options, Overflow, Tuning};
use super::subscription::{Held, SubscriptionShared, state, widen};
use super::window::Window;
use crate::lock::lock;

/// One subscription as its dispatching thread sees it.
pub(crate) struct Member {
    pub(crate) shared: Arc<SubscriptionShared>,
    pub(crate) options: Options,
    pub(crate) handlers: Vec<Handler>,
    /// Kinds that only plural handlers take: counted when those are called.
    pub(crate) plural_only: KindSet,
    pub(crate) has_plural: bool,
    pub(crate) held: Held,
    /// With `every`: what the open window holds.
    pub(super) window: Option<Window>,
    pub(super) is_listed: bool,
    /// Ticks of the window that wait for a plural call and are not among `buffered` yet.
    pub(super) unsettled: u64,
    /// What must be reported before its next tick.
    pub(crate) lost: Option<Gap>,
    /// Newest quotes to be delivered before anything else.
    pub(crate) newest: Vec<Tick>,
    /// Resumed behind a loss that is not reported yet: the newest quotes follow the report.
    pub(crate) needs_newest: bool,
    pub(super) paused: Option<Gap>,
    /// The positions below, as far as they are lost, passed while it was paused.
    pub(super) paused_until: u64,
    pub(super) window_end: i64,
    /// A part of the open window was delivered already.
    is_window_cut: bool,
    pub(super) skip_until: u64,
    pub(super) resync: bool,
    /// Unused time of the rate limit, of which each tick costs some; whole ns, so that nothing is lost by rounding.
    pub(super) credit_ns: i64,
    pub(super) credit_at: i64,
    /// Per state key: what is remembered of its quotes (conflate).
    states: Vec<StateOf>,
    /// Per state key: a quote that waits for its interval, and when it is due.
    pub(super) deferred: BTreeMap<usize, (i64, Tick, u64)>,
    pub(super) lagging: bool,
    /// The shared batches of its plural handlers; `None`: it has none, or is looked at for itself.
    pub(super) class: Option<u32>,
    pub(super) is_attended: bool,
    pub(super) is_active: bool,
}

/// What a conflating member remembers of one state key.
#[derive(Clone, Copy)]
pub(super) struct StateOf {
    /// The newest `seq` delivered.
    pub(super) newest_seq: u64,
    /// When its interval is over.
    pub(super) due: i64,
    /// Flags of late ticks, for the next one.
    pub(super) handed_on: u16,
}

impl Default for StateOf {
    fn default() -> Self {
        Self {
            newest_seq: 0,
            due: i64::MIN,
            handed_on: 0,
        }
    }
}

impl Member {
    pub(crate) fn new(shared: Arc<SubscriptionShared>, options: Options, handlers: Vec<Handler>) -> Self {
        let mut member = Self {
            shared,
            plural_only: 0,
            has_plural: false,
            held: Held::default(),
            window: None,
            is_listed: false,
            unsettled: 0,
            lost: None,
            newest: Vec::new(),
            needs_newest: false,
            paused: None,
            paused_until: 0,
            window_end: i64::MIN,
            is_window_cut: false,
            skip_until: 0,
            resync: false,
            credit_ns: i64::MAX,
            credit_at: i64::MIN,
            states: Vec::new(),
            deferred: BTreeMap::new(),
            lagging: false,
            class: None,
            is_attended: false,
            is_active: false,
            options,
            handlers: Vec::new(),
        };
        member.bind(handlers);
        member
    }

    /// Takes these handlers from the next tick on.
    pub(super) fn bind(&mut self, handlers: Vec<Handler>) {
        let options = &self.options;
        let (mut singular, mut plural, mut has_plural) = (0, 0, false);
        for handler in &handlers {
            match handler.role {
                Role::Singular(kind) => singular |= kind_set(kind),
                Role::EveryTick => singular |= options.every_kinds,
                Role::Plural(kind) => (plural, has_plural) = (plural | kind_set(kind), true),
                Role::AllTicks => (plural, has_plural) = (plural | options.every_kinds, true),
            }
        }
        let wanted = options.filter.kinds;
        if options.pull {
            plural = wanted;
        }
        self.plural_only = plural & wanted & !singular;
        self.has_plural = has_plural;
        // Another object's window; of the same class it has the same fields.
        let is_other = handlers.len() != self.handlers.len()
            || handlers.iter().zip(&self.handlers).any(|(new, old)| !new.is_like(old));
        if self.options.every_ns > 0 && has_plural && is_other {
            self.skip_held();
            self.window = Some(Window::new(&handlers, self.options.every_kinds));
        }
        *lock(&self.shared.handlers) = handlers.iter().map(|handler| handler.name.clone()).collect();
        self.handlers = handlers;
    }

    /// The handlers that take ticks of this kind one by one.
    pub(crate) fn calls_for(&self, kind: u8) -> impl Iterator<Item = usize> + '_ {
        // The kind's own handler (on_gap among them) comes before on_tick.
        let own = self
            .handlers
            .iter()
            .position(|handler| handler.role == Role::Singular(kind));
        let every = self.handlers.iter().position(|handler| handler.role == Role::EveryTick);
        own.into_iter()
            .chain(every.filter(|_| self.options.every_kinds & kind_set(kind) != 0))
    }

    /// Position of the first tick that it may get.
    pub(super) fn joined(&self) -> u64 {
        self.shared.joined.get()
    }

    /// Its ticks come so from the next one on.
    pub(super) fn tune(&mut self, tuning: Tuning) {
        self.options.tuning = tuning;
        self.shared.set_overflow(tuning.overflow);
    }

    /// What the open window holds is a part of it.
    pub(super) fn cut_window(&mut self) {
        self.is_window_cut |= self.has_window();
        self.mark_window();
    }

    /// The open window is over.
    pub(super) fn end_window(&mut self) {
        self.mark_window();
        self.is_window_cut = false;
    }

    fn mark_window(&mut self) {
        if self.is_window_cut
            && let Some(window) = &mut self.window
        {
            window.mark_partial();
        }
    }

    pub(super) fn conflates(&self) -> bool {
        self.options.tuning.overflow == Overflow::Conflate
    }

    /// Whether it takes ticks by the batch, from its handlers or by a pull.
    pub(super) fn takes_batches(&self) -> bool {
        self.has_plural || self.options.pull
    }

    pub(crate) fn is_running(&self) -> bool {
        self.shared.is_running()
    }

    /// What waits for a later call.
    pub(crate) fn count_buffered(&self) -> u64 {
        let window = self
            .window
            .as_ref()
            .map_or(0, |window| window.count_waiting(self.plural_only));
        self.held.count_waiting(self.plural_only) + window + self.deferred.len() as u64
    }

    /// Whether its window is open: it holds something.
    #[inline]
    pub(super) fn has_window(&self) -> bool {
        self.window.as_ref().is_some_and(|window| !window.is_empty())
    }

    pub(crate) fn is_dozing(&self) -> bool {
        self.shared.state() == state::DOZING
    }

    /// Counts ticks that it does not get because it does not run: a pause or quarantine withholds them, to be reported
    /// when it ends; while it dozes, or is narrowed to other instruments, they are filtered.
    pub(crate) fn withhold(&mut self, first: u64, last: u64, count: u64) {
        if matches!(self.shared.state(), state::DOZING | state::NARROWED) {
            self.shared.filtered.add(count);
            return;
        }
        self.shared.skipped.add(count);
        widen(&mut self.paused, GapCause::Paused, first, last, count);
    }

    /// Positions that are lost to the whole group: those that passed in a pause are skipped, the others missed.
    pub(super) fn lose(&mut self, first: u64, lost: u64) {
        if !self.is_running() {
            self.withhold(first, first + lost - 1, lost);
            return;
        }
        let last = first + lost - 1;
        let passed = self.paused_until.saturating_sub(first).min(lost);
        let missed = lost - passed;
        if passed > 0 {
            self.shared.skipped.add(passed);
            widen(&mut self.lost, GapCause::Paused, first, first + passed - 1, passed);
        }
        if missed > 0 {
            self.shared.missed.add(missed);
            widen(&mut self.lost, GapCause::Overrun, first + passed, last, missed);
        }
    }

    /// What was held when the subscription stopped running is withheld.
    pub(crate) fn skip_held(&mut self) {
        let waiting = self.count_buffered();
        if waiting > 0 {
            let positions = &self.held.positions;
            let held = positions.first().copied().zip(positions.last().copied());
            let open = self.window.as_ref().filter(|window| !window.is_empty());
            let held = held.or_else(|| open.map(Window::ends));
            let deferred = || self.deferred.values().map(|(_, _, position)| *position);
            let ends = held.or_else(|| deferred().min().zip(deferred().max()));
            let (first, last) = ends.unwrap_or_default();
            self.withhold(first, last, waiting);
        }
        self.held.clear();
        if let Some(window) = &mut self.window {
            window.clear();
        }
        self.deferred.clear();
        self.unsettled = 0;
        self.shared.buffered.set(0);
    }

    /// Running again: what the pause withheld is to be reported.
    pub(crate) fn end_pause(&mut self) {
        if let Some(paused) = self.paused.take() {
            widen(&mut self.lost, paused.cause, paused.first, paused.last, paused.missing);
        }
    }

    /// What is remembered of a state key.
    #[inline]
    pub(super) fn state_of(&mut self, key: usize) -> &mut StateOf {
        if self.states.len() <= key {
            self.states.resize(key + 1, StateOf::default());
        }
        &mut self.states[key]
    }

    pub(super) fn take_token(&mut self, now_ns: i64) -> bool {
        let cost_ns = ((1e9 / self.options.rate_limit) as i64).max(1);
        // A second's worth may come at once, and one tick in any case.
        let full_ns = cost_ns.max(1_000_000_000);
        let elapsed_ns = now_ns.saturating_sub(self.credit_at).max(0);
        self.credit_ns = self.credit_ns.saturating_add(elapsed_ns).min(full_ns);
        self.credit_at = self.credit_at.max(now_ns);
        let granted = self.credit_ns >= cost_ns;
        if granted {
            self.credit_ns -= cost_ns;
        }
        granted
    }
}
