//! What the loom models share: the bound, and a record that shows when it is torn.

/// Runs `model` under every interleaving with at most `LOOM_MAX_PREEMPTIONS` (2) preemptions.
pub(crate) fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(2));
    builder.check(model);
}

/// Runs `model` under every interleaving there is.
#[allow(dead_code, reason = "not every file of models has one small enough")]
pub(crate) fn check_all(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = None;
    builder.check(model);
}

/// The record of a position: a word that comes from another position shows.
#[allow(dead_code, reason = "not every file of models has records")]
pub(crate) fn record(position: u64) -> [u64; 2] {
    [position + 1, position + 101]
}
