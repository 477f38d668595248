//! Conflation: of a span, the newest tick of each (instrument, state kind) is kept, at its own place.
//!
//! ```text
//!   span   q1 t1 q2 l1 q3 t2        (q: quotes of one instrument, t: trades, l: levels)
//!   kept     t1    l1 q3 t2        q1, q2 folded; their GAP_BEFORE is or-ed into q3
//! ```
//! Guarantees: flow kinds are never folded; the kept ticks are in their order; a late one is never kept.
//! Does not: look beyond the span that it is given.

use crate::limits::KINDS_MAX;
use crate::market::kind::KindSet;
use crate::market::tick::{NO_INSTRUMENT, Tick, flags};

/// Numbers each (instrument, state kind) densely, so that "the newest of each" is an array.
#[derive(Clone, Copy, Debug)]
pub struct StateKeys {
    /// By kind number: its place among the state kinds, or [`NO_RANK`].
    ranks: [u8; KINDS_MAX],
    per_instrument: u8,
}

/// The rank of a kind that is no state.
const NO_RANK: u8 = u8::MAX;

impl StateKeys {
    /// Keys for these state kinds.
    #[must_use]
    pub fn new(kinds: KindSet) -> Self {
        let mut keys = Self {
            ranks: [NO_RANK; KINDS_MAX],
            per_instrument: 0,
        };
        for (kind, rank) in keys.ranks.iter_mut().enumerate() {
            if kinds >> kind & 1 == 1 {
                *rank = keys.per_instrument;
                keys.per_instrument += 1;
            }
        }
        keys
    }

    /// How many kinds share an instrument's place.
    #[must_use]
    pub fn per_instrument(&self) -> usize {
        usize::from(self.per_instrument)
    }

    /// The key of a tick of a state kind; `None` for any other.
    #[inline]
    #[must_use]
    pub fn key(&self, tick: &Tick) -> Option<usize> {
        let rank = self.ranks[usize::from(tick.kind) % KINDS_MAX];
        let is_state = rank != NO_RANK && tick.instrument != NO_INSTRUMENT;
        is_state.then(|| tick.instrument as usize * self.per_instrument() + usize::from(rank))
    }
}

/// Scratch memory of the fold, reused from span to span.
#[derive(Debug)]
pub struct Fold {
    keys: StateKeys,
    /// Per span index: whether a newer tick of the same key follows in the span, or went before.
    folded: Vec<bool>,
    /// Per span index: flags that folded ticks hand on.
    handed_on: Vec<u16>,
    /// Per key: (generation, index of the kept tick).
    newest: Vec<(u64, usize)>,
    generation: u64,
}

impl Fold {
    /// A fold over these keys.
    #[must_use]
    pub fn new(keys: StateKeys) -> Self {
        Self {
            keys,
            folded: Vec::new(),
            handed_on: Vec::new(),
            newest: Vec::new(),
            generation: 0,
        }
    }

    /// Folds `span`; the answers hold until the next call.
    pub fn fold(&mut self, span: &[Tick]) {
        self.generation += 1;
        self.folded.clear();
        self.folded.resize(span.len(), false);
        self.handed_on.clear();
        self.handed_on.resize(span.len(), 0);
        for (index, tick) in span.iter().enumerate().rev() {
            let Some(row) = self.keys.key(tick) else { continue };
            if row >= self.newest.len() {
                self.newest.resize(row + 1, (0, 0));
            }
            let (generation, kept) = self.newest[row];
            let is_followed = generation == self.generation;
            self.folded[index] = is_followed || !tick.may_be_newest();
            if !self.folded[index] {
                self.newest[row] = (self.generation, index);
            } else if tick.may_be_newest() {
                self.handed_on[kept] |= tick.flags & flags::GAP_BEFORE;
            }
        }
    }

    /// Whether the tick at `index` was folded into a newer one, in the span or before it.
    #[inline]
    #[must_use]
    pub fn is_folded(&self, index: usize) -> bool {
        self.folded[index]
    }

    /// Flags that the tick at `index` takes over from those folded into it.
    #[inline]
    #[must_use]
    pub fn handed_on(&self, index: usize) -> u16 {
        self.handed_on[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::kind::kind_set;
    use crate::market::kind::{LEVEL, QUOTE, TRADE};

    #[test]
    fn the_newest_quote_of_each_instrument_stays_and_flow_is_never_folded() {
        let tick = |kind, instrument, flags| Tick {
            kind,
            instrument,
            flags,
            ..Tick::default()
        };
        let span = [
            tick(QUOTE, 7, flags::GAP_BEFORE),
            tick(TRADE, 7, 0),
            tick(QUOTE, 3, 0),
            tick(QUOTE, 7, 0),
            tick(LEVEL, 7, 0),
            tick(LEVEL, 7, 0),
        ];
        let mut fold = Fold::new(StateKeys::new(kind_set(QUOTE)));
        for _ in 0..2 {
            fold.fold(&span);
            let folded: Vec<bool> = (0..span.len()).map(|index| fold.is_folded(index)).collect();
            assert_eq!(folded, [true, false, false, false, false, false]);
            assert_eq!(fold.handed_on(3), flags::GAP_BEFORE);
            assert_eq!(fold.handed_on(2), 0);
        }
    }
}
