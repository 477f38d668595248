//! gzip by zlib-rs: nearly three times as fast as the zlib of CPython where the processor has AVX2, and no C.
//!
//! Guarantees: header, checksum and length of each member are checked; zero bytes between members are skipped, as gzip
//! itself does.
//! Does not: keep names, times or comments of headers.

use flate2::{Decompress, FlushDecompress, Status};

use super::Step;

/// The window of deflate, 32 KiB: there is no larger one.
const WINDOW_BITS: u8 = 15;

/// Unpacks members, one after the other.
pub struct Gzip {
    /// `None` between members.
    member: Option<Decompress>,
}

impl Gzip {
    pub(super) fn new() -> Self {
        Self { member: None }
    }

    pub(super) fn step(&mut self, input: &[u8], out: &mut [u8]) -> Step {
        if self.member.is_none() {
            let padding = input.iter().take_while(|&&byte| byte == 0).count();
            if padding > 0 || input.is_empty() {
                return Step {
                    read: padding,
                    ..Step::default()
                };
            }
        }
        let member = self.member.get_or_insert_with(|| Decompress::new_gzip(WINDOW_BITS));
        let (read, written) = (member.total_in(), member.total_out());
        let status = member.decompress(input, out, FlushDecompress::None);
        let step = Step {
            read: (member.total_in() - read) as usize,
            written: (member.total_out() - written) as usize,
            damage: status
                .as_ref()
                .err()
                .map(|error| error.message().unwrap_or("corrupt data").to_owned()),
        };
        if matches!(status, Ok(Status::StreamEnd)) {
            self.member = None;
        }
        step
    }

    pub(super) fn is_whole(&self) -> bool {
        self.member.is_none()
    }
}
