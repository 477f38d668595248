//! Delivery: from an admitted tick to the handlers of one subscription, and what their failures mean.
//!
//! ```text
//!   tick ─▶ admit (paused? lost event? folded? rate? window?) ─▶ singular handlers, now
//!                                                            └─▶ held ─▶ plural handlers, at the end of the run or window
//! ```
//! Guarantees: each admitted tick is counted once, by its first handler; a failing call is counted, dead-lettered and
//! judged by its own subscription's rule, and no other subscription notices.
//! Does not: read the ring, or decide where a run ends; that is `group`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use headrace_core::conflate::{Fold, StateKeys};
use headrace_core::field::{Field, KindSet, kind_set};
use headrace_core::kind;
use headrace_core::tick::{Gap, NO_INSTRUMENT, Tick, flags};
use pyo3::exceptions::{PyException, PyKeyboardInterrupt};
use pyo3::prelude::*;

use crate::hot::columns::{Batch, ColumnPool, Positions};
use crate::hot::tick_object::TickTypes;
use crate::hot::vectorcall::{Call, Columns, Objects, Slots};
use crate::names::Names;
use crate::subscription::{Handler, Held, Missing, Options, Overflow, Role, SubscriptionShared, state};

/// A fast handler's calls are timed one in so many; two clock reads cost as much as the call they measure.
const SAMPLE_EVERY: u32 = 64;
/// A handler at least this slow is timed at every call: there the clock is cheap, and the maximum matters.
const SAMPLE_ALWAYS_NS: u64 = 65_536;
/// Ticks that a dead letter keeps.
const LETTER_TICKS_MAX: usize = 8;

/// One subscription as its dispatching thread sees it.
pub(crate) struct Member {
    pub(crate) shared: Arc<SubscriptionShared>,
    pub(crate) options: Options,
    pub(crate) handlers: Vec<Handler>,
    /// Kinds that only plural handlers take: counted when those are called.
    pub(crate) plural_only: KindSet,
    pub(crate) has_plural: bool,
    pub(crate) held: Held,
    pub(crate) tell: Option<Missing>,
    /// Newest quotes to be given before anything else.
    pub(crate) newest: Vec<Tick>,
    /// Resumed behind a loss that is not told yet: the newest quotes are given then.
    pub(crate) wants_newest: bool,
    paused: Option<Missing>,
    window_end: i64,
    skip_until: u64,
    resync: bool,
    /// Unused time of the rate limit, of which each tick costs some; whole ns, so that nothing is lost by rounding.
    credit_ns: i64,
    credit_at: i64,
    /// Per state key: the newest `seq` delivered (conflate).
    newest_seq: Vec<u64>,
    /// Per state key: a quote that waits for its interval, and when it is due.
    deferred: BTreeMap<usize, (i64, Tick, u64)>,
    due: Vec<i64>,
    lagging: bool,
    sample_in: u32,
    fault_calls: u64,
}

impl Member {
    pub(crate) fn new(shared: Arc<SubscriptionShared>, options: Options, handlers: Vec<Handler>) -> Self {
        let wanted = options.filter.kinds;
        let (mut singular, mut plural, mut has_plural) = (0, 0, false);
        for handler in &handlers {
            match handler.role {
                Role::Singular(kind) => singular |= kind_set(kind),
                Role::EveryTick => singular |= options.every_kinds,
                Role::Plural(kind) => (plural, has_plural) = (plural | kind_set(kind), true),
                Role::AllTicks => (plural, has_plural) = (plural | options.every_kinds, true),
            }
        }
        if options.pull {
            plural = wanted;
        }
        Self {
            shared,
            plural_only: plural & wanted & !singular,
            has_plural,
            held: Held::default(),
            tell: None,
            newest: Vec::new(),
            wants_newest: false,
            paused: None,
            window_end: i64::MIN,
            skip_until: 0,
            resync: false,
            credit_ns: i64::MAX,
            credit_at: i64::MIN,
            newest_seq: Vec::new(),
            deferred: BTreeMap::new(),
            due: Vec::new(),
            lagging: false,
            sample_in: 0,
            fault_calls: 0,
            options,
            handlers,
        }
    }

    /// Whether a handler wants ticks of this kind one by one.
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

    pub(crate) fn is_running(&self) -> bool {
        self.shared.state() == state::RUNNING
    }

    /// What waits for a later call.
    pub(crate) fn count_buffered(&self) -> u64 {
        self.held.counted(self.held.ticks.len(), self.plural_only) + self.deferred.len() as u64
    }

    /// Counts ticks that a pause or quarantine withheld, to be told when it ends.
    pub(crate) fn skip_paused(&mut self, first: u64, last: u64, count: u64) {
        self.shared.skipped.add(count);
        Missing::widen(
            &mut self.paused,
            headrace_core::tick::GapCause::Paused,
            first,
            last,
            count,
        );
    }

    /// What was held when the subscription stopped running is skipped.
    pub(crate) fn skip_held(&mut self) {
        let waiting = self.count_buffered();
        if waiting > 0 {
            let first = self.held.positions.first().copied();
            let first = first.or_else(|| self.deferred.values().map(|(_, _, position)| *position).min());
            let last = self.held.positions.last().copied();
            let last = last.or_else(|| self.deferred.values().map(|(_, _, position)| *position).max());
            self.skip_paused(first.unwrap_or(0), last.unwrap_or(0), waiting);
        }
        self.held.clear();
        self.deferred.clear();
        self.shared.buffered.set(0);
    }

    /// Running again: what the pause withheld is to be told.
    pub(crate) fn end_pause(&mut self) {
        if let Some(paused) = self.paused.take() {
            Missing::widen(&mut self.tell, paused.cause, paused.first, paused.last, paused.count);
        }
    }

    fn take_token(&mut self, now_ns: i64) -> bool {
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

/// The calls of one (members, kind): sites in registration order.
pub(crate) struct CallSet {
    /// Ticks of this set that were dispatched.
    pub(crate) seen: Arc<AtomicU64>,
    pub(crate) members: Vec<u32>,
    pub(crate) slots: Slots,
    pub(crate) sites: Vec<CallSite>,
    /// Shared batches that this set's ticks belong to.
    pub(crate) classes: Vec<u32>,
}

impl CallSet {
    #[inline]
    pub(crate) fn count_seen(&self, more: u64) {
        // Relaxed, and no locked add: the dispatching thread is the one writer.
        self.seen
            .store(self.seen.load(Ordering::Relaxed) + more, Ordering::Relaxed);
    }
}

/// One call that each tick of a set may cause.
pub(crate) struct CallSite {
    pub(crate) member: u32,
    pub(crate) enters: Enters,
    /// `None`: the member only holds the tick, for its plural handlers.
    pub(crate) call: Option<(u16, Call)>,
}

/// How a tick comes to a member's call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Enters {
    /// The member's first: counted here, when it is running.
    Counted,
    /// The member's first, and looked at for itself: `admit` decides and counts.
    Admitted,
    /// Behind another call of the same member: when that one was made and the member still runs.
    Again,
}

/// The ticks of a run that subscriptions with one filter share.
#[derive(Default)]
pub(crate) struct Class {
    /// Per kind number, counted from the run's first tick; index 0: all kinds together.
    pub(crate) ranges: Vec<Vec<(usize, usize)>>,
    pub(crate) wants: KindSet,
    /// Kinds that an `on_ticks` takes, together; 0: nobody has one.
    pub(crate) wants_all: KindSet,
}

impl Class {
    #[inline]
    pub(crate) fn push(&mut self, kind: u8, start: usize, end: usize) {
        if self.wants & kind_set(kind) != 0 {
            extend_ranges(&mut self.ranges[usize::from(kind)], start, end);
        }
        if self.wants_all & kind_set(kind) != 0 {
            extend_ranges(&mut self.ranges[0], start, end);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.ranges.iter_mut().for_each(Vec::clear);
    }
}

#[inline]
fn extend_ranges(ranges: &mut Vec<(usize, usize)>, start: usize, end: usize) {
    match ranges.last_mut() {
        Some((_, last)) if *last == start => *last = end,
        _ => ranges.push((start, end)),
    }
}

/// What `admit` decided.
enum Admitted {
    /// Call the singular handlers with the tick as it is.
    AsIs,
    /// Call them with this one: it took over flags from ticks folded into it.
    Changed(Tick),
    /// Not for this subscription, and counted.
    No,
}

/// One column of a batch that was gathered already: kind list, first and end ordinal, field.
type ColumnKey = (u32, u8, usize, usize, Field);

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
    /// The first error that must end the dispatch, once every strategy has had the tick.
    pub(crate) raised: Option<PyErr>,
    /// (handler, awaitable) of a subscription whose handlers are awaited.
    pub(crate) awaiting: Vec<(u16, Py<PyAny>)>,
    /// What runs now, for who watches: `position << 24 | member << 8 | handler + 1`, 0 for nothing.
    pub(crate) current: Arc<AtomicU64>,
    pub(crate) hooks: Py<PyAny>,
    columns: ColumnPool,
    cache: Vec<(ColumnKey, Py<PyAny>)>,
}

impl Delivery {
    pub(crate) fn new(
        names: Names,
        types: TickTypes,
        keys: StateKeys,
        plural_kinds: Vec<u8>,
        current: Arc<AtomicU64>,
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
            raised: None,
            awaiting: Vec::new(),
            current,
            hooks,
            columns: ColumnPool::default(),
            cache: Vec::new(),
        }
    }

    /// One tick to every call of its set, in registration order.
    #[inline]
    pub(crate) fn call_sites(
        &mut self,
        py: Python<'_>,
        sites: &[CallSite],
        objects: Objects<'_>,
        tick: &Tick,
        position: u64,
        index: usize,
    ) {
        let mut entered = true;
        for site in sites {
            let member = site.member as usize;
            let this = &mut self.members[member];
            entered = match site.enters {
                Enters::Counted if this.is_running() => {
                    this.shared.delivered.add(1);
                    true
                }
                Enters::Counted => {
                    this.skip_paused(position, position, 1);
                    false
                }
                Enters::Again => entered && this.is_running(),
                Enters::Admitted => match self.admit(py, member, tick, position, index) {
                    Admitted::AsIs => true,
                    Admitted::Changed(changed) => {
                        self.call_apart(py, member, &changed, position);
                        false
                    }
                    Admitted::No => false,
                },
            };
            if let Some((handler, call)) = &site.call
                && entered
            {
                self.call(py, member, *handler, call, objects, About::one(tick, position));
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

    /// Calls one handler, timed now and then, and judges what it raised.
    // Always inlined: this is the path of every tick, and its arguments are in registers already.
    #[inline(always)]
    pub(crate) fn call(
        &mut self,
        py: Python<'_>,
        member: usize,
        handler: u16,
        call: &Call,
        objects: Objects<'_>,
        about: About<'_>,
    ) {
        // Relaxed: a watcher that reads the same number twice, far apart, names the handler; nothing else hangs on it.
        self.current.store(about.mark(member, handler), Ordering::Relaxed);
        let this = &mut self.members[member];
        this.shared.calls.add(1);
        let ok = if this.sample_in > 0 && !about.batch {
            this.sample_in -= 1;
            call.call(py, objects)
        } else {
            self.call_watched(py, member, handler, call, objects, about.batch)
        };
        if !ok {
            self.fault(py, member, handler, PyErr::fetch(py), about);
        }
    }

    /// A call that is timed, or whose result is awaited; false: it raised, and the Python error is set.
    #[inline(never)]
    fn call_watched(
        &mut self,
        py: Python<'_>,
        member: usize,
        handler: u16,
        call: &Call,
        objects: Objects<'_>,
        batch: bool,
    ) -> bool {
        let this = &mut self.members[member];
        if this.options.awaited {
            // Making the awaitable takes no time worth counting; who awaits it could time it.
            let made = call.call_keeping(py, objects);
            return made.map(|awaitable| self.awaiting.push((handler, awaitable))).is_some();
        }
        let started = Instant::now();
        let ok = call.call(py, objects);
        let elapsed = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let stands_for = if batch || elapsed >= SAMPLE_ALWAYS_NS {
            1
        } else {
            SAMPLE_EVERY
        };
        this.shared.record_latency(elapsed, u64::from(stands_for));
        if !batch {
            this.sample_in = stands_for - 1;
        }
        ok
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
            Err(unexpected) => {
                // The judge itself failed (out of memory, most likely): the safe verdict, and the reason on stderr.
                unexpected.write_unraisable(py, None);
                self.quarantine(member);
            }
        }
    }

    pub(crate) fn quarantine(&mut self, member: usize) {
        let this = &mut self.members[member];
        this.shared
            .change_state(&[state::RUNNING, state::PAUSED, state::RESUMING], state::QUARANTINED);
        this.skip_held();
    }

    /// Decides about one tick for a member that is looked at for itself.
    fn admit(&mut self, py: Python<'_>, member: usize, tick: &Tick, position: u64, index: usize) -> Admitted {
        let now_ns = self.now_ns;
        let this = &mut self.members[member];
        if !this.is_running() {
            this.skip_paused(position, position, 1);
            return Admitted::No;
        }
        if position < this.skip_until {
            this.shared.skipped.add(1);
            Missing::widen(
                &mut this.tell,
                headrace_core::tick::GapCause::Lag,
                position,
                position,
                1,
            );
            this.resync = true;
            return Admitted::No;
        }
        if this.resync && tick.continues_event() {
            this.shared.skipped.add(1);
            if let Some(told) = &mut this.tell {
                (told.last, told.count) = (position, told.count + 1);
            }
            return Admitted::No;
        }
        this.resync = false;
        let mut tick = *tick;
        let mut changed = false;
        if this.options.overflow == Overflow::Conflate
            && let Some(key) = self.keys.key(&tick)
        {
            if this.newest_seq.len() <= key {
                this.newest_seq.resize(key + 1, 0);
                this.due.resize(key + 1, i64::MIN);
            }
            if self.fold.is_folded(index) || tick.seq <= this.newest_seq[key] {
                this.shared.conflated.add(1);
                return Admitted::No;
            }
            let handed_on = self.fold.handed_on(index);
            changed = handed_on & !tick.flags != 0;
            tick.flags |= handed_on;
            if this.options.min_interval_ns > 0 {
                if now_ns < this.due[key] {
                    if let Some((_, older, _)) = this.deferred.get(&key) {
                        tick.flags |= older.flags & flags::GAP_BEFORE;
                        this.shared.conflated.add(1);
                    }
                    this.deferred.insert(key, (this.due[key], tick, position));
                    return Admitted::No;
                }
                this.due[key] = now_ns.saturating_add(this.options.min_interval_ns);
                if let Some((_, older, _)) = this.deferred.remove(&key) {
                    changed |= older.flags & flags::GAP_BEFORE & !tick.flags != 0;
                    tick.flags |= older.flags & flags::GAP_BEFORE;
                    this.shared.conflated.add(1);
                }
            }
            this.newest_seq[key] = tick.seq;
        }
        if this.options.rate_limit > 0.0 && !tick.continues_event() && !this.take_token(now_ns) {
            this.shared.skipped.add(1);
            Missing::widen(
                &mut this.tell,
                headrace_core::tick::GapCause::Rate,
                position,
                position,
                1,
            );
            this.resync = true;
            return Admitted::No;
        }
        if this.options.every_ns > 0 && tick.ts_init >= this.window_end {
            self.end_window(py, member, tick.ts_init);
        }
        if self.members[member].tell.is_some() {
            self.tell(py, member, Some(&tick));
            if !self.members[member].is_running() {
                self.members[member].skip_paused(position, position, 1);
                return Admitted::No;
            }
        }
        self.hold(member, tick, position);
        if changed {
            Admitted::Changed(tick)
        } else {
            Admitted::AsIs
        }
    }

    /// Keeps an admitted tick for the plural handlers, hashes it, and counts it when a singular handler takes it.
    fn hold(&mut self, member: usize, tick: Tick, position: u64) {
        let this = &mut self.members[member];
        if let Some(hash) = &this.shared.hash {
            hash.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .update(&tick, &self.names.of(tick.instrument).text);
        }
        if this.has_plural || this.options.pull {
            this.held.push(tick, position, true);
        }
        if this.plural_only & kind_set(tick.kind) == 0 {
            this.shared.delivered.add(1);
        }
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
                Ok(objects) => self.call(py, member, handler as u16, &call, objects, About::one(tick, position)),
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
                if this.newest_seq.len() <= key {
                    this.newest_seq.resize(key + 1, 0);
                    this.due.resize(key + 1, i64::MIN);
                }
                if this.options.overflow == Overflow::Conflate {
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

    /// Hands out quotes whose interval is over at `until_ns`.
    pub(crate) fn release_deferred(&mut self, py: Python<'_>, member: usize, until_ns: i64) {
        let this = &self.members[member];
        let mut due: Vec<(i64, usize)> = this
            .deferred
            .iter()
            .filter(|(_, (due, ..))| *due <= until_ns)
            .map(|(key, (due, ..))| (*due, *key))
            .collect();
        due.sort_unstable();
        for (at, key) in due {
            let this = &mut self.members[member];
            let Some((_, tick, position)) = this.deferred.remove(&key) else {
                continue;
            };
            if !this.is_running() {
                this.skip_paused(position, position, 1);
                continue;
            }
            this.due[key] = at.max(self.now_ns).saturating_add(this.options.min_interval_ns);
            this.newest_seq[key] = tick.seq;
            self.hold(member, tick, position);
            self.call_apart(py, member, &tick, position);
        }
    }

    /// Ends the window that `ts_ns` lies beyond, and opens the one that it lies in.
    pub(crate) fn end_window(&mut self, py: Python<'_>, member: usize, ts_ns: i64) {
        let every = self.members[member].options.every_ns;
        self.flush_held(py, member, usize::MAX);
        self.members[member].window_end = ts_ns.div_euclid(every).saturating_add(1).saturating_mul(every);
    }

    /// A batch never spans a gap: what the open window holds goes out before one of its instruments'.
    pub(crate) fn cut_window(&mut self, py: Python<'_>, member: usize, first: &Tick) {
        let options = &self.members[member].options;
        let instrument = &self.names.of(first.instrument).text;
        if first.kind == kind::GAP && options.every_ns > 0 && options.filter.matches_instrument(instrument) {
            self.flush_held(py, member, usize::MAX);
        }
    }

    /// When the member's open window ends, if it holds anything.
    pub(crate) fn window_due(&self, member: usize) -> Option<i64> {
        let this = &self.members[member];
        (this.options.every_ns > 0 && !this.held.ticks.is_empty()).then_some(this.window_end)
    }

    /// The earliest moment at which a member has something to do without a new tick.
    pub(crate) fn next_due(&self) -> Option<i64> {
        let windows = (0..self.members.len()).filter_map(|member| self.window_due(member));
        let deferred = self
            .members
            .iter()
            .flat_map(|member| member.deferred.values().map(|(due, ..)| *due));
        windows.chain(deferred).min()
    }

    /// Does what is due at `until_ns`, in order of time, then of registration.
    pub(crate) fn run_due(&mut self, py: Python<'_>, until_ns: i64) {
        let mut due: Vec<(i64, usize)> = Vec::new();
        for (index, member) in self.members.iter().enumerate() {
            let window = self.window_due(index).filter(|due| *due <= until_ns);
            let deferred = member
                .deferred
                .values()
                .map(|(due, ..)| *due)
                .filter(|due| *due <= until_ns)
                .min();
            due.extend(window.into_iter().chain(deferred).min().map(|at| (at, index)));
        }
        due.sort_unstable();
        for (_, member) in due {
            self.release_deferred(py, member, until_ns);
            let has_windows = self.members[member].options.every_ns > 0;
            if !has_windows || self.window_due(member).is_some_and(|end| end <= until_ns) {
                self.flush_held(py, member, usize::MAX);
            }
        }
    }

    /// Calls plural handlers with what a private member holds, at most `limit` ticks.
    pub(crate) fn flush_held(&mut self, py: Python<'_>, member: usize, limit: usize) {
        if self.members[member].options.pull {
            return;
        }
        while self.raised.is_none() && !self.members[member].held.ticks.is_empty() {
            let this = &mut self.members[member];
            if !this.is_running() {
                this.skip_held();
                return;
            }
            let held = std::mem::take(&mut this.held);
            let length = edge_before(&held.ticks, held.ticks.len().min(limit).min(this.options.batch_max));
            this.shared.delivered.add(held.counted(length, this.plural_only));
            let mut class = Class {
                ranges: vec![Vec::new(); self.types.len() + 1],
                wants: !0,
                wants_all: self.members[member].options.every_kinds,
            };
            for (index, tick) in held.ticks[..length].iter().enumerate() {
                class.push(tick.kind, index, index + 1);
            }
            self.cache.clear();
            self.call_plural(
                py,
                member,
                u32::MAX,
                &class.ranges,
                &held.ticks,
                Positions::Each(&held.positions),
            );
            self.cache.clear();
            let this = &mut self.members[member];
            let mut rest = held;
            rest.remove_first(length);
            // A handler of ours cannot have held more meanwhile: dispatching is not reentrant.
            this.held = rest;
            if limit != usize::MAX {
                return;
            }
        }
    }

    /// The plural handlers of every member, at the end of a run; `ranges` of the shared classes are consumed.
    pub(crate) fn end_run(&mut self, py: Python<'_>, ticks: &[Tick], base: u64) {
        let mut classes = std::mem::take(&mut self.classes);
        for member in 0..self.members.len() {
            let Some(class) = self.member_class[member] else {
                let this = &self.members[member];
                let full = this.held.ticks.len() >= this.options.batch_max;
                if this.options.every_ns == 0 {
                    self.flush_held(py, member, usize::MAX);
                } else if full {
                    self.flush_held(py, member, this.options.batch_max);
                }
                continue;
            };
            let ranges = &classes[class as usize].ranges;
            let this = &mut self.members[member];
            let counted: u64 = ranges
                .iter()
                .enumerate()
                .skip(1)
                .filter(|(kind, _)| this.plural_only & kind_set(*kind as u8) != 0)
                .map(|(_, ranges)| ranges.iter().map(|(start, end)| (end - start) as u64).sum::<u64>())
                .sum();
            if !this.is_running() {
                if counted > 0 {
                    this.skip_paused(base, base + ticks.len() as u64 - 1, counted);
                }
                continue;
            }
            this.shared.delivered.add(counted);
            self.call_plural(py, member, class, ranges, ticks, Positions::From(base));
        }
        self.cache.clear();
        classes.iter_mut().for_each(Class::clear);
        self.classes = classes;
    }

    /// Ticks of the run so far that only plural handlers will count, for a member of a shared class.
    pub(crate) fn count_waiting(&self, member: usize) -> u64 {
        let this = &self.members[member];
        let Some(class) = self.member_class[member] else {
            return this.count_buffered();
        };
        let ranges = self.classes[class as usize].ranges.iter().enumerate().skip(1);
        ranges
            .filter(|(kind, _)| this.plural_only & kind_set(*kind as u8) != 0)
            .flat_map(|(_, ranges)| ranges)
            .map(|(start, end)| (end - start) as u64)
            .sum()
    }

    /// Plural handlers once per kind, then `on_ticks`; batches end on an event's edge unless it alone is too long.
    fn call_plural(
        &mut self,
        py: Python<'_>,
        member: usize,
        class: u32,
        ranges: &[Vec<(usize, usize)>],
        ticks: &[Tick],
        positions: Positions<'_>,
    ) {
        let kinds = std::mem::take(&mut self.plural_kinds);
        for (role, kind) in kinds
            .iter()
            .map(|kind| (Role::Plural(*kind), *kind))
            .chain([(Role::AllTicks, 0)])
        {
            let Some(handler) = self.members[member]
                .handlers
                .iter()
                .position(|handler| handler.role == role)
            else {
                continue;
            };
            let list = &ranges[usize::from(kind)];
            let total: usize = list.iter().map(|(start, end)| end - start).sum();
            let batch_max = self.members[member].options.batch_max;
            let mut first = 0;
            while first < total && self.members[member].is_running() {
                let end = if total - first <= batch_max {
                    total
                } else {
                    let part = cut(list, first, first + batch_max);
                    let whole = part.iter().rev().flat_map(|(start, end)| (*start..*end).rev());
                    let open = whole.take_while(|index| !ticks[*index].ends_event()).count();
                    first + if open < batch_max { batch_max - open } else { batch_max }
                };
                let part = cut(list, first, end);
                let batch = Batch {
                    ticks,
                    ranges: &part,
                    positions,
                    now_ns: self.now_ns,
                };
                self.call_batch(py, member, handler, (class, kind, first, end), &batch);
                first = end;
            }
        }
        self.plural_kinds = kinds;
    }

    fn call_batch(
        &mut self,
        py: Python<'_>,
        member: usize,
        handler: usize,
        key: (u32, u8, usize, usize),
        batch: &Batch<'_>,
    ) {
        let described = &self.members[member].handlers[handler];
        let fields = described.fields.clone();
        let call = Call::new(
            described.function.clone_ref(py),
            described.receiver.as_ref().map(|receiver| receiver.clone_ref(py)),
            (0..fields.len() as u16).collect(),
            described.keywords.as_ref().map(|keywords| keywords.clone_ref(py)),
            described.by_keyword,
        );
        let (start, _) = batch.ranges[0];
        let (_, end) = batch.ranges[batch.ranges.len() - 1];
        let about = About {
            ticks: &batch.ticks[start..end],
            positions: match batch.positions {
                Positions::From(base) => Positions::From(base + start as u64),
                Positions::Each(positions) => Positions::Each(&positions[start..end]),
            },
            batch: true,
        };
        let columns: PyResult<Vec<Py<PyAny>>> = fields
            .iter()
            .map(|field| {
                let (class, kind, first, last) = key;
                let key = (class, kind, first, last, *field);
                if let Some((_, column)) = self.cache.iter().find(|(known, _)| *known == key) {
                    return Ok(column.clone_ref(py));
                }
                let column = self.columns.gather(py, *field, kind, batch)?;
                self.cache.push((key, column.clone_ref(py)));
                Ok(column)
            })
            .collect();
        match columns {
            Ok(columns) => {
                let columns = Columns::new(columns);
                self.call(py, member, handler as u16, &call, columns.objects(), about);
            }
            Err(error) => self.fault(py, member, handler as u16, error, about),
        }
    }

    /// Looks whether a member is too far behind; warns once per episode, and jumps when that was asked for.
    pub(crate) fn watch_lag(&mut self, py: Python<'_>, member: usize, behind: u64, oldest_ns: i64, cursor: u64) {
        let this = &mut self.members[member];
        if !this.options.watches_lag() || !this.is_running() {
            return;
        }
        let lag_ns = self.now_ns.saturating_sub(oldest_ns);
        let too_far = (this.options.lag_max_ticks > 0 && behind > this.options.lag_max_ticks)
            || (this.options.lag_max_ns > 0 && lag_ns > this.options.lag_max_ns);
        if too_far && !this.lagging {
            let said = self
                .hooks
                .call_method1(py, "_on_lag", (this.shared.name.as_str(), behind, lag_ns));
            if let Err(error) = said {
                error.write_unraisable(py, None);
            }
        }
        this.lagging = too_far;
        if too_far && this.options.lag_skip {
            // The newest tick itself is kept: a consumer that jumps wants the present.
            this.skip_until = cursor.saturating_sub(1);
        }
    }
}

/// What a call is about: for dead letters and for who watches.
#[derive(Clone, Copy)]
pub(crate) struct About<'a> {
    pub(crate) ticks: &'a [Tick],
    pub(crate) positions: Positions<'a>,
    pub(crate) batch: bool,
}

impl<'a> About<'a> {
    #[inline]
    pub(crate) fn one(tick: &'a Tick, position: u64) -> Self {
        Self {
            ticks: std::slice::from_ref(tick),
            positions: Positions::From(position),
            batch: false,
        }
    }

    #[inline]
    fn mark(&self, member: usize, handler: u16) -> u64 {
        self.positions.of(0) << 24 | (member as u64 & 0xffff) << 8 | (u64::from(handler & 0xff) + 1)
    }
}

/// The call of one handler with slots of its own.
fn compile_alone(py: Python<'_>, handler: &Handler) -> (Slots, Call) {
    let call = Call::new(
        handler.function.clone_ref(py),
        handler.receiver.as_ref().map(|receiver| receiver.clone_ref(py)),
        (0..handler.fields.len() as u16).collect(),
        handler.keywords.as_ref().map(|keywords| keywords.clone_ref(py)),
        handler.by_keyword,
    );
    (Slots::new(&handler.fields, false), call)
}

/// The part of index ranges between two ordinals.
fn cut(ranges: &[(usize, usize)], first: usize, end: usize) -> Vec<(usize, usize)> {
    let mut at = 0;
    let mut part = Vec::new();
    for (start, stop) in ranges {
        let length = stop - start;
        let from = first.clamp(at, at + length) - at;
        let to = end.clamp(at, at + length) - at;
        if from < to {
            part.push((start + from, start + to));
        }
        at += length;
    }
    part
}

/// The longest prefix of at most `length` ticks that ends on an event's edge; `length` when none does.
pub(crate) fn edge_before(ticks: &[Tick], length: usize) -> usize {
    if length == ticks.len() {
        return length;
    }
    (1..=length)
        .rev()
        .find(|end| ticks[end - 1].ends_event())
        .unwrap_or(length)
}
