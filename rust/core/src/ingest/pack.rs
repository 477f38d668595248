//! Pack: bytes into frames of zstd, each with a checksum of what went in.
//!
//! Guarantees: a changed bit of a frame is noticed by whatever unpacks it; the same bytes, cut alike, make the same frame.
//! Does not: write files.

use zstd_safe::zstd_sys::ZSTD_EndDirective::{ZSTD_e_continue, ZSTD_e_end};
use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer};

/// Text of a venue's frames becomes hardly smaller by higher ones, which take three times as long.
const LEVEL: i32 = 3;

/// Packs one frame after the other.
pub struct ZstdPacker {
    context: CCtx<'static>,
}

impl Default for ZstdPacker {
    fn default() -> Self {
        let mut context = CCtx::create();
        for parameter in [CParameter::CompressionLevel(LEVEL), CParameter::ChecksumFlag(true)] {
            context
                .set_parameter(parameter)
                .expect("a value that the library allows");
        }
        Self { context }
    }
}

impl ZstdPacker {
    /// Packs more of a frame, and returns what of it is ready. `is_last`: the frame ends here, and the next call begins one.
    pub fn pack(&mut self, plain: &[u8], is_last: bool) -> Vec<u8> {
        let directive = if is_last { ZSTD_e_end } else { ZSTD_e_continue };
        let (mut input, mut packed) = (InBuffer::around(plain), Vec::new());
        let mut written = 0;
        loop {
            packed.resize(written + CCtx::out_size(), 0);
            let mut output = OutBuffer::around_pos(packed.as_mut_slice(), written);
            let left = self.context.compress_stream2(&mut output, &mut input, directive);
            let left = left.expect("memory for a frame");
            written = output.pos();
            if input.pos() == plain.len() && (left == 0 || !is_last) {
                packed.truncate(written);
                return packed;
            }
        }
    }
}
