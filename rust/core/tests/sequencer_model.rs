//! The sequencer against a plain model: any course of events, reconnects and restores.

mod common;

use common::frames::Random;
use common::ticks::{USDM, depth, tables, tick};
use headrace_core::ingest::decode::PassedOver;
use headrace_core::ingest::sequencer::{Sequencer, SequencerOptions, Unwanted};
use headrace_core::limits::RESTART_JUMP;
use headrace_core::market::kind;
use headrace_core::market::tick::{Gap, GapCause, Tick, UNKNOWN, flags};
use std::collections::{BTreeSet, HashMap, HashSet};

/// The rules once more, as plainly as they can be said.
#[derive(Default)]
struct Model {
    given: HashMap<(u32, u8), u64>,
    streams: HashMap<(u32, u8), ModelStream>,
    saved: HashMap<(u32, u8), (u64, u64)>,
    jump: u64,
    duplicates: u64,
    late: u64,
    gaps: u64,
}

#[derive(Clone)]
struct ModelStream {
    last: Option<u64>,
    missing: BTreeSet<u64>,
    announce: bool,
    cause: GapCause,
}

impl Model {
    fn number(&mut self, instrument: u32, kind: u8) -> u64 {
        let start = self.saved.get(&(instrument, kind)).map_or(self.jump, |saved| saved.0);
        let given = self.given.entry((instrument, kind)).or_insert(start);
        *given += 1;
        *given
    }

    fn stream(&mut self, instrument: u32, kind: u8) -> &mut ModelStream {
        let last = self
            .saved
            .get(&(instrument, kind))
            .map(|saved| saved.1)
            .filter(|&last| last > 0);
        let restored = self.jump > 0;
        self.streams.entry((instrument, kind)).or_insert(ModelStream {
            last,
            missing: BTreeSet::new(),
            announce: restored,
            cause: if restored { GapCause::Restart } else { GapCause::Venue },
        })
    }

    fn event(&mut self, event: &[Tick], options: SequencerOptions, out: &mut Vec<Tick>) {
        let first = event[0];
        let chain = if first.kind == kind::LEVEL_EMPTY {
            kind::LEVEL
        } else {
            first.kind
        };
        let ruled = [kind::QUOTE, kind::TRADE, kind::AGG_TRADE, kind::LEVEL].contains(&chain);
        let checked = first.flags & flags::SNAPSHOT == 0 && first.venue_seq != 0;
        let unknown = (UNKNOWN, UNKNOWN, UNKNOWN);
        let (mut mark, mut missing) = (0, None);
        let id = first.venue_seq;
        let stream = self.stream(first.instrument, chain);
        if checked && ruled {
            let before = stream.last;
            match before {
                Some(last) if id == last => mark = flags::DUPLICATE,
                Some(last) if id < last => mark = flags::LATE,
                _ => stream.last = Some(id),
            }
            if let (Some(last), 0) = (before, mark) {
                stream.missing.extend(last + 1..id);
                let all = std::mem::take(&mut stream.missing);
                missing = match chain {
                    kind::TRADE | kind::AGG_TRADE => all
                        .first()
                        .map(|&first| (first, *all.last().unwrap(), all.len() as u64)),
                    kind::LEVEL if first.instrument == USDM && first.values[3] > last => {
                        Some((last + 1, first.values[3], UNKNOWN))
                    }
                    kind::LEVEL if first.instrument == USDM && first.values[3] < last => Some(unknown),
                    kind::LEVEL if first.instrument != USDM && first.values[2] > last + 1 => {
                        Some((last + 1, first.values[2] - 1, first.values[2] - last - 1))
                    }
                    kind::LEVEL if first.instrument != USDM && first.values[2] <= last => Some(unknown),
                    _ => None,
                };
            }
        }
        let dropped = match mark {
            flags::DUPLICATE => options.duplicates == Unwanted::Drop,
            flags::LATE => options.late == Unwanted::Drop,
            _ => false,
        };
        let mut gap = None;
        if !dropped {
            if stream.announce || missing.is_some() {
                gap = Some((stream.cause, missing.unwrap_or(unknown)));
                stream.announce = false;
            }
            if checked && mark == 0 {
                stream.cause = GapCause::Venue;
            }
        }
        self.duplicates += u64::from(mark == flags::DUPLICATE);
        self.late += u64::from(mark == flags::LATE);
        if dropped {
            return;
        }
        if let Some((cause, (first_missing, last_missing, missing))) = gap {
            self.gaps += 1;
            let gap = Gap {
                cause,
                lost_kind: chain,
                first: first_missing,
                last: last_missing,
                missing,
            };
            let seq = self.number(first.instrument, kind::GAP);
            out.push(Tick {
                seq,
                ..gap.before(&first)
            });
        }
        for (place, tick) in event.iter().enumerate() {
            let before = if place == 0 && gap.is_some() {
                flags::GAP_BEFORE
            } else {
                0
            };
            let seq = self.number(tick.instrument, tick.kind);
            out.push(Tick {
                seq,
                flags: tick.flags | mark | before,
                ..*tick
            });
        }
    }
}

#[test]
fn any_course_of_events_reconnects_and_restores_is_numbered_as_the_model_says() {
    let mut random = Random::new("sequencer model");
    let choices = [Unwanted::Drop, Unwanted::Deliver];
    for _ in 0..3_000 {
        let options = SequencerOptions {
            duplicates: choices[random.below(2)],
            late: choices[random.below(2)],
        };
        let (instruments, kinds) = tables();
        let (mut sequencer, mut model) = (Sequencer::new(options), Model::default());
        let mut newest: HashMap<(u32, u8), u64> = HashMap::new();
        let mut names = HashSet::new();
        for _ in 0..random.below(80) {
            let (mut ticks, mut expected, mut out) = (Vec::new(), Vec::new(), Vec::new());
            match random.below(20) {
                0 => {
                    let concerned = random.below(3) as u32;
                    sequencer.reconnect(|instrument| instrument == concerned);
                    for ((instrument, kind), stream) in &mut model.streams {
                        if *instrument == concerned && *kind != kind::STATUS && !stream.announce {
                            stream.announce = true;
                            stream.cause = GapCause::Reconnect;
                        }
                    }
                    continue;
                }
                1 if random.one_in(3) => {
                    sequencer = Sequencer::restore(options, sequencer.save()).unwrap();
                    for (key, given) in model.given.drain() {
                        model.saved.insert(key, (given, 0));
                    }
                    for (key, stream) in model.streams.drain() {
                        // A stream can be known by its chain alone.
                        let start = model.jump;
                        model.saved.entry(key).or_insert((start, 0)).1 = stream.last.unwrap_or(0);
                    }
                    model.saved.values_mut().for_each(|saved| saved.0 += RESTART_JUMP - 1);
                    model.jump += RESTART_JUMP - 1;
                    (model.gaps, model.duplicates, model.late) = (0, 0, 0);
                    continue;
                }
                2 => {
                    let instrument = random.below(3) as u32;
                    let Some(newest) = newest.get_mut(&(instrument, kind::TRADE)) else {
                        continue;
                    };
                    *newest += 1 + random.below(2) as u64;
                    sequencer.pass_over(PassedOver {
                        instrument,
                        kind: kind::TRADE,
                        venue_seq: *newest,
                    });
                    let stream = model.streams.get_mut(&(instrument, kind::TRADE));
                    if let Some(stream) = stream.filter(|stream| stream.last.is_some_and(|last| last < *newest)) {
                        stream.missing.extend(stream.last.unwrap() + 1..*newest);
                        stream.last = Some(*newest);
                    }
                    continue;
                }
                _ => {}
            }
            for _ in 0..=random.below(12) {
                let instrument = random.below(3) as u32;
                let kind = [
                    kind::QUOTE,
                    kind::TRADE,
                    kind::AGG_TRADE,
                    kind::LEVEL,
                    kind::FIRST_USER_KIND,
                ][random.below(5)];
                let newest = newest.entry((instrument, kind)).or_insert(1_000);
                let step = [1, 1, 1, 1, 1, 0, 2, 5][random.below(8)];
                let back = if random.one_in(12) { 3 } else { 0 };
                let previous = *newest;
                *newest += step;
                let id = if random.one_in(20) { 0 } else { *newest - back };
                let mut event = match kind {
                    kind::LEVEL => {
                        let first = previous + 1 + [0, 0, 0, 1][random.below(4)] - u64::from(random.one_in(10));
                        let pu = previous + [0, 0, 0, 2][random.below(4)] - u64::from(random.one_in(10));
                        depth(instrument, random.below(4), first, id, pu)
                    }
                    _ => vec![tick(instrument, kind, id)],
                };
                if random.one_in(15) {
                    event.iter_mut().for_each(|tick| tick.flags |= flags::SNAPSHOT);
                }
                model.event(&event, options, &mut expected);
                ticks.extend(event);
            }
            sequencer.sequence(&ticks, &instruments, &kinds, &mut out);
            assert_eq!(out, expected);
            for tick in out {
                assert!(
                    names.insert((tick.instrument, tick.kind, tick.seq)),
                    "{tick:?} has another tick's name"
                );
            }
            let counts = sequencer.counts();
            assert_eq!(
                (counts.gaps, counts.duplicates, counts.late),
                (model.gaps, model.duplicates, model.late)
            );
        }
    }
}
