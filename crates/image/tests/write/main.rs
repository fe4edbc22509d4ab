//! The write side on real files: allocation, threads, hostile paths, crash leftovers.
#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

#[path = "../common/mod.rs"]
mod common;
mod metadata;
mod places;
mod staging;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use common::{Random, blocks, disk_dir, extents, map, names, open, sparse_file, tmpfs_dir};
use garret_image::{
    Allocation, AllocationMap, Attributes, Extent, Place, Root, Sink, SinkErrorKind, Source, Time,
};

const TIME: Time = Time { secs: 1_000_000_000, nanos: 123_456_789 };

/// Where attributes are not what is asked about.
const ANY: Attributes<'static> =
    Attributes { mode: 0o600, owner: None, mtime: TIME, xattrs: &[], flags: 0 };

/// The names in a directory but for that of what a restore builds there.
fn own_names(dir: &Path) -> Vec<String> {
    names(dir).into_iter().filter(|name| !name.starts_with(STAGING)).collect()
}

/// The staging directories in a directory.
fn staging(dir: &Path) -> Vec<String> {
    names(dir).into_iter().filter(|name| name.starts_with(STAGING)).collect()
}

const STAGING: &str = ".garret-restore-";

fn plain(mode: u32, owner: Option<(u32, u32)>, mtime: Time) -> Attributes<'static> {
    Attributes::plain(mode, owner, mtime)
}

/// Copies as a restore does: data in pieces that know nothing of pages, holes and some of the
/// pieces that are zero as zero runs.
fn copy(source: &dyn Source, sink: &dyn Sink, random: &mut Random) {
    for extent in extents(source) {
        let (mut offset, end) = (extent.offset(), extent.offset() + extent.len());
        while offset < end {
            let len = (random.below(100_000) + 1).min(end - offset);
            let mut bytes = vec![0; usize::try_from(len).unwrap()];
            source.read_at(&mut bytes, offset).unwrap();
            let zero = bytes.iter().all(|byte| *byte == 0);
            if zero && random.below(2) == 0 {
                sink.write_zero(offset, len).unwrap();
            } else {
                sink.write_at(offset, &bytes).unwrap();
            }
            offset += len;
        }
    }
}

fn check_copies(dir: &Path, seeds: std::ops::Range<u64>) {
    let root = Root::open(&dir.join("out")).unwrap();
    for seed in seeds {
        let random = &mut Random::new(seed);
        let path = dir.join("source");
        let bytes = sparse_file(&path, random);
        let source = open(&path);
        let shapes = [
            ("sparse", Allocation::Sparse),
            ("exact", Allocation::Exact(map(&source))),
            ("full", Allocation::Full),
        ];
        for (name, allocation) in shapes {
            let sink = root.file(Place::at(name.as_bytes()), source.len(), allocation).unwrap();
            copy(&source, &sink, random);
            sink.finish(&plain(0o640, None, TIME)).unwrap();
            File::open(dir.join("out").join(name)).unwrap().sync_all().unwrap();
        }
        let out = |name: &str| dir.join("out").join(name);
        for name in ["sparse", "exact", "full"] {
            assert!(std::fs::read(out(name)).unwrap() == bytes, "seed {seed}, {name}");
        }
        assert_eq!(extents(&open(&out("exact"))), extents(&source), "seed {seed}");
        let (sparse, original) = (blocks(&out("sparse")), blocks(&path));
        assert!(sparse <= original, "seed {seed}: {sparse} blocks of {original}");
        let full = extents(&open(&out("full")));
        assert!(full.iter().all(|extent| !extent.is_hole()), "seed {seed}: {full:?}");
    }
}

#[test]
fn copies_have_the_same_bytes_and_the_allocation_asked_for() {
    let dir = disk_dir();
    check_copies(dir.path(), 0..40);
}

#[test]
fn the_same_holds_on_tmpfs() {
    let dir = tmpfs_dir();
    check_copies(dir.path(), 100..130);
}

#[test]
fn sparse_makes_a_hole_of_each_zero_page_even_the_last_partial_one() {
    let dir = disk_dir();
    let root = Root::open(dir.path()).unwrap();
    let mut bytes = vec![0; 5 * 4096 + 10];
    bytes[4096 + 5] = 1;
    bytes[3 * 4096..4 * 4096].fill(2);
    let sink = root.file(Place::at(b"f"), bytes.len() as u64, Allocation::Sparse).unwrap();
    sink.write_at(0, &bytes).unwrap();
    sink.finish(&plain(0o600, None, TIME)).unwrap();
    let path = dir.path().join("f");
    File::open(&path).unwrap().sync_all().unwrap();
    assert!(std::fs::read(&path).unwrap() == bytes);
    assert_eq!(
        extents(&open(&path)),
        [
            Extent::Hole { offset: 0, len: 4096 },
            Extent::Data { offset: 4096, len: 4096 },
            Extent::Hole { offset: 8192, len: 4096 },
            Extent::Data { offset: 12288, len: 4096 },
            Extent::Hole { offset: 16384, len: 4106 },
        ]
    );
}

#[test]
fn four_threads_write_in_any_order() {
    let dir = disk_dir();
    let root = Root::open(dir.path()).unwrap();
    let mut random = Random::new(9);
    let mut bytes = random.bytes_without_zero(8 << 20);
    for _ in 0..100 {
        let at = usize::try_from(random.below(8 << 20)).unwrap();
        let end = (at + 50_000).min(bytes.len());
        bytes[at..end].fill(0);
    }
    for allocation in [Allocation::Sparse, Allocation::Full] {
        let mut pieces = Vec::new();
        let mut offset = 0;
        while offset < bytes.len() {
            let len = usize::try_from(random.below(60_000) + 1).unwrap().min(bytes.len() - offset);
            pieces.push(offset..offset + len);
            offset += len;
        }
        for index in 1..pieces.len() {
            pieces.swap(index, usize::try_from(random.below(index as u64 + 1)).unwrap());
        }
        let sink = root.file(Place::at(b"f"), bytes.len() as u64, allocation).unwrap();
        let (sink_ref, bytes_ref) = (&sink, &bytes);
        std::thread::scope(|scope| {
            for share in pieces.chunks(pieces.len().div_ceil(4)) {
                scope.spawn(move || {
                    for piece in share {
                        let bytes = &bytes_ref[piece.clone()];
                        sink_ref.write_at(piece.start as u64, bytes).unwrap();
                    }
                });
            }
        });
        sink.finish(&plain(0o600, None, TIME)).unwrap();
        assert!(std::fs::read(dir.path().join("f")).unwrap() == bytes);
    }
}

#[test]
fn writes_past_the_end_and_a_map_of_another_length_are_refused() {
    let dir = disk_dir();
    let root = Root::open(dir.path()).unwrap();
    let sink = root.file(Place::at(b"f"), 10, Allocation::Full).unwrap();
    sink.write_at(9, b"x").unwrap();
    for error in [
        sink.write_at(9, b"xy").unwrap_err(),
        sink.write_at(u64::MAX, b"x").unwrap_err(),
        sink.write_zero(1, 10).unwrap_err(),
        sink.write_zero(2, u64::MAX).unwrap_err(),
        root.file(Place::at(b"g"), 10, Allocation::Exact(AllocationMap::new())).unwrap_err(),
    ] {
        assert_eq!(error.kind(), SinkErrorKind::Refused, "{error:?}");
    }
    assert!(own_names(dir.path()).is_empty());
}

#[test]
fn bytes_never_written_are_zero_in_every_allocation() {
    let dir = disk_dir();
    let root = Root::open(dir.path()).unwrap();
    let sink = root.file(Place::at(b"f"), 10_000, Allocation::Full).unwrap();
    sink.write_at(5_000, b"x").unwrap();
    sink.finish(&plain(0o600, None, TIME)).unwrap();
    let mut expected = vec![0; 10_000];
    expected[5_000] = b'x';
    let mut read = vec![1; 10_000];
    File::open(dir.path().join("f")).unwrap().read_exact_at(&mut read, 0).unwrap();
    assert!(read == expected);
}
