//! Reading: from the ring to the backlog, whole events at a time, and what becomes of positions that were overwritten.
//!
//! Guarantees: positions stay dense: what the writer overwrote is counted in each member, and reported before the next
//! tick.
//! Does not: dispatch.

use std::sync::atomic::Ordering;

use headrace_core::market::kind;
use headrace_core::market::tick::Tick;
use headrace_lockfree::Read;

use super::group::Group;
use super::group_state::GroupState;

impl GroupState {
    /// Reads on: true when there are whole events to dispatch.
    pub(super) fn refill(&mut self, group: &Group) -> bool {
        self.forget_dispatched();
        loop {
            let before = self.backlog.len();
            if self.lapsed == 0 {
                let waiting = self.readable();
                // Conflation folds all that is there; others take a span at a time.
                self.read(if self.conflates {
                    waiting
                } else {
                    waiting.min(self.span_ticks.max(before + 1))
                });
            }
            if self.resync && self.drop_rest_of_lost_event() {
                continue;
            }
            self.usable = self
                .backlog
                .iter()
                .rposition(Tick::ends_event)
                .map_or(0, |last| last + 1);
            if self.usable == 0 {
                self.cut_at_a_hidden_lapse(group);
            }
            if self.lapsed > 0 {
                // The rest of the open event is gone: so is its beginning.
                self.lapsed += (self.backlog.len() - self.usable) as u64;
                self.backlog.truncate(self.usable);
                if self.usable > 0 {
                    break;
                }
                self.go_on_behind_the_lapse();
                continue;
            }
            let read_nothing = self.backlog.len() == before;
            if self.usable == 0 && (read_nothing || self.backlog.len() >= self.span_ticks) {
                // An event longer than a span, or one that is never finished: what is there is dispatched.
                self.usable = self.backlog.len();
            }
            break;
        }
        self.fold_backlog();
        self.usable > 0
    }

    /// Whether nothing is to be done before and behind what is in the backlog but to dispatch each tick: no walk over
    /// members, no gap, no event that is still open.
    #[inline(always)] // With every time of a replay.
    pub(super) fn is_plain(&self, now_ns: i64) -> bool {
        !self.is_stale
            && !self.owes_newest
            && self.backlog.len() <= self.span_ticks
            && self.backlog.last().is_some_and(Tick::ends_event)
            && self.backlog.iter().all(|tick| tick.kind != kind::GAP)
            && self.delivery.needs_no_walk()
            && !self.delivery.has_due(now_ns)
            && !self.delivery.watches_lag()
    }

    #[inline]
    pub(super) fn forget_dispatched(&mut self) {
        if let Some(last) = self.usable.checked_sub(1).and_then(|last| self.backlog.get(last)) {
            self.last_ts = last.ts_init;
        }
        self.base += self.usable as u64;
        self.backlog.consume(self.usable);
        (self.usable, self.next, self.span_start, self.span_end) = (0, 0, 0, 0);
    }

    /// Drops ticks until an event begins; true: that took everything, so there may be more to read.
    fn drop_rest_of_lost_event(&mut self) -> bool {
        let lost = self.backlog.iter().take_while(|tick| tick.continues_event()).count();
        self.backlog.consume(lost);
        self.count_missed(lost as u64);
        self.resync = self.backlog.is_empty();
        self.resync && lost > 0
    }

    /// Counts what was overwritten, and has the newest quotes given behind it.
    fn go_on_behind_the_lapse(&mut self) {
        let lapsed = std::mem::take(&mut self.lapsed);
        // From here on every member is attended, so that what is put into `newest` below is given.
        self.count_missed(lapsed);
        self.resync = true;
        if self.delivery.members.iter().any(|member| member.needs_newest)
            && let Some(newest) = self.undelivered_newest()
        {
            let resumed = self.delivery.members.iter_mut();
            for member in resumed.filter(|member| member.needs_newest) {
                member.needs_newest = false;
                member.newest.clone_from(&newest);
            }
        }
        if self.conflates {
            let newest = self.newest();
            let conflating = self.delivery.members.iter_mut();
            for member in conflating.filter(|member| member.conflates()) {
                member.newest.clone_from(&newest);
            }
        }
    }

    /// Appends at most `want` ticks to the backlog; stops at a lapse.
    pub(super) fn read(&mut self, want: usize) {
        let mut left = want;
        while left > 0 {
            match self.reader.try_read(Tick::slice_as_words_mut(self.backlog.spare(left))) {
                Read::Records(0) => break,
                Read::Records(count) => {
                    self.backlog.grow(count);
                    left -= count;
                }
                Read::Lapped { missed } => {
                    self.note_lapse(missed);
                    break;
                }
                Read::Demoted => {
                    // A pause demotes too, and is no fault of the reader's.
                    let members = self.delivery.members.iter();
                    for member in members.filter(|member| member.is_running() && member.shared.blocks()) {
                        // Relaxed: a fact for statistics.
                        member.shared.demoted.store(true, Ordering::Relaxed);
                    }
                }
            }
        }
    }

    /// Positions that are lost to the whole group: counted, and reported before the next tick.
    pub(super) fn count_missed(&mut self, lost: u64) {
        if lost == 0 {
            return;
        }
        let first = self.base;
        self.base += lost;
        self.view.lost += lost;
        for member in &mut self.delivery.members {
            member.lose(first, lost);
        }
        self.delivery.books.lose();
        self.delivery.attend_all();
    }
}
