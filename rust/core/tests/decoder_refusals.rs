//! Why each refused frame is refused, and what each ignored one is called.

mod common;

use common::decoding::*;
use headrace_core::ingest::decode::{FrameType, Outcome, PassedOver, RejectReason};
use headrace_core::limits::FRAME_BYTES_MAX;
use headrace_core::market::instrument::{InstrumentTable, Venue};
use headrace_core::market::kind;

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
            if !["kline", "markPriceUpdate", "forceOrder"].contains(&event) {
                assert_eq!(ignored(venue, &frame), Some(event));
            }
            // Of arrays, only mark prices become ticks.
            if event == "markPriceUpdate" {
                assert_eq!(rejected(format!("[{frame}]")), Some("missing_field"));
                continue;
            }
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
