//! One side of a book: sorted levels in chunks, the best one last.
//!
//! ```text
//!   worst ──────────────▶ best        a change moves at most a chunk; the last chunk is looked at first
//!   [-6,169,000,000,000 …] … [… -6,168,600,000,000]   asks have negated steps, so that greater is better on both sides
//! ```
//! Guarantees: a price is a whole number of steps of 10^-8, and is given back bit for bit as the venue's text read as a
//! double; a price for which that is impossible is refused.
//! Does not: know whether the venue's book has more levels; `known` says how far the snapshot reached.

use crate::market::tick::{Tick, flags};

/// Steps in 1 of price. Every venue of ours writes at most eight decimals.
const STEPS: f64 = 1e8;
/// Up to here a double holds every whole number, so that dividing gives the text's own double.
const STEPS_MAX: f64 = 9_007_199_254_740_992.0;
/// A snapshot with exactly so many levels on a side was cut there.
const CUTS: [usize; 8] = [5, 10, 20, 50, 100, 500, 1_000, 5_000];
/// Levels of a chunk at most: a full one is divided in two.
const CHUNK_LEVELS: usize = 64;

/// Levels next to each other, the worst first: a key, which is the price in steps of 10^-8, negated on the ask side, and
/// a size.
#[derive(Clone, Debug, Default)]
struct Chunk(Vec<(i64, f64)>);

impl Chunk {
    /// Where a key is, or would be inserted.
    #[inline]
    fn place_of(&self, key: i64) -> usize {
        self.0.partition_point(|(known, _)| *known < key)
    }

    /// The same, looked for from this place on, level by level.
    #[inline]
    fn place_near(&self, key: i64, near: usize) -> usize {
        let levels = &self.0[..];
        let mut place = near.min(levels.len());
        while place > 0 && levels[place - 1].0 >= key {
            place -= 1;
        }
        while place < levels.len() && levels[place].0 < key {
            place += 1;
        }
        place
    }

    /// Sets a size at the place of its key; 0 removes the level. Returns how many levels there are more.
    #[inline]
    fn set(&mut self, place: usize, key: i64, size: f64) -> isize {
        match self.0.get_mut(place).filter(|(known, _)| *known == key) {
            Some(_) if size == 0.0 => {
                self.0.remove(place);
                -1
            }
            Some((_, known)) => {
                *known = size;
                0
            }
            None if size == 0.0 => 0,
            None => {
                self.0.insert(place, (key, size));
                1
            }
        }
    }

    /// Its better half, which it loses.
    fn divide(&mut self) -> Self {
        Self(self.0.split_off(self.0.len() / 2))
    }
}

/// One side.
#[derive(Clone, Debug, Default)]
pub struct Side {
    /// None is empty; the worst first.
    chunks: Vec<Chunk>,
    /// The worst key of each chunk.
    worst: Vec<i64>,
    len: usize,
    /// 1 for bids, -1 for asks.
    sign: i64,
    /// The worst key that the snapshot reached; `None`: it held all levels.
    known: Option<i64>,
    /// The key in the middle of a cut snapshot's levels.
    middle: Option<i64>,
    /// Levels that the snapshot had.
    snapshot_len: usize,
    /// Chunk and place of the newest change: an event's levels come in the order of their prices, so the next one is near.
    newest: (usize, usize),
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
        self.chunks.clear();
        self.worst.clear();
        self.len = 0;
        self.known = None;
        self.middle = None;
        self.snapshot_len = 0;
        self.newest = (0, 0);
    }

    /// Sets the size at a price; 0 removes it. False: the price is no whole number of steps.
    #[inline]
    #[must_use]
    pub fn set(&mut self, price: f64, size: f64) -> bool {
        let Some(key) = self.key_of(price) else { return false };
        let Some(index) = self.chunk_of(key) else {
            if size != 0.0 {
                self.chunks.push(Chunk(vec![(key, size)]));
                self.worst.push(key);
                self.len = 1;
            }
            return true;
        };
        let chunk = &mut self.chunks[index];
        let place = match self.newest {
            (newest, near) if newest == index => chunk.place_near(key, near),
            _ => chunk.place_of(key),
        };
        self.newest = (index, place);
        let more = chunk.set(place, key, size);
        if more != 0 {
            self.len = self.len.saturating_add_signed(more);
            match chunk.0.first() {
                None => {
                    self.chunks.remove(index);
                    self.worst.remove(index);
                }
                Some((worst, _)) => self.worst[index] = *worst,
            }
            if more > 0 && self.chunks[index].0.len() > CHUNK_LEVELS {
                self.divide(index);
            }
        }
        true
    }

    /// Ends the snapshot that its levels come from: it says that it is cut, or has as many levels as may be asked for.
    pub fn end_snapshot(&mut self, snapshot: &[Tick]) {
        let mut own = snapshot.iter().filter(|tick| i64::from(tick.side) == self.sign);
        let is_cut = own.any(|tick| tick.flags & flags::CUT != 0) || CUTS.contains(&self.len);
        self.snapshot_len = self.len;
        self.known = self.worst.first().copied().filter(|_| is_cut);
        let middle = self.levels().nth(self.len / 2).map(|(key, _)| key);
        self.middle = self.known.and(middle);
    }

    /// The best price and its size, of all levels that were seen; see [`Side::knows_best`].
    #[must_use]
    #[inline]
    pub fn best(&self) -> Option<(f64, f64)> {
        self.best_level().map(|(key, size)| (self.price_of(key), size))
    }

    /// Whether nothing can be better than the best price. False beyond what the snapshot reached: a level that has not
    /// changed since is not known there.
    #[must_use]
    pub fn knows_best(&self) -> bool {
        self.known.is_none() || self.best_level().is_some_and(|(key, _)| self.reaches(key))
    }

    /// Whether the best price has come halfway to the end of what the snapshot reached.
    #[must_use]
    #[inline]
    pub fn is_half_used(&self) -> bool {
        self.middle
            .is_some_and(|middle| self.best_level().is_none_or(|(key, _)| key <= middle))
    }

    /// Whether a bid and an ask are at one price, or the bid above it: all levels count, wherever the snapshots ended.
    #[must_use]
    #[inline]
    pub fn crosses(&self, asks: &Self) -> bool {
        // The key of an ask is its price, negated.
        matches!((self.best_level(), asks.best_level()), (Some((bid, _)), Some((ask, _))) if bid >= -ask)
    }

    /// All levels, also those beyond what the snapshot reached.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no level.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Prices and sizes as far as they are known, the best first.
    pub fn iter(&self) -> impl Iterator<Item = (f64, f64)> {
        self.known().map(|(key, size)| (self.price_of(key), size))
    }

    /// Steps and sizes as far as they are known, the best first.
    pub fn known_steps(&self) -> impl Iterator<Item = (i64, f64)> {
        self.known().map(|(key, size)| (key * self.sign, size))
    }

    fn known(&self) -> impl Iterator<Item = (i64, f64)> {
        self.levels().take_while(|(key, _)| self.reaches(*key))
    }

    #[inline]
    fn best_level(&self) -> Option<(i64, f64)> {
        self.chunks.last()?.0.last().copied()
    }

    /// Whether the snapshot reached a key.
    #[inline]
    fn reaches(&self, key: i64) -> bool {
        self.known.is_none_or(|known| key >= known)
    }

    /// Whether the venue has levels beyond those that are known.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.known.is_some()
    }

    /// Steps and sizes of all levels, the best first.
    pub fn steps(&self) -> impl Iterator<Item = (i64, f64)> {
        self.levels().map(|(key, size)| (key * self.sign, size))
    }

    /// The size at a price: 0 where there is none, `None` beyond what the snapshot reached.
    #[must_use]
    pub fn size_at(&self, price: f64) -> Option<f64> {
        let key = self.key_of(price)?;
        if !self.reaches(key) {
            return None;
        }
        let chunk = self.chunk_of(key).map(|index| &self.chunks[index]);
        let level = chunk.and_then(|chunk| chunk.0.get(chunk.place_of(key)));
        Some(level.filter(|(known, _)| *known == key).map_or(0.0, |(_, size)| *size))
    }

    /// How much of the snapshot's depth is left, 0 to 1; 1 where it held all levels.
    #[must_use]
    pub fn depth_left(&self) -> f64 {
        let Some(known) = self.known else { return 1.0 };
        let reaching = self.worst.partition_point(|worst| *worst < known);
        let whole: usize = self.chunks[reaching..].iter().map(|chunk| chunk.0.len()).sum();
        let part = self.chunks[..reaching]
            .last()
            .map_or(0, |chunk| chunk.0.len() - chunk.place_of(known));
        let reached = whole + part;
        #[expect(clippy::cast_precision_loss, reason = "levels are counted in thousands")]
        let left = reached as f64 / self.snapshot_len.max(1) as f64;
        left
    }

    #[inline]
    fn key_of(&self, price: f64) -> Option<i64> {
        let steps = price * STEPS;
        if steps.abs() >= STEPS_MAX {
            return None;
        }
        // Half a step away from 0, then cut: rounding is a call where the machine need not have an instruction for it.
        #[expect(clippy::cast_possible_truncation, reason = "below 2^53")]
        let key = (steps + 0.5_f64.copysign(price)) as i64;
        #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
        let exact = key as f64 / STEPS;
        (exact == price).then_some(key * self.sign)
    }

    #[inline]
    fn price_of(&self, key: i64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
        let steps = (key * self.sign) as f64;
        steps / STEPS
    }

    /// All levels, the best first.
    fn levels(&self) -> impl Iterator<Item = (i64, f64)> {
        self.chunks.iter().rev().flat_map(|chunk| chunk.0.iter().rev().copied())
    }

    /// The chunk where a key is, or would be inserted; `None`: there is no chunk.
    #[inline]
    fn chunk_of(&self, key: i64) -> Option<usize> {
        let last = self.worst.len().checked_sub(1)?;
        let worst = &self.worst[..];
        // Where the newest change was, or next to it on the worse side: the venue writes the best level of an event first.
        let near = self.newest.0.min(last);
        if worst[near] <= key {
            if near == last || key < worst[near + 1] {
                return Some(near);
            }
        } else if near > 0 && worst[near - 1] <= key {
            return Some(near - 1);
        }
        if worst[last] <= key {
            return Some(last);
        }
        Some(worst.partition_point(|worst| *worst <= key).saturating_sub(1))
    }

    #[cold]
    fn divide(&mut self, index: usize) {
        let better = self.chunks[index].divide();
        self.worst.insert(index + 1, better.0[0].0);
        self.chunks.insert(index + 1, better);
    }
}
