//! `Exclusive`: what one call at a time works with, moved out of its lock meanwhile.
//!
//! Guarantees: no lock is held while a call has it; it comes back when the call ends, also by a panic.
//! Does not: wait: a second call gets nothing.

use std::ops::{Deref, DerefMut};
use std::sync::Mutex;

use crate::lock::lock;

/// Something that one call at a time may have.
pub(crate) struct Exclusive<T>(Mutex<Option<Box<T>>>);

impl<T> Exclusive<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Mutex::new(Some(Box::new(value))))
    }

    /// Takes it until the guard is dropped. `None`: another call has it.
    pub(crate) fn take(&self) -> Option<Taken<'_, T>> {
        let value = lock(&self.0).take();
        value.is_some().then_some(Taken { home: self, value })
    }
}

/// What a call has taken.
pub(crate) struct Taken<'a, T> {
    home: &'a Exclusive<T>,
    value: Option<Box<T>>,
}

impl<T> Deref for Taken<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("taken only in drop")
    }
}

impl<T> DerefMut for Taken<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("taken only in drop")
    }
}

impl<T> Drop for Taken<'_, T> {
    fn drop(&mut self) {
        *lock(&self.home.0) = self.value.take();
    }
}
