//! Names: hostile ones, taken ones, links on the way.

use std::fs::File;
use std::os::unix::fs::{PermissionsExt, symlink};

use garret_image::{
    Allocation, At, Extra, FileId, FileKind, FileSink, Node, Place, Root, Sink, SinkError,
    SinkErrorKind, lstat,
};

use super::common::{self, disk_dir, names, path_str};
use super::{ANY, TIME, plain};

/// What everything that can be made at a path is refused with.
fn refusals(root: &Root, path: &[u8], id: FileId) -> Vec<SinkError> {
    let errors = vec![
        root.file(Place::at(path), 0, Allocation::Sparse).unwrap_err(),
        root.directory(Place::at(path)).unwrap_err(),
        root.symlink(b"t", path, &ANY).unwrap_err(),
        root.finish_directory(path, id, &ANY).unwrap_err(),
    ];
    for error in &errors {
        assert_eq!(error.kind(), SinkErrorKind::Refused, "{error:?}");
    }
    errors
}

#[test]
fn hostile_paths_are_refused_and_create_nothing() {
    let dir = disk_dir();
    let root = Root::open(&dir.path().join("out")).unwrap();
    let id = Root::open(dir.path()).unwrap().directory(Place::at(b"out")).unwrap();
    for path in [
        &b""[..],
        b"/",
        b"/etc/x",
        b"..",
        b"../x",
        b"a/../../x",
        b"a/..",
        b".",
        b"./a",
        b"a/./b",
        b"a//b",
        b"a/",
        b"a\0b",
    ] {
        assert_eq!(refusals(&root, path, id).len(), 4);
    }
    assert!(names(root.path()).is_empty());
    assert_eq!(names(dir.path()), ["out"]);
}

#[test]
fn a_symbolic_link_or_file_in_the_place_of_a_parent_is_refused_by_name() {
    let dir = disk_dir();
    let root = Root::open(&dir.path().join("out")).unwrap();
    let outside = dir.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    common::write_file(&outside, "victim", b"precious");
    root.symlink(b"../outside", b"link", &ANY).unwrap();
    root.file(Place::at(b"file"), 0, Allocation::Sparse)
        .unwrap()
        .finish(&plain(0o600, None, TIME))
        .unwrap();
    let id = root.directory(Place::at(b"a")).unwrap();
    root.symlink(b"../../outside", b"a/link", &ANY).unwrap();
    for (path, obstacle) in [
        (&b"link/x"[..], "link"),
        (b"link/victim", "link"),
        (b"a/link/victim", "a/link"),
        (b"file/x", "file"),
    ] {
        for error in refusals(&root, path, id) {
            assert_eq!(error.path(), root.path().join(obstacle));
        }
    }
    assert_eq!(root.directory(Place::at(b"link")).unwrap_err().kind(), SinkErrorKind::Refused);
    assert_eq!(names(&outside), ["victim"]);
    assert_eq!(std::fs::read(outside.join("victim")).unwrap(), b"precious");
}

#[test]
fn a_link_at_the_name_is_replaced_and_its_target_left_alone() {
    let dir = disk_dir();
    let victim = common::write_file(dir.path(), "victim", b"precious");
    let before = lstat(&victim).unwrap();
    let root = Root::open(&dir.path().join("out")).unwrap();
    symlink(&victim, root.path().join("f")).unwrap();
    // A name that another program might take for a temporary one.
    symlink(&victim, root.path().join("f.part")).unwrap();
    let sink = root.file(Place::at(b"f"), 3, Allocation::Full).unwrap();
    sink.write_at(0, b"new").unwrap();
    sink.finish(&plain(0o600, None, TIME)).unwrap();
    assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
    assert_eq!(lstat(&victim).unwrap(), before);
    assert_eq!(lstat(&root.path().join("f")).unwrap().kind, FileKind::Regular);
    assert_eq!(
        At::path(&root.path().join("f.part")).read_link().unwrap(),
        path_str(&victim).as_bytes()
    );
    root.close();
    assert_eq!(names(root.path()), ["f", "f.part"]);
}

#[test]
fn a_directory_in_the_way_is_replaced_only_if_it_is_empty() {
    let dir = disk_dir();
    let root = Root::open(dir.path()).unwrap();
    std::fs::create_dir_all(dir.path().join("d/x")).unwrap();
    let error = root.file(Place::at(b"d"), 1, Allocation::Sparse).unwrap_err();
    assert_eq!(error.kind(), SinkErrorKind::Refused, "{error:?}");
    let error = root.symlink(b"t", b"d", &ANY).unwrap_err();
    assert_eq!(error.kind(), SinkErrorKind::Refused, "{error:?}");
    std::fs::create_dir(dir.path().join("e")).unwrap();
    let sink = root.file(Place::at(b"e"), 0, Allocation::Sparse).unwrap();
    assert!(dir.path().join("e").is_dir(), "it stays until the file is complete");
    sink.finish(&ANY).unwrap();
    assert!(dir.path().join("e").is_file());
    // Filled while the file was written.
    let sink = root.file(Place::at(b"d/x"), 0, Allocation::Sparse).unwrap();
    std::fs::create_dir(dir.path().join("d/x/y")).unwrap();
    assert!(sink.finish(&ANY).is_err());
    assert!(dir.path().join("d/x/y").is_dir());
}

#[test]
fn names_may_be_as_long_as_the_file_system_takes_them() {
    let dir = disk_dir();
    let root = Root::open(dir.path()).unwrap();
    // Alike in all that their temporary names have of them.
    let long = |last: u8| [vec![b'n'; 254], vec![last]].concat();
    let sinks: Vec<FileSink> = (b'a'..b'k')
        .map(|last| root.file(Place::at(&long(last)), 1, Allocation::Sparse).unwrap())
        .collect();
    for sink in sinks {
        sink.finish(&ANY).unwrap();
    }
    root.symlink(b"t", &long(b'k'), &ANY).unwrap();
    root.close();
    assert_eq!(names(dir.path()).len(), 11);
    assert!(names(dir.path()).iter().all(|name| name.len() == 255));
    let error = root.file(Place::at(&[b'n'; 256]), 1, Allocation::Sparse).unwrap_err();
    assert!(error.io_error().to_string().contains("too long"), "{error:?}");
}

#[test]
fn special_files_take_the_place_of_anything_but_directories_and_the_other_way_round() {
    let dir = disk_dir();
    let root = Root::open(dir.path()).unwrap();
    let kind = || lstat(&dir.path().join("p")).unwrap().kind;
    root.node(Node::Fifo, b"p", &plain(0o666, None, TIME)).unwrap();
    let found = lstat(&dir.path().join("p")).unwrap();
    assert_eq!((found.kind, found.mode, found.mtime), (FileKind::Fifo, 0o666, TIME));
    root.symlink(b"p", b"p", &ANY).unwrap();
    assert_eq!(kind(), FileKind::Symlink);
    root.node(Node::Fifo, b"p", &ANY).unwrap();
    root.file(Place::at(b"p"), 0, Allocation::Sparse).unwrap().finish(&ANY).unwrap();
    assert_eq!(kind(), FileKind::Regular);
    assert_eq!(root.directory(Place::at(b"p")).unwrap_err().kind(), SinkErrorKind::Refused);
    if rustix::process::geteuid().is_root() {
        let node = Node::Character { major: 1, minor: 3 };
        root.node(node, b"p", &plain(0o640, Some((1, 2)), TIME)).unwrap();
        let found = lstat(&dir.path().join("p")).unwrap();
        assert_eq!((found.kind, found.device, found.mode), (FileKind::Character, (1, 3), 0o640));
        assert_eq!((found.uid, found.gid, found.mtime), (1, 2, TIME));
        let node = Node::Block { major: 259, minor: 70_000 };
        root.node(node, b"p", &ANY).unwrap();
        let found = lstat(&dir.path().join("p")).unwrap();
        assert_eq!((found.kind, found.device), (FileKind::Block, (259, 70_000)));
    }
}

#[test]
fn hard_links_are_names_of_one_file_and_lead_nowhere_else() {
    let dir = disk_dir();
    let root = Root::open(&dir.path().join("out")).unwrap();
    let inode = |name: &str| lstat(&root.path().join(name)).unwrap().ino;
    let sink = root.file(Place::at(b"a/first"), 0, Allocation::Sparse).unwrap();
    let id = sink.id().unwrap();
    sink.finish(&ANY).unwrap();
    root.file(Place::at(b"second"), 0, Allocation::Sparse).unwrap().finish(&ANY).unwrap();
    for path in [&b"second"[..], b"second", b"b/c/third"] {
        root.link(b"a/first", id, path).unwrap();
    }
    assert_eq!((inode("second"), inode("b/c/third")), (inode("a/first"), inode("a/first")));
    root.close();
    assert_eq!(names(root.path()), ["a", "b", "second"], "nothing else is left");
    common::write_file(dir.path(), "victim", b"precious");
    let (link, _) = root.symlink(b"../victim", b"link", &ANY).unwrap();
    symlink("..", root.path().join("up")).unwrap();
    root.link(b"link", link, b"other").unwrap();
    assert_eq!(lstat(&root.path().join("other")).unwrap().kind, FileKind::Symlink);
    for (first, path) in [(&b"../victim"[..], &b"x"[..]), (b"up/victim", b"x"), (b"other", b"up/x")]
    {
        assert_eq!(root.link(first, id, path).unwrap_err().kind(), SinkErrorKind::Refused);
    }
    assert!(root.link(b"none", id, b"x").is_err());
    // Another file under the name of the first.
    std::fs::rename(dir.path().join("victim"), root.path().join("second")).unwrap();
    assert_eq!(root.link(b"second", id, b"x").unwrap_err().kind(), SinkErrorKind::Refused);
    std::fs::rename(root.path().join("second"), dir.path().join("victim")).unwrap();
    assert_eq!(lstat(&dir.path().join("victim")).unwrap().nlink, 1);
}

#[test]
fn a_directory_that_was_exchanged_keeps_what_it_is() {
    let dir = disk_dir();
    let root = Root::open(dir.path()).unwrap();
    let id = root.directory(Place::at(b"d")).unwrap();
    std::fs::rename(dir.path().join("d"), dir.path().join("e")).unwrap();
    std::fs::create_dir(dir.path().join("d")).unwrap();
    std::fs::set_permissions(dir.path().join("d"), PermissionsExt::from_mode(0o700)).unwrap();
    let before = lstat(&dir.path().join("d")).unwrap();
    let finish = || root.finish_directory(b"d", id, &plain(0o777, None, TIME)).unwrap_err();
    assert_eq!(finish().kind(), SinkErrorKind::Refused);
    assert_eq!(lstat(&dir.path().join("d")).unwrap(), before);
    // A link to it, and to the very directory that was made.
    std::fs::rename(dir.path().join("d"), dir.path().join("other")).unwrap();
    for target in ["other", "e"] {
        symlink(target, dir.path().join("d")).unwrap();
        let before = lstat(&dir.path().join(target)).unwrap();
        assert_eq!(finish().kind(), SinkErrorKind::Refused);
        assert_eq!(lstat(&dir.path().join(target)).unwrap(), before);
        std::fs::remove_file(dir.path().join("d")).unwrap();
    }
    let sink = root.file(Place::at(b"f"), 0, Allocation::Sparse).unwrap();
    let id = sink.id().unwrap();
    sink.finish(&ANY).unwrap();
    std::fs::rename(dir.path().join("f"), dir.path().join("g")).unwrap();
    let path = common::write_file(dir.path(), "f", b"another");
    root.set_flags(b"f", id, 0x40);
    let flags = Extra::of_file(File::open(&path).unwrap(), &path, 0).unwrap().flags;
    assert_eq!(flags & 0x40, 0, "another file gets no flags");
}

#[test]
fn a_link_that_was_named_is_followed_again_if_nobody_else_can_change_it() {
    let dir = disk_dir();
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir_all(at("pool/images")).unwrap();
    std::fs::create_dir(at("out")).unwrap();
    common::write_file(&at("pool"), "vm.raw", b"old");
    symlink("../pool/images", at("out/images")).unwrap();
    symlink(at("pool/vm.raw"), at("out/vm.raw")).unwrap();
    symlink("nowhere", at("out/dangling")).unwrap();
    let through = |root: &Root| {
        let place = |path| Place { path, followed: true };
        let id = root.directory(place(b"images"))?;
        for (path, followed) in
            [(&b"images/a"[..], false), (b"vm.raw", true), (b"dangling", true), (b"new", true)]
        {
            let sink = root.file(Place { path, followed }, 3, Allocation::Sparse)?;
            sink.write_at(0, b"new")?;
            sink.finish(&ANY)?;
        }
        root.close();
        root.finish_directory(b"images", id, &plain(0o750, None, TIME))
    };
    through(&Root::open(&at("out")).unwrap()).unwrap();
    for path in ["pool/images/a", "pool/vm.raw", "out/dangling", "out/new"] {
        assert_eq!(std::fs::read(at(path)).unwrap(), b"new", "{path}");
    }
    assert_eq!(lstat(&at("pool/images")).unwrap().mode, 0o750);
    for (name, kind) in [
        ("images", FileKind::Symlink),
        ("vm.raw", FileKind::Symlink),
        ("dangling", FileKind::Regular),
    ] {
        assert_eq!(lstat(&at("out").join(name)).unwrap().kind, kind, "{name}");
    }
    assert_eq!(names(&at("pool")), ["images", "vm.raw"]);
    // What the archive does not say was named is not gone through, nor what others could have put there.
    let root = Root::open(&at("out")).unwrap();
    assert_eq!(root.directory(Place::at(b"images")).unwrap_err().kind(), SinkErrorKind::Refused);
    std::fs::set_permissions(at("out"), PermissionsExt::from_mode(0o777)).unwrap();
    assert_eq!(through(&root).unwrap_err().kind(), SinkErrorKind::Refused);
    std::fs::set_permissions(at("out"), PermissionsExt::from_mode(0o755)).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::lchown(at("out/images"), Some(1), Some(1)).unwrap();
        assert_eq!(through(&root).unwrap_err().kind(), SinkErrorKind::Refused);
    }
    let error = root.file(Place { path: b"images", followed: true }, 0, Allocation::Sparse);
    assert_eq!(error.unwrap_err().kind(), SinkErrorKind::Refused, "a directory is behind it");
}

/// An archive can say of its own links that they were named. Whoever makes it chooses where they lead.
#[test]
fn no_link_that_the_archive_made_is_followed() {
    let dir = disk_dir();
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir_all(at("outside/inner")).unwrap();
    common::write_file(&at("outside"), "file", b"old");
    std::fs::create_dir(at("out")).unwrap();
    symlink("made/inner", at("out/own")).unwrap();
    symlink("../outside/inner", at("out/sound")).unwrap();
    let root = Root::open(&at("out")).unwrap();
    let place = |path| Place { path, followed: true };
    root.symlink(b"../outside", b"made", &ANY).unwrap();
    root.symlink(b"../outside/file", b"file", &ANY).unwrap();
    let refused = |error: garret_image::SinkError| assert_eq!(error.kind(), SinkErrorKind::Refused);
    refused(root.file(place(b"file"), 3, Allocation::Sparse).unwrap_err());
    for path in ["made", "own", "made/inner"] {
        refused(root.directory(place(path.as_bytes())).unwrap_err());
    }
    // One that leads through none of them is followed as before.
    root.directory(place(b"sound")).unwrap();
    root.file(Place::at(b"sound/new"), 0, Allocation::Sparse).unwrap().finish(&ANY).unwrap();
    root.close();
    assert_eq!(std::fs::read(at("outside/file")).unwrap(), b"old");
    assert_eq!(names(&at("outside")), ["file", "inner"]);
    assert_eq!(names(&at("outside/inner")), ["new"]);
}

#[test]
fn an_image_that_a_virtual_machine_has_open_is_not_replaced_unless_asked() {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Command, Stdio};
    let dir = disk_dir();
    for (name, format) in [("vm.raw", "raw"), ("vm.qcow2", "qcow2")] {
        let path = dir.path().join(name);
        common::run("qemu-img", &["create", "-q", "-f", format, path_str(&path), "1M"]);
        let mut qemu = Command::new("qemu-io")
            .args(["-f", format, path_str(&path)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Its answer shows that it has the image open.
        let mut stdin = qemu.stdin.take().unwrap();
        stdin.write_all(b"read 0 512\n").unwrap();
        let mut answer = String::new();
        BufReader::new(qemu.stdout.take().unwrap()).read_line(&mut answer).unwrap();
        let start = |root: &Root| root.file(Place::at(name.as_bytes()), 1, Allocation::Sparse);
        let root = Root::open(dir.path()).unwrap();
        let used = start(&root).map(drop).map_err(|error| error.kind());
        let forced = start(&root.replace_used(true)).map(drop);
        drop(stdin);
        qemu.wait().unwrap();
        assert_eq!(used, Err(SinkErrorKind::Used), "{name}: {answer}");
        assert!(forced.is_ok());
        assert!(start(&Root::open(dir.path()).unwrap()).is_ok(), "nobody has it open any more");
    }
}
