//! The event that is passing: its level ticks, until it is whole.
//!
//! ```text
//!   ticks ─┬─ begin with a whole event ─▶ leading: where it lies
//!          └─ one by one ───────────────▶ collect: copied, until its last one comes
//! ```
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
    /// The level ticks that `ticks` begin with, when they are a whole event of one receive time, with nothing in between.
    #[must_use]
    pub fn leading(ticks: &[Tick]) -> Option<&[Tick]> {
        let first = ticks.first()?;
        for (index, tick) in ticks.iter().enumerate() {
            let is_like_first =
                (tick.kind, tick.instrument, tick.ts_init) == (kind::LEVEL, first.instrument, first.ts_init);
            let begins = tick.flags & flags::FIRST_IN_EVENT != 0;
            if !is_like_first || begins != (index == 0) {
                return None;
            }
            if tick.ends_event() {
                return Some(&ticks[..=index]);
            }
        }
        None
    }

    /// Takes a tick in; the event, when this was its last one.
    #[inline]
    pub fn collect(&mut self, tick: &Tick) -> Option<&[Tick]> {
        let goes_on = |last: &Tick| last.instrument == tick.instrument && !last.ends_event();
        if tick.flags & flags::FIRST_IN_EVENT != 0 {
            self.0.clear();
        } else if !self.0.last().is_some_and(goes_on) {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A level tick for each pair of instrument and flags.
    fn levels(rows: &[(u32, u16)]) -> Vec<Tick> {
        let level = |(instrument, flags): &(u32, u16)| Tick {
            kind: kind::LEVEL,
            instrument: *instrument,
            flags: *flags,
            ..Tick::default()
        };
        rows.iter().map(level).collect()
    }

    const FIRST: u16 = flags::FIRST_IN_EVENT;
    const LAST: u16 = flags::LAST_IN_EVENT;

    #[test]
    fn a_leading_event_is_whole_and_of_one_time() {
        let leading = |ticks: &[Tick]| Event::leading(ticks).map(<[Tick]>::len);
        let whole = levels(&[(1, FIRST), (1, 0), (1, LAST), (1, FIRST)]);
        assert_eq!(leading(&whole), Some(3));
        assert_eq!(leading(&whole[..2]), None, "its end did not come");
        assert_eq!(leading(&whole[1..]), None, "its beginning came before");
        assert_eq!(leading(&levels(&[(1, FIRST | LAST), (1, 0)])), Some(1));
        assert_eq!(leading(&levels(&[(1, FIRST), (2, 0), (1, LAST)])), None);
        assert_eq!(leading(&levels(&[(1, FIRST), (1, FIRST | LAST)])), None);
        for changed in [
            Tick { ts_init: 1, ..whole[1] },
            Tick {
                kind: kind::GAP,
                ..whole[1]
            },
        ] {
            assert_eq!(leading(&[whole[0], changed, whole[2]]), None);
        }
        assert_eq!(leading(&[]), None);
    }

    #[test]
    fn ticks_behind_an_events_end_belong_to_no_event() {
        let mut event = Event::default();
        let mut collected = |tick: &Tick| event.collect(tick).map(<[Tick]>::len);
        let ticks = levels(&[(1, FIRST), (1, LAST), (1, 0), (1, LAST)]);
        assert_eq!(
            ticks.iter().map(&mut collected).collect::<Vec<_>>(),
            [None, Some(2), None, None]
        );
    }
}
