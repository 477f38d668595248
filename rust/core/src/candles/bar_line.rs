//! A closed candle as the line that an audit has of its bar.
//!
//! ```text
//!   {"type":"Bar","source":"","ts": │ts_close│ ,"run_id":"","cause":{…,"first": │number│ … ,"open": │open│ …
//!   ╰────────── literal ──────────╯          ╰────────────── literal ────────╯
//! ```
//! Guarantees: the numbers are written as Python's encoder writes them, which a test compares.
//! Does not: know how a bar is encoded: the literals come from an encoded one.

use serde::Serialize;

use super::{Candle, Taken};

/// A number between two literals, by its place in the list that Python gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// When it closed.
    TsClose,
    /// When it opened.
    TsOpen,
    /// Its number in its stream.
    Number,
    /// How many trades it has.
    Count,
    /// A price.
    Open,
    /// A price.
    High,
    /// A price.
    Low,
    /// A price.
    Close,
    /// What was traded.
    Volume,
    /// Whether its interval is not whole.
    Partial,
}

impl Part {
    /// A part by its name in Python; `None`: there is no such part.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "ts_close" => Self::TsClose,
            "ts_open" => Self::TsOpen,
            "number" => Self::Number,
            "count" => Self::Count,
            "open" => Self::Open,
            "high" => Self::High,
            "low" => Self::Low,
            "close" => Self::Close,
            "volume" => Self::Volume,
            "partial" => Self::Partial,
            _ => return None,
        })
    }
}

/// The line of the bars of one stream.
#[derive(Debug, Default)]
pub struct BarLine {
    /// A literal, and what comes behind it.
    parts: Vec<(Box<[u8]>, Part)>,
    end: Box<[u8]>,
}

impl BarLine {
    /// `parts`: literals, each with what comes behind it. `end`: the last literal.
    #[must_use]
    pub fn new(parts: Vec<(Box<[u8]>, Part)>, end: Box<[u8]>) -> Self {
        Self { parts, end }
    }

    /// Appends the line of a candle whose numbers are plain (`Candle::is_plain`).
    pub fn write(&self, taken: &Taken, partial: bool, out: &mut Vec<u8>) {
        let Taken { number, candle, .. } = taken;
        debug_assert!(candle.is_plain(), "JSON has no other numbers");
        // Where the line has it already: a line has its time thrice.
        let mut close_at = None;
        for (literal, part) in &self.parts {
            out.extend_from_slice(literal);
            match (part, close_at.clone()) {
                (Part::TsClose, Some(known)) => out.extend_from_within(known),
                (Part::TsClose, None) => {
                    let start = out.len();
                    write_number(candle.ts_close, out);
                    close_at = Some(start..out.len());
                }
                (Part::TsOpen, _) => write_number(candle.ts_open, out),
                (Part::Number, _) => write_number(number, out),
                (Part::Count, _) => write_number(candle.count, out),
                (Part::Partial, _) => out.extend_from_slice(if partial { b"true" } else { b"false" }),
                (part, _) => write_number(price(candle, *part), out),
            }
        }
        out.extend_from_slice(&self.end);
    }
}

fn price(candle: &Candle, part: Part) -> f64 {
    match part {
        Part::Open => candle.open,
        Part::High => candle.high,
        Part::Low => candle.low,
        Part::Close => candle.close,
        _ => candle.volume,
    }
}

/// Appends a number as JSON has it.
fn write_number(number: impl Serialize, out: &mut Vec<u8>) {
    // Writing to memory never fails.
    let _ = serde_json::to_writer(out, &number);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_between_the_literals() {
        let parts = vec![
            (b"{\"ts\":".as_slice().into(), Part::TsClose),
            (b",\"n\":".as_slice().into(), Part::Number),
            (b",\"v\":".as_slice().into(), Part::Volume),
            (b",\"p\":".as_slice().into(), Part::Partial),
            (b",\"again\":".as_slice().into(), Part::TsClose),
        ];
        let line = BarLine::new(parts, b"}\n".as_slice().into());
        let candle = Candle {
            ts_close: i64::MIN,
            volume: 1e15,
            ..Candle::default()
        };
        let taken = Taken {
            stream: 0,
            number: 10,
            candle,
        };
        let mut out = Vec::new();
        line.write(&taken, true, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"ts\":-9223372036854775808,\"n\":10,\"v\":1000000000000000.0,\"p\":true,\"again\":-9223372036854775808}\n"
        );
    }
}
