//! The words of a predicted frame: literals, texts, whole numbers and decimals, eight bytes a step.
//!
//! Guarantees: each word moves past exactly what it read, or answers None; a decimal has the bits that
//! [`number::parse`] gives it.
//! Does not: skip white space or read escapes.

use super::number::{self, EXACT_MANTISSA, Number, POW10};

/// Digits whose value surely fits a `u64`.
const DIGITS_MAX: usize = 18;

const fn powers_of_ten() -> [u64; DIGITS_MAX + 1] {
    let mut powers = [1; DIGITS_MAX + 1];
    let mut power = 1;
    while power <= DIGITS_MAX {
        powers[power] = powers[power - 1] * 10;
        power += 1;
    }
    powers
}

const POW10_U64: [u64; DIGITS_MAX + 1] = powers_of_ten();

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
            let mantissa = whole * POW10_U64[fraction_len] + fraction;
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
        let (mut value, mut len) = (0u64, 0usize);
        while let Some((chunk, rest)) = self.rest.split_first_chunk::<8>() {
            let digits = u64::from_le_bytes(*chunk) ^ ZEROS;
            let count = leading_digits(digits);
            if count < 8 {
                if count > 0 {
                    len += count;
                    if len > DIGITS_MAX {
                        return None;
                    }
                    value = value * POW10_U64[count] + value_of(digits << (64 - 8 * count));
                    self.rest = &self.rest[count..];
                }
                return Some((value, len));
            }
            len += 8;
            if len > DIGITS_MAX {
                return None;
            }
            value = value * POW10_U64[8] + value_of(digits);
            self.rest = rest;
        }
        // Fewer than eight bytes are left of the frame.
        while let Some((&byte @ b'0'..=b'9', rest)) = self.rest.split_first() {
            len += 1;
            if len > DIGITS_MAX {
                return None;
            }
            value = value * 10 + u64::from(byte - b'0');
            self.rest = rest;
        }
        Some((value, len))
    }
}

/// `0` in every byte.
const ZEROS: u64 = u64::from_le_bytes([b'0'; 8]);
const LOW_BITS: u64 = u64::from_le_bytes([1; 8]);
const HIGH_BITS: u64 = u64::from_le_bytes([0x80; 8]);

/// How many bytes, from the first, are digits, of eight bytes that were xor-ed with `ZEROS`.
#[inline(always)]
fn leading_digits(digits: u64) -> usize {
    // A digit is at most 9, and 9 + 0x76 just keeps the high bit clear. Carries come only from what is no digit, and
    // disturb only bytes behind it.
    let others = (digits.wrapping_add(LOW_BITS * 0x76) | digits) & HIGH_BITS;
    (others.trailing_zeros() / 8) as usize
}

/// The value of eight digits, the first in the lowest byte: pairs, then fours, then all eight.
#[inline(always)]
fn value_of(digits: u64) -> u64 {
    let pairs = digits.wrapping_mul(10 * 256 + 1) >> 8 & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100 * 65_536 + 1) >> 16 & 0x0000_ffff_0000_ffff;
    fours.wrapping_mul(10_000 * 4_294_967_296 + 1) >> 32
}

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
                let digits = leading_digits(u64::from_le_bytes([b'7'; 8]) ^ ZEROS);
                assert_eq!(digits, 8);
                bytes = [b'9'; 8];
                bytes[place] = byte;
                let expected = if byte.is_ascii_digit() { 8 } else { place };
                assert_eq!(
                    leading_digits(u64::from_le_bytes(bytes) ^ ZEROS),
                    expected,
                    "{byte:#x} at {place}"
                );
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
