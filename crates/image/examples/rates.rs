//! Rates of reading and writing files, for about a minute.
//!
//! `cargo run --release -p image --example rates -- [DIR]`. In: a directory on a real disk with 2 GB free (default: the
//! current one). Prints MB/s of every way; removes what it made.
#![allow(clippy::print_stdout, reason = "a measurement for people")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use garret_image::{Allocation, Attributes, Place, RawFile, Root, Sink, Source, Time};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const PIECE: usize = 4 << 20;
const LEN: u64 = 1 << 30;

/// Gives all pieces of the file to `threads` threads; returns MB/s.
fn rate(threads: usize, work: impl Fn(&mut [u8], u64) -> Result + Sync) -> Result<u64> {
    let (next, failed) = (AtomicU64::new(0), Mutex::new(Ok(())));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut buf = vec![1; PIECE];
                loop {
                    let offset = next.fetch_add(PIECE as u64, Ordering::Relaxed);
                    if offset >= LEN {
                        break;
                    }
                    if let Err(error) = work(&mut buf, offset)
                        && let Ok(mut failed) = failed.lock()
                    {
                        *failed = Err(error);
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap_or(Ok(()))?;
    Ok((LEN as f64 / 1e6 / start.elapsed().as_secs_f64()) as u64)
}

fn main() -> Result {
    let dir = std::env::args_os().nth(1).unwrap_or_else(|| ".".into());
    let dir = tempfile::tempdir_in(dir)?;
    let mut state = 1_u64;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
        (state >> 56) as u8 | 1
    });
    let piece: Vec<u8> = noise.take(PIECE).collect();
    let path = dir.path().join("f");
    let file = File::create_new(&path)?;
    for at in 0..LEN / PIECE as u64 {
        file.write_all_at(&piece, at * PIECE as u64)?;
    }
    file.sync_all()?;
    read(&path)?;
    write(Path::new("/dev/shm"), "tmpfs", &piece)?;
    write(dir.path(), "disk, not synced", &piece)
}

/// Reads the file, cached and not, our way and plainly.
fn read(path: &Path) -> Result {
    let plain = File::open(path)?;
    for (threads, cached) in [(1, true), (1, true), (2, true), (1, false), (2, false)] {
        for ours in [true, false] {
            if !cached {
                rustix::fs::fadvise(&plain, 0, None, rustix::fs::Advice::DontNeed)?;
            }
            let source = RawFile::open(path, false)?;
            let mbs = rate(threads, |buf, offset| match ours {
                true => Ok(source.read_at(buf, offset)?),
                false => Ok(plain.read_exact_at(buf, offset)?),
            })?;
            let how = if ours { "read_at" } else { "plain pread" };
            let state = if cached { "cached" } else { "cold" };
            println!("{how}, {state}, {threads} threads: {mbs} MB/s");
        }
    }
    Ok(())
}

/// Writes files of data, of zeros, and of both, sparse and full.
fn write(place: &Path, name: &str, data: &[u8]) -> Result {
    let place = tempfile::tempdir_in(place)?;
    let root = Root::open(place.path())?;
    let mut half = data.to_vec();
    half.chunks_mut(65536).step_by(2).for_each(|chunk| chunk.fill(0));
    let zero = vec![0; data.len()];
    for (what, bytes) in [("data", data), ("half zero, 64 KiB each", &half), ("zero", &zero)] {
        for (how, allocation) in [("sparse", Allocation::Sparse), ("full", Allocation::Full)] {
            for threads in [1, 2] {
                let sink = root.file(Place::at(b"out"), LEN, allocation.clone())?;
                let mbs = rate(threads, |_, offset| Ok(sink.write_at(offset, bytes)?))?;
                println!("{name}: write_at, {how}, {what}, {threads} threads: {mbs} MB/s");
                sink.finish(&Attributes::plain(0o600, None, Time::default()))?;
                std::fs::remove_file(place.path().join("out"))?;
            }
        }
    }
    Ok(())
}
