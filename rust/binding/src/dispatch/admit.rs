//! Admission: what becomes of a tick of a member that is looked at for itself.
//!
//! ```text
//!   paused? ─▶ jumped over? ─▶ lost event? ─▶ folded? ─▶ interval? ─▶ rate? ─▶ window? ─▶ held, called
//! ```
//! Guarantees: a tick is counted in exactly one term of the loss law; a loss is reported before the next admitted tick.
//! Does not: see the ticks of members without options of their own.

use headrace_core::limits::WINDOW_TICKS_MAX;
use headrace_core::market::kind::kind_set;
use headrace_core::market::tick::{GapCause, Tick, flags};
use pyo3::intern;
use pyo3::prelude::*;

use super::about::About;
use super::delivery::Delivery;
use super::member::StateOf;
use super::subscription::widen;
use super::window::Window;
use crate::hot::python_call::call_method;
use crate::lock::lock;

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
        if !this.shared.takes(tick.instrument) {
            this.withhold(position, position, 1);
            return Admitted::No;
        }
        if position < this.skip_until {
            this.shared.skipped.add(1);
            widen(&mut this.lost, GapCause::Lag, position, position, 1);
            this.resync = true;
            return Admitted::No;
        }
        if this.resync && tick.continues_event() {
            this.shared.skipped.add(1);
            if let Some(lost) = &mut this.lost {
                (lost.last, lost.missing) = (position, lost.missing + 1);
            }
            return Admitted::No;
        }
        this.resync = false;
        let mut admitted = *tick;
        if this.conflates()
            && let Some(key) = self.keys.key(tick)
            && !self.admit_newest(member, key, &mut admitted, position, index)
        {
            return Admitted::No;
        }
        let this = &mut self.members[member];
        if this.options.rate_limit > 0.0 && !admitted.continues_event() && !this.take_token(now_ns) {
            this.shared.skipped.add(1);
            widen(&mut this.lost, GapCause::Rate, position, position, 1);
            this.resync = true;
            return Admitted::No;
        }
        if this.options.every_ns > 0 && admitted.ts_init >= this.window_end {
            self.end_window(py, member, admitted.ts_init);
        }
        let this = &self.members[member];
        let held = this.window.as_ref().map_or(0, Window::len);
        if held >= WINDOW_TICKS_MAX && !admitted.continues_event() {
            self.flush_part(py, member);
        }
        if self.members[member].lost.is_some() {
            self.report_loss(py, member, Some(&admitted));
        }
        // The handlers that were called with the window, or the gap, may have paused it.
        if !self.members[member].shared.takes(tick.instrument) {
            self.members[member].withhold(position, position, 1);
            return Admitted::No;
        }
        self.hold(py, member, admitted, position);
        if admitted.flags == tick.flags {
            Admitted::AsIs
        } else {
            Admitted::Changed(admitted)
        }
    }

    /// Decides about a quote for a member that conflates; false: it was folded, or waits for its interval.
    ///
    /// An admitted one takes over the flags of those folded into it.
    fn admit_newest(&mut self, member: usize, key: usize, tick: &mut Tick, position: u64, index: usize) -> bool {
        let now_ns = self.now_ns;
        let this = &mut self.members[member];
        let interval_ns = this.options.min_interval_ns;
        let state = this.state_of(key);
        if self.fold.is_folded(index) || tick.seq <= state.newest_seq {
            if !tick.may_be_newest() {
                state.handed_on |= tick.flags & flags::GAP_BEFORE;
            }
            this.shared.conflated.add(1);
            return false;
        }
        tick.flags |= self.fold.handed_on(index) | std::mem::take(&mut state.handed_on);
        if interval_ns > 0 {
            let due = state.due;
            if let Some((_, older, _)) = this.deferred.remove(&key) {
                tick.flags |= older.flags & flags::GAP_BEFORE;
                this.shared.conflated.add(1);
            }
            if now_ns < due {
                this.deferred.insert(key, (due, *tick, position));
                self.attend(member);
                return false;
            }
        }
        *this.state_of(key) = StateOf {
            newest_seq: tick.seq,
            due: now_ns.saturating_add(interval_ns),
            handed_on: 0,
        };
        true
    }

    /// Keeps an admitted tick for the plural handlers, hashes it, and counts it when a singular handler takes it.
    pub(super) fn hold(&mut self, py: Python<'_>, member: usize, tick: Tick, position: u64) {
        let this = &mut self.members[member];
        if let Some(hash) = &this.shared.hash {
            lock(hash).update(&tick, &self.names.of(tick.instrument).text);
        }
        if this.plural_only & kind_set(tick.kind) == 0 {
            this.shared.delivered.add(1);
        }
        if this.takes_batches() {
            self.keep(py, member, &tick, position, true);
        }
    }

    /// Keeps a tick for the plural handlers; `is_counted`: it is a position of the ring.
    pub(super) fn keep(&mut self, py: Python<'_>, member: usize, tick: &Tick, position: u64, is_counted: bool) {
        let this = &mut self.members[member];
        let Some(window) = &mut this.window else {
            this.held.push(*tick, position, is_counted);
            self.attend(member);
            return;
        };
        let is_first = window.is_empty();
        let pushed = window.push(py, (&mut self.columns, &self.names), (tick, position), is_counted);
        if is_counted && this.plural_only & kind_set(tick.kind) != 0 {
            this.unsettled += 1;
            if this.unsettled == 1 {
                self.attention.fresh.push(member as u32);
            }
        }
        if is_first {
            self.note_window(member);
        }
        if let Err((handler, error)) = pushed {
            self.fault(py, member, handler as u16, error, About::one(tick, position));
        }
    }

    /// Checks whether a member is too far behind: warns once per episode, and jumps if its options say so.
    pub(crate) fn watch_lag(&mut self, py: Python<'_>, member: usize, behind: u64, oldest_ns: i64, cursor: u64) {
        let this = &mut self.members[member];
        if !this.options.watches_lag() || !this.is_running() {
            return;
        }
        let lag_ns = self.now_ns.saturating_sub(oldest_ns);
        let too_far = (this.options.tuning.lag_max_ticks > 0 && behind > this.options.tuning.lag_max_ticks)
            || (this.options.tuning.lag_max_ns > 0 && lag_ns > this.options.tuning.lag_max_ns);
        if too_far && !this.lagging {
            let arguments = (this.shared.name.as_str(), behind, lag_ns);
            let said = call_method(self.hooks.bind(py), intern!(py, "_on_lag"), arguments);
            if let Err(error) = said {
                error.write_unraisable(py, None);
            }
        }
        this.lagging = too_far;
        if too_far && this.options.tuning.lag_skip {
            // The newest tick itself is kept: a jump is to the present.
            this.skip_until = cursor.saturating_sub(1);
        }
    }
}
