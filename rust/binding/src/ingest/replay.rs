//! The replay's rule: each time T is resolved before T + 1 begins.
//!
//! ```text
//!   due ≤ T? ─▶ ALARM     items of T ─▶ publish ─▶ dispatch until idle ─▶ bus or bars? DRAIN ─▶ awaited? ASYNC
//!                             ▲                          │
//!                             └── nothing else to do ────┘      from T to T inside of one dispatch
//! ```
//! Guarantees: nothing of T + 1 is numbered or published while something of T is left to do, natively or in Python; so
//! nothing that can be looked at is ahead of the handlers.
//! Does not: fire timers or drain the bus: it returns, and is called again.

use std::sync::atomic::Ordering;
use std::time::Instant;

use headrace_core::ingest::merge::Peek;
use headrace_core::market::tick::Tick;
use pyo3::prelude::*;

use super::ingest_core::IngestCore;
use super::looks::Looks;
use super::now::Now;
use super::publisher::Publisher;
use super::publishing::Publishing;
use super::pump_status::PumpStatus;
use super::sources::Sources;
use crate::bus::BusCore;
use crate::clock::{NEVER, ReplayTime};
use crate::dispatch::{Ahead, Backlog, Bounds, Onward, Quiet};
use crate::thread::this_thread;

/// Ticks that are looked at at least, when they may pass at once.
const TICKS_AHEAD_MIN: usize = 16;

/// What a replay has open.
#[derive(Default)]
pub(crate) struct Resolving {
    /// Published at T, not yet dispatched.
    open: Option<i64>,
    /// Some of T was numbered inside of a dispatch, and has no room on the ring until that ends.
    waits: bool,
    looks: Looks,
    /// Published at once, last; and how many ticks are looked at for the next time: few at first, so that those are not
    /// looked at again and again where something stands between them.
    ahead: Vec<Tick>,
    looks_ahead: usize,
}

/// What a replay checks between two times.
pub(crate) struct Surroundings<'a> {
    pub(crate) core: &'a IngestCore,
    pub(crate) time: &'a ReplayTime,
    pub(crate) bus: Option<&'a BusCore>,
}

/// How far publishing came.
enum Reached {
    /// All of this time is published: it is to be dispatched.
    Time(i64),
    /// Something else comes first.
    Left(PumpStatus, i64),
    /// It goes on when the dispatch that it was called from has ended.
    Outside,
}

/// From where publishing was called.
enum Place<'a> {
    Outside,
    /// A dispatch that is caught up, and cannot be dispatched to make room; it may take ticks from here and not from the
    /// ring.
    Inside(Option<&'a mut Backlog>),
}

/// What a dispatch goes on with: the times of the sources.
struct Times<'a, 'py> {
    py: Python<'py>,
    resolving: &'a mut Resolving,
    sources: &'a mut Sources,
    around: &'a Surroundings<'a>,
    until_ns: i64,
    /// Why it ended.
    ended: PyResult<Reached>,
}

impl Onward for Times<'_, '_> {
    fn time(&mut self, backlog: Option<&mut Backlog>) -> Option<i64> {
        let Self {
            py,
            resolving,
            sources,
            around,
            until_ns,
            ..
        } = self;
        match resolving.reach(*py, sources, around, *until_ns, Place::Inside(backlog)) {
            Ok(Reached::Time(next_ns)) => Some(next_ns),
            other => {
                self.ended = other;
                None
            }
        }
    }

    #[inline(always)] // With every time of a replay.
    fn tick(&mut self, tick: &mut Tick) -> bool {
        let around = self.around;
        if !self.resolving.goes_on_inside(around.core) {
            return false;
        }
        let (py, until_ns) = (self.py, self.until_ns);
        self.sources.pass_alone(|next| {
            let next_ns = next.ts_init;
            if next_ns > until_ns || !around.is_free_until(next_ns) {
                return false;
            }
            let Ok(mut publisher) = Publisher::begin(py, around.core) else {
                return false;
            };
            let passed = publisher.pass(next, tick);
            if passed {
                around.time.move_to(next_ns);
            }
            passed
        })
    }

    fn ahead(&mut self, mut quiet: Quiet<'_>) -> Option<Ahead<'_>> {
        let Self {
            py,
            resolving,
            sources,
            around,
            until_ns,
            ..
        } = self;
        let expected = resolving.publish_ahead(*py, sources, around, *until_ns, &mut quiet)?;
        let (ticks, rest) = resolving.ahead.split_at(expected);
        Some(Ahead {
            ticks,
            rest,
            now_ns: around.time.now(),
        })
    }
}

impl Resolving {
    /// Goes on as far as it can, not beyond `until_ns`, and about until `ends`.
    pub(crate) fn run(
        &mut self,
        py: Python<'_>,
        sources: &mut Sources,
        around: &Surroundings<'_>,
        (until_ns, ends): (i64, Option<Instant>),
    ) -> PyResult<(PumpStatus, i64)> {
        self.looks.begin(ends);
        loop {
            let mut reached = self.reach(py, sources, around, until_ns, Place::Outside)?;
            while let Reached::Time(now_ns) = reached {
                reached = self.resolve(py, sources, around, until_ns, now_ns)?;
            }
            if let Reached::Left(status, argument) = reached {
                return Ok((status, argument));
            }
        }
    }

    /// Dispatches what was published at T, and goes on from time to time while only ticks are due.
    fn resolve(
        &mut self,
        py: Python<'_>,
        sources: &mut Sources,
        around: &Surroundings<'_>,
        until_ns: i64,
        now_ns: i64,
    ) -> PyResult<Reached> {
        let core = around.core;
        let groups = core.inline_groups();
        let [group] = &groups[..] else {
            core.dispatch_inline(py, &Now::At(now_ns))?;
            return Ok(Reached::Outside);
        };
        group.set_thread(this_thread());
        let mut times = Times {
            py,
            resolving: self,
            sources,
            around,
            until_ns,
            ended: Ok(Reached::Outside),
        };
        if let Some(dispatched) = group.dispatch_on(py, now_ns, Bounds::NONE, &mut times) {
            dispatched?;
        }
        times.ended
    }

    /// Whether a dispatch may go on with a time that nothing is published of yet. Now and then it may not, so that
    /// `reach`, which comes next, counts this item and looks for signals.
    #[inline(always)] // With every time of a replay.
    fn goes_on_inside(&mut self, core: &IngestCore) -> bool {
        // Relaxed: a stop takes effect soon, and orders nothing.
        let is_stopped = core.stop.load(Ordering::Relaxed);
        !(is_stopped || self.open.is_some() || self.waits) && core.has_one_group() && self.looks.pass()
    }

    /// Publishes what comes before anything is due, as far as it is quiet, into `ahead`; and with it the first time that
    /// is not. Returns how many ticks come before that.
    fn publish_ahead(
        &mut self,
        py: Python<'_>,
        sources: &mut Sources,
        around: &Surroundings<'_>,
        until_ns: i64,
        quiet: &mut Quiet<'_>,
    ) -> Option<usize> {
        let core = around.core;
        if !self.goes_on_inside(core) || core.has_consumers() {
            return None;
        }
        let next_ns = sources.whole_time()?;
        if around.left_to_do(Some(next_ns.min(until_ns))).is_some() {
            return None;
        }
        let due_ns = around.time.alarm_ns().min(core.bars.due_ns());
        let end_ns = quiet.end_ns(next_ns).min(due_ns).min(until_ns.saturating_add(1));
        let mut publisher = Publisher::begin(py, core).ok()?;
        let ticks_max = self.looks_ahead.clamp(TICKS_AHEAD_MIN, Quiet::TICKS_MAX);
        self.looks_ahead = 0;
        let numbered = sources.number_ahead(&mut publisher, (end_ns, ticks_max), quiet)?;
        if 2 * numbered.taken > ticks_max {
            self.looks_ahead = 2 * ticks_max;
        }
        let is_sent = publisher.send_at_once();
        debug_assert!(is_sent, "no more than there was room for");
        std::mem::swap(&mut self.ahead, &mut publisher.working.outgoing);
        around.time.move_to(numbered.last_ns);
        Some(numbered.expected)
    }

    /// Publishes the items of the next time, until that is whole.
    #[inline(always)] // With every time of a replay.
    fn reach(
        &mut self,
        py: Python<'_>,
        sources: &mut Sources,
        around: &Surroundings<'_>,
        until_ns: i64,
        mut place: Place<'_>,
    ) -> PyResult<Reached> {
        let core = around.core;
        loop {
            // Relaxed: a stop takes effect soon, and orders nothing.
            if core.stop.load(Ordering::Relaxed) {
                return Ok(Reached::Left(PumpStatus::Stopped, 0));
            }
            if self.looks.count() {
                py.check_signals()?;
            }
            if self.waits {
                self.waits = false;
                let now = Now::At(around.time.now());
                Publisher::begin(py, core)?.send_waiting(&mut Publishing::new(0, &now))?;
            }
            let whole = if self.open.is_none() {
                sources.whole_time()
            } else {
                None
            };
            let next = match whole {
                Some(ts_init) => Ok(Peek::At(ts_init)),
                None => sources.peek(py),
            };
            let next = match next {
                Ok(Peek::At(ts_init)) => Some(ts_init),
                Ok(Peek::Need(source)) => return Ok(Reached::Left(PumpStatus::Need, source as i64)),
                Err(error) if self.open.is_none() => return Err(error),
                Ok(Peek::End) | Err(_) => None,
            };
            let next = match self.comes_first(around, next, until_ns) {
                Ok(next) => next,
                Err(first) => return Ok(first),
            };
            if matches!(place, Place::Inside(_)) && !core.has_one_group() {
                return Ok(Reached::Outside);
            }
            around.time.move_to(next);
            if let Some(reached) = self.publish(py, sources, core, (next, whole.is_some()), &mut place)? {
                return Ok(reached);
            }
        }
    }

    /// The time of the next item, or what comes before it.
    #[inline(always)] // With every time of a replay.
    fn comes_first(&mut self, around: &Surroundings<'_>, next: Option<i64>, until_ns: i64) -> Result<i64, Reached> {
        match self.open {
            Some(open) if next.is_none_or(|next| next > open) => {
                self.open = None;
                return Err(Reached::Time(open));
            }
            Some(_) => {}
            None => {
                if let Some((status, argument)) = around.left_to_do(next.map(|next| next.min(until_ns))) {
                    return Err(Reached::Left(status, argument));
                }
                if next.is_some() && self.looks.is_over() {
                    return Err(Reached::Left(PumpStatus::Paused, 0));
                }
            }
        }
        match next {
            None => Err(Reached::Left(PumpStatus::End, 0)),
            Some(next) if next > until_ns => Err(Reached::Left(PumpStatus::Until, next)),
            Some(next) => Ok(next),
        }
    }

    /// Publishes the next item; `None`: more may come at its time.
    #[inline(always)] // With every time of a replay.
    fn publish(
        &mut self,
        py: Python<'_>,
        sources: &mut Sources,
        core: &IngestCore,
        (next, is_whole): (i64, bool),
        place: &mut Place<'_>,
    ) -> PyResult<Option<Reached>> {
        let mut publisher = Publisher::begin(py, core)?;
        if is_whole {
            sources.number_time(&mut publisher)?;
        } else {
            sources.number_next(&mut publisher)?;
        }
        if publisher.send_at_once() {
            if let Place::Inside(Some(backlog)) = place {
                backlog.extend(&publisher.working.outgoing);
            }
            if is_whole {
                return Ok(Some(Reached::Time(next)));
            }
            self.open = Some(next);
            return Ok(None);
        }
        self.open = Some(next);
        if matches!(place, Place::Inside(_)) {
            publisher.keep_outgoing();
            self.waits = true;
            return Ok(Some(Reached::Outside));
        }
        let now = Now::At(next);
        let mut publishing = Publishing::new(publisher.working.outgoing.len(), &now);
        publisher.send_numbered(&mut publishing)?;
        publishing.end()?;
        Ok(None)
    }
}

impl Surroundings<'_> {
    /// Whether a tick of `next_ns`, which is behind now, comes before everything else: `left_to_do` without what it says.
    #[inline(always)] // With every time of a replay.
    fn is_free_until(&self, next_ns: i64) -> bool {
        let bars = &self.core.bars;
        let has_work = self.bus.is_some_and(BusCore::has_ready_now) || bars.has_closed();
        !has_work && !self.core.has_consumers_behind() && self.time.alarm_ns().min(bars.due_ns()) > next_ns
    }

    /// What is left to do before the ticks of `next_ns`. `next_ns` is `None` when no more ticks come: then only what is
    /// due already is left.
    #[inline(always)] // A few loads and comparisons, with every time of a replay.
    fn left_to_do(&self, next_ns: Option<i64>) -> Option<(PumpStatus, i64)> {
        let now_ns = self.time.now();
        let bars = &self.core.bars;
        if self.bus.is_some_and(BusCore::has_ready_now) || bars.has_closed() {
            return Some((PumpStatus::Drain, now_ns));
        }
        if self.core.has_consumers_behind() {
            return Some((PumpStatus::Async, 0));
        }
        let due_ns = self.time.alarm_ns().min(bars.due_ns());
        let by_ns = if due_ns <= now_ns { Some(now_ns) } else { next_ns };
        by_ns
            .filter(|by_ns| due_ns <= *by_ns && due_ns != NEVER)
            .map(|by_ns| (PumpStatus::Alarm, by_ns))
    }
}
