//! Real recordings through lines, decoder and sequencer: the counts of the data's own table, nothing lost or refused.
//!
//! `HEADRACE_RECORDINGS` names the folder; unset means skip, which `HEADRACE_REQUIRE_RECORDINGS=1` turns into a
//! failure.

mod common;

use common::{Run, recording};
use headrace_core::ingest::decode::detect_venue;
use headrace_core::ingest::lines::Lines;
use headrace_core::market::book::{Applied, Book, BookCheck, BookState};
use headrace_core::market::instrument::{ChainRule, Venue};
use headrace_core::market::kind;
use headrace_core::market::tick::Tick;

/// File, venue, frames by type (bookTicker, trade, depthUpdate, snapshot), ticks, of them levels.
const TABLE: [(&str, Venue, [u64; 4], u64, u64); 3] = [
    (
        "spot_btcusdt_20240808.gz",
        Venue::Binance,
        [28_040, 9_757, 3_451, 1],
        163_887,
        126_090,
    ),
    (
        "usdm_btcusdt_20240808.gz",
        Venue::BinanceUsdm,
        [66_089, 21_313, 6_551, 1],
        532_923,
        445_521,
    ),
    (
        "spot_ethusdt_20240809.gz",
        Venue::Binance,
        [34_681, 8_409, 3_036, 0],
        209_040,
        165_950,
    ),
];

#[test]
fn recordings_hold_the_frames_ticks_and_books_of_their_table() {
    for (file, venue, frames, ticks, levels) in TABLE {
        let Some(bytes) = recording(file) else {
            return;
        };
        let mut run = Run::new(venue);
        run.feed(&bytes);
        let by_type = [run.accepted[0], run.accepted[1], run.accepted[3], run.accepted[4]];
        assert_eq!(by_type, frames, "{file}: frames");
        assert_eq!(run.accepted[2], 0, "{file}: aggTrade");
        assert_eq!(run.ignored.iter().sum::<u64>(), 0, "{file}: ignored");
        assert_eq!(run.rejected.iter().sum::<u64>(), 0, "{file}: rejected");
        let counts = run.sequencer.counts();
        assert_eq!((counts.gaps, counts.duplicates, counts.late), (0, 0, 0), "{file}");
        assert_eq!(counts.sequenced.iter().sum::<u64>(), ticks, "{file}: ticks");
        assert_eq!(run.ticks.len() as u64, ticks, "{file}: ticks");
        let level_ticks = [kind::LEVEL, kind::LEVEL_EMPTY].map(|kind| counts.sequenced[usize::from(kind)]);
        assert_eq!(level_ticks.iter().sum::<u64>(), levels, "{file}: levels");
        assert_books(file, venue, &run.ticks);
    }
}

/// Every quote with the id of a depth event equals the book after that event.
fn assert_books(file: &str, venue: Venue, ticks: &[Tick]) {
    let chain = if venue == Venue::Binance {
        ChainRule::FirstFollowsLast
    } else {
        ChainRule::PrevEqualsLast
    };
    let (mut book, mut check) = (Book::new(chain), BookCheck::default());
    let mut rest = ticks;
    while let Some(first) = rest.first() {
        let len = rest
            .iter()
            .position(Tick::ends_event)
            .map_or(rest.len(), |last| last + 1);
        let (event, after) = rest.split_at(len);
        rest = after;
        match first.kind {
            kind::QUOTE => check.quote(first),
            kind::LEVEL | kind::LEVEL_EMPTY if book.event(event) == Applied::Yes => check.book(&book),
            _ => {}
        }
    }
    // Comparisons, levels at the end, best prices and sizes.
    let (comparisons, levels, best) = match file {
        "spot_btcusdt_20240808.gz" => (564, [1_209, 2_196], [(61_685.99, 1.008_7), (61_686.0, 2.293_27)]),
        "usdm_btcusdt_20240808.gz" => (503, [5_018, 4_578], [(61_659.7, 1.486), (61_659.8, 0.981)]),
        _ => {
            // No snapshot was recorded: its book never claims to be in sync.
            assert_eq!((book.state(), check.equal), (BookState::Syncing, 0), "{file}");
            return;
        }
    };
    assert_eq!(
        (check.equal, check.unequal, book.resyncs()),
        (comparisons, 0, 0),
        "{file}"
    );
    assert_eq!([book.bids.len(), book.asks.len()], levels, "{file}");
    assert_eq!([book.bids.best(), book.asks.best()], best.map(Some), "{file}");
}

#[test]
fn a_recording_tells_its_venue() {
    for (file, venue, ..) in TABLE {
        let Some(bytes) = recording(file) else {
            return;
        };
        let frames = Lines::new(&bytes, 1)
            .filter_map(|line| line.parts)
            .map(|(_, frame)| frame);
        assert_eq!(detect_venue(frames), Ok(venue), "{file}");
    }
}
