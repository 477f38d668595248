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

use super::source::{Block, Source, head_of};
use crate::error::MergeError;
use crate::ingest::decode::ReadFrame;
use crate::market::tick::Tick;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

/// Ticks that are found to be alone at their times in one look.
const ALONE_MAX: usize = 256;

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
    sources: Vec<Source>,
    /// The head that comes first, and the others: each source is here, or out of blocks, or has ended.
    first: Option<(i64, usize)>,
    others: BinaryHeap<Reverse<(i64, usize)>>,
    /// Sources out of blocks, lowest first.
    hungry: BinaryHeap<Reverse<usize>>,
    /// The source whose head was handed out.
    taken: Option<usize>,
    /// In the block of the first source: those from its head on that [`Merge::alone`] has still to hand out. What lies
    /// between the head and them was passed; [`Merge::catch_up`] moves the head.
    alone: Range<usize>,
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

    /// The first source, and when the next one of the others has something; `None`: there is none, or a source lacks a
    /// block.
    #[inline(always)] // With every time of a replay.
    fn ready(&mut self) -> Option<(usize, i64)> {
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

    /// The next tick, with the index of its source, if it is all that was received at its time and not the last one of
    /// its block; [`Merge::pass_alone`] takes it. `None`: [`Merge::peek_ts`] says what comes.
    #[inline(always)] // With every time of a replay.
    pub fn alone(&mut self) -> Option<(usize, &Tick)> {
        if self.alone.is_empty() && !self.finds_alone() {
            return None;
        }
        let (_, index) = self.first?;
        match &self.sources[index].block {
            Block::Ticks(ticks) => Some((index, &ticks[self.alone.start])),
            Block::Lines(_) | Block::Read(_) => None,
        }
    }

    /// Takes the tick that [`Merge::alone`] returned.
    #[inline(always)] // With every time of a replay.
    pub fn pass_alone(&mut self) {
        self.alone.start += 1;
    }

    /// Looks how many of the next ticks are alone at their times, and come before whatever another source has.
    #[inline(never)]
    fn finds_alone(&mut self) -> bool {
        let Some((index, other_ns)) = self.ready() else {
            return false;
        };
        let source = &self.sources[index];
        let (Block::Ticks(ticks), Some(head)) = (&source.block, source.head) else {
            return false;
        };
        let pairs = ticks[head.start..].windows(2).take(ALONE_MAX);
        let is_alone = |pair: &&[Tick]| pair[0].ts_init < pair[1].ts_init.min(other_ns);
        self.alone = head.start..head.start + pairs.take_while(is_alone).count();
        !self.alone.is_empty()
    }

    /// Moves the head of the first source behind the ticks that were passed alone.
    #[inline(always)]
    fn catch_up(&mut self) {
        if self.alone.end > 0 {
            self.move_head();
        }
    }

    #[inline(never)]
    fn move_head(&mut self) {
        let at = std::mem::take(&mut self.alone).start;
        let Some((_, index)) = self.first else { return };
        let source = &mut self.sources[index];
        if let (Block::Ticks(ticks), Some(head)) = (&source.block, source.head)
            && at > head.start
            && let Some(next) = head_of(ticks, at, head.row - 1 + (at - head.start) as u64)
        {
            source.go_to(next);
            self.put_first(next.ts_init, index);
        }
    }

    /// When the next ticks come, if they are all that was received at their time and lie in one block: see
    /// [`Merge::whole`]. `None`: [`Merge::peek_ts`] says what comes.
    #[inline(always)] // With every time of a replay.
    pub fn whole_time(&mut self) -> Option<i64> {
        let (index, other_ns) = self.ready()?;
        let source = &self.sources[index];
        let (Block::Ticks(ticks), Some(head)) = (&source.block, source.head) else {
            return None;
        };
        // At the end of a block its time may go on in the next one.
        let behind = ticks.get(source.at)?;
        (behind.ts_init > head.ts_init && other_ns > head.ts_init).then_some(head.ts_init)
    }

    /// The ticks of the time that [`Merge::whole_time`] returned, with the index of their source; see
    /// [`Merge::pass_time`].
    #[inline(always)] // With every time of a replay.
    #[must_use]
    pub fn whole(&self) -> Option<(usize, &[Tick])> {
        let (_, index) = self.first?;
        let source = &self.sources[index];
        let (Block::Ticks(ticks), Some(head)) = (&source.block, source.head) else {
            return None;
        };
        Some((index, &ticks[head.start..head.end]))
    }

    /// Takes the ticks that [`Merge::whole`] returned.
    #[inline(always)] // With every time of a replay.
    pub fn pass_time(&mut self) {
        let Some((_, index)) = self.first else { return };
        let source = &mut self.sources[index];
        if let Block::Ticks(ticks) = &source.block
            && let Some(next) = head_of(ticks, source.at, source.rows)
        {
            source.go_to(next);
            self.put_first(next.ts_init, index);
        }
    }

    /// The ticks of the next times, as far as these lie in one block, before `end_ns` and before any other source has
    /// something, and `takes` is true of each; at most `ticks_max`, and whole times only. [`Merge::pass`] takes them.
    ///
    /// The last time of a block is not among them, because it may go on in the next block. With the index of the source.
    pub fn ahead(
        &mut self,
        end_ns: i64,
        ticks_max: usize,
        mut takes: impl FnMut(&Tick) -> bool,
    ) -> Option<(usize, &[Tick])> {
        let (index, other_ns) = self.ready()?;
        let end_ns = end_ns.min(other_ns);
        let source = &self.sources[index];
        let (Block::Ticks(ticks), Some(head)) = (&source.block, source.head) else {
            return None;
        };
        let coming = &ticks[head.start..];
        let (mut whole, mut last_ns) = (0, head.ts_init);
        for (at, tick) in coming.iter().enumerate() {
            if tick.ts_init > last_ns {
                (whole, last_ns) = (at, tick.ts_init);
            }
            // The error of a time that goes back comes behind the time before it.
            if tick.ts_init < last_ns || at == ticks_max || tick.ts_init >= end_ns || !takes(tick) {
                break;
            }
        }
        (whole > 0).then(|| (index, &coming[..whole]))
    }

    /// Takes so many of the ticks that [`Merge::ahead`] returned: whole times. Returns how many times these are.
    ///
    /// # Panics
    /// When it returned fewer, or none.
    pub fn pass(&mut self, count: usize) -> u64 {
        let (_, index) = self.first.expect("the source of the ticks ahead");
        let source = &mut self.sources[index];
        let (Block::Ticks(ticks), Some(head)) = (&source.block, source.head) else {
            panic!("what is ahead are ticks");
        };
        let at = head.start + count;
        let next = head_of(ticks, at, head.row - 1 + count as u64).expect("the last time of a block is not ahead");
        let ends = ticks[head.start..=at].windows(2);
        let times = ends.filter(|pair| pair[0].ts_init != pair[1].ts_init).count();
        source.go_to(next);
        self.put_first(next.ts_init, index);
        times as u64
    }

    /// The source that was first goes on at this time: it or another one is first now.
    #[inline(always)] // With every time of a replay.
    fn put_first(&mut self, ts_init: i64, index: usize) {
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
