//! A log-linear histogram of nanoseconds: fixed memory, which the first record allocates.
//!
//! ```text
//!   0..32 one by one │ 32..64 by 1 │ 64..128 by 2 │ 128..256 by 4 │ …   32 buckets to each doubling
//! ```
//! Guarantees: a quantile is never below the true one and at most 1/32 above it; max and count are exact.
//! Does not: resolve above [`HISTOGRAM_MAX_NS`]; what lies there is counted in the last bucket, and max stays exact.

use crate::limits::HISTOGRAM_MAX_NS;

/// Buckets to each doubling, as a power of two: an error of at most 1/32.
const STEP_BITS: u32 = 5;
const STEPS: usize = 1 << STEP_BITS;
const BUCKETS: usize = STEPS * (HISTOGRAM_MAX_NS.ilog2() - STEP_BITS + 1) as usize;

/// How often which latency was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Empty before the first record: most subscriptions of a large run are never called.
    buckets: Box<[u64]>,
    count: u64,
    max_ns: u64,
}

impl Histogram {
    /// Counts `ns` as seen `weight` times.
    #[inline]
    pub fn record(&mut self, ns: u64, weight: u64) {
        if self.buckets.is_empty() {
            self.buckets = vec![0; BUCKETS].into();
        }
        self.buckets[bucket_of(ns)] += weight;
        self.count += weight;
        if weight > 0 {
            self.max_ns = self.max_ns.max(ns);
        }
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The largest, ns; 0 when empty.
    #[must_use]
    pub fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// The smallest bucket edge that at least the share `q` (0 to 1) of what was counted does not exceed, ns; 0 when
    /// empty.
    #[must_use]
    pub fn quantile(&self, q: f64) -> u64 {
        // Rounding up to at least one makes quantile(0) the smallest.
        let wanted = ((self.count as f64 * q.clamp(0.0, 1.0)).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        for (bucket, &count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return if bucket == BUCKETS - 1 {
                    self.max_ns
                } else {
                    upper_edge(bucket).min(self.max_ns)
                };
            }
        }
        self.max_ns
    }
}

#[inline]
fn bucket_of(ns: u64) -> usize {
    let ns = ns.min(HISTOGRAM_MAX_NS - 1);
    if ns < STEPS as u64 {
        return ns as usize;
    }
    let shift = ns.ilog2() - STEP_BITS;
    // The leading bit stays in, so every doubling begins where the one before it ended.
    STEPS * shift as usize + (ns >> shift) as usize
}

/// The largest value that the bucket counts.
fn upper_edge(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    let shift = bucket / STEPS - 1;
    let step = (bucket - STEPS * shift) as u64;
    ((step + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_cover_every_value_once_and_in_order() {
        assert_eq!(bucket_of(0), 0);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        for bucket in 0..BUCKETS {
            let edge = upper_edge(bucket);
            assert_eq!(bucket_of(edge), bucket, "edge {edge}");
            if bucket + 1 < BUCKETS {
                assert_eq!(bucket_of(edge + 1), bucket + 1, "edge {edge}");
            }
        }
        assert_eq!(upper_edge(BUCKETS - 1), HISTOGRAM_MAX_NS - 1);
    }

    proptest! {
        #[test]
        fn a_quantile_is_at_most_a_thirty_second_above_the_true_one(
            values in prop::collection::vec((0u64..HISTOGRAM_MAX_NS, 1u64..4), 1..200),
            q in 0.0f64..=1.0,
        ) {
            let mut histogram = Histogram::default();
            let mut all = Vec::new();
            for &(ns, weight) in &values {
                histogram.record(ns, weight);
                all.extend(std::iter::repeat_n(ns, weight as usize));
            }
            all.sort_unstable();
            let rank = ((all.len() as f64 * q).ceil() as usize).clamp(1, all.len());
            let (truth, found) = (all[rank - 1], histogram.quantile(q));
            prop_assert!(found >= truth && found <= truth + truth / 32, "{found} for {truth}");
            prop_assert_eq!(histogram.max_ns(), *all.last().unwrap());
            prop_assert_eq!(histogram.count(), all.len() as u64);
        }
    }
}
