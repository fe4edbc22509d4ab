//! Trees of everything that a file system can hold come back as they were, as root and as somebody else.
//!
//! The trees are looked at by a walk of their own, which shares no line with the code under test. Needs root, `setpriv`,
//! ext4 or the like below the directory of the build, and a tmpfs at /dev/shm.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod choices;
mod grow;
mod links;
mod look;

use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use garret_core::{Destination, Input, RestoreOptions, Selection, Silent};
use garret_format::config::KeyMode;
use garret_testkit::Lab;
use grow::{Softened, Tree, set_mtime};
use look::{look, restored, same};

/// A directory on a file system with extended attributes and flags.
fn disk_dir() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn lab(dir: &Path) -> Lab {
    let mut lab = Lab::local(&dir.join("repo"), KeyMode::None);
    lab.threads = 2;
    lab.cache = Some(dir.join("cache"));
    lab
}

fn with_owners(lab: &Lab) -> RestoreOptions {
    let owners = rustix::process::geteuid().is_root();
    let mut options = lab.restore_options();
    options.owners = owners;
    options
}

/// Where an archive puts what is at `path`.
fn below(target: &Path, path: &Path) -> PathBuf {
    target.join(path.strip_prefix("/").unwrap())
}

fn round_trip(dir: &Path, seed: u64, count: usize) {
    let source = dir.join("source");
    let _softened = [Softened(source.clone()), Softened(dir.join("target"))];
    let tree = Tree::grow(&source, seed, count);
    let before = look(&tree.root);
    let kinds: std::collections::BTreeSet<char> = before.values().map(|facts| facts.kind).collect();
    assert!(kinds.len() == if tree.is_root { 6 } else { 4 }, "{kinds:?}");
    assert!(before.iter().any(|(path, facts)| *path != facts.first), "hard links");
    assert!(!tree.flagged.is_empty());
    let lab = lab(dir);
    lab.backup_path("one", &source).unwrap();
    let target = dir.join("target");
    let done = lab.restore_to("one", &target, &with_owners(&lab)).unwrap();
    assert_eq!(done.problems, [""; 0]);
    same(&restored(&before), &look(&below(&target, &source)));
    same(&before, &look(&tree.root));
    lab.check();
}

#[test]
fn a_nasty_tree_comes_back_as_it_was() {
    let dir = disk_dir();
    round_trip(dir.path(), 1, 10_000);
}

#[test]
fn small_nasty_trees_come_back_too() {
    for seed in 10..20 {
        let dir = disk_dir();
        round_trip(dir.path(), seed, 150);
    }
}

/// Root runs this test once more as nobody.
#[test]
fn whoever_is_not_root_gets_all_that_he_may_have() {
    if rustix::process::geteuid().is_root() {
        again_as_nobody("whoever_is_not_root_gets_all_that_he_may_have");
        return;
    }
    round_trip(Path::new(&std::env::var_os("TREES_DIR").unwrap()), 2, 600);
}

/// Runs one test of this program as nobody, with a directory that is his.
fn again_as_nobody(name: &str) {
    let own = tempfile::tempdir().unwrap();
    fs::set_permissions(own.path(), Permissions::from_mode(0o755)).unwrap();
    let program = own.path().join("test");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let place = own.path().join("place");
    fs::create_dir(&place).unwrap();
    lchown(&place, Some(65534), Some(65534)).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program)
        .args([name, "--exact"])
        .env("TREES_DIR", &place)
        .current_dir("/")
        .output()
        .expect("this test needs setpriv");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn times_beyond_64_bits_of_nanoseconds_come_back() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let source = dir.path().join("source");
    fs::create_dir(&source).unwrap();
    // 2600-01-01 and 1500-01-01: further from 1970 than nanoseconds in 64 bits reach.
    for (name, secs) in [("future", 19_880_899_200), ("past", -14_831_769_600)] {
        fs::write(source.join(name), name).unwrap();
        symlink(name, source.join(format!("link to {name}"))).unwrap();
        set_mtime(&source.join(name), secs, 123_456_789);
        set_mtime(&source.join(format!("link to {name}")), secs, 987_654_321);
    }
    set_mtime(&source, 19_880_899_200, 1);
    let times = |root: &Path| -> Vec<(PathBuf, (i64, i64))> {
        let paths = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
        let mut found: Vec<_> = paths
            .chain([root.to_owned()])
            .map(|path| {
                let stat = fs::symlink_metadata(&path).unwrap();
                let name = path.strip_prefix(root).unwrap().to_owned();
                (name, (stat.mtime(), stat.mtime_nsec()))
            })
            .collect();
        found.sort();
        found
    };
    let before = times(&source);
    assert!(
        before.iter().any(|(_, (secs, _))| *secs == 19_880_899_200),
        "this tmpfs has such times"
    );
    let (lab, _) = Lab::memory(KeyMode::None);
    lab.backup_path("one", &source).unwrap();
    let target = dir.path().join("target");
    lab.restore_to("one", &target, &with_owners(&lab)).unwrap();
    assert_eq!(times(&below(&target, &source)), before);
}

/// What the user is told though nothing is wrong.
#[derive(Default)]
struct Notes(std::sync::Mutex<Vec<String>>);

impl garret_core::Progress for Notes {
    fn notice(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

#[test]
fn an_untouched_tree_is_not_read_and_its_attributes_are_still_there() {
    let dir = disk_dir();
    let source = dir.path().join("source");
    let _softened = [Softened(source.clone()), Softened(dir.path().join("target"))];
    let tree = Tree::grow(&source, 3, 400);
    // An image that names another file in its header.
    let mut image = vec![0; 1 << 17];
    image[..24].copy_from_slice(b"QFI\xfb\0\0\0\x03\0\0\0\0\0\0\x02\0\0\0\0\x04\0\0\0\x10");
    image[0x200..0x204].copy_from_slice(b"base");
    fs::write(source.join("over.qcow2"), image).unwrap();
    let before = look(&tree.root);
    let lab = lab(dir.path());
    let all = lab.backup_path("one", &source).unwrap().archive.archive;
    // A change within the same tick of the clock as the backup would not show: see `Previous`.
    std::thread::sleep(std::time::Duration::from_secs(4));
    lab.backup_path("two", &source).unwrap();
    let report = lab.backup_path("three", &source).unwrap();
    assert_eq!(report.untouched_bytes, report.archive.archive.original_len);
    assert_eq!(report.archive.archive.original_len, all.original_len);
    assert_eq!(report.archive.archive.file_count, all.file_count);
    assert_eq!(report.written.chunk_count, 0);
    let heard = Notes::default();
    let mut repository = lab.writer().unwrap();
    let inputs = vec![Input::Path(source.clone())];
    let report = repository.backup("four", inputs, &lab.options(), &heard).unwrap();
    assert_eq!(report.untouched_bytes, report.archive.archive.original_len);
    let heard = heard.0.into_inner().unwrap();
    assert!(
        heard.len() == 1 && heard[0].contains("over.qcow2: its backing file base is not"),
        "{heard:?}"
    );
    let target = dir.path().join("target");
    lab.restore_to("three", &target, &with_owners(&lab)).unwrap();
    same(&restored(&before), &look(&below(&target, &source)));
    drop(repository);
    // Under another name all is read once, and not again.
    for (archive, untouched) in [("named", 0), ("named again", all.original_len)] {
        let input = Input::Named { path: source.clone(), name: b"other/place".to_vec() };
        let (report, _) = lab.backup_inputs(archive, vec![input]).unwrap();
        assert_eq!(report.untouched_bytes, untouched, "{archive}");
        assert_eq!(report.archive.archive.file_count, all.file_count);
    }
}

/// Backs up `inputs` as `change` says; the items by path, and the problems.
fn items(
    lab: &Lab,
    name: &str,
    inputs: &[&Path],
    change: impl FnOnce(&mut garret_core::BackupOptions),
) -> Vec<String> {
    let mut options = lab.options();
    change(&mut options);
    let mut repository = lab.writer().unwrap();
    let inputs = inputs.iter().map(|path| Input::Path(path.to_path_buf())).collect();
    repository.backup(name, inputs, &options, &Silent).unwrap();
    let archive = repository.archive(name).unwrap();
    let items = repository.items(&archive).map(Result::unwrap);
    items.map(|item| String::from_utf8_lossy(&item.path).into_owned()).collect()
}

fn restore(lab: &Lab, name: &str, paths: &[&Path], target: &Path, options: &RestoreOptions) -> u64 {
    let repository = lab.reader().unwrap();
    let archive = repository.archive(name).unwrap();
    let paths = paths.iter().map(|path| path.as_os_str().as_bytes().to_vec());
    let mut selection = Selection::new(paths);
    let target = Destination::Directory(target.to_owned());
    let report = repository.restore(&archive, &mut selection, target, options, &Silent).unwrap();
    report.problem_count
}
