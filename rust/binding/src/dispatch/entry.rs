//! Entry: what a dispatching call sees of the ring, and what is written down of it when calls are logged.
//!
//! ```text
//!   open (the ring stands still) ─▶ reads below `bound` ─▶ cut: a request, a thread's lapse ─▶ close
//! ```
//! Guarantees: without a log it costs one look; with one, what a call reads and sees depends on its cursor alone.
//! Does not: bound what is dispatched; that is `Bounds`.

use headrace_core::market::tick::Tick;

use super::bounds::Bounds;
use super::group::Group;
use super::group_state::GroupState;
use super::log::flags;
use super::view::{Entry, View};

impl GroupState {
    pub(super) fn position(&self) -> u64 {
        self.base + self.next as u64
    }

    /// How many positions may be read.
    pub(super) fn readable(&self) -> usize {
        if self.view.hidden > 0 {
            return 0;
        }
        let below = self.view.bound.saturating_sub(self.reader.position());
        usize::try_from(self.reader.pending().min(below)).unwrap_or(usize::MAX)
    }

    /// Whether everything that was read is dispatched, and `refill` would find nothing.
    pub(super) fn is_used_up(&self) -> bool {
        self.next == self.backlog.len()
            && self.lapsed == 0
            && !(self.resync || self.conflates || self.view.hidden > 0)
            && self.reader.is_gated()
            && self.readable() == 0
    }

    /// The cursor that this call goes by.
    pub(super) fn cursor(&self) -> u64 {
        let entry = self.view.entry.as_ref();
        entry.map_or_else(|| self.core.ring.cursor(), |entry| entry.cursor)
    }

    /// The newest quotes that this call goes by.
    pub(super) fn newest(&self) -> Vec<Tick> {
        self.view.newest.clone().unwrap_or_else(|| self.core.newest.load())
    }

    pub(super) fn count_calls(&self) -> u64 {
        let active: u64 = self.delivery.active().map(|of| of.calls.get()).sum();
        active + self.delivery.attention.calls_of_gone
    }

    /// A number that changes with everything that becomes of a member's tick.
    fn count_all(&self) -> u64 {
        let members = self.delivery.active();
        members
            .map(|of| of.calls.get() + of.skipped.get() + of.filtered.get() + of.conflated.get())
            .sum()
    }

    /// Reads below this position only, as the call did that is repeated.
    pub(super) fn read_below(&mut self, bound: u64) {
        self.view = View {
            bound,
            ..View::default()
        };
    }

    /// The reader was lapped, and jumped over so many positions.
    pub(super) fn note_lapse(&mut self, missed: u64) {
        let is_as_of_the_cursor = match &self.view.entry {
            Some(entry) if self.races => {
                self.view.newest.is_some() && self.reader.position() == self.behind(entry.cursor)
            }
            _ => true,
        };
        if is_as_of_the_cursor {
            self.lapsed += missed;
        } else {
            self.view.hidden = missed;
            self.view.bound = self.reader.position() - missed;
        }
    }

    /// Where a lapped reader goes on.
    fn behind(&self, cursor: u64) -> u64 {
        cursor.saturating_sub(self.core.ring.capacity() as u64 / 8 * 7)
    }

    /// The hidden lapse is known from here on.
    pub(super) fn reveal(&mut self) {
        self.lapsed += std::mem::take(&mut self.view.hidden);
    }

    /// Whether something happened since the entry was opened.
    fn has_progress(&self, entry: &Entry) -> bool {
        if self.delivery.members.is_empty() && !entry.answers {
            // No member: no tick is dispatched.
            return false;
        }
        entry.from != self.position()
            || entry.reader_at != self.reader.position()
            || entry.counted != self.count_all()
            || self.view.lost > 0
            || entry.answers
            || self.view.stopped != 0
            || self.view.has_settled
            || !self.delivery.awaiting.is_empty()
    }
}

impl Group {
    /// A call begins; when calls are logged, it sees the ring as it stands now.
    pub(super) fn open_entry(&self, state: &mut GroupState, bounds: Bounds) {
        let nested = if bounds.nested { flags::NESTED } else { 0 };
        let step = if bounds.one_step { flags::STEP } else { 0 };
        self.open_with(state, nested | step, false);
    }

    fn open_with(&self, state: &mut GroupState, flags: u8, is_lapsed: bool) {
        let answers = self.requests.has_posts();
        let joins_gate = answers && self.requests_gate();
        let core = std::sync::Arc::clone(&state.core);
        let Some(mut lines) = core.log.stand_still() else {
            state.reveal();
            state.view.bound = u64::MAX;
            return;
        };
        let cursor = core.ring.cursor();
        state.view.lost = 0;
        state.view.newest = (answers || is_lapsed || state.owes_newest).then(|| core.newest.load());
        if is_lapsed {
            // Where it goes on follows from the cursor alone, also when the writer was faster than the reader's look.
            let before = state.reader.position();
            state.reader.jump(state.behind(cursor));
            state.lapsed += state.reader.position() - before;
            state.reveal();
        }
        state.view.bound = if state.view.hidden > 0 {
            state.reader.position() - state.view.hidden
        } else {
            cursor
        };
        let reader_at = state.reader.position();
        if joins_gate {
            // Now that nothing is published, so that it passes over nothing.
            state.join_gate(&self.seat);
        }
        state.view.entry = Some(Entry {
            number: lines.begin(),
            cursor,
            from: state.position(),
            reader_at,
            calls: state.count_calls(),
            counted: state.count_all(),
            answers,
            flags,
        });
    }

    /// Writes down what the call did.
    pub(super) fn close_entry(&self, state: &mut GroupState, caught_up: bool) {
        let ended = if caught_up { flags::CAUGHT_UP } else { 0 };
        self.close_with(state, ended | state.view.stopped);
        state.view = View {
            hidden: state.view.hidden,
            ..View::default()
        };
    }

    fn close_with(&self, state: &mut GroupState, ended: u8) {
        let Some(entry) = state.view.entry.take() else {
            return;
        };
        let call = state.has_progress(&entry).then(|| {
            (
                self.number,
                entry.cursor,
                state.delivery.now_ns,
                entry.from,
                state.view.bound,
                state.position(),
                entry.flags | ended,
                state.view.lost,
                state.count_calls().wrapping_sub(entry.calls),
            )
        });
        state.core.log.end(entry.number, call);
    }

    /// The call goes on with another line, and sees the ring as it stands now: before requests are answered.
    pub(super) fn cut_before_answers(&self, state: &mut GroupState) {
        let Some(entry) = &state.view.entry else { return };
        if !entry.answers || entry.from != state.position() || entry.counted != state.count_all() {
            let flags = entry.flags;
            self.close_with(state, flags::CONTINUED);
            self.open_with(state, flags, false);
        }
    }
}

impl GroupState {
    /// The same before a hidden lapse is counted.
    pub(super) fn cut_at_a_hidden_lapse(&mut self, group: &Group) {
        if self.view.hidden == 0 {
            return;
        }
        if let Some(entry) = &self.view.entry {
            let flags = entry.flags;
            group.close_with(self, flags::CONTINUED);
            group.open_with(self, flags, true);
        }
        self.reveal();
    }
}
