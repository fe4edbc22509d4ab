//! A copy of a repository is a repository: without what was empty, on a disk that may only be read, in the hands of somebody
//! who may only read. What is missing is made when it is needed, and as durable as what was there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use garret_format::config::KeyMode;

use super::{Dir, PASSPHRASE, Ran, files_below, tool};

/// A copy of what is in files, as object storage, git and `rsync -m` keep it.
fn copy_files(from: &Path, to: &Path) {
    for file in files_below(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(file, target).unwrap();
    }
}

/// Everything works on it: reading first, then writing.
fn is_a_repository(dir: &Dir, repository: &str, archives: &[&str]) {
    let passphrase = [("GARRET_PASSPHRASE", PASSPHRASE)];
    let run = |arguments: &[&str]| dir.run_with(&passphrase, b"", arguments);
    let listed = run(&["list", "--short", repository]).succeeds();
    assert_eq!(listed.lines().collect::<Vec<_>>(), archives);
    run(&["check", "--verify-data", repository]).succeeds();
    for name in archives {
        let archive = format!("{repository}::{name}");
        assert_eq!(run(&["extract", "--stdout", &archive]).succeeds(), "content");
    }
    let archive = format!("{repository}::new/deep");
    run(&["create", &archive, "file"]).silent();
    assert_eq!(run(&["extract", "--stdout", &archive]).succeeds(), "content");
    run(&["delete", &archive]).silent();
    run(&["prune", "--keep-daily", "9", repository]).silent();
    run(&["check", "--verify-data", repository]).succeeds();
}

#[test]
fn a_copy_of_the_files_alone_is_a_repository() {
    let dir = Dir::new();
    dir.write("file", b"content");
    for mode in [KeyMode::None, KeyMode::Passphrase, KeyMode::Keyfile] {
        for archives in [&[][..], &["a"], &["a", "b"]] {
            let name = format!("{mode:?}-{}", archives.len());
            dir.cheap_repository(&name, mode);
            for archive in archives {
                let archive = format!("{name}::{archive}");
                let passphrase = [("GARRET_PASSPHRASE", PASSPHRASE)];
                dir.run_with(&passphrase, b"", &["create", &archive, "file"]).silent();
            }
            let copy = format!("copy-{name}");
            copy_files(&dir.path(&name), &dir.path(&copy));
            is_a_repository(&dir, &copy, archives);
        }
    }
}

#[test]
fn each_directory_that_is_gone_is_missed_only_for_what_was_in_it() {
    let dir = Dir::with_repository();
    dir.write("file", b"content");
    dir.run(&["create", "repo::a", "file"]).silent();
    for gone in ["tmp", "index", "keys", "README"] {
        let path = dir.path("repo").join(gone);
        drop(fs::remove_dir_all(&path));
        drop(fs::remove_file(&path));
        is_a_repository(&dir, "repo", &["a"]);
    }
}

#[test]
fn without_keys_no_passphrase_is_wrong() {
    let dir = Dir::new();
    dir.cheap_repository("repo", KeyMode::Passphrase);
    for remains in ["an empty directory", "nothing", "something else"] {
        drop(fs::remove_dir_all(dir.path("repo/keys")));
        match remains {
            "an empty directory" => fs::create_dir(dir.path("repo/keys")).unwrap(),
            "nothing" => {}
            _ => drop(dir.write("repo/keys/00112233445566778899aabbccddeeff", b"no slot at all")),
        }
        let ran = dir.run_with(&[("GARRET_PASSPHRASE", PASSPHRASE)], b"", &["list", "repo"]);
        ran.refused(1, "keys/ is empty: no passphrase can open it; copy keys/ from another copy");
    }
}

/// Runs the program as a user who is nobody special.
fn as_nobody(dir: &Dir, arguments: &[&str]) -> Ran {
    let garret = dir.command(arguments);
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.arg(garret.get_program()).args(garret.get_args()).current_dir(dir.path(""));
    command.env("GARRET_CACHE_DIR", dir.path("cache-of-nobody")).env("HOME", "/nonexistent");
    let output = command.output().unwrap();
    Ran::of(arguments.join(" "), output)
}

#[test]
fn who_may_only_read_reads() {
    let dir = Dir::with_repository();
    fs::set_permissions(dir.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    dir.write("file", b"content");
    dir.run(&["create", "repo::a", "file"]).silent();
    tool("chmod", &["-R", "a+rX", dir.path("repo").to_str().unwrap()]);
    assert_eq!(as_nobody(&dir, &["list", "--short", "repo"]).succeeds(), "a\n");
    assert_eq!(as_nobody(&dir, &["extract", "--stdout", "repo::a"]).succeeds(), "content");
    as_nobody(&dir, &["check", "--verify-data", "repo"]).succeeds();
    as_nobody(&dir, &["create", "repo::b", "file"]).refused(1, "Permission denied");
    as_nobody(&dir, &["delete", "repo::a"]).refused(1, "Permission denied");
    assert_eq!(dir.archives("repo"), ["a"]);
}

#[test]
fn what_is_mounted_for_reading_is_read() {
    struct Mounted(String);
    impl Drop for Mounted {
        fn drop(&mut self) {
            tool("umount", &[&self.0]);
        }
    }
    let dir = Dir::with_repository();
    dir.write("file", b"content");
    dir.run(&["create", "repo::a", "file"]).silent();
    fs::create_dir(dir.path("disk")).unwrap();
    let disk = dir.path("disk").to_str().unwrap().to_owned();
    tool("mount", &["-t", "tmpfs", "-o", "size=8m", "garret-test", &disk]);
    let mounted = Mounted(disk.clone());
    copy_files(&dir.path("repo"), &dir.path("disk/repo"));
    tool("mount", &["-o", "remount,ro", &disk]);
    assert_eq!(dir.archives("disk/repo"), ["a"]);
    assert_eq!(dir.run(&["extract", "--stdout", "disk/repo::a"]).succeeds(), "content");
    dir.run(&["check", "--verify-data", "disk/repo"]).succeeds();
    dir.run(&["create", "disk/repo::b", "file"]).refused(1, "Read-only file system");
    drop(mounted);
}

/// A directory that another program made may not be durable yet when something is put into it.
#[test]
fn directories_are_durable_before_the_archive_whoever_made_them() {
    let dir = Dir::with_repository();
    dir.write("file", b"content");
    for (archive, other) in [("a/b", false), ("c", true)] {
        if other {
            // As another program would have left them a moment ago.
            drop(fs::remove_dir_all(dir.path("repo/index")));
            for shard in 0..=255 {
                fs::create_dir_all(dir.path(&format!("repo/packs/{shard:02x}"))).unwrap();
            }
            fs::create_dir_all(dir.path("repo/index")).unwrap();
        }
        let log = dir.path("log");
        let archive = format!("repo::{archive}");
        let calls = "trace=mkdirat,fsync,renameat,renameat2";
        let strace = ["strace", "-f", "-y", "-e", calls, "-o", log.to_str().unwrap()];
        dir.run_under(&strace, &["create", &archive, "file"]).silent();
        let log = fs::read_to_string(log).unwrap();
        // Descriptors are shown as 7</path>, below which everything in the repository lies.
        let calls: Vec<&str> = log.lines().filter(|line| line.contains("/repo")).collect();
        let of = |line: &str| line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
        let committed = calls.iter().position(|line| {
            line.contains("renameat2(")
                && line.split(", ").nth(2).is_some_and(|to| to.contains("/backups"))
        });
        let (before, after) = calls.split_at(committed.expect("the archive is renamed"));
        let synced = |calls: &[&str], path: &str| {
            calls.iter().any(|line| line.contains("fsync(") && of(line) == path)
        };
        let root = dir.path("repo").canonicalize().unwrap();
        for (at, line) in before.iter().enumerate().filter(|(_, line)| line.contains("rename")) {
            let target = line.split(", ").nth(2).map(of).unwrap_or_default();
            let target = Path::new(&target);
            for directory in target.ancestors().take_while(|path| path.starts_with(&root)) {
                let path = directory.to_str().unwrap();
                assert!(synced(&before[at..], path), "{archive}: {path} after {line}:\n{log}");
            }
        }
        let backups = root.join("backups");
        assert!(synced(after, backups.to_str().unwrap()), "{log}");
    }
}
