//! Disks that run full while we write, small file systems in memory. Needs root.

use std::fs;
use std::path::PathBuf;

use super::{Dir, MIB, fill_noise, tool};

/// A file system in memory, unmounted in the end.
pub(super) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Of 8 MiB.
    fn at(path: PathBuf) -> Self {
        Self::with_size(path, "8m")
    }

    pub(super) fn with_size(path: PathBuf, size: &str) -> Self {
        fs::create_dir(&path).unwrap();
        let size = format!("size={size}");
        tool("mount", &["-t", "tmpfs", "-o", &size, "garret-test", path.to_str().unwrap()]);
        SmallDisk(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A program that was killed a moment ago may still be on its way out.
        tool("umount", &["--lazy", self.0.to_str().unwrap()]);
    }
}

fn big(dir: &Dir) -> Vec<u8> {
    let mut bytes = vec![0; 12 * MIB];
    fill_noise(&mut bytes, 9);
    dir.write("big", &bytes);
    bytes
}

#[test]
fn a_full_repository_makes_no_archive_and_loses_none() {
    let dir = Dir::new();
    let disk = SmallDisk::at(dir.path("disk"));
    dir.run(&["init", "disk/repo"]).succeeds();
    dir.write("small", b"content");
    dir.run(&["create", "disk/repo::small", "small"]).silent();
    big(&dir);
    for attempt in ["first", "second"] {
        let archive = format!("disk/repo::{attempt}");
        let ran = dir.run(&["create", "--compression", "none", &archive, "big"]);
        let advice = "disk full, no archive made; make room, then run garret prune";
        ran.refused(1, &format!("No space left on device (os error 28): {advice}"));
    }
    assert_eq!(dir.archives("disk/repo"), ["small"]);
    assert_eq!(dir.run(&["extract", "--stdout", "disk/repo::small"]).succeeds(), "content");
    // Give back what the attempts left; it needs no space itself.
    dir.run(&["prune", "--keep-daily", "1", "disk/repo"]).silent();
    dir.run(&["check", "--verify-data", "disk/repo"]).succeeds();
    dir.run(&["create", "disk/repo::again", "small"]).silent();
    drop(disk);
}

/// What is deleted gives its space back though not a byte is free; what needs room says so and what to do.
#[test]
fn a_disk_without_a_free_byte_is_emptied_by_deleting() {
    let dir = Dir::new();
    let disk = SmallDisk::at(dir.path("disk"));
    dir.run(&["init", "disk/repo"]).succeeds();
    let mut bytes = vec![0; 3 * MIB];
    for (number, name) in ["one", "two"].into_iter().enumerate() {
        fill_noise(&mut bytes, number as u64);
        dir.write(name, &bytes);
        dir.run(&["create", &format!("disk/repo::{name}"), name]).silent();
    }
    let fill = || {
        let mut file =
            fs::File::options().append(true).create(true).open(dir.path("disk/other")).unwrap();
        while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
    };
    fill();
    dir.run(&["delete", "disk/repo::one"]).silent();
    assert_eq!(super::packs(&dir.path("disk/repo")).len(), 1);
    dir.run(&["check", "--verify-data", "disk/repo"]).succeeds();
    fs::remove_file(dir.path("disk/other")).unwrap();
    // Of this pack half is needed.
    fill_noise(&mut bytes, 9);
    dir.write("three", &bytes[..2 * MIB]);
    dir.write("four", &bytes[..MIB]);
    dir.run(&["create", "disk/repo::three", "three"]).silent();
    dir.run(&["create", "disk/repo::four", "four"]).silent();
    fill();
    let ran = dir.run(&["delete", "disk/repo::three"]);
    let told = "Deleted archive three; its space is not freed: ";
    let advice = "disk full, what could go without room is gone; make room, then run garret prune";
    ran.refused(1, told);
    let ran = dir.run(&["prune", "--keep-within", "1d", "disk/repo"]);
    ran.refused(1, advice);
    dir.run(&["check", "--verify-data", "disk/repo"]).succeeds();
    fs::remove_file(dir.path("disk/other")).unwrap();
    dir.run(&["prune", "--keep-daily", "1", "disk/repo"]).silent();
    dir.run(&["check", "--verify-data", "disk/repo"]).succeeds();
    dir.run(&["extract", "-n", "disk/repo::four"]).silent();
    drop(disk);
}

#[test]
fn a_full_destination_keeps_what_was_there_and_gets_nothing_half_written() {
    let dir = Dir::with_repository();
    big(&dir);
    dir.write("small", b"content");
    dir.run(&["create", "repo::a", "big", "small"]).silent();
    let disk = SmallDisk::at(dir.path("disk"));
    dir.write("disk/big", b"old");
    dir.run(&["extract", "repo::a", "--destination", "disk", "small"]).silent();
    let ran = dir.run(&["extract", "repo::a", "--destination", "disk", "big"]);
    ran.refused(1, "up to 12.58 MB are needed and 8.38 MB are free");
    let ran = dir.run(&["extract", "repo::a", "--destination", "disk", "big", "--ignore-space"]);
    ran.reports("big: not restored");
    assert_eq!(dir.read("disk/big"), b"old");
    assert_eq!(dir.read("disk/small"), b"content");
    assert_eq!(super::files_below(&dir.path("disk")).len(), 2);
    drop(disk);
}

#[test]
fn what_a_killed_restore_left_makes_room_for_the_next() {
    let dir = Dir::with_repository();
    let bytes = big(&dir)[..5 * MIB].to_vec();
    dir.write("tree/images/vm.raw", &bytes);
    dir.run(&["create", "repo::a", "tree"]).silent();
    let disk = SmallDisk::at(dir.path("disk"));
    // Killed by what it cannot catch when it puts its file in its place.
    let strace = [
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=renameat",
        "-e",
        "inject=renameat:signal=KILL",
    ];
    let killed = dir.run_under(&strace, &["extract", "--destination", "disk", "repo::a"]);
    assert_eq!(killed.code, None, "{}", killed.stderr);
    assert!(super::files_below(&dir.path("disk")).len() > 1, "it left something");
    dir.run(&["extract", "--destination", "disk", "repo::a", "vm.raw"]).silent();
    assert!(dir.read("disk/tree/images/vm.raw") == bytes);
    assert_eq!(super::files_below(&dir.path("disk")).len(), 1);
    drop(disk);
}
