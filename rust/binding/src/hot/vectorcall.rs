//! The vectorcall path: one tick's fields become Python objects once, and every handler of the tick gets them.
//!
//! ```text
//!   slots    [bid_price: 61837.63] [ask_price: 61837.64] …        made once per tick, by `Slots::fill`
//!   call     function, receiver, slot numbers of its arguments    made once per subscription
//! ```
//! Guarantees: nothing is allocated per call; a float that a handler keeps never changes: a slot is written in place
//! only while its reference count is ours, and only when every callable is a Python function (a C callable that
//! dispatches again would see the new value in its old argument). Whole numbers are always fresh.
//! Does not: handle what a handler raises; null comes back with the error set.
#![allow(unsafe_code, reason = "arguments go to CPython as a C array")]

use std::mem::MaybeUninit;

use headrace_core::market::field::{Field, Whole};
use headrace_core::market::kind;
use headrace_core::market::tick::Tick;
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyFunction, PyTuple};

use super::float::{IN_PLACE, write_float};
use super::python_call::vectorcall;
use super::returned::{Returned, Unusual};
use super::tick_slot::TickSlot;
use super::tick_types::TickTypes;
use crate::tables::names::Names;

/// Arguments of one handler at most: every field of the table and some.
pub(crate) const ARGUMENTS_MAX: usize = 62;

/// A handler as it is called: function + receiver, not a bound method, so that no call makes one.
pub(crate) struct Call {
    function: Py<PyAny>,
    /// The callable's own entry; `PyObject_Vectorcall` would look it up, and check its result, at every call.
    entry: Option<ffi::vectorcallfunc>,
    receiver: Option<Py<PyAny>>,
    /// It needs more than the values of the record.
    needs_others: bool,
    /// The slot of each argument: positional ones first, then keyword ones in the order of `keywords`.
    slots: Box<[u16]>,
    positional: usize,
    keywords: Option<Py<PyTuple>>,
}

impl Call {
    /// `slots` has at most `ARGUMENTS_MAX` entries, of which the last `keywords.len()` go by keyword.
    pub(crate) fn new(
        function: Py<PyAny>,
        receiver: Option<Py<PyAny>>,
        slots: Vec<u16>,
        keywords: Option<Py<PyTuple>>,
        by_keyword: usize,
    ) -> Self {
        assert!(slots.len() <= ARGUMENTS_MAX && by_keyword <= slots.len());
        let positional = slots.len() - by_keyword;
        let entry = Python::attach(|py| {
            let is_function = function.bind(py).is_instance_of::<PyFunction>();
            // SAFETY: attached; a live object. A Python function keeps its entry for life, and keeps the contract that
            // a result and an error exclude each other, so nothing needs to be checked.
            is_function
                .then(|| unsafe { ffi::PyVectorcall_Function(function.as_ptr()) })
                .flatten()
        });
        Self {
            function,
            entry,
            receiver,
            needs_others: true,
            slots: slots.into(),
            positional,
            keywords,
        }
    }

    /// Finds out what it needs of the slots that it will be called with.
    pub(crate) fn look_at(&mut self, slots: &Slots) {
        let is_value = |slot: &u16| slots.values.iter().any(|(value, _)| value == slot);
        self.needs_others = !self.slots.iter().all(is_value);
    }

    /// Whether the callable is a Python function, so that its arguments may be written in place afterwards.
    pub(crate) fn is_python_function(&self, py: Python<'_>) -> bool {
        self.function.bind(py).is_instance_of::<PyFunction>()
    }

    /// Calls the handler.
    pub(crate) fn call(&self, py: Python<'_>, objects: Objects<'_>) -> Returned {
        let unusual = self.call_plainly(py, objects);
        unusual.map_or(Returned::Nothing, |unusual| unusual.look(py))
    }

    /// The same, in as few steps as most calls need; `None`: it returned None.
    #[inline(always)] // With every call.
    pub(crate) fn call_plainly(&self, py: Python<'_>, objects: Objects<'_>) -> Option<Unusual> {
        let result = self.vectorcall(py, objects);
        // SAFETY: attached; a new reference to None, dropped here.
        unsafe {
            if result == ffi::Py_None() {
                ffi::Py_DECREF(result);
                return None;
            }
        }
        Some(Unusual::new(result))
    }

    /// Calls a handler of one argument with it.
    #[inline]
    pub(crate) fn call_with(&self, py: Python<'_>, argument: &Py<PyAny>) -> Returned {
        debug_assert_eq!(*self.slots, [0], "a handler of one argument");
        self.call(py, Objects(&[argument.as_ptr()]))
    }

    /// Calls a type with an object for each slot, and returns what it makes.
    pub(crate) fn make<const N: usize>(&self, py: Python<'_>, objects: &[Py<PyAny>; N]) -> PyResult<Py<PyAny>> {
        debug_assert_eq!(self.slots.len(), N, "an object for each slot");
        let result = self.vectorcall(py, Objects(&objects.each_ref().map(Py::as_ptr)));
        // SAFETY: attached; a new reference, or null with the Python error set.
        unsafe { Bound::from_owned_ptr_or_err(py, result) }.map(Bound::unbind)
    }

    /// Shows what it refers to to the garbage collector.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.function)?;
        visit.call(&self.receiver)?;
        visit.call(&self.keywords)
    }

    #[inline(always)]
    fn vectorcall(&self, _attached: Python<'_>, objects: Objects<'_>) -> *mut ffi::PyObject {
        let mut arguments = [const { MaybeUninit::<*mut ffi::PyObject>::uninit() }; ARGUMENTS_MAX + 2];
        // Entry 0 belongs to the callee (PY_VECTORCALL_ARGUMENTS_OFFSET).
        let mut count = 1;
        if let Some(receiver) = &self.receiver {
            arguments[1].write(receiver.as_ptr());
            count = 2;
        }
        let positional = count - 1 + self.positional;
        for (argument, slot) in arguments[count..].iter_mut().zip(&self.slots) {
            argument.write(objects.0[usize::from(*slot)]);
        }
        let keywords = self.keywords.as_ref().map_or(std::ptr::null_mut(), Py::as_ptr);
        let count = positional | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
        // SAFETY: attached. Entries 1..=positional and as many more as there are keywords were written above and are
        // live objects (`Objects`); the callee may write to entry 0; the function and the keyword tuple are owned by
        // `self`.
        unsafe {
            let first = arguments.as_ptr().add(1).cast();
            vectorcall(self.function.as_ptr(), self.entry, first, count, keywords)
        }
    }
}

/// The fields that a set of handlers declares, as objects of the current tick.
///
/// Fields are sorted by how they are made, once: most handlers declare a few of the record's own floats, and pay for
/// those.
pub(crate) struct Slots {
    /// One per field, in the order of the plan.
    objects: Vec<*mut ffi::PyObject>,
    /// Slot, and which of the four values it shows. Owned.
    values: Vec<(u16, u8)>,
    /// Slot, and the float computed for it. Owned.
    derived: Vec<(u16, Field)>,
    /// Slot, and the shared text it shows. Borrowed from `Names`.
    texts: Vec<(u16, Field)>,
    /// Slot, and the whole number or fact made for it. Owned.
    fresh: Vec<(u16, Field)>,
    /// The slot of a book, which the caller sets before each `fill`. Owned.
    book: Option<u16>,
    /// The slot of the whole record, borrowed from `tick`.
    whole: Option<u16>,
    tick: TickSlot,
    in_place: bool,
    /// Those that are no values of the record show the current tick, too.
    has_others: bool,
}

// SAFETY: the pointers are only used while attached to the interpreter.
unsafe impl Send for Slots {}

impl Slots {
    pub(crate) fn new(fields: &[Field], in_place: bool) -> Self {
        let mut slots = Self {
            objects: vec![std::ptr::null_mut(); fields.len()],
            values: Vec::new(),
            derived: Vec::new(),
            texts: Vec::new(),
            fresh: Vec::new(),
            book: None,
            whole: None,
            tick: TickSlot::new(in_place && IN_PLACE),
            in_place: in_place && IN_PLACE,
            has_others: false,
        };
        for (slot, field) in (0u16..).zip(fields) {
            match *field {
                Field::ValueF64(index) => slots.values.push((slot, index & 3)),
                field if field.is_float() => slots.derived.push((slot, field)),
                Field::Tick => slots.whole = Some(slot),
                Field::Book => slots.book = Some(slot),
                field @ (Field::Symbol | Field::Venue | Field::Instrument | Field::Kind) => {
                    slots.texts.push((slot, field))
                }
                field => slots.fresh.push((slot, field)),
            }
        }
        slots
    }

    /// Whether a handler declares the book.
    pub(crate) fn has_book(&self) -> bool {
        self.book.is_some()
    }

    /// Sets the book of the next `fill`.
    pub(crate) fn set_book(&mut self, _attached: Python<'_>, book: Py<PyAny>) {
        if let Some(slot) = self.book {
            let old = std::mem::replace(&mut self.objects[usize::from(slot)], book.into_ptr());
            // SAFETY: attached; the slot owned its old object, or was null.
            unsafe { ffi::Py_XDECREF(old) };
        }
    }

    /// Makes every field of `tick`.
    pub(crate) fn fill<'a>(
        &'a mut self,
        py: Python<'_>,
        types: &TickTypes,
        names: &Names,
        tick: &Tick,
        position: u64,
        now_ns: i64,
    ) -> PyResult<Objects<'a>> {
        self.fill_values(py, tick)?;
        self.fill_others(py, types, names, tick, position, now_ns)?;
        Ok(Objects(&self.objects))
    }

    /// Makes the fields of `tick` that are values of the record; `objects_for` makes the others when they are needed.
    // Always inlined: once per tick, from one place.
    #[inline(always)]
    pub(crate) fn fill_values(&mut self, py: Python<'_>, tick: &Tick) -> PyResult<()> {
        let mut made = true;
        // In registers: a float that is written could be any of them, as far as the compiler knows.
        let (objects, in_place) = (&mut self.objects[..], self.in_place);
        for (slot, index) in &self.values {
            let value = f64::from_bits(tick.values[usize::from(*index & 3)]);
            // SAFETY: attached; the slot of a float is null or a float that we own.
            made &= unsafe { write_float(&mut objects[usize::from(*slot)], value, in_place) };
        }
        self.has_others = false;
        if made { Ok(()) } else { Err(PyErr::fetch(py)) }
    }

    /// The arguments of a call, behind `fill_values` of the same tick. A handler that is not called costs nothing here.
    #[inline]
    pub(crate) fn objects_for<'a>(
        &'a mut self,
        py: Python<'_>,
        call: &Call,
        (types, names): (&TickTypes, &Names),
        (tick, position, now_ns): (&Tick, u64, i64),
    ) -> PyResult<Objects<'a>> {
        if call.needs_others && !self.has_others {
            self.fill_others(py, types, names, tick, position, now_ns)?;
        }
        Ok(Objects(&self.objects))
    }

    /// Makes the fields that are not values of the record.
    fn fill_others(
        &mut self,
        py: Python<'_>,
        types: &TickTypes,
        names: &Names,
        tick: &Tick,
        position: u64,
        now_ns: i64,
    ) -> PyResult<()> {
        let mut made = true;
        for (slot, field) in &self.derived {
            let value = field.number(tick, now_ns, names.of(tick.instrument).contract);
            // SAFETY: as above.
            made &= unsafe { write_float(&mut self.objects[usize::from(*slot)], value, self.in_place) };
        }
        for (slot, field) in &self.texts {
            let strings = names.of(tick.instrument);
            self.objects[usize::from(*slot)] = match field {
                Field::Symbol => strings.symbol.as_ptr(),
                Field::Venue => strings.venue.as_ptr(),
                Field::Instrument => strings.instrument.as_ptr(),
                _ => names.kind(tick.kind).as_ptr(),
            };
        }
        for (slot, field) in &self.fresh {
            let object = fresh(py, *field, tick, position, now_ns)?;
            made &= !object.is_null();
            let old = std::mem::replace(&mut self.objects[usize::from(*slot)], object);
            // SAFETY: attached; the slot owned its old object, or was null.
            unsafe { ffi::Py_XDECREF(old) };
        }
        if let Some(slot) = self.whole {
            // SAFETY: attached.
            let object = unsafe { self.tick.fill(types, names, tick, position, now_ns) };
            made &= !object.is_null();
            self.objects[usize::from(slot)] = object;
        }
        self.has_others = made;
        if made { Ok(()) } else { Err(PyErr::fetch(py)) }
    }
}

/// A whole number, or a fact of a gap or status, as a new reference; null with the Python error set.
fn fresh(py: Python<'_>, field: Field, tick: &Tick, position: u64, now_ns: i64) -> PyResult<*mut ffi::PyObject> {
    if let Some(object) = crate::tables::kinds::fact_object(py, field, tick) {
        return object.map(Py::into_ptr);
    }
    Ok(match field {
        Field::ValueU64(index) if tick.kind == kind::GAP => {
            crate::tables::kinds::unknowable(py, tick.values[usize::from(index & 3)])?.into_ptr()
        }
        _ => match field.whole(tick, position, now_ns) {
            // SAFETY: attached.
            Whole::Unsigned(value) => unsafe { ffi::PyLong_FromUnsignedLongLong(value) },
            // SAFETY: attached.
            Whole::Signed(value) => unsafe { ffi::PyLong_FromLongLong(value) },
        },
    })
}

impl Drop for Slots {
    fn drop(&mut self) {
        let values = self.values.iter().map(|(slot, _)| *slot);
        let made = self.derived.iter().chain(&self.fresh).map(|(slot, _)| *slot);
        let owned: Vec<u16> = values.chain(made).chain(self.book).collect();
        Python::attach(|_| {
            for slot in owned {
                // SAFETY: attached; an owned slot is null or ours.
                unsafe { ffi::Py_XDECREF(self.objects[usize::from(slot)]) };
            }
            // SAFETY: attached.
            unsafe { self.tick.drop_object() };
        });
    }
}

/// Live objects that a call may name by number: slots after they were filled, or columns.
#[derive(Clone, Copy)]
pub(crate) struct Objects<'a>(&'a [*mut ffi::PyObject]);

/// The columns of one plural call.
pub(crate) struct Columns {
    pointers: Vec<*mut ffi::PyObject>,
    _owned: Vec<Py<PyAny>>,
}

impl Columns {
    pub(crate) fn new(columns: Vec<Py<PyAny>>) -> Self {
        Self {
            pointers: columns.iter().map(Py::as_ptr).collect(),
            _owned: columns,
        }
    }

    pub(crate) fn objects(&self) -> Objects<'_> {
        Objects(&self.pointers)
    }
}
