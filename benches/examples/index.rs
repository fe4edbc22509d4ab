//! The index of a repository as large as one likes, measured as a user would meet it: one process that opens it and looks
//! chunks up.
//!
//! ```text
//! cargo run --release -p garret-benches --example index -- CHUNKS DIR
//! ```
//!
//! In: how many chunks, of 64 KiB each, and a directory for the client's copy (44 bytes for each chunk). Out: seconds to
//! open, lookups per second, and resident memory: of the program's own, and of the mapped file, which the kernel may drop
//! at any time. The first call makes the copy, and says so; call again for a process that did nothing else.

#![allow(clippy::print_stdout, reason = "prints a report")]

use std::path::PathBuf;
use std::time::Instant;

use garret_benches::Random;
use garret_core::bench::{OpenIndex, SyntheticIndex, chunk_id};

const LOOKUPS: u64 = 1_000_000;

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
    println!("{:<34} {}", "before", memory()?);
    let start = Instant::now();
    let index = synthetic.open()?;
    println!("{:<34} {}", format!("open, {:.3} s", start.elapsed().as_secs_f64()), memory()?);
    let mut random = Random::new(1);
    for (what, misses) in [("misses", 100), ("half hits, half misses", 50), ("hits", 0)] {
        let wanted: Vec<u64> = (0..LOOKUPS)
            .map(|_| random.word() % chunks + if random.word() % 100 < misses { chunks } else { 0 })
            .collect();
        report(what, &index, &wanted)?;
    }
    Ok(())
}

fn report(what: &str, index: &OpenIndex, wanted: &[u64]) -> Result<(), Box<dyn std::error::Error>> {
    let ids: Vec<_> = wanted.iter().map(|n| chunk_id(*n)).collect();
    let start = Instant::now();
    let found = ids.iter().filter(|id| index.contains(id)).count();
    let rate = ids.len() as f64 / start.elapsed().as_secs_f64() / 1e6;
    println!("{:<34} {}, {found} found", format!("{what}, {rate:.2} M/s"), memory()?);
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
