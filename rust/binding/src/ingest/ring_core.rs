//! `RingCore`: the lock-free ring with its one writer, and the descriptors that are written to when ticks come.
//!
//! ```text
//!   publish ─▶ slots ─▶ newest table ─▶ wake parked threads and armed descriptors
//! ```
//! Guarantees: one writer at a time, checked; waiting happens without the interpreter's lock.
//! Does not: number ticks (`Sequencer`) or call handlers (`Dispatcher`).

use std::fs::File;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex};

use headrace_core::fan_out::conflate::StateKeys;
use headrace_core::fan_out::newest::NewestTable;
use headrace_core::market::tick::{TICK_WORDS, Tick};
use headrace_lockfree::{Park, ReaderId, Ring as LockfreeRing, WaitStrategy, Writer};
use pyo3::prelude::*;

use crate::dispatch::DispatchLog;
use crate::errors::raise;
use crate::hot::exclusive::{Exclusive, Taken};
use crate::lock::lock;
use crate::tables::kinds::kinds;

/// A descriptor that wakes an event loop: an eventfd, or the writing end of a pipe.
pub(crate) struct Alarm {
    armed: AtomicBool,
    descriptor: File,
}

/// What the writer and everything around the ring share.
pub(crate) struct RingCore {
    pub(crate) ring: Arc<LockfreeRing<TICK_WORDS>>,
    writer: Exclusive<Writer<TICK_WORDS>>,
    pub(crate) newest: NewestTable,
    newest_ts: AtomicI64,
    pub(crate) log: DispatchLog,
    alarms: Mutex<Vec<Arc<Alarm>>>,
    alarm_count: AtomicUsize,
    pub(crate) closed: AtomicBool,
}

impl RingCore {
    pub(crate) fn new(py: Python<'_>, capacity: usize, instruments_max: usize) -> PyResult<Self> {
        let made = py.detach(|| LockfreeRing::new(capacity));
        let (ring, writer) = made.map_err(|error| raise(py, "RingError", error.to_string()))?;
        Ok(Self {
            ring,
            writer: Exclusive::new(writer),
            newest: NewestTable::new(StateKeys::new(kinds().state_kinds()), instruments_max),
            newest_ts: AtomicI64::new(i64::MIN),
            log: DispatchLog::default(),
            alarms: Mutex::new(Vec::new()),
            alarm_count: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        })
    }

    /// Takes the writer; it comes back when the guard is dropped. `None`: another call has it.
    #[inline]
    pub(crate) fn writer<'py>(&self, py: Python<'py>) -> Option<WriterGuard<'_, 'py>> {
        let writer = self.writer.take(py)?;
        Some(WriterGuard { core: self, writer })
    }

    pub(crate) fn newest_ts(&self) -> i64 {
        // Relaxed: a number for statistics.
        self.newest_ts.load(Ordering::Relaxed)
    }

    /// Wakes every waiting thread and loop: they look again, and find the ring closed if it is.
    pub(crate) fn wake_all(&self) {
        self.ring.wakeup().notify();
        self.ring.room().notify();
        self.sound_alarms();
    }

    pub(crate) fn add_alarm(&self, descriptor: File) -> Arc<Alarm> {
        let alarm = Arc::new(Alarm {
            armed: AtomicBool::new(false),
            descriptor,
        });
        lock(&self.alarms).push(Arc::clone(&alarm));
        // SeqCst: stands in one order with the fence in `published`; cold.
        self.alarm_count.fetch_add(1, Ordering::SeqCst);
        alarm
    }

    pub(crate) fn remove_alarm(&self, alarm: &Arc<Alarm>) {
        let mut alarms = lock(&self.alarms);
        if let Some(index) = alarms.iter().position(|known| Arc::ptr_eq(known, alarm)) {
            alarms.remove(index);
            // SeqCst: as in `add_alarm`.
            self.alarm_count.fetch_sub(1, Ordering::SeqCst);
        }
    }

    #[inline(always)] // With every time of a replay.
    fn published(&self, ticks: &[Tick], first: u64) {
        match ticks {
            [tick] => self.newest.store_one(tick, first),
            _ => self.newest.store(ticks, first),
        }
        if let Some(last) = ticks.last() {
            // Relaxed: a number for statistics.
            self.newest_ts.store(last.ts_init, Ordering::Relaxed);
        }
        // Relaxed: an alarm is registered long before it is armed; one that registers at this moment looks for itself.
        if self.alarm_count.load(Ordering::Relaxed) != 0 {
            // SeqCst fence: the ticks stand before it, the look at `armed` after it; the arming thread looks for ticks
            // behind the same fence. So one of the two sees the other. Pairs with the fence in `Alarm::arm`.
            fence(Ordering::SeqCst);
            self.sound_alarms();
        }
    }

    #[cold]
    fn sound_alarms(&self) {
        let alarms = lock(&self.alarms).clone();
        for alarm in alarms {
            // Relaxed: the fence above orders it. Disarmed, so that one sleep costs one system call.
            if alarm.armed.swap(false, Ordering::Relaxed) {
                // A full pipe or counter is as good as one more write: its reader has not looked yet.
                let _ = (&alarm.descriptor).write(&1u64.to_ne_bytes());
            }
        }
    }
}

impl Alarm {
    /// Arms the descriptor. Look for ticks after this, before sleeping.
    pub(crate) fn arm(&self) {
        // Relaxed: the fence below orders it.
        self.armed.store(true, Ordering::Relaxed);
        // SeqCst fence: pairs with the one in `RingCore::published`, where the reason stands.
        fence(Ordering::SeqCst);
    }
}

/// The writer, taken for a while.
pub(crate) struct WriterGuard<'a, 'py> {
    core: &'a RingCore,
    writer: Taken<'a, 'py, Writer<TICK_WORDS>>,
}

impl WriterGuard<'_, '_> {
    /// Publishes what fits, a prefix, and returns how many that were.
    #[inline(always)] // With every time of a replay.
    pub(crate) fn try_publish(&mut self, ticks: &[Tick]) -> usize {
        match self.core.log.stand_still() {
            None => self.publish_what_fits(ticks),
            Some(_still) => self.publish_logged(ticks),
        }
    }

    /// Publishes one tick, for which there is room.
    #[inline(always)] // With every time of a replay.
    pub(crate) fn publish_one(&mut self, tick: &Tick) {
        self.try_publish(std::slice::from_ref(tick));
    }

    /// The same while the log is held: a function of its own, so that a publish without a log pays nothing.
    #[cold]
    fn publish_logged(&mut self, ticks: &[Tick]) -> usize {
        self.publish_what_fits(ticks)
    }

    #[inline(always)]
    fn publish_what_fits(&mut self, ticks: &[Tick]) -> usize {
        let writer = &mut *self.writer;
        let count = writer.try_publish(Tick::slice_as_words(ticks));
        if count > 0 {
            self.core.published(&ticks[..count], writer.position() - count as u64);
        }
        count
    }

    /// The next position to be published.
    pub(crate) fn position(&self) -> u64 {
        self.writer.position()
    }

    pub(crate) fn free(&mut self) -> usize {
        self.writer.free()
    }

    /// Waits for room, at most 50 ms, without the interpreter's lock; no longer than `holder` holds the ring, because
    /// the next holder may be a reader of this very thread.
    pub(crate) fn wait_for_room(&mut self, py: Python<'_>, holder: ReaderId) {
        let writer = &mut *self.writer;
        let ring = &self.core.ring;
        py.detach(|| {
            let mut park = Park::new(ring.room());
            park.wait(|| writer.free() > 0 || ring.holder().is_none_or(|(now, _)| now != holder))
        });
    }
}

pub(crate) fn concurrent_publish(py: Python<'_>) -> PyErr {
    raise(
        py,
        "ConcurrentPublishError",
        "the ring has one writer and it is publishing now, in another thread or above this call: \
         publish from one thread, outside of handlers that a publish called",
    )
}
