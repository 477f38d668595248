//! The words of a predicted frame: literals, texts, whole numbers and decimals, eight bytes a step.
//!
//! Guarantees: each word moves past exactly what it read, or answers None; a decimal has the bits that
//! [`number::parse`] gives it.
//! Does not: skip white space or read escapes.

use super::number::{self, EXACT_MANTISSA, Number, POW10};
use crate::ingest::digits;

/// Digits of a decimal whose mantissa surely fits a `u64`.
const DIGITS_MAX: usize = 18;

/// What is left of a frame.
pub(super) struct Scan<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Scan<'a> {
    /// Moves past a literal.
    #[inline(always)]
    pub(super) fn lit<const N: usize>(&mut self, literal: &[u8; N]) -> Option<()> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        (head == literal).then(|| self.rest = rest)
    }

    /// The inside of a string up to its closing quote, which stays. No escapes, no control characters; UTF-8.
    #[inline(always)]
    pub(super) fn text(&mut self) -> Option<&'a [u8]> {
        let all = self.rest;
        let mut len = 0;
        loop {
            let Some(chunk) = all[len..].first_chunk::<8>() else {
                len += all[len..].iter().position(|byte| ends_plain_text(*byte))?;
                break;
            };
            let found = ends_of_plain_text(u64::from_le_bytes(*chunk));
            if found != 0 {
                len += (found.trailing_zeros() / 8) as usize;
                break;
            }
            len += 8;
        }
        if all[len] != b'"' {
            // Beyond ASCII: some symbols are.
            len += all[len..].iter().position(|&byte| byte == b'"')?;
            let text = std::str::from_utf8(&all[..len]).ok()?;
            if text.bytes().any(|byte| byte < b' ' || byte == b'\\') {
                return None;
            }
        }
        self.rest = &all[len..];
        Some(&all[..len])
    }

    /// A whole number as JSON writes it.
    #[inline(always)]
    pub(super) fn whole(&mut self) -> Option<u64> {
        let leading_zero = *self.rest.first()? == b'0';
        let (value, len) = self.digits()?;
        (len > 0 && !(leading_zero && len > 1)).then_some(value)
    }

    /// A venue time, ns.
    #[inline(always)]
    pub(super) fn time(&mut self) -> Option<i64> {
        number::time_ns(self.whole()?).ok()
    }

    /// A decimal up to its closing quote, which stays.
    #[inline(always)]
    pub(super) fn number(&mut self) -> Option<Number> {
        let all = self.rest;
        let (whole, whole_len) = self.digits()?;
        let (fraction, fraction_len) = if self.lit(b".").is_some() {
            let (fraction, len) = self.digits()?;
            (len > 0).then_some((fraction, len))?
        } else {
            (0, 0)
        };
        if whole_len == 0 || *self.rest.first()? != b'"' {
            return None;
        }
        if whole_len + fraction_len <= DIGITS_MAX {
            let mantissa = whole * digits::POW10[fraction_len] + fraction;
            if mantissa < EXACT_MANTISSA {
                // Both are exact doubles, so the quotient is the correctly rounded value of the text.
                let value = mantissa.cast_signed() as f64 / POW10[fraction_len];
                return Some(Number {
                    bits: value.to_bits(),
                    inexact: false,
                });
            }
        }
        number::parse(&all[..all.len() - self.rest.len()]).ok()
    }

    /// A run of digits: its value and length. None when it is too long for this way.
    #[inline(always)]
    pub(super) fn digits(&mut self) -> Option<(u64, usize)> {
        let (value, len, rest) = digits::leading(self.rest, DIGITS_MAX)?;
        self.rest = rest;
        Some((value, len))
    }
}

const LOW_BITS: u64 = u64::from_le_bytes([1; 8]);
const HIGH_BITS: u64 = u64::from_le_bytes([0x80; 8]);

/// True for a quote, a backslash, a control character, and what is beyond ASCII.
#[inline(always)]
fn ends_plain_text(byte: u8) -> bool {
    byte == b'"' || byte == b'\\' || !(b' '..0x80).contains(&byte)
}

/// The high bit of each such byte; the lowest one found is exact, those behind it need not be.
#[inline(always)]
fn ends_of_plain_text(word: u64) -> u64 {
    let control = word.wrapping_sub(LOW_BITS * 0x20);
    let quote = (word ^ (LOW_BITS * b'"' as u64)).wrapping_sub(LOW_BITS);
    let backslash = (word ^ (LOW_BITS * b'\\' as u64)).wrapping_sub(LOW_BITS);
    (control | quote | backslash | word) & HIGH_BITS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_byte_ends_plain_text_in_a_word_as_it_does_alone() {
        for byte in 0..=u8::MAX {
            for place in 0..8 {
                let mut bytes = [b'x'; 8];
                bytes[place] = byte;
                let found = ends_of_plain_text(u64::from_le_bytes(bytes));
                let expected = if ends_plain_text(byte) { place } else { 8 };
                assert_eq!((found.trailing_zeros() / 8) as usize, expected, "{byte:#x} at {place}");
            }
        }
    }

    proptest! {
        #[test]
        fn decimals_have_the_bits_of_the_standard_library(text in "[0-9]{1,12}(\\.[0-9]{1,10})?") {
            let quoted = format!("{text}\"");
            let mut scan = Scan { rest: quoted.as_bytes() };
            let truth: f64 = text.parse().unwrap();
            if let Some(number) = scan.number() {
                prop_assert_eq!(number.bits, truth.to_bits());
                prop_assert_eq!(Ok(number), number::parse(text.as_bytes()));
            } else {
                prop_assert!(text.len() > DIGITS_MAX);
            }
        }
    }
}
