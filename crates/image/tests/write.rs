//! The write side on real files: allocation, threads, hostile paths, crash leftovers.
#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

mod common;

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use common::{
    Random, blocks, disk_dir, extents, map, names, open, path_str, sparse_file, tmpfs_dir,
};
use garret_image::{
    Allocation, AllocationMap, At, Attributes, Extent, Extra, FileSink, Kind, Node, Place, Root,
    Sink, SinkErrorKind, Source, Time, lstat,
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
        let errors = [
            root.file(Place::at(path), 0, Allocation::Sparse).unwrap_err(),
            root.directory(Place::at(path)).unwrap_err(),
            root.symlink(b"t", path, &ANY).unwrap_err(),
            root.finish_directory(path, id, &ANY).unwrap_err(),
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
        let errors = [
            root.file(Place::at(path), 0, Allocation::Sparse).unwrap_err(),
            root.directory(Place::at(path)).unwrap_err(),
            root.symlink(b"t", path, &ANY).unwrap_err(),
            root.finish_directory(path, id, &ANY).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), SinkErrorKind::Refused, "{error:?}");
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
    let root = Root::open(&dir.path().join("out")).unwrap();
    symlink(&victim, root.path().join("f")).unwrap();
    // A name that another program might take for a temporary one.
    symlink(&victim, root.path().join("f.part")).unwrap();
    let sink = root.file(Place::at(b"f"), 3, Allocation::Full).unwrap();
    sink.write_at(0, b"new").unwrap();
    sink.finish(&plain(0o600, None, TIME)).unwrap();
    assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
    assert_eq!(lstat(&root.path().join("f")).unwrap().kind, Kind::Regular);
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
    assert_eq!((found.kind, found.mode, found.mtime), (Kind::Fifo, 0o666, TIME));
    root.symlink(b"p", b"p", &ANY).unwrap();
    assert_eq!(kind(), Kind::Symlink);
    root.node(Node::Fifo, b"p", &ANY).unwrap();
    root.file(Place::at(b"p"), 0, Allocation::Sparse).unwrap().finish(&ANY).unwrap();
    assert_eq!(kind(), Kind::Regular);
    assert_eq!(root.directory(Place::at(b"p")).unwrap_err().kind(), SinkErrorKind::Refused);
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
    assert_eq!(lstat(&root.path().join("other")).unwrap().kind, Kind::Symlink);
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
fn the_old_file_is_intact_until_finish_and_a_dropped_sink_leaves_nothing() {
    let dir = disk_dir();
    let root = Root::open(dir.path()).unwrap();
    let path = common::write_file(dir.path(), "f", b"old");
    let start = || -> FileSink {
        let sink = root.file(Place::at(b"f"), 3, Allocation::Sparse).unwrap();
        sink.write_at(0, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        let [home] = &staging(dir.path())[..] else { panic!("one staging directory") };
        let home = dir.path().join(home);
        assert_eq!(lstat(&home).unwrap().mode & 0o777, 0o700, "nobody else gets in");
        for name in names(&home) {
            assert_eq!(lstat(&home.join(name)).unwrap().mode, 0o600, "private while it is written");
        }
        sink
    };
    drop(start());
    assert_eq!(own_names(dir.path()), ["f"]);
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    start().finish(&plain(0o644, None, TIME)).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"new");
    drop(root);
    assert_eq!(names(dir.path()), ["f"]);
}

/// Plays the run that is killed as well, in a process of its own: its locks end with it.
#[test]
fn what_a_killed_run_left_is_removed_and_nothing_that_looks_like_it() {
    if let Some(path) = std::env::var_os("GARRET_TEST_KILLED_IN") {
        let root = Root::open(Path::new(&path)).unwrap();
        let sink = root.file(Place::at(b"f"), 3, Allocation::Sparse).unwrap();
        sink.write_at(0, b"new").unwrap();
        std::process::exit(0);
    }
    let dir = disk_dir();
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let killed = || {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let name = "what_a_killed_run_left_is_removed_and_nothing_that_looks_like_it";
        child.args([name, "--exact"]).env("GARRET_TEST_KILLED_IN", &out);
        assert!(child.output().unwrap().status.success());
        let left = staging(&out);
        assert_eq!(left.len(), 1, "{left:?}");
        out.join(&left[0])
    };
    // With something of the user's in it, of a foreign name, or another marker: that is not only ours.
    let mut kept = Vec::new();
    let spoil: [fn(&Path); 3] = [
        |left| drop(common::write_file(left, "precious", b"precious")),
        |left| std::fs::create_dir(left.join("7")).unwrap(),
        |left| std::fs::write(left.join("marker"), "garret restore: mine").unwrap(),
    ];
    for (number, spoil) in (0..).zip(spoil) {
        let left = killed();
        spoil(&left);
        let aside = dir.path().join(format!("{STAGING}{number:016x}"));
        std::fs::rename(&left, &aside).unwrap();
        kept.push((aside.clone(), names(&aside)));
    }
    for (path, _) in &kept {
        std::fs::rename(path, out.join(path.file_name().unwrap())).unwrap();
    }
    std::fs::create_dir(out.join(".garret-restore-x")).unwrap();
    common::write_file(&out, ".garret-restore-0123456789abcdef", b"a file");
    let before = staging(&out);
    // One that is being written to stays, and so does all that is not wholly of a killed run.
    let living = Root::open(&out).unwrap();
    let sink = living.file(Place::at(b"f"), 3, Allocation::Sparse).unwrap();
    let other = Root::open(&out).unwrap();
    other.file(Place::at(b"g"), 0, Allocation::Sparse).unwrap().finish(&ANY).unwrap();
    drop(other);
    sink.write_at(0, b"new").unwrap();
    sink.finish(&ANY).unwrap();
    drop(living);
    assert_eq!(staging(&out), before);
    for (path, inside) in kept {
        assert_eq!(names(&out.join(path.file_name().unwrap())), inside);
        std::fs::remove_dir_all(out.join(path.file_name().unwrap())).unwrap();
    }
    std::fs::remove_dir(out.join(".garret-restore-x")).unwrap();
    std::fs::remove_file(out.join(".garret-restore-0123456789abcdef")).unwrap();
    killed();
    Root::open(&out).unwrap().symlink(b"t", b"link", &ANY).unwrap();
    assert_eq!(names(&out), ["f", "g", "link"]);
}

#[test]
fn a_tree_may_hold_any_name_and_is_restored_beside_itself() {
    let dir = disk_dir();
    let root = Root::open(dir.path()).unwrap();
    let write = |name: &[u8], bytes: &[u8]| {
        let sink = root.file(Place::at(name), bytes.len() as u64, Allocation::Sparse).unwrap();
        sink.write_at(0, bytes).unwrap();
        sink
    };
    // Also two of one name at once: the last that is complete stays.
    let (one, two) = (write(b"f", b"first"), write(b"f", b"second"));
    write(b"f.part", b"third").finish(&ANY).unwrap();
    two.finish(&ANY).unwrap();
    one.finish(&ANY).unwrap();
    assert_eq!(std::fs::read(dir.path().join("f.part")).unwrap(), b"third");
    assert_eq!(std::fs::read(dir.path().join("f")).unwrap(), b"first");
    root.close();
    assert_eq!(names(dir.path()), ["f", "f.part"]);
}

#[test]
fn other_file_systems_below_the_destination_have_a_staging_directory_of_their_own() {
    let dir = disk_dir();
    for name in ["tmpfs", "bound", "outside"] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
    }
    let at = |name: &str| path_str(&dir.path().join(name)).to_owned();
    common::run("mount", &["-t", "tmpfs", "-o", "size=1m", "tmpfs", &at("tmpfs")]);
    common::run("mount", &["--bind", &at("outside"), &at("bound")]);
    let root = Root::open(dir.path()).unwrap();
    let made: Vec<_> = [&b"tmpfs/f"[..], b"bound/f", b"f"]
        .into_iter()
        .map(|path| {
            let sink = root.file(Place::at(path), 1, Allocation::Full).unwrap();
            sink.write_at(0, b"x").unwrap();
            sink.finish(&ANY).map(drop)
        })
        .collect();
    let found = ["tmpfs", "bound", "."].map(|name| staging(&dir.path().join(name)).len());
    root.close();
    let left = ["tmpfs", "bound", "outside"].map(|name| names(&dir.path().join(name)));
    for name in ["tmpfs", "bound"] {
        common::run("umount", &[&at(name)]);
    }
    assert!(made.iter().all(Result::is_ok), "{made:?}");
    assert_eq!(found, [1, 1, 1]);
    assert_eq!(left, [["f"], ["f"], ["f"]]);
}

#[test]
fn a_directory_that_was_exchanged_keeps_what_it_is() {
    let dir = disk_dir();
    let root = Root::open(dir.path()).unwrap();
    let id = root.directory(Place::at(b"d")).unwrap();
    std::fs::rename(dir.path().join("d"), dir.path().join("e")).unwrap();
    std::fs::create_dir(dir.path().join("d")).unwrap();
    std::fs::set_permissions(dir.path().join("d"), PermissionsExt::from_mode(0o700)).unwrap();
    let error = root.finish_directory(b"d", id, &plain(0o777, None, TIME)).unwrap_err();
    assert_eq!(error.kind(), SinkErrorKind::Refused, "{error:?}");
    assert_eq!(lstat(&dir.path().join("d")).unwrap().mode, 0o700);
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
    for (name, kind) in
        [("images", Kind::Symlink), ("vm.raw", Kind::Symlink), ("dangling", Kind::Regular)]
    {
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
    let sink = root.file(Place::at(b"f"), 1, Allocation::Full).unwrap();
    sink.write_at(0, b"x").unwrap();
    let me = lstat(dir.path()).unwrap();
    sink.finish(&plain(0o6755, Some((me.uid, me.gid)), TIME)).unwrap();
    assert_eq!(lstat(&dir.path().join("f")).unwrap().mode, 0o6755);
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
