//! The slot of a `tick` argument: one object, refilled from tick to tick while the slot holds the only reference.
//!
//! Guarantees: a strategy that keeps the object, or a float of it, finds it unchanged.
//! Does not: build types; those are `tick_types`.
#![allow(unsafe_code, reason = "writes into a Python object of ours")]

use headrace_core::market::tick::Tick;
use pyo3::ffi;

use super::float::{IN_PLACE, write_float};
use super::tick_object::TickObject;
use super::tick_types::TickTypes;
use crate::tables::names::Names;

/// The `tick` object of one (plan set): refilled while the slot holds the only reference, else a new one.
pub(crate) struct TickSlot {
    object: *mut TickObject,
    in_place: bool,
}

// SAFETY: the pointer is only used while attached to the interpreter.
unsafe impl Send for TickSlot {}

impl TickSlot {
    /// `in_place`: floats may be written in place (see `vectorcall`).
    pub(crate) fn new(in_place: bool) -> Self {
        Self {
            object: std::ptr::null_mut(),
            in_place,
        }
    }

    /// Returns a borrowed object that holds `tick`, or null with a Python error set.
    ///
    /// # Safety
    /// The caller is attached.
    #[inline]
    pub(crate) unsafe fn fill(
        &mut self,
        types: &TickTypes,
        names: &Names,
        tick: &Tick,
        position: u64,
        now_ns: i64,
    ) -> *mut ffi::PyObject {
        // SAFETY: attached, by the caller; `object` is null or a reference that we own.
        unsafe {
            let wanted = types.of(tick.kind).as_ptr().cast::<ffi::PyTypeObject>();
            let reusable = !self.object.is_null()
                && ffi::Py_REFCNT(self.object.cast()) == 1
                && ffi::Py_TYPE(self.object.cast()) == wanted;
            if !(IN_PLACE && reusable) {
                self.drop_object();
                let fresh = ffi::PyType_GenericAlloc(wanted, 0).cast::<TickObject>();
                if fresh.is_null() {
                    return std::ptr::null_mut();
                }
                // GenericAlloc zeroed it: the strings are null.
                self.object = fresh;
            }
            let object = &mut *self.object;
            let strings = names.of(tick.instrument);
            if object.instrument != strings.instrument.as_ptr() {
                replace(&mut object.symbol, strings.symbol.as_ptr());
                replace(&mut object.venue, strings.venue.as_ptr());
                replace(&mut object.instrument, strings.instrument.as_ptr());
                object.contract = strings.contract;
            }
            if object.kind.is_null() {
                replace(&mut object.kind, names.kind(tick.kind).as_ptr());
            }
            for index in types.floats_of(tick.kind) {
                let value = f64::from_bits(tick.values[usize::from(*index) & 3]);
                if !write_float(&mut object.floats[usize::from(*index) & 3], value, self.in_place) {
                    return std::ptr::null_mut();
                }
            }
            object.tick = *tick;
            object.position = position;
            object.now_ns = now_ns;
            self.object.cast()
        }
    }

    /// # Safety
    /// The caller is attached.
    pub(crate) unsafe fn drop_object(&mut self) {
        // SAFETY: attached, by the caller; null is allowed.
        unsafe { ffi::Py_XDECREF(self.object.cast()) };
        self.object = std::ptr::null_mut();
    }
}

/// # Safety
/// Attached; `slot` is null or owned; `new` is a live object.
unsafe fn replace(slot: &mut *mut ffi::PyObject, new: *mut ffi::PyObject) {
    // SAFETY: by the caller. The new reference is taken before the old one is dropped.
    unsafe {
        ffi::Py_INCREF(new);
        let old = std::mem::replace(slot, new);
        ffi::Py_XDECREF(old);
    }
}
