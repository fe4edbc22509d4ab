//! The options of `create` and `extract` that are about trees: what is left out, owners, parts of paths, special files.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, chown};

use super::{Dir, tool};

/// The paths that `list` shows, behind each other.
fn paths(dir: &Dir, archive: &str) -> String {
    let listed = dir.run(&["list", archive]).succeeds();
    let last = |line: &str| line.rsplit(' ').next().unwrap().to_owned();
    listed.lines().map(last).collect::<Vec<_>>().join(" ")
}

/// A repository, and a tree with objects, sources and a cache in it.
fn tree() -> Dir {
    let dir = Dir::with_repository();
    for name in ["t/a.c", "t/a.o", "t/sub/b.o", "t/sub/deep/c.c", "t/tmp/x", "t/tmp/y/z"] {
        dir.write(name, name.as_bytes());
    }
    dir
}

#[test]
fn create_leaves_out_what_matches() {
    let dir = tree();
    dir.run(&["create", "repo::1", "t", "-e", "*.o", "--exclude", "t/tmp/"]).silent();
    assert_eq!(paths(&dir, "repo::1"), "t t/a.c t/sub t/sub/deep t/sub/deep/c.c t/tmp");
    dir.run(&["create", "-e", "t/sub", "repo::2", "./t/"]).silent();
    assert_eq!(paths(&dir, "repo::2"), "t t/a.c t/a.o t/tmp t/tmp/x t/tmp/y t/tmp/y/z");
    let absolute = dir.path("t");
    let absolute = absolute.to_str().unwrap();
    let pattern = format!("{absolute}/[!s]*");
    dir.run(&["create", "repo::3", absolute, "--exclude", &pattern, "-e=t/sub"]).silent();
    let stored = &absolute[1..];
    assert!(paths(&dir, "repo::3").ends_with(&format!("{stored}/sub/deep/c.c")), "not t/sub");
    assert!(!paths(&dir, "repo::3").contains("a.c"));
}

#[test]
fn patterns_come_from_files_too() {
    let dir = tree();
    dir.write("patterns", b"# comment\n\n*.o\r\nt/tmp\n");
    dir.write("more", b"*.c");
    let from = ["create", "repo::1", "t", "--exclude-from", "patterns"];
    dir.run(&from).silent();
    assert_eq!(paths(&dir, "repo::1"), "t t/a.c t/sub t/sub/deep t/sub/deep/c.c");
    let from = ["create", "repo::2", "t", "--exclude-from=patterns", "--exclude-from", "more"];
    dir.run(&from).silent();
    assert_eq!(paths(&dir, "repo::2"), "t t/sub t/sub/deep");
    let missing = ["create", "repo::3", "t", "--exclude-from", "none"];
    dir.run(&missing).refused(1, "--exclude-from none: No such file");
}

#[test]
fn extract_leaves_out_what_matches_and_an_exclude_beats_a_path() {
    let dir = tree();
    dir.run(&["create", "repo::a", "t"]).silent();
    let extract = |to: &str, more: &[&str]| {
        dir.run(&[&["extract", "repo::a", "--destination", to], more].concat())
    };
    extract("1", &["-e", "*.o", "-e", "t/tmp/"]).silent();
    assert!(dir.path("1/t/a.c").exists() && dir.path("1/t/tmp").is_dir());
    assert!(!dir.path("1/t/a.o").exists() && !dir.path("1/t/tmp/x").exists());
    extract("2", &["t/sub", "--exclude", "t/sub/deep"]).silent();
    assert!(dir.path("2/t/sub/b.o").exists() && !dir.path("2/t/sub/deep").exists());
    assert!(!dir.path("2/t/a.c").exists());
    dir.write("patterns", b"*.o\n");
    extract("3", &["--exclude-from", "patterns", "/t/sub/"]).silent();
    assert!(dir.path("3/t/sub/deep/c.c").exists() && !dir.path("3/t/sub/b.o").exists());
    extract("4", &["t/none", "t/a.c"]).reports("t/none: not in archive a");
    assert!(dir.path("4/t/a.c").exists());
    extract("5", &["t/*.x"]).reports("t/*.x: not in archive a");
    extract("6", &["t/*.c"]).silent();
    assert!(dir.path("6/t/a.c").exists() && dir.path("6/t/sub/deep/c.c").exists());
    assert!(!dir.path("6/t/a.o").exists());
}

#[test]
fn extract_strips_leading_parts() {
    let dir = tree();
    fs::hard_link(dir.path("t/a.c"), dir.path("t/link.c")).unwrap();
    dir.run(&["create", "repo::a", "t"]).silent();
    let strip = |count: &str, to: &str| {
        dir.run(&["extract", "repo::a", "--strip-components", count, "--destination", to])
    };
    strip("1", "1").silent();
    assert_eq!(dir.read("1/sub/b.o"), b"t/sub/b.o");
    let inode = |name: &str| fs::metadata(dir.path(name)).unwrap().ino();
    assert_eq!(inode("1/a.c"), inode("1/link.c"));
    strip("2", "2").silent();
    assert_eq!(dir.read("2/deep/c.c"), b"t/sub/deep/c.c");
    assert!(!dir.path("2/a.c").exists());
    strip("9", "9").silent();
    assert_eq!(fs::read_dir(dir.path("9")).unwrap().count(), 0);
    dir.write("t/sub/x", b"another x");
    dir.run(&["create", "repo::b", "t/sub", "t/tmp"]).silent();
    let twice = ["extract", "repo::b", "--strip-components", "2", "--destination", "b"];
    dir.run(&twice).reports("another file has this name");
    assert_eq!(dir.read("b/x"), b"another x");
}

#[test]
fn caches_and_mount_points_are_left_out() {
    let dir = tree();
    let tag = b"Signature: 8a477f597d28d172789f06886806bc55\nmore";
    dir.write("t/tmp/CACHEDIR.TAG", tag);
    dir.write("t/sub/CACHEDIR.TAG", b"Signature: of something else, but as long as the other one");
    dir.run(&["create", "repo::1", "t", "--exclude-caches"]).silent();
    let listed = paths(&dir, "repo::1");
    assert!(listed.contains("t/sub/CACHEDIR.TAG") && !listed.contains("t/tmp"), "{listed}");
    dir.run(&["create", "repo::2", "t"]).silent();
    assert!(paths(&dir, "repo::2").contains("t/tmp/x"));
    let mount = dir.path("t/mnt");
    fs::create_dir(&mount).unwrap();
    tool("mount", &["-t", "tmpfs", "none", mount.to_str().unwrap()]);
    fs::write(mount.join("inside"), b"x").unwrap();
    let crossing = dir.run(&["create", "repo::3", "t"]);
    let staying = dir.run(&["create", "repo::4", "t", "--do-not-cross-mountpoints"]);
    tool("umount", &[mount.to_str().unwrap()]);
    crossing.silent();
    staying.silent();
    assert!(paths(&dir, "repo::3").contains("t/mnt/inside"));
    assert!(!paths(&dir, "repo::4").contains("t/mnt"));
}

#[test]
fn owners_have_names_unless_numbers_are_asked_for() {
    let dir = Dir::with_repository();
    let file = dir.write("file", b"x");
    chown(&file, Some(1), Some(2)).unwrap();
    dir.run(&["create", "repo::names", "file"]).silent();
    dir.run(&["create", "--numeric-owner", "repo::numbers", "file"]).silent();
    let shown = |archive: &str| -> Vec<String> {
        let listed = dir.run(&["list", archive]).succeeds();
        listed.split_whitespace().skip(1).take(2).map(str::to_owned).collect()
    };
    assert_eq!(shown("repo::names"), ["daemon", "bin"]);
    assert_eq!(shown("repo::numbers"), ["1", "2"]);
    for (to, more) in [("a", &[][..]), ("b", &["--numeric-owner"])] {
        dir.run(&[&["extract", "repo::names", "--destination", to], more].concat()).silent();
        let found = fs::metadata(dir.path(to).join("file")).unwrap();
        assert_eq!((found.uid(), found.gid()), (1, 2));
    }
}

#[test]
fn special_files_are_stored_as_such_and_listed_by_their_letters() {
    let dir = Dir::with_repository();
    dir.write("t/file", b"content");
    fs::hard_link(dir.path("t/file"), dir.path("t/more")).unwrap();
    let at = |name: &str| dir.path(name).to_str().unwrap().to_owned();
    tool("mkfifo", &[&at("t/pipe")]);
    tool("mknod", &[&at("t/null"), "c", "1", "3"]);
    tool("mknod", &[&at("t/ram"), "b", "1", "0"]);
    dir.run(&["create", "repo::a", "t"]).silent();
    let listed = dir.run(&["list", "repo::a"]).succeeds();
    let letters: String = listed.lines().filter_map(|line| line.chars().next()).collect();
    assert_eq!(letters, "d-hcpb");
    assert!(listed.lines().any(|line| line.ends_with(" t/more link to t/file")), "{listed}");
    dir.run(&["extract", "repo::a", "--destination", "to"]).silent();
    let kind = |name: &str| fs::symlink_metadata(dir.path(name)).unwrap();
    assert!(kind("to/t/pipe").file_type().is_fifo());
    assert!(kind("to/t/null").file_type().is_char_device());
    assert_eq!(kind("to/t/null").rdev(), kind("/dev/null").rdev());
    assert!(kind("to/t/ram").file_type().is_block_device());
    let info = dir.run(&["info", "repo::a", "t/more"]).succeeds();
    assert!(info.contains("File size: 7 B"), "{info}");
}

#[test]
fn a_named_pipe_is_read_when_asked() {
    let dir = Dir::with_repository();
    let pipe = dir.path("pipe");
    tool("mkfifo", &[pipe.to_str().unwrap()]);
    let writer = std::thread::spawn(move || fs::write(pipe, b"what comes out").unwrap());
    dir.run(&["create", "--read-special", "repo::a", "pipe"]).silent();
    writer.join().unwrap();
    assert_eq!(dir.run(&["extract", "--stdout", "repo::a", "pipe"]).succeeds(), "what comes out");
    dir.run(&["create", "repo::b", "pipe"]).silent();
    assert!(dir.run(&["list", "repo::b"]).succeeds().starts_with('p'));
}

#[test]
fn a_checkpoint_interval_is_taken_and_needs_nothing() {
    let dir = tree();
    dir.run(&["create", "-c", "60", "repo::1", "t"]).silent();
    dir.run(&["create", "repo::2", "t", "--checkpoint-interval=1800"]).silent();
    assert_eq!(dir.run(&["create", "-c", "soon", "repo::3", "t"]).code, Some(2));
}

#[test]
fn statistics_come_as_json() {
    let dir = tree();
    let ran = dir.run(&["create", "--stats", "--json", "repo::a", "t"]).succeeds();
    let value: serde_json::Value = serde_json::from_str(&ran).unwrap();
    let archive = &value["archive"];
    assert_eq!(archive["name"], "a");
    assert_eq!((&archive["files"], &archive["problems"]), (&6.into(), &0.into()));
    let len: usize = 5 + 5 + 9 + 14 + 7 + 9;
    assert_eq!(archive["original_size"], len);
    assert_eq!(archive["id"].as_str().unwrap().len(), 64);
    assert_eq!(archive["end"].as_str().unwrap().len(), "2026-11-23T02:30:00+00:00".len());
    assert!(archive["duration"].is_number() && archive["seconds_per_gb"].is_number());
    assert!(value["repository"]["stored_size"].as_u64().unwrap() > 0);
}
