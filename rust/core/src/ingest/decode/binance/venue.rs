//! Which of Binance's markets a recording comes from, by what only one of them sends.
//!
//! ```text
//!   depthUpdate with pu, bookTicker with e ─▶ futures ─┬─ a pair (ps) that is not the symbol, or _ in every symbol ─▶ COIN-M
//!   depthUpdate without, bookTicker without ─▶ spot    └─ else ─▶ USD-M
//! ```
//! Guarantees: looks at no more than [`DETECT_FRAMES_MAX`] frames; never guesses from trades or snapshots alone.
//! Does not: split a recording of two markets: that is an error.

use super::json::Reading;
use crate::error::DetectError;
use crate::limits::{DETECT_FRAMES_MAX, FRAME_BYTES_MAX};
use crate::market::instrument::Venue;

/// The market that these frames (without receive times, see [`crate::ingest::lines::Lines`]) come from.
///
/// # Errors
/// [`DetectError::Undecided`] when nothing in the first 1,000 frames shows it, [`DetectError::Mixed`] when they
/// contradict each other.
pub fn detect_venue<'a>(frames: impl Iterator<Item = &'a [u8]>) -> Result<Venue, DetectError> {
    let mut levels = Vec::new();
    let (mut futures, mut spot, mut pair, mut underscored, mut plain) = (0u32, 0u32, false, 0u32, 0u32);
    for frame in frames.take(DETECT_FRAMES_MAX) {
        levels.clear();
        if frame.len() > FRAME_BYTES_MAX {
            continue;
        }
        let Ok(reading) = Reading::new(frame, &mut levels) else {
            continue;
        };
        let signs = reading.venue_signs();
        pair |= signs.pair;
        match signs.futures {
            Some(true) => futures += 1,
            Some(false) => spot += 1,
            None => {}
        }
        match signs.underscore {
            Some(true) => underscored += 1,
            Some(false) => plain += 1,
            None => {}
        }
    }
    let coin_margined = pair || underscored > 0 && plain == 0;
    match (futures > 0, spot > 0) {
        (true, true) => Err(DetectError::Mixed { futures, spot }),
        (false, true) if coin_margined => Err(DetectError::Mixed {
            futures: underscored,
            spot,
        }),
        (_, false) if coin_margined => Ok(Venue::BinanceCoinm),
        (true, false) => Ok(Venue::BinanceUsdm),
        (false, true) => Ok(Venue::Binance),
        (false, false) => Err(DetectError::Undecided),
    }
}
