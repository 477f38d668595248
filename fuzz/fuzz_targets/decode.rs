//! Arbitrary bytes as a frame at every venue, and as recorded lines: no panic, no trace of a refused frame, and the
//! predicted scanner and the general way never differ.
//!
//! `RUSTC_BOOTSTRAP=1 cargo fuzz run decode -- -max_total_time=60`, with `cargo install --locked cargo-fuzz --root .tools`.
#![no_main]

use headrace_core::ingest::decode::{Decoder, Outcome};
use headrace_core::ingest::lines::Lines;
use headrace_core::market::instrument::{InstrumentTable, Venue};
use headrace_core::market::tick::Tick;
use libfuzzer_sys::fuzz_target;

/// One frame of each shape, so that mutation starts from something that decodes.
const BEFORE: &[u8] = br#"{"u":9,"s":"BTCUSDT","b":"1.5","B":"2.5","a":"1.6","A":"3.5"}"#;

fuzz_target!(|bytes: &[u8]| {
    for venue in Venue::ALL {
        // With one symbol known, a snapshot has somewhere to belong.
        for known in [false, true] {
            decode_both_ways(venue, known, bytes);
        }
    }
    let mut end = 0;
    for line in Lines::new(bytes, 1) {
        assert!(line.offset >= end && bytes[line.offset..].starts_with(line.bytes));
        end = line.offset + line.bytes.len();
        assert!(
            line.parts
                .is_none_or(|(ts_init, frame)| ts_init >= 0 && line.bytes.ends_with(frame))
        );
    }
});

fn decode_both_ways(venue: Venue, known: bool, bytes: &[u8]) {
    let run = |mut decoder: Decoder| {
        let mut instruments = InstrumentTable::new(2, true);
        let mut ticks: Vec<Tick> = Vec::new();
        if known {
            decoder.decode(BEFORE, 1, &mut instruments, &mut ticks);
        }
        let (ticks_before, rows_before) = (ticks.len(), instruments.rows().len());
        let outcome = decoder.decode(bytes, 2, &mut instruments, &mut ticks);
        match outcome {
            Outcome::Accepted(_) => assert!(ticks.len() > ticks_before),
            Outcome::Ignored(_) | Outcome::Rejected(_) => {
                assert_eq!((ticks.len(), instruments.rows().len()), (ticks_before, rows_before));
            }
        }
        (outcome, ticks, instruments.rows().to_vec(), decoder.passed_over())
    };
    assert_eq!(run(Decoder::new(venue)), run(Decoder::general_only(venue)));
}
