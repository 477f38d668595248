//! The ring against `disruptor` and `rtrb`, in one process, interleaved: ratios, not absolute times, are the result.
//!
//! ```text
//!   one_to_one          writer ─▶ reader             56 bytes (one line) and 72 (a tick), batches of 1, 16, 256
//!   one_to_two_on_two   writer ─▶ reader, reader     three threads on two cores: ours parks, the peer spins
//! ```
//! Each contender runs once per round, in rotated order, on a warm ring; a row is the median of its rounds and the
//! median of the per-round ratios. A slice in which the system took a core away is run again; a round with a slice that
//! would not come out clean is thrown away, and counted. Every reader adds up every word it gets, and the sum is asserted before a time counts.
//! One JSON line per case. `HEADRACE_BENCH_QUICK=1` runs fewer rounds.
//!
//! Not claimed: latency, more than one writer, cores that share no cache, or anything from a single absolute number.

#[cfg(loom)]
fn main() {}

#[cfg(not(loom))]
fn main() {
    bench::main();
}

#[cfg(not(loom))]
mod bench {
    use std::hint::black_box;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
    use std::thread;
    use std::time::Instant;

    use crossbeam_utils::CachePadded;
    use disruptor::{BusySpin, Producer, build_single_producer};
    use headrace_lockfree::{BoundedSpin, Park, Read, Ring, WaitStrategy};

    /// Records in every contender's ring: 288 KiB of ticks, more than the first-level cache, less than the second.
    const CAPACITY: usize = 4_096;
    /// Records that a reader of ours takes at once, as the dispatcher does.
    const READ_MAX: usize = 256;
    /// Times that a disturbed slice is tried before its round is thrown away, and rounds thrown away per round wanted.
    const ATTEMPTS: usize = 4;

    fn record<const W: usize>(index: u64) -> [u64; W] {
        std::array::from_fn(|word| index + word as u64)
    }

    fn add<const W: usize>(sum: u64, record: &[u64; W]) -> u64 {
        record.iter().fold(sum, |sum, word| sum.wrapping_add(*word))
    }

    fn expected<const W: usize>(records: u64) -> u64 {
        let words = W as u64;
        words * (records * (records - 1) / 2) + records * (words * (words - 1) / 2)
    }

    /// How often the system took the core from this thread, 0 where it doesn't say.
    fn involuntary_switches() -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        let line = status
            .lines()
            .find(|line| line.starts_with("nonvoluntary_ctxt_switches"));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            .unwrap_or(0)
    }

    /// What the two sides of a slice tell each other.
    #[derive(Default)]
    struct Progress {
        ready: AtomicUsize,
        warm: CachePadded<AtomicUsize>,
        done: CachePadded<AtomicUsize>,
        sum: AtomicU64,
        switches: AtomicU64,
    }

    /// One slice: its time, and whether the system left it alone.
    #[derive(Clone, Copy)]
    struct Slice {
        ns_per_item: f64,
        clean: bool,
    }

    /// The reading side's account of what it got.
    struct Tally<const W: usize> {
        progress: Arc<Progress>,
        records: u64,
        seen: u64,
        sum: u64,
        switches: u64,
    }

    impl<const W: usize> Tally<W> {
        fn new(progress: &Arc<Progress>, records: u64) -> Self {
            progress.ready.fetch_add(1, Ordering::AcqRel);
            Self {
                progress: Arc::clone(progress),
                records: records + CAPACITY as u64,
                seen: 0,
                sum: 0,
                switches: involuntary_switches(),
            }
        }

        /// Adds a batch up; false when it was the last.
        #[inline]
        fn take<'r>(&mut self, batch: impl Iterator<Item = &'r [u64; W]>, count: usize) -> bool {
            let before = self.seen;
            self.sum = batch.fold(self.sum, add);
            self.seen += count as u64;
            if before < CAPACITY as u64 && self.seen >= CAPACITY as u64 {
                self.progress.warm.fetch_add(1, Ordering::AcqRel);
            }
            if self.seen < self.records {
                return true;
            }
            self.progress.sum.fetch_add(self.sum, Ordering::Relaxed);
            let switches = involuntary_switches() - self.switches;
            self.progress.switches.fetch_add(switches, Ordering::Relaxed);
            self.progress.done.fetch_add(1, Ordering::AcqRel);
            false
        }
    }

    /// The writing side: warms the ring up, then times `records` more until the last reader has them.
    fn write<const W: usize>(
        progress: &Progress,
        readers: usize,
        records: u64,
        mut send: impl FnMut(u64, u64),
    ) -> Slice {
        let until = |counter: &AtomicUsize| {
            while counter.load(Ordering::Acquire) < readers {
                thread::yield_now();
            }
        };
        until(&progress.ready);
        send(0, CAPACITY as u64);
        until(&progress.warm);
        let switches = involuntary_switches();
        let start = Instant::now();
        send(CAPACITY as u64, CAPACITY as u64 + records);
        until(&progress.done);
        let elapsed = start.elapsed();
        let switches = involuntary_switches() - switches + progress.switches.load(Ordering::Relaxed);
        let wanted = expected::<W>(CAPACITY as u64 + records).wrapping_mul(readers as u64);
        assert_eq!(
            progress.sum.load(Ordering::Relaxed),
            wanted,
            "every word of every record arrived"
        );
        Slice {
            ns_per_item: elapsed.as_nanos() as f64 / records as f64,
            clean: switches == 0,
        }
    }

    fn headrace<const W: usize, S: WaitStrategy + Send + 'static>(
        readers: usize,
        batch: usize,
        records: u64,
        strategy: impl Fn(&Ring<W>, bool) -> S,
    ) -> Slice {
        let (ring, mut writer) = Ring::<W>::new(CAPACITY).unwrap();
        let progress = Arc::new(Progress::default());
        let threads: Vec<_> = (0..readers)
            .map(|_| {
                let (mut reader, mut wait) = (ring.gated_reader(), strategy(&ring, true));
                let progress = Arc::clone(&progress);
                thread::spawn(move || {
                    let mut tally = Tally::<W>::new(&progress, records);
                    let mut out = [[0; W]; READ_MAX];
                    loop {
                        match reader.try_read(&mut out) {
                            Read::Records(0) => drop(wait.wait(|| reader.is_ready())),
                            Read::Records(count) if tally.take(out[..count].iter(), count) => {}
                            _ => return,
                        }
                    }
                })
            })
            .collect();
        let mut wait = strategy(&ring, false);
        let mut buffer = vec![[0; W]; batch];
        let slice = write::<W>(&progress, readers, records, |from, to| {
            if batch == 1 {
                // Straight from registers, as the peers do: a record that is stored to a buffer and read back at once
                // waits for every store before it.
                for index in from..to {
                    assert_eq!(writer.publish(&[record(index)], &mut wait, || false), 1);
                }
                return;
            }
            for first in (from..to).step_by(batch) {
                for (slot, index) in buffer.iter_mut().zip(first..) {
                    *slot = record(index);
                }
                assert_eq!(writer.publish(&buffer, &mut wait, || false), batch);
            }
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        slice
    }

    fn spinning<const W: usize>(batch: usize, records: u64) -> Slice {
        headrace::<W, _>(1, batch, records, |_, _| BoundedSpin)
    }

    fn parking<const W: usize>(batch: usize, records: u64) -> Slice {
        headrace::<W, _>(2, batch, records, |ring, reads| {
            Park::new(if reads { ring.wakeup() } else { ring.room() })
        })
    }

    fn disruptor_one<const W: usize>(batch: usize, records: u64) -> Slice {
        let progress = Arc::new(Progress::default());
        let (mut poller, builder) = build_single_producer(CAPACITY, || [0_u64; W], BusySpin).new_event_poller();
        let mut producer = builder.build();
        let progress_of_reader = Arc::clone(&progress);
        let thread = thread::spawn(move || {
            let mut tally = Tally::<W>::new(&progress_of_reader, records);
            loop {
                match poller.poll() {
                    Ok(mut events) => {
                        let events = &mut events;
                        let count = events.len();
                        if !tally.take(events, count) {
                            return;
                        }
                    }
                    Err(_) => std::hint::spin_loop(),
                }
            }
        });
        let slice = write::<W>(&progress, 1, records, |from, to| {
            disruptor_send(&mut producer, batch, from, to)
        });
        thread.join().unwrap();
        slice
    }

    fn disruptor_send<const W: usize>(producer: &mut impl Producer<[u64; W]>, batch: usize, from: u64, to: u64) {
        if batch == 1 {
            (from..to).for_each(|index| producer.publish(|event| *event = record(index)));
            return;
        }
        for first in (from..to).step_by(batch) {
            producer.batch_publish(batch, |events| {
                for (event, index) in events.zip(first..) {
                    *event = record(index);
                }
            });
        }
    }

    /// Two readers on the peer's own threads, which spin.
    fn disruptor_two<const W: usize>(batch: usize, records: u64) -> Slice {
        let progress = Arc::new(Progress::default());
        let handler = || {
            let mut tally = Tally::<W>::new(&progress, records);
            move |event: &[u64; W], _, _| {
                tally.take(std::iter::once(event), 1);
            }
        };
        let mut producer = build_single_producer(CAPACITY, || [0_u64; W], BusySpin)
            .handle_events_with(handler())
            .handle_events_with(handler())
            .build();
        write::<W>(&progress, 2, records, |from, to| {
            disruptor_send(&mut producer, batch, from, to)
        })
    }

    fn rtrb_one<const W: usize>(batch: usize, records: u64) -> Slice {
        let progress = Arc::new(Progress::default());
        let (mut producer, mut consumer) = rtrb::RingBuffer::<[u64; W]>::new(CAPACITY);
        let progress_of_reader = Arc::clone(&progress);
        let thread = thread::spawn(move || {
            let mut tally = Tally::<W>::new(&progress_of_reader, records);
            loop {
                let count = consumer.slots();
                if count == 0 {
                    std::hint::spin_loop();
                    continue;
                }
                let chunk = consumer.read_chunk(count).unwrap();
                let (first, second) = chunk.as_slices();
                let more = tally.take(first.iter().chain(second), count);
                chunk.commit_all();
                if !more {
                    return;
                }
            }
        });
        let slice = write::<W>(&progress, 1, records, |from, to| {
            for first in (from..to).step_by(batch) {
                if batch == 1 {
                    let mut value = record(first);
                    while let Err(rtrb::PushError::Full(back)) = producer.push(value) {
                        value = back;
                        std::hint::spin_loop();
                    }
                    continue;
                }
                let chunk = loop {
                    match producer.write_chunk_uninit(batch) {
                        Ok(chunk) => break chunk,
                        Err(_) => std::hint::spin_loop(),
                    }
                };
                chunk.fill_from_iter((first..).take(batch).map(record));
            }
        });
        thread.join().unwrap();
        slice
    }

    type Run = fn(usize, u64) -> Slice;

    /// A case: ours first, then the peers, each with the least ratio asked of it (rows 6a, 6b, 7 of the table).
    struct Case {
        row: &'static str,
        name: &'static str,
        bytes: usize,
        batch: usize,
        records: u64,
        ours: Run,
        peers: Vec<(&'static str, Run, Option<f64>)>,
    }

    fn cases() -> Vec<Case> {
        let mut cases = Vec::new();
        for batch in [1, 16, 256] {
            // About a millisecond: short enough to fit between two looks of the scheduler.
            let records = if batch == 1 { 1 << 15 } else { 1 << 16 };
            let target = |one: f64, many: f64| match batch {
                1 => Some(one),
                256 => Some(many),
                _ => None,
            };
            cases.push(Case {
                row: "6a",
                name: "one_to_one",
                bytes: 56,
                batch,
                records,
                ours: spinning::<7>,
                peers: vec![
                    ("disruptor", disruptor_one::<7>, target(1.3, 0.95)),
                    ("rtrb", rtrb_one::<7>, target(1.0, 1.0)),
                ],
            });
            cases.push(Case {
                row: "6b",
                name: "one_to_one",
                bytes: 72,
                batch,
                records,
                ours: spinning::<9>,
                peers: vec![
                    ("disruptor", disruptor_one::<9>, target(0.95, 0.95)),
                    ("rtrb", rtrb_one::<9>, None),
                ],
            });
        }
        cases.push(Case {
            row: "7",
            name: "one_to_two_on_two",
            bytes: 72,
            batch: 1,
            records: 1 << 17,
            ours: parking::<9>,
            peers: vec![("disruptor", disruptor_two::<9>, Some(10.0))],
        });
        cases
    }

    fn median(mut values: Vec<f64>) -> f64 {
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        if values.len() % 2 == 1 {
            values[middle]
        } else {
            (values[middle - 1] + values[middle]) / 2.0
        }
    }

    fn measure(case: &Case, rounds: usize) {
        let mut runs = vec![("headrace", case.ours)];
        runs.extend(case.peers.iter().map(|&(name, run, _)| (name, run)));
        // Three threads on two cores are switched by intent: there every slice counts.
        let by_intent = case.row == "7";
        let mut times = vec![Vec::new(); runs.len()];
        let mut thrown_away = 0;
        while times[0].len() < rounds && thrown_away < rounds * ATTEMPTS {
            let mut round = vec![None; runs.len()];
            for offset in 0..runs.len() {
                let index = (times[0].len() + thrown_away + offset) % runs.len();
                let slice = (0..ATTEMPTS)
                    .map(|_| runs[index].1(case.batch, black_box(case.records)))
                    .find(|slice| slice.clean || by_intent);
                round[index] = slice.map(|slice| slice.ns_per_item);
            }
            match round.into_iter().collect::<Option<Vec<_>>>() {
                Some(round) => times.iter_mut().zip(round).for_each(|(times, time)| times.push(time)),
                None => thrown_away += 1,
            }
        }
        if times[0].is_empty() {
            eprintln!(
                "row {}: no undisturbed round; run it again on a quieter machine",
                case.row
            );
            return;
        }
        let peers = case.peers.iter().enumerate().map(|(index, (name, _, target))| {
            let ratios = times[index + 1].iter().zip(&times[0]).map(|(peer, ours)| peer / ours);
            let target = target.map_or(String::from("null"), |target| target.to_string());
            format!(
                r#""{name}": {{"ns_per_item": {:.2}, "ratio": {:.2}, "target": {target}}}"#,
                median(times[index + 1].clone()),
                median(ratios.collect()),
            )
        });
        println!(
            r#"{{"row": "{}", "name": "{}", "batch": {}, "bytes": {}, "ns_per_item": {:.2}, "rounds": {}, "thrown_away": {thrown_away}, "peers": {{{}}}}}"#,
            case.row,
            case.name,
            case.batch,
            case.bytes,
            median(times[0].clone()),
            times[0].len(),
            peers.collect::<Vec<_>>().join(", "),
        );
    }

    pub(crate) fn main() {
        let quick = std::env::var("HEADRACE_BENCH_QUICK").is_ok_and(|value| value == "1");
        let only = std::env::var("HEADRACE_BENCH_ROW").ok();
        for case in cases() {
            if only.as_ref().is_none_or(|row| row == case.row) {
                measure(&case, if quick { 9 } else { 31 });
            }
        }
    }
}
