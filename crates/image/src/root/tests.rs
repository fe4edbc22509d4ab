//! What is found in a staging directory in the moment after it was made, should somebody reach into it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use rustix::fs::CWD;

use super::*;
use crate::{SinkErrorKind, Time};

#[test]
fn what_is_not_what_was_made_a_moment_ago_is_not_changed() {
    let (dir, victims) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let victim = victims.path().join("victim");
    let root = Root::open(dir.path()).unwrap();
    let attributes = Attributes::plain(0o4777, Some((1, 1)), Time { secs: 1, nanos: 0 });
    let make = |file_type: FileType, at: &Path| {
        let at = rustix::fs::mknodat(CWD, at, file_type, Mode::from_raw_mode(0o600), 0);
        at.unwrap();
    };
    // A file where a pipe was made; a pipe that has another name too, in a place that we know nothing of.
    for put in [FileType::RegularFile, FileType::Fifo] {
        make(put, &victim);
        let before = fs::symlink_metadata(&victim).unwrap();
        let made = root.special(b"pipe", FileType::Fifo, &attributes, |staging, entry| {
            rustix::fs::linkat(CWD, &victim, staging, entry, AtFlags::empty())
        });
        assert_eq!(made.unwrap_err().kind(), SinkErrorKind::Refused);
        let kept = fs::symlink_metadata(&victim).unwrap();
        assert_eq!((kept.uid(), kept.permissions().mode() & 0o7777), (0, 0o600));
        assert_eq!((kept.mtime(), kept.mtime_nsec()), (before.mtime(), before.mtime_nsec()));
        assert!(!dir.path().join("pipe").exists());
        fs::remove_file(&victim).unwrap();
    }
}
