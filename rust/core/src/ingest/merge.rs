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

use crate::error::MergeError;
use crate::ingest::lines::Lines;
use crate::market::tick::Tick;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What a source hands over at once.
#[derive(Clone, Debug)]
pub enum Block {
    /// Whole recorded lines.
    Lines(Vec<u8>),
    /// Ticks; an event is not cut.
    Ticks(Vec<Tick>),
}

/// One item of a source, borrowed from its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// A frame.
    Frame(&'a [u8]),
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

/// Where in a block the next item lies.
#[derive(Clone, Copy, Debug)]
struct Head {
    ts_init: i64,
    row: u64,
    start: usize,
    end: usize,
    bad: bool,
}

#[derive(Clone, Debug)]
struct Source {
    block: Block,
    /// Bytes or ticks of the block that lie behind the head.
    at: usize,
    /// Rows of all blocks up to there.
    rows: u64,
    previous: i64,
    ended: bool,
    head: Option<Head>,
}

/// Merges sources. See the module's header.
#[derive(Clone, Debug)]
pub struct Merge {
    sources: Vec<Source>,
    /// Heads in order: each source is here, or out of blocks, or has ended.
    heads: BinaryHeap<Reverse<(i64, usize)>>,
    /// Sources out of blocks, lowest first.
    hungry: BinaryHeap<Reverse<usize>>,
    /// The source whose head was handed out.
    taken: Option<usize>,
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
            heads: BinaryHeap::with_capacity(sources),
            hungry: (0..sources).map(Reverse).collect(),
            taken: None,
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
        self.pass_taken();
        if let Some(error) = self.failed {
            return Err(error);
        }
        if let Some(&Reverse(source)) = self.hungry.peek() {
            return Ok(Peek::Need(source));
        }
        Ok(self
            .heads
            .peek()
            .map_or(Peek::End, |&Reverse((ts_init, _))| Peek::At(ts_init)))
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
        let Some(&Reverse((ts_init, index))) = self.heads.peek() else {
            return Ok(Step::End);
        };
        self.taken = Some(index);
        let source = &self.sources[index];
        let Some(head) = source.head else {
            return Ok(Step::Need(index));
        };
        let payload = match &source.block {
            Block::Lines(bytes) if head.bad => Payload::BadLine(&bytes[head.start..head.end]),
            Block::Lines(bytes) => Payload::Frame(&bytes[head.start..head.end]),
            Block::Ticks(ticks) => Payload::Ticks(&ticks[head.start..head.end]),
        };
        Ok(Step::Item(Item {
            source: index,
            ts_init,
            row: head.row,
            payload,
        }))
    }

    /// When the next ticks come, if they are all that was received at their time and lie in one block: see
    /// [`Merge::take_time`]. `None`: [`Merge::peek_ts`] says what comes.
    #[inline]
    pub fn whole_time(&mut self) -> Option<i64> {
        self.pass_taken();
        if self.failed.is_some() || !self.hungry.is_empty() {
            return None;
        }
        // The two behind the first of a heap: no other is before them.
        let [Reverse((ts_init, index)), others @ ..] = self.heads.as_slice() else {
            return None;
        };
        let is_alone = others.iter().take(2).all(|Reverse((other, _))| other > ts_init);
        let source = &self.sources[*index];
        let Block::Ticks(ticks) = &source.block else {
            return None;
        };
        // At the end of a block its time may go on in the next one.
        let behind = ticks.get(source.at)?;
        (is_alone && behind.ts_init > *ts_init).then_some(*ts_init)
    }

    /// Takes the ticks of the time that [`Merge::whole_time`] returned: with the index of their source.
    #[inline]
    pub fn take_time(&mut self) -> Option<(usize, &[Tick])> {
        let mut top = self.heads.peek_mut()?;
        let Reverse((_, index)) = *top;
        let source = &mut self.sources[index];
        let head = source.head?;
        let Block::Ticks(ticks) = &source.block else {
            return None;
        };
        let next = head_of(ticks, source.at, source.rows)?;
        *top = Reverse((next.ts_init, index));
        source.at = next.end;
        source.rows += (next.end - next.start) as u64;
        (source.previous, source.head) = (next.ts_init, Some(next));
        Some((index, &ticks[head.start..head.end]))
    }

    /// Moves the source whose head was handed out to its next one.
    fn pass_taken(&mut self) {
        if let Some(index) = self.taken.take() {
            let source = &mut self.sources[index];
            match source.advance(index) {
                Ok(Some(ts_init)) => {
                    if let Some(mut top) = self.heads.peek_mut() {
                        *top = Reverse((ts_init, index));
                    }
                }
                Ok(None) => {
                    self.heads.pop();
                    self.hungry.push(Reverse(index));
                }
                Err(error) => self.failed = self.failed.or(Some(error)),
            }
        }
    }

    /// Takes a source off the hungry ones.
    fn feed(&mut self, source: usize) {
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
            Ok(Some(ts_init)) => self.heads.push(Reverse((ts_init, index))),
            Ok(None) => self.hungry.push(Reverse(index)),
            Err(error) => self.failed = self.failed.or(Some(error)),
        }
    }
}

/// The ticks of one receive time that begin at this place of a block; `None` at its end. rows : before it.
#[inline]
fn head_of(ticks: &[Tick], at: usize, rows: u64) -> Option<Head> {
    let (first, rest) = ticks.get(at..)?.split_first()?;
    let same = rest.iter().take_while(|tick| tick.ts_init == first.ts_init).count();
    Some(Head {
        ts_init: first.ts_init,
        row: rows + 1,
        start: at,
        end: at + 1 + same,
        bad: false,
    })
}

impl Source {
    /// Finds the next head, and its time; None when the block is used up (which is then dropped).
    fn advance(&mut self, index: usize) -> Result<Option<i64>, MergeError> {
        let head = match &self.block {
            Block::Lines(bytes) => {
                let mut lines = Lines::new(&bytes[self.at..], self.rows + 1);
                let line = lines.next();
                self.rows = lines.number() - 1;
                let begin = self.at;
                self.at += lines.at();
                line.map(|line| {
                    let (ts_init, piece) = line.parts.unwrap_or((self.previous.max(0), line.bytes));
                    let end = begin + line.offset + line.bytes.len();
                    Head {
                        ts_init,
                        row: line.number,
                        start: end - piece.len(),
                        end,
                        bad: line.parts.is_none(),
                    }
                })
            }
            Block::Ticks(ticks) => {
                let head = head_of(ticks, self.at, self.rows);
                if let Some(head) = head {
                    self.at = head.end;
                    self.rows += (head.end - head.start) as u64;
                }
                head
            }
        };
        self.head = head;
        let Some(head) = head else {
            self.block = Block::Ticks(Vec::new());
            self.at = 0;
            return Ok(None);
        };
        if head.ts_init < self.previous {
            return Err(MergeError {
                source_index: index,
                row: head.row,
                ts_init: head.ts_init,
                previous: self.previous,
            });
        }
        self.previous = head.ts_init;
        Ok(Some(head.ts_init))
    }
}
