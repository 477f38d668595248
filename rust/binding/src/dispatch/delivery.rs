//! Delivery: from an admitted tick to the handlers of one subscription, and what their failures mean.
//!
//! ```text
//!   tick ─▶ admit (paused? lost event? folded? rate? window?) ─▶ singular handlers, now
//!                                                            └─▶ held ─▶ plural handlers, at the end of the run or window
//! ```
//! Guarantees: each admitted tick is counted once, by its first handler; a failing call is counted, dead-lettered and
//! judged by its own subscription's rule, and no other subscription notices.
//! Does not: read the ring, or decide where a run ends; that is `group`.

use std::sync::Arc;
use std::time::Instant;

use headrace_core::fan_out::conflate::{Fold, StateKeys};
use headrace_core::market::field::kind_set;
use headrace_core::market::kind;
use headrace_core::market::tick::{Gap, NO_INSTRUMENT, Tick, flags};
use pyo3::exceptions::{PyException, PyKeyboardInterrupt};
use pyo3::prelude::*;

use super::admit::Admitted;
use super::compile::{CallSite, Class, Enters, compile_alone};
use super::member::Member;
use super::options::Overflow;
use super::plural::ColumnKey;
use super::running::{Running, Seen};
use super::subscription::{Role, SubscriptionShared, state};
use crate::hot::columns::{ColumnPool, Positions};
use crate::hot::tick_object::TickTypes;
use crate::hot::vectorcall::{Call, Objects};
use crate::tables::names::Names;

/// A fast handler's calls are timed one in so many; two clock reads cost as much as the call they measure.
pub(super) const SAMPLE_EVERY: u32 = 64;

/// A handler at least this slow is timed at every call: there the clock is cheap, and the maximum matters.
pub(super) const SAMPLE_ALWAYS_NS: u64 = 65_536;

/// Ticks that a dead letter keeps.
pub(super) const LETTER_TICKS_MAX: usize = 8;

/// Everything that calling needs, apart from the compiled sets.
pub(crate) struct Delivery {
    pub(crate) members: Vec<Member>,
    pub(crate) classes: Vec<Class>,
    pub(crate) member_class: Vec<Option<u32>>,
    pub(crate) names: Names,
    pub(crate) types: TickTypes,
    pub(crate) keys: StateKeys,
    pub(crate) fold: Fold,
    pub(crate) plural_kinds: Vec<u8>,
    pub(crate) now_ns: i64,
    /// Whether a member has windows or an interval: only then something can be due.
    pub(super) is_timed: bool,
    /// The first error that must end the dispatch, once every strategy has had the tick.
    pub(crate) raised: Option<PyErr>,
    /// Calls of a subscription whose handlers are awaited.
    pub(super) awaiting: Awaiting,
    /// What runs now, for who watches and for who asks for a cause.
    pub(super) running: Arc<Running>,
    pub(crate) hooks: Py<PyAny>,
    pub(super) columns: ColumnPool,
    pub(super) cache: Vec<(ColumnKey, Py<PyAny>)>,
}

impl Delivery {
    pub(super) fn new(
        names: Names,
        types: TickTypes,
        keys: StateKeys,
        plural_kinds: Vec<u8>,
        running: Arc<Running>,
        hooks: Py<PyAny>,
    ) -> Self {
        Self {
            members: Vec::new(),
            classes: Vec::new(),
            member_class: Vec::new(),
            names,
            types,
            keys,
            fold: Fold::new(keys),
            plural_kinds,
            now_ns: 0,
            is_timed: false,
            raised: None,
            awaiting: Vec::new(),
            running,
            hooks,
            columns: ColumnPool::default(),
            cache: Vec::new(),
        }
    }

    /// Where a member stands; None: it has not come yet, or has left.
    pub(super) fn index_of(&self, shared: &Arc<SubscriptionShared>) -> Option<usize> {
        self.members
            .iter()
            .position(|member| Arc::ptr_eq(&member.shared, shared))
    }

    /// One tick to every call of its set, in registration order.
    #[inline]
    pub(crate) fn call_sites(
        &mut self,
        py: Python<'_>,
        sites: &mut [CallSite],
        objects: Objects<'_>,
        tick: &Tick,
        position: u64,
        index: usize,
    ) {
        let mut entered = true;
        self.running.take_up(tick, position);
        for site in sites {
            let member = site.member as usize;
            let running = site.shared.state() == state::RUNNING;
            entered = match site.enters {
                Enters::Counted if running => {
                    site.shared.delivered.add(1);
                    true
                }
                Enters::Counted => {
                    self.members[member].withhold(position, position, 1);
                    false
                }
                Enters::Again => entered && running,
                Enters::Admitted => match self.admit(py, member, tick, position, index) {
                    Admitted::AsIs => true,
                    Admitted::Changed(changed) => {
                        self.call_apart(py, member, &changed, position);
                        false
                    }
                    Admitted::No => false,
                },
            };
            if !entered {
                continue;
            }
            let Some((handler, call)) = &site.call else {
                continue;
            };
            let about = About::one(tick, position);
            if site.sample_in == 0 {
                // Timed: a fast call stands for those that follow it.
                if let Some(elapsed) = self.call(py, member, *handler, call, objects, about) {
                    let stands_for = if elapsed < SAMPLE_ALWAYS_NS { SAMPLE_EVERY } else { 1 };
                    site.shared.record_latency(elapsed, u64::from(stands_for));
                    site.sample_in = stands_for - 1;
                }
                continue;
            }
            site.sample_in -= 1;
            self.running.mark(member, *handler);
            site.shared.calls.add(1);
            if !call.call(py, objects) {
                self.fault(py, member, *handler, PyErr::fetch(py), about);
            }
        }
    }

    /// The fields of a tick could not be made (out of memory): everybody who wanted it has a fault.
    #[cold]
    pub(crate) fn fail_sites(&mut self, py: Python<'_>, sites: &[CallSite], error: &PyErr, tick: &Tick, position: u64) {
        for site in sites.iter().filter(|site| site.enters != Enters::Again) {
            let member = site.member as usize;
            self.members[member].shared.delivered.add(1);
            self.fault(py, member, 0, error.clone_ref(py), About::one(tick, position));
        }
    }

    /// Calls one handler and judges what it raised. Returns how long that took, ns; `None` when only its awaitable was
    /// made, which says nothing about the handler.
    #[inline(never)]
    pub(super) fn call(
        &mut self,
        py: Python<'_>,
        member: usize,
        handler: u16,
        call: &Call,
        objects: Objects<'_>,
        about: About<'_>,
    ) -> Option<u64> {
        self.running.mark(member, handler);
        let this = &self.members[member];
        this.shared.calls.add(1);
        let awaited = this.options.awaited;
        let started = Instant::now();
        let ok = if awaited {
            let made = call.call_keeping(py, objects);
            let seen = self.running.seen();
            made.map(|awaitable| self.awaiting.push((handler, awaitable, seen)))
                .is_some()
        } else {
            call.call(py, objects)
        };
        let elapsed = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        if !ok {
            self.fault(py, member, handler, PyErr::fetch(py), about);
        }
        (!awaited).then_some(elapsed)
    }

    /// A call outside of the run's own order (a gap, a snapshot, a batch): always timed.
    pub(super) fn call_timed(
        &mut self,
        py: Python<'_>,
        member: usize,
        handler: u16,
        call: &Call,
        objects: Objects<'_>,
        about: About<'_>,
    ) {
        let outer = self.running.enter(about.ticks, about.positions.of(0));
        let elapsed = self.call(py, member, handler, call, objects, about);
        self.running.leave(&outer);
        if let Some(elapsed) = elapsed {
            self.members[member].shared.record_latency(elapsed, 1);
        }
    }

    /// A handler raised: count it, keep it as a dead letter, and do what its subscription's rule says.
    #[cold]
    pub(crate) fn fault(&mut self, py: Python<'_>, member: usize, handler: u16, error: PyErr, about: About<'_>) {
        if error.is_instance_of::<PyKeyboardInterrupt>(py) {
            // The user's, not the handler's: without a SIGINT handler of ours it arrives inside whatever runs.
            self.raised.get_or_insert(error);
            return;
        }
        let this = &mut self.members[member];
        this.shared.faults.add(1);
        this.fault_calls = this.shared.calls.get();
        let judged = || -> PyResult<Py<PyAny>> {
            let count = about.ticks.len().min(LETTER_TICKS_MAX);
            let ticks = crate::hot::columns::tick_array(py, &about.ticks[..count])?;
            let positions: Vec<u64> = (0..count).map(|index| about.positions.of(index)).collect();
            let kind = about.ticks.first().map(|tick| self.names.kind(tick.kind).clone_ref(py));
            let instrument = about
                .ticks
                .first()
                .map(|tick| self.names.of(tick.instrument).instrument.clone_ref(py));
            let name = this
                .handlers
                .get(usize::from(handler))
                .map_or("", |handler| handler.name.as_str());
            let arguments = (
                this.shared.name.as_str(),
                name,
                error.clone_ref(py).into_value(py),
                this.fault_calls,
                instrument,
                kind,
                ticks,
                positions,
                about.ticks.len(),
            );
            self.hooks.call_method1(py, "_on_fault", arguments)
        };
        match judged() {
            Ok(verdict) if verdict.is_none(py) => {}
            Ok(verdict) => match verdict.bind(py).cast::<PyException>() {
                Ok(raise) => {
                    let raise = PyErr::from_value(raise.clone().into_any());
                    self.raised.get_or_insert(raise);
                }
                Err(_) => self.quarantine(member),
            },
            Err(interrupt) if interrupt.is_instance_of::<PyKeyboardInterrupt>(py) => {
                self.raised.get_or_insert(interrupt);
            }
            Err(unexpected) => {
                // The judge itself failed (out of memory, most likely): the safe verdict, and the reason on stderr.
                unexpected.write_unraisable(py, None);
                self.quarantine(member);
            }
        }
    }

    pub(crate) fn quarantine(&mut self, member: usize) {
        let this = &mut self.members[member];
        this.shared.change_state(
            &[state::RUNNING, state::PAUSED, state::RESUMING, state::DOZING],
            state::QUARANTINED,
        );
        this.skip_held();
    }

    /// Calls a member's singular handlers with a tick that is not the run's current one (or not as it stands there).
    pub(crate) fn call_apart(&mut self, py: Python<'_>, member: usize, tick: &Tick, position: u64) {
        let handlers: Vec<usize> = self.members[member].calls_for(tick.kind).collect();
        for handler in handlers {
            if !self.members[member].is_running() {
                return;
            }
            let described = &self.members[member].handlers[handler];
            let (mut slots, call) = compile_alone(py, described);
            match slots.fill(py, &self.types, &self.names, tick, position, self.now_ns) {
                Ok(objects) => self.call_timed(py, member, handler as u16, &call, objects, About::one(tick, position)),
                Err(error) => self.fault(py, member, handler as u16, error, About::one(tick, position)),
            }
        }
    }

    /// Tells a member what it did not get, before `next` (or now, when there is no next tick yet).
    pub(crate) fn tell(&mut self, py: Python<'_>, member: usize, next: Option<&Tick>) {
        let Some(missing) = self.members[member].tell.take() else {
            return;
        };
        self.flush_held(py, member, usize::MAX);
        let said = Gap {
            cause: missing.cause,
            lost_kind: 0,
            first: missing.first,
            last: missing.last,
            missing: missing.count,
        };
        let unplaced = Tick {
            flags: flags::NO_VENUE_TIME,
            ts_init: self.now_ns,
            ..Tick::default()
        };
        let tick = Tick {
            instrument: NO_INSTRUMENT,
            ..said.before(next.unwrap_or(&unplaced))
        };
        let this = &mut self.members[member];
        let kinds = if this.options.pull {
            this.options.filter.kinds
        } else {
            this.options.every_kinds
        };
        let plural = this.options.pull || this.handlers.iter().any(|handler| handler.role == Role::AllTicks);
        if plural && kinds & kind_set(kind::GAP) != 0 {
            this.held.push(tick, missing.last + 1, false);
        }
        self.call_apart(py, member, &tick, missing.last + 1);
    }

    /// Gives a member the newest quotes, flagged SNAPSHOT: they are no positions, and are counted apart.
    pub(crate) fn give_snapshots(&mut self, py: Python<'_>, member: usize, newest: &[Tick]) {
        for tick in newest {
            let this = &mut self.members[member];
            let filter = &this.options.filter;
            let text = &self.names.of(tick.instrument).text;
            if !this.is_running() || filter.kinds & kind_set(tick.kind) == 0 || !filter.matches_instrument(text) {
                continue;
            }
            let mut handed_on = 0;
            if let Some(key) = self.keys.key(tick) {
                this.know_key(key);
                if this.options.tuning.overflow == Overflow::Conflate {
                    if tick.seq <= this.newest_seq[key] {
                        continue;
                    }
                    this.newest_seq[key] = tick.seq;
                    this.due[key] = this.due[key].max(self.now_ns.saturating_add(this.options.min_interval_ns));
                    if let Some((_, older, _)) = this.deferred.remove(&key) {
                        // What waited for its interval is folded into the newest.
                        handed_on = older.flags & flags::GAP_BEFORE;
                        this.shared.conflated.add(1);
                    }
                }
            }
            let tick = Tick {
                flags: tick.flags | handed_on | flags::SNAPSHOT,
                ..*tick
            };
            this.shared.snapshots.add(1);
            let plural = this.options.pull
                || this
                    .handlers
                    .iter()
                    .any(|handler| matches!(handler.role, Role::AllTicks) || handler.role == Role::Plural(tick.kind));
            if plural {
                this.held.push(tick, 0, false);
            }
            self.call_apart(py, member, &tick, 0);
        }
        if self.members[member].options.every_ns == 0 {
            self.flush_held(py, member, usize::MAX);
        }
    }
}

/// (handler, awaitable, what it was given), in order.
pub(super) type Awaiting = Vec<(u16, Py<PyAny>, Seen)>;

/// What a call is about, for dead letters.
#[derive(Clone, Copy)]
pub(crate) struct About<'a> {
    pub(crate) ticks: &'a [Tick],
    pub(crate) positions: Positions<'a>,
}

impl<'a> About<'a> {
    #[inline]
    pub(crate) fn one(tick: &'a Tick, position: u64) -> Self {
        Self {
            ticks: std::slice::from_ref(tick),
            positions: Positions::From(position),
        }
    }
}
