//! What is owed to a member before its next tick: the gap of what it lost, and the newest quotes.
//!
//! Guarantees: a gap and a snapshot are no positions of the ring, and are counted apart.
//! Does not: decide when; that is the span's opening.

use headrace_core::market::kind::{self, kind_set};
use headrace_core::market::tick::{NO_INSTRUMENT, Tick, flags};
use pyo3::prelude::*;

use super::delivery::Delivery;
use super::handler::Role;

impl Delivery {
    /// Tells a member what it did not get, before `next` (or now, when there is no next tick yet).
    pub(crate) fn report_loss(&mut self, py: Python<'_>, member: usize, next: Option<&Tick>) {
        let Some(missing) = self.members[member].lost.take() else {
            return;
        };
        self.flush_part(py, member);
        let unplaced = Tick {
            flags: flags::NO_VENUE_TIME,
            ts_init: self.now_ns,
            ..Tick::default()
        };
        let tick = Tick {
            instrument: NO_INSTRUMENT,
            ..missing.before(next.unwrap_or(&unplaced))
        };
        let this = &mut self.members[member];
        let kinds = if this.options.pull {
            this.options.filter.kinds
        } else {
            this.options.every_kinds
        };
        let plural = this.options.pull || this.handlers.iter().any(|handler| handler.role == Role::AllTicks);
        if plural && kinds & kind_set(kind::GAP) != 0 {
            self.keep(py, member, &tick, missing.last + 1, false);
        }
        self.call_apart(py, member, &tick, missing.last + 1);
    }

    /// Gives a member the newest quotes, flagged SNAPSHOT: they are no positions, and are counted apart.
    pub(crate) fn deliver_snapshots(&mut self, py: Python<'_>, member: usize, newest: &[Tick]) {
        for tick in newest {
            let this = &mut self.members[member];
            let filter = &this.options.filter;
            let text = &self.names.of(tick.instrument).text;
            if !this.shared.takes(tick.instrument)
                || filter.kinds & kind_set(tick.kind) == 0
                || !filter.matches_instrument(text)
            {
                continue;
            }
            let mut handed_on = 0;
            if let Some(key) = self.keys.key(tick)
                && this.conflates()
            {
                let due = self.now_ns.saturating_add(this.options.min_interval_ns);
                let state = this.state_of(key);
                if tick.seq <= state.newest_seq {
                    continue;
                }
                (state.newest_seq, state.due) = (tick.seq, state.due.max(due));
                handed_on = std::mem::take(&mut state.handed_on);
                if let Some((_, older, _)) = this.deferred.remove(&key) {
                    // What waited for its interval is folded into the newest.
                    handed_on |= older.flags & flags::GAP_BEFORE;
                    this.shared.conflated.add(1);
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
                self.keep(py, member, &tick, 0, false);
            }
            self.call_apart(py, member, &tick, 0);
        }
        if self.members[member].options.every_ns == 0 {
            self.flush_held(py, member);
        }
    }
}
