//! The k-way merge of sources by receive time.

mod merge;
mod source;
mod times;

pub use merge::{Item, Merge, Origin, Payload, Peek, Step};
pub use source::Block;
