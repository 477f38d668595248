//! `Ring` and `RingReader`: the ring in Python, with its one writer, and a plain reader of it.
//!
//! Guarantees: one writer at a time, checked; waiting happens without the interpreter's lock.
//! Does not: number ticks (`Sequencer`) or call handlers (`Dispatcher`).

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use headrace_core::market::tick::{TICK_WORDS, Tick};
use headrace_lockfree::{Read, Reader};
use pyo3::prelude::*;

use super::ring_core::{RingCore, concurrent_publish};
use crate::errors::{raise, refuse_after_fork};
use crate::hot::columns::{checked_length, copy_into, ticks_of};
use crate::lock::lock;
use crate::tables::instruments::refuse_too_many;

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
        let mut writer = self.core.writer(py).ok_or_else(|| concurrent_publish(py))?;
        Ok(writer.try_publish(ticks_of(py, ticks)?))
    }

    /// Publishes all of `ticks`, waiting for gated readers without the interpreter's lock.
    ///
    /// timeout : seconds, or None to wait as long as it takes.
    /// Returns how many were published: fewer than given only when the timeout came first.
    /// A reader that this very thread should advance is waited for in vain: set a timeout, or use try_publish.
    #[pyo3(signature = (ticks, *, timeout=None))]
    fn publish(&self, py: Python<'_>, ticks: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<usize> {
        refuse_after_fork(py)?;
        // Copied, because waiting lets other threads run, and they may write to the array.
        let copied = ticks_of(py, ticks)?.to_vec();
        let mut writer = self.core.writer(py).ok_or_else(|| concurrent_publish(py))?;
        if timeout.is_some_and(f64::is_nan) {
            let message = "timeout=nan is no time: give seconds, or None to wait without end";
            return Err(raise(py, "OptionError", message));
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
