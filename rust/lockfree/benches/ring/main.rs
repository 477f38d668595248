//! The ring against `disruptor` and `rtrb`, in one process, interleaved: ratios, not absolute times, are the result.
//!
//! ```text
//!   one_to_one          writer ─▶ reader             56 bytes (one line) and 72 (a tick), batches of 1, 16, 256
//!   one_to_two_on_two   writer ─▶ reader, reader     three threads on two cores: ours parks, the peer spins
//! ```
//! Each contender runs once per round, in rotated order, on a warm ring; a row is the median of its rounds and the
//! median of the per-round ratios. A slice in which the system took a core away is run again; a round with a slice that
//! would not come out clean is thrown away, and counted. Every reader adds up every word it gets, and the sum is
//! asserted before a time counts. One JSON line per case. `HEADRACE_BENCH_QUICK=1` runs fewer rounds.
//!
//! Not claimed: latency, more than one writer, cores that share no cache, or anything from a single absolute number.

#[cfg(not(loom))]
mod cases;
#[cfg(not(loom))]
mod contenders;
#[cfg(not(loom))]
mod slice;

#[cfg(loom)]
fn main() {}

#[cfg(not(loom))]
fn main() {
    let quick = std::env::var("HEADRACE_BENCH_QUICK").is_ok_and(|value| value == "1");
    let only = std::env::var("HEADRACE_BENCH_ROW").ok();
    for case in cases::cases() {
        if only.as_ref().is_none_or(|row| row == case.row) {
            cases::measure(&case, if quick { 9 } else { 31 });
        }
    }
}
