//! The event that is passing: its level ticks, until it is whole.
//!
//! Guarantees: what is handed on is whole, from FIRST_IN_EVENT to LAST_IN_EVENT.
//! Does not: judge ids, or wait for a beginning that came before it; such an event is dropped, and its ids say so to the book.

use super::book::Book;
use crate::market::kind;
use crate::market::status::{Status, StreamState};
use crate::market::tick::{GapCause, Tick, flags};

/// Level ticks of one event, of one instrument.
#[derive(Clone, Debug, Default)]
pub struct Event(Vec<Tick>);

impl Event {
    /// Takes a tick in; the event, when this was its last one.
    #[inline]
    pub fn collect(&mut self, tick: &Tick) -> Option<&[Tick]> {
        if tick.flags & flags::FIRST_IN_EVENT != 0 {
            self.0.clear();
        } else if self.0.last().is_none_or(|last| last.instrument != tick.instrument) {
            self.0.clear();
            return None;
        }
        self.0.push(*tick);
        tick.ends_event().then_some(&self.0)
    }

    /// Its rest does not come.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl Book {
    /// A gap or a status of its instrument: what either says of another stream changes nothing.
    pub fn note(&mut self, tick: &Tick) {
        if tick.kind == kind::GAP {
            let lost = tick.values[3] >> 8 & 0xff;
            let concerns = [0, kind::LEVEL, kind::LEVEL_EMPTY].map(u64::from).contains(&lost);
            if concerns && let Some(cause) = GapCause::of_value(tick.values[3]) {
                self.gap(cause);
            }
        } else if let Some(status) = Status::of_tick(tick)
            && [0, kind::LEVEL].contains(&status.stream)
            && matches!(status.state, StreamState::Down | StreamState::Stale)
        {
            self.disconnected(status.reason);
        }
    }
}
