//! Frames that were read a block ahead become what they become at their turn.

mod common;

use common::frames::{Random, frame, mutated};
use headrace_core::ingest::decode::{Decoder, Outcome, PassedOver, ReadBlock};
use headrace_core::ingest::merge::{Block, Merge, Payload, Step};
use headrace_core::market::instrument::{InstrumentTable, Venue};
use headrace_core::market::tick::Tick;

/// What is known after an item: its time and row, its bytes if they are no frame, what came of the frame, and how many
/// instruments are known.
#[derive(Debug, PartialEq)]
struct Seen {
    item: (i64, u64, Vec<u8>),
    outcome: Option<Outcome>,
    passed_over: Option<PassedOver>,
    ticks: Vec<Tick>,
    instruments: Vec<String>,
}

/// The mark prices of some symbols in one frame, the last of them perhaps one too many for the table.
fn marks(random: &mut Random) -> String {
    let mark = |symbol| format!(r#"{{"e":"markPriceUpdate","E":1723161256299,"s":"{symbol}","p":"2","T":0}}"#);
    let symbols = ["BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"];
    let some = &symbols[..=random.below(symbols.len())];
    format!("[{}]", some.iter().map(mark).collect::<Vec<_>>().join(","))
}

/// Blocks of a generated session: frames of every type and broken ones, bad and blank lines, cut at random.
fn session(random: &mut Random, venue: Venue) -> Vec<Vec<u8>> {
    let mut blocks = vec![Vec::new()];
    for ts_init in 0..200 {
        let block = blocks.last_mut().expect("there is one");
        match random.below(20) {
            0 => block.extend_from_slice(b"\n \n"),
            1 => block.extend_from_slice(b"no line\n"),
            2 => block.extend_from_slice(format!("{ts_init} {}\n", marks(random)).as_bytes()),
            _ => {
                let mut text = frame(random, venue);
                if random.one_in(10) {
                    text = mutated(random, &text);
                }
                text.retain(|byte| *byte != b'\n');
                block.extend_from_slice(format!("{ts_init} ").as_bytes());
                block.extend_from_slice(&text);
                block.push(b'\n');
            }
        }
        if random.one_in(30) {
            blocks.push(Vec::new());
        }
    }
    blocks
}

/// Everything that comes of blocks, in order; and how many frames had been read ahead.
fn decoded(blocks: Vec<Block>, venue: Venue) -> (Vec<Seen>, usize) {
    let mut blocks = blocks.into_iter();
    let (mut merge, mut decoder) = (Merge::new(1), Decoder::new(venue));
    let mut instruments = InstrumentTable::new(4, true);
    let (mut seen, mut ahead) = (Vec::new(), 0);
    loop {
        let item = match merge.next().expect("times never go back") {
            Step::Item(item) => item,
            Step::End => return (seen, ahead),
            Step::Need(_) => {
                match blocks.next() {
                    Some(block) => merge.push(0, block),
                    None => merge.end(0),
                }
                continue;
            }
        };
        let mut ticks = Vec::new();
        let (bytes, outcome) = match item.payload {
            Payload::Frame(frame, read) => {
                ahead += usize::from(read.is_some());
                let outcome = match read {
                    Some(read) => decoder.take(read, &mut instruments, &mut ticks),
                    None => decoder.decode(frame, item.ts_init, &mut instruments, &mut ticks),
                };
                (frame.to_vec(), Some(outcome))
            }
            Payload::BadLine(line) => (line.to_vec(), None),
            Payload::Ticks(_) => panic!("lines hold no ticks"),
        };
        seen.push(Seen {
            item: (item.ts_init, item.row, bytes),
            outcome,
            passed_over: decoder.passed_over().filter(|_| outcome.is_some()),
            ticks,
            instruments: instruments.rows().iter().map(|row| row.name.clone()).collect(),
        });
    }
}

#[test]
fn frames_read_ahead_become_what_they_become_at_their_turn() {
    let mut random = Random::new("read_ahead");
    for venue in Venue::ALL {
        // One session may well hold no frame that is as predicted: few of the generated ones are.
        let mut read_ahead = 0;
        for _ in 0..60 {
            let blocks = session(&mut random, venue);
            let at_their_turn = blocks.iter().cloned().map(Block::Lines).collect();
            let ahead = blocks
                .into_iter()
                .map(|block| Block::Read(ReadBlock::new(block, venue)))
                .collect();
            let (expected, none) = decoded(at_their_turn, venue);
            let (found, read) = decoded(ahead, venue);
            assert_eq!(found, expected);
            assert_eq!(none, 0);
            read_ahead += read;
        }
        assert!(read_ahead > 60, "{venue:?}: {read_ahead} frames were as predicted");
    }
}
