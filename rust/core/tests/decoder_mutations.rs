//! Frames that are broken, shuffled or just unusual: never a panic, never a trace of a refused one, and the predicted
//! scanner and the general way never differ.

mod common;

use std::io::{Write, stderr};

use common::frames::{Random, frame, mutated};
use common::{RECORDINGS, recording};
use headrace_core::ingest::decode::{Decoder, FrameType, IgnoredType, Outcome, RejectReason};
use headrace_core::ingest::lines::Lines;
use headrace_core::market::instrument::{InstrumentTable, Venue};
use headrace_core::market::tick::Tick;

/// At least so many mutated frames in all.
const MUTATIONS: usize = 30_000;

/// Both ways of reading, side by side.
struct Pair {
    fast: Decoder,
    general: Decoder,
    fast_instruments: InstrumentTable,
    general_instruments: InstrumentTable,
    ticks: Vec<Tick>,
    outcomes: [usize; 3],
    rejected: Vec<usize>,
    ignored: Vec<usize>,
    accepted: Vec<usize>,
}

impl Pair {
    fn new(venue: Venue, instruments_max: usize) -> Self {
        Self {
            fast: Decoder::new(venue),
            general: Decoder::general_only(venue),
            fast_instruments: InstrumentTable::new(instruments_max, true),
            general_instruments: InstrumentTable::new(instruments_max, true),
            ticks: Vec::new(),
            outcomes: [0; 3],
            rejected: vec![0; RejectReason::TABLE.len()],
            ignored: vec![0; IgnoredType::NAMES.len()],
            accepted: vec![0; FrameType::ALL.len()],
        }
    }

    /// Decodes both ways, compares, and checks that only an accepted frame leaves a trace.
    fn decode(&mut self, frame: &[u8]) -> Outcome {
        // Something before it, so that a trace would show.
        let before = Tick {
            seq: 77,
            ..Tick::default()
        };
        let (mut fast, mut general) = (vec![before], vec![before]);
        let known = self.fast_instruments.rows().to_vec();
        let outcome = self.fast.decode(frame, 5, &mut self.fast_instruments, &mut fast);
        let expected = self
            .general
            .decode(frame, 5, &mut self.general_instruments, &mut general);
        let shown = String::from_utf8_lossy(frame);
        assert_eq!(outcome, expected, "{shown}");
        assert_eq!(fast, general, "{shown}");
        assert_eq!(self.fast_instruments.rows(), self.general_instruments.rows(), "{shown}");
        assert_eq!(self.fast.passed_over(), self.general.passed_over(), "{shown}");
        assert_eq!(fast[0], before);
        match outcome {
            Outcome::Accepted(frame_type) => {
                assert!(fast.len() > 1, "{shown}");
                self.outcomes[0] += 1;
                self.accepted[frame_type as usize] += 1;
            }
            Outcome::Ignored(ignored) => {
                self.outcomes[1] += 1;
                self.ignored[ignored.index()] += 1;
            }
            Outcome::Rejected(reason) => {
                self.outcomes[2] += 1;
                self.rejected[reason as usize] += 1;
            }
        }
        if !matches!(outcome, Outcome::Accepted(_)) {
            assert_eq!(fast.len(), 1, "a frame that was not accepted left ticks: {shown}");
            assert_eq!(
                self.fast_instruments.rows(),
                known,
                "a frame that was not accepted left an instrument: {shown}"
            );
        }
        self.ticks = fast.split_off(1);
        outcome
    }
}

#[test]
fn generated_frames_read_the_same_both_ways_and_reach_every_outcome() {
    let mut random = Random::new("generated frames");
    let mut rejected = vec![0; RejectReason::TABLE.len()];
    for venue in Venue::ALL {
        let mut pair = Pair::new(venue, 100);
        for _ in 0..20_000 {
            let frame = frame(&mut random, venue);
            pair.decode(&frame);
        }
        assert!(
            pair.outcomes.iter().all(|&count| count > 500),
            "{venue:?}: {:?}",
            pair.outcomes
        );
        assert!(
            pair.accepted.iter().all(|&count| count > 50),
            "{venue:?}: {:?}",
            pair.accepted
        );
        rejected
            .iter_mut()
            .zip(&pair.rejected)
            .for_each(|(all, count)| *all += count);
    }
    // These need other frames than the generator's: too long, not UTF-8, too deep, a full table, no discovery, a line.
    let elsewhere = [
        RejectReason::FrameTooLong,
        RejectReason::BadUtf8,
        RejectReason::TooDeep,
        RejectReason::TooManyInstruments,
        RejectReason::UnknownInstrument,
        RejectReason::BadLine,
    ];
    for (reason, name, ..) in RejectReason::TABLE {
        assert!(
            rejected[reason as usize] > 0 || elsewhere.contains(&reason),
            "{name} was never reached"
        );
    }
}

#[test]
fn mutated_frames_never_panic_leave_no_trace_and_the_next_good_frame_decodes() {
    let mut random = Random::new("mutated frames");
    let mut sources: Vec<(&str, Venue, Vec<Vec<u8>>)> = Vec::new();
    for (file, venue) in RECORDINGS {
        if let Some(bytes) = recording(file) {
            let frames = Lines::new(&bytes, 1).filter_map(|line| line.parts);
            // A snapshot of 2,000 levels is large; mutating it thousands of times would test little else.
            let frames = frames
                .map(|(_, frame)| frame.to_vec())
                .filter(|frame| frame.len() < 8_000);
            sources.push((file, venue, frames.collect()));
        }
    }
    if sources.is_empty() {
        for venue in Venue::ALL {
            let frames = (0..5_000).map(|_| frame(&mut random, venue)).collect();
            sources.push(("generated", venue, frames));
        }
    }
    let mutations = MUTATIONS / sources.len();
    for (source, venue, frames) in sources {
        // Not `eprintln!`, which is shown only when the test fails: whether real frames were mutated is worth knowing.
        writeln!(stderr(), "mutating {mutations} frames of {source} ({})", venue.name()).expect("stderr is open");
        let good = good_frame(venue);
        let mut pair = Pair::new(venue, 100);
        assert!(matches!(pair.decode(&good), Outcome::Accepted(_)));
        let expected = pair.ticks.clone();
        for _ in 0..mutations {
            let original = &frames[random.below(frames.len())];
            pair.decode(&mutated(&mut random, original));
            if random.one_in(16) {
                assert!(matches!(pair.decode(&good), Outcome::Accepted(_)));
                assert_eq!(pair.ticks, expected);
            }
        }
        assert!(
            pair.outcomes.iter().sum::<usize>() > mutations,
            "every frame has an outcome"
        );
        assert!(
            pair.outcomes[2] > mutations / 4,
            "mutations that hurt: {:?}",
            pair.outcomes
        );
    }
}

fn good_frame(venue: Venue) -> Vec<u8> {
    let event = if venue == Venue::Binance {
        ""
    } else {
        "\"e\":\"bookTicker\","
    };
    format!("{{{event}\"u\":7,\"s\":\"GOODUSDT\",\"b\":\"1.5\",\"B\":\"2\",\"a\":\"1.6\",\"A\":\"3\"}}").into_bytes()
}

#[test]
fn real_frames_read_the_same_both_ways() {
    for (file, venue) in RECORDINGS {
        let Some(bytes) = recording(file) else {
            return;
        };
        let mut pair = Pair::new(venue, 10);
        for line in Lines::new(&bytes, 1) {
            let (_, frame) = line.parts.expect("recorded lines are whole");
            assert!(
                matches!(pair.decode(frame), Outcome::Accepted(_)),
                "{file}:{}",
                line.number
            );
        }
    }
}
