//! The Python types of tick objects: a base, and one per kind with that kind's own attributes.
//!
//! Guarantees: a type is made once a process; it reads straight from the record at the offsets of `TickObject`.
//! Does not: make objects; that is `tick_slot`.
#![allow(
    unsafe_code,
    reason = "Python types with C members: attributes at the cost of a load"
)]

use std::ffi::{CString, c_char, c_int, c_void};
use std::mem::offset_of;
use std::sync::{Mutex, PoisonError};

use headrace_core::market::field_table;
use headrace_core::market::kind::{self, KindRow, KindTable, ValueType, kind_set};
use headrace_core::market::tick::Tick;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::tick_object::{DERIVED, FACTS, FIRST_FACT, FIRST_UNKNOWABLE, TickObject, dealloc, get_computed, repr};
use crate::tables::kinds::kinds;

/// One Python type per kind, by kind number; index 0 is the base type. Types are made once a process.
pub(crate) struct TickTypes {
    types: Vec<Py<PyType>>,
    /// By kind number: which of the four values are floats.
    floats: Vec<Vec<u8>>,
}

static TYPES: Mutex<Vec<Py<PyType>>> = Mutex::new(Vec::new());

/// The types of every kind registered so far.
pub(crate) fn tick_types(py: Python<'_>) -> PyResult<TickTypes> {
    let kinds = kinds();
    // Copied out and back: making a type runs Python, and no lock is held meanwhile. The interpreter's lock keeps a
    // second maker away.
    let mut types: Vec<Py<PyType>> = known_types(py);
    if types.is_empty() {
        types.push(build_type(
            py,
            "Tick",
            "One market event: the whole record.",
            None,
            base_members(),
            base_getters(),
        )?);
    }
    for row in &kinds.rows()[types.len() - 1..] {
        let made = kind_type(py, row, &types[0])?;
        types.push(made);
    }
    let known = known_types(py);
    let is_float = |row: &KindRow| {
        let values = (0u8..).zip(&row.values);
        values
            .filter(|(_, (_, value_type))| *value_type == ValueType::F64)
            .map(|(index, _)| index)
            .collect()
    };
    let floats = std::iter::once(Vec::new())
        .chain(kinds.rows().iter().map(is_float))
        .collect();
    if known.len() >= types.len() {
        return Ok(TickTypes { types: known, floats });
    }
    *TYPES.lock().unwrap_or_else(PoisonError::into_inner) = types.iter().map(|made| made.clone_ref(py)).collect();
    Ok(TickTypes { types, floats })
}

fn known_types(py: Python<'_>) -> Vec<Py<PyType>> {
    let known = TYPES.lock().unwrap_or_else(PoisonError::into_inner);
    known.iter().map(|known| known.clone_ref(py)).collect()
}

impl TickTypes {
    /// The type of a kind, or the base type.
    pub(crate) fn of(&self, kind: u8) -> &Py<PyType> {
        self.types.get(usize::from(kind)).unwrap_or(&self.types[0])
    }

    /// Which of a kind's four values are floats.
    #[inline]
    pub(super) fn floats_of(&self, kind: u8) -> &[u8] {
        self.floats.get(usize::from(kind)).map_or(&[], Vec::as_slice)
    }

    /// How many kinds have a type.
    pub(crate) fn len(&self) -> usize {
        self.types.len() - 1
    }

    /// Every type, the base first.
    pub(crate) fn all(&self) -> &[Py<PyType>] {
        &self.types
    }
}

fn member(name: &str, type_code: c_int, offset: usize) -> ffi::PyMemberDef {
    ffi::PyMemberDef {
        name: leaked(name),
        type_code,
        offset: ffi::Py_ssize_t::try_from(offset).expect("a small offset"),
        flags: ffi::Py_READONLY,
        doc: std::ptr::null(),
    }
}

// Types live as long as the process, and so do the names in them.
fn leaked(text: &str) -> *const c_char {
    CString::new(text).expect("no NUL in a name").into_raw()
}

fn base_members() -> Vec<ffi::PyMemberDef> {
    let tick = offset_of!(TickObject, tick);
    vec![
        member("seq", ffi::Py_T_ULONGLONG, tick + offset_of!(Tick, seq)),
        member("venue_seq", ffi::Py_T_ULONGLONG, tick + offset_of!(Tick, venue_seq)),
        member("ts_event", ffi::Py_T_LONGLONG, tick + offset_of!(Tick, ts_event)),
        member("ts_init", ffi::Py_T_LONGLONG, tick + offset_of!(Tick, ts_init)),
        member("instrument_id", ffi::Py_T_UINT, tick + offset_of!(Tick, instrument)),
        member("flags", ffi::Py_T_USHORT, tick + offset_of!(Tick, flags)),
        member("position", ffi::Py_T_ULONGLONG, offset_of!(TickObject, position)),
        member("symbol", ffi::Py_T_OBJECT_EX, offset_of!(TickObject, symbol)),
        member("venue", ffi::Py_T_OBJECT_EX, offset_of!(TickObject, venue)),
        member("instrument", ffi::Py_T_OBJECT_EX, offset_of!(TickObject, instrument)),
        member("kind", ffi::Py_T_OBJECT_EX, offset_of!(TickObject, kind)),
    ]
}

fn getter(name: &str, closure: usize) -> ffi::PyGetSetDef {
    ffi::PyGetSetDef {
        name: leaked(name),
        get: Some(get_computed),
        set: None,
        doc: std::ptr::null(),
        closure: closure as *mut c_void,
    }
}

fn base_getters() -> Vec<ffi::PyGetSetDef> {
    vec![getter("age_ns", 5), getter("lag_ns", 6)]
}

fn kind_type(py: Python<'_>, row: &KindRow, base: &Py<PyType>) -> PyResult<Py<PyType>> {
    let tick = offset_of!(TickObject, tick);
    let values = tick + offset_of!(Tick, values);
    let floats = offset_of!(TickObject, floats);
    let mut members = Vec::new();
    let mut getters = Vec::new();
    let mut fields = field_table::table(&KindTable::default());
    fields.retain(|field_row| field_row.kinds & kind_set(row.kind) != 0);
    for (index, (name, value_type)) in row.values.iter().enumerate() {
        match value_type {
            ValueType::F64 => members.push(member(name, ffi::Py_T_OBJECT_EX, floats + 8 * index)),
            ValueType::U64 if FACTS.iter().any(|(fact, _)| fact == name) => {}
            ValueType::U64 if row.kind == kind::GAP => getters.push(getter(name, FIRST_UNKNOWABLE + index)),
            ValueType::U64 => members.push(member(name, ffi::Py_T_ULONGLONG, values + 8 * index)),
            ValueType::Unused => {}
        }
    }
    let side = tick + offset_of!(Tick, side);
    match row.kind {
        kind::TRADE | kind::AGG_TRADE | kind::LIQUIDATION => {
            members.push(member("aggressor_side", ffi::Py_T_BYTE, side))
        }
        kind::LEVEL => members.push(member("side", ffi::Py_T_BYTE, side)),
        kind::BOOK => members.push(member(
            "update_id",
            ffi::Py_T_ULONGLONG,
            tick + offset_of!(Tick, venue_seq),
        )),
        _ => {}
    }
    if row.kind == kind::TRADE {
        members.push(member(
            "trade_id",
            ffi::Py_T_ULONGLONG,
            tick + offset_of!(Tick, venue_seq),
        ));
    }
    for field_row in &fields {
        if let Some(index) = DERIVED[..5].iter().position(|derived| *derived == field_row.field) {
            getters.push(getter(&field_row.name, index));
        }
        if let Some(index) = FACTS.iter().position(|(_, fact)| *fact == field_row.field) {
            getters.push(getter(&field_row.name, FIRST_FACT + index));
        }
    }
    let name: String = row
        .name
        .split('_')
        .map(|word| word[..1].to_uppercase() + &word[1..])
        .collect();
    let doc = format!("A tick of kind {}.", row.name);
    build_type(py, &format!("{name}Tick"), &doc, Some(base), members, getters)
}

fn build_type(
    py: Python<'_>,
    name: &str,
    doc: &str,
    base: Option<&Py<PyType>>,
    mut members: Vec<ffi::PyMemberDef>,
    mut getters: Vec<ffi::PyGetSetDef>,
) -> PyResult<Py<PyType>> {
    // SAFETY: an all-zero entry is CPython's end mark of both tables.
    unsafe {
        members.push(std::mem::zeroed());
        getters.push(std::mem::zeroed());
    }
    let slot = |slot, pfunc: *mut c_void| ffi::PyType_Slot { slot, pfunc };
    let mut slots = vec![
        slot(ffi::Py_tp_dealloc, dealloc as *const () as *mut c_void),
        slot(ffi::Py_tp_repr, repr as *const () as *mut c_void),
        slot(ffi::Py_tp_members, members.leak().as_mut_ptr().cast()),
        slot(ffi::Py_tp_getset, getters.leak().as_mut_ptr().cast()),
        slot(ffi::Py_tp_doc, leaked(doc).cast_mut().cast()),
        slot(0, std::ptr::null_mut()),
    ];
    let flags = ffi::Py_TPFLAGS_DEFAULT
        | ffi::Py_TPFLAGS_BASETYPE
        | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION
        | ffi::Py_TPFLAGS_IMMUTABLETYPE;
    let mut spec = ffi::PyType_Spec {
        name: leaked(&format!("headrace.{name}")),
        basicsize: c_int::try_from(size_of::<TickObject>()).expect("a small object"),
        itemsize: 0,
        flags: u32::try_from(flags).expect("flags of a type fit 32 bits"),
        slots: slots.as_mut_ptr(),
    };
    let bases = base.map_or(std::ptr::null_mut(), Py::as_ptr);
    // SAFETY: we are attached; spec, slots and tables are well formed and, where CPython keeps them, leaked; base is a
    // type.
    unsafe {
        let created = ffi::PyType_FromSpecWithBases(&raw mut spec, bases);
        Ok(Bound::from_owned_ptr_or_err(py, created)?
            .cast_into::<PyType>()?
            .unbind())
    }
}
