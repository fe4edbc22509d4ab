//! What is not whole yet: where it lies, and what a killed run leaves.

use std::path::Path;

use garret_image::{Allocation, FileSink, Place, Root, Sink, lstat};

use super::common::{self, disk_dir, names, path_str};
use super::{ANY, STAGING, TIME, own_names, plain, staging};

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
        let name = "staging::what_a_killed_run_left_is_removed_and_nothing_that_looks_like_it";
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
