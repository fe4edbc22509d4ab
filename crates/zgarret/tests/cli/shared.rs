//! One repository and two programs: what `garret create` makes and what `zgarret backup` makes. The library stands for
//! garret, whose commands are calls of it.

use garret_format::archive::ItemKind;

use super::{Dir, MIB, noise, tool};

#[test]
fn an_archive_of_one_file_is_restored_whoever_made_it() {
    let dir = Dir::with_repository();
    dir.write("images/vm.img", &noise(MIB, 1));
    dir.create("repo", "file", &["images/vm.img"]);
    dir.create("repo", "tree", &["images"]);
    for name in ["file", "tree"] {
        let path = format!("repo/backups/{name}");
        assert!(dir.restored(&path) == noise(MIB, 1));
        dir.run(&["restore", &path, "out"]).silent();
        assert!(dir.read("out") == noise(MIB, 1));
    }
}

#[test]
fn an_archive_of_several_files_is_refused_with_what_to_do() {
    let dir = Dir::with_repository();
    dir.write("a", b"a");
    dir.write("b", b"b");
    std::fs::create_dir(dir.path("none")).unwrap();
    dir.create("repo", "two", &["a", "b"]);
    dir.create("repo", "sub/none", &["none"]);
    let repository = dir.path("repo").canonicalize().unwrap();
    for (name, count) in [("two", 2), ("sub/none", 0)] {
        let path = format!("repo/backups/{name}");
        let line = format!(
            "{path} holds {count} files: garret extract {}::{name} restores them",
            repository.display()
        );
        dir.run(&["restore", &path]).fails_saying(&line);
        dir.run(&["restore", &path, "out"]).fails_saying(&line);
        dir.run(&["inspect", &path]).fails_saying(&line);
    }
    assert!(!dir.path("out").exists());
}

#[test]
fn what_zgarret_makes_is_an_archive_of_one_file_with_a_sensible_name() {
    let dir = Dir::with_repository();
    dir.write("images/vm.img", &noise(MIB, 1));
    dir.feed(&noise(MIB, 1), &["backup", "repo/backups/night/vm"]).silent();
    dir.run(&["backup", "images/vm.img", "repo/backups/file"]).silent();
    dir.run(&["backup", "images", "repo/backups"]).silent();
    let repository = dir.unlocked("repo").reader(&garret_core::Silent).unwrap();
    let items = |name: &str| {
        let archive = repository.archive(name).unwrap();
        assert_eq!(archive.archive.file_count, 1);
        repository.items(&archive).next().unwrap().unwrap()
    };
    assert_eq!(items("night/vm").path, b"vm");
    assert_eq!(items("file").path, b"images/vm.img");
    assert_eq!(items("images/vm.img").path, b"images/vm.img");
    assert!(matches!(items("file").kind, ItemKind::File(_)));
    let mine = rustix::process::geteuid().as_raw();
    assert_eq!(items("file").uid, mine);
}

#[test]
fn what_an_archive_lacks_is_shown_and_what_a_disk_needs_is_told() {
    let dir = Dir::with_repository();
    dir.write("vm.img", &noise(MIB, 1));
    dir.create("repo", "whole", &["vm.img"]);
    dir.create("repo", "partial", &["vm.img", "missing"]);
    let said = |name: &str| dir.run(&["inspect", &format!("repo/backups/{name}")]).stderr;
    let missing = dir.path("missing");
    let lines = format!(
        "Problems while it was made: 1\n    {}: cannot stat: No such file or directory (os error 2)\n",
        missing.display()
    );
    assert!(said("partial").ends_with(&lines), "{}", said("partial"));
    assert!(!said("whole").contains("roblem"));
    let make = |arguments: &[&str]| tool("qemu-img", arguments);
    let path = |name: &str| dir.path(name).to_str().unwrap().to_owned();
    make(&["create", "-q", "-f", "qcow2", &path("base"), "4M"]);
    make(&["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "base", &path("over")]);
    dir.run(&["backup", "over", "repo/backups/over"]).notes(
        "note: over: its backing file base is not in this archive: back it up too: the image is incomplete \
         without it\n",
    );
}

/// A disk of 2 MiB with a partition table and one partition of noise.
fn disk() -> Vec<u8> {
    let mut bytes = noise(2 * MIB, 1);
    bytes[..512].fill(0);
    bytes[450] = 0x83;
    bytes[454..458].copy_from_slice(&2048_u32.to_le_bytes());
    bytes[458..462].copy_from_slice(&2048_u32.to_le_bytes());
    bytes[510..512].copy_from_slice(b"\x55\xaa");
    bytes
}

#[test]
fn a_disk_is_cut_alike_whether_it_is_a_file_or_comes_through_a_pipe() {
    let dir = Dir::with_repository();
    dir.write("vm.img", &disk());
    dir.create("repo", "garret", &["vm.img"]);
    let before = super::pack_bytes(&dir.path("repo"));
    dir.run(&["backup", "vm.img", "repo/backups/file"]).silent();
    dir.feed(&disk(), &["backup", "repo/backups/pipe", "--silent"]).silent();
    let after = super::pack_bytes(&dir.path("repo"));
    assert!(after < before + 100_000, "{before} {after}");
    std::fs::remove_file(dir.path("repo/backups/garret")).unwrap();
    dir.run(&["gc", "repo"]).silent();
    assert!(dir.restored("repo/backups/pipe") == disk());
}
