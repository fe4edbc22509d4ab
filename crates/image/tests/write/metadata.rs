//! Owners, modes, times, attributes, flags.

use std::fs::File;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use garret_image::{Allocation, At, Attributes, Extra, FileKind, Place, Root, Sink, Time, lstat};

use super::common::{self, disk_dir, names, path_str};
use super::{ANY, TIME, plain};

#[test]
fn extended_attributes_and_flags_come_back_and_flags_last() {
    let dir = disk_dir();
    let root = Root::open(dir.path()).unwrap();
    let long = vec![7; 2000];
    let xattrs = [(b"user.a".to_vec(), b"1".to_vec()), (b"user.b".to_vec(), long)];
    // No dump and no atime, which every owner may set.
    let attributes = Attributes { xattrs: &xattrs, flags: 0xc0, ..plain(0o444, None, TIME) };
    root.file(Place::at(b"f"), 0, Allocation::Sparse).unwrap().finish(&attributes).unwrap();
    let id = root.directory(Place::at(b"d")).unwrap();
    root.finish_directory(b"d", id, &attributes).unwrap();
    for name in ["f", "d"] {
        let path = dir.path().join(name);
        let file = File::open(&path).unwrap();
        let extra = Extra::of_file(&file, &path, 1 << 20).unwrap();
        assert_eq!((extra.xattrs.as_slice(), extra.flags & 0xc0), (&xattrs[..], 0xc0), "{name}");
        let found = lstat(&path).unwrap();
        assert_eq!((found.mode, found.mtime), (0o444, TIME));
        assert_eq!(Extra::of_place(At::path(&path), 1 << 20).unwrap().xattrs, xattrs);
        assert!(Extra::of_place(At::path(&path), 2000).is_err(), "more than is allowed");
    }
}

#[test]
fn trees_links_and_metadata_are_as_asked_for() {
    let dir = disk_dir();
    let root = Root::open(&dir.path().join("new/out")).unwrap();
    let at = |name: &str| root.path().join(name);
    root.directory(Place::at(b"a/b")).unwrap();
    let id = root.directory(Place::at(b"a/b")).unwrap();
    assert_eq!(lstat(&at("a/b")).unwrap().mode, 0o700);
    let sink = root.file(Place::at(b"x/y/f"), 5, Allocation::Sparse).unwrap();
    sink.finish(&plain(0o104_751, Some((1234, 567)), TIME)).unwrap();
    root.symlink(b"/etc/shadow", b"a/b/link", &ANY).unwrap();
    root.symlink(b"other", b"a/b/link", &plain(0, Some((11, u32::MAX)), TIME)).unwrap();
    let old = Time { secs: -5, nanos: 0 };
    root.close();
    root.finish_directory(b"a/b", id, &plain(0o555, Some((22, 33)), old)).unwrap();

    assert_eq!(At::path(&at("a/b/link")).read_link().unwrap(), b"other");
    let link = lstat(&at("a/b/link")).unwrap();
    assert_eq!((link.kind, link.mtime), (FileKind::Symlink, TIME));
    let directory = lstat(&at("a/b")).unwrap();
    assert_eq!((directory.mode, directory.mtime.secs), (0o555, -5));
    let file = lstat(&at("x/y/f")).unwrap();
    assert_eq!((file.mode, file.size, file.mtime), (0o4751, 5, TIME));
    if rustix::process::geteuid().is_root() {
        assert_eq!((link.uid, link.gid), (11, 0));
        assert_eq!((directory.uid, directory.gid), (22, 33));
        assert_eq!((file.uid, file.gid), (1234, 567));
    }
    let atime = std::fs::metadata(at("x/y/f")).unwrap().atime();
    assert!(atime > 1_000_000_000, "the access time is left alone");
    assert_eq!(names(&at("a/b")), ["link"]);
}

#[test]
fn set_id_bits_survive_a_change_of_owner_and_writes_before() {
    let dir = disk_dir();
    let root = Root::open(dir.path()).unwrap();
    let sink = root.file(Place::at(b"f"), 1, Allocation::Full).unwrap();
    sink.write_at(0, b"x").unwrap();
    let me = lstat(dir.path()).unwrap();
    sink.finish(&plain(0o6755, Some((me.uid, me.gid)), TIME)).unwrap();
    assert_eq!(lstat(&dir.path().join("f")).unwrap().mode, 0o6755);
}

/// Not being root is part of the property, so root runs this test once more as nobody.
#[test]
fn an_owner_that_only_root_may_set_is_left_alone_and_takes_the_set_id_bits_with_it() {
    let dir = tempfile::tempdir().unwrap();
    if rustix::process::geteuid().is_root() {
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let program = dir.path().join("test");
        std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        let name =
            "an_owner_that_only_root_may_set_is_left_alone_and_takes_the_set_id_bits_with_it";
        let ids = ["--reuid=65534", "--regid=65534", "--clear-groups"];
        let out = common::run("setpriv", &[&ids[..], &[path_str(&program), name]].concat());
        assert!(out.contains("1 passed"), "{out}");
        return;
    }
    let root = Root::open(dir.path()).unwrap();
    root.file(Place::at(b"f"), 0, Allocation::Sparse)
        .unwrap()
        .finish(&plain(0o6755, Some((0, 0)), TIME))
        .unwrap();
    root.symlink(b"f", b"link", &plain(0, Some((0, 0)), TIME)).unwrap();
    let file = lstat(&dir.path().join("f")).unwrap();
    assert_eq!((file.mode, file.mtime), (0o755, TIME));
    assert_ne!(file.uid, 0);
}

/// Root may write everywhere, so root runs this test once more as nobody.
#[test]
fn a_read_only_directory_of_one_s_own_is_written_to_and_gets_its_mode_back() {
    let dir = tempfile::tempdir().unwrap();
    if rustix::process::geteuid().is_root() {
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o777)).unwrap();
        let program = dir.path().join("test");
        std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        let name = "a_read_only_directory_of_one_s_own_is_written_to_and_gets_its_mode_back";
        let ids = ["--reuid=65534", "--regid=65534", "--clear-groups"];
        let out = common::run("setpriv", &[&ids[..], &[path_str(&program), name]].concat());
        assert!(out.contains("1 passed"), "{out}");
        return;
    }
    let at = |name: &str| dir.path().join(name);
    let mode = |name: &str| lstat(&at(name)).unwrap().mode;
    std::fs::create_dir_all(at("out/some/deep")).unwrap();
    common::write_file(&at("out/some"), "f", b"old");
    let lock = |name: &str, mode| {
        std::fs::set_permissions(at(name), PermissionsExt::from_mode(mode)).unwrap();
    };
    lock("out/some/deep", 0o444);
    lock("out/some", 0o555);
    lock("out", 0o555);
    let root = Root::open(&at("out")).unwrap();
    let id = root.directory(Place::at(b"some/deep")).unwrap();
    for path in [&b"some/f"[..], b"some/deep/f", b"some/new/f", b"f"] {
        let sink = root.file(Place::at(path), 3, Allocation::Sparse).unwrap();
        sink.write_at(0, b"new").unwrap();
        sink.finish(&ANY).unwrap();
    }
    root.close();
    root.finish_directory(b"some/deep", id, &plain(0o511, None, TIME)).unwrap();
    drop(root);
    assert_eq!((mode("out"), mode("out/some"), mode("out/some/deep")), (0o555, 0o555, 0o511));
    for path in ["out/some/f", "out/some/new/f", "out/f"] {
        assert_eq!(std::fs::read(at(path)).unwrap(), b"new", "{path}");
    }
    assert_eq!(names(&at("out")), ["f", "some"]);
    for name in ["out", "out/some", "out/some/deep"] {
        lock(name, 0o755);
    }
}

/// A directory whose owner gives everything in it an ACL by default: what is restored has those of the archive alone.
#[test]
fn a_directory_inherits_no_acl_from_where_it_is_restored_to() {
    let temp = tempfile::tempdir().unwrap();
    // Version 2; owner, user 65534, group, mask, others: docs of `acl(5)`, linux/posix_acl_xattr.h.
    let entries: [(u16, u16, u32); 5] =
        [(1, 7, !0), (2, 7, 65534), (4, 7, !0), (16, 7, !0), (32, 7, !0)];
    let mut acl = 2u32.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        acl.extend(tag.to_le_bytes().iter().chain(&rights.to_le_bytes()).chain(&id.to_le_bytes()));
    }
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(temp.path(), "system.posix_acl_default", &acl, flags).unwrap();
    let root = Root::open(temp.path()).unwrap();
    root.directory(Place::at(b"private")).unwrap();
    root.directory(Place::at(b"private/below")).unwrap();
    for path in ["private", "private/below"] {
        let mut names = [0; 1024];
        let len = rustix::fs::listxattr(temp.path().join(path), &mut names).unwrap();
        let names = String::from_utf8_lossy(&names[..len]).into_owned();
        assert!(!names.contains("posix_acl"), "{path}: {names}");
    }
}
