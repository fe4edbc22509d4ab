//! What a walk takes and passes over, and what a restore does about what is there.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use garret_core::{Input, Patterns};
use garret_format::config::KeyMode;
use garret_testkit::Lab;
use rustix::fs::{CWD, Mode};

use super::look::{look, same};
use super::{again_as_nobody, below, disk_dir, items, restore, with_owners};

#[test]
fn names_that_look_like_temporary_ones_do_not_stand_in_each_others_way() {
    let dir = disk_dir();
    let source = dir.path().join("source");
    fs::create_dir_all(&source).unwrap();
    for name in ["f", "f.part", "f.part.1", "f.part.2", "f.part.part"] {
        fs::write(source.join(name), name).unwrap();
    }
    symlink("f", source.join("f.part.3")).unwrap();
    fs::write(source.join("g"), b"g").unwrap();
    symlink("f", source.join("g.part")).unwrap();
    let before = look(&source);
    let (lab, _) = Lab::memory(KeyMode::None);
    lab.backup_path("x", &source).unwrap();
    let target = dir.path().join("target");
    for _ in 0..2 {
        assert_eq!(restore(&lab, "x", &[], &target, &with_owners(&lab)), 0);
        same(&before, &look(&below(&target, &source)));
    }
}

#[test]
fn what_is_in_the_way_is_replaced_unless_it_is_a_directory_with_something_in_it() {
    let dir = disk_dir();
    let source = dir.path().join("source");
    fs::create_dir_all(&source).unwrap();
    for name in ["a", "b", "c", "d", "e"] {
        fs::write(source.join(name), name).unwrap();
    }
    let (lab, _) = Lab::memory(KeyMode::None);
    lab.backup_path("x", &source).unwrap();
    let target = dir.path().join("target");
    let at = |name: &str| below(&target, &source).join(name);
    fs::create_dir_all(at("a")).unwrap();
    fs::create_dir_all(at("b/full")).unwrap();
    symlink("/etc/passwd", at("c")).unwrap();
    rustix::fs::mkfifoat(CWD, at("d"), Mode::RUSR).unwrap();
    fs::write(at("e"), b"older and longer").unwrap();
    assert_eq!(restore(&lab, "x", &[], &target, &lab.restore_options()), 1);
    for name in ["a", "c", "d", "e"] {
        assert!(fs::symlink_metadata(at(name)).unwrap().is_file(), "{name}");
        assert_eq!(fs::read(at(name)).unwrap(), name.as_bytes());
    }
    assert!(at("b/full").is_dir());
}

#[test]
fn an_unreadable_directory_is_stored_and_reported() {
    if rustix::process::geteuid().is_root() {
        again_as_nobody("choices::an_unreadable_directory_is_stored_and_reported");
        return;
    }
    let place = PathBuf::from(std::env::var_os("TREES_DIR").unwrap());
    let source = place.join("source");
    fs::create_dir_all(source.join("closed")).unwrap();
    fs::write(source.join("open"), b"x").unwrap();
    fs::set_permissions(source.join("closed"), Permissions::from_mode(0o000)).unwrap();
    let (lab, _) = Lab::memory(KeyMode::None);
    let (_, problems) = lab.backup_inputs("x", vec![Input::Path(source.clone())]).unwrap();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].contains("closed"), "{problems:?}");
    let listed = items(&lab, "y", &[&source], |_| {});
    assert!(listed.iter().any(|path| path.ends_with("/closed")), "{listed:?}");
    assert!(listed.last().unwrap().ends_with("/open"), "{listed:?}");
}

#[test]
fn mount_points_caches_and_patterns_are_passed_over_when_asked() {
    let dir = disk_dir();
    let source = dir.path().join("s");
    fs::create_dir_all(source.join("mnt")).unwrap();
    fs::create_dir_all(source.join("cache")).unwrap();
    fs::create_dir_all(source.join("nocache")).unwrap();
    fs::write(source.join("cache/data"), b"x").unwrap();
    fs::write(source.join("cache/CACHEDIR.TAG"), b"Signature: 8a477f597d28d172789f06886806bc55\n")
        .unwrap();
    rustix::fs::mkfifoat(CWD, source.join("nocache/CACHEDIR.TAG"), Mode::RUSR).unwrap();
    let mount = Mount::tmpfs(&source.join("mnt"));
    fs::write(source.join("mnt/inside"), b"x").unwrap();
    let (lab, _) = Lab::memory(KeyMode::None);
    let prefix = source.to_str().unwrap()[1..].to_owned();
    let short = |listed: Vec<String>| -> String {
        let strip = |path: &String| path[prefix.len()..].trim_start_matches('/').to_owned();
        listed.iter().map(strip).collect::<Vec<_>>().join(" ")
    };
    let all = "cache cache/CACHEDIR.TAG cache/data mnt mnt/inside nocache nocache/CACHEDIR.TAG";
    assert_eq!(short(items(&lab, "all", &[&source], |_| {})), format!(" {all}"));
    let listed = items(&lab, "one", &[&source], |options| options.one_file_system = true);
    assert_eq!(short(listed), " cache cache/CACHEDIR.TAG cache/data nocache nocache/CACHEDIR.TAG");
    let listed = items(&lab, "no caches", &[&source], |options| options.exclude_caches = true);
    assert_eq!(short(listed), " mnt mnt/inside nocache nocache/CACHEDIR.TAG");
    let patterns = [format!("/{prefix}/mnt/"), "*/cache/d?ta".to_owned(), "*.TAG".to_owned()];
    let exclude = Patterns::new(patterns.map(String::into_bytes));
    let listed = items(&lab, "patterns", &[&source], |options| options.exclude = exclude);
    assert_eq!(short(listed), " cache mnt nocache");
    drop(mount);
}

/// A file system that is unmounted in the end.
struct Mount(PathBuf);

impl Mount {
    fn tmpfs(path: &Path) -> Self {
        let status =
            Command::new("mount").args(["-t", "tmpfs", "none"]).arg(path).status().unwrap();
        assert!(status.success(), "this test needs root and mount");
        Mount(path.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let status = Command::new("umount").arg(&self.0).status().unwrap();
        assert!(status.success() || std::thread::panicking());
    }
}

#[test]
fn what_comes_out_of_a_pipe_is_stored_when_asked() {
    let dir = disk_dir();
    let pipe = dir.path().join("pipe");
    rustix::fs::mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
    let (lab, _) = Lab::memory(KeyMode::None);
    assert_eq!(items(&lab, "node", &[&pipe], |_| {}).len(), 1);
    assert_eq!(lab.restore_bytes("node").unwrap(), b"");
    let to = pipe.clone();
    let writer = std::thread::spawn(move || fs::OpenOptions::new().write(true).open(to));
    let feeder = std::thread::spawn(move || {
        let mut file = writer.join().unwrap().unwrap();
        std::io::Write::write_all(&mut file, b"from the pipe").unwrap();
    });
    items(&lab, "content", &[&pipe], |options| options.read_special = true);
    feeder.join().unwrap();
    assert_eq!(lab.restore_bytes("content").unwrap(), b"from the pipe");
}

#[test]
fn owners_go_by_name_and_by_number_if_the_name_is_unknown() {
    let dir = disk_dir();
    let source = dir.path().join("source");
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("known"), b"").unwrap();
    fs::write(source.join("unknown"), b"").unwrap();
    lchown(source.join("known"), Some(1001), Some(2001)).unwrap();
    lchown(source.join("unknown"), Some(1002), Some(2002)).unwrap();
    let (lab, _) = Lab::memory(KeyMode::None);
    let name = |id: u32, name: &str| std::collections::HashMap::from([(id, name.to_owned())]);
    items(&lab, "x", &[&source], |options| {
        options.users = name(1001, "ann");
        options.groups = name(2001, "staff");
    });
    let number = |name: &str, id: u32| std::collections::HashMap::from([(name.to_owned(), id)]);
    let mut options = with_owners(&lab);
    options.users = number("ann", 3001);
    options.groups = number("staff", 4001);
    let target = dir.path().join("target");
    restore(&lab, "x", &[], &target, &options);
    let owner = |name: &str| look(&below(&target, &source))[Path::new(name)].owner;
    assert_eq!((owner("known"), owner("unknown")), ((3001, 4001), (1002, 2002)));
    restore(&lab, "x", &[], &target, &with_owners(&lab));
    assert_eq!((owner("known"), owner("unknown")), ((1001, 2001), (1002, 2002)));
}
