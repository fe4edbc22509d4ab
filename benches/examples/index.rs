//! The index of a repository as large as one likes, measured as a user would meet it: one process that opens it and looks
//! chunks up, in as many threads as the machine has.
//!
//! ```text
//! cargo run --release -p garret-benches --example index -- CHUNKS DIR
//! ```
//!
//! In: how many chunks, of 64 KiB each, and a directory for the client's copy (51 bytes for each chunk). Out: seconds to
//! open, lookups per second, and resident memory: of the program's own, and of the mapped file, which the kernel may drop
//! at any time. The first call makes the copy, and says so; call again for a process that did nothing else.

#![allow(clippy::print_stdout, reason = "prints a report")]

use std::path::PathBuf;
use std::time::Instant;

use garret_benches::Random;
use garret_core::bench::{OpenIndex, SyntheticIndex, chunk_id};

/// Lookups of each kind, and those whose ids are made at once and not counted.
const LOOKUPS: u64 = 10_000_000;
const AT_ONCE: u64 = 100_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(chunks), Some(directory)) = (args.next(), args.next()) else {
        return Err("index CHUNKS DIR".into());
    };
    let (chunks, directory): (u64, PathBuf) = (chunks.parse()?, directory.into());
    let synthetic = match directory.exists() {
        true => SyntheticIndex::existing(&directory, chunks)?,
        false => {
            println!("making the copy");
            SyntheticIndex::create(&directory, chunks)?
        }
    };
    println!("{:<40} {}", "before", memory()?);
    let start = Instant::now();
    let index = synthetic.open()?;
    println!("{:<40} {}", format!("open, {:.3} s", start.elapsed().as_secs_f64()), memory()?);
    for (what, misses, is_in_order) in [
        ("misses", 100, false),
        ("half hits, half misses", 50, false),
        ("hits", 0, false),
        ("hits, as they were stored", 0, true),
    ] {
        report(what, &index, chunks, misses, is_in_order)?;
    }
    Ok(())
}

/// Looks up so many chunks, of which `misses` in a hundred are not there: any ones, or neighbours.
fn report(
    what: &str,
    index: &OpenIndex,
    chunks: u64,
    misses: u64,
    is_in_order: bool,
) -> Result<(), Box<dyn std::error::Error>> {
    let threads = std::thread::available_parallelism()?.get() as u64;
    let of_thread = |thread: u64| {
        let mut random = Random::new(1 + thread);
        let (mut seconds, mut at) = (0.0, random.word() % chunks);
        for _ in 0..LOOKUPS / threads / AT_ONCE {
            let wanted: Vec<(bool, u64)> = (0..AT_ONCE)
                .map(|_| {
                    at = if is_in_order { (at + 1) % chunks } else { random.word() % chunks };
                    (random.word() % 100 >= misses, at)
                })
                .collect();
            let ids: Vec<_> = wanted
                .iter()
                .map(|(is_hit, n)| chunk_id(if *is_hit { *n } else { n + chunks }))
                .collect();
            let start = Instant::now();
            let found = ids.iter().filter(|id| index.contains(id)).count();
            seconds += start.elapsed().as_secs_f64();
            assert_eq!(found, wanted.iter().filter(|(is_hit, _)| *is_hit).count(), "{what}");
        }
        seconds
    };
    let seconds: f64 = std::thread::scope(|scope| {
        let of_thread = &of_thread;
        let threads: Vec<_> = (0..threads).map(|n| scope.spawn(move || of_thread(n))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a lookup is wrong")).sum()
    });
    let rate = LOOKUPS as f64 / (seconds / threads as f64) / 1e6;
    println!("{:<40} {}", format!("{what}, {rate:.2} M/s"), memory()?);
    Ok(())
}

/// Resident memory now.
fn memory() -> Result<String, Box<dyn std::error::Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let mib = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or_default() / 1024
    };
    Ok(format!("own {:>4} MiB, mapped {:>4} MiB", mib("RssAnon:"), mib("RssFile:")))
}
