//! Unpack: the bytes of a recording out of gzip or zstd, a stretch at a time.
//!
//! ```text
//!   bytes of the file ─▶ by their first bytes: gzip · zstd · neither ─▶ bytes of the recording
//! ```
//! Guarantees: members and frames that follow each other are one stream; checksums are checked; what is whole before
//! damage is written before the damage is reported; memory is bounded, whatever the bytes say.
//! Does not: read files, or keep more than its own window.

mod gzip;
mod zstd;

use gzip::Gzip;
use zstd::Zstd;

/// Bytes of a file that decide how it is packed.
pub const MAGIC_BYTES: usize = 4;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: u32 = 0xfd2f_b528;
/// A frame without content, which parallel packers put first: the low four bits are theirs.
const ZSTD_SKIPPABLE: u32 = 0x184d_2a50;

/// What one step did.
#[derive(Debug, Default)]
pub struct Step {
    /// Bytes of the input that are done with.
    pub read: usize,
    /// Bytes written to the output, also where there is damage.
    pub written: usize,
    /// Why nothing more can come.
    pub damage: Option<String>,
}

/// Unpacks one file.
pub enum Unpacker {
    /// Neither: bytes pass as they are.
    Plain,
    /// RFC 1952.
    Gzip(Gzip),
    /// RFC 8878.
    Zstd(Zstd),
}

impl Unpacker {
    /// Chooses by the first bytes of the file, at least [`MAGIC_BYTES`] unless it is shorter.
    #[must_use]
    pub fn of(head: &[u8]) -> Self {
        if head.starts_with(&GZIP_MAGIC) {
            return Self::Gzip(Gzip::new());
        }
        match head.first_chunk().map(|&magic| u32::from_le_bytes(magic)) {
            Some(magic) if magic == ZSTD_MAGIC || magic & !0xf == ZSTD_SKIPPABLE => Self::Zstd(Zstd::new()),
            _ => Self::Plain,
        }
    }

    /// Unpacks from `input` into `out`. A step that neither reads nor writes needs more of one of them.
    pub fn step(&mut self, input: &[u8], out: &mut [u8]) -> Step {
        match self {
            Self::Plain => {
                let count = input.len().min(out.len());
                out[..count].copy_from_slice(&input[..count]);
                Step {
                    read: count,
                    written: count,
                    damage: None,
                }
            }
            Self::Gzip(gzip) => gzip.step(input, out),
            Self::Zstd(zstd) => zstd.step(input, out),
        }
    }

    /// Returns whether the file may end here.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        match self {
            Self::Plain => true,
            Self::Gzip(gzip) => gzip.is_whole(),
            Self::Zstd(zstd) => zstd.is_whole(),
        }
    }

    /// The name of the form, for an error's text.
    #[must_use]
    pub fn form(&self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Gzip(_) => "gzip",
            Self::Zstd(_) => "zstd",
        }
    }
}
