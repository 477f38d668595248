//! The next times of a merge that are in hand as ticks: those of blocks of ticks, and of frames that were read ahead.
//!
//! ```text
//!   alone: a tick with a time of its own, many in one look     whole: all ticks of a time
//!   ahead: those of many times, in a block of ticks
//! ```
//! Guarantees: what comes out is what [`Merge::next`] would return, in the same order.
//! Does not: hand out the last time of a block, which may go on in the next one; or read a frame, or name its instrument.

use super::merge::{Merge, Origin};
use super::source::{Block, head_of};
use crate::market::tick::Tick;

/// Ticks that are found to be alone at their times in one look.
const ALONE_MAX: usize = 256;

impl Merge {
    /// The next tick, and where it comes from, if it is all that was received at its time and not the last one of its
    /// block; [`Merge::pass_alone`] takes it. `None`: [`Merge::peek_ts`] says what comes.
    #[inline(always)] // With every time of a replay.
    pub fn alone(&mut self) -> Option<(Origin, &Tick)> {
        if self.alone.is_empty() && !self.finds_alone() {
            return None;
        }
        let (_, index) = self.first?;
        let source = &self.sources[index];
        let (ticks, frame_type) = match &source.block {
            Block::Ticks(ticks) => (&ticks[..], None),
            Block::Read(block) => (block.ticks(), block.frame_type(source.row_of(self.alone.start)?)),
            Block::Lines(_) => return None,
        };
        let origin = Origin {
            source: index,
            frame_type,
        };
        Some((origin, &ticks[self.alone.start]))
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
        let source = &mut self.sources[index];
        let Some(head) = source.head else { return false };
        self.alone = match &mut source.block {
            Block::Ticks(ticks) => {
                let pairs = ticks[head.start..].windows(2).take(ALONE_MAX);
                let is_alone = |pair: &&[Tick]| pair[0].ts_init < pair[1].ts_init.min(other_ns);
                head.start..head.start + pairs.take_while(is_alone).count()
            }
            Block::Read(block) => block.alone(head.start, other_ns, ALONE_MAX),
            Block::Lines(_) => return false,
        };
        !self.alone.is_empty()
    }

    /// Moves the head of the first source behind the ticks that were passed alone.
    #[inline(always)]
    pub(super) fn catch_up(&mut self) {
        if self.alone.end > 0 {
            self.move_head();
        }
    }

    #[inline(never)]
    fn move_head(&mut self) {
        let at = std::mem::take(&mut self.alone).start;
        let Some((_, index)) = self.first else { return };
        if let Some(next_ns) = self.sources[index].move_to(at) {
            self.put_first(next_ns, index);
        }
    }

    /// When the next ticks come, if they are all that was received at their time and lie in one block: see
    /// [`Merge::whole`]. `None`: [`Merge::peek_ts`] says what comes.
    #[inline(always)] // With every time of a replay.
    pub fn whole_time(&mut self) -> Option<i64> {
        let (index, other_ns) = self.ready()?;
        let source = &self.sources[index];
        let head = source.head?;
        // At the end of a block its time may go on in the next one.
        let behind_ns = match &source.block {
            Block::Ticks(ticks) => ticks.get(source.at)?.ts_init,
            Block::Read(block) => block.time_behind(head.start)?,
            Block::Lines(_) => return None,
        };
        (behind_ns > head.ts_init && other_ns > head.ts_init).then_some(head.ts_init)
    }

    /// The ticks of the time that [`Merge::whole_time`] returned, and where they come from; see [`Merge::pass_time`].
    #[inline(always)] // With every time of a replay.
    pub fn whole(&mut self) -> Option<(Origin, &[Tick])> {
        let (_, index) = self.first?;
        let source = &mut self.sources[index];
        let head = source.head?;
        let (ticks, frame_type) = match &mut source.block {
            Block::Ticks(ticks) => (&ticks[head.start..head.end], None),
            Block::Read(block) => {
                let frame_type = block.frame_type(head.start);
                (block.take(head.start)?, frame_type)
            }
            Block::Lines(_) => return None,
        };
        let origin = Origin {
            source: index,
            frame_type,
        };
        Some((origin, ticks))
    }

    /// Takes the ticks that [`Merge::whole`] returned.
    #[inline(always)] // With every time of a replay.
    pub fn pass_time(&mut self) {
        let Some((_, index)) = self.first else { return };
        let source = &mut self.sources[index];
        if let Block::Ticks(ticks) = &source.block {
            if let Some(next) = head_of(ticks, source.at, source.rows) {
                source.go_to(next);
                self.put_first(next.ts_init, index);
            }
        } else {
            self.taken = Some(index);
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
}
