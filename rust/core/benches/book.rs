//! Row 20: depth frames to an updated book, per level, against the same in a BTreeMap.
//!
//! `HEADRACE_RECORDINGS=folder cargo bench -p headrace-core --bench book`. Both ends are compared before they are timed.
//! Does not: count what a handler costs; `benches/test_books.py` does.

use headrace_core::ingest::decode::Decoder;
use headrace_core::ingest::lines::Lines;
use headrace_core::limits::INSTRUMENTS_MAX;
use headrace_core::market::book::Book;
use headrace_core::market::instrument::{ChainRule, InstrumentTable, Venue};
use headrace_core::market::tick::Tick;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::Read;
use std::time::Instant;

const FILES: [(&str, Venue, ChainRule); 2] = [
    ("spot_btcusdt_20240808.gz", Venue::Binance, ChainRule::FirstFollowsLast),
    (
        "usdm_btcusdt_20240808.gz",
        Venue::BinanceUsdm,
        ChainRule::PrevEqualsLast,
    ),
];
const ROUNDS: usize = 15;

/// The book as a standard library has it: a map of each side, keyed by price steps.
#[derive(Default)]
struct Maps {
    bids: BTreeMap<i64, f64>,
    asks: BTreeMap<i64, f64>,
    last: u64,
}

impl Maps {
    #[expect(clippy::cast_possible_truncation, reason = "prices are far below 2^53 steps")]
    fn event(&mut self, event: &[Tick]) {
        for tick in event {
            let side = if tick.side > 0 { &mut self.bids } else { &mut self.asks };
            let step = (tick.value(0) * 1e8).round() as i64;
            if tick.value(1) == 0.0 {
                side.remove(&step);
            } else {
                side.insert(step, tick.value(1));
            }
        }
        self.last = event[0].venue_seq;
        let best = (self.bids.last_key_value(), self.asks.first_key_value());
        assert!(!matches!(best, (Some((bid, _)), Some((ask, _))) if bid >= ask));
    }
}

fn main() {
    let Some(folder) = std::env::var_os("HEADRACE_RECORDINGS") else {
        println!("skipped: HEADRACE_RECORDINGS names no folder");
        return;
    };
    for (file, venue, chain) in FILES {
        let packed = std::fs::read(std::path::Path::new(&folder).join(file)).expect("the recording");
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(&packed[..])
            .read_to_end(&mut bytes)
            .expect("a whole gzip file");
        let mut frames: Vec<&[u8]> = Lines::new(&bytes, 1)
            .filter_map(|line| line.parts.map(|(_, frame)| frame))
            .filter(|frame| {
                let text = std::str::from_utf8(&frame[..frame.len().min(120)]).unwrap_or("");
                text.contains("depthUpdate") || text.contains("lastUpdateId")
            })
            .collect();
        // What was received before the snapshot is older, or joins it; the first frame names the symbol.
        let snapshot = frames
            .iter()
            .position(|frame| !frame.windows(11).take(90).any(|text| text == b"depthUpdate"))
            .expect("a snapshot");
        frames[1..=snapshot].rotate_right(1);
        let (levels, book, maps) = played(&frames, venue, chain);
        assert_eq!(
            book.bids.steps().map(|(step, _)| step).next(),
            maps.bids.keys().next_back().copied(),
            "{file}"
        );
        assert_eq!(
            (book.bids.len(), book.asks.len()),
            (maps.bids.len(), maps.asks.len()),
            "{file}"
        );
        let [decoded, own, map] = times(&frames, venue, chain);
        #[expect(clippy::cast_precision_loss, reason = "levels are counted in thousands")]
        let per_level = |ns: u128| ns as f64 / levels as f64;
        println!(
            "{file}: {levels} levels; frame to book {:.1} ns a level, to BTreeMap {:.1} ns; of that decoded {:.1} ns; \
             {:.2} x in all, {:.2} x for the book alone",
            per_level(own),
            per_level(map),
            per_level(decoded),
            per_level(map) / per_level(own),
            per_level(map - decoded.min(map)) / per_level(own - decoded.min(own)),
        );
    }
}

/// Every frame through a book and through maps: levels, and both ends.
fn played(frames: &[&[u8]], venue: Venue, chain: ChainRule) -> (usize, Book, Maps) {
    let (mut book, mut maps, mut levels) = (Book::new(chain), Maps::default(), 0);
    each_event(frames, venue, |event| {
        levels += event.len();
        book.event(event);
        maps_from_snapshot(&mut maps, event);
    });
    (levels, book, maps)
}

/// Maps have no automaton: they begin with the snapshot, and take what is newer.
fn maps_from_snapshot(maps: &mut Maps, event: &[Tick]) {
    let is_snapshot = event[0].flags & headrace_core::market::tick::flags::SNAPSHOT != 0;
    if is_snapshot || (maps.last > 0 && event[0].venue_seq > maps.last) {
        maps.event(event);
    }
}

fn each_event(frames: &[&[u8]], venue: Venue, mut act: impl FnMut(&[Tick])) {
    let (mut decoder, mut table) = (Decoder::new(venue), InstrumentTable::new(INSTRUMENTS_MAX, true));
    let mut ticks = Vec::new();
    for frame in frames {
        ticks.clear();
        decoder.decode(frame, 0, &mut table, &mut ticks);
        if !ticks.is_empty() {
            act(&ticks);
        }
    }
}

/// The fastest of some rounds, ns: decoded only, to a book, to maps.
fn times(frames: &[&[u8]], venue: Venue, chain: ChainRule) -> [u128; 3] {
    let mut best = [u128::MAX; 3];
    for _ in 0..ROUNDS {
        let began = Instant::now();
        each_event(frames, venue, |event| {
            black_box(event);
        });
        best[0] = best[0].min(began.elapsed().as_nanos());
        let (began, mut book) = (Instant::now(), Book::new(chain));
        each_event(frames, venue, |event| {
            black_box(book.event(event));
        });
        best[1] = best[1].min(began.elapsed().as_nanos());
        let (began, mut maps) = (Instant::now(), Maps::default());
        each_event(frames, venue, |event| maps_from_snapshot(&mut maps, event));
        best[2] = best[2].min(began.elapsed().as_nanos());
        black_box(&maps);
    }
    best
}
