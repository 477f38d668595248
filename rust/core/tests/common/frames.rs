//! Generated frames of every type and venue, and ways to write or break one: all from a seed that is printed.

use headrace_core::market::instrument::Venue;

/// SplitMix64: small, and the same on every machine.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The seed is `HEADRACE_SEED`, else a fixed one; printed, so that a failure can be run again.
    pub fn new(test: &str) -> Self {
        let seed = std::env::var("HEADRACE_SEED")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(20_261_120);
        eprintln!("{test}: HEADRACE_SEED={seed}");
        Self(seed)
    }

    /// The numbers of one of many sessions of a test: each has its own.
    pub fn of_session(seed: u64, session: u64) -> Self {
        let mut all = Self(seed);
        Self(all.next() ^ session.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn one_in(&mut self, chance: usize) -> bool {
        self.below(chance) == 0
    }

    pub fn pick<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }
}

/// A key and the JSON text of its value.
type Field = (&'static str, String);

/// A decimal text: mostly as venues write them, sometimes at the edges of what is allowed, rarely beyond.
pub fn decimal(random: &mut Random) -> String {
    match random.below(40) {
        0 => "0.00000000".to_owned(),
        1 => format!("{}e-{}", random.next() % 1_000_000, random.below(12)),
        2 => format!("+{}E{}", random.next() % 1_000, random.below(5)),
        3 => format!("{}.{:020}", random.next(), random.next()),
        4 => format!("00{}.50", random.below(100)),
        5 => "-0.0".to_owned(),
        6 => random
            .pick(&[
                "-1.5", "NaN", "inf", "0x10", " 1", "1.", ".5", "", "1e999", "1e-999", "1_0", "1e", "--1",
            ])
            .to_owned(),
        7 => format!("{}.{}", random.next() >> 20, random.next() >> 20),
        8 => (random.next() >> random.below(64)).to_string(),
        _ => {
            let decimals = random.below(9);
            let unit = 10u64.pow(decimals as u32);
            let mantissa = random.next() >> (20 + random.below(40));
            match decimals {
                0 => mantissa.to_string(),
                _ => format!("{}.{:0decimals$}", mantissa / unit, mantissa % unit),
            }
        }
    }
}

fn text(random: &mut Random) -> String {
    format!("\"{}\"", decimal(random))
}

fn id(random: &mut Random) -> String {
    match random.below(30) {
        0 => "0".to_owned(),
        1 => u64::MAX.to_string(),
        2 => random
            .pick(&["-1", "1.0", "1e3", "18446744073709551616", "null", "\"7\"", "01"])
            .to_owned(),
        _ => (random.next() >> (4 + random.below(40))).to_string(),
    }
}

fn time(random: &mut Random) -> String {
    match random.below(20) {
        0 => (1_723_161_255_208_123 + random.next() % 1_000_000).to_string(),
        1 => random
            .pick(&[
                "0",
                "1723161255",
                "9999999999999",
                "1723161255208123456",
                "null",
                "true",
            ])
            .to_owned(),
        _ => (1_723_161_255_208 + random.next() % 1_000_000).to_string(),
    }
}

fn levels(random: &mut Random) -> String {
    let count = match random.below(4) {
        0 => 0,
        1 => random.below(40),
        _ => random.below(4),
    };
    let mut levels: Vec<String> = (0..count)
        .map(|_| format!("[{},{}]", text(random), text(random)))
        .collect();
    if random.one_in(40) {
        levels.push(
            random
                .pick(&[
                    "[]",
                    "[\"1\"]",
                    "[\"1\",\"2\",\"3\"]",
                    "[1,2]",
                    "{}",
                    "null",
                    "\"1\"",
                    "[[],[]]",
                ])
                .to_owned(),
        );
    }
    format!("[{}]", levels.join(","))
}

fn symbol(random: &mut Random) -> String {
    let symbol = match random.below(20) {
        0 => random
            .pick(&[
                "",
                "A B",
                "A*",
                "币安人生USDT",
                "BTC\\u0055SDT",
                "B\\\"Q",
                "BTCUSDT_250328",
                "a.b",
            ])
            .to_owned(),
        1 => "X".repeat(60 + random.below(10)),
        _ => random
            .pick(&["BTCUSDT", "ETHUSDT", "1000SATSUSDT", "BTCUSD_PERP"])
            .to_owned(),
    };
    format!("\"{symbol}\"")
}

fn bool(random: &mut Random) -> String {
    random
        .pick(&["true", "false", "true", "false", "true", "false", "true", "null", "1"])
        .to_owned()
}

/// The fields of a frame in the order in which the venue writes them.
fn fields(random: &mut Random, venue: Venue) -> Vec<Field> {
    let futures = venue != Venue::Binance;
    let mut fields: Vec<Field> = Vec::new();
    let event = |name: &str| ("e", format!("\"{name}\""));
    match random.below(16) {
        0..=2 => {
            if futures {
                fields.push(event("bookTicker"));
            }
            fields.extend([("u", id(random)), ("s", symbol(random))]);
            if venue == Venue::BinanceCoinm {
                fields.push(("ps", "\"BTCUSD\"".to_owned()));
            }
            fields.extend(["b", "B", "a", "A"].map(|key| (key, text(random))));
            if futures {
                fields.extend([("T", time(random)), ("E", time(random))]);
            }
        }
        3 | 4 => {
            fields.extend([event("trade"), ("E", time(random))]);
            if futures {
                fields.push(("T", time(random)));
            }
            fields.extend([
                ("s", symbol(random)),
                ("t", id(random)),
                ("p", text(random)),
                ("q", text(random)),
            ]);
            if futures {
                let execution = random.pick(&["\"MARKET\"", "\"MARKET\"", "\"MARKET\"", "\"INSURANCE_FUND\"", "1"]);
                fields.extend([("X", execution.to_owned()), ("m", bool(random))]);
            } else {
                if random.one_in(4) {
                    fields.extend([("b", id(random)), ("a", id(random))]);
                }
                fields.extend([("T", time(random)), ("m", bool(random)), ("M", bool(random))]);
            }
        }
        5 => {
            fields.extend([event("aggTrade"), ("E", time(random))]);
            let (name, number) = (("s", symbol(random)), ("a", id(random)));
            fields.extend(if venue == Venue::BinanceCoinm {
                [number, name]
            } else {
                [name, number]
            });
            fields.extend([("p", text(random)), ("q", text(random))]);
            if venue == Venue::BinanceUsdm && random.one_in(2) {
                fields.push(("nq", text(random)));
            }
            fields.extend([
                ("f", id(random)),
                ("l", id(random)),
                ("T", time(random)),
                ("m", bool(random)),
            ]);
            if !futures {
                fields.push(("M", bool(random)));
            }
        }
        6 | 7 => {
            fields.extend([event("depthUpdate"), ("E", time(random))]);
            if futures {
                fields.push(("T", time(random)));
            }
            fields.push(("s", symbol(random)));
            if venue == Venue::BinanceCoinm {
                fields.push(("ps", "\"BTCUSD\"".to_owned()));
            }
            fields.extend([("U", id(random)), ("u", id(random))]);
            if futures {
                fields.push(("pu", id(random)));
            }
            fields.extend([("b", levels(random)), ("a", levels(random))]);
        }
        8 => {
            fields.push(("lastUpdateId", id(random)));
            if futures {
                fields.extend([("E", time(random)), ("T", time(random))]);
            }
            if random.one_in(3) {
                fields.push(("symbol", symbol(random)));
            }
            fields.extend([("bids", levels(random)), ("asks", levels(random))]);
        }
        9 => {
            let quoted = |text: &str| format!("\"{text}\"");
            fields.extend([event("headraceStatus"), ("s", symbol(random))]);
            fields.push((
                "stream",
                quoted(random.pick(&["depth", "trade", "bookTicker", "aggTrade"])),
            ));
            fields.push(("state", quoted(random.pick(&["DOWN", "SILENT", "UP", "STALE", "UP"]))));
            fields.push(("reason", quoted(random.pick(&["RECONNECTED", "nonsense"]))));
            fields.extend([("epoch", id(random)), ("lost", bool(random))]);
        }
        10 => {
            fields.extend([event("markPriceUpdate"), ("E", time(random)), ("s", symbol(random))]);
            fields.extend(["p", "i", "P", "r"].map(|key| (key, text(random))));
            fields.push(("T", time(random)));
        }
        11 => {
            let side = random.pick(&["BUY", "SELL", "BUY", "SELL", "HOLD"]);
            let order = format!(
                r#"{{"s":{},"S":"{side}","q":{},"p":{},"ap":{},"z":{},"T":{}}}"#,
                symbol(random),
                text(random),
                text(random),
                text(random),
                text(random),
                time(random)
            );
            fields.extend([event("forceOrder"), ("E", time(random)), ("o", order)]);
        }
        12 => {
            let prices = ["o", "c", "h", "l", "v", "q"].map(|key| format!(r#""{key}":{}"#, text(random)));
            let candle = format!(
                r#"{{"t":{},"i":"{}",{},"n":{},"x":{}}}"#,
                time(random),
                random.pick(&["1s", "5m", "1h", "1d", "1w", "1m", "1M", "m"]),
                prices.join(","),
                id(random),
                bool(random)
            );
            fields.extend([
                event("kline"),
                ("E", time(random)),
                ("s", symbol(random)),
                ("k", candle),
            ]);
        }
        13 => fields.extend([
            ("symbol", symbol(random)),
            ("openInterest", text(random)),
            ("time", time(random)),
        ]),
        14 => fields.extend([
            ("symbol", symbol(random)),
            ("fundingRate", text(random)),
            ("fundingTime", time(random)),
            ("markPrice", text(random)),
        ]),
        _ => {
            let name = random.pick(&["kline", "24hrTicker", "forceOrder", "nonsense", "", "trade\\u0020"]);
            fields.extend([
                event(name),
                ("E", time(random)),
                ("s", symbol(random)),
                ("k", "{\"t\":[1,{}]}".to_owned()),
            ]);
        }
    }
    fields
}

fn object(fields: &[Field], blank: &str) -> String {
    let members: Vec<String> = fields
        .iter()
        .map(|(key, value)| format!("{blank}\"{key}\"{blank}:{blank}{value}"))
        .collect();
    format!("{{{}{blank}}}", members.join(","))
}

/// The pair and the type of the symbol, behind the symbol or at the end: rarely twice.
fn add_pair(random: &mut Random, fields: &mut Vec<Field>) {
    let Some(symbol) = fields.iter().position(|(key, _)| *key == "s") else {
        return;
    };
    let mut pair: Vec<Field> = vec![("ps", "\"BTCUSDT\"".to_owned()), ("st", "1".to_owned())];
    if random.one_in(3) {
        pair.remove(random.below(2));
    }
    if random.one_in(2) || random.one_in(8) {
        fields.splice(symbol + 1..symbol + 1, pair.clone());
    }
    if random.one_in(2) {
        fields.extend(pair);
    }
}

/// One frame, as the venue writes it or in another legal (rarely illegal) order or spelling.
pub fn frame(random: &mut Random, venue: Venue) -> Vec<u8> {
    let mut fields = fields(random, venue);
    if venue != Venue::Binance && random.one_in(3) {
        add_pair(random, &mut fields);
    }
    let mut blank = "";
    match random.below(8) {
        0 => {
            for place in (1..fields.len()).rev() {
                fields.swap(place, random.below(place + 1));
            }
        }
        1 => {
            let unknown = random.pick(&[
                "null",
                "[[],{\"a\":1}]",
                "\"\\\"}{\\u00e9\"",
                "1e999",
                "-0.0",
                "{\"e\":\"x\"}",
            ]);
            fields.insert(random.below(fields.len() + 1), ("zz", unknown.to_owned()));
        }
        2 => {
            let twice = fields[random.below(fields.len())].clone();
            fields.insert(random.below(fields.len() + 1), twice);
        }
        3 => {
            fields.remove(random.below(fields.len()));
        }
        4 => blank = random.pick(&[" ", "\t", "\n ", "\r"]),
        _ => {}
    }
    let inner = object(&fields, blank);
    let streams = [
        "btcusdt@trade",
        "btcusdt@depth@100ms",
        "btcusdt@depth5",
        "btcusdt@depth10@100ms",
        "btcusdt@rpiDepth@500ms",
        "币安@bookTicker",
        "a\\u0040depth5",
        "no-at",
    ];
    match random.below(6) {
        0 | 1 => inner.into_bytes(),
        2 => {
            let stream = streams[random.below(streams.len())];
            format!("{{\"data\":{inner},\"stream\":\"{stream}\"}}").into_bytes()
        }
        _ => {
            let stream = streams[random.below(streams.len())];
            format!("{{\"stream\":\"{stream}\",\"data\":{inner}}}").into_bytes()
        }
    }
}

/// The frame with one to three random wounds.
pub fn mutated(random: &mut Random, frame: &[u8]) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    for _ in 0..=random.below(3) {
        if bytes.is_empty() {
            bytes.push(b'{');
        }
        let place = random.below(bytes.len());
        match random.below(9) {
            0 => bytes.truncate(place),
            1 => bytes[place] = (random.next() & 0xff) as u8,
            2 => {
                bytes[place] = *random
                    .pick(&[b"\"", b"{", b"}", b"[", b"]", b",", b":", b"0", b"-", b"e", b"\\", b" "])
                    .first()
                    .unwrap()
            }
            3 => {
                bytes.remove(place);
            }
            4 => bytes.insert(place, b"\"{}[],:0123456789.-+eE\\ tfn\x00\xff"[random.below(29)]),
            5 => {
                let end = (place + random.below(40)).min(bytes.len());
                let piece = bytes[place..end].to_vec();
                let at = random.below(bytes.len());
                bytes.splice(at..at, piece);
            }
            6 => {
                let end = (place + random.below(40)).min(bytes.len());
                bytes.drain(place..end);
            }
            7 => {
                let word: &str = random.pick(&[
                    "null",
                    "-1",
                    "1e400",
                    "NaN",
                    "\"\"",
                    "[]",
                    "{}",
                    "[[[[[[[[[[[[[[[[[[",
                    "true",
                ]);
                let end = (place + random.below(12)).min(bytes.len());
                bytes.splice(place..end, word.bytes());
            }
            _ => bytes[place] ^= 1 << random.below(8),
        }
    }
    bytes
}
