//! `PackedFile`: reads a recording's file, unpacked, a block at a time, in a thread of its own.
//!
//! ```text
//!   its thread: file ─▶ 256 KiB ─▶ Unpacker ─▶ block ─▶ at most BLOCKS_AHEAD ─▶ read()
//! ```
//! The thread never takes the interpreter's lock: one that had to would wait for it after each block, for as long as
//! strategies run.
//!
//! Guarantees: a block ends with a line, unless a line is longer, or the file ends or is damaged in it; damage is raised by
//! the read after what is whole.
//! Does not: look at lines.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use headrace_core::ingest::unpack::{MAGIC_BYTES, Unpacker};
use pyo3::exceptions::{PyEOFError, PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::{internal, is_forked, refuse_after_fork};
use crate::hot::exclusive::Exclusive;

/// Bytes read from the file at once.
const INPUT_BYTES: usize = 256 << 10;
/// Bytes unpacked at once.
const OUTPUT_BYTES: usize = 1 << 20;

/// Blocks that are read ahead, beside the one that is being read.
const BLOCKS_AHEAD: usize = 2;

/// Why nothing more can be read.
#[derive(Clone)]
enum Failure {
    /// The system's number and text.
    System(Option<i32>, String),
    Truncated(&'static str),
    Damaged(&'static str, String),
    /// It panicked.
    Thread,
    Closed,
}

/// A block, and the bytes of the file up to its end; empty at the end of the file.
type Filled = Result<(Vec<u8>, u64), Failure>;

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::System(error.raw_os_error(), error.to_string())
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Thread => internal("the thread that reads a file has ended"),
            Failure::Closed => internal("a file is read after it was closed"),
            Failure::System(number, text) => PyOSError::new_err((number, text)),
            Failure::Truncated(form) => PyEOFError::new_err(format!("its {form} data ends in the middle")),
            Failure::Damaged(form, why) => PyValueError::new_err(format!("its {form} data is corrupt: {why}")),
        }
    }
}

/// A file that is being read.
struct Reading {
    file: File,
    input: Vec<u8>,
    /// What of `input` is not unpacked yet.
    rest: Range<usize>,
    /// `None` until the first bytes are there.
    unpacker: Option<Unpacker>,
    block: Vec<u8>,
    /// What of `block` begins a line that is not whole.
    kept: Range<usize>,
    /// Bytes read from the file and unpacked.
    done: u64,
    /// How the file ended.
    end: Option<Result<(), Failure>>,
}

impl Reading {
    /// Adds up to `bytes_max` to what is kept, and returns how many bytes of the block are to be handed out.
    ///
    /// They end with a line, where one ends among them. The start of the next line is kept for the next call, so that
    /// nobody has to put it together again.
    fn fill(&mut self, bytes_max: usize) -> Result<usize, Failure> {
        self.block.copy_within(self.kept.clone(), 0);
        let mut filled = self.kept.len();
        let full = filled.saturating_add(bytes_max);
        while filled < full && self.end.is_none() {
            // Memory for what comes, not for what was asked for.
            let room = filled..full.min(filled + OUTPUT_BYTES);
            self.block.resize(room.end.max(self.block.len()), 0);
            filled += self.advance(room);
        }
        let line_end = self.block[..filled].iter().rposition(|&byte| byte == b'\n');
        let cut = match (&self.end, line_end) {
            (Some(Err(failure)), _) if filled == 0 => return Err(failure.clone()),
            (None, Some(position)) => position + 1,
            _ => filled,
        };
        self.kept = cut..filled;
        Ok(cut)
    }

    /// Unpacks a stretch into `room` of the block, and returns how many bytes came.
    fn advance(&mut self, room: Range<usize>) -> usize {
        let is_over = match self.refill() {
            Ok(()) => self.rest.is_empty(),
            Err(error) => {
                self.end = Some(Err(error.into()));
                return 0;
            }
        };
        let unpacker = self
            .unpacker
            .get_or_insert_with(|| Unpacker::of(&self.input[self.rest.clone()]));
        let step = unpacker.step(&self.input[self.rest.clone()], &mut self.block[room]);
        self.rest.start += step.read;
        self.done += step.read as u64;
        self.end = match step.damage {
            Some(why) => Some(Err(Failure::Damaged(unpacker.form(), why))),
            None if is_over && step.written == 0 && unpacker.is_whole() => Some(Ok(())),
            None if is_over && step.written == 0 => Some(Err(Failure::Truncated(unpacker.form()))),
            None => None,
        };
        step.written
    }

    /// Reads from the file where nothing is left of what was read: at first enough to see how it is packed.
    fn refill(&mut self) -> io::Result<()> {
        if !self.rest.is_empty() {
            return Ok(());
        }
        let wanted = if self.unpacker.is_none() { MAGIC_BYTES } else { 1 };
        let mut count = 0;
        while count < wanted {
            match self.file.read(&mut self.input[count..]) {
                Ok(0) => break,
                Ok(more) => count += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.rest = 0..count;
        Ok(())
    }

    /// Fills blocks until the file ends, or nobody takes them any more.
    fn send(mut self, blocks: &SyncSender<Filled>, bytes_max: usize) {
        loop {
            let filled = self.fill(bytes_max);
            let filled = filled.map(|count| (self.block[..count].to_vec(), self.done));
            let is_last = is_last(&filled);
            if blocks.send(filled).is_err() || is_last {
                return;
            }
        }
    }
}

/// Whether nothing comes behind it.
fn is_last(filled: &Filled) -> bool {
    filled.as_ref().map_or(true, |(block, _)| block.is_empty())
}

/// The thread that reads a file, and what it hands over; it ends when this is dropped.
struct ReadingThread {
    /// `None`: it is to end.
    blocks: Option<Receiver<Filled>>,
    thread: Option<JoinHandle<()>>,
}

impl ReadingThread {
    fn start(reading: Reading, bytes_max: usize) -> Result<Self, Failure> {
        let (sender, receiver) = sync_channel(BLOCKS_AHEAD);
        let thread = Builder::new().name("headrace-unpack".to_owned());
        let started = thread.spawn(move || reading.send(&sender, bytes_max))?;
        Ok(Self {
            blocks: Some(receiver),
            thread: Some(started),
        })
    }

    /// The next block. Leaves the interpreter only where it has to wait.
    fn next(&mut self, py: Python<'_>) -> Filled {
        let Some(blocks) = &mut self.blocks else {
            return Err(Failure::Thread);
        };
        match blocks.try_recv() {
            Ok(filled) => filled,
            Err(_) => py.detach(move || blocks.recv()).unwrap_or(Err(Failure::Thread)),
        }
    }
}

impl Drop for ReadingThread {
    fn drop(&mut self) {
        self.blocks = None;
        if let Some(thread) = self.thread.take()
            && !is_forked()
        {
            // The file is closed when this returns; at the very end of the process there is nothing to wait for.
            let _ = Python::try_attach(|py| py.detach(|| thread.join()));
        }
    }
}

/// A file on its way from one that is open to its last block.
enum Stage {
    Open(Option<Box<Reading>>),
    Reading(ReadingThread),
    /// What the last read returned, and all others return.
    Ended(Filled),
}

impl Stage {
    /// The next block; the first call starts the thread.
    fn next(&mut self, py: Python<'_>, bytes_max: usize) -> Filled {
        if let Self::Open(reading) = self {
            let reading = reading.take().ok_or(Failure::Thread)?;
            *self = Self::Reading(ReadingThread::start(*reading, bytes_max)?);
        }
        let filled = match self {
            Self::Reading(thread) => thread.next(py),
            Self::Ended(filled) => filled.clone(),
            Self::Open(_) => Err(Failure::Thread),
        };
        if is_last(&filled) {
            *self = Self::Ended(filled.clone());
        }
        filled
    }
}

/// A file that is read unpacked: gzip and zstd by its first bytes, anything else as it is.
///
/// Raises OSError (it cannot be read), EOFError (it ends in the middle), ValueError (it is damaged).
#[pyclass(frozen, module = "headrace")]
pub(crate) struct PackedFile(Exclusive<Stage>);

#[pymethods]
impl PackedFile {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        refuse_after_fork(py)?;
        let file = py.detach(|| File::open(path)).map_err(Failure::from)?;
        let reading = Reading {
            file,
            input: vec![0; INPUT_BYTES],
            rest: 0..0,
            unpacker: None,
            block: Vec::new(),
            kept: 0..0,
            done: 0,
            end: None,
        };
        Ok(Self(Exclusive::new(Stage::Open(Some(Box::new(reading))))))
    }

    /// About `bytes_max` bytes that end with a line, and the position in the file up to which it was read.
    ///
    /// bytes_max : of the first call, with which its thread begins. Longer lines come in parts, and so does a last line
    /// without its break. Empty at the end.
    fn read<'py>(&self, py: Python<'py>, bytes_max: usize) -> PyResult<(Bound<'py, PyBytes>, u64)> {
        refuse_after_fork(py)?;
        let mut taken = self.0.take(py).ok_or_else(|| internal("two threads read one file"))?;
        let (block, done) = taken.next(py, bytes_max)?;
        Ok((PyBytes::new(py, &block), done))
    }

    /// Close the file and end its thread. May be called twice.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let mut taken = self
            .0
            .take(py)
            .ok_or_else(|| internal("a file is closed while it is read"))?;
        *taken = Stage::Ended(Err(Failure::Closed));
        Ok(())
    }
}
