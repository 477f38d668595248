//! Once warm, nothing is allocated per frame, per tick or per merged item.

mod common;

use allocation_counter::measure;
use common::frames::{Random, frame};
use headrace_core::ingest::decode::{Decoder, Outcome};
use headrace_core::ingest::merge::{Block, Merge, Step};
use headrace_core::ingest::sequencer::{Sequencer, SequencerOptions};
use headrace_core::market::instrument::{InstrumentTable, Venue};
use headrace_core::market::kind::KindTable;

/// Accepted frames as the venue writes them, of every type, with strictly rising ids left to chance.
fn accepted(venue: Venue) -> Vec<Vec<u8>> {
    let mut random = Random::new("allocation");
    let mut decoder = Decoder::new(venue);
    let mut instruments = InstrumentTable::new(100, true);
    let mut frames: Vec<_> = (0..8_000).map(|_| frame(&mut random, venue)).collect();
    // An escaped text must be unescaped somewhere, and serde_json notes its way through nested unknown values.
    frames.retain(|frame| !frame.contains(&b'\\') && !frame.windows(4).any(|bytes| bytes == b"\"zz\""));
    frames.retain(|frame| {
        matches!(
            decoder.decode(frame, 1, &mut instruments, &mut Vec::new()),
            Outcome::Accepted(_)
        )
    });
    frames
}

#[test]
fn decoding_and_sequencing_allocate_nothing_once_warm_whichever_way_a_frame_is_read() {
    for venue in Venue::ALL {
        let frames = accepted(venue);
        assert!(frames.len() > 1_000);
        for mut decoder in [Decoder::new(venue), Decoder::general_only(venue)] {
            let (mut instruments, kinds) = (InstrumentTable::new(100, true), KindTable::default());
            let mut sequencer = Sequencer::new(SequencerOptions::default());
            let (mut decoded, mut out) = (Vec::new(), Vec::new());
            let mut pass = || {
                out.clear();
                for frame in &frames {
                    decoded.clear();
                    decoder.decode(frame, 1, &mut instruments, &mut decoded);
                    sequencer.sequence(&decoded, &instruments, &kinds, &mut out);
                }
            };
            pass();
            pass();
            assert_eq!(measure(pass).count_total, 0, "{venue:?}");
        }
    }
}

#[test]
fn merging_allocates_nothing_per_item() {
    let block = |from: i64| {
        (from..from + 2_000)
            .map(|time| format!("{time} {{}}\n"))
            .collect::<String>()
            .into_bytes()
    };
    let mut merge = Merge::new(3);
    for source in 0..3 {
        merge.push(source, Block::Lines(block(source as i64 * 700)));
    }
    let mut items = 0;
    let counted = measure(|| {
        while let Ok(Step::Item(_)) = merge.next() {
            items += 1;
        }
    });
    assert!(items >= 2_000);
    assert_eq!(counted.count_total, 0);
}
