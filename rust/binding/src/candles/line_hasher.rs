//! `LineHasher`: SHA-256 of lines, of which those of candles are written here; in a thread of its own once there are many.
//!
//! ```text
//!   candles, other lines ─▶ piece ─▶ channel ─▶ thread: candles as lines ─▶ SHA-256
//!                             ▲       ▲           │ └▶ rows ─▶ SHA-256 of each instrument
//!          rows of candles ───│───────┘           │
//!                             └────── emptied ◀───┘
//! ```
//! Guarantees: the hash is that of all lines in the order in which they came, and that of an instrument the same of its
//! rows; the thread never touches Python; at most `PIECES_MAX` pieces wait, and whoever has one more waits, too.
//! Does not: start a thread for a short run, or where there is one processor.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Builder, available_parallelism};

use headrace_core::candles::{BarLine, Taken};
use headrace_core::ingest::hash::PiecesHash;

/// Lines of a piece: some 50 kB, which stay in a processor's cache.
const PIECE_LINES: usize = 512;
/// Pieces that wait for the thread at most.
const PIECES_MAX: usize = 16;

/// One line, or what it is made of.
enum Line {
    /// How the lines of a stream are written, from here on.
    Stream(u32, Arc<BarLine>),
    Candle {
        taken: Taken,
        partial: bool,
    },
    /// So many bytes, as they are.
    Bytes(usize),
}

/// Lines in their order.
#[derive(Default)]
struct Piece {
    lines: Vec<Line>,
    bytes: Vec<u8>,
}

/// The hashes so far, lower-case hex.
pub(super) struct Hashes {
    pub(super) lines: String,
    /// By instrument.
    pub(super) inputs: BTreeMap<String, String>,
}

/// What writes and hashes.
#[derive(Default, Clone)]
struct Writer {
    hash: PiecesHash,
    /// By stream.
    streams: Vec<Option<Arc<BarLine>>>,
    /// By instrument.
    inputs: BTreeMap<String, PiecesHash>,
}

impl Writer {
    fn input(&mut self, instrument: String, rows: &[u8]) {
        self.inputs.entry(instrument).or_default().update(rows);
    }

    fn hashes(&self) -> Hashes {
        let inputs = self.inputs.iter().map(|(name, hash)| (name.clone(), hash.hex()));
        Hashes {
            lines: self.hash.hex(),
            inputs: inputs.collect(),
        }
    }

    /// Hashes the lines of a piece, and empties it.
    fn take(&mut self, piece: &mut Piece) {
        let mut bytes = &piece.bytes[..];
        for line in piece.lines.drain(..) {
            match line {
                Line::Stream(stream, how) => {
                    let at = stream as usize;
                    self.streams.resize(self.streams.len().max(at + 1), None);
                    self.streams[at] = Some(how);
                }
                Line::Candle { taken, partial } => {
                    let how = self.streams[taken.stream as usize].as_ref();
                    let how = how.expect("a stream comes before its candles");
                    self.hash.append(|out| how.write(&taken, partial, out));
                }
                Line::Bytes(count) => {
                    let (own, rest) = bytes.split_at(count);
                    self.hash.append(|out| out.extend_from_slice(own));
                    bytes = rest;
                }
            }
        }
        piece.bytes.clear();
    }
}

/// What the thread is to do.
enum Task {
    Hash(Piece),
    /// Hash rows of an instrument.
    Input(String, Vec<u8>),
    /// Return the hashes so far.
    Show(Sender<Hashes>),
}

/// The thread, which ends when this is dropped.
struct Worker {
    tasks: SyncSender<Task>,
    emptied: Receiver<Piece>,
}

impl Worker {
    /// Goes on with a writer in a thread; `None`: the machine has no room for one.
    fn start(writer: &Writer) -> Option<Self> {
        if available_parallelism().map_or(1, NonZero::get) < 2 {
            return None;
        }
        let (tasks, to_do) = sync_channel(PIECES_MAX);
        let (give_back, emptied) = channel();
        // It begins with what the writer has; were there no thread, the writer would go on itself.
        let mut own = writer.clone();
        let work = move || {
            for task in to_do {
                match task {
                    Task::Hash(mut piece) => {
                        own.take(&mut piece);
                        // Nobody may be there any more to use it again.
                        let _ = give_back.send(piece);
                    }
                    Task::Input(instrument, rows) => own.input(instrument, &rows),
                    Task::Show(answer) => {
                        let _ = answer.send(own.hashes());
                    }
                }
            }
        };
        Builder::new().name("headrace-hash".into()).spawn(work).ok()?;
        Some(Self { tasks, emptied })
    }
}

/// Where lines are hashed.
#[derive(Default)]
enum Place {
    #[default]
    Unknown,
    Here,
    Thread(Worker),
}

/// A running hash of lines.
#[derive(Default)]
pub(super) struct LineHasher {
    piece: Piece,
    /// Streams whose lines are known.
    known: Vec<bool>,
    /// Hashes here, until there is a thread.
    writer: Writer,
    place: Place,
}

impl LineHasher {
    /// Takes the line of a candle, which `how` writes.
    pub(super) fn candle(&mut self, how: &Arc<BarLine>, taken: &Taken, partial: bool) {
        let at = taken.stream as usize;
        if self.known.get(at) != Some(&true) {
            self.known.resize(self.known.len().max(at + 1), false);
            self.known[at] = true;
            self.piece.lines.push(Line::Stream(taken.stream, Arc::clone(how)));
        }
        self.push(Line::Candle { taken: *taken, partial });
    }

    /// Takes a line as it is.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.piece.bytes.extend_from_slice(bytes);
        self.push(Line::Bytes(bytes.len()));
    }

    /// Takes candles of an instrument as rows, of which each instrument has a hash of its own.
    pub(super) fn input(&mut self, instrument: &str, rows: Vec<u8>) {
        let instrument = instrument.to_owned();
        match &self.place {
            Place::Thread(worker) => worker
                .tasks
                .send(Task::Input(instrument, rows))
                .expect("the thread ends behind this"),
            Place::Unknown | Place::Here => self.writer.input(instrument, &rows),
        }
    }

    /// What gives the hashes so far when it is called; that may take some milliseconds.
    pub(super) fn hashes(&mut self) -> impl FnOnce() -> Hashes + Send + use<> {
        self.pass_on();
        let (answer, hashes) = channel();
        let there = match &self.place {
            Place::Thread(worker) => worker.tasks.send(Task::Show(answer)).is_ok(),
            _ => false,
        };
        let here = (!there).then(|| self.writer.hashes());
        move || here.unwrap_or_else(|| hashes.recv().expect("the thread answers before it ends"))
    }

    #[inline]
    fn push(&mut self, line: Line) {
        self.piece.lines.push(line);
        if self.piece.lines.len() >= PIECE_LINES {
            if matches!(self.place, Place::Unknown) {
                self.place = Worker::start(&self.writer).map_or(Place::Here, Place::Thread);
            }
            self.pass_on();
        }
    }

    /// Has the lines of the piece hashed, wherever that is.
    fn pass_on(&mut self) {
        match &self.place {
            Place::Thread(worker) => {
                let empty = worker.emptied.try_recv().unwrap_or_default();
                let piece = std::mem::replace(&mut self.piece, empty);
                worker
                    .tasks
                    .send(Task::Hash(piece))
                    .expect("the thread ends behind this");
            }
            Place::Unknown | Place::Here => self.writer.take(&mut self.piece),
        }
    }
}
