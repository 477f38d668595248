//! Every bound of the native core, with its unit and reason. `limits.py` reads them from here.

/// Kinds in the table, built-in and registered; a set of kinds is one `u64`.
pub const KINDS_MAX: usize = 64;
/// Instruments by default: three times what the largest venue lists.
pub const INSTRUMENTS_MAX: usize = 10_000;
/// The highest bound on instruments that an option may set: their tables then take some 10 MiB before the first one.
pub const INSTRUMENTS_MAX_MAX: usize = 1 << 24;
/// Bytes in a symbol: the longest listed ones have about 20.
pub const SYMBOL_BYTES_MAX: usize = 64;
/// Ring capacity by default, ticks: 5 MiB, over a second of the busiest recorded minute.
pub const RING_CAPACITY: usize = 65_536;
/// Bytes in a frame: a 5,000-level snapshot has 0.4 MiB.
pub const FRAME_BYTES_MAX: usize = 4 << 20;
/// Nesting in a frame: documented ones need 4.
pub const FRAME_DEPTH_MAX: usize = 16;
/// The window of a zstd frame, as a power of two of bytes: 128 MiB, which `zstd --long` uses and any reader must allow.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// How far a restored sequencer jumps, so that no number is ever given twice.
pub const RESTART_JUMP: u64 = 1 << 20;
/// Frames that a recording's venue is looked for in: a second of the quietest recorded minute.
pub const DETECT_FRAMES_MAX: usize = 1_000;
/// Gaps remembered for each stream, so that a number that comes after all is late and no duplicate.
pub const GAPS_KNOWN_MAX: usize = 1_024;
/// Level ticks that a book keeps until its snapshot comes: half a minute of the busiest recorded market.
pub const BOOK_KEPT_TICKS_MAX: usize = 100_000;
/// Late events in a row that fill no gap, after which the venue's numbers began anew.
pub const LATE_RUN_MAX: u32 = 1_000;
/// The same by the time of receipt, ns, whatever their number.
pub const LATE_RUN_NS: i64 = 10_000_000_000;
/// Ticks of a window that one call may hold: 72 MB.
pub const WINDOW_TICKS_MAX: usize = 1_000_000;
/// Empty bars in a row, after which a series waits for its next tick: a day of seconds.
pub const BARS_EMPTY_MAX: u32 = 100_000;
/// Closed bars of one kind that are kept for indicators: a week of minutes, 0.6 MB.
pub const BARS_HISTORY_MAX: usize = 10_000;
/// Above this a histogram counts without resolving: 68 s, twice the barrier's timeout.
pub const HISTOGRAM_MAX_NS: u64 = 1 << 36;

const _: () = assert!(HISTOGRAM_MAX_NS.is_power_of_two());
const _: () = assert!(RING_CAPACITY.is_power_of_two());
/// Rejected frames kept as dead letters.
pub const REJECTS_MAX: usize = 1_000;
/// Bytes of rejected frames kept as dead letters.
pub const REJECTS_BYTES_MAX: usize = 16 << 20;
