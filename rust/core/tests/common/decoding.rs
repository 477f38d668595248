//! One frame of each type, and a decoder to put them through.

use headrace_core::ingest::decode::{Decoder, Outcome};
use headrace_core::market::instrument::{InstrumentTable, Venue};
use headrace_core::market::tick::{Tick, flags};

pub const SINGLE: u16 = flags::FIRST_IN_EVENT | flags::LAST_IN_EVENT;
pub const TRADE: &str = r#"{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":7,"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}"#;
pub const USDM_TRADE: &str = r#"{"e":"trade","E":1723161256322,"T":1723161256321,"s":"BTCUSDT","t":8,"p":"61800.30","q":"0.006","X":"MARKET","m":false}"#;
pub const QUOTE: &str = r#"{"u":9,"s":"BTCUSDT","b":"1.5","B":"2.5","a":"1.6","A":"3.5"}"#;
pub const DEPTH: &str = r#"{"e":"depthUpdate","E":1723161255208,"s":"BTCUSDT","U":5,"u":6,"b":[["1.5","2"],["1.4","0"]],"a":[["1.6","3"]]}"#;
pub const SNAPSHOT: &str = r#"{"lastUpdateId":6,"bids":[["1.5","2"]],"asks":[["1.6","3"],["1.7","4"]]}"#;

pub struct Bench {
    pub decoder: Decoder,
    pub instruments: InstrumentTable,
    pub ticks: Vec<Tick>,
}

impl Bench {
    pub fn new(venue: Venue) -> Self {
        Self {
            decoder: Decoder::new(venue),
            instruments: InstrumentTable::new(3, true),
            ticks: Vec::new(),
        }
    }

    pub fn decode(&mut self, frame: impl AsRef<[u8]>) -> Outcome {
        self.ticks.clear();
        self.decoder
            .decode(frame.as_ref(), 42, &mut self.instruments, &mut self.ticks)
    }
}

pub fn outcome(venue: Venue, frame: impl AsRef<[u8]>) -> Outcome {
    Bench::new(venue).decode(frame)
}

pub fn rejected(frame: impl AsRef<[u8]>) -> Option<&'static str> {
    match outcome(Venue::Binance, frame) {
        Outcome::Rejected(reason) => Some(reason.name()),
        _ => None,
    }
}

pub fn ignored(venue: Venue, frame: impl AsRef<[u8]>) -> Option<&'static str> {
    match outcome(venue, frame) {
        Outcome::Ignored(ignored) => Some(ignored.name()),
        _ => None,
    }
}

pub fn envelope(stream: &str, data: &str) -> String {
    format!(r#"{{"stream":"{stream}","data":{data}}}"#)
}

pub fn ticks(venue: Venue, frame: impl AsRef<[u8]>) -> Vec<Tick> {
    let mut bench = Bench::new(venue);
    assert!(matches!(bench.decode(frame), Outcome::Accepted(_)));
    bench.ticks
}
