//! Locks that a panic leaves usable: what they guard is moved in and out whole, so nothing in it is half done.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, also when the last holder panicked.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
