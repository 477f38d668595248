//! `Ring`: the lock-free ring with its one writer, and `RingReader`, its plain reader.
//!
//! ```text
//!   publish ─▶ slots ─▶ newest table ─▶ wake whoever parks or polls a descriptor
//! ```
//! Guarantees: one writer at a time, checked; waiting happens without the interpreter's lock.
//! Does not: number ticks (`Sequencer`) or call handlers (`Dispatcher`).

use std::fs::File;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::lock::lock;
use headrace_core::fan_out::conflate::StateKeys;
use headrace_core::fan_out::newest::{Marks, NewestTable};
use headrace_core::market::tick::{TICK_WORDS, Tick};
use headrace_lockfree::{Park, Read, Reader, ReaderId, Ring as LockfreeRing, WaitStrategy, Writer};
use pyo3::prelude::*;

use crate::dispatch::log::DispatchLog;
use crate::errors::{raise, refuse_after_fork};
use crate::hot::columns::{checked_length, copy_into, ticks_of};
use crate::tables::instruments::refuse_too_many;
use crate::tables::kinds::kinds;

/// A descriptor that wakes an event loop: an eventfd, or the writing end of a pipe.
pub(crate) struct Alarm {
    armed: AtomicBool,
    descriptor: File,
}

/// What the writer and everything around the ring share.
pub(crate) struct RingCore {
    pub(crate) ring: Arc<LockfreeRing<TICK_WORDS>>,
    writer: Mutex<Option<Box<(Writer<TICK_WORDS>, Marks)>>>,
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
        let (ring, writer) = made.map_err(|error| raise(py, "RingError", error.to_string(), &[]))?;
        Ok(Self {
            ring,
            writer: Mutex::new(Some(Box::new((writer, Marks::default())))),
            newest: NewestTable::new(StateKeys::new(kinds().state_kinds()), instruments_max),
            newest_ts: AtomicI64::new(i64::MIN),
            log: DispatchLog::default(),
            alarms: Mutex::new(Vec::new()),
            alarm_count: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        })
    }

    /// Takes the writer; it comes back when the guard is dropped. `None`: somebody has it.
    pub(crate) fn writer(&self) -> Option<WriterGuard<'_>> {
        let writer = lock(&self.writer).take()?;
        Some(WriterGuard {
            core: self,
            writer: Some(writer),
        })
    }

    pub(crate) fn newest_ts(&self) -> i64 {
        // Relaxed: a number for statistics.
        self.newest_ts.load(Ordering::Relaxed)
    }

    /// Wakes everybody: readers look again, and find the ring closed if it is.
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

    #[inline]
    fn published(&self, ticks: &[Tick], first: u64, marks: &mut Marks) {
        self.newest.store(ticks, first, marks);
        if let Some(last) = ticks.last() {
            // Relaxed: a number for statistics.
            self.newest_ts.store(last.ts_init, Ordering::Relaxed);
        }
        // Relaxed: an alarm is registered long before it is armed; one that registers at this moment looks for itself.
        if self.alarm_count.load(Ordering::Relaxed) != 0 {
            // SeqCst fence: our ticks stand before it, our look at `armed` after it; who arms looks for ticks behind the
            // same fence. So one of us sees the other. Pairs with the fence in `Alarm::arm`.
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
    /// Asks to be woken. Look for ticks after this, before sleeping.
    pub(crate) fn arm(&self) {
        // Relaxed: the fence below orders it.
        self.armed.store(true, Ordering::Relaxed);
        // SeqCst fence: pairs with the one in `RingCore::published`, where the reason stands.
        fence(Ordering::SeqCst);
    }
}

/// The writer, taken for a while.
pub(crate) struct WriterGuard<'a> {
    core: &'a RingCore,
    writer: Option<Box<(Writer<TICK_WORDS>, Marks)>>,
}

impl WriterGuard<'_> {
    /// Publishes what fits, a prefix, and returns how many that were.
    #[inline]
    pub(crate) fn try_publish(&mut self, ticks: &[Tick]) -> usize {
        match self.core.log.stand_still() {
            None => self.publish_what_fits(ticks),
            Some(_still) => self.publish_logged(ticks),
        }
    }

    /// The same while the log is held: apart, so that who logs nothing pays nothing.
    #[cold]
    fn publish_logged(&mut self, ticks: &[Tick]) -> usize {
        self.publish_what_fits(ticks)
    }

    #[inline(always)]
    fn publish_what_fits(&mut self, ticks: &[Tick]) -> usize {
        let (writer, marks) = &mut **self.writer.as_mut().expect("taken only in drop");
        let count = writer.try_publish(Tick::slice_as_words(ticks));
        if count > 0 {
            self.core
                .published(&ticks[..count], writer.position() - count as u64, marks);
        }
        count
    }

    /// The next position to be published.
    pub(crate) fn position(&self) -> u64 {
        self.writer.as_ref().expect("taken only in drop").0.position()
    }

    pub(crate) fn free(&mut self) -> usize {
        self.writer.as_mut().expect("taken only in drop").0.free()
    }

    /// Waits for room, at most 50 ms, without the interpreter's lock; no longer than it is `holder` who holds the ring,
    /// because the next one may be a reader of this very thread.
    pub(crate) fn wait_for_room(&mut self, py: Python<'_>, holder: ReaderId) {
        let (writer, _) = &mut **self.writer.as_mut().expect("taken only in drop");
        let ring = &self.core.ring;
        py.detach(|| {
            let mut park = Park::new(ring.room());
            park.wait(|| writer.free() > 0 || ring.holder().is_none_or(|(now, _)| now != holder))
        });
    }
}

impl Drop for WriterGuard<'_> {
    fn drop(&mut self) {
        *lock(&self.core.writer) = self.writer.take();
    }
}

pub(crate) fn concurrent_publish(py: Python<'_>) -> PyErr {
    raise(
        py,
        "ConcurrentPublishError",
        "the ring has one writer and it is publishing now, in another thread or above this call: \
         publish from one thread, outside of handlers that a publish called",
        &[],
    )
}

/// The ring: the last `capacity` ticks, one writer, many readers.
///
/// capacity : ticks, a power of two from 2 on. All memory is touched at once.
/// Raises RingError.
#[pyclass(frozen, module = "headrace")]
pub(crate) struct Ring {
    pub(crate) core: Arc<RingCore>,
}

#[pymethods]
impl Ring {
    #[new]
    #[pyo3(signature = (capacity=headrace_core::limits::RING_CAPACITY, *, instruments_max=headrace_core::limits::INSTRUMENTS_MAX))]
    fn new(py: Python<'_>, capacity: usize, instruments_max: usize) -> PyResult<Self> {
        refuse_too_many(py, instruments_max)?;
        Ok(Self {
            core: Arc::new(RingCore::new(py, capacity, instruments_max)?),
        })
    }

    /// Ticks that the ring holds.
    #[getter]
    fn capacity(&self) -> usize {
        self.core.ring.capacity()
    }

    /// The next position to be published.
    #[getter]
    fn cursor(&self) -> u64 {
        self.core.ring.cursor()
    }

    /// Publishes as many of `ticks` as fit now, a prefix, and returns how many.
    ///
    /// ticks : shape (n,), dtype TICK_DTYPE, C-contiguous; published as they are, unnumbered.
    /// Never waits. Raises ConcurrentPublishError, ValueError.
    fn try_publish(&self, py: Python<'_>, ticks: &Bound<'_, PyAny>) -> PyResult<usize> {
        refuse_after_fork(py)?;
        let mut writer = self.core.writer().ok_or_else(|| concurrent_publish(py))?;
        Ok(writer.try_publish(ticks_of(py, ticks)?))
    }

    /// Publishes all of `ticks`, waiting for gated readers without the interpreter's lock.
    ///
    /// timeout : seconds, or None to wait as long as it takes.
    /// Returns how many were published: fewer than given only when the timeout came first.
    /// A reader that this very thread should advance is waited for in vain: give a timeout, or use try_publish.
    #[pyo3(signature = (ticks, *, timeout=None))]
    fn publish(&self, py: Python<'_>, ticks: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<usize> {
        refuse_after_fork(py)?;
        // Copied, because waiting lets other threads run, and they may write to the array.
        let copied = ticks_of(py, ticks)?.to_vec();
        let mut writer = self.core.writer().ok_or_else(|| concurrent_publish(py))?;
        if timeout.is_some_and(f64::is_nan) {
            let message = "timeout=nan is no time: give seconds, or None to wait without end";
            return Err(raise(py, "OptionError", message, &[]));
        }
        let deadline = timeout.map(|seconds| Instant::now() + Duration::from_secs_f64(seconds.clamp(0.0, 1e9)));
        let mut done = 0;
        loop {
            done += writer.try_publish(&copied[done..]);
            if done == copied.len() || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(done);
            }
            if let Some((holder, _)) = self.core.ring.holder() {
                writer.wait_for_room(py, holder);
            }
            py.check_signals()?;
        }
    }

    /// A reader from the cursor on. gated: the writer waits for it; else it may be lapped, and counts what it missed.
    #[pyo3(signature = (*, gated=false))]
    fn reader(&self, py: Python<'_>, gated: bool) -> PyResult<RingReader> {
        refuse_after_fork(py)?;
        let ring = &self.core.ring;
        let reader = if gated {
            ring.gated_reader()
        } else {
            ring.lossy_reader()
        };
        Ok(RingReader {
            reader: Mutex::new(Some(Box::new((reader, 0)))),
        })
    }
}

/// A plain reader of a ring: no filter, no handlers. `close` it, or a gated one holds the writer.
#[pyclass(frozen, module = "headrace")]
pub(crate) struct RingReader {
    reader: Mutex<Option<Box<(Reader<TICK_WORDS>, u64)>>>,
}

impl RingReader {
    fn with<T>(&self, py: Python<'_>, act: impl FnOnce(&mut Reader<TICK_WORDS>, &mut u64) -> T) -> PyResult<T> {
        refuse_after_fork(py)?;
        let mut guard = lock(&self.reader);
        match guard.as_deref_mut() {
            Some((reader, missed)) => Ok(act(reader, missed)),
            None => Err(raise(
                py,
                "ClosedError",
                "this ring reader is closed: make another with ring.reader()",
                &[],
            )),
        }
    }
}

#[pymethods]
impl RingReader {
    /// Copies the next ticks into `out` and returns how many; 0 when caught up.
    ///
    /// out : shape (n,), dtype TICK_DTYPE, C-contiguous, writable.
    /// Never waits. Raises ClosedError, ValueError.
    fn read_into(&self, py: Python<'_>, out: &Bound<'_, PyAny>) -> PyResult<usize> {
        let room = checked_length(py, out, true)?;
        let mut ticks = vec![Tick::default(); room];
        let count = self.with(py, |reader, missed| {
            loop {
                match reader.try_read(Tick::slice_as_words_mut(&mut ticks)) {
                    Read::Records(count) => break count,
                    Read::Lapped { missed: lost } => *missed += lost,
                    Read::Demoted => {}
                }
            }
        })?;
        copy_into(out, 0, &ticks[..count])?;
        Ok(count)
    }

    /// The next position to be read.
    #[getter]
    fn position(&self, py: Python<'_>) -> PyResult<u64> {
        self.with(py, |reader, _| reader.position())
    }

    /// Ticks published and not yet read.
    #[getter]
    fn pending(&self, py: Python<'_>) -> PyResult<u64> {
        self.with(py, |reader, _| reader.pending())
    }

    /// Ticks that the writer overwrote before they were read.
    #[getter]
    fn missed(&self, py: Python<'_>) -> PyResult<u64> {
        self.with(py, |_, missed| *missed)
    }

    /// Leaves the ring; a gated reader frees the writer at once.
    fn close(&self) {
        drop(lock(&self.reader).take());
    }

    fn __enter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, _exception: &Bound<'_, pyo3::types::PyTuple>) {
        self.close();
    }
}
