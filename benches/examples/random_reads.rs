//! Random reads of 4 KiB over the largest file of a stored archive: what an NBD or FUSE server does.
//!
//! In: a repository without encryption, an archive, seconds, threads. Out: reads per second, and bytes per second of reading
//! the file once in order: by one who asks for 8 MiB at a time, and by one who asks for 1 MiB and is read ahead of.

#![allow(clippy::print_stdout, reason = "a program of its own")]

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use garret_core::{LocalStore, Secret, Silent};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [place, name, seconds, threads] = words.as_slice() else {
        return Err("usage: random_reads REPO ARCHIVE SECONDS THREADS".into());
    };
    let (seconds, threads): (u64, u64) = (seconds.parse()?, threads.parse()?);
    let locked = garret_core::open(LocalStore::open(place.as_ref())?)?;
    let keys = locked.unlock(Secret::None)?;
    let repository = locked.with(keys).reader(&Silent)?;
    let items = repository.items(&repository.archive(name)?);
    let items = items.collect::<garret_core::Result<Vec<_>>>()?;
    let item = items.iter().max_by_key(|item| item.size).ok_or("an empty archive")?;
    let file = repository.open_file(item)?.ok_or("no file")?;
    let pages = item.size / 4096;
    let count = AtomicU64::new(0);
    let end = Instant::now() + Duration::from_secs(seconds);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (file, count) = (&file, &count);
            scope.spawn(move || {
                // Marsaglia's xorshift: the same places every time.
                let (mut word, mut page) = (88_172_645_463_325_252_u64 ^ thread << 32, [0; 4096]);
                while Instant::now() < end {
                    word ^= word << 13;
                    word ^= word >> 7;
                    word ^= word << 17;
                    file.read(&mut page, word % pages * 4096).expect("a sound repository");
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    println!("{} reads/s", count.into_inner() / seconds);
    let (started, mut window) = (Instant::now(), vec![0; 8 << 20]);
    for at in (0..item.size).step_by(window.len()) {
        file.read(&mut window, at)?;
    }
    let rate = |started: Instant| item.size as f64 / started.elapsed().as_secs_f64() / 1e6;
    println!("{:.0} MB/s in order", rate(started));
    let reader = garret_view::Ahead::new().reader(Arc::new(file));
    let (started, mut window) = (Instant::now(), vec![0; 1 << 20]);
    for at in (0..item.size).step_by(window.len()) {
        reader.read(&mut window, at)?;
    }
    println!("{:.0} MB/s in order, read ahead", rate(started));
    Ok(())
}
