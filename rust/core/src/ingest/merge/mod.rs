//! The k-way merge of sources by receive time.

mod merge;
mod source;

pub use merge::{Item, Merge, Payload, Peek, Step};
pub use source::Block;
