//! One source of a merge: its block, and where in that the next item lies.
//!
//! Guarantees: heads come in order of their receive times; a time that goes back is an error that names its row.
//! Does not: know other sources.

use crate::error::MergeError;
use crate::ingest::decode::ReadBlock;
use crate::ingest::lines::Lines;
use crate::market::tick::Tick;

/// What a source hands over at once.
#[derive(Clone, Debug)]
pub enum Block {
    /// Whole recorded lines.
    Lines(Vec<u8>),
    /// The same, its frames read ahead.
    Read(ReadBlock),
    /// Ticks; an event is not cut.
    Ticks(Vec<Tick>),
}

/// Where in a block the next item lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) ts_init: i64,
    pub(super) row: u64,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) bad: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) block: Block,
    /// Bytes, lines or ticks of the block up to the end of the head.
    pub(super) at: usize,
    /// Rows of all blocks up to there.
    pub(super) rows: u64,
    pub(super) previous: i64,
    pub(super) ended: bool,
    pub(super) head: Option<Head>,
}

/// The ticks of one receive time that begin at this place of a block; `None` at its end. rows : before it.
#[inline]
pub(super) fn head_of(ticks: &[Tick], at: usize, rows: u64) -> Option<Head> {
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
    /// Has this one next, which are ticks of a later time.
    #[inline(always)]
    pub(super) fn go_to(&mut self, next: Head) {
        self.at = next.end;
        self.rows = next.row - 1 + (next.end - next.start) as u64;
        (self.previous, self.head) = (next.ts_init, Some(next));
    }

    /// Has the tick at this place of its block next, if it is behind the head; all up to there have a time of their own.
    /// Returns its time.
    pub(super) fn move_to(&mut self, tick: usize) -> Option<i64> {
        let head = self.head?;
        let at = self.row_of(tick).filter(|at| *at > head.start)?;
        match &self.block {
            Block::Ticks(ticks) => {
                let next = head_of(ticks, at, head.row - 1 + (at - head.start) as u64)?;
                self.go_to(next);
            }
            Block::Read(block) => {
                let passed = (head.start + 1..at).filter_map(|index| block.line(index));
                self.rows += passed.map(|line| line.rows).sum::<u64>();
                self.at = at;
                let next = self.next_line()?;
                (self.previous, self.head) = (next.ts_init, Some(next));
            }
            Block::Lines(_) => return None,
        }
        self.head.map(|next| next.ts_init)
    }

    /// The place in its block of what has the tick at this place; from the head on each has one tick up to there.
    #[inline]
    pub(super) fn row_of(&self, tick: usize) -> Option<usize> {
        let start = self.head?.start;
        Some(match &self.block {
            Block::Read(block) => start + tick - block.first_tick(start),
            Block::Lines(_) | Block::Ticks(_) => tick,
        })
    }

    /// The symbol of the head, which is a frame, has this instrument.
    pub(super) fn name_symbol(&mut self, instrument: u32) {
        if let (Block::Read(block), Some(head)) = (&mut self.block, self.head) {
            block.name_symbol(head.start, instrument);
        }
    }

    /// The next line of a block that was read ahead.
    fn next_line(&mut self) -> Option<Head> {
        let Block::Read(block) = &self.block else { return None };
        let line = block.line(self.at);
        self.rows += line.map_or(block.blank_at_end(), |line| line.rows);
        let line = line?;
        self.at += 1;
        Some(Head {
            ts_init: line.ts_init.unwrap_or(self.previous.max(0)),
            row: self.rows,
            start: self.at - 1,
            end: self.at,
            bad: line.ts_init.is_none(),
        })
    }

    /// Finds the next head, and its time; None when the block is used up (which is then dropped).
    pub(super) fn advance(&mut self, index: usize) -> Result<Option<i64>, MergeError> {
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
            Block::Read(_) => self.next_line(),
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
