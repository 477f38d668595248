//! Recorded lines: receive time in ns, one blank, the frame's text.
//!
//! ```text
//!   1723161254087891268 {"stream":"btcusdt@bookTicker","data":{…}}\n
//! ```
//! Guarantees: every line that is not blank comes out once, in order, with its number; a bad one as it stands.
//! Does not: join lines across blocks (a block holds whole lines), or look into frames.

use crate::ingest::digits;

/// One recorded line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its number in the source, from 1; blank lines count.
    pub number: u64,
    /// Where it begins in the block.
    pub offset: usize,
    /// All of it, without its line end.
    pub bytes: &'a [u8],
    /// Receive time (ns since 1970-01-01 UTC) and frame; None when the line is bad
    /// ([`crate::ingest::decode::RejectReason::BadLine`]).
    pub parts: Option<(i64, &'a [u8])>,
}

/// The lines of a block.
#[derive(Clone, Debug)]
pub struct Lines<'a> {
    block: &'a [u8],
    at: usize,
    number: u64,
}

impl<'a> Lines<'a> {
    /// The lines of `block`, of which the first one is number `first_number`.
    #[must_use]
    pub fn new(block: &'a [u8], first_number: u64) -> Self {
        Self {
            block,
            at: 0,
            number: first_number,
        }
    }

    /// How many bytes of the block have been read.
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }

    /// The number of the next line.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        while self.at < self.block.len() {
            let rest = &self.block[self.at..];
            let end = memchr::memchr(b'\n', rest);
            let line = &rest[..end.unwrap_or(rest.len())];
            let (number, offset) = (self.number, self.at);
            self.at += line.len() + usize::from(end.is_some());
            self.number += 1;
            let bytes = line.strip_suffix(b"\r").unwrap_or(line);
            if !bytes.iter().all(u8::is_ascii_whitespace) {
                return Some(Line {
                    number,
                    offset,
                    bytes,
                    parts: split(bytes),
                });
            }
        }
        None
    }
}

/// Receive time and frame.
fn split(line: &[u8]) -> Option<(i64, &[u8])> {
    let (ts_init, len, rest) = digits::leading(line, digits::DIGITS_MAX)?;
    let frame = rest.strip_prefix(b" ")?;
    (len > 0 && !frame.is_empty()).then_some((i64::try_from(ts_init).ok()?, frame))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parts<'a> = Option<(i64, &'a [u8])>;

    #[test]
    fn every_line_comes_out_with_its_number_and_a_bad_one_as_it_stands() {
        let block = b"12 {}\r\n \t\r\n13 a b\nx {}\n14\n15 \n99999999999999999999 {}\n -1 {}\n16 last";
        let lines: Vec<_> = Lines::new(block, 7).map(|line| (line.number, line.parts)).collect();
        let expected: Vec<(u64, Parts)> = vec![
            (7, Some((12, b"{}"))),
            (9, Some((13, b"a b"))),
            (10, None),
            (11, None),
            (12, None),
            (13, None),
            (14, None),
            (15, Some((16, b"last"))),
        ];
        assert_eq!(lines, expected);
    }
}
