//! A block device as a source and as a sink. Needs root and a loop device.
#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

mod common;

use std::path::{Path, PathBuf};

use common::{disk_dir, extents, path_str, run, write_file};
use garret_image::{
    Detected, DeviceSink, Extent, FileKind, RawFile, Sink, SinkErrorKind, Source, detect,
};

/// A loop device, detached on drop.
struct Loop(PathBuf);

impl Loop {
    fn attach(file: &Path) -> Loop {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test attaches a loop device and so must be run as root"
        );
        let device = run("losetup", &["--find", "--show", path_str(file)]);
        Loop(PathBuf::from(device.trim()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        run("losetup", &["--detach", path_str(&self.0)]);
    }
}

#[test]
fn a_block_device_is_one_extent_of_its_capacity() {
    let dir = disk_dir();
    let bytes = common::Random::new(4).bytes_without_zero(3 << 20);
    let device = Loop::attach(&write_file(dir.path(), "disk", &bytes));
    let link = dir.path().join("lv");
    std::os::unix::fs::symlink(&device.0, &link).unwrap();

    assert!(RawFile::open(&link, false).is_err());
    let source = RawFile::open(&link, true).unwrap();
    assert_eq!(source.metadata().kind, FileKind::Block);
    assert_eq!((source.len(), source.metadata().size), (3 << 20, 3 << 20));
    assert_eq!(extents(&source), [Extent::Data { offset: 0, len: 3 << 20 }]);
    let mut read = vec![0; (3 << 20) + 7];
    for _ in 0..2 {
        source.read_at(&mut read, 0).unwrap();
        assert!(read[..3 << 20] == bytes[..]);
        assert!(read[3 << 20..].iter().all(|byte| *byte == 0), "past the end is zero");
    }
    source.read_at(&mut read[..1000], 12345).unwrap();
    assert!(read[..1000] == bytes[12345..13345]);
    assert!(!source.changed().unwrap());
    assert_eq!(detect(&source, &link), Detected::BlockDevice);
}

#[test]
fn a_device_gets_every_byte_that_is_given_and_no_other() {
    let dir = disk_dir();
    let mut random = common::Random::new(5);
    let mut model = random.bytes_without_zero(3 << 20);
    let device = Loop::attach(&write_file(dir.path(), "disk", &model));
    let len = (2 << 20) + 77;
    let sink = DeviceSink::open(&device.0, len, false).unwrap();
    // Stretches that begin and end anywhere, one in two of them zero, in any order.
    let mut cuts: Vec<u64> = (0..60).map(|_| random.below(len)).collect();
    cuts.extend([0, len, 4096, 8192, 1 << 20]);
    cuts.sort_unstable();
    let mut stretches: Vec<(u64, u64)> = cuts.windows(2).map(|pair| (pair[0], pair[1])).collect();
    random.shuffle(&mut stretches);
    for (number, (start, end)) in stretches.into_iter().enumerate() {
        let to = &mut model[start as usize..end as usize];
        if number % 2 == 0 {
            to.fill(0);
            sink.write_zero(start, end - start).unwrap();
        } else {
            to.copy_from_slice(&random.bytes_without_zero(to.len()));
            sink.write_at(start, to).unwrap();
        }
    }
    let beyond = sink.write_at(len - 1, b"xy").unwrap_err();
    assert_eq!(beyond.kind(), SinkErrorKind::Refused);
    assert_eq!(sink.write_zero(len, 1).unwrap_err().kind(), SinkErrorKind::Refused);
    sink.finish().unwrap();
    assert!(std::fs::read(&device.0).unwrap() == model);
}

#[test]
fn a_device_that_is_none_too_small_or_in_use_is_not_opened_for_writing() {
    let dir = disk_dir();
    let file = write_file(dir.path(), "disk", &common::Random::new(6).bytes_without_zero(1 << 20));
    let device = Loop::attach(&file);
    let kind = |path: &Path, len| DeviceSink::open(path, len, false).unwrap_err().kind();
    assert_eq!(kind(&file, 1), SinkErrorKind::Refused);
    assert_eq!(kind(Path::new("/dev/null"), 0), SinkErrorKind::Refused);
    assert_eq!(kind(&device.0, (1 << 20) + 1), SinkErrorKind::Refused);
    let held = DeviceSink::open(&device.0, 1 << 20, false).unwrap();
    assert_eq!(kind(&device.0, 1), SinkErrorKind::Io, "somebody else has it");
    drop(held);
    DeviceSink::open(&device.0, 1 << 20, false).unwrap().finish().unwrap();
}
