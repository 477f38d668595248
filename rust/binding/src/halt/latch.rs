//! The latch: the flag that lets no order pass, and the file that it must agree with.
//!
//! ```text
//!   halt: file ─▶ flag       signal: flag ─▶ file       another's file: look ─▶ flag       rearm: no file ─▶ no flag
//! ```
//! Guarantees: flag and file change together, under one lock, so that no stale look undoes a rearm; a file is written
//! whole or not at all, and is on the disk when `halt` returns; each change has a version of its own, and the newest
//! `CHANGES_MAX` changes are kept.
//! Does not: watch the file; its holder calls `look`.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::lock::lock;

/// More than any latch of ours holds; a larger file is none.
const LATCH_BYTES_MAX: u64 = 65_536;
/// An engine reads them every 0.1 s; more are made in that time only by code that flips the switch in a loop.
const CHANGES_MAX: usize = 64;
/// What a signal says: its handler may set a flag, and nothing else.
const SIGNAL_REASON: &str = "a signal that halts";
const SIGNAL_ACTOR: &str = "signal";

/// Why it is halted.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    pub(crate) reason: String,
    pub(crate) actor: String,
    pub(crate) since_ns: i64,
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

    /// The content of a latch file; `None`: not written by a kill switch.
    fn from_json(text: &str) -> Option<Self> {
        let document: Value = serde_json::from_str(text).ok()?;
        Some(Self {
            reason: document.get("reason")?.as_str()?.to_owned(),
            actor: document.get("actor")?.as_str()?.to_owned(),
            since_ns: document.get("ts_ns")?.as_i64()?,
        })
    }
}

/// One halt, or one rearm.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) version: u64,
    pub(crate) is_halt: bool,
    pub(crate) reason: String,
    pub(crate) actor: String,
}

fn nanoseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// The flag, and the file that it must agree with.
pub(crate) struct Latch {
    pub(crate) path: PathBuf,
    halted: AtomicBool,
    /// Set by the signal handler itself, which may do nothing else.
    pub(crate) signalled: Arc<AtomicBool>,
    version: AtomicU64,
    /// The newest ones, oldest first.
    changes: Mutex<VecDeque<Change>>,
    /// Held for a look or a change of flag and file together, so that no stale look undoes a rearm.
    files: Mutex<()>,
    story: Mutex<Option<Story>>,
    rearmed_by: Mutex<Option<String>>,
}

impl Latch {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            halted: AtomicBool::new(false),
            signalled: Arc::new(AtomicBool::new(false)),
            version: AtomicU64::new(0),
            changes: Mutex::new(VecDeque::new()),
            files: Mutex::new(()),
            story: Mutex::new(None),
            rearmed_by: Mutex::new(None),
        }
    }

    pub(crate) fn version(&self) -> u64 {
        // Acquire: pairs with the Release in `note`.
        self.version.load(Ordering::Acquire)
    }

    /// Who halted it, or rearmed it last.
    pub(crate) fn actor(&self) -> Option<String> {
        let halted = self.story().map(|story| story.actor);
        halted.or_else(|| lock(&self.rearmed_by).clone())
    }

    pub(crate) fn is_halted(&self) -> bool {
        // Acquire: a thread that sees the flag sees the story. Pairs with the Release store in `set`.
        self.halted.load(Ordering::Acquire) || self.is_signalled()
    }

    fn is_signalled(&self) -> bool {
        // Acquire: pairs with the store in the handler, which is SeqCst.
        self.signalled.load(Ordering::Acquire)
    }

    fn set(&self, story: Story) {
        *lock(&self.story) = Some(story.clone());
        // Release: publishes the story. Pairs with the Acquire load in `is_halted`.
        self.halted.store(true, Ordering::Release);
        self.note(true, story.reason, story.actor);
    }

    /// Keeps a change, under the next version.
    fn note(&self, is_halt: bool, reason: String, actor: String) {
        let mut changes = lock(&self.changes);
        if changes.len() == CHANGES_MAX {
            changes.pop_front();
        }
        changes.push_back(Change {
            // Relaxed: only changed under the lock of `files`, which is held.
            version: self.version.load(Ordering::Relaxed) + 1,
            is_halt,
            reason,
            actor,
        });
        // Release: a reader of the new version sees the flag. Pairs with the Acquire load in `version`.
        self.version.fetch_add(1, Ordering::Release);
    }

    /// The changes after this version, oldest first.
    pub(crate) fn changes(&self, since: u64) -> Vec<Change> {
        let changes = lock(&self.changes);
        changes
            .iter()
            .filter(|change| change.version > since)
            .cloned()
            .collect()
    }

    /// Halts after a signal, or when there is a file; does nothing when halted already.
    pub(crate) fn look(&self) {
        let _files = lock(&self.files);
        self.look_under_lock();
    }

    fn look_under_lock(&self) {
        // Relaxed: only changed under the lock of `files`, which is held.
        if self.halted.load(Ordering::Relaxed) {
            return;
        }
        if self.is_signalled() {
            let story = Story::now(SIGNAL_REASON, SIGNAL_ACTOR);
            self.set(story.clone());
            // No caller to return the error to: the process is halted, but the folder shows no latch.
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
    ///
    /// A signal or a file that the thread has not looked at yet came before: that halt keeps its reason.
    pub(crate) fn halt(&self, reason: &str, actor: &str) -> (bool, io::Result<()>) {
        let _files = lock(&self.files);
        self.look_under_lock();
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
    pub(crate) fn rearm(&self, reason: &str, actor: &str) -> io::Result<bool> {
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
        if signalled && !halted {
            // The thread has not looked since the signal: its halt is over, and was one all the same.
            self.note(true, SIGNAL_REASON.to_owned(), SIGNAL_ACTOR.to_owned());
        }
        if halted || signalled {
            self.note(false, reason.to_owned(), actor.to_owned());
        }
        Ok(halted || signalled || had_file)
    }

    pub(crate) fn story(&self) -> Option<Story> {
        let story = lock(&self.story).clone();
        // Signalled, and the thread has not looked yet.
        story.or_else(|| self.is_signalled().then(|| Story::now(SIGNAL_REASON, SIGNAL_ACTOR)))
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
    // A bare file name has an empty parent.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// The story in the file, or why it cannot be read.
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
