//! `KillSwitch`: the latch that lets no new order pass; a flag in memory, a file that outlives the process.
//!
//! ```text
//!   halt() ─▶ latch file ─▶ flag            a signal ─▶ flag ─▶ latch file        rearm() ─▶ no file ─▶ no flag
//!   another process ─▶ latch file ─▶ (watched every poll) ─▶ flag
//! ```
//! What happens when
//! - the file is empty, garbled, unreadable or no file at all: halted, because it was made to stop something;
//! - the file cannot be written: halted all the same, and the error says that a restarted process would not be;
//! - the file is removed: a running process stays halted until `rearm`; a process that starts then is not halted.
//!
//! Guarantees: the flag is set by a thread that never needs the interpreter, so a strategy that spins, or holds the
//! interpreter's lock, delays nothing; a file that is there when a switch is made has halted it before it is handed out.
//! Does not: call anything on a change: `version` rises with it, and `changes` returns it.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use signal_hook::consts::{SIGHUP, SIGUSR1, SIGUSR2};
use signal_hook::{SigId, flag, low_level};

use crate::errors::{is_forked, raise_about, refuse_after_fork};
use crate::halt::latch::Latch;
use crate::lock::lock;

const THREAD_NAME: &str = "headrace-halt";

/// Ends the watching thread.
#[derive(Default)]
struct Ending {
    over: Mutex<bool>,
    ended: Condvar,
}

impl Ending {
    fn end(&self) {
        *lock(&self.over) = true;
        self.ended.notify_all();
    }

    /// Waits so long, or until the end; returns whether the end came.
    fn wait(&self, time: Duration) -> bool {
        let over = lock(&self.over);
        let waited = self.ended.wait_timeout_while(over, time, |over| !*over);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Looks at the latch until the end, or until no switch holds it any more.
fn watch(latch: &Weak<Latch>, ending: &Ending, poll: Duration) {
    while !ending.wait(poll) {
        let Some(latch) = latch.upgrade() else { return };
        latch.look();
    }
}

/// The latch that lets no new order pass. A context manager.
///
/// path : the latch file. poll_ns : how often it is looked for. watch : by a thread of its own; without, a file counts
/// that is there now.
#[pyclass(frozen, subclass, module = "headrace._native")]
pub(crate) struct KillSwitch {
    latch: Arc<Latch>,
    ending: Arc<Ending>,
    thread: Mutex<Option<JoinHandle<()>>>,
    signals: Mutex<Vec<SigId>>,
}

impl KillSwitch {
    /// The same text for whatever kept the file from being written or removed.
    fn folder_error(&self, py: Python<'_>, what: &str, error: &io::Error) -> PyErr {
        let path = self.latch.path.display().to_string();
        let message = format!("{what}: the latch file {path} could not be changed ({error}): make its folder writable");
        raise_about(py, "StateFolderError", message, ("path", &path))
    }

    fn stop(&self) -> Option<JoinHandle<()>> {
        self.ending.end();
        for id in lock(&self.signals).drain(..) {
            low_level::unregister(id);
        }
        lock(&self.thread).take()
    }
}

#[pymethods]
impl KillSwitch {
    #[new]
    #[pyo3(signature = (path, *, poll_ns, watch))]
    fn new(py: Python<'_>, path: PathBuf, poll_ns: u64, watch: bool) -> PyResult<Self> {
        refuse_after_fork(py)?;
        let latch = Arc::new(Latch::new(path));
        py.detach(|| latch.look());
        let ending = Arc::new(Ending::default());
        let thread = if watch {
            let (seen, ended) = (Arc::downgrade(&latch), Arc::clone(&ending));
            let run = move || self::watch(&seen, &ended, Duration::from_nanos(poll_ns));
            Some(thread::Builder::new().name(THREAD_NAME.to_owned()).spawn(run)?)
        } else {
            None
        };
        Ok(Self {
            latch,
            ending,
            thread: Mutex::new(thread),
            signals: Mutex::new(Vec::new()),
        })
    }

    /// Whether no new order may pass. Cheap: two loads.
    #[getter]
    fn is_halted(&self, py: Python<'_>) -> PyResult<bool> {
        refuse_after_fork(py)?;
        Ok(self.latch.is_halted())
    }

    /// Rises with each halt and rearm.
    #[getter]
    fn version(&self) -> u64 {
        self.latch.version()
    }

    /// The changes after a version, oldest first: version, whether it is a halt, reason, actor. The newest 64 are kept.
    fn changes(&self, py: Python<'_>, since: u64) -> PyResult<Vec<(u64, bool, String, String)>> {
        refuse_after_fork(py)?;
        let changes = self.latch.changes(since).into_iter();
        Ok(changes
            .map(|change| (change.version, change.is_halt, change.reason, change.actor))
            .collect())
    }

    /// Why it is halted; None when it is not.
    #[getter]
    fn reason(&self) -> Option<String> {
        self.latch.story().map(|story| story.reason)
    }

    /// The actor of the last halt or rearm; None before the first.
    #[getter]
    fn actor(&self) -> Option<String> {
        self.latch.actor()
    }

    /// Since when, by the machine's clock, ns since 1970-01-01 UTC; None when it is not halted.
    #[getter]
    fn since_ns(&self) -> Option<i64> {
        self.latch.story().map(|story| story.since_ns)
    }

    /// The latch file.
    #[getter]
    fn path(&self) -> PathBuf {
        self.latch.path.clone()
    }

    /// Lets no new order pass, also after a restart: writes the file, then sets the flag.
    ///
    /// Returns False when it was halted already; the first reason stays. When the file cannot be written it is halted
    /// all the same. Raises StateFolderError.
    fn halt(&self, py: Python<'_>, reason: &str, actor: &str) -> PyResult<bool> {
        refuse_after_fork(py)?;
        let (changed, written) = py.detach(|| self.latch.halt(reason, actor));
        let what = "halted, but a restart would not be";
        written.map_err(|error| self.folder_error(py, what, &error))?;
        Ok(changed)
    }

    /// Lets orders pass again: removes the file, then clears the flag. Returns False when nothing was halted.
    ///
    /// Raises StateFolderError; then it is still halted.
    #[pyo3(signature = (actor, reason=""))]
    fn rearm(&self, py: Python<'_>, actor: &str, reason: &str) -> PyResult<bool> {
        refuse_after_fork(py)?;
        let rearmed = py.detach(|| self.latch.rearm(reason, actor));
        rearmed.map_err(|error| self.folder_error(py, "still halted", &error))
    }

    /// From now on this signal halts, in whatever thread it arrives: SIGUSR2 unless given; or SIGUSR1 or SIGHUP.
    ///
    /// The handler is native and sets the flag at once, whatever Python does; the thread then writes the file. Python's
    /// `signal.signal` for the same signal must come before, or it replaces this. Raises OptionError.
    #[pyo3(signature = (signal=SIGUSR2))]
    fn halt_on_signal(&self, py: Python<'_>, signal: i32) -> PyResult<()> {
        refuse_after_fork(py)?;
        if ![SIGUSR1, SIGUSR2, SIGHUP].contains(&signal) {
            let message =
                format!("signal={signal} does not halt: use SIGUSR2, SIGUSR1 or SIGHUP, which stop nothing else");
            return Err(raise_about(py, "OptionError", message, ("option", "signal")));
        }
        if lock(&self.thread).is_none() {
            let message = "a signal needs the watching thread, which writes the latch file: make the switch with \
                           watch=True, and before close()";
            return Err(raise_about(py, "OptionError", message, ("option", "signal")));
        }
        let id = flag::register(signal, Arc::clone(&self.latch.signalled))?;
        lock(&self.signals).push(id);
        Ok(())
    }

    /// Ends the thread, and lets signals be; what is halted stays so. May be called twice.
    fn close(&self, py: Python<'_>) {
        if is_forked() {
            return;
        }
        if let Some(thread) = self.stop() {
            py.detach(|| {
                // It ends within one look at a file; that it panicked is no reason to fail here.
                let _ = thread.join();
                // A signal that came since its last look must outlive the process, too.
                self.latch.look();
            });
        }
    }

    fn __enter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) {
        self.close(py);
    }
}

impl Drop for KillSwitch {
    fn drop(&mut self) {
        // In the child of a fork a lock may be held for ever by a thread that is not there. The thread is not waited
        // for.
        if !is_forked() && self.stop().is_some() {
            self.latch.look();
        }
    }
}
