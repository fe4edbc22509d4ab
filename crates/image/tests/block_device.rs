//! A block device as a source. Needs root and a loop device.
#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

mod common;

use std::path::{Path, PathBuf};

use common::{disk_dir, extents, path_str, run, write_file};
use image::{Detected, Extent, Kind, RawFile, Source, detect};

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
    let bytes = common::Random(4).bytes(3 << 20);
    let device = Loop::attach(&write_file(dir.path(), "disk", &bytes));
    let link = dir.path().join("lv");
    std::os::unix::fs::symlink(&device.0, &link).unwrap();

    assert!(RawFile::open(&link, false).is_err());
    let source = RawFile::open(&link, true).unwrap();
    assert_eq!(source.metadata().kind, Kind::Block);
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
