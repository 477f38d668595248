//! The `tick` that a handler gets: the whole record behind attributes, one Python type per kind.
//!
//! ```text
//!   TickObject = Python header | the 72-byte record | position | clock | four shared strings | four floats
//! ```
//! Guarantees: attributes are read straight from a private copy of the record; a kind has only its own values; an
//! object is refilled only while its slot holds the only reference, so a strategy that keeps one, or a float of it,
//! finds it unchanged. Prices and sizes are ready-made floats: CPython reads a member that is an object in one
//! specialised instruction, and four floats written in place cost less than one made on access.
//! Does not: allow construction from Python; tests build arrays with `headrace.ticks` or pass plain values.
#![allow(
    unsafe_code,
    reason = "Python types with C members: attributes at the cost of a load"
)]

use std::ffi::c_void;

use headrace_core::market::field::{Field, Whole};
use headrace_core::market::instrument::Contract;
use headrace_core::market::tick::Tick;
use pyo3::ffi;
use pyo3::prelude::*;

use crate::tables::kinds::{describe_values, fact_object, unknowable};

/// The Python object. `repr(C)`: CPython reads the members at the offsets given below.
#[repr(C)]
pub(super) struct TickObject {
    header: ffi::PyObject,
    pub(super) tick: Tick,
    pub(super) position: u64,
    pub(super) now_ns: i64,
    pub(super) contract: Contract,
    pub(super) symbol: *mut ffi::PyObject,
    pub(super) venue: *mut ffi::PyObject,
    pub(super) instrument: *mut ffi::PyObject,
    pub(super) kind: *mut ffi::PyObject,
    /// The values that are floats; null where the kind has none.
    pub(super) floats: [*mut ffi::PyObject; 4],
}

/// Fields that are computed on access; a getter's closure is an index into this list.
pub(super) const DERIVED: [Field; 7] = [
    Field::Mid,
    Field::Spread,
    Field::Microprice,
    Field::Imbalance,
    Field::Notional,
    Field::AgeNs,
    Field::LagNs,
];
/// What gaps and statuses say, by the names of these fields; their indexes follow those of `DERIVED`.
pub(super) const FACTS: [(&str, Field); 5] = [
    ("cause", Field::Cause),
    ("lost_kind", Field::LostKind),
    ("state", Field::State),
    ("stream", Field::Stream),
    ("reason", Field::Reason),
];
pub(super) const FIRST_FACT: usize = DERIVED.len();
pub(super) const FIRST_UNKNOWABLE: usize = FIRST_FACT + FACTS.len();

pub(super) extern "C" fn dealloc(object: *mut ffi::PyObject) {
    // SAFETY: CPython calls this once, attached, with an object of ours; heap types hold a reference per instance.
    unsafe {
        let tick = object.cast::<TickObject>();
        let strings = [(*tick).symbol, (*tick).venue, (*tick).instrument, (*tick).kind];
        for object in strings.into_iter().chain((*tick).floats) {
            ffi::Py_XDECREF(object);
        }
        let kind_type = ffi::Py_TYPE(object);
        let free: ffi::freefunc = std::mem::transmute(ffi::PyType_GetSlot(kind_type, ffi::Py_tp_free));
        free(object.cast());
        ffi::Py_DECREF(kind_type.cast());
    }
}

pub(super) extern "C" fn get_computed(object: *mut ffi::PyObject, closure: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: CPython calls this attached, with an object of the type that the getter belongs to.
    let (py, this) = unsafe { (Python::assume_attached(), &*object.cast::<TickObject>()) };
    let made = match closure as usize {
        index if (FIRST_FACT..FIRST_UNKNOWABLE).contains(&index) => {
            let (_, field) = FACTS[index - FIRST_FACT];
            fact_object(py, field, &this.tick).expect("each of them is a fact")
        }
        index if index >= FIRST_UNKNOWABLE => unknowable(py, this.tick.values[(index - FIRST_UNKNOWABLE) & 3]),
        index => {
            let field = DERIVED[index];
            if field.is_float() {
                Ok(field
                    .number(&this.tick, this.now_ns, this.contract)
                    .into_pyobject(py)
                    .expect("never fails")
                    .into_any()
                    .unbind())
            } else {
                match field.whole(&this.tick, this.position, this.now_ns) {
                    Whole::Signed(value) => Ok(value.into_pyobject(py).expect("never fails").into_any().unbind()),
                    Whole::Unsigned(value) => Ok(value.into_pyobject(py).expect("never fails").into_any().unbind()),
                }
            }
        }
    };
    given(py, made)
}

pub(super) extern "C" fn repr(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: CPython calls this attached, with an object of ours; its strings are set before it is handed out.
    let (py, this) = unsafe { (Python::assume_attached(), &*object.cast::<TickObject>()) };
    let text = |string: *mut ffi::PyObject| {
        // SAFETY: a live str, or null.
        unsafe { Bound::from_borrowed_ptr_or_opt(py, string) }.map_or(String::new(), |string| string.to_string())
    };
    let values = describe_values(&this.tick);
    let said = format!(
        "<{} {} seq={} position={}{} ts_init={}>",
        text(this.kind),
        text(this.instrument),
        this.tick.seq,
        this.position,
        values,
        this.tick.ts_init
    );
    given(py, Ok(said.into_pyobject(py).expect("never fails").into_any().unbind()))
}

fn given(py: Python<'_>, made: PyResult<Py<PyAny>>) -> *mut ffi::PyObject {
    match made {
        Ok(object) => object.into_ptr(),
        Err(error) => {
            error.restore(py);
            std::ptr::null_mut()
        }
    }
}
