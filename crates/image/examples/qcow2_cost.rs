//! What it costs to map a large image: 1 TiB of disk, 100 GiB of it allocated, 64 KiB clusters.
//!
//! In: a directory on a real disk (default: the current one). Makes sparse files there that hold
//! nothing but tables, and prints for each how its clusters lie, the time of `parse`, the memory it
//! took at its peak and kept, and the size of the stored layout. Removes the files.
#![allow(clippy::print_stdout, reason = "a measurement for people")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use garret_image::RawFile;
use garret_image::qcow2::{Outcome, parse};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

const CLUSTER: u64 = 65536;
const DISK: u64 = 1 << 40;
const DATA: u64 = 100 << 30;
/// Clusters that one L2 table describes.
const REACH: u64 = CLUSTER / 8;
const TABLES: u64 = DISK / CLUSTER / REACH;
/// Clusters of the disk, and those of them that are allocated.
const ALL: u64 = DISK / CLUSTER;
const COUNT: u64 = DATA / CLUSTER;
/// L2 tables come after header, refcounts and L1; data after them.
const FIRST_TABLE: u64 = 8;

/// For the n-th allocated cluster: where on the disk and where among the data it lies.
type Place = fn(u64) -> (u64, u64);

/// Makes the image.
fn make(path: &Path, place: Place) -> Result {
    let file = File::create(path)?;
    let mut header = vec![0; 112];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"QFI\xfb\0\0\0\x03");
    put(20, &16_u32.to_be_bytes());
    put(24, &DISK.to_be_bytes());
    put(36, &(TABLES as u32).to_be_bytes());
    put(40, &(3 * CLUSTER).to_be_bytes());
    put(48, &CLUSTER.to_be_bytes());
    put(56, &1_u32.to_be_bytes());
    put(96, &4_u32.to_be_bytes());
    put(100, &112_u32.to_be_bytes());
    file.write_all_at(&header, 0)?;
    let l1: Vec<u8> =
        (0..TABLES).flat_map(|at| ((FIRST_TABLE + at) * CLUSTER).to_be_bytes()).collect();
    file.write_all_at(&l1, 3 * CLUSTER)?;
    let mut tables = vec![0; (TABLES * CLUSTER) as usize];
    for at in 0..COUNT {
        let (guest, data) = place(at);
        let entry = (1 << 63) | ((FIRST_TABLE + TABLES + data) * CLUSTER);
        tables[guest as usize * 8..][..8].copy_from_slice(&u64::to_be_bytes(entry));
    }
    file.write_all_at(&tables, FIRST_TABLE * CLUSTER)?;
    file.set_len((FIRST_TABLE + TABLES) * CLUSTER + DATA)?;
    Ok(file.sync_all()?)
}

/// Resident memory in KiB: now, and the most since it was last reset.
fn memory() -> Result<(u64, u64)> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).unwrap_or("0").parse()
    };
    Ok((field("VmRSS:")?, field("VmHWM:")?))
}

fn measure(name: &str, path: &Path, cold: bool) -> Result {
    let file = RawFile::open(path, false)?;
    if cold {
        let advice = rustix::fs::Advice::DontNeed;
        rustix::fs::fadvise(File::open(path)?, 0, None, advice)?;
    } else {
        let _warm = parse(&file)?;
    }

    std::fs::write("/proc/self/clear_refs", "5")?;
    let before = memory()?.0;
    let start = Instant::now();
    let Outcome::Qcow2(map) = parse(&file)? else { return Err("it is sound".into()) };
    let time = start.elapsed();
    let (after, most) = memory()?;
    println!(
        "{name}, {}: {:.3} s, {} runs, peak {} MiB, kept {} MiB, layout {} bytes",
        if cold { "cold" } else { "warm" },
        time.as_secs_f64(),
        map.layout.run_count(),
        most.saturating_sub(before) / 1024,
        after.saturating_sub(before) / 1024,
        map.layout.encode().len(),
    );
    Ok(())
}

fn main() -> Result {
    let dir = std::env::args_os().nth(1).unwrap_or_else(|| ".".into());
    let path = Path::new(&dir).join("qcow2_cost.qcow2");
    // Odd factors: each visits every place once.
    let cases: [(&str, Place); 4] = [
        ("in order, together", |at| (at, at)),
        ("in order, spread over the disk", |at| (at * (ALL / COUNT), at)),
        ("runs of 16 clusters", |at| {
            let (run, rest) = (at / 16, at % 16);
            (run * 160 + rest, run * 7919 % (COUNT / 16) * 16 + rest)
        }),
        ("each cluster anywhere", |at| (at * (ALL / COUNT), at * 786_433 % COUNT)),
    ];
    for (name, place) in cases {
        make(&path, place)?;
        measure(name, &path, true)?;
        measure(name, &path, false)?;
        std::fs::remove_file(&path)?;
    }
    Ok(())
}
