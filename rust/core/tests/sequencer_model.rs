//! The sequencer against a plain model: any course of events, reconnects and restores.

mod common;

use common::frames::Random;
use common::ticks::{USDM, depth, tables, tick};
use headrace_core::ingest::decode::PassedOver;
use headrace_core::ingest::sequencer::{Sequencer, SequencerOptions, Unwanted};
use headrace_core::limits::{LATE_RUN_MAX, LATE_RUN_NS, RESTART_JUMP};
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
    restarts: u64,
    gaps: u64,
}

#[derive(Clone)]
struct ModelStream {
    first: u64,
    last: Option<u64>,
    /// The newest venue time in order.
    time: Option<i64>,
    /// Missing for certain, to be reported with the next event.
    missing: BTreeSet<u64>,
    /// Reported missing, one by one: they may still come.
    gaps: BTreeSet<u64>,
    /// Times of receipt of the late ones in a row.
    late: Vec<i64>,
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
            first: last.unwrap_or(0),
            last,
            time: None,
            missing: BTreeSet::new(),
            gaps: BTreeSet::new(),
            late: Vec::new(),
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
        let (mut mark, mut missing, mut restarted) = (0, None, false);
        let id = first.venue_seq;
        let stream = self.stream(first.instrument, chain);
        if checked && ruled {
            let before = stream.last;
            let begin = if chain == kind::LEVEL {
                first.values[2].min(id)
            } else {
                id
            };
            if let Some(last) = before.filter(|last| id <= *last) {
                let fills = stream.gaps.contains(&id);
                let is_later = stream.time.is_some_and(|time| first.ts_event > time);
                let is_known = match chain {
                    kind::QUOTE => id == last,
                    _ => id >= stream.first && !is_later,
                };
                mark = if is_known && !fills {
                    flags::DUPLICATE
                } else {
                    flags::LATE
                };
                if fills {
                    // What lies below in the same hole came with it.
                    let mut part = id;
                    while part >= begin && stream.gaps.remove(&part) {
                        part -= 1;
                    }
                }
                if fills || is_known {
                    stream.late.clear();
                } else {
                    stream.late.push(first.ts_init);
                    if stream.late.len() == LATE_RUN_MAX as usize || first.ts_init - stream.late[0] >= LATE_RUN_NS {
                        restarted = true;
                        mark = 0;
                        stream.gaps.clear();
                        stream.missing.clear();
                        (stream.announce, stream.cause) = (true, GapCause::Restart);
                    }
                }
            }
            if mark == 0 {
                if before.is_none() || restarted {
                    stream.first = begin;
                    stream.time = None;
                }
                stream.last = Some(id);
                stream.late.clear();
                stream.time = stream.time.max(Some(first.ts_event));
            }
            if let (Some(last), 0, false) = (before, mark, restarted) {
                let known_to = match chain {
                    kind::QUOTE => last + 1,
                    kind::LEVEL if first.instrument == USDM => first.values[3] + 1,
                    kind::LEVEL => first.values[2],
                    _ => id,
                };
                stream.gaps.extend(last + 1..known_to.min(id));
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
        self.restarts += u64::from(restarted);
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
    let mut restarts = 0;
    for _ in 0..3_000 {
        let options = SequencerOptions {
            duplicates: choices[random.below(2)],
            late: choices[random.below(2)],
        };
        let (instruments, kinds) = tables();
        let (mut sequencer, mut model) = (Sequencer::new(options), Model::default());
        let mut newest: HashMap<(u32, u8), u64> = HashMap::new();
        let mut names = HashSet::new();
        let mut now = 0;
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
                    (model.gaps, model.duplicates, model.late, model.restarts) = (0, 0, 0, 0);
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
                    if let Some(stream) = stream {
                        if stream.last.is_some_and(|last| last < *newest) {
                            stream.missing.extend(stream.last.unwrap() + 1..*newest);
                            stream.gaps.extend(stream.last.unwrap() + 1..*newest);
                            stream.last = Some(*newest);
                            stream.late.clear();
                        } else {
                            stream.gaps.remove(newest);
                        }
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
                if random.one_in(60) {
                    // The venue began anew, somewhere below.
                    *newest = newest.saturating_sub(10 + random.below(30) as u64).max(10);
                }
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
                now += random.below(4) as i64 * 1_000_000_000;
                let venue_time = now - random.below(3) as i64 * 1_000_000_000;
                for tick in &mut event {
                    (tick.ts_init, tick.ts_event) = (now, venue_time);
                }
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
                (counts.gaps, counts.duplicates, counts.late, counts.restarts),
                (model.gaps, model.duplicates, model.late, model.restarts)
            );
        }
        restarts += model.restarts;
    }
    assert!(restarts > 50, "the courses hold {restarts} restarts only");
}
