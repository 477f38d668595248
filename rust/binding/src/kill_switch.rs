//! `KillSwitch`: the latch that lets no new order pass; a flag in memory, a file that outlives the process.
//!
//! ```text
//!   halt() ─▶ latch file ─▶ flag            a signal ─▶ flag ─▶ latch file        rearm() ─▶ no file ─▶ no flag
//!   another process ─▶ latch file ─▶ (watched every poll) ─▶ flag
//! ```
//! What happens when
//! - the file is empty, garbled, unreadable or no file at all: halted; whoever made it wanted to stop something;
//! - the file cannot be written: halted all the same, and an error says that a restart would not be;
//! - somebody removes the file: what runs stays halted, only `rearm` ends it; what starts then is not.
//!
//! Guarantees: the flag is set by a thread that never needs the interpreter, so a strategy that spins, or holds the
//! interpreter's lock, delays nothing; a file that is there when a switch is made has halted it before it is handed out.
//! Does not: call anybody: `version` tells that something changed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use serde_json::{Value, json};
use signal_hook::consts::{SIGHUP, SIGUSR1, SIGUSR2};
use signal_hook::{SigId, flag, low_level};

use crate::errors::{is_forked, raise, refuse_after_fork};
use crate::lock::lock;

/// More than any latch of ours holds; a larger file is none.
const LATCH_BYTES_MAX: u64 = 65_536;
const THREAD_NAME: &str = "headrace-halt";

/// Why it is halted.
#[derive(Clone, Debug)]
struct Story {
    reason: String,
    actor: String,
    since_ns: i64,
}

impl Story {
    fn now(reason: impl Into<String>, actor: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            actor: actor.into(),
            since_ns: nanoseconds(SystemTime::now()),
        }
    }

    fn to_json(&self) -> String {
        let document = json!({"reason": self.reason, "actor": self.actor, "ts_ns": self.since_ns});
        format!("{document}\n")
    }

    /// What a latch file says; `None`: nothing that one of us wrote.
    fn from_json(text: &str) -> Option<Self> {
        let document: Value = serde_json::from_str(text).ok()?;
        Some(Self {
            reason: document.get("reason")?.as_str()?.to_owned(),
            actor: document.get("actor")?.as_str()?.to_owned(),
            since_ns: document.get("ts_ns")?.as_i64()?,
        })
    }
}

fn nanoseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// The flag, and the file that it must agree with.
struct Latch {
    path: PathBuf,
    halted: AtomicBool,
    /// Set by the signal handler itself, which may do nothing else.
    signalled: Arc<AtomicBool>,
    version: AtomicU64,
    /// Held for a look or a change of flag and file together, so that no stale look undoes a rearm.
    files: Mutex<()>,
    story: Mutex<Option<Story>>,
    rearmed_by: Mutex<Option<String>>,
}

impl Latch {
    fn is_halted(&self) -> bool {
        // Acquire: who sees the flag sees the story. Pairs with the Release store in `set`.
        self.halted.load(Ordering::Acquire) || self.is_signalled()
    }

    fn is_signalled(&self) -> bool {
        // Acquire: pairs with the store in the handler, which is SeqCst.
        self.signalled.load(Ordering::Acquire)
    }

    fn set(&self, story: Story) {
        *lock(&self.story) = Some(story);
        // Release: publishes the story. Pairs with the Acquire load in `is_halted`.
        self.halted.store(true, Ordering::Release);
        // Release: who sees the new version sees the flag. Pairs with the Acquire load in `version`.
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Halts when a signal or a file says so; what is halted is not looked at again.
    fn look(&self) {
        let _files = lock(&self.files);
        // Relaxed: only changed under the lock that is held.
        if self.halted.load(Ordering::Relaxed) {
            return;
        }
        if self.is_signalled() {
            let story = Story::now("a signal that halts", "signal");
            self.set(story.clone());
            // Nobody is there to be told: what runs is halted, and whoever looks at the folder sees no latch.
            let _ = write_latch(&self.path, &story);
            return;
        }
        let found = match fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            found => found,
        };
        self.set(read_latch(&self.path, found));
    }

    /// Halts, the file first. Returns whether it was not halted before, and what kept the file from being written.
    fn halt(&self, reason: &str, actor: &str) -> (bool, io::Result<()>) {
        let _files = lock(&self.files);
        // Relaxed: only changed under the lock that is held.
        let before = self.halted.load(Ordering::Relaxed);
        if before && fs::symlink_metadata(&self.path).is_ok() {
            return (false, Ok(()));
        }
        let story = Story::now(reason, actor);
        let written = write_latch(&self.path, &story);
        if !before {
            self.set(story);
        }
        (!before, written)
    }

    /// Removes the file, then lets orders pass again. Returns whether anything was halted.
    fn rearm(&self, actor: &str) -> io::Result<bool> {
        let _files = lock(&self.files);
        let had_file = match fs::remove_file(&self.path) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        if had_file {
            sync_folder(&self.path)?;
        }
        // AcqRel: a signal that came before is over with this; one that comes now halts again.
        let signalled = self.signalled.swap(false, Ordering::AcqRel);
        *lock(&self.story) = None;
        *lock(&self.rearmed_by) = Some(actor.to_owned());
        // AcqRel: what was done while halted comes before the first order that passes.
        let halted = self.halted.swap(false, Ordering::AcqRel);
        if halted || signalled {
            // Release: as in `set`.
            self.version.fetch_add(1, Ordering::Release);
        }
        Ok(halted || signalled || had_file)
    }

    fn story(&self) -> Option<Story> {
        let story = lock(&self.story).clone();
        // Signalled, and the thread has not looked yet.
        story.or_else(|| self.is_signalled().then(|| Story::now("a signal that halts", "signal")))
    }
}

/// Writes the whole file or none: what a crash leaves is another name.
fn write_latch(path: &Path, story: &Story) -> io::Result<()> {
    static WRITES: AtomicU64 = AtomicU64::new(0);
    // Relaxed: only uniqueness counts.
    let number = WRITES.fetch_add(1, Ordering::Relaxed);
    let aside = path.with_extension(format!("{}-{number}.new", std::process::id()));
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&aside)?;
        file.write_all(story.to_json().as_bytes())?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        sync_folder(path)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&aside);
    })
}

/// So that a crash of the machine keeps what was made or removed in the file's folder.
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// What the file says, or why nobody knows.
fn read_latch(path: &Path, found: io::Result<fs::Metadata>) -> Story {
    let read = || {
        let metadata = found?;
        if !metadata.is_file() {
            // Not opened either: a pipe would be waited for.
            return Err(io::Error::other("it is no regular file"));
        }
        let mut text = String::new();
        File::open(path)?.take(LATCH_BYTES_MAX).read_to_string(&mut text)?;
        Story::from_json(&text).ok_or_else(|| io::Error::other("it does not say who halted, and why"))
    };
    read().unwrap_or_else(|error: io::Error| {
        let reason = format!("the latch file {} is there, but {error}", path.display());
        Story::now(reason, "unknown")
    })
}

/// How the watching thread is told to end.
#[derive(Default)]
struct Ending {
    over: Mutex<bool>,
    told: Condvar,
}

impl Ending {
    fn tell(&self) {
        *lock(&self.over) = true;
        self.told.notify_all();
    }

    /// Waits so long, or until told; whether it was told.
    fn wait(&self, time: Duration) -> bool {
        let over = lock(&self.over);
        let waited = self.told.wait_timeout_while(over, time, |over| !*over);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Looks at the latch until told to end, or until nobody has it any more.
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
        let path = self.latch.path.display();
        let message = format!("{what}: the latch file {path} could not be changed ({error}): make its folder writable");
        let made = raise(py, "StateFolderError", message, &[]);
        match made.value(py).setattr("path", path.to_string()) {
            Ok(()) => made,
            Err(unexpected) => unexpected,
        }
    }

    fn stop(&self) -> Option<JoinHandle<()>> {
        self.ending.tell();
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
        let latch = Arc::new(Latch {
            path,
            halted: AtomicBool::new(false),
            signalled: Arc::new(AtomicBool::new(false)),
            version: AtomicU64::new(0),
            files: Mutex::new(()),
            story: Mutex::new(None),
            rearmed_by: Mutex::new(None),
        });
        py.detach(|| latch.look());
        let ending = Arc::new(Ending::default());
        let thread = if watch {
            let (seen, told) = (Arc::downgrade(&latch), Arc::clone(&ending));
            let run = move || self::watch(&seen, &told, Duration::from_nanos(poll_ns));
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
        // Acquire: pairs with the Release in `set`.
        self.latch.version.load(Ordering::Acquire)
    }

    /// Why it is halted; None when it is not.
    #[getter]
    fn reason(&self) -> Option<String> {
        self.latch.story().map(|story| story.reason)
    }

    /// Who halted it, or rearmed it last; None when nobody did.
    #[getter]
    fn actor(&self) -> Option<String> {
        let halted = self.latch.story().map(|story| story.actor);
        halted.or_else(|| lock(&self.latch.rearmed_by).clone())
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
    fn rearm(&self, py: Python<'_>, actor: &str) -> PyResult<bool> {
        refuse_after_fork(py)?;
        let rearmed = py.detach(|| self.latch.rearm(actor));
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
            return Err(raise(py, "OptionError", message, &[]));
        }
        if lock(&self.thread).is_none() {
            let message = "a signal needs the watching thread, which writes the latch file: make the switch with \
                           watch=True, and before close()";
            return Err(raise(py, "OptionError", message, &[]));
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
            // It ends within one look at a file; that it panicked is no reason to fail here.
            let _ = py.detach(|| thread.join());
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
        // In the child of a fork a lock may be held for ever by a thread that is not there. The thread is not waited for.
        if !is_forked() {
            drop(self.stop());
        }
    }
}
