//! Admission: what becomes of a tick of a member that is looked at for itself.
//!
//! ```text
//!   paused? ─▶ jumped over? ─▶ lost event? ─▶ folded? ─▶ interval? ─▶ rate? ─▶ window? ─▶ held, called
//! ```
//! Guarantees: a tick is counted in exactly one term of the loss law; a loss is told before the next admitted tick.
//! Does not: see the ticks of members without options of their own.

use crate::lock::lock;
use headrace_core::market::field::kind_set;
use headrace_core::market::kind;
use headrace_core::market::tick::{GapCause, Tick, flags};
use pyo3::prelude::*;

use super::delivery::Delivery;
use super::options::Overflow;
use super::subscription::Missing;

/// What `admit` decided.
pub(super) enum Admitted {
    /// Call the singular handlers with the tick as it is.
    AsIs,
    /// Call them with this one: it took over flags from ticks folded into it.
    Changed(Tick),
    /// Not for this subscription, and counted.
    No,
}

impl Delivery {
    /// Decides about one tick for a member that is looked at for itself.
    pub(super) fn admit(
        &mut self,
        py: Python<'_>,
        member: usize,
        tick: &Tick,
        position: u64,
        index: usize,
    ) -> Admitted {
        let now_ns = self.now_ns;
        let this = &mut self.members[member];
        if !this.is_running() {
            this.withhold(position, position, 1);
            return Admitted::No;
        }
        if position < this.skip_until {
            this.shared.skipped.add(1);
            Missing::widen(&mut this.tell, GapCause::Lag, position, position, 1);
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
        if this.options.tuning.overflow == Overflow::Conflate
            && let Some(key) = self.keys.key(&tick)
        {
            this.know_key(key);
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
            Missing::widen(&mut this.tell, GapCause::Rate, position, position, 1);
            this.resync = true;
            return Admitted::No;
        }
        if this.options.every_ns > 0 && tick.ts_init >= this.window_end {
            self.end_window(py, member, tick.ts_init);
        }
        if self.members[member].tell.is_some() {
            self.tell(py, member, Some(&tick));
            if !self.members[member].is_running() {
                self.members[member].withhold(position, position, 1);
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
    pub(super) fn hold(&mut self, member: usize, tick: Tick, position: u64) {
        let this = &mut self.members[member];
        if let Some(hash) = &this.shared.hash {
            lock(hash).update(&tick, &self.names.of(tick.instrument).text);
        }
        if this.has_plural || this.options.pull {
            this.held.push(tick, position, true);
        }
        if this.plural_only & kind_set(tick.kind) == 0 {
            this.shared.delivered.add(1);
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
                this.withhold(position, position, 1);
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
        if !self.is_timed {
            return;
        }
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

    /// Looks whether a member is too far behind; warns once per episode, and jumps when that was asked for.
    pub(crate) fn watch_lag(&mut self, py: Python<'_>, member: usize, behind: u64, oldest_ns: i64, cursor: u64) {
        let this = &mut self.members[member];
        if !this.options.watches_lag() || !this.is_running() {
            return;
        }
        let lag_ns = self.now_ns.saturating_sub(oldest_ns);
        let too_far = (this.options.tuning.lag_max_ticks > 0 && behind > this.options.tuning.lag_max_ticks)
            || (this.options.tuning.lag_max_ns > 0 && lag_ns > this.options.tuning.lag_max_ns);
        if too_far && !this.lagging {
            let said = self
                .hooks
                .call_method1(py, "_on_lag", (this.shared.name.as_str(), behind, lag_ns));
            if let Err(error) = said {
                error.write_unraisable(py, None);
            }
        }
        this.lagging = too_far;
        if too_far && this.options.tuning.lag_skip {
            // The newest tick itself is kept: a consumer that jumps wants the present.
            this.skip_until = cursor.saturating_sub(1);
        }
    }
}
