//! The process's kind table, and the Python faces of kinds, causes and fields.
//!
//! Guarantees: one table for the process; rows are only added.
//! Does not: hold its lock while Python runs.

use std::sync::{Arc, LazyLock, PoisonError, RwLock, RwLockReadGuard};

use headrace_core::market::field::Field;
use headrace_core::market::field_table::{FieldRow, table as fields_of};
use headrace_core::market::kind::{self, KindSet, KindTable, Nature, ValueType, VenueIds};
use headrace_core::market::status::{Status, StatusReason, StreamState, stream_of};
use headrace_core::market::tick::{GapCause, Tick, UNKNOWN, flags};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

use crate::errors::raise;
use crate::hot::python_call::call;

/// The kind table, and the fields that its kinds have: each row of a strategy is looked up in them.
struct Tables {
    kinds: Arc<KindTable>,
    fields: Arc<[FieldRow]>,
}

impl Tables {
    fn of(kinds: KindTable) -> Self {
        Self {
            fields: fields_of(&kinds).into(),
            kinds: Arc::new(kinds),
        }
    }
}

static TABLES: LazyLock<RwLock<Tables>> = LazyLock::new(|| RwLock::new(Tables::of(KindTable::default())));
static CAUSES: PyOnceLock<Vec<Py<PyAny>>> = PyOnceLock::new();

fn tables() -> RwLockReadGuard<'static, Tables> {
    TABLES.read().unwrap_or_else(PoisonError::into_inner)
}

/// The kind table as it is now.
pub(crate) fn kinds() -> Arc<KindTable> {
    Arc::clone(&tables().kinds)
}

/// The field table as it is now.
pub(crate) fn fields() -> Arc<[FieldRow]> {
    Arc::clone(&tables().fields)
}

/// Adds a row to the kind table and returns its number.
///
/// name : lower-case identifier; handlers are called ``on_<name>`` and ``on_<name>s``.
/// values : at most four names; each is a float64.
/// nature : "state" (only the newest matters: may be conflated) or "flow" (each one matters).
/// venue_ids : "monotone", "contiguous" or "none".
/// Raises KindError. Dispatchers made before do not have the new kind.
#[pyfunction]
#[pyo3(signature = (name, values, *, nature="flow", venue_ids="none"))]
pub(crate) fn register_kind(
    py: Python<'_>,
    name: &str,
    values: Vec<String>,
    nature: &str,
    venue_ids: &str,
) -> PyResult<u8> {
    let refuse = |what: &str, value: &str, valid: &str| {
        raise(py, "KindError", format!("{what} '{value}' is unknown: use {valid}"))
    };
    let nature = Nature::from_name(nature)
        .filter(|nature| matches!(nature, Nature::State | Nature::Flow))
        .ok_or_else(|| refuse("nature", nature, "'state' or 'flow'"))?;
    let venue_ids = VenueIds::from_name(venue_ids)
        .filter(|venue_ids| *venue_ids != VenueIds::Chained)
        .ok_or_else(|| refuse("venue_ids", venue_ids, "'monotone', 'contiguous' or 'none'"))?;
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let mut tables = TABLES.write().unwrap_or_else(PoisonError::into_inner);
    let mut kinds = KindTable::clone(&tables.kinds);
    let registered = kinds.register(name, &values, nature, venue_ids);
    if registered.is_ok() {
        *tables = Tables::of(kinds);
    }
    drop(tables);
    registered.map_err(|error| raise(py, "KindError", error.to_string()))
}

type KindTuple = (
    u8,
    String,
    String,
    &'static str,
    &'static str,
    Vec<(String, &'static str)>,
);

/// Every row of the kind table: (number, name, plural or "", nature, venue ids, value names and dtypes).
#[pyfunction]
pub(crate) fn kind_table() -> Vec<KindTuple> {
    kinds()
        .rows()
        .iter()
        .map(|row| {
            let values = row.values.iter();
            (
                row.kind,
                row.name.clone(),
                row.plural.clone(),
                row.nature.name(),
                row.venue_ids.name(),
                values.map(|(name, dtype)| (name.clone(), dtype.name())).collect(),
            )
        })
        .collect()
}

type FieldTuple = (
    String,
    Option<&'static str>,
    Option<&'static str>,
    &'static str,
    String,
    Vec<String>,
);

/// Every row of the field table: (name, singular type, plural dtype, unit, formula, kinds).
#[pyfunction]
pub(crate) fn field_table() -> Vec<FieldTuple> {
    let table = kinds();
    fields()
        .iter()
        .cloned()
        .map(|row| {
            let valid = table
                .rows()
                .iter()
                .filter(|kind_row| row.kinds & kind::kind_set(kind_row.kind) != 0);
            let valid = valid.map(|kind_row| kind_row.name.clone()).collect();
            (row.name, row.singular, row.plural, row.unit, row.formula, valid)
        })
        .collect()
}

/// Every flag: (name, bit, meaning).
#[pyfunction]
pub(crate) fn flag_table() -> Vec<(&'static str, u16, &'static str)> {
    flags::TABLE.to_vec()
}

/// Every gap cause: (number, name).
#[pyfunction]
pub(crate) fn cause_table() -> Vec<(u8, &'static str)> {
    GapCause::ALL.map(|cause| (cause as u8, cause.name())).to_vec()
}

/// The set of the kinds with these names, as bits; of all kinds without names.
pub(crate) fn set_of(py: Python<'_>, names: Option<Vec<String>>) -> PyResult<KindSet> {
    let table = kinds();
    let Some(names) = names else {
        let published = table.rows().iter().filter(|row| row.nature != Nature::Derived);
        return Ok(published.fold(0, |set, row| set | kind::kind_set(row.kind)));
    };
    names.iter().try_fold(0, |set, name| {
        let row = table.by_name(name).ok_or_else(|| {
            let known: Vec<&str> = table.rows().iter().map(|row| row.name.as_str()).collect();
            raise(
                py,
                "KindError",
                format!("kind '{name}' is unknown: use one of {}", known.join(", ")),
            )
        })?;
        Ok(set | kind::kind_set(row.kind))
    })
}

/// Every state of a stream and every reason for one: (number, name) each.
#[pyfunction]
pub(crate) fn status_tables() -> (Vec<NameTuple>, Vec<NameTuple>) {
    let states = StreamState::ALL.map(|state| (state as u8, state.name()));
    let reasons = StatusReason::ALL.map(|reason| (reason as u8, reason.name()));
    (states.to_vec(), reasons.to_vec())
}

type NameTuple = (u8, &'static str);

/// What a gap or a status says of ticks, as an object: a cause, a kind, a state, a reason. `None`: another field.
pub(crate) fn fact_object(py: Python<'_>, field: Field, tick: &Tick) -> Option<PyResult<Py<PyAny>>> {
    let text = |name: Option<&str>| {
        let object = name.map_or_else(|| py.None(), |name| PyString::intern(py, name).into_any().unbind());
        Some(Ok(object))
    };
    let status = Status::of_tick(tick);
    match field {
        Field::Cause => Some(cause_object(py, tick.values[3])),
        Field::LostKind => Some(lost_kind_object(py, tick.values[3])),
        Field::State => text(status.map(|status| status.state.name())),
        Field::Reason => text(status.map(|status| status.reason.name())),
        Field::BookState => text(Some(StreamState::Live.name())),
        Field::Stream => match stream_of(tick.values[2]) {
            kind::LEVEL => text(Some(DEPTH)),
            stream => text(kinds().get(stream).map(|row| row.name.as_str())),
        },
        _ => None,
    }
}

/// The stream of levels, and the book that is made of it.
const DEPTH: &str = "depth";

/// The member of `GapCause` that a gap's fourth value names.
fn cause_object(py: Python<'_>, value: u64) -> PyResult<Py<PyAny>> {
    let causes = CAUSES.get_or_try_init(py, || -> PyResult<Vec<Py<PyAny>>> {
        let class = py.import("headrace.market.tick")?.getattr("GapCause")?;
        let members = GapCause::ALL.iter();
        members
            .map(|cause| Ok(call(&class, (*cause as u8,))?.unbind()))
            .collect()
    })?;
    let index = usize::try_from(value & 0xff).expect("one byte").wrapping_sub(1);
    Ok(causes.get(index).map_or_else(|| py.None(), |cause| cause.clone_ref(py)))
}

/// The name of the missing kind, in a gap's fourth value, or None.
fn lost_kind_object(py: Python<'_>, value: u64) -> PyResult<Py<PyAny>> {
    let lost = u8::try_from(value >> 8 & 0xff).expect("one byte");
    let name = kinds().get(lost).map(|row| row.name.clone());
    Ok(name.into_pyobject(py)?.into_any().unbind())
}

/// A number that may be unknowable: None then.
pub(crate) fn unknowable(py: Python<'_>, value: u64) -> PyResult<Py<PyAny>> {
    Ok((value != UNKNOWN)
        .then_some(value)
        .into_pyobject(py)?
        .into_any()
        .unbind())
}

/// A tick's values as ` name=value …`, for its repr.
pub(crate) fn describe_values(tick: &Tick) -> String {
    let table = kinds();
    let Some(row) = table.get(tick.kind) else {
        return String::new();
    };
    let status = Status::of_tick(tick);
    let mut described = String::new();
    for (index, (name, value_type)) in row.values.iter().enumerate() {
        use std::fmt::Write as _;
        let written = match value_type {
            ValueType::F64 => write!(described, " {name}={}", tick.value(index)),
            ValueType::U64 if row.kind == kind::GAP && name == "cause" => {
                let cause = GapCause::of_value(tick.values[index]);
                write!(described, " cause={}", cause.map_or("?", GapCause::name))
            }
            ValueType::U64 if row.kind == kind::STATUS && name != "epoch" => {
                let said = status.map(|status| match name.as_str() {
                    "state" => status.state.name(),
                    "reason" => status.reason.name(),
                    _ => table.get(status.stream).map_or("?", |row| &row.name),
                });
                write!(described, " {name}={}", said.unwrap_or("?"))
            }
            ValueType::U64 if row.kind == kind::GAP && tick.values[index] == UNKNOWN => {
                write!(described, " {name}=None")
            }
            ValueType::U64 => write!(described, " {name}={}", tick.values[index]),
            ValueType::Unused => Ok(()),
        };
        written.expect("writing to a String never fails");
    }
    described
}
