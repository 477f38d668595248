//! The number of a thread.
//!
//! Guarantees: no two threads of the process have the same, also when one of them has ended.
//! Does not: change with the interpreter; it is not Python's thread id.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    static THREAD: Cell<u64> = const { Cell::new(0) };
}

/// A number for the calling thread, never 0.
#[inline]
pub(crate) fn this_thread() -> u64 {
    THREAD.with(|cell| {
        if cell.get() == 0 {
            cell.set(next_number());
        }
        cell.get()
    })
}

#[cold]
fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    // Relaxed: only uniqueness counts.
    NEXT.fetch_add(1, Ordering::Relaxed)
}
