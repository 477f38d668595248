//! The venue numbers of a stream that are missing so far, and may still come.
//!
//! Guarantees: the newest [`GAPS_KNOWN_MAX`] ranges are known, each as what is left of it.
//! Does not: know ranges whose bounds the venue's numbers do not show.

use crate::limits::GAPS_KNOWN_MAX;
use std::collections::VecDeque;

/// Ranges of missing numbers, first and last included, lowest first.
#[derive(Clone, Debug, Default)]
pub(super) struct KnownGaps(VecDeque<(u64, u64)>);

impl KnownGaps {
    /// Adds numbers that lie above all known ones; no number when `first` is above `last`.
    pub(super) fn add(&mut self, first: u64, last: u64) {
        if first <= last {
            self.0.push_back((first, last));
            self.forget();
        }
    }

    /// The numbers of an event came after all; returns whether its last one lay in a gap, which then shrinks.
    pub(super) fn fill(&mut self, first: u64, last: u64) -> bool {
        let place = self.0.partition_point(|(_, end)| *end < last);
        let Some(&(start, end)) = self.0.get(place).filter(|(start, _)| *start <= last) else {
            return false;
        };
        self.0.remove(place);
        if last < end {
            self.0.insert(place, (last + 1, end));
        }
        if start < first {
            self.0.insert(place, (start, first - 1));
        }
        self.forget();
        true
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    fn forget(&mut self) {
        if self.0.len() > GAPS_KNOWN_MAX {
            self.0.pop_front();
        }
    }
}
