//! Numbering: from ticks to numbered ones, and to the bars and the hash that take each of them.
//!
//! ```text
//!   ticks ─▶ expected? ─▶ seq + 1 ─┐
//!                └ no ─▶ Sequencer ─┴▶ outgoing ─▶ input hash, bars
//! ```
//! Guarantees: bars and hash take every numbered tick once, in the order of positions.
//! Does not: publish; that is `publisher`.

use headrace_core::market::tick::Tick;

use super::publisher::Publisher;
use super::sequencer::Working;
use crate::lock::lock;

/// How far times ahead were numbered.
pub(super) struct Numbered {
    /// Of the ticks that were to be.
    pub(super) taken: usize,
    /// Of `working.outgoing`: those before the time at which something was not as expected.
    pub(super) expected: usize,
    /// The time of the last one that was taken.
    pub(super) last_ns: i64,
}

impl Publisher<'_, '_> {
    /// Whether bars or the hash take each tick that is numbered.
    #[inline(always)]
    pub(super) fn is_watched(&self) -> bool {
        self.core.bars.has_specs() || self.core.hash.is_some()
    }

    /// Numbers `working.incoming` into `working.outgoing`.
    pub(super) fn number_incoming(&mut self) {
        let incoming = std::mem::take(&mut self.working.incoming);
        self.number(&incoming);
        self.working.incoming = incoming;
    }

    /// Numbers `ticks` into `working.outgoing`.
    #[inline(always)] // With every time of a replay.
    pub(super) fn number(&mut self, ticks: &[Tick]) {
        let Working {
            sequencer, outgoing, ..
        } = &mut *self.working;
        outgoing.clear();
        let expected = sequencer.sequence_expected(ticks, outgoing);
        if expected < ticks.len() || self.is_watched() {
            self.number_rest(&ticks[expected..]);
        }
    }

    /// Numbers what is behind the expected ticks, and feeds all of them to bars and hash.
    fn number_rest(&mut self, ticks: &[Tick]) {
        let Working {
            sequencer,
            kinds,
            outgoing,
            waiting,
            ..
        } = &mut *self.working;
        let position = self.writer.position() + waiting.len() as u64;
        let table = lock(&self.core.instruments);
        sequencer.sequence(ticks, &table, kinds, outgoing);
        self.core.watch(outgoing, &table, position);
    }

    /// Takes ticks that have numbers already into `working.outgoing`; the error is the place of the first that cannot be.
    pub(super) fn adopt(&mut self, ticks: &[Tick]) -> Result<(), usize> {
        let Working {
            sequencer,
            kinds,
            outgoing,
            waiting,
            ..
        } = &mut *self.working;
        outgoing.clear();
        let position = self.writer.position() + waiting.len() as u64;
        let table = lock(&self.core.instruments);
        sequencer.adopt(ticks, &table, kinds, outgoing)?;
        self.core.watch(outgoing, &table, position);
        Ok(())
    }

    /// Numbers the ticks of whole times into `working.outgoing`, to the first time at which something is not as expected,
    /// that included; or to the one at which a bar closes.
    pub(super) fn number_ahead(&mut self, ticks: &[Tick]) -> Numbered {
        let (core, is_watched, position) = (self.core, self.is_watched(), self.writer.position());
        let Working {
            sequencer,
            kinds,
            outgoing,
            ..
        } = &mut *self.working;
        outgoing.clear();
        let mut taken = 0;
        for piece in ticks.chunk_by(|before, tick| !is_watched || before.ts_init == tick.ts_init) {
            if is_watched && piece[0].ts_init >= core.bars.due_ns() {
                break;
            }
            let from = outgoing.len();
            let expected = sequencer.sequence_expected(piece, outgoing);
            taken += expected;
            let Some(other) = piece.get(expected) else {
                if is_watched {
                    let table = lock(&core.instruments);
                    core.watch(&outgoing[from..], &table, position + from as u64);
                    if core.bars.has_closed() {
                        break;
                    }
                }
                continue;
            };
            let is_of_its_time = |tick: &&Tick| tick.ts_init == other.ts_init;
            let before = piece[..expected].iter().rev().take_while(is_of_its_time).count();
            let rest = piece[expected..].iter().take_while(is_of_its_time).count();
            let table = lock(&core.instruments);
            sequencer.sequence(&piece[expected..expected + rest], &table, kinds, outgoing);
            core.watch(&outgoing[from..], &table, position + from as u64);
            return Numbered {
                taken: taken + rest,
                expected: from + expected - before,
                last_ns: other.ts_init,
            };
        }
        Numbered {
            taken,
            expected: outgoing.len(),
            last_ns: outgoing.last().map_or(i64::MIN, |last| last.ts_init),
        }
    }
}
