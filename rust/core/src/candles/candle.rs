//! A candle as feeds hand it over: the 64 bytes of Python's `CANDLE_DTYPE`.

/// Bytes of one candle.
pub const CANDLE_BYTES: usize = 64;

/// From here on a number is written without an exponent.
const PLAIN_MIN: f64 = 1e-5;
/// Up to here.
const PLAIN_END: f64 = 1e16;

/// One interval of one instrument: times in ns since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Candle {
    /// When it begins.
    pub ts_open: i64,
    /// When it ends.
    pub ts_close: i64,
    /// The first price.
    pub open: f64,
    /// The highest price.
    pub high: f64,
    /// The lowest price.
    pub low: f64,
    /// The last price.
    pub close: f64,
    /// What was traded.
    pub volume: f64,
    /// Of how many trades it is made.
    pub count: i64,
}

impl Candle {
    /// Reads one candle, little endian.
    #[must_use]
    pub fn read(bytes: &[u8; CANDLE_BYTES]) -> Self {
        let (words, _) = bytes.as_chunks::<8>();
        let (whole, price) = (
            |at: usize| i64::from_le_bytes(words[at]),
            |at: usize| f64::from_le_bytes(words[at]),
        );
        Self {
            ts_open: whole(0),
            ts_close: whole(1),
            open: price(2),
            high: price(3),
            low: price(4),
            close: price(5),
            volume: price(6),
            count: whole(7),
        }
    }

    /// Appends its bytes, as `read` reads them.
    pub fn write(&self, out: &mut Vec<u8>) {
        for whole in [self.ts_open, self.ts_close] {
            out.extend_from_slice(&whole.to_le_bytes());
        }
        for price in [self.open, self.high, self.low, self.close, self.volume] {
            out.extend_from_slice(&price.to_le_bytes());
        }
        out.extend_from_slice(&self.count.to_le_bytes());
    }

    /// Whether all of its prices and its volume are written without an exponent, in which JSON's writers differ; those
    /// that JSON has not are none of them.
    #[inline]
    #[must_use]
    pub fn is_plain(&self) -> bool {
        [self.open, self.high, self.low, self.close, self.volume]
            .iter()
            .all(|number| *number == 0.0 || (PLAIN_MIN..PLAIN_END).contains(&number.abs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_as_they_were_written() {
        let candle = Candle {
            ts_open: -1,
            ts_close: 2,
            open: 3.5,
            high: f64::INFINITY,
            low: -0.0,
            close: 6.25,
            volume: 1e300,
            count: i64::MAX,
        };
        let mut bytes = Vec::new();
        candle.write(&mut bytes);
        assert_eq!(Candle::read(bytes[..].try_into().unwrap()), candle);
        assert!(!candle.is_plain());
        assert!(Candle::default().is_plain());
        let with = |volume| Candle {
            volume,
            ..Candle::default()
        };
        assert!([1e-5, 9.9e15, -3.5].iter().all(|number| with(*number).is_plain()));
        assert!([9e-6, 1e16, f64::NAN].iter().all(|number| !with(*number).is_plain()));
    }
}
