//! Rates, for people: `cargo test --release -p image --test rates -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

mod common;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use common::{Random, disk_dir, open, write_file};
use image::{Allocation, Root, Sink, Source, Time};

const PIECE: usize = 4 << 20;
const LEN: u64 = 1 << 30;

/// Gives all pieces of the file to `threads` threads; returns MB/s.
fn rate(threads: usize, work: impl Fn(&mut [u8], u64) + Sync) -> u64 {
    let next = AtomicU64::new(0);
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
                    work(&mut buf, offset);
                }
            });
        }
    });
    (LEN as f64 / 1e6 / start.elapsed().as_secs_f64()) as u64
}

#[test]
#[ignore = "a measurement of a minute, not a test"]
fn rates() {
    let dir = disk_dir();
    let mut random = Random(1);
    let piece = random.bytes(64 << 20);
    let bytes: Vec<u8> = (0..16).flat_map(|_| piece.iter().copied()).collect();
    let path = write_file(dir.path(), "f", &bytes);
    let file = std::fs::File::open(&path).unwrap();
    file.sync_all().unwrap();
    for threads in [1, 1, 2] {
        let source = open(&path);
        let mbs = rate(threads, |buf, offset| source.read_at(buf, offset).unwrap());
        println!("read_at, cached, {threads} threads: {mbs} MB/s");
        let mbs = rate(threads, |buf, offset| {
            std::os::unix::fs::FileExt::read_exact_at(&file, buf, offset).unwrap();
        });
        println!("plain pread, cached, {threads} threads: {mbs} MB/s");
    }
    for threads in [1, 2] {
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        let source = open(&path);
        let mbs = rate(threads, |buf, offset| source.read_at(buf, offset).unwrap());
        println!("read_at, cold, {threads} threads: {mbs} MB/s");
    }
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    let plain = std::fs::File::open(&path).unwrap();
    let mbs = rate(1, |buf, offset| {
        std::os::unix::fs::FileExt::read_exact_at(&plain, buf, offset).unwrap();
    });
    println!("plain pread with read-ahead, cold, 1 thread: {mbs} MB/s");

    let shm = common::tmpfs_dir();
    for (place, name) in [(shm.path(), "tmpfs"), (dir.path(), "disk, not synced")] {
        let root = Root::open(place).unwrap();
        let mut half = piece[..PIECE].to_vec();
        half.chunks_mut(65536).step_by(2).for_each(|chunk| chunk.fill(0));
        let zero = vec![0; PIECE];
        let kinds = [("data", &piece[..PIECE]), ("half zero, 64 KiB each", &half), ("zero", &zero)];
        for (what, bytes) in kinds {
            for (how, allocation) in [("sparse", Allocation::Sparse), ("full", Allocation::Full)] {
                for threads in [1, 2] {
                    let sink = root.file(b"out", LEN, allocation.clone()).unwrap();
                    let mbs = rate(threads, |_, offset| sink.write_at(offset, bytes).unwrap());
                    println!("{name}: write_at, {how}, {what}, {threads} threads: {mbs} MB/s");
                    sink.finish(0o600, None, Time::default()).unwrap();
                    std::fs::remove_file(place.join("out")).unwrap();
                }
            }
        }
    }
}
