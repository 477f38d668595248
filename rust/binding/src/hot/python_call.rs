//! Python call: every call from here into Python. It parks its thread when the interpreter ends meanwhile.
//!
//! ```text
//!   our frames ─▶ call ─▶ Python code, which asks for the interpreter's lock when the interpreter has ended
//!                  ▲                     │ up to Python 3.13: `pthread_exit`, which unwinds the stack
//!                  └──── parked ◀────────┘
//! ```
//! Guarantees: no frame of ours is unwound by the end of a daemon thread, which would abort the process: the thread
//! waits for the process to end, as it does by itself from Python 3.14 on.
//! Does not: cover what PyO3 calls; PyO3 parks a thread that attaches.
#![allow(
    unsafe_code,
    reason = "arguments go to CPython as a C array, and its calls may unwind"
)]

use std::{mem, ptr, thread};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};
use pyo3::{BoundObject, ffi};

/// A callable's own entry, which may unwind.
type Unwinding = unsafe extern "C-unwind" fn(
    *mut ffi::PyObject,
    *const *mut ffi::PyObject,
    usize,
    *mut ffi::PyObject,
) -> *mut ffi::PyObject;

// PyO3 declares them as functions that never unwind. Elsewhere the end of a thread unwinds nothing.
#[cfg(unix)]
unsafe extern "C-unwind" {
    fn PyObject_Call(
        callable: *mut ffi::PyObject,
        arguments: *mut ffi::PyObject,
        keywords: *mut ffi::PyObject,
    ) -> *mut ffi::PyObject;
    fn PyObject_Vectorcall(
        callable: *mut ffi::PyObject,
        arguments: *const *mut ffi::PyObject,
        count: usize,
        keywords: *mut ffi::PyObject,
    ) -> *mut ffi::PyObject;
    fn PyObject_VectorcallMethod(
        name: *mut ffi::PyObject,
        arguments: *const *mut ffi::PyObject,
        count: usize,
        keywords: *mut ffi::PyObject,
    ) -> *mut ffi::PyObject;
}
#[cfg(not(unix))]
use ffi::{PyObject_Call, PyObject_Vectorcall, PyObject_VectorcallMethod};

/// Arguments of a method at most, the object included.
const METHOD_ARGUMENTS_MAX: usize = 10;

/// Dropped by unwinding only.
struct ParkedThread;

impl Drop for ParkedThread {
    fn drop(&mut self) {
        loop {
            thread::park();
        }
    }
}

/// Makes a call of CPython's; nothing in it may panic.
#[inline(always)]
fn parking<T>(call: impl FnOnce() -> T) -> T {
    let parked = ParkedThread;
    let result = call();
    mem::forget(parked);
    result
}

/// Calls a callable by its own entry, if it has one.
///
/// # Safety
/// Attached. `first` points to live arguments as `PyObject_Vectorcall` wants them, `entry` belongs to `callable`.
#[inline(always)]
pub(super) unsafe fn vectorcall(
    callable: *mut ffi::PyObject,
    entry: Option<ffi::vectorcallfunc>,
    first: *const *mut ffi::PyObject,
    count: usize,
    keywords: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: the caller's; both types of an entry differ in nothing but that it may unwind.
    unsafe {
        match entry {
            Some(entry) => {
                let entry = mem::transmute::<ffi::vectorcallfunc, Unwinding>(entry);
                parking(|| entry(callable, first, count, keywords))
            }
            None => parking(|| PyObject_Vectorcall(callable, first, count, keywords)),
        }
    }
}

/// `callable(*arguments)`.
pub(crate) fn call<'py, A>(callable: &Bound<'py, PyAny>, arguments: A) -> PyResult<Bound<'py, PyAny>>
where
    A: IntoPyObject<'py, Target = PyTuple>,
    PyErr: From<A::Error>,
{
    call_with(callable, arguments, None)
}

/// `callable(*arguments, **keywords)`.
pub(crate) fn call_with<'py, A>(
    callable: &Bound<'py, PyAny>,
    arguments: A,
    keywords: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>>
where
    A: IntoPyObject<'py, Target = PyTuple>,
    PyErr: From<A::Error>,
{
    let py = callable.py();
    let arguments = arguments.into_pyobject(py)?.into_bound();
    let keywords = keywords.map_or(ptr::null_mut(), |keywords| keywords.as_ptr());
    // SAFETY: attached; live objects; a new reference, or null with the error set.
    unsafe {
        let result = parking(|| PyObject_Call(callable.as_ptr(), arguments.as_ptr(), keywords));
        Bound::from_owned_ptr_or_err(py, result)
    }
}

/// `object.name(*arguments)`; fewer than `METHOD_ARGUMENTS_MAX`.
pub(crate) fn call_method<'py, A>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    arguments: A,
) -> PyResult<Bound<'py, PyAny>>
where
    A: IntoPyObject<'py, Target = PyTuple>,
    PyErr: From<A::Error>,
{
    let py = object.py();
    let arguments = arguments.into_pyobject(py)?.into_bound();
    let given = arguments.as_slice();
    assert!(given.len() < METHOD_ARGUMENTS_MAX);
    let mut pointers = [ptr::null_mut(); METHOD_ARGUMENTS_MAX];
    pointers[0] = object.as_ptr();
    for (pointer, argument) in pointers[1..].iter_mut().zip(given) {
        *pointer = argument.as_ptr();
    }
    // SAFETY: attached; live objects, as many as are counted; a new reference, or null with the error set.
    unsafe {
        let count = given.len() + 1;
        let result = parking(|| PyObject_VectorcallMethod(name.as_ptr(), pointers.as_ptr(), count, ptr::null_mut()));
        Bound::from_owned_ptr_or_err(py, result)
    }
}
