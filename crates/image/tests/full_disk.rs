//! A destination that runs out of space. Needs root, to mount a small file system.
#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

mod common;

use std::path::{Path, PathBuf};

use common::{disk_dir, names, path_str, run};
use garret_image::{Allocation, Place, Root, Sink, SinkErrorKind};

/// A tmpfs of 1 MiB, unmounted on drop.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> SmallDisk {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test mounts a file system and so must be run as root"
        );
        run("mount", &["-t", "tmpfs", "-o", "size=1m", "tmpfs", path_str(at)]);
        SmallDisk(at.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run("umount", &[path_str(&self.0)]);
    }
}

#[test]
fn a_full_disk_is_told_apart_and_gets_its_space_back() {
    let dir = disk_dir();
    let disk = SmallDisk::mount(dir.path());
    let root = Root::open(&disk.0).unwrap();
    for _ in 0..2 {
        // As holes there is room for any length.
        let sink = root.file(Place::at(b"f"), 4 << 20, Allocation::Full).unwrap();
        sink.write_zero(0, 512 << 10).unwrap();
        let error = sink.write_zero(512 << 10, 1 << 20).unwrap_err();
        assert_eq!(error.kind(), SinkErrorKind::NoSpace, "{error:?}");
        assert!(error.is_no_space());
        assert_eq!(error.path(), disk.0.join("f"));
        drop(sink);
        root.close();
        assert!(names(&disk.0).is_empty());
    }
    drop(root);
}
