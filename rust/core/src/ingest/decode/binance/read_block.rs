//! A block of recorded lines whose frames were read ahead of their turn.
//!
//! ```text
//!   its own thread: lines ─▶ fast ─▶ symbol, ticks without an instrument        engine's thread, in order: instrument
//!                              └─ not as predicted: left unread ─────▶ Decoder::decode
//! ```
//! Guarantees: reading ahead changes nothing but the time at which it is done; rows, receive times and bad lines are those
//! of [`Lines`]. Ticks get their instrument at their turn: from [`super::Decoder::take`], or from the block when that took
//! a frame of the same symbol from it before.
//! Does not: look up or name an instrument, or judge a frame: what the predicted scanner does not read waits for its turn.

use super::fast;
use super::frame::{Frame, Level};
use crate::ingest::decode::FrameType;
use crate::ingest::lines::Lines;
use crate::limits::FRAME_BYTES_MAX;
use crate::market::instrument::Venue;
use crate::market::tick::{NO_INSTRUMENT, Tick};
use rustc_hash::FxHashMap;
use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

/// Bytes of recorded lines for each that is expected: the room to begin with.
const LINE_BYTES: usize = 256;

/// Text that stays where it lies while a block of it is read.
pub trait Text: AsRef<[u8]> + Debug + Send + Sync + 'static {}

impl<T: AsRef<[u8]> + Debug + Send + Sync + 'static> Text for T {}

/// A frame that was read ahead; [`super::Decoder::take`] takes its ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadFrame<'a> {
    /// `None`: a snapshot that names none.
    pub(super) symbol: Option<&'a [u8]>,
    pub(super) frame_type: FrameType,
    /// Their instrument is that of the symbol, whatever they say.
    pub(super) ticks: &'a [Tick],
}

/// One line of the block.
#[derive(Clone, Debug)]
pub(crate) struct ReadLine {
    /// When it was received, ns; `None`: it is a bad line.
    pub(crate) ts_init: Option<i64>,
    /// Itself and the blank lines before it.
    pub(crate) rows: u64,
    /// The frame, or all of a bad line, in the block.
    bytes: Range<usize>,
    /// Its ticks in the block; none when it is unread.
    ticks: Range<usize>,
    /// The place of its symbol, and its type; `None`: the frame is unread.
    read: Option<(Option<usize>, FrameType)>,
}

/// A symbol, and its instrument when that is known.
#[derive(Clone, Debug)]
struct Symbol {
    text: Box<[u8]>,
    instrument: Option<u32>,
}

/// The symbols of a block while it is read.
#[derive(Default)]
struct Symbols {
    all: Vec<Symbol>,
    places: FxHashMap<Box<[u8]>, usize>,
    newest: usize,
}

impl Symbols {
    fn place(&mut self, symbol: &[u8]) -> usize {
        // Frames come in runs of one symbol.
        if self.all.get(self.newest).is_none_or(|newest| *newest.text != *symbol) {
            self.newest = self.places.get(symbol).copied().unwrap_or_else(|| self.add(symbol));
        }
        self.newest
    }

    fn add(&mut self, symbol: &[u8]) -> usize {
        self.places.insert(symbol.into(), self.all.len());
        self.all.push(Symbol {
            text: symbol.into(),
            instrument: None,
        });
        self.all.len() - 1
    }
}

/// See the module's header.
#[derive(Clone, Debug)]
pub struct ReadBlock {
    text: Arc<dyn Text>,
    lines: Vec<ReadLine>,
    blank_at_end: u64,
    ticks: Vec<Tick>,
    symbols: Vec<Symbol>,
}

impl ReadBlock {
    /// Reads the frames of a block of whole recorded lines of a venue.
    #[must_use]
    pub fn new(block: impl Text, venue: Venue) -> Self {
        let bytes = block.as_ref();
        let mut all = Lines::new(bytes, 1);
        let mut lines = Vec::with_capacity(bytes.len() / LINE_BYTES);
        let (mut ticks, mut levels, mut symbols) = (Vec::new(), Vec::new(), Symbols::default());
        let mut rows = 0;
        for line in &mut all {
            let end = line.offset + line.bytes.len();
            let frame = line.parts.map_or(line.bytes, |(_, frame)| frame);
            let before = ticks.len();
            let read = line.parts.and_then(|(ts_init, frame)| {
                let frame = read_frame(frame, venue, &mut levels)?;
                let Frame::Ticks { symbol, content } = frame else {
                    return None;
                };
                let symbol = symbol.map(|symbol| symbols.place(&symbol));
                Some((symbol, content.push_ticks(&levels, NO_INSTRUMENT, ts_init, &mut ticks)))
            });
            lines.push(ReadLine {
                ts_init: line.parts.map(|(ts_init, _)| ts_init),
                rows: line.number - rows,
                bytes: end - frame.len()..end,
                ticks: before..ticks.len(),
                read,
            });
            rows = line.number;
        }
        Self {
            blank_at_end: all.number() - 1 - rows,
            text: Arc::new(block),
            lines,
            ticks,
            symbols: symbols.all,
        }
    }

    /// A line of it, of those that are not blank.
    pub(crate) fn line(&self, index: usize) -> Option<&ReadLine> {
        self.lines.get(index)
    }

    /// The blank lines behind the last one.
    pub(crate) fn blank_at_end(&self) -> u64 {
        self.blank_at_end
    }

    /// The frame of a line as it stands, or all of a bad line; and what was read of it.
    pub(crate) fn frame_at(&self, index: usize) -> (&[u8], Option<ReadFrame<'_>>) {
        let line = &self.lines[index];
        let read = line.read.map(|(symbol, frame_type)| ReadFrame {
            symbol: symbol.map(|symbol| &*self.symbols[symbol].text),
            frame_type,
            ticks: &self.ticks[line.ticks.clone()],
        });
        (&(*self.text).as_ref()[line.bytes.clone()], read)
    }

    /// The ticks of all frames that were read.
    pub(crate) fn ticks(&self) -> &[Tick] {
        &self.ticks
    }

    /// Where the ticks of a line begin.
    pub(crate) fn first_tick(&self, index: usize) -> usize {
        self.lines[index].ticks.start
    }

    /// The frames of its symbol have this instrument.
    pub(crate) fn name_symbol(&mut self, index: usize, instrument: u32) {
        if let Some((Some(symbol), _)) = self.lines[index].read {
            self.symbols[symbol].instrument = Some(instrument);
        }
    }

    /// The type of a frame that was read, and its instrument; `None`: it is unread, or a decoder must name it.
    #[inline]
    fn named(&self, line: &ReadLine) -> Option<(FrameType, u32)> {
        let (symbol, frame_type) = line.read?;
        Some((frame_type, self.symbols[symbol?].instrument?))
    }

    /// The type of a frame whose ticks are in hand.
    #[inline]
    pub(crate) fn frame_type(&self, index: usize) -> Option<FrameType> {
        self.lines[index].read.map(|(_, frame_type)| frame_type)
    }

    /// When the line behind a frame was received whose instrument is known; `None`: it is not, or no time is known there.
    pub(crate) fn time_behind(&self, index: usize) -> Option<i64> {
        self.named(&self.lines[index])?;
        self.lines.get(index + 1)?.ts_init
    }

    /// The ticks of a frame whose instrument is known.
    pub(crate) fn take(&mut self, index: usize) -> Option<&[Tick]> {
        let line = &self.lines[index];
        let (_, instrument) = self.named(line)?;
        let ticks = &mut self.ticks[line.ticks.clone()];
        ticks.iter_mut().for_each(|tick| tick.instrument = instrument);
        Some(ticks)
    }

    /// The ticks of the frames from a line on, as long as each is one tick whose instrument is known, and is alone at its
    /// time, before `end_ns`; `frames_max` at most.
    pub(crate) fn alone(&mut self, index: usize, end_ns: i64, frames_max: usize) -> Range<usize> {
        let first = self.first_tick(index);
        let mut alone = first..first;
        for pair in self.lines[index..].windows(2).take(frames_max) {
            let (Some(ts_init), Some(next_ns)) = (pair[0].ts_init, pair[1].ts_init) else {
                break;
            };
            let Some((_, instrument)) = self.named(&pair[0]) else {
                break;
            };
            if pair[0].ticks.len() != 1 || ts_init >= next_ns.min(end_ns) {
                break;
            }
            self.ticks[alone.end].instrument = instrument;
            alone.end += 1;
        }
        alone
    }
}

/// A frame that is as predicted.
fn read_frame<'a>(frame: &'a [u8], venue: Venue, levels: &mut Vec<Level>) -> Option<Frame<'a>> {
    levels.clear();
    (frame.len() <= FRAME_BYTES_MAX)
        .then(|| fast::read(frame, venue, levels))
        .flatten()
}
