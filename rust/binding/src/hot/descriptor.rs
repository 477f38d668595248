//! A file descriptor that Python made, as a file of ours.
//!
//! Guarantees: the duplicate stays open until it is dropped, whatever Python does with the original.
#![allow(unsafe_code, reason = "the type system cannot know whether Python's number is open")]

use std::fs::File;
use std::os::fd::BorrowedFd;

/// A duplicate of an open descriptor.
pub(crate) fn duplicate(descriptor: i32) -> std::io::Result<File> {
    if descriptor < 0 {
        return Err(std::io::Error::from(std::io::ErrorKind::InvalidInput));
    }
    // SAFETY: not -1; were it not open, duplicating it fails with EBADF. It is borrowed for this call only.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    Ok(File::from(borrowed.try_clone_to_owned()?))
}
