//! The options of a subscription, as Python checked them.
//!
//! Guarantees: each option is the attribute of the same name of one Python object; it is read once, when the
//! subscription joins its group or is tuned.
//! Does not: check options, or name their defaults; Python does.

use headrace_core::fan_out::plan::Filter;
use headrace_core::market::kind::KindSet;
use pyo3::prelude::*;

use crate::errors::internal;

/// What happens to the ticks of a subscription that is too slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overflow {
    /// The writer waits.
    Block,
    /// The oldest ticks are lost, counted and reported as a gap.
    DropOldest,
    /// Older quotes are folded into newer ones.
    Conflate,
}

impl FromPyObject<'_, '_> for Overflow {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        match object.extract::<&str>()? {
            "block" => Ok(Self::Block),
            "drop_oldest" => Ok(Self::DropOldest),
            "conflate" => Ok(Self::Conflate),
            _ => Err(internal("an unknown overflow")),
        }
    }
}

/// How the ticks of a subscription are delivered; may change while it lives.
#[derive(Clone, Copy, FromPyObject)]
pub(crate) struct Tuning {
    pub(crate) overflow: Overflow,
    pub(crate) batch_max: usize,
    pub(crate) lag_max_ticks: u64,
    pub(crate) lag_max_ns: i64,
    #[pyo3(attribute("on_lag"), from_py_with = skips)]
    pub(crate) lag_skip: bool,
}

fn skips(on_lag: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(on_lag.extract::<&str>()? == "skip")
}

/// The options of a subscription.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) filter: Filter,
    /// The kinds that `on_tick` and `on_ticks` take.
    pub(crate) every_kinds: KindSet,
    pub(crate) tuning: Tuning,
    pub(crate) every_ns: i64,
    pub(crate) min_interval_ns: i64,
    pub(crate) rate_limit: f64,
    /// Pull side: ticks are kept until the subscription is read.
    pub(crate) pull: bool,
    /// Handlers return awaitables, which a task awaits in order.
    pub(crate) awaited: bool,
    /// The group's: what is delivered is hashed.
    pub(crate) hashing: bool,
}

impl FromPyObject<'_, '_> for Options {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let option = |name| object.getattr(name);
        Ok(Self {
            filter: Filter {
                instruments: option("instruments")?.extract()?,
                kinds: option("kinds")?.extract()?,
            },
            every_kinds: option("every_kinds")?.extract()?,
            tuning: object.extract()?,
            every_ns: option("every_ns")?.extract()?,
            min_interval_ns: option("min_interval_ns")?.extract()?,
            rate_limit: option("rate_limit")?.extract()?,
            pull: option("pull")?.extract()?,
            awaited: option("awaited")?.extract()?,
            hashing: false,
        })
    }
}

impl Options {
    /// Whether each tick must be looked at for this subscription alone, so that it cannot share a batch's columns.
    pub(crate) fn is_private(&self) -> bool {
        self.tuning.overflow == Overflow::Conflate
            || self.every_ns > 0
            || self.rate_limit > 0.0
            || self.tuning.lag_skip
            || self.pull
            || self.hashing
    }

    /// Whether ticks may wait for a time: of a window, or of an interval.
    pub(crate) fn is_timed(&self) -> bool {
        self.every_ns > 0 || self.min_interval_ns > 0
    }

    pub(crate) fn watches_lag(&self) -> bool {
        self.tuning.lag_max_ticks > 0 || self.tuning.lag_max_ns > 0
    }
}
