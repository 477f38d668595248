//! The k-way merge: several sources, each in order of its receive times, as one stream.
//!
//! ```text
//!   source 0  ▒▒▒▒ block ─┐
//!   source 1  ▒▒ block ───┼─▶ next(): smallest (ts_init, source), or Need(source), or End
//!   source 2  ▒▒▒ block ──┘
//! ```
//! Order: (ts_init, source, position), stably. A bad line stands at the time of the line before it, or at 0.
//! Guarantees: the order doesn't depend on how sources are cut into blocks; nothing comes out while a source that could
//! come first is out of blocks; no allocation per item; a block is dropped as soon as it is used up.
//! Does not: read files, decode, or sort a source: one whose times go back is an error, and stays one.

use super::source::{Block, Source};
use crate::error::MergeError;
use crate::ingest::decode::{FrameType, ReadFrame};
use crate::market::tick::Tick;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

/// One item of a source, borrowed from its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// A frame, and what was read of it ahead.
    Frame(&'a [u8], Option<ReadFrame<'a>>),
    /// A line that is no recorded frame, as it stands.
    BadLine(&'a [u8]),
    /// Neighbouring ticks of one receive time.
    Ticks(&'a [Tick]),
}

/// One item in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// The source, from 0.
    pub source: usize,
    /// When it was received, ns.
    pub ts_init: i64,
    /// Its line or (first) tick in the source, from 1.
    pub row: u64,
    /// What it is.
    pub payload: Payload<'a>,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// This.
    Item(Item<'a>),
    /// This source needs a block, or its end, first.
    Need(usize),
    /// Nothing: every source has ended.
    End,
}

/// Where the ticks of a time come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The source, from 0.
    pub source: usize,
    /// The type of the frame that they are; `None`: the source hands over ticks.
    pub frame_type: Option<FrameType>,
}

/// When the next item comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peek {
    /// At this receive time, ns.
    At(i64),
    /// Unknown until this source has a block, or has ended.
    Need(usize),
    /// Never.
    End,
}

/// Merges sources. See the module's header.
#[derive(Clone, Debug)]
pub struct Merge {
    pub(super) sources: Vec<Source>,
    /// The head that comes first, and the others: each source is here, or out of blocks, or has ended.
    pub(super) first: Option<(i64, usize)>,
    others: BinaryHeap<Reverse<(i64, usize)>>,
    /// Sources out of blocks, lowest first.
    hungry: BinaryHeap<Reverse<usize>>,
    /// The source whose head was handed out.
    pub(super) taken: Option<usize>,
    /// Of the ticks of the first source's block: those from its head on that [`Merge::alone`] has still to hand out. What
    /// lies between the head and them was passed; [`Merge::catch_up`] moves the head.
    pub(super) alone: Range<usize>,
    failed: Option<MergeError>,
}

impl Merge {
    /// A merge of so many sources, none of which has handed over anything.
    #[must_use]
    pub fn new(sources: usize) -> Self {
        let source = Source {
            block: Block::Ticks(Vec::new()),
            at: 0,
            rows: 0,
            previous: i64::MIN,
            ended: false,
            head: None,
        };
        Self {
            sources: vec![source; sources],
            first: None,
            others: BinaryHeap::with_capacity(sources),
            hungry: (0..sources).map(Reverse).collect(),
            taken: None,
            alone: 0..0,
            failed: None,
        }
    }

    /// Hands over the next block of a source that [`Step::Need`] or [`Peek::Need`] named.
    ///
    /// # Panics
    /// When that source was not named: its block would be lost.
    pub fn push(&mut self, source: usize, block: Block) {
        self.feed(source);
        self.sources[source].block = block;
        self.sources[source].at = 0;
        self.load(source);
    }

    /// Ends a source that [`Step::Need`] or [`Peek::Need`] named.
    ///
    /// # Panics
    /// When that source was not named.
    pub fn end(&mut self, source: usize) {
        self.feed(source);
        self.sources[source].ended = true;
    }

    /// When the next item comes, without taking it.
    ///
    /// # Errors
    /// [`MergeError`] from the first row on that goes back in time.
    pub fn peek_ts(&mut self) -> Result<Peek, MergeError> {
        self.catch_up();
        self.pass_taken();
        if let Some(error) = self.failed {
            return Err(error);
        }
        if let Some(&Reverse(source)) = self.hungry.peek() {
            return Ok(Peek::Need(source));
        }
        Ok(self.first.map_or(Peek::End, |(ts_init, _)| Peek::At(ts_init)))
    }

    /// The next item. It is borrowed until the next call.
    ///
    /// # Errors
    /// [`MergeError`] from the first row on that goes back in time.
    #[expect(
        clippy::should_implement_trait,
        reason = "items borrow from the merge, which Iterator cannot say"
    )]
    pub fn next(&mut self) -> Result<Step<'_>, MergeError> {
        match self.peek_ts()? {
            Peek::Need(source) => return Ok(Step::Need(source)),
            Peek::End => return Ok(Step::End),
            Peek::At(_) => {}
        }
        let Some((ts_init, index)) = self.first else {
            return Ok(Step::End);
        };
        self.taken = Some(index);
        let source = &self.sources[index];
        let Some(head) = source.head else {
            return Ok(Step::Need(index));
        };
        let payload = match &source.block {
            Block::Lines(bytes) if head.bad => Payload::BadLine(&bytes[head.start..head.end]),
            Block::Lines(bytes) => Payload::Frame(&bytes[head.start..head.end], None),
            Block::Read(block) => match block.frame_at(head.start) {
                (line, _) if head.bad => Payload::BadLine(line),
                (frame, read) => Payload::Frame(frame, read),
            },
            Block::Ticks(ticks) => Payload::Ticks(&ticks[head.start..head.end]),
        };
        Ok(Step::Item(Item {
            source: index,
            ts_init,
            row: head.row,
            payload,
        }))
    }

    /// The symbol of the frame that [`Merge::next`] returned has this instrument: that of other frames of its block is
    /// known from now on.
    pub fn name_symbol(&mut self, instrument: u32) {
        if let Some(index) = self.taken {
            self.sources[index].name_symbol(instrument);
        }
    }

    /// The first source, and when the next one of the others has something; `None`: there is none, or a source lacks a
    /// block.
    #[inline(always)] // With every time of a replay.
    pub(super) fn ready(&mut self) -> Option<(usize, i64)> {
        self.catch_up();
        if self.taken.is_some() {
            self.pass_taken();
        }
        if self.failed.is_some() || !self.hungry.is_empty() {
            return None;
        }
        let (_, index) = self.first?;
        Some((index, self.others.peek().map_or(i64::MAX, |Reverse((other, _))| *other)))
    }

    /// The source that was first goes on at this time: it or another one is first now.
    #[inline(always)] // With every time of a replay.
    pub(super) fn put_first(&mut self, ts_init: i64, index: usize) {
        let mut first = (ts_init, index);
        if let Some(mut top) = self.others.peek_mut()
            && top.0 < first
        {
            std::mem::swap(&mut top.0, &mut first);
        }
        self.first = Some(first);
    }

    /// Moves the source whose head was handed out to its next one.
    fn pass_taken(&mut self) {
        if let Some(index) = self.taken.take() {
            let source = &mut self.sources[index];
            match source.advance(index) {
                Ok(Some(ts_init)) => self.put_first(ts_init, index),
                Ok(None) => {
                    self.first = self.others.pop().map(|Reverse(head)| head);
                    self.hungry.push(Reverse(index));
                }
                Err(error) => self.failed = self.failed.or(Some(error)),
            }
        }
    }

    /// Takes a source off the hungry ones.
    fn feed(&mut self, source: usize) {
        self.catch_up();
        self.pass_taken();
        let named = self.hungry.pop();
        assert_eq!(
            named,
            Some(Reverse(source)),
            "source {source} needs no block: push blocks only to the source that Need names"
        );
    }

    fn load(&mut self, index: usize) {
        match self.sources[index].advance(index) {
            Ok(Some(ts_init)) => {
                let came = (ts_init, index);
                let later = self.first.map(|first| first.max(came));
                self.first = Some(self.first.map_or(came, |first| first.min(came)));
                self.others.extend(later.map(Reverse));
            }
            Ok(None) => self.hungry.push(Reverse(index)),
            Err(error) => self.failed = self.failed.or(Some(error)),
        }
    }
}
