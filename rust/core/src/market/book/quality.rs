//! What may be asked of a book, its checksum, and its check against quotes.
//!
//! Guarantees: an answer that would need levels beyond the snapshot is "unknown", not a guess.
//! Does not: change a book.

use super::book::Book;
use super::levels::Side;
use super::state::BookState;
use crate::market::kind;
use crate::market::tick::Tick;
use crate::named_set;
use rustc_hash::FxHashMap;

/// Below this part of the snapshot's depth a book is DEGRADED, and below the next one a refresh is due.
const DEGRADED_LEFT: f64 = 0.25;
const REFRESH_LEFT: f64 = 0.5;
/// Quotes that are remembered for a comparison: more than come between two depth events.
const QUOTES_KEPT: usize = 16_384;

named_set! {
    /// Whether a book's answers reach as deep as they usually do.
    #[repr(u8)]
    pub enum BookQuality {
        /// In sync, and deep enough.
        Live = 0 "LIVE",
        /// In sync, but the best price is near the end of what the snapshot reached, or beyond it.
        Degraded = 1 "DEGRADED",
        /// Not in sync.
        Stale = 2 "STALE",
    }
}

impl Book {
    /// What may be asked of it.
    #[must_use]
    pub fn quality(&self) -> BookQuality {
        if self.state() != BookState::Live {
            BookQuality::Stale
        } else if self.depth_left() < DEGRADED_LEFT {
            BookQuality::Degraded
        } else {
            BookQuality::Live
        }
    }

    /// Whether the best price has come halfway to the end of what the snapshot reached, and no refresh is under way. O(1).
    #[must_use]
    #[inline]
    pub fn is_half_used(&self) -> bool {
        (self.bids.is_half_used() || self.asks.is_half_used()) && self.is_settled()
    }

    /// Whether a refresh would be wise: half of the snapshot's levels are gone. O(levels), of which it counts chunks.
    #[must_use]
    pub fn wants_refresh(&self) -> bool {
        self.is_half_used() || self.is_settled() && self.depth_left() < REFRESH_LEFT
    }

    fn depth_left(&self) -> f64 {
        self.bids.depth_left().min(self.asks.depth_left())
    }

    /// The size at a price, of whichever side it is on: 0 where there is none, NaN where that is unknown.
    #[must_use]
    pub fn depth_at(&self, price: f64) -> f64 {
        let size = match (self.bids.best(), self.asks.best()) {
            (Some((bid, _)), _) if price <= bid => self.bids.size_at(price),
            (_, Some((ask, _))) if price >= ask => self.asks.size_at(price),
            _ => (self.bids.knows_best() && self.asks.knows_best()).then_some(0.0),
        };
        size.unwrap_or(f64::NAN)
    }

    /// The average price of taking `size`: `side` +1 takes asks, -1 hits bids. NaN where the known depth is not enough.
    #[must_use]
    pub fn vwap(&self, side: i8, size: f64) -> f64 {
        let (mut left, mut paid) = (size, 0.0);
        let taken = if side > 0 { &self.asks } else { &self.bids };
        for (price, offered) in taken.iter() {
            let part = left.min(offered);
            paid += price * part;
            left -= part;
            if left <= 0.0 {
                return paid / size;
            }
        }
        f64::NAN
    }

    /// CRC-32 over (step i64, size f64), little endian, of all levels: bids, then asks, the best first. A step is 10^-8.
    #[must_use]
    pub fn checksum(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        for side in [&self.bids, &self.asks] {
            for (step, size) in side.steps() {
                hasher.update(&step.to_le_bytes());
                hasher.update(&size.to_le_bytes());
            }
        }
        hasher.finalize()
    }
}

/// Compares a book's best prices and sizes with the quote of the same update id.
#[derive(Debug, Default)]
pub struct BookCheck {
    quotes: FxHashMap<u64, [u64; 4]>,
    order: std::collections::VecDeque<u64>,
    /// Comparisons in which all four values were identical.
    pub equal: u64,
    /// Comparisons in which one differed.
    pub unequal: u64,
}

impl BookCheck {
    /// Remembers a quote.
    pub fn quote(&mut self, quote: &Tick) {
        debug_assert_eq!(quote.kind, kind::QUOTE);
        if self.quotes.insert(quote.venue_seq, quote.values).is_none() {
            self.order.push_back(quote.venue_seq);
            if self.order.len() > QUOTES_KEPT {
                let oldest = self.order.pop_front();
                oldest.map(|id| self.quotes.remove(&id));
            }
        }
    }

    /// Compares a LIVE book after an event.
    pub fn book(&mut self, book: &Book) {
        let Some(quote) = self.quotes.get(&book.update_id()) else {
            return;
        };
        let bits = |side: &Side| {
            side.best()
                .map_or((0, 0), |(price, size)| (price.to_bits(), size.to_bits()))
        };
        let ((bid, bid_size), (ask, ask_size)) = (bits(&book.bids), bits(&book.asks));
        if *quote == [bid, ask, bid_size, ask_size] {
            self.equal += 1;
        } else {
            self.unequal += 1;
        }
    }
}
