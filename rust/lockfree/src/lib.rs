//! Memory shared between threads: the ring, its gating, waiting, snapshot cells.
//!
//! ```text
//!   Writer ─▶ Slots ─▶ Reader (gated: the writer waits for it · lossy: it may be lapped, and learns by how much)
//!     ▲                  │
//!     └──── Gating ◀─────┘ released positions
//! ```
//! Guarantees: every access to shared memory is an atomic with a stated partner (`docs/memory-model.md`), shown by the
//! loom models in `tests/loom_*.rs`; nothing is allocated, locked or fenced sequentially on the hot path.
//! Does not: interpret a record, read a wall clock, or start a thread.

mod block;
mod gating;
mod mailbox;
mod reader;
mod ring;
mod slots;
pub mod snapshot_cell;
mod sync;
pub mod wait;
mod writer;

pub use gating::ReaderId;
pub use mailbox::Mailbox;
pub use reader::{RELEASE_CHUNK_MAX, Read, Reader};
pub use ring::{Ring, RingError};
pub use snapshot_cell::SnapshotCell;
pub use wait::{BoundedSpin, Park, Parker, WAIT_MAX, WaitStrategy, Wakeup, Yield};
pub use writer::Writer;
