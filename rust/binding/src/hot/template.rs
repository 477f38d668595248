//! `Template`: makes objects of a struct type as copies of one, with other objects in some fields, without a call.
//!
//! ```text
//!   sample   header | source | ts | run_id | cause | instrument | … | time
//!   copy     header |   ″    | ── |   ″    | ───── | ────────── | … |  ″        ──: given for each object
//! ```
//! Guarantees: a type is copied only when the words of its sample are its fields, each an object, and nothing else; none
//! of these can be part of a cycle, so that a copy is none of the garbage collector's affair.
//! Does not: call what a type calls when it makes an object: the types that it is used for call nothing.
#![allow(unsafe_code, reason = "objects are written word by word, as their type reads them")]

use std::mem::size_of;

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

const HEADER_WORDS: usize = size_of::<ffi::PyObject>() / size_of::<*mut ffi::PyObject>();

/// How objects of one type are made.
pub(crate) struct Template<const N: usize> {
    kind: Py<PyType>,
    /// The words of the fields that are given.
    places: [usize; N],
    /// The other words.
    kept: Box<[(usize, Py<PyAny>)]>,
}

impl<const N: usize> Template<N> {
    /// sample : an object; its `fields` have objects that none of its other fields has. `None`: it is laid out in another
    /// way than this file knows.
    pub(crate) fn of(sample: &Bound<'_, PyAny>, fields: &[&str; N]) -> PyResult<Option<Self>> {
        let py = sample.py();
        let kind = sample.get_type();
        let names = kind.getattr(intern!(py, "__struct_fields__"))?.cast_into::<PyTuple>()?;
        let size = |name| kind.getattr(name)?.extract::<usize>();
        let bytes = (HEADER_WORDS + names.len()) * size_of::<*mut ffi::PyObject>();
        if size(intern!(py, "__basicsize__"))? != bytes || size(intern!(py, "__itemsize__"))? != 0 {
            return Ok(None);
        }
        let values: Vec<_> = names
            .iter()
            .map(|name| sample.getattr(name.cast()?))
            .collect::<PyResult<_>>()?;
        // SAFETY: attached; a live object of so many bytes, as its type says. The words are only compared.
        let words: Vec<*mut ffi::PyObject> = unsafe {
            let first = sample.as_ptr().cast::<*mut ffi::PyObject>().add(HEADER_WORDS);
            (0..values.len()).map(|word| first.add(word).read()).collect()
        };
        let (mut found, mut expected) = (words.clone(), values.iter().map(Bound::as_ptr).collect::<Vec<_>>());
        found.sort_unstable();
        expected.sort_unstable();
        if found != expected || values.iter().any(is_of_the_collector) {
            return Ok(None);
        }
        let mut places = [0; N];
        for (place, field) in places.iter_mut().zip(fields) {
            let own = sample.getattr(*field)?;
            let mut at = (0..words.len()).filter(|word| words[*word] == own.as_ptr());
            let (Some(only), None) = (at.next(), at.next()) else {
                return Ok(None);
            };
            *place = only;
        }
        let kept = |word: usize| {
            values
                .iter()
                .find(|value| value.as_ptr() == words[word])
                .map(|own| (word, own.clone().unbind()))
        };
        let kept = (0..words.len())
            .filter(|word| !places.contains(word))
            .filter_map(kept)
            .collect();
        Ok(Some(Self {
            kind: kind.unbind(),
            places,
            kept,
        }))
    }

    /// Makes an object with these in the fields that are given, in their order. Each is of the type that the sample has
    /// there.
    pub(crate) fn make(&self, py: Python<'_>, given: [Py<PyAny>; N]) -> PyResult<Py<PyAny>> {
        let kind = self.kind.as_ptr().cast::<ffi::PyTypeObject>();
        // SAFETY: attached. An object of the type's size, with its header; the two lists of words are all words behind
        // it (`of`), and each gets a reference of its own. Nothing in between can fail.
        unsafe {
            let object = match ffi::PyType_IS_GC(kind) {
                0 => ffi::PyObject_New::<ffi::PyObject>(kind),
                _ => ffi::PyObject_GC_New::<ffi::PyObject>(kind),
            };
            if object.is_null() {
                return Err(PyErr::fetch(py));
            }
            let first = object.cast::<*mut ffi::PyObject>().add(HEADER_WORDS);
            for (word, value) in &self.kept {
                first.add(*word).write(value.clone_ref(py).into_ptr());
            }
            for (word, value) in self.places.iter().zip(given) {
                first.add(*word).write(value.into_ptr());
            }
            Ok(Bound::from_owned_ptr(py, object).unbind())
        }
    }
}

/// Whether an object may be part of a cycle.
fn is_of_the_collector(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: attached; the type of a live object.
    unsafe { ffi::PyType_IS_GC(ffi::Py_TYPE(object.as_ptr())) != 0 }
}
