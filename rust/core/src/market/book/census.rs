//! A census of books: over the ticks of a recording, how often each equals a quote of its id, and when it is not LIVE.
//!
//! Guarantees: one pass; a book that never was LIVE has no comparisons, and says for how long.
//! Does not: count instruments without depth.

use super::book::{Applied, Book};
use super::event::Event;
use super::quality::BookCheck;
use super::state::BookState;
use crate::market::instrument::ChainRule;
use crate::market::kind;
use crate::market::tick::{NO_INSTRUMENT, Tick};

/// One instrument's book and what was seen of it.
#[derive(Debug)]
pub struct BookCount {
    /// The instrument.
    pub instrument: u32,
    /// Its book.
    pub book: Book,
    /// Its comparisons.
    pub check: BookCheck,
    /// From when to when it was not LIVE, by receive times, but for an interval that is open.
    not_live: Vec<(i64, i64)>,
    /// Since when it is not LIVE; only behind its first depth event.
    since: Option<i64>,
    has_depth: bool,
}

impl BookCount {
    fn new(instrument: u32, chain: ChainRule) -> Self {
        Self {
            instrument,
            book: Book::new(chain),
            check: BookCheck::default(),
            not_live: Vec::new(),
            since: None,
            has_depth: false,
        }
    }

    /// From when to when it was not LIVE, by receive times; `last_ns`: the recording's last one.
    #[must_use]
    pub fn not_live(&self, last_ns: i64) -> Vec<(i64, i64)> {
        let open = self.since.map(|since| (since, last_ns));
        self.not_live.iter().copied().chain(open).collect()
    }

    fn take(&mut self, tick: &Tick, event: &mut Event) {
        match tick.kind {
            kind::QUOTE => return self.check.quote(tick),
            kind::GAP | kind::STATUS => self.book.note(tick),
            kind::LEVEL | kind::LEVEL_EMPTY => {
                self.has_depth = true;
                if let Some(event) = event.collect(tick)
                    && self.book.event(event) == Applied::Yes
                {
                    self.check.book(&self.book);
                }
            }
            _ => return,
        }
        match (self.book.state(), self.since) {
            (BookState::Live, Some(since)) => {
                self.not_live.push((since, tick.ts_init));
                self.since = None;
            }
            (BookState::Syncing | BookState::Stale, None) if self.has_depth => self.since = Some(tick.ts_init),
            _ => {}
        }
    }
}

/// The books of a recording.
#[derive(Debug, Default)]
pub struct BookCensus {
    counts: Vec<BookCount>,
    /// Place in `counts` + 1, by instrument.
    places: Vec<usize>,
    event: Event,
}

impl BookCensus {
    /// Passes a tick to its book.
    pub fn take(&mut self, tick: &Tick, chain: ChainRule) {
        if tick.instrument == NO_INSTRUMENT {
            return;
        }
        let index = tick.instrument as usize;
        if self.places.len() <= index {
            self.places.resize(index + 1, 0);
        }
        if self.places[index] == 0 {
            self.counts.push(BookCount::new(tick.instrument, chain));
            self.places[index] = self.counts.len();
        }
        self.counts[self.places[index] - 1].take(tick, &mut self.event);
    }

    /// The books of instruments that have had depth.
    pub fn counts(&self) -> impl Iterator<Item = &BookCount> {
        self.counts.iter().filter(|count| count.has_depth)
    }
}
