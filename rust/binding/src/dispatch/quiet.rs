//! Quiet ticks: those that no handler is called with now, so that many times may pass at once.
//!
//! ```text
//!   block ─▶ takes? takes? takes? … no ─▶ numbered, published ─▶ pass_quietly: columns of windows, counters
//!                                    └ the end of a window, an alarm, a bar, another source, a handler's tick
//! ```
//! A tick is quiet when every running member of its set has nothing but an open window for it, and members that do not
//! run only count it. While ticks pass that are quiet no Python code runs, so nothing can look at the state in between.
//!
//! Guarantees: what a run shows is what it shows when each time is passed by itself (`tests/replay/test_bound.py`).
//! Does not: pass a tick of a book, a gap, a batch, or an event of several ticks; or one for a member that folds,
//! counts its rate, or is owed something.

use headrace_core::fan_out::plan::Plan;
use headrace_core::limits::WINDOW_TICKS_MAX;
use headrace_core::market::kind::{self, kind_set};
use headrace_core::market::tick::Tick;
use pyo3::prelude::*;

use super::call_set::{CallSet, CallSite, Enters};
use super::delivery::Delivery;
use super::group_state::{GroupState, SPAN_TICKS};
use super::member::Member;
use super::subscription::state;
use super::window::Window;
use crate::lock::lock;

/// Which ticks may pass a group at once; it is caught up.
pub(crate) struct Quiet<'a> {
    plan: &'a Plan,
    sets: &'a [CallSet],
    delivery: &'a mut Delivery,
    /// The set that the last tick was of, and those of all ticks that may pass.
    known: Option<u32>,
    sets_ahead: Vec<u32>,
}

impl Quiet<'_> {
    /// Ticks that pass at once at most: until the next look for signals.
    pub(crate) const TICKS_MAX: usize = SPAN_TICKS;

    /// Whether this tick may pass.
    #[inline]
    pub(crate) fn takes(&mut self, tick: &Tick) -> bool {
        if tick.kind == kind::GAP || !tick.ends_event() {
            return false;
        }
        let Some(set) = self.plan.set_of(tick) else {
            return false;
        };
        self.known == Some(set) || self.takes_set(set)
    }

    #[cold]
    fn takes_set(&mut self, set: u32) -> bool {
        if !self.sets_ahead.contains(&set) {
            if !self.delivery.is_quiet(&self.sets[set as usize]) {
                return false;
            }
            self.sets_ahead.push(set);
        }
        self.known = Some(set);
        true
    }

    /// Where the next window ends, or may end, behind this time: before it no window does.
    pub(crate) fn end_ns(&self, now_ns: i64) -> i64 {
        let attention = &self.delivery.attention;
        let lengths = attention.window_lengths.iter();
        let ends = lengths.map(|every_ns| window_end(now_ns, *every_ns));
        ends.fold(attention.window_due_ns, i64::min)
    }

    /// Makes room in all windows for so many ticks that may pass; false: there is no memory, and the next call of a
    /// handler will say so.
    pub(crate) fn makes_room(&mut self, py: Python<'_>, count: usize) -> bool {
        let Delivery { members, columns, .. } = &mut *self.delivery;
        self.sets_ahead.iter().all(|set| {
            let kind = self.plan.sets()[*set as usize].0;
            let sites = self.sets[*set as usize].sites.iter();
            sites.filter(|site| site.is_running()).all(|site| {
                let window = members[site.member as usize].window.as_mut();
                window.is_none_or(|window| window.reserve(py, columns, kind, count).is_ok())
            })
        })
    }
}

/// The end of the window that this time lies in.
pub(super) fn window_end(ts_ns: i64, every_ns: i64) -> i64 {
    ts_ns.div_euclid(every_ns).saturating_add(1).saturating_mul(every_ns)
}

impl CallSite {
    #[inline]
    fn is_running(&self) -> bool {
        self.shared.is_running()
    }
}

impl Member {
    /// Whether its next ticks only go into its window.
    fn only_fills_its_window(&self) -> bool {
        let has_room = |window: &Window| window.len() + Quiet::TICKS_MAX <= WINDOW_TICKS_MAX;
        self.window.as_ref().is_some_and(has_room)
            && self.lost.is_none()
            && !self.resync
            && self.skip_until == 0
            && self.options.rate_limit == 0.0
            && !self.conflates()
    }
}

impl Delivery {
    /// Whether no handler is called with a tick of this set.
    fn is_quiet(&self, set: &CallSet) -> bool {
        let is_quiet = |site: &CallSite| {
            !site.is_running()
                || (site.enters == Enters::Admitted
                    && site.shared.state() == state::RUNNING
                    && site.call.is_none()
                    && self.members[site.member as usize].only_fills_its_window())
        };
        set.is_compiled && !set.feeds_books && set.classes.is_empty() && set.sites.iter().all(is_quiet)
    }

    /// Passes ticks of one set, positions from `first` on, to a member that does not take them now.
    fn fill_window(&mut self, py: Python<'_>, member: usize, ticks: &[Tick], first: u64) {
        let (kind, count) = (ticks[0].kind, ticks.len() as u64);
        if ticks[0].ts_init >= self.members[member].window_end {
            // It was empty: none ends among these ticks.
            self.end_window(py, member, ticks[0].ts_init);
        }
        let this = &mut self.members[member];
        if let Some(hash) = &this.shared.hash {
            let mut hash = lock(hash);
            for tick in ticks {
                hash.update(tick, &self.names.of(tick.instrument).text);
            }
        }
        let is_plural = this.plural_only & kind_set(kind) != 0;
        if !is_plural {
            this.shared.delivered.add(count);
        }
        let Some(window) = &mut this.window else { return };
        let is_first = window.is_empty();
        window.extend(&self.names, ticks, first);
        if is_plural {
            if this.unsettled == 0 {
                self.attention.fresh.push(member as u32);
            }
            this.unsettled += count;
        }
        if is_first {
            self.note_window(member);
        }
    }
}

impl GroupState {
    /// What may pass at once; `None`: something is to be looked at first. The backlog is used up.
    pub(super) fn quiet(&mut self) -> Option<Quiet<'_>> {
        let is_calm = !self.is_stale
            && !self.owes_newest
            && self.delivery.needs_no_walk()
            && !self.delivery.watches_lag()
            && !self.delivery.has_due(self.delivery.now_ns);
        is_calm.then_some(Quiet {
            plan: &self.plan,
            sets: &self.sets,
            delivery: &mut self.delivery,
            known: None,
            sets_ahead: Vec::new(),
        })
    }

    /// Passes the ticks of the backlog, which are quiet, and are the first at and behind its base.
    pub(super) fn pass_quietly(&mut self, py: Python<'_>, ticks: &[Tick]) {
        let Self {
            base,
            plan,
            sets,
            delivery,
            ..
        } = self;
        let mut at = 0;
        while let Some(tick) = ticks.get(at) {
            let set_id = plan.set_of(tick);
            let run = &ticks[at..];
            let count = run.iter().take_while(|tick| plan.set_of(tick) == set_id).count();
            let (run, first) = (&run[..count], *base + at as u64);
            let set = &mut sets[set_id.expect("it was looked up before") as usize];
            set.count_seen(count as u64);
            for site in &set.sites {
                let member = site.member as usize;
                match site.enters {
                    Enters::Again | Enters::Apart => {}
                    _ if site.is_running() => delivery.fill_window(py, member, run, first),
                    _ => delivery.members[member].withhold(first, first + count as u64 - 1, count as u64),
                }
            }
            at += count;
        }
        *base += ticks.len() as u64;
    }
}
