//! The sequencer against a plain model, and its laws one by one.

mod common;

use common::frames::Random;
use headrace_core::decode::PassedOver;
use headrace_core::instrument::InstrumentTable;
use headrace_core::kind::{self, KindTable, Nature, VenueIds};
use headrace_core::limits::RESTART_JUMP;
use headrace_core::sequencer::{RestoreError, SavedStream, Sequencer, SequencerOptions, SequencerState, Unwanted};
use headrace_core::tick::{Gap, GapCause, NO_INSTRUMENT, Tick, UNKNOWN, flags};
use std::collections::{BTreeSet, HashMap, HashSet};

const SINGLE: u16 = flags::FIRST_IN_EVENT | flags::LAST_IN_EVENT;
const SPOT: u32 = 0;
const USDM: u32 = 1;

fn tables() -> (InstrumentTable, KindTable) {
    let mut instruments = InstrumentTable::new(10, true);
    for name in ["BTCUSDT.BINANCE", "BTCUSDT.BINANCE_USDM", "ETHUSDT.BINANCE"] {
        instruments.add(name).unwrap();
    }
    let mut kinds = KindTable::default();
    kinds
        .register("funding", &["rate"], Nature::State, VenueIds::None)
        .unwrap();
    (instruments, kinds)
}

fn tick(instrument: u32, kind: u8, venue_seq: u64) -> Tick {
    Tick {
        venue_seq,
        ts_init: 5,
        ts_event: 4,
        instrument,
        kind,
        flags: SINGLE,
        ..Tick::default()
    }
}

/// A depth event of so many levels: ids `first..=last`, and the event before.
fn depth(instrument: u32, levels: usize, first: u64, last: u64, prev: u64) -> Vec<Tick> {
    let level = Tick {
        flags: 0,
        values: [1, 2, first, prev],
        ..tick(instrument, kind::LEVEL, last)
    };
    let mut event = vec![level; levels.max(1)];
    if levels == 0 {
        event[0].kind = kind::LEVEL_EMPTY;
    }
    event[0].flags |= flags::FIRST_IN_EVENT;
    event[levels.max(1) - 1].flags |= flags::LAST_IN_EVENT;
    event
}

/// One sequencer and what came out of it.
struct Bench {
    sequencer: Sequencer,
    instruments: InstrumentTable,
    kinds: KindTable,
}

impl Bench {
    fn new(duplicates: Unwanted, late: Unwanted) -> Self {
        let (instruments, kinds) = tables();
        Self {
            sequencer: Sequencer::new(SequencerOptions { duplicates, late }),
            instruments,
            kinds,
        }
    }

    fn run(&mut self, ticks: &[Tick]) -> Vec<Tick> {
        let mut out = Vec::new();
        self.sequencer.sequence(ticks, &self.instruments, &self.kinds, &mut out);
        out
    }

    /// What came out: kind, seq and marks; for a gap cause, kind lost, first, last, missing.
    fn short(&mut self, ticks: &[Tick]) -> Vec<String> {
        let mark = |flags: u16| {
            let all = [
                (flags::GAP_BEFORE, "+gap"),
                (flags::DUPLICATE, "+duplicate"),
                (flags::LATE, "+late"),
            ];
            all.iter()
                .filter(|(bit, _)| flags & bit != 0)
                .map(|(_, name)| *name)
                .collect::<String>()
        };
        let number = |value: u64| {
            if value == UNKNOWN {
                "?".to_owned()
            } else {
                value.to_string()
            }
        };
        let kinds = KindTable::default();
        let row = |tick: &Tick| {
            let name = kinds.get(tick.kind).map_or("user", |row| &row.name);
            if tick.kind != kind::GAP {
                return format!("{name} {}{}", tick.seq, mark(tick.flags));
            }
            let [first, last, missing, cause] = tick.values;
            let lost = &kinds.get((cause >> 8) as u8).unwrap().name;
            let cause = GapCause::TABLE[(cause & 0xff) as usize - 1].1;
            format!(
                "gap {} {cause} {lost} {}..{} {}",
                tick.seq,
                number(first),
                number(last),
                number(missing)
            )
        };
        self.run(ticks).iter().map(row).collect()
    }
}

fn usual() -> Bench {
    Bench::new(Unwanted::Drop, Unwanted::Deliver)
}

#[test]
fn numbers_are_dense_per_instrument_and_kind() {
    let mut bench = usual();
    let ticks = [
        tick(SPOT, kind::QUOTE, 5),
        tick(SPOT, kind::TRADE, 1),
        tick(USDM, kind::QUOTE, 3),
        tick(SPOT, kind::QUOTE, 9),
        tick(NO_INSTRUMENT, kind::STATUS, 0),
        tick(SPOT, kind::TRADE, 2),
        tick(NO_INSTRUMENT, kind::STATUS, 0),
    ];
    let expected = [
        "quote 1", "trade 1", "quote 1", "quote 2", "status 1", "trade 2", "status 2",
    ];
    assert_eq!(bench.short(&ticks), expected);
    let counts = bench.sequencer.counts();
    assert_eq!(
        (
            counts.sequenced[1],
            counts.sequenced[2],
            counts.sequenced[7],
            counts.gaps
        ),
        (3, 2, 2, 0)
    );
}

#[test]
fn a_jump_of_quote_ids_is_no_gap_and_one_of_trade_ids_is() {
    let mut bench = usual();
    let quotes = [tick(SPOT, kind::QUOTE, 5), tick(SPOT, kind::QUOTE, 90)];
    assert_eq!(bench.short(&quotes), ["quote 1", "quote 2"]);
    let trades = [5, 6, 9, 10].map(|id| tick(SPOT, kind::TRADE, id));
    let expected = [
        "trade 1",
        "trade 2",
        "gap 1 VENUE trade 7..8 2",
        "trade 3+gap",
        "trade 4",
    ];
    assert_eq!(bench.short(&trades), expected);
    let aggregates = [5, 7].map(|id| tick(SPOT, kind::AGG_TRADE, id));
    assert_eq!(
        bench.short(&aggregates),
        ["agg_trade 1", "gap 2 VENUE agg_trade 6..6 1", "agg_trade 2+gap"]
    );
    assert_eq!(bench.sequencer.counts().gaps, 2);
}

#[test]
fn spot_and_futures_depth_events_are_chained_each_by_its_own_rule() {
    let mut bench = usual();
    let spot: Vec<Tick> = [
        depth(SPOT, 2, 1, 4, 0),
        depth(SPOT, 0, 5, 5, 0),
        depth(SPOT, 1, 8, 9, 0),
    ]
    .concat();
    let expected = [
        "level 1",
        "level 2",
        "level_empty 1",
        "gap 1 VENUE level 6..7 2",
        "level 3+gap",
    ];
    assert_eq!(bench.short(&spot), expected);
    let usdm: Vec<Tick> = [
        depth(USDM, 1, 1, 4, 0),
        depth(USDM, 2, 40, 50, 4),
        depth(USDM, 2, 51, 60, 49),
    ]
    .concat();
    let expected = [
        "level 1",
        "level 2",
        "level 3",
        "gap 1 VENUE level ?..? ?",
        "level 4+gap",
        "level 5",
    ];
    assert_eq!(bench.short(&usdm), expected);
    let jumped = depth(USDM, 1, 70, 80, 65);
    assert_eq!(
        bench.short(&jumped),
        ["gap 2 VENUE level 61..65 ?", "level 6+gap"],
        "how many ids lie there, nobody knows"
    );
    let overlapping = depth(SPOT, 1, 9, 12, 0);
    assert_eq!(bench.short(&overlapping), ["gap 2 VENUE level ?..? ?", "level 4+gap"]);
}

#[test]
fn duplicates_and_late_events_are_judged_whole_and_dropped_or_flagged() {
    let events: Vec<Tick> = [
        depth(SPOT, 2, 1, 4, 0),
        depth(SPOT, 2, 1, 4, 0),
        depth(SPOT, 2, 1, 3, 0),
    ]
    .concat();
    let mut bench = usual();
    assert_eq!(
        bench.short(&events),
        ["level 1", "level 2", "level 3+late", "level 4+late"]
    );
    let counts = bench.sequencer.counts();
    assert_eq!((counts.duplicates, counts.late, counts.sequenced[4]), (1, 1, 4));
    let mut bench = Bench::new(Unwanted::Deliver, Unwanted::Drop);
    let expected = ["level 1", "level 2", "level 3+duplicate", "level 4+duplicate"];
    assert_eq!(bench.short(&events), expected);
    let counts = bench.sequencer.counts();
    assert_eq!((counts.duplicates, counts.late), (1, 1));
    assert_eq!(
        bench.short(&depth(SPOT, 1, 5, 6, 0)),
        ["level 5"],
        "neither moves the chain"
    );
}

#[test]
fn snapshots_and_ticks_without_a_venue_number_are_never_checked() {
    let mut bench = usual();
    let mut snapshot = depth(SPOT, 2, 0, 900, 0);
    snapshot.iter_mut().for_each(|tick| tick.flags |= flags::SNAPSHOT);
    let events: Vec<Tick> = [depth(SPOT, 1, 1, 4, 0), snapshot, depth(SPOT, 1, 5, 6, 0)].concat();
    assert_eq!(bench.short(&events), ["level 1", "level 2", "level 3", "level 4"]);
    assert_eq!(
        bench.short(&[3, 0, 0, 4].map(|id| tick(SPOT, kind::TRADE, id))).len(),
        4
    );
    assert_eq!(bench.sequencer.counts().gaps, 0);
}

#[test]
fn a_reconnect_is_told_once_before_the_next_tick_of_every_stream_concerned() {
    let mut bench = usual();
    let first = [
        tick(SPOT, kind::TRADE, 1),
        tick(SPOT, kind::QUOTE, 1),
        tick(USDM, kind::TRADE, 1),
    ];
    bench.run(&first);
    bench.run(&depth(SPOT, 1, 1, 4, 0));
    bench.sequencer.reconnect(|instrument| instrument == SPOT);
    let next = [
        tick(SPOT, kind::TRADE, 4),
        tick(SPOT, kind::QUOTE, 9),
        tick(USDM, kind::TRADE, 2),
    ];
    let expected = [
        "gap 1 RECONNECT trade 2..3 2",
        "trade 2+gap",
        "gap 2 RECONNECT quote ?..? ?",
        "quote 2+gap",
        "trade 2",
    ];
    assert_eq!(bench.short(&next), expected);
    let mut snapshot = depth(SPOT, 1, 0, 9, 0);
    snapshot[0].flags |= flags::SNAPSHOT;
    assert_eq!(bench.short(&snapshot), ["gap 3 RECONNECT level ?..? ?", "level 2+gap"]);
    assert_eq!(
        bench.short(&depth(SPOT, 1, 7, 8, 0)),
        ["gap 4 RECONNECT level 5..6 2", "level 3+gap"],
        "what the numbers say is missing after a reconnect is missing because of it"
    );
    assert_eq!(
        bench.short(&depth(SPOT, 1, 10, 10, 0)),
        ["gap 5 VENUE level 9..9 1", "level 4+gap"]
    );
}

#[test]
fn an_id_that_a_passed_over_frame_used_up_is_not_missing() {
    let mut bench = usual();
    let trade = |venue_seq| tick(USDM, kind::TRADE, venue_seq);
    let passed = |venue_seq| PassedOver {
        instrument: USDM,
        kind: kind::TRADE,
        venue_seq,
    };
    bench.sequencer.pass_over(passed(3));
    bench.run(&[trade(4)]);
    bench.sequencer.pass_over(passed(5));
    bench.sequencer.pass_over(passed(6));
    assert_eq!(bench.short(&[trade(7)]), ["trade 2"]);
    bench.sequencer.pass_over(passed(10));
    bench.sequencer.pass_over(passed(10));
    assert_eq!(bench.short(&[trade(11)]), ["gap 1 VENUE trade 8..9 2", "trade 3+gap"]);
    bench.sequencer.pass_over(passed(2));
    assert_eq!(bench.short(&[trade(12), trade(12)]), ["trade 4"]);
    bench.sequencer.pass_over(passed(14));
    assert_eq!(bench.short(&[trade(16)]), ["gap 2 VENUE trade 13..15 2", "trade 5+gap"]);
}

#[test]
fn a_restored_sequencer_never_reuses_a_number_and_says_restart() {
    let mut bench = usual();
    bench.run(&[
        tick(SPOT, kind::TRADE, 1),
        tick(SPOT, kind::TRADE, 3),
        tick(USDM, kind::QUOTE, 7),
    ]);
    let state = bench.sequencer.save();
    // What a crash lost: numbers given after the save, also to a stream that the save doesn't know.
    let lost = bench.run(&[tick(SPOT, kind::TRADE, 4), tick(SPOT, kind::QUOTE, 1)]);
    bench.sequencer = Sequencer::restore(SequencerOptions::default(), state.clone()).unwrap();
    let jump = RESTART_JUMP;
    let trades = bench.run(&[tick(SPOT, kind::TRADE, 6), tick(SPOT, kind::QUOTE, 2)]);
    assert_eq!(
        trades[0].values,
        Gap {
            cause: GapCause::Restart,
            lost_kind: kind::TRADE,
            first: 4,
            last: 5,
            missing: 2
        }
        .to_values()
    );
    assert_eq!(
        (trades[0].seq, trades[1].seq),
        (1 + jump, 2 + jump),
        "high-water marks + 2^20"
    );
    assert_eq!((trades[3].kind, trades[3].seq), (kind::QUOTE, jump));
    assert!(trades.iter().all(|new| {
        lost.iter()
            .all(|old| (old.instrument, old.kind, old.seq) != (new.instrument, new.kind, new.seq))
    }));
    let again = Sequencer::restore(SequencerOptions::default(), bench.sequencer.save())
        .unwrap()
        .save();
    let seq = |instrument: &str, kind: &str| {
        again
            .streams
            .iter()
            .find(|stream| stream.instrument == instrument && stream.kind == kind)
            .unwrap()
            .seq
    };
    assert_eq!(seq("BTCUSDT.BINANCE", "trade"), 2 + jump + jump - 1);
    assert_eq!(
        seq("BTCUSDT.BINANCE_USDM", "quote"),
        1 + 2 * (jump - 1),
        "not seen again, but not forgotten"
    );
    assert_eq!(again.jump, 2 * (jump - 1));
    let text = serde_json::to_string(&again).unwrap();
    assert_eq!(
        serde_json::from_str::<SequencerState>(&text).unwrap(),
        again,
        "a state survives being written"
    );
}

#[test]
fn a_damaged_state_is_refused() {
    let stream = SavedStream {
        instrument: "A.B".into(),
        kind: "quote".into(),
        seq: 1,
        venue_last: 0,
    };
    let state = |jump, streams: &[SavedStream]| SequencerState {
        jump,
        streams: streams.to_vec(),
    };
    let restore = |state| {
        Sequencer::restore(SequencerOptions::default(), state)
            .map(|_| ())
            .unwrap_err()
    };
    assert_eq!(restore(state(u64::MAX, &[])), RestoreError::Jump(u64::MAX));
    let twice = restore(state(0, &[stream.clone(), stream.clone()]));
    assert_eq!(twice, RestoreError::Twice("A.B".into(), "quote".into()));
    let high = SavedStream {
        seq: u64::MAX - 5,
        ..stream
    };
    assert_eq!(
        restore(state(0, &[high])),
        RestoreError::Seq("A.B".into(), "quote".into(), u64::MAX - 5)
    );
}

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
                    if let Some(stream) = model.streams.get_mut(&(instrument, kind::TRADE)) {
                        if let Some(last) = stream.last.filter(|&last| last < *newest) {
                            stream.missing.extend(last + 1..*newest);
                            stream.last = Some(*newest);
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
