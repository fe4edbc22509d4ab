//! A restore and a check of 1 GiB from a store that answers after 50 ms: what an object store or a line to another site does.
//!
//! ```text
//! cargo run --release -p garret-benches --example far -- [MILLISECONDS] [IN_FLIGHT] [THREADS]
//! ```
//!
//! Out: MB/s of contents, and requests, of a backup, a restore to nowhere, one to a pipe, and a check of every byte.

#![allow(clippy::print_stdout, reason = "prints a report")]

use std::time::{Duration, Instant};

use garret_core::{Destination, KeyMode, MemoryStore, Selection, Silent};
use garret_testkit::{FarStore, Image, Lab, check_options};

const LEN: usize = 1 << 30;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let mut number = |default: u64| words.next().map_or(Ok(default), |word| word.parse());
    let (wait, in_flight, threads) = (number(50)?, number(16)?, number(2)?);
    let store = FarStore::new(MemoryStore::new(), Duration::from_millis(wait), in_flight as usize);
    let inside = store.clone();
    let mut lab = Lab::over(move || Box::new(inside.clone()), KeyMode::None);
    lab.threads = threads as usize;
    // Half of it does not compress.
    let mut bytes = Image::noise(1, LEN).bytes;
    for block in bytes.chunks_mut(8192) {
        block[4096..].fill(b'x');
        let number = block[0];
        block[4096..4104].fill(number);
    }
    let report = |what: &str, since: Instant| {
        let rate = LEN as f64 / since.elapsed().as_secs_f64() / 1e6;
        println!("{what:<18} {rate:>6.0} MB/s {:>6} requests", store.requests());
    };
    store.requests();
    let since = Instant::now();
    lab.backup_bytes("a", &bytes)?;
    report("backup", since);
    for (what, to) in [
        ("restore", Destination::Nowhere),
        ("restore to a pipe", Destination::Stream(&mut std::io::sink())),
    ] {
        let since = Instant::now();
        let repository = lab.reader()?;
        let archive = repository.archive("a")?;
        let (mut all, options) = (Selection::default(), lab.restore_options());
        repository.restore(&archive, &mut all, to, &options, &Silent)?;
        report(what, since);
    }
    let since = Instant::now();
    let found = lab.checker()?.check(&check_options(true, lab.threads), &Silent)?;
    assert_eq!(found.problem_count, 0);
    report("check every byte", since);
    let since = Instant::now();
    lab.checker()?.check(&check_options(false, lab.threads), &Silent)?;
    report("check", since);
    Ok(())
}
