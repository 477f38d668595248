//! The sequencer's laws, one by one.

mod common;

use common::ticks::{SINGLE, SPOT, USDM, depth, tables, tick};
use headrace_core::ingest::decode::PassedOver;
use headrace_core::ingest::sequencer::{
    RestoreError, SavedStream, Sequencer, SequencerOptions, SequencerState, Unwanted,
};
use headrace_core::limits::{GAPS_KNOWN_MAX, LATE_RUN_MAX, RESTART_JUMP};
use headrace_core::market::instrument::InstrumentTable;
use headrace_core::market::kind::{self, KindTable};
use headrace_core::market::status::{Status, StatusReason, StreamState};
use headrace_core::market::tick::{Gap, GapCause, NO_INSTRUMENT, Tick, UNKNOWN, flags};

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
            let cause = GapCause::of_value(cause).unwrap().name();
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
fn ticks_of_an_instrument_in_no_table_are_numbered_as_those_of_none() {
    let mut bench = usual();
    let ticks = [
        tick(NO_INSTRUMENT, kind::QUOTE, 0),
        tick(u32::MAX - 1, kind::QUOTE, 0),
        tick(77, kind::QUOTE, 0),
    ];
    assert_eq!(bench.short(&ticks), ["quote 1", "quote 2", "quote 3"]);
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
        depth(SPOT, 2, 10, 14, 0),
        depth(SPOT, 2, 10, 14, 0),
        depth(SPOT, 2, 7, 9, 0),
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
        bench.short(&depth(SPOT, 1, 15, 16, 0)),
        ["level 5"],
        "neither moves the chain"
    );
}

#[test]
fn two_recordings_of_one_market_give_each_event_once() {
    let one: Vec<u64> = (5..15).collect();
    let merged = one.iter().zip(&one[..9]).flat_map(|(ahead, behind)| [*ahead, *behind]);
    let trades: Vec<Tick> = merged.map(|id| tick(SPOT, kind::TRADE, id)).collect();
    let mut bench = usual();
    assert_eq!(bench.run(&trades).len(), 9, "{trades:?}");
    let counts = bench.sequencer.counts();
    assert_eq!((counts.duplicates, counts.late, counts.gaps), (9, 0, 0));
    let book: Vec<Tick> = [
        depth(SPOT, 1, 1, 4, 0),
        depth(SPOT, 1, 5, 6, 0),
        depth(SPOT, 1, 1, 4, 0),
        depth(SPOT, 1, 7, 8, 0),
        depth(SPOT, 1, 5, 6, 0),
    ]
    .concat();
    assert_eq!(bench.short(&book), ["level 1", "level 2", "level 3"]);
}

#[test]
fn a_number_that_fills_a_gap_is_late_once_and_a_duplicate_then() {
    let mut bench = usual();
    bench.run(&[5, 9].map(|id| tick(SPOT, kind::TRADE, id)));
    let ids = [7, 7, 6, 8, 8, 5, 4];
    assert_eq!(
        bench.short(&ids.map(|id| tick(SPOT, kind::TRADE, id))),
        ["trade 3+late", "trade 4+late", "trade 5+late", "trade 6+late"]
    );
    let counts = bench.sequencer.counts();
    assert_eq!((counts.duplicates, counts.late, counts.gaps), (3, 4, 1));
    bench.run(&depth(USDM, 1, 1, 4, 0));
    bench.run(&depth(USDM, 1, 20, 24, 14));
    assert_eq!(bench.short(&depth(USDM, 1, 8, 14, 4)), ["level 3+late"]);
    assert_eq!(bench.short(&depth(USDM, 1, 8, 14, 4)), Vec::<String>::new());
}

#[test]
fn the_oldest_of_many_gaps_is_forgotten() {
    let mut bench = usual();
    let odd = (0..=GAPS_KNOWN_MAX as u64 + 1).map(|index| tick(SPOT, kind::TRADE, 2 * index + 1));
    bench.run(&odd.collect::<Vec<_>>());
    assert_eq!(
        bench.short(&[tick(SPOT, kind::TRADE, 2)]),
        Vec::<String>::new(),
        "forgotten"
    );
    assert_eq!(bench.short(&[tick(SPOT, kind::TRADE, 4)]).len(), 1);
    assert_eq!(bench.sequencer.counts().duplicates, 1);
}

/// A tick of an id, received and made by the venue at so many seconds.
fn at(kind: u8, id: u64, seconds: i64) -> Tick {
    Tick {
        ts_event: seconds * 1_000_000_000,
        ts_init: seconds * 1_000_000_000,
        ..tick(SPOT, kind, id)
    }
}

#[test]
fn numbers_that_begin_anew_are_one_gap_and_go_on() {
    for kind in [kind::QUOTE, kind::TRADE] {
        let mut bench = usual();
        bench.run(&(9_000..9_003).map(|id| at(kind, id, 1)).collect::<Vec<_>>());
        // Of the trades, these stand between the first and the last number, and only their times tell.
        let anew: Vec<Tick> = (1..=u64::from(LATE_RUN_MAX)).map(|id| at(kind, id, 2)).collect();
        let out = bench.run(&anew);
        assert_eq!(out.len(), anew.len() + 1);
        let late = out.iter().filter(|tick| tick.flags & flags::LATE != 0).count();
        assert_eq!(late, anew.len() - 1);
        let gap = out[out.len() - 2];
        let unknown = Gap {
            cause: GapCause::Restart,
            lost_kind: kind,
            first: UNKNOWN,
            last: UNKNOWN,
            missing: UNKNOWN,
        };
        assert_eq!((gap.kind, gap.values), (kind::GAP, unknown.to_values()));
        let next = [at(kind, 1_001, 2), at(kind, 1_001, 2), at(kind, 999, 2)];
        assert_eq!(bench.run(&next)[0].flags, SINGLE, "the new numbers are in order");
        let counts = bench.sequencer.counts();
        assert_eq!((counts.restarts, counts.gaps), (1, 1));
        assert_eq!(counts.duplicates, 1, "{counts:?}");
    }
}

#[test]
fn a_few_late_events_over_ten_seconds_are_a_restart_and_others_between_are_none() {
    let mut bench = usual();
    bench.run(&[at(kind::QUOTE, 100, 1), at(kind::QUOTE, 3, 2), at(kind::QUOTE, 4, 11)]);
    assert_eq!(bench.sequencer.counts().restarts, 0);
    let restarted = bench.short(&[at(kind::QUOTE, 5, 12), at(kind::QUOTE, 6, 12)]);
    assert_eq!(restarted, ["gap 1 RESTART quote ?..? ?", "quote 4+gap", "quote 5"]);
    let mut bench = usual();
    bench.run(&[at(kind::QUOTE, 100, 1), at(kind::QUOTE, 3, 2)]);
    bench.run(&[at(kind::QUOTE, 101, 5), at(kind::QUOTE, 4, 13), at(kind::QUOTE, 5, 15)]);
    assert_eq!(bench.sequencer.counts().restarts, 0);
}

#[test]
fn trades_that_repeat_numbers_at_later_times_are_late() {
    let mut bench = usual();
    let first = [at(kind::TRADE, 50, 1), at(kind::TRADE, 51, 2), at(kind::TRADE, 52, 3)];
    bench.run(&first);
    assert_eq!(bench.short(&first), Vec::<String>::new(), "the very same");
    assert_eq!(bench.short(&[at(kind::TRADE, 51, 4)]), ["trade 4+late"]);
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
    // What a crash lost: numbers given after the save, also to a stream that is not in the save.
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

#[test]
fn a_status_that_says_lost_puts_a_gap_before_its_stream_alone() {
    let mut bench = usual();
    let status = |stream, is_lost| {
        let status = Status {
            stream,
            state: StreamState::Silent,
            reason: StatusReason::Reconnected,
            epoch: 2,
            is_lost,
        };
        status.tick(SPOT, 5)
    };
    bench.run(&[
        tick(SPOT, kind::TRADE, 7),
        depth(SPOT, 1, 10, 12, 0)[0],
        tick(SPOT, kind::QUOTE, 3),
    ]);
    assert_eq!(
        bench.short(&[
            status(kind::TRADE, true),
            tick(SPOT, kind::TRADE, 8),
            status(kind::TRADE, true),
            status(kind::LEVEL, true),
            status(0, true),
            tick(SPOT, kind::QUOTE, 4),
            tick(SPOT, kind::TRADE, 11),
            depth(SPOT, 1, 13, 13, 0)[0],
            tick(SPOT, kind::TRADE, 12),
        ]),
        [
            "status 1",
            "gap 1 RECONNECT trade ?..? ?",
            "trade 2+gap",
            "status 2",
            "status 3",
            "status 4",
            "quote 2",
            "gap 2 RECONNECT trade 9..10 2",
            "trade 3+gap",
            "gap 3 RECONNECT level ?..? ?",
            "level 2+gap",
            "trade 4",
        ]
    );
}

#[test]
fn adopted_ticks_keep_their_numbers_and_the_next_ones_go_on_from_them() {
    let mut first = Bench::new(Unwanted::Drop, Unwanted::Deliver);
    let given: Vec<Tick> = [1, 2, 5].map(|id| tick(SPOT, kind::TRADE, id)).to_vec();
    let numbered = first.run(&given);
    let mut second = Bench::new(Unwanted::Drop, Unwanted::Deliver);
    let mut out = Vec::new();
    let Bench {
        sequencer,
        instruments,
        kinds,
    } = &mut second;
    assert_eq!(sequencer.adopt(&numbered, instruments, kinds, &mut out), Ok(()));
    assert_eq!(out, numbered);
    assert_eq!(second.sequencer.counts(), first.sequencer.counts());
    let next = [tick(SPOT, kind::TRADE, 6)];
    assert_eq!(second.run(&next), first.run(&next));
    let mut again = Vec::new();
    let refused = second
        .sequencer
        .adopt(&numbered, &second.instruments, &second.kinds, &mut again);
    assert_eq!(refused, Err(0));
}
