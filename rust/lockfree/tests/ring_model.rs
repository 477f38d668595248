//! The ring against a `VecDeque`, one operation at a time: what a reader gets, misses and holds is exact.
#![cfg(not(loom))]

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use headrace_lockfree::{Read, Reader, Ring, RingError, Writer};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

type Record = [u64; 3];

fn record(position: u64) -> Record {
    [position, position.wrapping_mul(0x9E37_79B9_7F4A_7C15), !position]
}

#[derive(Clone, Debug)]
enum Step {
    Publish(usize),
    Read { reader: usize, room: usize },
    Join { gated: bool },
    Leave { reader: usize },
    LeaveGate { reader: usize },
    JoinGate { reader: usize },
    Demote { reader: usize },
    Jump { reader: usize, ahead: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let reader = 0..4_usize;
    prop::collection::vec(
        prop_oneof![
            6 => (0..40_usize).prop_map(Step::Publish),
            8 => (reader.clone(), 0..20_usize).prop_map(|(reader, room)| Step::Read { reader, room }),
            2 => any::<bool>().prop_map(|gated| Step::Join { gated }),
            1 => reader.clone().prop_map(|reader| Step::Leave { reader }),
            1 => reader.clone().prop_map(|reader| Step::LeaveGate { reader }),
            1 => reader.clone().prop_map(|reader| Step::JoinGate { reader }),
            1 => reader.clone().prop_map(|reader| Step::Demote { reader }),
            1 => (reader, 0..50_u64).prop_map(|(reader, ahead)| Step::Jump { reader, ahead }),
        ],
        1..200,
    )
}

/// A reader, and the same reader in the model.
struct Pair {
    real: Reader<3>,
    position: u64,
    gated: bool,
    demoted: bool,
}

struct World {
    ring: Arc<Ring<3>>,
    writer: Writer<3>,
    kept: VecDeque<Record>,
    published: u64,
    readers: Vec<Pair>,
}

impl World {
    fn new(capacity: usize) -> Self {
        let (ring, writer) = Ring::new(capacity).unwrap();
        Self {
            ring,
            writer,
            kept: VecDeque::new(),
            published: 0,
            readers: Vec::new(),
        }
    }

    fn capacity(&self) -> u64 {
        self.ring.capacity() as u64
    }

    fn oldest(&self) -> u64 {
        self.published - self.kept.len() as u64
    }

    fn slowest(&self) -> Option<u64> {
        let gating = self.readers.iter().filter(|pair| pair.gated);
        gating.map(|pair| pair.position).min()
    }

    fn publish(&mut self, count: usize) {
        let records: Vec<Record> = (self.published..).take(count).map(record).collect();
        let free = self.slowest().unwrap_or(self.published) + self.capacity() - self.published;
        let fitted = self.writer.try_publish(&records);
        assert_eq!(
            fitted as u64,
            free.min(count as u64),
            "what fits is what the slowest gated reader leaves"
        );
        for record in &records[..fitted] {
            if self.kept.len() == self.ring.capacity() {
                self.kept.pop_front();
            }
            self.kept.push_back(*record);
        }
        self.published += fitted as u64;
    }

    fn read(&mut self, index: usize, room: usize) {
        let (oldest, published, capacity) = (self.oldest(), self.published, self.capacity());
        let pair = &mut self.readers[index];
        let mut out = vec![[0; 3]; room];
        let read = pair.real.try_read(&mut out);
        if room == 0 {
            return;
        }
        if pair.demoted {
            assert_eq!(read, Read::Demoted);
            pair.demoted = false;
        } else if pair.position < oldest {
            let target = published - capacity * 7 / 8;
            let missed = target - pair.position;
            assert_eq!(
                read,
                Read::Lapped { missed },
                "a lapped reader counts every position it passes over"
            );
            pair.position = target;
        } else {
            let count = (published - pair.position).min(room as u64);
            assert_eq!(read, Read::Records(count as usize));
            let from = (pair.position - oldest) as usize;
            let wanted: Vec<Record> = self.kept.range(from..from + count as usize).copied().collect();
            assert_eq!(out[..count as usize], wanted[..]);
            pair.position += count;
        }
    }

    fn step(&mut self, step: &Step) {
        let published = self.published;
        match *step {
            Step::Publish(count) => self.publish(count),
            Step::Join { gated } if self.readers.len() < 4 => self.readers.push(Pair {
                real: if gated {
                    self.ring.gated_reader()
                } else {
                    self.ring.lossy_reader()
                },
                position: published,
                gated,
                demoted: false,
            }),
            Step::Join { .. } => {}
            Step::Read { reader, room } if reader < self.readers.len() => self.read(reader, room),
            Step::Leave { reader } if reader < self.readers.len() => drop(self.readers.swap_remove(reader)),
            Step::LeaveGate { reader }
            | Step::JoinGate { reader }
            | Step::Demote { reader }
            | Step::Jump { reader, .. }
            | Step::Read { reader, .. }
            | Step::Leave { reader } => {
                let Some(pair) = self.readers.get_mut(reader) else {
                    return;
                };
                match *step {
                    Step::LeaveGate { .. } => {
                        pair.real.leave_gate();
                        (pair.gated, pair.demoted) = (false, false);
                    }
                    Step::JoinGate { .. } => {
                        let passed = if pair.gated { 0 } else { published - pair.position };
                        assert_eq!(pair.real.join_gate(), passed);
                        pair.position += passed;
                        (pair.gated, pair.demoted) = (true, false);
                    }
                    Step::Demote { .. } => {
                        assert_eq!(self.ring.demote(pair.real.id()), pair.gated);
                        pair.demoted |= pair.gated;
                        pair.gated = false;
                    }
                    Step::Jump { ahead, .. } => {
                        pair.real.jump(pair.position + ahead);
                        pair.position = published.min(pair.position + ahead);
                    }
                    _ => {}
                }
            }
        }
    }

    fn check(&self) {
        assert_eq!(self.ring.cursor(), self.published);
        assert_eq!(self.writer.position(), self.published);
        assert_eq!(self.ring.holder().map(|(_, position)| position), self.slowest());
        for pair in &self.readers {
            assert_eq!(pair.real.position(), pair.position);
            assert_eq!(pair.real.pending(), self.published - pair.position);
            assert_eq!(pair.real.is_gated(), pair.gated);
            assert_eq!(pair.real.is_ready(), pair.demoted || pair.position < self.published);
        }
    }
}

/// The seed of this run, printed so that `HEADRACE_SEED` can repeat it.
fn seed() -> u64 {
    let given = std::env::var("HEADRACE_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| RandomState::new().hash_one(()));
    eprintln!("HEADRACE_SEED={seed}");
    seed
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        rng_seed: RngSeed::Fixed(seed()),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_reader_gets_what_a_deque_would_give_it(bits in 1..7_u32, steps in steps()) {
        let mut world = World::new(1 << bits);
        for step in &steps {
            world.step(step);
            world.check();
        }
    }
}

#[test]
fn a_capacity_that_is_no_power_of_two_from_two_on_is_refused_with_the_next_one() {
    for (capacity, next) in [(0, 2), (1, 2), (3, 4), (1000, 1024)] {
        let error = Ring::<3>::new(capacity).err().unwrap();
        assert_eq!(error, RingError::Capacity { capacity });
        assert!(
            error.to_string().ends_with(&format!("the next one is {next}")),
            "{error}"
        );
    }
    assert!(matches!(Ring::<3>::new(1 << 62), Err(RingError::Capacity { .. })));
}
