//! What another user can put in the place of a staging directory in the moment after it was made.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

use super::*;
use crate::SinkErrorKind;

/// Takes what `put` left at the name, in a directory that all may write to.
fn take_what_is_there(put: impl Fn(&Path)) -> (Result<Directory, SinkError>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    put(&dir.path().join("name"));
    let home = File::open(dir.path()).unwrap();
    (Directory::take(home.as_fd(), "name".into(), &dir.path().join("image")), dir)
}

#[test]
fn a_staging_directory_that_was_exchanged_is_refused_and_left_as_it_is() {
    let mode = |path: &Path| fs::symlink_metadata(path).unwrap().mode() & 0o7777;
    let (taken, dir) = take_what_is_there(|at| {
        fs::create_dir(at).unwrap();
        fs::set_permissions(at, fs::Permissions::from_mode(0o777)).unwrap();
        chown(at, Some(65534), Some(65534)).unwrap();
    });
    assert_eq!(taken.unwrap_err().kind(), SinkErrorKind::Refused, "that of another user");
    assert_eq!(mode(&dir.path().join("name")), 0o777);

    let (taken, dir) = take_what_is_there(|at| {
        fs::create_dir(at).unwrap();
        fs::write(at.join("0"), "mine").unwrap();
    });
    assert_eq!(
        taken.unwrap_err().kind(),
        SinkErrorKind::Refused,
        "one of ours that holds something"
    );
    assert_eq!(fs::read(dir.path().join("name/0")).unwrap(), b"mine");

    let victim = tempfile::tempdir().unwrap();
    fs::set_permissions(victim.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (taken, _dir) = take_what_is_there(|at| symlink(victim.path(), at).unwrap());
    assert!(taken.is_err(), "a link");
    assert_eq!(mode(victim.path()), 0o755);
    assert_eq!(fs::read_dir(victim.path()).unwrap().count(), 0);

    let (taken, dir) = take_what_is_there(|at| fs::create_dir(at).unwrap());
    let taken = taken.unwrap();
    assert_eq!(mode(&dir.path().join("name")), 0o700);
    drop(taken);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
