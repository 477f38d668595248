//! A book as the text of a snapshot, as the venue sends one.
//!
//! Guarantees: read again, it is the same book: prices and sizes bit for bit, its id, and how deep it is known.
//! Does not: name a symbol or a time.

use std::fmt::Write;

use super::book::Book;
use super::levels::Side;

/// Digits behind the point of a price: a step is 10^-8.
const STEPS: u64 = 100_000_000;

impl Book {
    /// `"lastUpdateId":…,"bidsCut":…,"asksCut":…,"bids":[["price","size"],…],"asks":[…]`: the members of the object.
    #[must_use]
    pub fn snapshot_members(&self) -> String {
        let (bids, asks) = (levels_text(&self.bids), levels_text(&self.asks));
        format!(
            r#""lastUpdateId":{},"bidsCut":{},"asksCut":{},"bids":{bids},"asks":{asks}"#,
            self.update_id(),
            self.bids.is_cut(),
            self.asks.is_cut(),
        )
    }
}

fn levels_text(side: &Side) -> String {
    let mut text = String::from("[");
    for (step, size) in side.known_steps() {
        let comma = if text.len() > 1 { "," } else { "" };
        let (sign, step) = (if step < 0 { "-" } else { "" }, step.unsigned_abs());
        let (whole, part) = (step / STEPS, step % STEPS);
        write!(text, r#"{comma}["{sign}{whole}.{part:08}","{size}"]"#).expect("writing to a String never fails");
    }
    text.push(']');
    text
}
