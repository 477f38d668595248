//! Narrowing: the instruments that a subscription was woken for, where it was not woken for all of its filter.
//!
//! Guarantees: a look is one load; a change takes effect from the next tick on, and compiles nothing again.
//! Does not: change the state of the subscription.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

use crate::lock::lock;

/// Instruments in a word.
const BITS: usize = u64::BITS as usize;

/// A set of instruments; most subscriptions never have one.
#[derive(Default)]
pub(crate) struct Narrowing {
    /// A bit for each instrument, made when the first one is added.
    bits: OnceLock<Box<[AtomicU64]>>,
    /// The same as ids, so that `clear` looks at these only.
    ids: Mutex<Vec<u32>>,
}

impl Narrowing {
    /// Adds an instrument, of `instruments_max` at most.
    pub(super) fn add(&self, instrument: u32, instruments_max: usize) {
        let mut ids = lock(&self.ids);
        let words = || (0..instruments_max.div_ceil(BITS)).map(|_| AtomicU64::new(0)).collect();
        self.bits.get_or_init(words);
        if !self.has(instrument) {
            self.set(instrument, true);
            ids.push(instrument);
        }
    }

    /// Removes an instrument; whether it was the last one. `None`: it was not there.
    pub(super) fn remove(&self, instrument: u32) -> Option<bool> {
        let mut ids = lock(&self.ids);
        let at = ids.iter().position(|id| *id == instrument)?;
        ids.swap_remove(at);
        self.set(instrument, false);
        Some(ids.is_empty())
    }

    /// Removes all instruments.
    pub(super) fn clear(&self) {
        for instrument in lock(&self.ids).drain(..) {
            self.set(instrument, false);
        }
    }

    /// Whether it has this instrument.
    #[inline]
    pub(super) fn has(&self, instrument: u32) -> bool {
        let word = self.bits.get().and_then(|bits| bits.get(instrument as usize / BITS));
        // Relaxed: as a subscription's state, it takes effect at the next tick that the dispatching thread sees it at.
        word.is_some_and(|word| word.load(Ordering::Relaxed) >> (instrument as usize % BITS) & 1 == 1)
    }

    /// Sets the bit of an instrument; under the lock.
    fn set(&self, instrument: u32, is_in: bool) {
        let bit = 1 << (instrument as usize % BITS);
        let Some(word) = self.bits.get().and_then(|bits| bits.get(instrument as usize / BITS)) else {
            return;
        };
        // Relaxed: as above. The lock keeps other writers away.
        let others = word.load(Ordering::Relaxed) & !bit;
        word.store(if is_in { others | bit } else { others }, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_what_was_added_and_not_removed() {
        let set = Narrowing::default();
        assert!(!set.has(3));
        assert_eq!(set.remove(3), None);
        for instrument in [3, 67, 3] {
            set.add(instrument, 100);
        }
        let has = |set: &Narrowing| [2, 3, 66, 67, 127, 1_000].map(|instrument| set.has(instrument));
        assert_eq!(has(&set), [false, true, false, true, false, false]);
        assert_eq!(set.remove(67), Some(false));
        assert_eq!(set.remove(3), Some(true));
        set.add(67, 100);
        set.clear();
        assert_eq!(has(&set), [false; 6]);
        assert!(!set.has(u32::MAX));
    }
}
