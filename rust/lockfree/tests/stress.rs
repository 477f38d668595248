//! One writer against readers that are gated, come and go, are demoted, lose, and sleep. Run it plainly, or under
//! ThreadSanitizer by `tsan.sh`.
//!
//! Plain, non-atomic cells ride along with the records: the writer fills a record's cell before it publishes, gated
//! readers look at it before they release the next record. So the sanitizer judges the edges that the ring promises,
//! not only that its words are atomics. `stress canary` hands cells over without such an edge: it must be reported.
//!
//! A program of its own, without the test harness, that drops no last `Arc`: the sanitizer does not see the fences of
//! either and would report them.

#[cfg(loom)]
fn main() {}

#[cfg(not(loom))]
fn main() {
    let seed = std::env::var("HEADRACE_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), ()));
    println!("HEADRACE_SEED={seed}");
    match std::env::args().nth(1).as_deref() {
        Some("canary") => stress::canary(),
        _ => stress::clean(seed),
    }
}

#[cfg(not(loom))]
mod stress {
    use std::cell::UnsafeCell;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::thread;
    use std::time::Duration;

    use headrace_lockfree::{Park, Read, Reader, Ring, SnapshotCell, Writer, Yield};

    const RECORDS: u64 = 300_000;
    const CAPACITY: usize = 64;
    type Record = [u64; 3];

    /// A cell per position that no gated reader has passed; see `loom_ring::a_gated_reader_gets_every_record_whole`.
    struct Cells([UnsafeCell<u64>; CAPACITY + 1]);

    // SAFETY: the ring orders all accesses to a cell; the sanitizer checks that it does.
    unsafe impl Sync for Cells {}

    impl Cells {
        fn new() -> &'static Self {
            Box::leak(Box::new(Self(std::array::from_fn(|_| UnsafeCell::new(0)))))
        }

        fn get(&self, position: u64) -> u64 {
            // SAFETY: called for a position that was read and is not released beyond.
            unsafe { *self.0[position as usize % (CAPACITY + 1)].get() }
        }

        fn set(&self, position: u64) {
            // SAFETY: called for a position whose slot is free.
            unsafe { *self.0[position as usize % (CAPACITY + 1)].get() = position }
        }
    }

    fn record(position: u64) -> Record {
        [position, position.wrapping_mul(0x9E37_79B9_7F4A_7C15), !position]
    }

    /// A small generator, so that stalls repeat with the seed (xorshift64*).
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: u64) -> u64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % sides
        }

        fn stall(&mut self) {
            match self.roll(4_000) {
                0 => thread::sleep(Duration::from_micros(20 + self.roll(200))),
                1..8 => thread::yield_now(),
                _ => {}
            }
        }
    }

    /// Reads until the end of the run; returns how many were delivered, missed, and demotions.
    fn read_all(reader: &mut Reader<3>, cells: Option<&Cells>, mut dice: Dice) -> (u64, u64, u64) {
        let mut park = Park::new(reader.ring().wakeup());
        let (mut delivered, mut missed_total, mut demotions) = (0, 0, 0);
        let mut out = [[0; 3]; 16];
        while reader.position() < RECORDS {
            let room = if cells.is_some() { 1 } else { 1 + dice.roll(16) as usize };
            let wanted = reader.position();
            match reader.try_read(&mut out[..room]) {
                Read::Records(0) => assert!(reader.wait(&mut park, || false)),
                Read::Records(count) => {
                    for (position, got) in (wanted..).zip(&out[..count]) {
                        assert_eq!(*got, record(position), "torn or out of order");
                        if let Some(cells) = cells {
                            assert_eq!(cells.get(position), position, "written over while it was held");
                        }
                    }
                    delivered += count as u64;
                }
                Read::Lapped { missed } => missed_total += missed,
                Read::Demoted => {
                    demotions += 1;
                    missed_total += reader.join_gate();
                }
            }
            dice.stall();
        }
        (delivered, missed_total, demotions)
    }

    fn write_all(writer: &mut Writer<3>, cells: &Cells, newest: &SnapshotCell<3>, mut dice: Dice) {
        let mut park = Park::new(writer.ring().room());
        while writer.position() < RECORDS {
            let from = writer.position();
            let free = writer.free() as u64;
            let count = (1 + dice.roll(24)).min(free).min(RECORDS - from);
            let records: Vec<Record> = (from..from + count).map(record).collect();
            (from..from + count).for_each(|position| cells.set(position));
            if count == 0 {
                // Waits for room for the record that comes next; its cell may only be filled after that.
                headrace_lockfree::WaitStrategy::wait(&mut park, || writer.free() > 0);
            } else {
                assert_eq!(writer.try_publish(&records), count as usize);
                newest.store(&record(from + count - 1));
            }
            dice.stall();
        }
    }

    pub(crate) fn clean(seed: u64) {
        let dice = move |index: u64| Dice((seed ^ index.wrapping_mul(0xA076_1D64_78BD_642F)) | 1);
        let (ring, mut writer) = Ring::<3>::new(CAPACITY).unwrap();
        // Never dropped: see the module's header.
        let ring: &'static Arc<Ring<3>> = Box::leak(Box::new(ring));
        let cells = Cells::new();
        let newest: &'static SnapshotCell<3> = Box::leak(Box::new(SnapshotCell::new()));
        let done: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));

        let mut threads = Vec::new();
        for index in 0..2 {
            let mut reader = ring.gated_reader();
            threads.push(thread::spawn(move || {
                let read = read_all(&mut reader, Some(cells), dice(index));
                assert_eq!(read, (RECORDS, 0, 0), "a gated reader gets everything");
                ("gated", [RECORDS, 0, 0])
            }));
        }
        for index in 2..4 {
            let mut reader = ring.lossy_reader();
            threads.push(thread::spawn(move || {
                let (delivered, missed, _) = read_all(&mut reader, None, dice(index));
                assert_eq!(
                    delivered + missed,
                    RECORDS,
                    "every position is delivered or counted as missed"
                );
                ("lossy", [delivered, missed, 0])
            }));
        }
        let mut demoted = ring.gated_reader();
        let demoted_id = demoted.id();
        threads.push(thread::spawn(move || {
            let (delivered, missed, demotions) = read_all(&mut demoted, None, dice(4));
            assert_eq!(
                delivered + missed,
                RECORDS,
                "every position is delivered or counted as missed"
            );
            ("demoted", [delivered, missed, demotions])
        }));
        // Comes and goes: joins, reads some, leaves by being dropped.
        threads.push(thread::spawn(move || {
            let mut joins = 0;
            let mut out = [[0; 3]];
            while !done.load(Ordering::Acquire) {
                let mut reader = ring.gated_reader();
                joins += 1;
                for _ in 0..20 {
                    let position = reader.position();
                    if reader.try_read(&mut out) == Read::Records(1) {
                        assert_eq!(out[0], record(position));
                        assert_eq!(cells.get(position), position, "written over while it was held");
                    }
                    thread::yield_now();
                }
            }
            ("passing", [0, 0, joins])
        }));
        threads.push(thread::spawn(move || {
            let mut seen = 0;
            while !done.load(Ordering::Acquire) {
                if let Some(got) = newest.load() {
                    assert_eq!(got, record(got[0]), "a torn snapshot");
                    assert!(got[0] >= seen, "an older snapshot after a newer one");
                    seen = got[0];
                }
                ring.demote(demoted_id);
                thread::sleep(Duration::from_micros(300));
            }
            ("snapshot", [seen, 0, 0])
        }));
        write_all(&mut writer, cells, newest, dice(5));
        done.store(true, Ordering::Release);
        // Joined first, printed then: the sanitizer does not see the lock of standard output.
        let readers: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        for (reader, [delivered, missed, changes]) in readers {
            println!("{reader}: {delivered} delivered, {missed} missed, {changes} joins or demotions");
        }
        assert_eq!(ring.holder(), None, "everybody left");
        println!("clean: {RECORDS} records, loss law holds for all");
    }

    /// The known-bad hand-over: the reader learns of a cell by a Relaxed store, so nothing orders the two accesses.
    pub(crate) fn canary() {
        let cells = Cells::new();
        let told: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(0)));
        let (ring, mut writer) = Ring::<3>::new(CAPACITY).unwrap();
        let ring: &'static Arc<Ring<3>> = Box::leak(Box::new(ring));
        let mut reader = ring.gated_reader();
        let thread = thread::spawn(move || {
            let mut sum = 0;
            while reader.position() < 1_000 {
                while told.load(Ordering::Relaxed) <= reader.position() {
                    thread::yield_now();
                }
                sum += cells.get(reader.position());
                while reader.try_read(&mut [[0; 3]]) != Read::Records(1) {}
            }
            sum
        });
        for position in 0..1_000 {
            cells.set(position);
            told.store(position + 1, Ordering::Relaxed);
            writer.publish(&[record(position)], &mut Yield, || false);
        }
        println!("canary: sum {}", thread.join().unwrap());
    }
}
