//! `Exclusive`: what one call at a time works with, moved out of its place meanwhile.
//!
//! The interpreter's lock guards the place, not one of its own: a replay takes and returns three of them with every
//! tick, and four with every candle; an uncontended lock costs as much as a fifth of a handler's call.
//!
//! Guarantees: it comes back when the call ends, also by a panic.
//! Does not: wait: a second call gets nothing.
#![allow(unsafe_code, reason = "a place that the interpreter's lock guards")]

use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};

use pyo3::prelude::*;

/// Where it lies while no call has it; without the interpreter's lock the place needs its own.
#[cfg(not(Py_GIL_DISABLED))]
type Place<T> = std::cell::UnsafeCell<T>;
#[cfg(Py_GIL_DISABLED)]
type Place<T> = std::sync::Mutex<T>;

/// Something that one call at a time may have.
pub(crate) struct Exclusive<T>(Place<Option<Box<T>>>);

// SAFETY: `swap` is the only access to the place, and its caller is attached, so it is one thread at a time. What moves
// from thread to thread is Send.
#[cfg(not(Py_GIL_DISABLED))]
unsafe impl<T: Send> Sync for Exclusive<T> {}

impl<T: Default> Default for Exclusive<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Exclusive<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Place::new(Some(Box::new(value))))
    }

    #[inline(always)]
    fn swap(&self, _attached: Python<'_>, value: Option<Box<T>>) -> Option<Box<T>> {
        #[cfg(not(Py_GIL_DISABLED))]
        // SAFETY: attached, so no other thread is here; and nothing else runs in between: the old content is returned,
        // not dropped.
        let place = unsafe { &mut *self.0.get() };
        #[cfg(Py_GIL_DISABLED)]
        let place = &mut *crate::lock::lock(&self.0);
        std::mem::replace(place, value)
    }

    /// Takes it until the guard is dropped. `None`: another call has it.
    #[inline(always)]
    pub(crate) fn take<'a, 'py>(&'a self, py: Python<'py>) -> Option<Taken<'a, 'py, T>> {
        let value = ManuallyDrop::new(self.swap(py, None)?);
        Some(Taken { home: self, value, py })
    }
}

/// What a call has taken.
pub(crate) struct Taken<'a, 'py, T> {
    home: &'a Exclusive<T>,
    /// Moved out in Drop, and nowhere else.
    value: ManuallyDrop<Box<T>>,
    py: Python<'py>,
}

impl<T> Deref for Taken<'_, '_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Taken<'_, '_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T> Drop for Taken<'_, '_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the guard is dropped once, and its value is not used behind this line.
        let value = unsafe { ManuallyDrop::take(&mut self.value) };
        let nothing = self.home.swap(self.py, Some(value));
        debug_assert!(nothing.is_none(), "taken twice");
        std::mem::forget(nothing);
    }
}
