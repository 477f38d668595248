//! One side of a book: a sorted array of levels, the best one last.
//!
//! ```text
//!   worst ──────────────▶ best        a change is looked for from the best side: most are near it
//!   -6,169,000,000,000  …  -6,168,600,000,000      asks have negated steps, so that greater is better on both sides
//! ```
//! Guarantees: a price is a whole number of steps of 10^-8, and is given back bit for bit as the venue's text read as a
//! double; a price for which that is impossible is refused.
//! Does not: know whether the venue's book has more levels; `known` says how far the snapshot reached.

/// Steps in 1 of price. Every venue of ours writes at most eight decimals.
const STEPS: f64 = 1e8;
/// Up to here a double holds every whole number, so that dividing gives the text's own double.
const STEPS_MAX: f64 = 9_007_199_254_740_992.0;
/// Levels next to the best that are looked at one by one.
const NEAR: usize = 8;

/// One price and the size there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// The price in steps of 10^-8, negated on the ask side.
    key: i64,
    /// The size.
    pub size: f64,
}

/// One side.
#[derive(Clone, Debug, Default)]
pub struct Side {
    /// The worst first.
    levels: Vec<Level>,
    /// 1 for bids, -1 for asks.
    sign: i64,
    /// The worst key that the snapshot reached; `None`: it held all levels.
    known: Option<i64>,
    /// Levels that the snapshot had.
    snapshot_len: usize,
}

impl Side {
    /// An empty side of bids.
    #[must_use]
    pub fn bids() -> Self {
        Self {
            sign: 1,
            ..Self::default()
        }
    }

    /// An empty side of asks.
    #[must_use]
    pub fn asks() -> Self {
        Self {
            sign: -1,
            ..Self::default()
        }
    }

    /// Takes all levels away.
    pub fn clear(&mut self) {
        self.levels.clear();
        self.known = None;
        self.snapshot_len = 0;
    }

    /// Sets the size at a price; 0 removes it. False: the price is no whole number of steps.
    #[inline]
    #[must_use]
    pub fn set(&mut self, price: f64, size: f64) -> bool {
        let Some(key) = self.key_of(price) else { return false };
        let place = self.place(key);
        match self.levels.get_mut(place) {
            Some(level) if level.key == key => {
                if size == 0.0 {
                    self.levels.remove(place);
                } else {
                    level.size = size;
                }
            }
            _ if size == 0.0 => {}
            _ => self.levels.insert(place, Level { key, size }),
        }
        true
    }

    /// Ends a snapshot. `is_whole`: the venue has no levels but these.
    pub fn end_snapshot(&mut self, is_whole: bool) {
        self.snapshot_len = self.levels.len();
        self.known = if is_whole {
            None
        } else {
            self.levels.first().map(|level| level.key)
        };
    }

    /// The best price and its size.
    #[must_use]
    #[inline]
    pub fn best(&self) -> Option<(f64, f64)> {
        self.levels.last().map(|level| (self.price_of(level.key), level.size))
    }

    /// All levels, also those beyond what the snapshot reached.
    #[must_use]
    pub fn len(&self) -> usize {
        self.levels.len()
    }

    /// Whether there is no level.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.levels.is_empty()
    }

    /// Prices and sizes as far as they are known, the best first.
    pub fn iter(&self) -> impl Iterator<Item = (f64, f64)> {
        let known = self.known.unwrap_or(i64::MIN);
        let shown = self.levels.iter().rev().take_while(move |level| level.key >= known);
        shown.map(|level| (self.price_of(level.key), level.size))
    }

    /// Steps and sizes of all levels, the best first.
    pub fn steps(&self) -> impl Iterator<Item = (i64, f64)> {
        self.levels
            .iter()
            .rev()
            .map(|level| (level.key * self.sign, level.size))
    }

    /// The size at a price: 0 where there is none, `None` beyond what the snapshot reached.
    #[must_use]
    pub fn size_at(&self, price: f64) -> Option<f64> {
        let key = self.key_of(price)?;
        if self.known.is_some_and(|known| key < known) {
            return None;
        }
        let level = self.levels.get(self.place(key)).filter(|level| level.key == key);
        Some(level.map_or(0.0, |level| level.size))
    }

    /// How much of the snapshot's depth is left, 0 to 1; 1 where it held all levels.
    #[must_use]
    pub fn depth_left(&self) -> f64 {
        let Some(known) = self.known else { return 1.0 };
        let worse = self.levels.partition_point(|level| level.key < known);
        #[expect(clippy::cast_precision_loss, reason = "levels are counted in thousands")]
        let left = (self.levels.len() - worse) as f64 / self.snapshot_len.max(1) as f64;
        left
    }

    #[inline]
    fn key_of(&self, price: f64) -> Option<i64> {
        let steps = (price * STEPS).round();
        #[expect(clippy::cast_possible_truncation, reason = "below 2^53")]
        let key = steps as i64;
        (steps.abs() < STEPS_MAX && steps / STEPS == price).then_some(key * self.sign)
    }

    #[inline]
    fn price_of(&self, key: i64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
        let steps = (key * self.sign) as f64;
        steps / STEPS
    }

    /// Where a key is, or would be inserted.
    #[inline]
    fn place(&self, key: i64) -> usize {
        let len = self.levels.len();
        let near = len.saturating_sub(NEAR);
        for place in (near..len).rev() {
            if self.levels[place].key < key {
                return place + 1;
            }
        }
        // Further away by doubled steps, then by halves.
        let (mut high, mut step) = (near, NEAR);
        while high > 0 {
            let low = high.saturating_sub(step);
            if self.levels[low].key < key {
                return low + self.levels[low..high].partition_point(|level| level.key < key);
            }
            high = low;
            step *= 2;
        }
        0
    }
}
