//! Decimal texts to doubles, correctly rounded, and venue times to nanoseconds.
//!
//! ```text
//!   [+-] digits [. digits] [e|E [+-] digits]      nothing else: no NaN, inf, hex, blanks, bare points
//! ```
//! Guarantees: the nearest double of the text; `inexact` exactly when it has over 15 significant digits (leading and
//! trailing zeros aside); no overflow to infinity and no underflow: both are refused. `-0` is 0.
//! Does not: accept negative values, but by `parse_signed`.

use crate::ingest::decode::RejectReason;

/// Digits that every double can carry and give back.
const EXACT_DIGITS: usize = 15;
/// The first mantissa with more digits than that.
pub(super) const EXACT_MANTISSA: u64 = 10u64.pow(EXACT_DIGITS as u32);
/// Powers of ten that a double holds exactly.
pub(super) const POW10: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// A price or size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Number {
    /// The double, as bits.
    pub(super) bits: u64,
    /// The text had more significant digits than a double can give back.
    pub(super) inexact: bool,
}

impl Number {
    /// What the venue did not say.
    pub(super) const NAN: Self = Self {
        bits: f64::NAN.to_bits(),
        inexact: false,
    };
}

/// Reads a whole text.
pub(super) fn parse(text: &[u8]) -> Result<Number, RejectReason> {
    let (negative, digits_from) = match text.first() {
        Some(b'-') => (true, 1),
        Some(b'+') => (false, 1),
        _ => (false, 0),
    };
    let body = &text[digits_from..];
    let whole = leading_digits(body);
    let mut rest = &body[whole..];
    let mut fraction: &[u8] = &[];
    if let Some((b'.', after)) = rest.split_first() {
        fraction = &after[..leading_digits(after)];
        rest = &after[fraction.len()..];
        if fraction.is_empty() {
            return Err(RejectReason::BadNumber);
        }
    }
    if let Some((b'e' | b'E', after)) = rest.split_first() {
        let unsigned = match after.split_first() {
            Some((b'-' | b'+', unsigned)) => unsigned,
            _ => after,
        };
        if unsigned.is_empty() {
            return Err(RejectReason::BadNumber);
        }
        rest = &unsigned[leading_digits(unsigned)..];
    }
    if whole == 0 || !rest.is_empty() {
        return Err(RejectReason::BadNumber);
    }
    let significant = significant_digits(&body[..whole], fraction);
    // A text of zeros is 0 whatever its exponent, and has no sign.
    if significant == 0 {
        return Ok(Number::default());
    }
    if negative {
        return Err(RejectReason::Negative);
    }
    let value: f64 = fast_float2::parse(body).map_err(|_| RejectReason::BadNumber)?;
    if !value.is_normal() {
        return Err(RejectReason::BadNumber);
    }
    Ok(Number {
        bits: value.to_bits(),
        inexact: significant > EXACT_DIGITS,
    })
}

/// Reads a whole text that may be below zero, as a rate may.
pub(super) fn parse_signed(text: &[u8]) -> Result<Number, RejectReason> {
    match text.split_first() {
        Some((b'-', digits)) if digits.first().is_some_and(u8::is_ascii_digit) => {
            let positive = parse(digits)?;
            let sign = u64::from(positive.bits != 0) << 63;
            Ok(Number {
                bits: positive.bits | sign,
                ..positive
            })
        }
        _ => parse(text),
    }
}

/// A venue time as ns: 13 digits are ms, 16 are us.
pub(super) fn time_ns(time: u64) -> Result<i64, RejectReason> {
    let unit_ns = match time {
        1_000_000_000_000..=9_999_999_999_999 => 1_000_000,
        1_000_000_000_000_000..=9_999_999_999_999_999 => 1_000,
        _ => return Err(RejectReason::BadTime),
    };
    i64::try_from(time)
        .ok()
        .and_then(|time| time.checked_mul(unit_ns))
        .ok_or(RejectReason::BadTime)
}

fn leading_digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

fn significant_digits(whole: &[u8], fraction: &[u8]) -> usize {
    let digits = || whole.iter().chain(fraction);
    let Some(first) = digits().position(|&digit| digit != b'0') else {
        return 0;
    };
    let trailing = digits().rev().take_while(|&&digit| digit == b'0').count();
    whole.len() + fraction.len() - first - trailing
}
