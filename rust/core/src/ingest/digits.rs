//! Runs of decimal digits, eight a step.
//!
//! Guarantees: exact up to [`DIGITS_MAX`] digits, which is what a `u64` surely holds.
//! Does not: read signs, points or exponents.

/// Digits whose value surely fits a `u64`.
pub(crate) const DIGITS_MAX: usize = 19;

/// Powers of ten.
pub(crate) const POW10: [u64; DIGITS_MAX + 1] = {
    let mut powers = [1; DIGITS_MAX + 1];
    let mut power = 1;
    while power <= DIGITS_MAX {
        powers[power] = powers[power - 1] * 10;
        power += 1;
    }
    powers
};

/// The digits that `text` begins with: their value, how many, and what follows them. None when they are more than
/// `max`, which is at most [`DIGITS_MAX`].
#[inline(always)]
pub(crate) fn leading(text: &[u8], max: usize) -> Option<(u64, usize, &[u8])> {
    debug_assert!(max <= DIGITS_MAX);
    let (mut value, mut len, mut rest) = (0u64, 0usize, text);
    while let Some((chunk, behind)) = rest.split_first_chunk::<8>() {
        let digits = u64::from_le_bytes(*chunk) ^ ZEROS;
        let count = count_of(digits);
        len += count;
        if len > max {
            return None;
        }
        if count < 8 {
            if count > 0 {
                value = value * POW10[count] + value_of(digits << (64 - 8 * count));
                rest = &rest[count..];
            }
            return Some((value, len, rest));
        }
        value = value * POW10[8] + value_of(digits);
        rest = behind;
        // Eight is what many venues write behind the point: one look saves a step.
        if !rest.first().is_some_and(u8::is_ascii_digit) {
            return Some((value, len, rest));
        }
    }
    // Fewer than eight bytes are left.
    while let Some((&byte @ b'0'..=b'9', behind)) = rest.split_first() {
        len += 1;
        if len > max {
            return None;
        }
        value = value * 10 + u64::from(byte - b'0');
        rest = behind;
    }
    Some((value, len, rest))
}

/// `0` in every byte.
const ZEROS: u64 = u64::from_le_bytes([b'0'; 8]);
const LOW_BITS: u64 = u64::from_le_bytes([1; 8]);
const HIGH_BITS: u64 = u64::from_le_bytes([0x80; 8]);

/// How many bytes, from the first, are digits, of eight bytes that were xor-ed with `ZEROS`.
#[inline(always)]
fn count_of(digits: u64) -> usize {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_byte_is_a_digit_or_ends_the_run() {
        for byte in 0..=u8::MAX {
            for place in 0..8 {
                let mut bytes = [b'9'; 8];
                bytes[place] = byte;
                let expected = if byte.is_ascii_digit() { 8 } else { place };
                assert_eq!(
                    count_of(u64::from_le_bytes(bytes) ^ ZEROS),
                    expected,
                    "{byte:#x} at {place}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn a_run_has_the_value_of_the_standard_library(digits in "[0-9]{0,21}", rest in "([^0-9].{0,12})?") {
            let text = format!("{digits}{rest}");
            for max in [18, DIGITS_MAX] {
                let value = digits.parse().unwrap_or(0);
                let expected = (digits.len() <= max).then_some((value, digits.len(), rest.as_bytes()));
                prop_assert_eq!(leading(text.as_bytes(), max), expected);
            }
        }
    }
}
