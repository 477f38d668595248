//! What is due without a new tick: windows that end, and quotes whose interval is over.
//!
//! Guarantees: in order of time, then of registration.
//! Does not: read a clock; `now_ns` is given.

use std::collections::BTreeMap;

use headrace_core::market::kind;
use headrace_core::market::tick::Tick;
use pyo3::prelude::*;

use super::delivery::Delivery;
use super::quiet::window_end;
use crate::clock::NEVER;

impl Delivery {
    /// Delivers quotes whose interval is over at `until_ns`.
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
            let due = at.max(self.now_ns).saturating_add(this.options.min_interval_ns);
            let state = this.state_of(key);
            (state.newest_seq, state.due) = (tick.seq, due);
            self.hold(py, member, tick, position);
            self.call_apart(py, member, &tick, position);
        }
    }

    /// Ends the window that `ts_ns` lies beyond, and opens the one that it lies in.
    pub(crate) fn end_window(&mut self, py: Python<'_>, member: usize, ts_ns: i64) {
        let every = self.members[member].options.every_ns;
        self.members[member].end_window();
        self.flush_window(py, member);
        self.members[member].window_end = window_end(ts_ns, every);
    }

    /// What the open window holds goes out before a gap of one of its instruments.
    pub(crate) fn cut_window(&mut self, py: Python<'_>, member: usize, first: &Tick) {
        let options = &self.members[member].options;
        let instrument = &self.names.of(first.instrument).text;
        if first.kind == kind::GAP && options.every_ns > 0 && options.filter.matches_instrument(instrument) {
            self.flush_part(py, member);
        }
    }

    /// What the open window holds goes out, as a part of it.
    pub(crate) fn flush_part(&mut self, py: Python<'_>, member: usize) {
        self.members[member].cut_window();
        self.flush_held(py, member);
        self.flush_window(py, member);
    }

    /// The end of the run: what waits for a time goes out now, in order of time, then of registration.
    pub(crate) fn finish(&mut self, py: Python<'_>) {
        for at in 0..self.attention.windows.len() {
            let member = self.attention.windows[at] as usize;
            if self.window_due(member).is_some_and(|end| end > self.now_ns) {
                self.members[member].cut_window();
            }
        }
        self.run_due(py, i64::MAX);
    }

    /// When the member's open window ends, if it holds anything.
    pub(crate) fn window_due(&self, member: usize) -> Option<i64> {
        let this = &self.members[member];
        this.has_window().then_some(this.window_end)
    }

    /// Whether something may be due at this time without a new tick.
    #[inline]
    pub(super) fn has_due(&self, until_ns: i64) -> bool {
        self.is_timed && (self.attention.window_due_ns <= until_ns || !self.attention.list.is_empty())
    }

    /// The member's window opened: it is due at the window's end.
    pub(super) fn note_window(&mut self, member: usize) {
        self.activate(member);
        let this = &mut self.members[member];
        self.attention.window_due_ns = self.attention.window_due_ns.min(this.window_end);
        if !std::mem::replace(&mut this.is_listed, true) {
            self.attention.windows.push(member as u32);
        }
    }

    /// Forgets the windows that ended.
    pub(super) fn recount_windows(&mut self) {
        let Self { members, attention, .. } = self;
        attention.windows.retain(|member| {
            let this = &mut members[*member as usize];
            this.is_listed = this.has_window();
            this.is_listed
        });
        let ends = attention
            .windows
            .iter()
            .map(|member| members[*member as usize].window_end);
        attention.window_due_ns = ends.min().unwrap_or(NEVER);
    }

    /// The earliest moment at which a member has something to do without a new tick.
    pub(crate) fn next_due(&self) -> Option<i64> {
        let windows = self.attention.windows.iter();
        let windows = windows.filter_map(|member| self.window_due(*member as usize));
        let deferred = self
            .attended()
            .flat_map(|(_, member)| member.deferred.values().map(|(due, ..)| *due));
        windows.chain(deferred).min()
    }

    /// Does what is due at `until_ns`, in order of time, then of registration.
    #[inline]
    pub(crate) fn run_due(&mut self, py: Python<'_>, until_ns: i64) {
        if self.has_due(until_ns) {
            self.run_all_due(py, until_ns);
        }
    }

    fn run_all_due(&mut self, py: Python<'_>, until_ns: i64) {
        let windows = self.attention.windows.iter().map(|member| *member as usize);
        let windows = windows.filter_map(|member| self.window_due(member).map(|due| (member, due)));
        let deferred = self.attended().filter_map(|(member, this)| {
            let due = this.deferred.values().map(|(due, ..)| *due).min();
            due.map(|due| (member, due))
        });
        let mut first: BTreeMap<usize, i64> = BTreeMap::new();
        for (member, at) in windows.chain(deferred).filter(|(_, due)| *due <= until_ns) {
            first.entry(member).and_modify(|due| *due = at.min(*due)).or_insert(at);
        }
        let mut due: Vec<(i64, usize)> = first.into_iter().map(|(member, at)| (at, member)).collect();
        due.sort_unstable();
        for (_, member) in due {
            self.release_deferred(py, member, until_ns);
            let has_windows = self.members[member].options.every_ns > 0;
            if !has_windows || self.window_due(member).is_some_and(|end| end <= until_ns) {
                self.members[member].end_window();
                self.flush_held(py, member);
                self.flush_window(py, member);
            }
        }
        self.recount_windows();
    }
}
