//! The options of a subscription, as Python checked them.
//!
//! Guarantees: each option is the attribute of the same name of one Python object; it is read once, when the
//! subscription joins its group or is tuned.
//! Does not: check options, or name their defaults; Python does.

use headrace_core::fan_out::plan::Filter;
use headrace_core::market::kind::{self, KindSet, kind_set};
use pyo3::prelude::*;

use super::handler::{Handler, Role};
use crate::errors::internal;
use crate::tables::kinds::set_of;

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
    /// 0: none.
    #[pyo3(from_py_with = or_zero)]
    pub(crate) lag_max_ticks: u64,
    /// 0: none.
    #[pyo3(from_py_with = or_zero)]
    pub(crate) lag_max_ns: i64,
    #[pyo3(attribute("on_lag"), from_py_with = skips)]
    pub(crate) lag_skip: bool,
}

/// A number, 0 for None.
fn or_zero<'py, T: FromPyObjectOwned<'py> + Default>(number: &Bound<'py, PyAny>) -> PyResult<T> {
    let number: Option<T> = number.extract().map_err(Into::into)?;
    Ok(number.unwrap_or_default())
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
    /// A plural handler takes books: they are no ticks of the span, so they are held apart.
    pub(crate) holds_books: bool,
    /// Handlers return awaitables, which a task awaits in order.
    pub(crate) awaited: bool,
    /// What is delivered is hashed.
    pub(crate) hashing: bool,
}

/// The options that no tuning changes, by the names that they have in Python.
#[derive(FromPyObject)]
struct Named {
    instruments: Vec<String>,
    /// None: those of the handlers.
    kinds: Option<Vec<String>>,
    #[pyo3(from_py_with = or_zero)]
    every: i64,
    min_interval_ns: i64,
    #[pyo3(from_py_with = or_zero)]
    rate_limit: f64,
}

impl Options {
    /// The options of a subscription with these handlers. `hashing` and whether handlers are `awaited` are the group's.
    pub(super) fn new(
        py: Python<'_>,
        options: &Bound<'_, PyAny>,
        handlers: &[Handler],
        awaited: bool,
        hashing: bool,
    ) -> PyResult<Self> {
        let named: Named = options.extract()?;
        let chosen = set_of(py, named.kinds)?;
        let mut every_kinds = 0;
        let mut kinds = if handlers.is_empty() { chosen } else { 0 };
        for handler in handlers {
            match handler.role {
                Role::Singular(kind) | Role::Plural(kind) => kinds |= kind_set(kind),
                Role::EveryTick | Role::AllTicks => every_kinds = chosen & !kind_set(kind::BOOK),
            }
        }
        kinds |= every_kinds;
        if kinds & kind_set(kind::BOOK) != 0 {
            kinds |= kind::BOOK_SOURCES;
        }
        Ok(Self {
            filter: Filter {
                instruments: named.instruments,
                kinds,
            },
            every_kinds,
            tuning: options.extract()?,
            every_ns: named.every,
            min_interval_ns: named.min_interval_ns,
            rate_limit: named.rate_limit,
            pull: handlers.is_empty(),
            holds_books: handlers.iter().any(|handler| handler.role == Role::Plural(kind::BOOK)),
            awaited,
            hashing,
        })
    }

    /// Whether each tick must be looked at for this subscription alone, so that it cannot share a batch's columns.
    pub(crate) fn is_private(&self) -> bool {
        self.tuning.overflow == Overflow::Conflate
            || self.every_ns > 0
            || self.rate_limit > 0.0
            || self.tuning.lag_skip
            || self.pull
            || self.holds_books
            || self.hashing
    }

    /// Whether ticks may wait for a time: of a window, or of an interval.
    pub(crate) fn is_timed(&self) -> bool {
        self.every_ns > 0 || self.min_interval_ns > 0
    }

    /// Whether it has a book of each of its instruments kept.
    pub(crate) fn uses_books(&self) -> bool {
        self.filter.kinds & kind_set(kind::BOOK) != 0
    }

    pub(crate) fn watches_lag(&self) -> bool {
        self.tuning.lag_max_ticks > 0 || self.tuning.lag_max_ns > 0
    }
}
