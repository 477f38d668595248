//! The sequencer: numbers ticks densely per (instrument, kind), and checks the venue's own numbers, once per event.
//!
//! ```text
//!   event (first…last) ─▶ venue ids ─┬─ in order ─▶ seq + 1 ─▶ out
//!                                    ├─ ids missing, or begun anew ─▶ gap tick, then the event flagged GAP_BEFORE
//!                                    └─ seen before / lower ─▶ counted, and dropped or flagged
//! ```
//! Rules: quote: ids only rise, a jump is no loss. trade, agg_trade: the next is the last + 1. level: `U == last u + 1`
//! on spot, `pu == last u` on futures; level_empty is in the same chain. Snapshots and `venue_seq` 0 are not checked.
//! After a reconnect, which a status tick may say, or a restore that is the gap's cause, up to and including the first
//! event that is checked.
//! A spot event that overlaps the one before it breaks the chain, too: its gap has unknown ids.
//! Guarantees: `seq` is dense from 1; a restored sequencer gives no number that the saved one could have given
//! ([`RESTART_JUMP`]), if the new state is saved before the next restore. Same input, same output.
//! Does not: reorder or wait; it looks at times only where ids are not above the last one (see `stream`).

use super::known_gaps::KnownGaps;
use super::options::{SequencerOptions, Unwanted};
use super::state::{self, RestoreError, SavedStream, SequencerState};
use super::stream::{LateRun, NO_TIME, Rule, Stream, Verdict, event_len};
use crate::ingest::decode::PassedOver;
use crate::limits::{KINDS_MAX, RESTART_JUMP};
use crate::market::instrument::{ChainRule, InstrumentTable};
use crate::market::kind::{self, KindTable, Nature, VenueIds};
use crate::market::status::Status;
use crate::market::tick::{GapCause, NO_INSTRUMENT, Tick, flags};
use std::collections::BTreeMap;

/// What a sequencer has done so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequencerCounts {
    /// Ticks numbered, by kind; gaps included.
    pub sequenced: [u64; KINDS_MAX],
    /// Gap ticks that it made.
    pub gaps: u64,
    /// Events that the venue, or another recording of it, had sent before, whether dropped or delivered.
    pub duplicates: u64,
    /// Events that came behind a newer one of the venue's numbers, whether dropped or delivered.
    pub late: u64,
    /// How often the venue's numbers began anew.
    pub restarts: u64,
}

/// Numbers ticks. See the module's header.
#[derive(Clone, Debug)]
pub struct Sequencer {
    options: SequencerOptions,
    gaps: u64,
    duplicates: u64,
    late: u64,
    restarts: u64,
    streams: Vec<Stream>,
    /// The names under which each is saved: instrument and kind.
    names: Vec<(String, String)>,
    /// Place in `streams` + 1 by kind, then by [`row_of`]: by row first, each instrument would need a line of the cache.
    places: [Vec<u32>; KINDS_MAX],
    /// Restored streams that have not been seen again.
    saved: BTreeMap<(String, String), SavedStream>,
    /// The last number not to be given to streams that are in no saved state.
    jump: u64,
}

impl Sequencer {
    /// A sequencer that has numbered nothing.
    #[must_use]
    pub fn new(options: SequencerOptions) -> Self {
        Self {
            options,
            gaps: 0,
            duplicates: 0,
            late: 0,
            restarts: 0,
            streams: Vec::new(),
            names: Vec::new(),
            places: [const { Vec::new() }; KINDS_MAX],
            saved: BTreeMap::new(),
            jump: 0,
        }
    }

    /// Numbers whole events and appends them to `out`, gap ticks before them.
    ///
    /// A level event runs from its FIRST_IN_EVENT to its LAST_IN_EVENT; every other tick is an event. Kinds are in the
    /// table; ticks of an instrument that is not are numbered as those of no instrument. O(ticks); allocates when a
    /// stream is new, or when `out` must grow.
    pub fn sequence(&mut self, ticks: &[Tick], instruments: &InstrumentTable, kinds: &KindTable, out: &mut Vec<Tick>) {
        out.reserve(ticks.len());
        let mut rest = &ticks[self.sequence_expected(ticks, out)..];
        while let Some(first) = rest.first() {
            let place = self.place(first.instrument, first.kind, instruments, kinds);
            if first.kind == kind::STATUS {
                self.note_status(first);
            }
            let (event, after) = rest.split_at(event_len(first, rest));
            self.event(place, event, instruments, kinds, out);
            rest = &after[self.sequence_expected(after, out)..];
        }
    }

    /// Takes ticks that a sequencer has numbered before, as they are, and goes on from their numbers.
    ///
    /// # Errors
    /// The place of the first tick whose number is not above the last one of its stream; those before it were taken.
    pub fn adopt(
        &mut self,
        ticks: &[Tick],
        instruments: &InstrumentTable,
        kinds: &KindTable,
        out: &mut Vec<Tick>,
    ) -> Result<(), usize> {
        out.reserve(ticks.len());
        for (index, tick) in ticks.iter().enumerate() {
            let place = self.place(tick.instrument, tick.kind, instruments, kinds);
            let stream = &mut self.streams[place];
            if tick.seq <= stream.seq {
                return Err(index);
            }
            if stream.seq == stream.seq_start {
                stream.seq_start = tick.seq - 1;
            }
            stream.seq = tick.seq;
            stream.gap_cause = None;
            let ids = self.streams[place].ids;
            self.streams[ids].venue_last = self.streams[ids].venue_last.max(tick.venue_seq);
            self.gaps += u64::from(tick.kind == kind::GAP);
            if !tick.continues_event() {
                self.duplicates += u64::from(tick.flags & flags::DUPLICATE != 0);
                self.late += u64::from(tick.flags & flags::LATE != 0);
            }
            out.push(*tick);
        }
        Ok(())
    }

    /// Numbers the ticks before the first that needs [`Sequencer::sequence`], into `out`; returns how many they are.
    #[inline]
    pub fn sequence_expected(&mut self, ticks: &[Tick], out: &mut Vec<Tick>) -> usize {
        let numbered = ticks
            .iter()
            .map_while(|tick| self.expect(tick).map(|seq| Tick { seq, ..*tick }));
        let before = out.len();
        out.extend(numbered);
        out.len() - before
    }

    /// The number of a tick that is an event and just what was expected, as most are; `None`: nothing was done.
    #[inline(always)] // With every time of a replay.
    pub fn expect(&mut self, tick: &Tick) -> Option<u64> {
        let place = self.known_place(tick.instrument, tick.kind)?;
        let stream = &mut self.streams[place];
        if !tick.ends_event() {
            return None;
        }
        if stream.expects(tick) {
            stream.venue_last = tick.venue_seq;
            stream.newest_ts = stream.newest_ts.max(tick.ts_event);
        } else if tick.venue_seq == 0 && stream.gap_cause.is_none() && stream.ids == place {
            if tick.kind == kind::STATUS {
                self.note_status(tick);
            }
        } else {
            return None;
        }
        let stream = &mut self.streams[place];
        stream.seq += 1;
        Some(stream.seq)
    }

    /// A venue number was used up by a frame that is no tick of ours: it is not missing.
    pub fn pass_over(&mut self, passed: PassedOver) {
        let Some(place) = self.known_place(passed.instrument, passed.kind) else {
            return;
        };
        self.streams[place].pass_over(passed.venue_seq);
    }

    /// The feed of the instruments that `concerned` names was reconnected: the next event of each of their streams
    /// comes after a gap, cause RECONNECT.
    pub fn reconnect(&mut self, mut concerned: impl FnMut(u32) -> bool) {
        for stream in &mut self.streams {
            if stream.nature != Nature::Meta && concerned(stream.instrument) {
                stream.reconnect();
            }
        }
    }

    /// A stream's feed was reconnected: the same, for the one stream that its status names.
    #[cold]
    fn note_status(&mut self, status: &Tick) {
        if let Some(Status {
            stream, is_lost: true, ..
        }) = Status::of_tick(status)
            && let Some(place) = self.known_place(status.instrument, stream)
        {
            self.streams[place].reconnect();
        }
    }

    /// What it has done so far. O(instruments x kinds).
    #[must_use]
    pub fn counts(&self) -> SequencerCounts {
        let mut sequenced = [0; KINDS_MAX];
        for stream in &self.streams {
            sequenced[usize::from(stream.kind) % KINDS_MAX] += stream.seq - stream.seq_start;
        }
        SequencerCounts {
            sequenced,
            gaps: self.gaps,
            duplicates: self.duplicates,
            late: self.late,
            restarts: self.restarts,
        }
    }

    /// Everything that a later sequencer needs to go on without reusing a number.
    #[must_use]
    pub fn save(&self) -> SequencerState {
        let mut streams = self.saved.clone();
        for (stream, names) in self.streams.iter().zip(&self.names) {
            streams.insert(
                names.clone(),
                SavedStream {
                    instrument: names.0.clone(),
                    kind: names.1.clone(),
                    seq: stream.seq,
                    venue_last: stream.venue_last,
                },
            );
        }
        SequencerState {
            jump: self.jump,
            streams: streams.into_values().collect(),
        }
    }

    /// Goes on from a saved state: every stream starts at its last number + [`RESTART_JUMP`], with a gap, cause
    /// RESTART; so do streams that the state does not hold, from 0. Save the result soon: a second restore from the
    /// same state gives the same numbers.
    ///
    /// # Errors
    /// [`RestoreError`] when the state cannot be one of ours.
    pub fn restore(options: SequencerOptions, state: SequencerState) -> Result<Self, RestoreError> {
        let mut sequencer = Self::new(options);
        sequencer.jump = state::jumped(state.jump).ok_or(RestoreError::Jump(state.jump))?;
        for mut stream in state.streams {
            let refuse = RestoreError::Seq(stream.instrument.clone(), stream.kind.clone(), stream.seq);
            stream.seq = state::jumped(stream.seq).ok_or(refuse)?;
            let names = (stream.instrument.clone(), stream.kind.clone());
            if let Some(twice) = sequencer.saved.insert(names, stream) {
                return Err(RestoreError::Twice(twice.instrument, twice.kind));
            }
        }
        Ok(sequencer)
    }

    #[inline]
    fn known_place(&self, instrument: u32, kind: u8) -> Option<usize> {
        let place = *self.places[usize::from(kind) % KINDS_MAX].get(row_of(instrument))?;
        (place > 0).then(|| place as usize - 1)
    }

    #[inline]
    fn place(&mut self, instrument: u32, kind: u8, instruments: &InstrumentTable, kinds: &KindTable) -> usize {
        match self.known_place(instrument, kind) {
            Some(place) => place,
            None => self.open(instrument, kind, instruments, kinds),
        }
    }

    #[cold]
    fn open(&mut self, instrument: u32, kind: u8, instruments: &InstrumentTable, kinds: &KindTable) -> usize {
        // An id that is in no table must not size this one: such ticks belong to no instrument.
        if instrument != NO_INSTRUMENT && instruments.get(instrument).is_none() {
            return self.place(NO_INSTRUMENT, kind, instruments, kinds);
        }
        // An event without levels is a link in the chain of those with levels.
        let ids = (kind == kind::LEVEL_EMPTY).then(|| self.place(instrument, kind::LEVEL, instruments, kinds));
        let row = kinds.get(kind);
        let named = instruments.get(instrument);
        let rule = match row.map_or(VenueIds::None, |row| row.venue_ids) {
            VenueIds::Monotone => Rule::Monotone,
            VenueIds::Contiguous => Rule::Contiguous,
            VenueIds::Chained => match named.map_or(ChainRule::FirstFollowsLast, |named| named.chain) {
                ChainRule::FirstFollowsLast => Rule::FirstFollowsLast,
                ChainRule::PrevEqualsLast => Rule::PrevEqualsLast,
            },
            VenueIds::None => Rule::Unchecked,
        };
        let nature = row.map_or(Nature::Flow, |row| row.nature);
        let names = (
            named.map_or(String::new(), |named| named.name.clone()),
            row.map_or_else(|| kind.to_string(), |row| row.name.clone()),
        );
        let saved = self.saved.remove(&names);
        let restored = self.jump > 0 && nature != Nature::Meta;
        let place = self.streams.len();
        let seq_start = saved.as_ref().map_or(self.jump, |saved| saved.seq);
        self.names.push(names);
        self.streams.push(Stream {
            seq: seq_start,
            step_max: 0,
            seq_start,
            ids: ids.unwrap_or(place),
            rule,
            venue_last: saved.as_ref().map_or(0, |saved| saved.venue_last),
            venue_first: saved.map_or(0, |saved| saved.venue_last),
            newest_ts: NO_TIME,
            gaps: KnownGaps::default(),
            late_run: LateRun::default(),
            owed: (0, 0, 0),
            gap_cause: restored.then_some(GapCause::Restart),
            blame: if restored { GapCause::Restart } else { GapCause::Venue },
            instrument,
            kind,
            nature,
        });
        let (row, places) = (row_of(instrument), &mut self.places[usize::from(kind) % KINDS_MAX]);
        if places.len() <= row {
            places.resize(row + 1, 0);
        }
        places[row] = u32::try_from(place + 1).expect("streams are bounded by instruments x kinds");
        place
    }

    #[inline]
    fn event(
        &mut self,
        place: usize,
        event: &[Tick],
        instruments: &InstrumentTable,
        kinds: &KindTable,
        out: &mut Vec<Tick>,
    ) {
        let first = &event[0];
        let ids = self.streams[place].ids;
        let ids = &mut self.streams[ids];
        let unchecked = first.flags & flags::SNAPSHOT != 0 || first.venue_seq == 0;
        let verdict = if unchecked { Verdict::InOrder } else { ids.judge(first) };
        let (mut gap, mut flag) = (None, 0);
        match verdict {
            Verdict::InOrder => {}
            Verdict::Restarted => self.restarts += 1,
            Verdict::Missing(missing) => gap = Some(missing),
            Verdict::Duplicate => {
                self.duplicates += 1;
                if self.options.duplicates == Unwanted::Drop {
                    return;
                }
                flag = flags::DUPLICATE;
            }
            Verdict::Late => {
                self.late += 1;
                if self.options.late == Unwanted::Drop {
                    return;
                }
                flag = flags::LATE;
            }
        }
        if ids.gap_cause.is_some() || gap.is_some() {
            let gap = ids.gap_to_report(gap, unchecked || flag != 0);
            self.gap(gap.before(first), instruments, kinds, out);
            flag |= flags::GAP_BEFORE;
        } else if !unchecked && flag == 0 {
            ids.blame = GapCause::Venue;
        }
        let stream = &mut self.streams[place];
        stream.settle();
        let seq = stream.seq;
        stream.seq += event.len() as u64;
        // A gap stands before the first tick only; the other marks belong to the whole event.
        let mark = flag & !flags::GAP_BEFORE;
        out.extend((seq + 1..).zip(event).map(|(seq, tick)| Tick {
            seq,
            flags: tick.flags | mark,
            ..*tick
        }));
        if flag & flags::GAP_BEFORE != 0 {
            let start = out.len() - event.len();
            out[start].flags |= flags::GAP_BEFORE;
        }
    }

    #[cold]
    fn gap(&mut self, mut gap: Tick, instruments: &InstrumentTable, kinds: &KindTable, out: &mut Vec<Tick>) {
        let place = self.place(gap.instrument, kind::GAP, instruments, kinds);
        let stream = &mut self.streams[place];
        stream.seq += 1;
        gap.seq = stream.seq;
        self.gaps += 1;
        out.push(gap);
    }
}

/// Row 0 is for ticks of no instrument, whose id is the largest `u32`.
#[inline]
fn row_of(instrument: u32) -> usize {
    instrument.wrapping_add(1) as usize
}

const _: () = assert!(RESTART_JUMP > 0 && KINDS_MAX <= 256);
