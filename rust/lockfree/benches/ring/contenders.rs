//! The contenders: the ring, spinning and parking; `disruptor` with one and two readers; `rtrb`.
//!
//! Guarantees: each is driven in the way that its own documentation shows for speed.

use std::sync::Arc;
use std::thread;

use disruptor::{BusySpin, Producer, build_single_producer};
use headrace_lockfree::{BoundedSpin, Park, Read, Ring, WaitStrategy};

use crate::slice::{CAPACITY, Progress, Slice, Tally, record, write};

/// Records that a reader of ours takes at once, as the dispatcher does.
const READ_MAX: usize = 256;
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

pub(crate) fn spinning<const W: usize>(batch: usize, records: u64) -> Slice {
    headrace::<W, _>(1, batch, records, |_, _| BoundedSpin)
}

pub(crate) fn parking<const W: usize>(batch: usize, records: u64) -> Slice {
    headrace::<W, _>(2, batch, records, |ring, reads| {
        Park::new(if reads { ring.wakeup() } else { ring.room() })
    })
}

pub(crate) fn disruptor_one<const W: usize>(batch: usize, records: u64) -> Slice {
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
pub(crate) fn disruptor_two<const W: usize>(batch: usize, records: u64) -> Slice {
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

pub(crate) fn rtrb_one<const W: usize>(batch: usize, records: u64) -> Slice {
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
