//! What more cores would give a first backup: its writer with jobs that only wait, as long as theirs take.
//!
//! ```text
//! cargo run --release -p garret-benches --example cores
//! ```
//!
//! In: what a worker does for 10^9 bytes, and what naming and writing their packs takes, from docs/benchmarks.md, "More
//! cores". Out: for so many workers, seconds for 10^9 bytes, and how many times that is what the workers alone would take.
//! Real are who admits chunks and writes recipes, the queues behind him, and the thread that builds packs; chunks have 64
//! bytes, so nothing is seen of memory, and the cuts, which come one after the other, are not there. So two cores show what
//! 64 would wait for, as long as the threads themselves do not need more than two.

#![allow(clippy::print_stdout, reason = "prints a report")]

use std::time::{Duration, Instant};

use garret_core::MemoryStore;
use garret_core::bench::StubbedWriting;
use garret_testkit::FarStore;

/// Bytes of a group.
const GROUP_LEN: f64 = 1_048_576.0;
/// Seconds for 10^9 bytes.
const WORKER: f64 = 6.0;
const PACKS: f64 = 0.25;
/// Groups of a pack of 32 MiB, each 0.42 of its length.
const PACK_GROUPS: u32 = 76;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let of = |seconds: f64, len: f64| Duration::from_secs_f64(seconds * len / 1e9);
    println!("workers   s/GB   of {WORKER} s / workers");
    for workers in [1, 2, 4, 8, 16, 32, 64] {
        let writing = StubbedWriting {
            workers,
            group_takes: of(WORKER, GROUP_LEN),
            pack_groups: PACK_GROUPS,
            group_count: 400 * workers as u64,
        };
        let pack_takes = of(PACKS, GROUP_LEN * f64::from(PACK_GROUPS));
        let store = FarStore::new(MemoryStore::new(), pack_takes, 1);
        let started = Instant::now();
        writing.run(&store)?;
        let took = started.elapsed().as_secs_f64() / (writing.group_count as f64 * GROUP_LEN / 1e9);
        println!("{workers:7} {took:6.3} {:6.2}", took / (WORKER / workers as f64));
    }
    Ok(())
}
