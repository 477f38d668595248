//! A float in a slot: written in place while the slot holds the only reference, else made anew.
//!
//! Guarantees: a float that a handler keeps never changes.
//! Does not: decide whether a set of handlers may have theirs written in place; that is `vectorcall`.
#![allow(unsafe_code, reason = "writes into a float object")]

use pyo3::ffi;

/// The CPython on which a float may be written in place: GIL builds of the version that the suite ran on, in which
/// nothing writes to, or borrows, an operand that only the interpreter's stack holds. Widen it by running the suite on
/// another.
pub(crate) const IN_PLACE: bool = cfg!(all(not(Py_GIL_DISABLED), not(Py_3_12)));

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
