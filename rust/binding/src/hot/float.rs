//! A float in a slot: written in place while the slot holds the only reference, else made anew.
//!
//! Guarantees: a float that a handler keeps never changes.
//! Does not: decide whether a set of handlers may have theirs written in place; that is `vectorcall`.
#![allow(unsafe_code, reason = "writes into a float object")]

use pyo3::ffi;

/// Whether a float or a tick object may be written in place: on GIL builds of CPython 3.11 to 3.14.
///
/// There a frame that is entered by vectorcall counts every argument, so a count of 1 means that only the slot holds it.
/// A version is added only when the whole suite has passed on it (docs/decisions/0003-in-place-floats.md).
pub(crate) const IN_PLACE: bool = cfg!(all(not(Py_GIL_DISABLED), not(Py_3_15)));

/// Shows `value` in a slot; false with the Python error set.
///
/// # Safety
/// Attached; `slot` is null or holds a float that we own.
#[inline]
pub(super) unsafe fn write_float(slot: &mut *mut ffi::PyObject, value: f64, in_place: bool) -> bool {
    let old = *slot;
    // SAFETY: attached, by the caller. The slot holds the only reference, so no other code reads the float meanwhile.
    unsafe {
        if in_place && !old.is_null() && ffi::Py_REFCNT(old) == 1 {
            (*old.cast::<ffi::PyFloatObject>()).ob_fval = value;
            return true;
        }
        *slot = ffi::PyFloat_FromDouble(value);
        ffi::Py_XDECREF(old);
    }
    !slot.is_null()
}
