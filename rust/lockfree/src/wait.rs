//! Waiting is a strategy: bounded spin, then yield, then park with a re-check.
//!
//! ```text
//!   notifier   change ─▶ a waiter registered? ─no─▶ done (one relaxed load)
//!                              └─yes─▶ fence ─▶ asleep? ─▶ wake
//!   waiter     spin ─▶ yield ─▶ asleep := true ─▶ fence ─▶ ready? ─▶ sleep ≤ 50 ms ─▶ ready?
//! ```
//! Guarantees: a notifier pays one relaxed load while no waiter is registered; a registered waiter loses no wake-up; no
//! wait lasts longer than [`WAIT_MAX`] without returning to its caller, which looks whether to stop.
//! Does not: spin without bound (on two cores that starves every thread), or promise the wake-up of a change made at
//! the very moment a waiter registers: the timed sleep is the back-stop there.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicBool, AtomicUsize, Condvar, Mutex, MutexGuard, Ordering, fence, spin_loop, yield_now};

/// The longest that a strategy waits before its caller may look whether to stop.
pub const WAIT_MAX: Duration = Duration::from_millis(50);
/// Looks before a waiter stops spinning: about 3 µs here, some thirty trips of a line from core to core.
const SPINS: u32 = 128;
/// Time slices given away before a waiter parks.
const YIELDS: u32 = 16;

struct Shared {
    /// Parkers that exist, asleep or not. Read by every notify, written when one comes or goes.
    registered: CachePadded<AtomicUsize>,
    asleep: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
}

/// A place to sleep until something changed. Clones are the same place.
#[derive(Clone)]
pub struct Wakeup {
    shared: Arc<Shared>,
}

impl Default for Wakeup {
    fn default() -> Self {
        Self::new()
    }
}

impl Wakeup {
    /// A place where no thread sleeps.
    #[must_use]
    pub fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                registered: CachePadded::new(AtomicUsize::new(0)),
                asleep: AtomicBool::new(false),
                lock: Mutex::new(()),
                changed: Condvar::new(),
            }),
        }
    }

    /// Tells sleepers that something changed. Call it after the change.
    #[inline]
    pub fn notify(&self) {
        // Relaxed: a parker is registered long before it sleeps. One that registers at this moment may be missed; its
        // sleep is timed.
        if self.shared.registered.load(Ordering::Relaxed) != 0 {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        // SeqCst fence: the change stands before it, the look at `asleep` after it; a parker stores that it sleeps
        // before the same fence, and looks for the change after it. So we see the sleeper, or it sees the change, or
        // both. No weaker ordering forbids "neither", because each side stores one word and then loads another. Pairs
        // with the fence in `Parker::park`. Model: loom_wait::no_wake_up_is_lost
        fence(Ordering::SeqCst);
        // Relaxed: the fence orders it.
        if self.shared.asleep.load(Ordering::Relaxed) {
            {
                // The lock: a parker holds it from saying that it sleeps until it does.
                let _guard = lock(&self.shared.lock);
                // Relaxed: written under the lock only. Cleared, so that one sleep costs one system call, not one per
                // change until the sleeper runs.
                self.shared.asleep.store(false, Ordering::Relaxed);
            }
            self.shared.changed.notify_all();
        }
    }

    /// Registers a waiter. Keep the parker as long as its thread may wait: while one exists, each notify pays a fence.
    #[must_use]
    pub fn parker(&self) -> Parker {
        // Relaxed: counts only; see `notify`.
        self.shared.registered.fetch_add(1, Ordering::Relaxed);
        Parker { wakeup: self.clone() }
    }

    /// Sleeps until `ready`, at most `timeout`; returns the last result of `ready`. For a single wait; see
    /// [`Parker::park`].
    pub fn wait(&self, timeout: Duration, ready: impl FnMut() -> bool) -> bool {
        self.parker().park(timeout, ready)
    }
}

/// A registered waiter.
pub struct Parker {
    wakeup: Wakeup,
}

impl Parker {
    /// Sleeps until `ready`, at most `timeout`; returns the last result of `ready`.
    ///
    /// `ready` is called with the place locked: it must neither notify the same place nor block.
    pub fn park(&self, timeout: Duration, mut ready: impl FnMut() -> bool) -> bool {
        let shared = &*self.wakeup.shared;
        let mut guard = lock(&shared.lock);
        // Relaxed: the fence below orders it.
        shared.asleep.store(true, Ordering::Relaxed);
        // SeqCst fence: pairs with the one in `Wakeup::wake`, where the reason stands.
        // Model: loom_wait::no_wake_up_is_lost
        fence(Ordering::SeqCst);
        if ready() {
            return true;
        }
        guard = match shared.changed.wait_timeout(guard, timeout) {
            Ok((guard, _)) => guard,
            Err(poisoned) => poisoned.into_inner().0,
        };
        drop(guard);
        ready()
    }
}

impl Drop for Parker {
    fn drop(&mut self) {
        // Relaxed: counts only.
        self.wakeup.shared.registered.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The lock guards no data, so a panic under it leaves nothing broken.
fn lock(mutex: &Mutex<()>) -> MutexGuard<'_, ()> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// How a thread waits. A strategy returns within [`WAIT_MAX`], so that its caller can look whether to stop.
pub trait WaitStrategy {
    /// Waits a while for `ready`; returns its last result.
    fn wait(&mut self, ready: impl FnMut() -> bool) -> bool;
}

fn spin(ready: &mut impl FnMut() -> bool) -> bool {
    (0..SPINS).any(|_| {
        spin_loop();
        ready()
    })
}

/// Looks a bounded number of times, then yields the time slice once. The lowest latency, for a core of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct BoundedSpin;

impl WaitStrategy for BoundedSpin {
    fn wait(&mut self, mut ready: impl FnMut() -> bool) -> bool {
        ready() || spin(&mut ready) || {
            yield_now();
            ready()
        }
    }
}

/// Gives the time slice away until ready: for more threads than cores that all have work.
#[derive(Clone, Copy, Debug, Default)]
pub struct Yield;

impl WaitStrategy for Yield {
    fn wait(&mut self, mut ready: impl FnMut() -> bool) -> bool {
        ready() || {
            yield_now();
            ready()
        }
    }
}

/// Spins, then yields, then sleeps at its [`Wakeup`]: costs nothing while nothing happens.
pub struct Park {
    parker: Parker,
}

impl Park {
    /// Parks at `wakeup`: [`crate::Ring::wakeup`] for a reader, [`crate::Ring::room`] for a writer.
    #[must_use]
    pub fn new(wakeup: &Wakeup) -> Self {
        Self {
            parker: wakeup.parker(),
        }
    }
}

impl WaitStrategy for Park {
    fn wait(&mut self, mut ready: impl FnMut() -> bool) -> bool {
        ready()
            || spin(&mut ready)
            || (0..YIELDS).any(|_| {
                yield_now();
                ready()
            })
            || self.parker.park(WAIT_MAX, ready)
    }
}
