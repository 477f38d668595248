//! Books: one of each instrument that a member uses books of, kept by the group's own reader.
//!
//! ```text
//!   level ticks of an event, gap, status ─▶ book ─▶ Change: its best prices, another state, a snapshot is needed
//! ```
//! Guarantees: a book is exactly as of the tick that is dispatched, live and in replays; a group whose members use no
//! books has none.
//! Does not: judge events, which the core's book does; or call anything, which `book_calls` does.

use std::sync::Arc;

use headrace_core::market::book::{Applied, Book, BookState, Event};
use headrace_core::market::instrument::ChainRule;
use headrace_core::market::kind;
use headrace_core::market::status::{Status, StreamState};
use headrace_core::market::tick::{GapCause, NO_INSTRUMENT, Tick, flags};

use super::book_object::{BookHandle, SharedBook};

/// Events between two counts of how many of a snapshot's levels are left.
const EVENTS_PER_LOOK: u32 = 64;

/// The books of one group.
#[derive(Default)]
pub(super) struct Books {
    /// By instrument.
    pub(super) kept: Vec<Option<KeptBook>>,
    /// The ticks so far of the event that is being dispatched.
    event: Event,
    /// The ring was lapped: states that changed by it are still to be told.
    pub(super) has_lost: bool,
}

/// One book, and what was said of it.
pub(super) struct KeptBook {
    pub(super) shared: Arc<SharedBook>,
    told: BookState,
    /// Of the depth stream.
    epoch: u64,
    applied: u32,
}

/// What became of a book.
pub(super) struct Change {
    /// Its best prices, as a tick, when an event was applied.
    pub(super) book: Option<Tick>,
    pub(super) status: Option<Status>,
    pub(super) needs_snapshot: bool,
}

impl Books {
    /// Every book lost ticks.
    pub(super) fn lose(&mut self) {
        self.event.clear();
        for kept in self.kept.iter().flatten() {
            kept.shared.change(|book| book.gap(GapCause::Overrun));
            self.has_lost = true;
        }
    }

    /// Passes a tick to its book.
    pub(super) fn take(&mut self, tick: &Tick, chain: ChainRule) -> Option<Change> {
        if tick.instrument == NO_INSTRUMENT {
            return None;
        }
        let Self { kept, event, .. } = self;
        let kept = book_of(kept, tick.instrument, chain);
        if matches!(tick.kind, kind::LEVEL | kind::LEVEL_EMPTY) {
            return event.collect(tick).and_then(|event| kept.apply(event));
        }
        if tick.kind == kind::STATUS
            && let Some(Status {
                stream: kind::LEVEL,
                epoch,
                ..
            }) = Status::of_tick(tick)
        {
            kept.epoch = epoch;
        }
        kept.shared.change(|book| book.note(tick));
        let status = kept.changed_state();
        status.map(|status| Change {
            book: None,
            status: Some(status),
            needs_snapshot: false,
        })
    }

    /// Passes the level ticks of a whole event to their book, as if they had come one by one.
    pub(super) fn take_event(&mut self, event: &[Tick], chain: ChainRule) -> Option<Change> {
        self.event.clear();
        let instrument = event.first().map(|first| first.instrument)?;
        if instrument == NO_INSTRUMENT {
            return None;
        }
        book_of(&mut self.kept, instrument, chain).apply(event)
    }
}

fn book_of(kept: &mut Vec<Option<KeptBook>>, instrument: u32, chain: ChainRule) -> &mut KeptBook {
    let index = instrument as usize;
    if kept.len() <= index {
        kept.resize_with(index + 1, || None);
    }
    kept[index].get_or_insert_with(|| KeptBook {
        shared: Arc::new(SharedBook::new(Book::new(chain))),
        told: BookState::Syncing,
        epoch: 0,
        applied: 0,
    })
}

impl KeptBook {
    /// A whole event.
    fn apply(&mut self, event: &[Tick]) -> Option<Change> {
        let last = event.last()?;
        let looks = self.applied.is_multiple_of(EVENTS_PER_LOOK);
        let (applied, best, update_id, needs_snapshot) = self.shared.change(|book| {
            let applied = book.event(event);
            if book.is_half_used() || looks && book.wants_refresh() {
                book.refresh();
            }
            let best = (book.bids.best(), book.asks.best());
            (applied, best, book.update_id(), book.takes_request())
        });
        let book = (applied == Applied::Yes).then(|| {
            self.applied = self.applied.wrapping_add(1);
            let (bid, ask) = best;
            let side = |best: Option<(f64, f64)>| best.unwrap_or((f64::NAN, 0.0));
            let ((bid, bid_size), (ask, ask_size)) = (side(bid), side(ask));
            Tick {
                venue_seq: update_id,
                kind: kind::BOOK,
                side: 0,
                flags: flags::FIRST_IN_EVENT | flags::LAST_IN_EVENT | (last.flags & flags::NO_VENUE_TIME),
                values: [bid, ask, bid_size, ask_size].map(f64::to_bits),
                ..*last
            }
        });
        let status = self.changed_state();
        (book.is_some() || status.is_some() || needs_snapshot).then_some(Change {
            book,
            status,
            needs_snapshot,
        })
    }

    pub(super) fn handle(&self) -> BookHandle {
        BookHandle::new(&self.shared)
    }

    /// Its state, when that is another one than was told last.
    pub(super) fn changed_state(&mut self) -> Option<Status> {
        let (state, reason) = self.shared.state();
        if state == std::mem::replace(&mut self.told, state) {
            return None;
        }
        Some(Status {
            stream: kind::LEVEL,
            state: match state {
                BookState::Syncing => StreamState::Syncing,
                BookState::Live => StreamState::Live,
                BookState::Stale => StreamState::Stale,
            },
            reason,
            epoch: self.epoch,
            is_lost: false,
        })
    }
}
