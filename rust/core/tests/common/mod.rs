//! What the tests share: recordings, and a run of lines through decoder and sequencer that counts every outcome.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]

pub mod decoding;
pub mod frames;
pub mod ticks;

use flate2::read::GzDecoder;
use headrace_core::ingest::decode::{Decoder, FrameType, IgnoredType, Outcome, RejectReason};
use headrace_core::ingest::lines::Lines;
use headrace_core::ingest::sequencer::{Sequencer, SequencerOptions};
use headrace_core::limits::INSTRUMENTS_MAX;
use headrace_core::market::instrument::{InstrumentTable, Venue};
use headrace_core::market::kind::KindTable;
use headrace_core::market::tick::Tick;
use std::io::Read;
use std::path::Path;

/// The recordings of the data's table, with their venues.
pub const RECORDINGS: [(&str, Venue); 3] = [
    ("spot_btcusdt_20240808.gz", Venue::Binance),
    ("usdm_btcusdt_20240808.gz", Venue::BinanceUsdm),
    ("spot_ethusdt_20240809.gz", Venue::Binance),
];

/// The recording's lines; None (said on stderr) when there are no recordings and none are required.
pub fn recording(file: &str) -> Option<Vec<u8>> {
    let Some(folder) = std::env::var_os("HEADRACE_RECORDINGS") else {
        let required = std::env::var("HEADRACE_REQUIRE_RECORDINGS").is_ok_and(|value| value == "1");
        assert!(
            !required,
            "HEADRACE_REQUIRE_RECORDINGS=1, but HEADRACE_RECORDINGS names no folder"
        );
        eprintln!("skipped: HEADRACE_RECORDINGS names no folder with {file}");
        return None;
    };
    let path = Path::new(&folder).join(file);
    let packed = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut bytes = Vec::new();
    GzDecoder::new(&packed[..])
        .read_to_end(&mut bytes)
        .expect("a whole gzip file");
    Some(bytes)
}

/// Lines through decoder and sequencer.
pub struct Run {
    pub decoder: Decoder,
    pub sequencer: Sequencer,
    pub instruments: InstrumentTable,
    pub kinds: KindTable,
    pub ticks: Vec<Tick>,
    pub accepted: Vec<u64>,
    pub ignored: Vec<u64>,
    pub rejected: Vec<u64>,
}

impl Run {
    pub fn new(venue: Venue) -> Self {
        Self {
            decoder: Decoder::new(venue),
            sequencer: Sequencer::new(SequencerOptions::default()),
            instruments: InstrumentTable::new(INSTRUMENTS_MAX, true),
            kinds: KindTable::default(),
            ticks: Vec::new(),
            accepted: vec![0; FrameType::ALL.len()],
            ignored: vec![0; IgnoredType::NAMES.len()],
            rejected: vec![0; RejectReason::TABLE.len()],
        }
    }

    pub fn feed(&mut self, block: &[u8]) {
        let mut decoded = Vec::new();
        for line in Lines::new(block, 1) {
            let Some((ts_init, frame)) = line.parts else {
                self.rejected[RejectReason::BadLine as usize] += 1;
                continue;
            };
            decoded.clear();
            match self.decoder.decode(frame, ts_init, &mut self.instruments, &mut decoded) {
                Outcome::Accepted(frame_type) => self.accepted[frame_type as usize] += 1,
                Outcome::Ignored(ignored) => self.ignored[ignored.index()] += 1,
                Outcome::Rejected(reason) => self.rejected[reason as usize] += 1,
            }
            if let Some(passed) = self.decoder.passed_over() {
                self.sequencer.pass_over(passed);
            }
            self.sequencer
                .sequence(&decoded, &self.instruments, &self.kinds, &mut self.ticks);
        }
    }
}
