//! What the tests of this crate share: files with a known shape, and a walk over them that shares
//! no line with the code under test.
#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "test code outside of test functions")]

pub mod craft;
pub mod images;
pub mod qcow2;

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use garret_image::{AllocationMap, Extent, Extents, RawFile, Source};
pub use garret_random::Random;

/// A directory on the file system of the workspace's target directory: never tmpfs, which has
/// neither RWF_NOWAIT nor a page cache that can be dropped.
pub fn disk_dir() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// A directory on tmpfs.
pub fn tmpfs_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").expect("/dev/shm is a tmpfs")
}

/// A file of holes, data and zeros that are stored, of a length that is no multiple of anything.
pub fn sparse_file(path: &Path, random: &mut Random) -> Vec<u8> {
    let len = random.below(3_000_000);
    let file = File::create(path).unwrap();
    file.set_len(len).unwrap();
    for _ in 0..random.below(20) {
        let offset = random.below(len.max(1));
        let room = usize::try_from((len - offset).min(random.below(200_000))).unwrap();
        let bytes =
            if random.below(3) == 0 { vec![0; room] } else { random.bytes_without_zero(room) };
        file.write_all_at(&bytes, offset).unwrap();
    }
    for _ in 0..random.below(8) {
        let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
        let offset = random.below(len.max(1));
        rustix::fs::fallocate(&file, flags, offset, random.below(100_000) + 1).unwrap();
    }
    // Delayed allocation makes holes look like data and the other way round until written back.
    file.sync_all().unwrap();
    std::fs::read(path).unwrap()
}

/// The map by a walk of its own: each page is asked by itself whether data starts in it.
pub fn oracle(path: &Path) -> Vec<Extent> {
    let file = File::open(path).unwrap();
    let len = file.metadata().unwrap().len();
    let mut extents: Vec<Extent> = Vec::new();
    let mut offset = 0;
    while offset < len {
        let piece = (4096 - offset % 4096).min(len - offset);
        let data = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(offset)) == Ok(offset);
        match extents.last_mut() {
            Some(Extent::Data { len, .. }) if data => *len += piece,
            Some(Extent::Hole { len, .. }) if !data => *len += piece,
            _ if data => extents.push(Extent::Data { offset, len: piece }),
            _ => extents.push(Extent::Hole { offset, len: piece }),
        }
        offset += piece;
    }
    extents
}

pub fn open(path: &Path) -> RawFile {
    RawFile::open(path, false).unwrap()
}

pub fn extents(source: &dyn Source) -> Vec<Extent> {
    Extents::new(source).map(Result::unwrap).collect()
}

pub fn map(source: &dyn Source) -> AllocationMap {
    let mut map = AllocationMap::new();
    extents(source).into_iter().for_each(|extent| map.push(extent));
    map
}

pub fn blocks(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().blocks()
}

/// Names in a directory, sorted.
pub fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Runs a tool that the test cannot do without.
pub fn run(program: &str, args: &[&str]) -> String {
    let output = std::process::Command::new(program).args(args).output().unwrap_or_else(|error| {
        panic!("this test needs {program} (e2fsprogs, qemu-utils, util-linux): {error}")
    });
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?} failed: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

pub fn path_str(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub fn write_file(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}
