//! The input hash: SHA-256 over published ticks in position order.
//!
//! ```text
//!   per tick, little endian: len(instrument) u16 | instrument text | kind u8 | side i8 | flags u16 |
//!                            seq u64 | venue_seq u64 | ts_event i64 | ts_init i64 | four value words
//! ```
//! Guarantees: equal for every capacity, policy, process and byte order; no two streams of ticks share the bytes
//! hashed.
//! Does not: depend on instrument ids, only on their names.

use crate::market::tick::Tick;
use sha2::{Digest, Sha256};

/// Bytes gathered before the digest takes them.
const BUFFER_BYTES: usize = 8 << 10;

/// A running SHA-256 of bytes that come in small pieces.
#[derive(Clone, Debug)]
pub struct PiecesHash {
    digest: Sha256,
    buffer: Vec<u8>,
}

impl Default for PiecesHash {
    fn default() -> Self {
        Self {
            digest: Sha256::new(),
            buffer: Vec::with_capacity(BUFFER_BYTES + 1_024),
        }
    }
}

impl PiecesHash {
    /// Has a function append the next bytes.
    #[inline]
    pub fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.buffer);
        if self.buffer.len() >= BUFFER_BYTES {
            self.digest.update(&self.buffer);
            self.buffer.clear();
        }
    }

    /// Takes many bytes at once, where they lie.
    pub fn update(&mut self, bytes: &[u8]) {
        self.digest.update(&self.buffer);
        self.buffer.clear();
        self.digest.update(bytes);
    }

    /// The hash of everything so far, in lower-case hex.
    #[must_use]
    pub fn hex(&self) -> String {
        let mut digest = self.digest.clone();
        digest.update(&self.buffer);
        digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A running hash of ticks.
#[derive(Clone, Debug, Default)]
pub struct InputHash(PiecesHash);

impl InputHash {
    /// Takes one tick and its instrument's name (empty for a tick of no instrument).
    pub fn update(&mut self, tick: &Tick, instrument: &str) {
        // Names have at most two parts of SYMBOL_BYTES_MAX bytes and a dot.
        let len = u16::try_from(instrument.len()).unwrap_or(u16::MAX);
        let mut record = [0u8; 68];
        record[0] = tick.kind;
        record[1..2].copy_from_slice(&tick.side.to_le_bytes());
        record[2..4].copy_from_slice(&tick.flags.to_le_bytes());
        let words = [
            tick.seq,
            tick.venue_seq,
            tick.ts_event.cast_unsigned(),
            tick.ts_init.cast_unsigned(),
            tick.values[0],
            tick.values[1],
            tick.values[2],
            tick.values[3],
        ];
        for (place, word) in record[4..].chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        self.0.append(|buffer| {
            buffer.extend_from_slice(&len.to_le_bytes());
            buffer.extend_from_slice(instrument.as_bytes());
            buffer.extend_from_slice(&record);
        });
    }

    /// The hash of everything so far, in lower-case hex.
    #[must_use]
    pub fn hex(&self) -> String {
        self.0.hex()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_changes_the_hash_and_the_instrument_id_does_not() {
        let hash = |tick: &Tick, name: &str| {
            let mut hash = InputHash::default();
            hash.update(tick, name);
            hash.hex()
        };
        let base = Tick::default();
        let same = hash(&base, "A.B");
        assert_eq!(hash(&Tick { instrument: 7, ..base }, "A.B"), same);
        let mut values = [0; 4];
        values[3] = 1;
        let others = [
            Tick { seq: 1, ..base },
            Tick { venue_seq: 1, ..base },
            Tick { ts_event: 1, ..base },
            Tick { ts_init: 1, ..base },
            Tick { kind: 1, ..base },
            Tick { side: -1, ..base },
            Tick { flags: 1, ..base },
            Tick { values, ..base },
        ];
        for other in others {
            assert_ne!(hash(&other, "A.B"), same, "{other:?}");
        }
        assert_ne!(hash(&base, "A.C"), same);
    }

    #[test]
    fn the_bytes_hashed_are_those_of_the_header() {
        let tick = Tick {
            seq: 2,
            venue_seq: 3,
            ts_event: -4,
            ts_init: 5,
            instrument: 6,
            kind: 7,
            side: -1,
            flags: 0x0908,
            values: [10, 11, 12, 13],
        };
        let mut bytes = vec![3, 0, b'A', b'.', b'B', 7, 0xff, 8, 9];
        for word in [2i64, 3, -4, 5, 10, 11, 12, 13] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        let (mut once, mut many) = (InputHash::default(), InputHash::default());
        once.update(&tick, "A.B");
        let expected: String = Sha256::digest(&bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(once.hex(), expected);
        for _ in 0..1_000 {
            many.update(&tick, "A.B");
        }
        let expected: String = Sha256::digest(bytes.repeat(1_000))
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(many.hex(), expected, "over several buffers");
    }
}
