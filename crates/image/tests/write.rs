//! The write side on real files: allocation, threads, hostile paths, crash leftovers.
#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

mod common;

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use common::{
    Random, blocks, disk_dir, extents, map, names, open, path_str, sparse_file, tmpfs_dir,
};
use image::{
    Allocation, AllocationMap, Attributes, Extent, Extra, FileSink, Kind, Node, Root, Sink,
    SinkErrorKind, Source, Time, lstat, read_link,
};

const TIME: Time = Time { secs: 1_000_000_000, nanos: 123_456_789 };
/// Where attributes are not what is asked about.
const ANY: Attributes<'static> =
    Attributes { mode: 0o600, owner: None, mtime: TIME, xattrs: &[], flags: 0 };

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
        let random = &mut Random(seed);
        let path = dir.join("source");
        let bytes = sparse_file(&path, random);
        let source = open(&path);
        let shapes = [
            ("sparse", Allocation::Sparse),
            ("exact", Allocation::Exact(map(&source))),
            ("full", Allocation::Full),
        ];
        for (name, allocation) in shapes {
            let sink = root.file(name.as_bytes(), source.len(), allocation).unwrap();
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
    let sink = root.file(b"f", bytes.len() as u64, Allocation::Sparse).unwrap();
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
    let mut random = Random(9);
    let mut bytes = random.bytes(8 << 20);
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
        let sink = root.file(b"f", bytes.len() as u64, allocation).unwrap();
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
    let sink = root.file(b"f", 10, Allocation::Full).unwrap();
    sink.write_at(9, b"x").unwrap();
    for error in [
        sink.write_at(9, b"xy").unwrap_err(),
        sink.write_at(u64::MAX, b"x").unwrap_err(),
        sink.write_zero(1, 10).unwrap_err(),
        sink.write_zero(2, u64::MAX).unwrap_err(),
        root.file(b"g", 10, Allocation::Exact(AllocationMap::new())).unwrap_err(),
    ] {
        assert_eq!(error.kind(), SinkErrorKind::Refused, "{error:?}");
    }
    assert_eq!(names(dir.path()), ["f.part"]);
}

#[test]
fn hostile_paths_are_refused_and_create_nothing() {
    let dir = disk_dir();
    let root = Root::open(&dir.path().join("out")).unwrap();
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
        let errors = [
            root.file(path, 0, Allocation::Sparse).unwrap_err(),
            root.directory(path).unwrap_err(),
            root.symlink(b"t", path, &ANY).unwrap_err(),
            root.finish_directory(path, &ANY).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), SinkErrorKind::Refused, "{error:?}");
        }
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
    root.file(b"file", 0, Allocation::Sparse).unwrap().finish(&plain(0o600, None, TIME)).unwrap();
    root.directory(b"a").unwrap();
    root.symlink(b"../../outside", b"a/link", &ANY).unwrap();
    for (path, obstacle) in [
        (&b"link/x"[..], "link"),
        (b"link/victim", "link"),
        (b"a/link/victim", "a/link"),
        (b"file/x", "file"),
    ] {
        let errors = [
            root.file(path, 0, Allocation::Sparse).unwrap_err(),
            root.directory(path).unwrap_err(),
            root.symlink(b"t", path, &ANY).unwrap_err(),
            root.finish_directory(path, &ANY).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), SinkErrorKind::Refused, "{error:?}");
            assert_eq!(error.path(), root.path().join(obstacle));
        }
    }
    assert_eq!(root.directory(b"link").unwrap_err().kind(), SinkErrorKind::Refused);
    assert_eq!(names(&outside), ["victim"]);
    assert_eq!(std::fs::read(outside.join("victim")).unwrap(), b"precious");
}

#[test]
fn a_link_at_the_name_is_replaced_and_its_target_left_alone() {
    let dir = disk_dir();
    let victim = common::write_file(dir.path(), "victim", b"precious");
    let root = Root::open(&dir.path().join("out")).unwrap();
    symlink(&victim, root.path().join("f")).unwrap();
    // The temporary name as a link as well: neither followed nor kept.
    symlink(&victim, root.path().join("f.part")).unwrap();
    let sink = root.file(b"f", 3, Allocation::Full).unwrap();
    sink.write_at(0, b"new").unwrap();
    sink.finish(&plain(0o600, None, TIME)).unwrap();
    assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
    assert_eq!(lstat(&root.path().join("f")).unwrap().kind, Kind::Regular);
    assert_eq!(names(root.path()), ["f"]);
}

#[test]
fn a_directory_in_the_way_is_replaced_only_if_it_is_empty() {
    let dir = disk_dir();
    let root = Root::open(dir.path()).unwrap();
    std::fs::create_dir_all(dir.path().join("d/x")).unwrap();
    std::fs::create_dir(dir.path().join("q.part")).unwrap();
    for path in [&b"d"[..], b"q"] {
        let error = root.file(path, 1, Allocation::Sparse).unwrap_err();
        assert_eq!(error.kind(), SinkErrorKind::Refused, "{error:?}");
        let error = root.symlink(b"t", path, &ANY).unwrap_err();
        assert_eq!(error.kind(), SinkErrorKind::Refused, "{error:?}");
    }
    std::fs::create_dir(dir.path().join("e")).unwrap();
    let sink = root.file(b"e", 0, Allocation::Sparse).unwrap();
    assert!(dir.path().join("e").is_dir(), "it stays until the file is complete");
    sink.finish(&ANY).unwrap();
    assert!(dir.path().join("e").is_file());
    // Filled while the file was written.
    let sink = root.file(b"d/x", 0, Allocation::Sparse).unwrap();
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
    let sinks: Vec<FileSink> =
        (b'a'..b'k').map(|last| root.file(&long(last), 1, Allocation::Sparse).unwrap()).collect();
    for sink in sinks {
        sink.finish(&ANY).unwrap();
    }
    root.symlink(b"t", &long(b'k'), &ANY).unwrap();
    assert_eq!(names(dir.path()).len(), 11);
    assert!(names(dir.path()).iter().all(|name| name.len() == 255));
    let error = root.file(&[b'n'; 256], 1, Allocation::Sparse).unwrap_err();
    assert!(error.io_error().to_string().contains("too long"), "{error:?}");
}

#[test]
fn special_files_take_the_place_of_anything_but_directories_and_the_other_way_round() {
    let dir = disk_dir();
    let root = Root::open(dir.path()).unwrap();
    let kind = || lstat(&dir.path().join("p")).unwrap().kind;
    root.node(Node::Fifo, b"p", &plain(0o666, None, TIME)).unwrap();
    let found = lstat(&dir.path().join("p")).unwrap();
    assert_eq!((found.kind, found.mode, found.mtime), (Kind::Fifo, 0o666, TIME));
    // Left by a crash.
    root.node(Node::Fifo, b"p.part", &ANY).unwrap();
    root.symlink(b"p", b"p", &ANY).unwrap();
    assert_eq!(kind(), Kind::Symlink);
    root.node(Node::Fifo, b"p", &ANY).unwrap();
    root.file(b"p", 0, Allocation::Sparse).unwrap().finish(&ANY).unwrap();
    assert_eq!(kind(), Kind::Regular);
    assert_eq!(root.directory(b"p").unwrap_err().kind(), SinkErrorKind::Refused);
    if rustix::process::geteuid().is_root() {
        let node = Node::Character { major: 1, minor: 3 };
        root.node(node, b"p", &plain(0o640, Some((1, 2)), TIME)).unwrap();
        let found = lstat(&dir.path().join("p")).unwrap();
        assert_eq!((found.kind, found.device, found.mode), (Kind::Character, (1, 3), 0o640));
        assert_eq!((found.uid, found.gid, found.mtime), (1, 2, TIME));
        let node = Node::Block { major: 259, minor: 70_000 };
        root.node(node, b"p", &ANY).unwrap();
        let found = lstat(&dir.path().join("p")).unwrap();
        assert_eq!((found.kind, found.device), (Kind::Block, (259, 70_000)));
    }
}

#[test]
fn hard_links_are_names_of_one_file_and_lead_nowhere_else() {
    let dir = disk_dir();
    let root = Root::open(&dir.path().join("out")).unwrap();
    let inode = |name: &str| lstat(&root.path().join(name)).unwrap().ino;
    root.file(b"a/first", 0, Allocation::Sparse).unwrap().finish(&ANY).unwrap();
    root.file(b"second", 0, Allocation::Sparse).unwrap().finish(&ANY).unwrap();
    for path in [&b"second"[..], b"second", b"b/c/third"] {
        root.link(b"a/first", path).unwrap();
    }
    assert_eq!((inode("second"), inode("b/c/third")), (inode("a/first"), inode("a/first")));
    assert_eq!(names(root.path()), ["a", "b", "second"], "no temporary name is left");
    common::write_file(dir.path(), "victim", b"precious");
    symlink("../victim", root.path().join("link")).unwrap();
    symlink("..", root.path().join("up")).unwrap();
    root.link(b"link", b"other").unwrap();
    assert_eq!(lstat(&root.path().join("other")).unwrap().kind, Kind::Symlink);
    for (first, path) in [(&b"../victim"[..], &b"x"[..]), (b"up/victim", b"x"), (b"other", b"up/x")]
    {
        assert_eq!(root.link(first, path).unwrap_err().kind(), SinkErrorKind::Refused);
    }
    assert!(root.link(b"none", b"x").is_err());
    assert_eq!(lstat(&dir.path().join("victim")).unwrap().nlink, 1);
}

#[test]
fn extended_attributes_and_flags_come_back_and_flags_last() {
    let dir = disk_dir();
    let root = Root::open(dir.path()).unwrap();
    let long = vec![7; 2000];
    let xattrs = [(b"user.a".to_vec(), b"1".to_vec()), (b"user.b".to_vec(), long)];
    // No dump and no atime, which every owner may set.
    let attributes = Attributes { xattrs: &xattrs, flags: 0xc0, ..plain(0o444, None, TIME) };
    root.file(b"f", 0, Allocation::Sparse).unwrap().finish(&attributes).unwrap();
    root.directory(b"d").unwrap();
    root.finish_directory(b"d", &attributes).unwrap();
    for name in ["f", "d"] {
        let path = dir.path().join(name);
        let file = File::open(&path).unwrap();
        let extra = Extra::of_file(&file, &path, 1 << 20).unwrap();
        assert_eq!((extra.xattrs.as_slice(), extra.flags & 0xc0), (&xattrs[..], 0xc0), "{name}");
        let found = lstat(&path).unwrap();
        assert_eq!((found.mode, found.mtime), (0o444, TIME));
        assert_eq!(Extra::of_path(&path, 1 << 20).unwrap().xattrs, xattrs);
        assert!(Extra::of_path(&path, 2000).is_err(), "more than is allowed");
    }
}

#[test]
fn the_old_file_is_intact_until_finish_and_a_dropped_sink_leaves_nothing() {
    let dir = disk_dir();
    let root = Root::open(dir.path()).unwrap();
    let path = common::write_file(dir.path(), "f", b"old");
    let start = || -> FileSink {
        let sink = root.file(b"f", 3, Allocation::Sparse).unwrap();
        sink.write_at(0, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        let part = std::fs::metadata(dir.path().join("f.part")).unwrap();
        assert_eq!(part.permissions().mode() & 0o777, 0o600, "private while it is written");
        sink
    };
    drop(start());
    assert_eq!(names(dir.path()), ["f"]);
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    start().finish(&plain(0o644, None, TIME)).unwrap();
    assert_eq!(names(dir.path()), ["f"]);
    assert_eq!(std::fs::read(&path).unwrap(), b"new");
}

#[test]
fn a_stale_part_is_replaced_and_a_living_one_is_not() {
    let dir = disk_dir();
    let root = Root::open(dir.path()).unwrap();
    common::write_file(dir.path(), "f.part", b"left by a crash, and longer than the new one");
    let sink = root.file(b"f", 3, Allocation::Sparse).unwrap();
    // Another process is played by another Root, which shares no memory with the first.
    let other = Root::open(dir.path()).unwrap();
    let error = other.file(b"f", 3, Allocation::Sparse).unwrap_err();
    assert_eq!(error.kind(), SinkErrorKind::Refused, "{error:?}");
    assert!(other.symlink(b"t", b"f", &ANY).is_err());
    sink.write_at(0, b"new").unwrap();
    sink.finish(&plain(0o600, None, TIME)).unwrap();
    assert_eq!(std::fs::read(dir.path().join("f")).unwrap(), b"new");
    assert_eq!(names(dir.path()), ["f"]);
}

#[test]
fn a_part_that_somebody_replaced_is_neither_published_nor_removed() {
    let dir = disk_dir();
    let root = Root::open(dir.path()).unwrap();
    for finish in [true, false] {
        let sink = root.file(b"f", 3, Allocation::Sparse).unwrap();
        std::fs::remove_file(dir.path().join("f.part")).unwrap();
        common::write_file(dir.path(), "f.part", b"not ours");
        if finish {
            let error = sink.finish(&plain(0o600, None, TIME)).unwrap_err();
            assert_eq!(error.kind(), SinkErrorKind::Refused);
        } else {
            drop(sink);
        }
        assert_eq!(names(dir.path()), ["f.part"]);
    }
}

#[test]
fn a_tree_may_hold_both_a_name_and_that_name_with_part() {
    let dir = disk_dir();
    let root = Root::open(dir.path()).unwrap();
    let write = |name: &[u8], bytes: &[u8]| {
        let sink = root.file(name, bytes.len() as u64, Allocation::Sparse).unwrap();
        sink.write_at(0, bytes).unwrap();
        sink
    };
    write(b"f.part", b"second").finish(&plain(0o600, None, TIME)).unwrap();
    write(b"f", b"first").finish(&plain(0o600, None, TIME)).unwrap();
    assert_eq!(std::fs::read(dir.path().join("f.part")).unwrap(), b"second");
    assert_eq!(std::fs::read(dir.path().join("f")).unwrap(), b"first");

    let sink = write(b"g", b"first");
    assert!(root.file(b"g.part", 1, Allocation::Sparse).is_err(), "refused, not mixed up");
    sink.finish(&plain(0o600, None, TIME)).unwrap();
    write(b"g.part", b"second").finish(&plain(0o600, None, TIME)).unwrap();
    assert_eq!(names(dir.path()), ["f", "f.part", "g", "g.part"]);
}

#[test]
fn trees_links_and_metadata_are_as_asked_for() {
    let dir = disk_dir();
    let root = Root::open(&dir.path().join("new/out")).unwrap();
    let at = |name: &str| root.path().join(name);
    root.directory(b"a/b").unwrap();
    root.directory(b"a/b").unwrap();
    assert_eq!(lstat(&at("a/b")).unwrap().mode, 0o700);
    let sink = root.file(b"x/y/f", 5, Allocation::Sparse).unwrap();
    sink.finish(&plain(0o104_751, Some((1234, 567)), TIME)).unwrap();
    root.symlink(b"/etc/shadow", b"a/b/link", &ANY).unwrap();
    root.symlink(b"other", b"a/b/link", &plain(0, Some((11, u32::MAX)), TIME)).unwrap();
    let old = Time { secs: -5, nanos: 0 };
    root.finish_directory(b"a/b", &plain(0o555, Some((22, 33)), old)).unwrap();

    assert_eq!(read_link(&at("a/b/link")).unwrap(), b"other");
    let link = lstat(&at("a/b/link")).unwrap();
    assert_eq!((link.kind, link.mtime), (Kind::Symlink, TIME));
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
    let sink = root.file(b"f", 1, Allocation::Full).unwrap();
    sink.write_at(0, b"x").unwrap();
    let me = lstat(dir.path()).unwrap();
    sink.finish(&plain(0o6755, Some((me.uid, me.gid)), TIME)).unwrap();
    assert_eq!(lstat(&dir.path().join("f")).unwrap().mode, 0o6755);
}

#[test]
fn bytes_never_written_are_zero_in_every_allocation() {
    let dir = disk_dir();
    let root = Root::open(dir.path()).unwrap();
    let sink = root.file(b"f", 10_000, Allocation::Full).unwrap();
    sink.write_at(5_000, b"x").unwrap();
    sink.finish(&plain(0o600, None, TIME)).unwrap();
    let mut expected = vec![0; 10_000];
    expected[5_000] = b'x';
    let mut read = vec![1; 10_000];
    File::open(dir.path().join("f")).unwrap().read_exact_at(&mut read, 0).unwrap();
    assert!(read == expected);
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
    root.file(b"f", 0, Allocation::Sparse)
        .unwrap()
        .finish(&plain(0o6755, Some((0, 0)), TIME))
        .unwrap();
    root.symlink(b"f", b"link", &plain(0, Some((0, 0)), TIME)).unwrap();
    let file = lstat(&dir.path().join("f")).unwrap();
    assert_eq!((file.mode, file.mtime), (0o755, TIME));
    assert_ne!(file.uid, 0);
}
