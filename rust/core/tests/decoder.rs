//! What each frame becomes, field by field, and why each refused one is refused.

mod common;

use headrace_core::error::DetectError;
use headrace_core::ingest::decode::{Decoder, FrameType, Outcome, PassedOver, RejectReason, detect_venue};
use headrace_core::limits::FRAME_BYTES_MAX;
use headrace_core::market::instrument::{InstrumentTable, Venue};
use headrace_core::market::kind;
use headrace_core::market::tick::{Tick, flags};

const SINGLE: u16 = flags::FIRST_IN_EVENT | flags::LAST_IN_EVENT;
const TRADE: &str = r#"{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":7,"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}"#;
const USDM_TRADE: &str = r#"{"e":"trade","E":1723161256322,"T":1723161256321,"s":"BTCUSDT","t":8,"p":"61800.30","q":"0.006","X":"MARKET","m":false}"#;
const QUOTE: &str = r#"{"u":9,"s":"BTCUSDT","b":"1.5","B":"2.5","a":"1.6","A":"3.5"}"#;
const DEPTH: &str = r#"{"e":"depthUpdate","E":1723161255208,"s":"BTCUSDT","U":5,"u":6,"b":[["1.5","2"],["1.4","0"]],"a":[["1.6","3"]]}"#;
const SNAPSHOT: &str = r#"{"lastUpdateId":6,"bids":[["1.5","2"]],"asks":[["1.6","3"],["1.7","4"]]}"#;

struct Bench {
    decoder: Decoder,
    instruments: InstrumentTable,
    ticks: Vec<Tick>,
}

impl Bench {
    fn new(venue: Venue) -> Self {
        Self {
            decoder: Decoder::new(venue),
            instruments: InstrumentTable::new(3, true),
            ticks: Vec::new(),
        }
    }

    fn decode(&mut self, frame: impl AsRef<[u8]>) -> Outcome {
        self.ticks.clear();
        self.decoder
            .decode(frame.as_ref(), 42, &mut self.instruments, &mut self.ticks)
    }
}

fn outcome(venue: Venue, frame: impl AsRef<[u8]>) -> Outcome {
    Bench::new(venue).decode(frame)
}

fn rejected(frame: impl AsRef<[u8]>) -> Option<&'static str> {
    match outcome(Venue::Binance, frame) {
        Outcome::Rejected(reason) => Some(reason.name()),
        _ => None,
    }
}

fn ignored(venue: Venue, frame: impl AsRef<[u8]>) -> Option<&'static str> {
    match outcome(venue, frame) {
        Outcome::Ignored(ignored) => Some(ignored.name()),
        _ => None,
    }
}

fn envelope(stream: &str, data: &str) -> String {
    format!(r#"{{"stream":"{stream}","data":{data}}}"#)
}

fn ticks(venue: Venue, frame: impl AsRef<[u8]>) -> Vec<Tick> {
    let mut bench = Bench::new(venue);
    assert!(matches!(bench.decode(frame), Outcome::Accepted(_)));
    bench.ticks
}

#[test]
fn a_trade_has_its_times_id_values_and_the_aggressors_side() {
    let expected = Tick {
        seq: 0,
        venue_seq: 7,
        ts_event: 1_723_161_255_342_000_000,
        ts_init: 42,
        instrument: 0,
        kind: kind::TRADE,
        side: -1,
        flags: SINGLE,
        values: [61_837.63f64.to_bits(), 0.02f64.to_bits(), 0, 0],
    };
    assert_eq!(
        ticks(Venue::Binance, TRADE),
        [expected],
        "m: true: the buyer was the maker, so the seller came"
    );
    let expected = Tick {
        venue_seq: 8,
        ts_event: 1_723_161_256_321_000_000,
        side: 1,
        values: [61_800.3f64.to_bits(), 0.006f64.to_bits(), 0, 0],
        ..expected
    };
    assert_eq!(ticks(Venue::BinanceUsdm, USDM_TRADE), [expected], "T, not E");
}

#[test]
fn an_aggregate_names_its_first_and_last_trade() {
    let frame = r#"{"e":"aggTrade","E":1723161255343,"s":"BTCUSDT","a":3,"p":"2","q":"4","f":10,"l":12,"T":1723161255342123,"m":false,"M":true}"#;
    assert_eq!(outcome(Venue::Binance, frame), Outcome::Accepted(FrameType::AggTrade));
    let tick = ticks(Venue::Binance, frame)[0];
    assert_eq!(
        (tick.kind, tick.venue_seq, tick.side, tick.values[2], tick.values[3]),
        (kind::AGG_TRADE, 3, 1, 10, 12)
    );
    assert_eq!(tick.ts_event, 1_723_161_255_342_123_000, "16 digits are microseconds");
}

#[test]
fn a_quote_has_four_values_and_a_spot_quote_no_venue_time() {
    let tick = ticks(Venue::Binance, QUOTE)[0];
    assert_eq!(
        (tick.kind, tick.venue_seq, tick.ts_event, tick.side),
        (kind::QUOTE, 9, 0, 0)
    );
    assert_eq!(tick.flags, SINGLE | flags::NO_VENUE_TIME);
    assert_eq!(
        [0, 1, 2, 3].map(|index| tick.value(index)),
        [1.5, 1.6, 2.5, 3.5],
        "bid_price ask_price bid_size ask_size"
    );
    let frame = r#"{"e":"bookTicker","u":9,"s":"BTCUSDT","b":"1.5","B":"2.5","a":"1.6","A":"3.5","T":1723161256312,"E":1723161256313}"#;
    let tick = ticks(Venue::BinanceUsdm, frame)[0];
    assert_eq!((tick.ts_event, tick.flags), (1_723_161_256_312_000_000, SINGLE));
}

#[test]
fn a_depth_event_is_one_tick_a_level_bids_first_with_its_ends_marked() {
    let levels = ticks(Venue::Binance, DEPTH);
    let seen: Vec<_> = levels
        .iter()
        .map(|tick| (tick.side, tick.value(0), tick.value(1), tick.flags))
        .collect();
    assert_eq!(
        seen,
        [
            (1, 1.5, 2.0, flags::FIRST_IN_EVENT),
            (1, 1.4, 0.0, 0),
            (-1, 1.6, 3.0, flags::LAST_IN_EVENT)
        ]
    );
    for tick in &levels {
        assert_eq!(
            (tick.kind, tick.venue_seq, tick.values[2], tick.values[3]),
            (kind::LEVEL, 6, 5, 0)
        );
        assert_eq!(tick.ts_event, 1_723_161_255_208_000_000, "E where there is no T");
    }
    let usdm = r#"{"e":"depthUpdate","E":1723161256299,"T":1723161256298,"s":"BTCUSDT","U":5,"u":6,"pu":3,"b":[],"a":[["1","2"]]}"#;
    let level = ticks(Venue::BinanceUsdm, usdm)[0];
    assert_eq!((level.values[2], level.values[3], level.flags), (5, 3, SINGLE));
    assert_eq!(level.ts_event, 1_723_161_256_298_000_000);
}

#[test]
fn an_event_without_levels_is_one_tick_with_the_same_ids() {
    let empty = r#"{"e":"depthUpdate","E":1723161255208,"s":"BTCUSDT","U":5,"u":6,"b":[],"a":[]}"#;
    let tick = ticks(Venue::Binance, empty)[0];
    assert_eq!(
        (tick.kind, tick.venue_seq, tick.side, tick.flags),
        (kind::LEVEL_EMPTY, 6, 0, SINGLE)
    );
    assert_eq!(tick.values, [0, 0, 5, 0]);
}

#[test]
fn a_snapshot_belongs_to_the_only_symbol_so_far_and_with_none_or_two_is_rejected() {
    let mut bench = Bench::new(Venue::Binance);
    let without = Outcome::Rejected(RejectReason::SnapshotWithoutSymbol);
    assert_eq!(bench.decode(SNAPSHOT), without);
    bench.decode(QUOTE);
    assert_eq!(bench.decode(SNAPSHOT), Outcome::Accepted(FrameType::Snapshot));
    let seen: Vec<_> = bench
        .ticks
        .iter()
        .map(|tick| (tick.instrument, tick.venue_seq, tick.flags))
        .collect();
    let snapshot = flags::SNAPSHOT | flags::NO_VENUE_TIME;
    assert_eq!(
        seen,
        [
            (0, 6, snapshot | flags::FIRST_IN_EVENT),
            (0, 6, snapshot),
            (0, 6, snapshot | flags::LAST_IN_EVENT)
        ]
    );
    bench.decode(QUOTE.replace("BTCUSDT", "ETHUSDT"));
    assert_eq!(bench.decode(SNAPSHOT), without);
    let named = SNAPSHOT.replace("\"bids\"", "\"symbol\":\"ETHUSDT\",\"bids\"");
    assert_eq!(bench.decode(named), Outcome::Accepted(FrameType::Snapshot));
    assert!(bench.ticks.iter().all(|tick| tick.instrument == 1));
    let timed = SNAPSHOT.replace("\"bids\"", "\"E\":1723161256501,\"T\":1723161256493,\"bids\"");
    let mut futures = Bench::new(Venue::BinanceUsdm);
    futures.decode(USDM_TRADE);
    assert_eq!(futures.decode(timed), Outcome::Accepted(FrameType::Snapshot));
    assert_eq!(
        (futures.ticks[0].ts_event, futures.ticks[0].flags & flags::NO_VENUE_TIME),
        (1_723_161_256_493_000_000, 0)
    );
    assert_eq!(
        futures.decode(r#"{"lastUpdateId":6,"bids":[],"asks":[]}"#),
        Outcome::Accepted(FrameType::Snapshot)
    );
    assert_eq!(
        (futures.ticks[0].kind, futures.ticks[0].flags & flags::SNAPSHOT),
        (kind::LEVEL_EMPTY, flags::SNAPSHOT)
    );
}

#[test]
fn key_order_unknown_keys_blanks_escapes_and_exponents_do_not_matter() {
    let expected = ticks(Venue::Binance, TRADE);
    let spellings = [
        r#"{"m":true,"T":1723161255342,"q":"0.02","p":"61837.63","t":7,"s":"BTCUSDT","E":1723161255343,"e":"trade"}"#,
        r#"{"new":{"e":[1,"x"]},"e":"trade","E":1723161255343,"s":"BTCUSDT","t":7,"p":"61837.63","q":"0.02","T":1723161255342,"m":true}"#,
        "{ \"e\" : \"trade\",\t\"E\":1723161255343 , \"s\":\"BTCUSDT\",\"t\":7,\n\"p\":\"61837.63\",\"q\":\"0.02\",\"T\":1723161255342,\"m\":true}\r\n",
        r#"{"\u0065":"tr\u0061de","E":1723161255343,"s":"\u0042TCUSDT","t":7,"p":"61837\u002e63","q":"0.02","T":1723161255342,"m":true}"#,
        r#"{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":7,"p":"6183763e-2","q":"+2E-2","T":1723161255342,"m":true}"#,
        &envelope("btcusdt@trade", TRADE),
        &format!(r#"{{"data":{TRADE},"x":0,"stream":"btcusdt@trade"}}"#),
    ];
    for spelling in spellings {
        assert_eq!(ticks(Venue::Binance, spelling), expected, "{spelling}");
    }
}

#[test]
fn texts_are_rounded_correctly_and_those_of_over_15_digits_flagged() {
    for (text, inexact) in [
        ("0.1", false),
        ("61837.63000000", false),
        ("123456789012345", false),
        ("1234567890123450000", false),
        ("0.000000000000000000123456789012345", false),
        ("1234567890123456", true),
        ("0.1234567890123456", true),
        ("9007199254740993", true),
        ("179769313486231570000000000000000000000", true),
        ("0.30000000000000004", true),
        ("00001.50000000000000000000000000", false),
    ] {
        let tick = ticks(Venue::Binance, QUOTE.replace("3.5", text))[0];
        assert_eq!(
            tick.value(3).to_bits(),
            text.parse::<f64>().unwrap().to_bits(),
            "{text}"
        );
        assert_eq!(tick.flags & flags::INEXACT_TEXT != 0, inexact, "{text}");
    }
    assert_eq!(
        ticks(Venue::Binance, QUOTE.replace("3.5", "-0.0"))[0].values[3],
        0,
        "no negative zero"
    );
    let level = ticks(Venue::Binance, DEPTH.replace("1.4", "1.4000000000000001"));
    let flagged: Vec<_> = level.iter().map(|tick| tick.flags & flags::INEXACT_TEXT != 0).collect();
    assert_eq!(flagged, [false, true, false], "a flag belongs to its level");
}

#[test]
fn every_reason_refuses_its_frame() {
    let quote = |from: &str, to: &str| rejected(QUOTE.replace(from, to));
    let trade = |from: &str, to: &str| rejected(TRADE.replace(from, to));
    let depth = |from: &str, to: &str| rejected(DEPTH.replace(from, to));
    let long = QUOTE.replace("\"u\"", &format!("\"x\":\"{}\",\"u\"", "y".repeat(FRAME_BYTES_MAX)));
    let deep = |depth: usize| {
        QUOTE.replace(
            "\"u\"",
            &format!("\"x\":{}{},\"u\"", "[".repeat(depth), "]".repeat(depth)),
        )
    };
    let mut not_utf8 = QUOTE.replace("\"u\"", "\"x\":\"?\",\"u\"").into_bytes();
    let place = not_utf8.iter().position(|&byte| byte == b'?').unwrap();
    not_utf8[place] = 0xff;
    let table = [
        (rejected(&long), "frame_too_long"),
        (rejected(&not_utf8), "bad_utf8"),
        (rejected(deep(16)), "too_deep"),
        (rejected("[".repeat(1_000_000)), "too_deep"),
        (rejected(""), "bad_json"),
        (rejected(format!("{QUOTE}{QUOTE}")), "bad_json"),
        (rejected(&QUOTE[..QUOTE.len() - 1]), "bad_json"),
        (quote("\"u\":9", "\"u\":09"), "bad_json"),
        (quote("\"u\":9", "\"u\":9,\"u\":9"), "duplicate_key"),
        (
            rejected(envelope("x", QUOTE).replace("\"data\"", "\"data\":{},\"data\"")),
            "duplicate_key",
        ),
        (quote("\"B\":\"2.5\",", ""), "missing_field"),
        (trade("\"m\":true,", ""), "missing_field"),
        (depth("\"E\":1723161255208,", ""), "missing_field"),
        (depth(",\"a\":[[\"1.6\",\"3\"]]", ""), "missing_field"),
        (rejected(format!(r#"{{"data":{QUOTE}}}"#)), "missing_field"),
        (rejected("5"), "wrong_type"),
        (rejected(r#"{"stream":"x","data":5}"#), "wrong_type"),
        (quote("\"1.5\"", "1.5"), "wrong_type"),
        (quote("\"u\":9", "\"u\":\"9\""), "wrong_type"),
        (quote("\"u\":9", "\"u\":-9"), "wrong_type"),
        (quote("\"u\":9", "\"u\":9.0"), "wrong_type"),
        (quote("\"u\":9", "\"u\":18446744073709551616"), "wrong_type"),
        (trade("\"m\":true", "\"m\":1"), "wrong_type"),
        (trade("\"e\":\"trade\"", "\"e\":1"), "wrong_type"),
        (depth("[\"1.4\",\"0\"]", "[\"1.4\"]"), "wrong_type"),
        (depth("[\"1.4\",\"0\"]", "[\"1.4\",\"0\",\"0\"]"), "wrong_type"),
        (depth("[\"1.4\",\"0\"]", "[\"1.4\",0]"), "wrong_type"),
        (quote("1.5", "NaN"), "bad_number"),
        (quote("1.5", "inf"), "bad_number"),
        (quote("1.5", "0x1"), "bad_number"),
        (quote("1.5", " 1"), "bad_number"),
        (quote("1.5", "1."), "bad_number"),
        (quote("1.5", ".5"), "bad_number"),
        (quote("1.5", ""), "bad_number"),
        (quote("1.5", "1e999"), "bad_number"),
        (quote("1.5", "1e-999"), "bad_number"),
        (quote("1.5", "-1.5"), "negative"),
        (depth("\"0\"", "\"-0.1\""), "negative"),
        (trade("1723161255342", "1723161255"), "bad_time"),
        (trade("1723161255342", "0"), "bad_time"),
        (trade("1723161255343", "17231612553430"), "bad_time"),
        (trade("1723161255342", "9999999999999"), "bad_time"),
        (quote("BTCUSDT", ""), "bad_symbol"),
        (quote("BTCUSDT", "BTC USDT"), "bad_symbol"),
        (quote("BTCUSDT", "BTC*"), "bad_symbol"),
        (quote("BTCUSDT", &"X".repeat(65)), "bad_symbol"),
        (rejected("{}"), "unknown_type"),
        (trade("\"e\":\"trade\"", "\"e\":\"Trade\""), "unknown_type"),
        (rejected("[]"), "unknown_type"),
        (rejected(format!("[{TRADE}]")), "unknown_type"),
        (rejected(SNAPSHOT), "snapshot_without_symbol"),
    ];
    for (row, (found, expected)) in table.into_iter().enumerate() {
        assert_eq!(found, Some(expected), "row {row}");
    }
    assert_eq!(rejected(deep(15)), None, "16 deep is allowed, the object counted");
    assert_eq!(
        outcome(Venue::BinanceUsdm, DEPTH),
        Outcome::Rejected(RejectReason::MissingField),
        "futures name the event before"
    );
    let mut bench = Bench::new(Venue::Binance);
    for symbol in ["A", "B", "C"] {
        assert!(matches!(
            bench.decode(QUOTE.replace("BTCUSDT", symbol)),
            Outcome::Accepted(_)
        ));
    }
    let full = Outcome::Rejected(RejectReason::TooManyInstruments);
    assert_eq!(bench.decode(QUOTE), full, "the table holds three");
    assert!(matches!(
        bench.decode(QUOTE.replace("BTCUSDT", "B")),
        Outcome::Accepted(_)
    ));
    bench.instruments = InstrumentTable::new(3, false);
    assert_eq!(bench.decode(QUOTE), Outcome::Rejected(RejectReason::UnknownInstrument));
    bench.instruments.add("BTCUSDT.BINANCE").unwrap();
    assert!(matches!(bench.decode(QUOTE), Outcome::Accepted(_)));
}

#[test]
fn partial_books_replies_and_other_documented_types_are_ignored_under_their_names() {
    for venue in Venue::ALL {
        for stream in ["btcusdt@depth5", "btcusdt@depth10@100ms", "btcusdt@depth20@500ms"] {
            assert_eq!(ignored(venue, envelope(stream, SNAPSHOT)), Some("partial_depth"));
            assert_eq!(
                ignored(venue, envelope(stream, DEPTH)),
                Some("partial_depth"),
                "futures send them so"
            );
        }
        assert_eq!(
            ignored(venue, envelope("btcusdt@rpiDepth@500ms", DEPTH)),
            Some("rpi_depth")
        );
        for reply in [
            r#"{"result":null,"id":1}"#,
            r#"{"result":["btcusdt@trade"],"id":"a"}"#,
            r#"{"error":{"code":2,"msg":"Invalid request"},"id":1}"#,
            r#"{"code":-1121,"msg":"Invalid symbol."}"#,
        ] {
            assert_eq!(ignored(venue, reply), Some("reply"), "{reply}");
        }
        for event in ["kline", "24hrTicker", "markPriceUpdate", "forceOrder", "serverShutdown"] {
            let frame = format!(r#"{{"e":"{event}","E":1,"s":5,"b":null,"u":{{}}}}"#);
            assert_eq!(ignored(venue, &frame), Some(event));
            assert_eq!(ignored(venue, format!("[{frame},{frame}]")), Some(event));
            assert_eq!(
                ignored(venue, envelope("!ticker@arr", &format!("[{frame}]"))),
                Some(event)
            );
        }
    }
    assert_eq!(
        outcome(Venue::Binance, envelope("btcusdt@depth", DEPTH)),
        Outcome::Accepted(FrameType::DepthUpdate)
    );
}

#[test]
fn a_futures_trade_off_the_market_is_ignored_and_tells_the_id_that_it_used_up() {
    let mut bench = Bench::new(Venue::BinanceUsdm);
    let off_market = USDM_TRADE.replace("MARKET", "INSURANCE_FUND");
    bench.decode(&off_market);
    assert_eq!(bench.decoder.passed_over(), None, "nothing is known of this symbol yet");
    bench.decode(USDM_TRADE);
    for frame in [off_market, USDM_TRADE.replace("61800.30", "0")] {
        let outcome = bench.decode(&frame);
        assert!(
            matches!(outcome, Outcome::Ignored(ignored) if ignored.name() == "trade_non_market"),
            "{frame}"
        );
        let passed = PassedOver {
            instrument: 0,
            kind: kind::TRADE,
            venue_seq: 8,
        };
        assert_eq!(bench.decoder.passed_over(), Some(passed));
        assert!(bench.ticks.is_empty());
    }
    bench.decode(USDM_TRADE);
    assert_eq!(bench.decoder.passed_over(), None);
    assert_eq!(
        outcome(Venue::Binance, TRADE.replace("\"M\"", "\"X\":\"OTHER\",\"M\"")),
        Outcome::Accepted(FrameType::Trade)
    );
}

#[test]
fn a_venue_is_found_from_what_only_it_sends_or_named_as_undecided() {
    let detect = |frames: &[&str]| detect_venue(frames.iter().map(|frame| frame.as_bytes()));
    let usdm_quote = QUOTE.replace("{\"u\"", "{\"e\":\"bookTicker\",\"u\"");
    let usdm_depth = DEPTH.replace("\"b\":[[", "\"pu\":4,\"b\":[[");
    let coinm_quote = usdm_quote.replace("\"b\"", "\"ps\":\"BTCUSD\",\"b\"");
    let coinm_trade = USDM_TRADE.replace("BTCUSDT", "BTCUSD_PERP");
    assert_eq!(detect(&[TRADE, SNAPSHOT, QUOTE]), Ok(Venue::Binance));
    assert_eq!(detect(&[&envelope("x", DEPTH)]), Ok(Venue::Binance));
    assert_eq!(detect(&[USDM_TRADE, &usdm_quote]), Ok(Venue::BinanceUsdm));
    assert_eq!(
        detect(&["not a frame", &envelope("x", &usdm_depth)]),
        Ok(Venue::BinanceUsdm)
    );
    assert_eq!(detect(&[&coinm_quote]), Ok(Venue::BinanceCoinm));
    assert_eq!(detect(&[&coinm_trade]), Ok(Venue::BinanceCoinm));
    let paired_quote = usdm_quote.replace("\"b\"", "\"ps\":\"BTCUSDT\",\"st\":1,\"b\"");
    assert_eq!(
        detect(&[&paired_quote]),
        Ok(Venue::BinanceUsdm),
        "its pair is its symbol"
    );
    let delivery = usdm_quote.replace("BTCUSDT", "BTCUSDT_250328");
    assert_eq!(
        detect(&[&usdm_quote, &delivery]),
        Ok(Venue::BinanceUsdm),
        "COIN-M has no symbol without _"
    );
    assert_eq!(detect(&[TRADE, SNAPSHOT]), Err(DetectError::Undecided));
    assert_eq!(detect(&[]), Err(DetectError::Undecided));
    assert_eq!(
        detect(&[QUOTE, &usdm_quote]),
        Err(DetectError::Mixed { futures: 1, spot: 1 })
    );
    let late: Vec<&str> = std::iter::repeat_n(TRADE, 1_000).chain([QUOTE]).collect();
    assert_eq!(
        detect(&late),
        Err(DetectError::Undecided),
        "only the first 1,000 frames are looked at"
    );
}
