//! A block of recorded lines whose frames were read ahead of their turn.
//!
//! ```text
//!   its own thread: lines ─▶ fast ─▶ symbol, numbers, levels           engine's thread, in order: instrument ─▶ ticks
//!                              └─ not as predicted: left unread ─────▶ Decoder::decode
//! ```
//! Guarantees: reading ahead changes nothing but the time at which it is done; rows, receive times and bad lines are those
//! of [`Lines`].
//! Does not: look up or name an instrument, or judge a frame: what the predicted scanner does not read waits for its turn.

use super::fast;
use super::frame::{Content, Frame, Level};
use crate::ingest::lines::Lines;
use crate::limits::FRAME_BYTES_MAX;
use crate::market::instrument::Venue;
use std::ops::Range;

/// Bytes of recorded lines for each that is expected: the room to begin with.
const LINE_BYTES: usize = 256;

/// A frame that was read ahead; [`super::Decoder::take`] makes ticks of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadFrame<'a> {
    pub(super) symbol: Option<&'a [u8]>,
    pub(super) content: &'a Content,
    /// What the ranges of the content are of.
    pub(super) levels: &'a [Level],
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
    /// Where its symbol stands in the symbols, and the rest; `None`: the frame is unread.
    read: Option<(Option<Range<usize>>, Content)>,
}

/// See the module's header.
#[derive(Clone, Debug, Default)]
pub struct ReadBlock {
    bytes: Vec<u8>,
    lines: Vec<ReadLine>,
    blank_at_end: u64,
    levels: Vec<Level>,
    symbols: Vec<u8>,
}

impl ReadBlock {
    /// Reads the frames of a block of whole recorded lines of a venue.
    #[must_use]
    pub fn new(block: Vec<u8>, venue: Venue) -> Self {
        let mut read = Self {
            lines: Vec::with_capacity(block.len() / LINE_BYTES),
            ..Self::default()
        };
        let mut lines = Lines::new(&block, 1);
        let (mut rows, mut symbol) = (0, 0..0);
        for line in &mut lines {
            let end = line.offset + line.bytes.len();
            let frame = line.parts.map_or(line.bytes, |(_, frame)| frame);
            let of_frame = line.parts.and_then(|_| read.read_frame(frame, venue, &mut symbol));
            read.lines.push(ReadLine {
                ts_init: line.parts.map(|(ts_init, _)| ts_init),
                rows: line.number - rows,
                bytes: end - frame.len()..end,
                read: of_frame,
            });
            rows = line.number;
        }
        read.blank_at_end = lines.number() - 1 - rows;
        read.bytes = block;
        read
    }

    /// Reads a frame that is as predicted. newest : the symbol of the one before, and then of this one.
    fn read_frame(
        &mut self,
        frame: &[u8],
        venue: Venue,
        newest: &mut Range<usize>,
    ) -> Option<(Option<Range<usize>>, Content)> {
        if frame.len() > FRAME_BYTES_MAX {
            return None;
        }
        let levels = self.levels.len();
        let Some(Frame::Ticks { symbol, content }) = fast::read(frame, venue, &mut self.levels) else {
            self.levels.truncate(levels);
            return None;
        };
        let symbol = symbol.map(|symbol| {
            // Frames come in runs of one symbol.
            if self.symbols[newest.clone()] != *symbol {
                let start = self.symbols.len();
                self.symbols.extend_from_slice(&symbol);
                *newest = start..self.symbols.len();
            }
            newest.clone()
        });
        Some((symbol, content))
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
        let read = line.read.as_ref().map(|(symbol, content)| ReadFrame {
            symbol: symbol.clone().map(|symbol| &self.symbols[symbol]),
            content,
            levels: &self.levels,
        });
        (&self.bytes[line.bytes.clone()], read)
    }
}
