//! zstd by its own library: four times as fast as the decoders in Rust alone.
//!
//! Guarantees: a block at a time, so that damage costs no block before it; a frame whose window exceeds
//! `limits::ZSTD_WINDOW_LOG_MAX` is refused before memory is taken for it.
//! Does not: use dictionaries.

use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, get_error_name};

use super::Step;
use crate::limits::ZSTD_WINDOW_LOG_MAX;

/// The longest header of a frame.
const HEADER_BYTES_MAX: usize = 18;

/// Unpacks frames, one after the other.
pub struct Zstd {
    context: DCtx<'static>,
    /// Bytes up to the next edge of a block, as the library says; 0 between frames.
    wanted: usize,
}

impl Zstd {
    pub(super) fn new() -> Self {
        let mut context = DCtx::create();
        context
            .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))
            .expect("a window that the library allows");
        Self { context, wanted: 0 }
    }

    pub(super) fn step(&mut self, input: &[u8], out: &mut [u8]) -> Step {
        let is_between = self.wanted == 0;
        if is_between && input.is_empty() {
            return Step::default();
        }
        let most = if is_between { HEADER_BYTES_MAX } else { self.wanted };
        let mut source = InBuffer::around(&input[..most.min(input.len())]);
        let mut target = OutBuffer::around(out);
        let left = self.context.decompress_stream(&mut target, &mut source);
        let (read, written) = (source.pos, target.pos());
        let damage = left.as_ref().err().map(|&code| get_error_name(code).to_owned());
        self.wanted = left.unwrap_or(1);
        Step { read, written, damage }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.wanted == 0
    }
}
