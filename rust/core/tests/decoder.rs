//! What each accepted frame becomes, field by field.

mod common;

use common::decoding::*;
use headrace_core::error::DetectError;
use headrace_core::ingest::decode::{Decoder, FrameType, Outcome, RejectReason, detect_venue};
use headrace_core::market::instrument::{InstrumentTable, Venue};
use headrace_core::market::kind;
use headrace_core::market::status::{Status, StatusReason, StreamState};
use headrace_core::market::tick::{Tick, flags};

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

#[test]
fn a_streams_state_is_one_status_tick() {
    let frame = r#"{"e":"headraceStatus","s":"BTCUSDT","stream":"depth","state":"SILENT","reason":"RECONNECTED","epoch":3,"lost":true}"#;
    let mut bench = Bench::new(Venue::Binance);
    let enveloped = envelope("btcusdt@status", frame);
    assert_eq!(bench.decode(&enveloped), Outcome::Accepted(FrameType::Status));
    let tick = bench.ticks[0];
    let status = Status {
        stream: kind::LEVEL,
        state: StreamState::Silent,
        reason: StatusReason::Reconnected,
        epoch: 3,
        is_lost: true,
    };
    assert_eq!((tick, Status::of_tick(&tick)), (status.tick(0, 42), Some(status)));
    for (stream, kind) in [
        ("bookTicker", kind::QUOTE),
        ("aggTrade", kind::AGG_TRADE),
        ("kline_1m", 0),
    ] {
        bench.decode(frame.replace("depth", stream));
        assert_eq!(Status::of_tick(&bench.ticks[0]).map(|status| status.stream), Some(kind));
    }
    for (from, to, reason) in [
        ("SILENT", "silent", RejectReason::UnknownType),
        ("RECONNECTED", "because", RejectReason::UnknownType),
        ("\"epoch\":3,", "", RejectReason::MissingField),
        ("true", "1", RejectReason::WrongType),
    ] {
        assert_eq!(bench.decode(frame.replace(from, to)), Outcome::Rejected(reason), "{to}");
    }
}

#[test]
fn a_snapshot_that_begins_with_its_symbol_is_read_both_ways_alike() {
    let named = SNAPSHOT.replacen('{', "{\"symbol\":\"ETHUSDT\",", 1);
    for decoder in [Decoder::new(Venue::Binance), Decoder::general_only(Venue::Binance)] {
        let mut bench = Bench {
            decoder,
            ..Bench::new(Venue::Binance)
        };
        bench.decode(QUOTE);
        bench.decode(envelope("ethusdt@depthSnapshot", &named));
        let rows = bench
            .ticks
            .iter()
            .map(|tick| (tick.instrument, tick.venue_seq, tick.value(0)));
        assert_eq!(rows.collect::<Vec<_>>(), [(1, 6, 1.5), (1, 6, 1.6), (1, 6, 1.7)]);
    }
}

#[test]
fn a_mark_has_both_prices_the_rate_and_the_next_funding() {
    let frame = r#"{"e":"markPriceUpdate","E":1723161256299,"s":"BTCUSDT","p":"61800.5","i":"61801.25","P":"0","r":"-0.00010000","T":1723190400000}"#;
    let tick = ticks(Venue::BinanceUsdm, frame)[0];
    assert_eq!((tick.kind, tick.flags), (kind::MARK, SINGLE));
    assert_eq!([0, 1, 2].map(|index| tick.value(index)), [61_800.5, 61_801.25, -0.0001]);
    assert_eq!(tick.values[3], 1_723_190_400_000_000_000);
    assert_eq!(
        tick.ts_event, 1_723_161_256_299_000_000,
        "E: T is the time of the next funding"
    );
    let delivery =
        r#"{"e":"markPriceUpdate","E":1723161256299,"s":"BTCUSD_250328","p":"61800.5","P":"0","r":"","T":0}"#;
    let tick = ticks(Venue::BinanceCoinm, delivery)[0];
    assert!(tick.value(1).is_nan() && tick.value(2).is_nan());
    assert_eq!(tick.values[3], 0);
}

#[test]
fn an_array_of_marks_is_a_mark_of_each_instrument_or_is_refused_as_a_whole() {
    let mark = |symbol: &str, price: &str| {
        format!(
            r#"{{"e":"markPriceUpdate","E":1723161256299,"s":"{symbol}","p":"{price}","i":"1.5","P":"0","r":"0.0001","T":0}}"#
        )
    };
    let both = format!("[{},{}]", mark("BTCUSDT", "61800.5"), mark("ETHUSDT", "2600.25"));
    let last_is_wrong = format!("[{},{}]", mark("BTCUSDT", "61800.5"), mark("ETHUSDT", "x"));
    for enveloped in [false, true] {
        let framed = |data: &str| {
            if enveloped {
                envelope("!markPrice@arr@1s", data)
            } else {
                data.into()
            }
        };
        let mut bench = Bench::new(Venue::BinanceUsdm);
        assert_eq!(bench.decode(framed(&both)), Outcome::Accepted(FrameType::MarkPrice));
        let rows = bench
            .ticks
            .iter()
            .map(|tick| (tick.instrument, tick.kind, tick.value(0), tick.flags));
        let expected = [(0, kind::MARK, 61_800.5, SINGLE), (1, kind::MARK, 2_600.25, SINGLE)];
        assert_eq!(rows.collect::<Vec<_>>(), expected);
        let mut bench = Bench::new(Venue::BinanceUsdm);
        assert_eq!(
            bench.decode(framed(&last_is_wrong)),
            Outcome::Rejected(RejectReason::BadNumber)
        );
        assert!(bench.ticks.is_empty(), "nothing was changed");
    }
}

#[test]
fn of_an_array_of_marks_those_that_are_not_configured_are_passed_over() {
    let mark = |symbol: &str| {
        format!(r#"{{"e":"markPriceUpdate","E":1723161256299,"s":"{symbol}","p":"2","i":"2","P":"0","r":"","T":0}}"#)
    };
    let mut bench = Bench::new(Venue::BinanceUsdm);
    bench.instruments = InstrumentTable::new(3, false);
    bench.instruments.add("ETHUSDT.BINANCE_USDM").unwrap();
    let frame = format!("[{},{},{}]", mark("BTCUSDT"), mark("ETHUSDT"), mark("SOLUSDT"));
    assert_eq!(bench.decode(frame), Outcome::Accepted(FrameType::MarkPrice));
    assert_eq!(bench.ticks.iter().map(|tick| tick.instrument).collect::<Vec<_>>(), [0]);
    let unknown = format!("[{}]", mark("BTCUSDT"));
    assert_eq!(
        bench.decode(unknown),
        Outcome::Rejected(RejectReason::UnknownInstrument)
    );
}

#[test]
fn a_liquidation_is_what_was_filled_on_the_orders_side() {
    let frame = |filled: &str| {
        format!(
            r#"{{"e":"forceOrder","E":1723161256299,"o":{{"s":"BTCUSDT","S":"SELL","o":"LIMIT","f":"IOC","q":"0.5","p":"9910","ap":"9900","X":"FILLED","l":"0.1","z":"{filled}","T":1723161256298}}}}"#
        )
    };
    let tick = ticks(Venue::BinanceUsdm, frame("0.25"))[0];
    assert_eq!((tick.kind, tick.side, tick.flags), (kind::LIQUIDATION, -1, SINGLE));
    assert_eq!((tick.value(0), tick.value(1)), (9_900.0, 0.25));
    assert_eq!(tick.ts_event, 1_723_161_256_298_000_000);
    let tick = ticks(Venue::BinanceUsdm, frame("0"))[0];
    assert_eq!((tick.value(0), tick.value(1)), (9_910.0, 0.5), "nothing was filled yet");
}

#[test]
fn open_interest_and_settled_funding_are_numbered_by_their_times() {
    let interest = r#"{"stream":"btcusdt@openInterest","data":{"symbol":"BTCUSDT","openInterest":"10659.509","time":1723161256298}}"#;
    let tick = ticks(Venue::BinanceUsdm, interest)[0];
    assert_eq!(
        (tick.kind, tick.venue_seq, tick.value(0)),
        (kind::OPEN_INTEREST, 1_723_161_256_298, 10_659.509)
    );
    let funding = r#"{"stream":"btcusdt@fundingRate","data":{"symbol":"BTCUSDT","fundingRate":"-0.0375","fundingTime":1723161600000,"markPrice":"34287.5"}}"#;
    let tick = ticks(Venue::BinanceUsdm, funding)[0];
    assert_eq!((tick.kind, tick.venue_seq), (kind::FUNDING, 1_723_161_600_000));
    assert_eq!((tick.value(0), tick.value(2)), (34_287.5, -0.0375));
    assert_eq!(tick.ts_event, 1_723_161_600_000_000_000);
}

#[test]
fn a_closed_candle_is_its_volume_then_its_prices() {
    let frame = |closed: bool, interval: &str| {
        format!(
            r#"{{"e":"kline","E":1723161300001,"s":"BTCUSDT","k":{{"t":1723161240000,"T":1723161299999,"s":"BTCUSDT","i":"{interval}","f":100,"L":200,"o":"1.5","c":"1.7","h":"1.9","l":"1.4","v":"1000.5","n":101,"x":{closed},"q":"1650","V":"500","Q":"800","B":"0"}}}}"#
        )
    };
    let [volume, prices] = ticks(Venue::Binance, frame(true, "1m"))[..] else {
        panic!("two ticks");
    };
    assert_eq!((volume.kind, prices.kind), (kind::KLINE_VOLUME, kind::KLINE));
    assert_eq!([0, 1, 2, 3].map(|index| prices.value(index)), [1.5, 1.9, 1.4, 1.7]);
    assert_eq!((volume.value(0), volume.value(1)), (1_000.5, 1_650.0));
    assert_eq!((volume.values[2], volume.values[3]), (101, 60_000_000_000));
    assert_eq!([volume.ts_event, prices.ts_event], [1_723_161_300_000_000_000; 2]);
    for ignored in [frame(false, "1m"), frame(true, "1M")] {
        assert!(matches!(outcome(Venue::Binance, &ignored), Outcome::Ignored(kline) if kline.name() == "kline"));
    }
}
