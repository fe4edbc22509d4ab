//! A repository that several users write: who may what follows from the modes of `config` and of the directory, whatever the
//! umask of whoever writes.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use super::{Dir, Ran, tool};

const GROUP: u32 = 100;

/// A directory that all may use, with a file to back up.
fn place() -> Dir {
    let dir = Dir::new();
    fs::set_permissions(dir.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    dir.write("file", b"content");
    fs::create_dir(dir.path("srv")).unwrap();
    tool("chgrp", &[&GROUP.to_string(), dir.path("srv").to_str().unwrap()]);
    fs::set_permissions(dir.path("srv"), fs::Permissions::from_mode(0o3775)).unwrap();
    dir
}

/// Runs the program as a user of the group, with this umask.
fn user(dir: &Dir, id: u32, umask: &str, arguments: &[&str]) -> Ran {
    let garret = dir.command(arguments);
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={id}"), format!("--regid={GROUP}")]).arg("--clear-groups");
    command.args(["sh", "-c", &format!("umask {umask}; exec \"$0\" \"$@\"")]);
    command.arg(garret.get_program()).args(garret.get_args()).current_dir(dir.path(""));
    command.env("HOME", "/nonexistent").env("TZ", "UTC");
    let output = command.output().unwrap();
    Ran::of(format!("{id}: {}", arguments.join(" ")), output)
}

/// Every file and directory has this mode.
#[track_caller]
fn modes(root: &Path, file: u32, directory: u32) {
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        let metadata = path.symlink_metadata().unwrap();
        let expected = if metadata.is_dir() { directory } else { file };
        let mode = metadata.mode() & 0o7777;
        assert_eq!(mode, expected, "{} has {mode:o}, not {expected:o}", path.display());
        if metadata.is_dir() {
            open.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
}

/// Two users with umasks of their own do everything to what the other made.
fn used_by_two(dir: &Dir, repository: &str) {
    let named = |name: &str| format!("{repository}::{name}");
    for (id, umask, name) in [(4001, "077", "one"), (4002, "022", "sub/two"), (4001, "000", "3")] {
        user(dir, id, umask, &["create", &named(name), "file"]).silent();
    }
    for id in [4001, 4002] {
        let text = user(dir, id, "077", &["extract", "--stdout", &named("one")]).succeeds();
        assert_eq!(text, "content");
        user(dir, id, "077", &["check", "--verify-data", repository]).succeeds();
    }
    user(dir, 4002, "077", &["delete", &named("one")]).silent();
    user(dir, 4001, "022", &["prune", "--keep-daily", "1", repository]).silent();
    user(dir, 4002, "022", &["create", &named("sub/four"), "file"]).silent();
    let listed = user(dir, 4001, "077", &["list", "--short", repository]).succeeds();
    assert_eq!(listed, "3\nsub/four\n");
}

#[test]
fn init_shared_group_makes_a_repository_for_a_group() {
    let dir = place();
    user(&dir, 4001, "077", &["init", "--shared", "group", "srv/repo"]).succeeds();
    modes(&dir.path("srv/repo"), 0o660, 0o2770);
    used_by_two(&dir, "srv/repo");
    modes(&dir.path("srv/repo"), 0o660, 0o2770);
    let stranger = Command::new("setpriv")
        .args(["--reuid=4003", "--regid=4003", "--clear-groups"])
        .arg(env!("CARGO_BIN_EXE_garret"))
        .args(["list", "srv/repo"])
        .current_dir(dir.path(""))
        .output()
        .unwrap();
    assert_eq!(stranger.status.code(), Some(1));
}

#[test]
fn a_repository_that_was_given_to_a_group_by_hand_is_one_from_then_on() {
    let dir = place();
    dir.run(&["init", "srv/repo"]).succeeds();
    dir.run(&["create", "srv/repo::old", "file"]).silent();
    let repository = dir.path("srv/repo").to_str().unwrap().to_owned();
    tool("chgrp", &["-R", &GROUP.to_string(), &repository]);
    tool("chmod", &["-R", "g+rwX", &repository]);
    tool("find", &[&repository, "-type", "d", "-exec", "chmod", "g+s", "{}", "+"]);
    user(&dir, 4001, "077", &["delete", "srv/repo::old"]).silent();
    used_by_two(&dir, "srv/repo");
    modes(&dir.path("srv/repo"), 0o660, 0o2770);
}

#[test]
fn init_shared_umask_takes_what_the_umask_leaves() {
    let dir = place();
    for (umask, file, directory) in
        [("027", 0o640, 0o2750), ("002", 0o664, 0o2775), ("077", 0o600, 0o2700)]
    {
        let repository = format!("srv/repo-{umask}");
        user(&dir, 4001, umask, &["init", "--shared", "umask", &repository]).succeeds();
        user(&dir, 4001, "000", &["create", &format!("{repository}::a/b",), "file"]).silent();
        modes(&dir.path(&repository), file, directory);
    }
}

#[test]
fn without_a_word_a_repository_is_for_one_user() {
    let dir = Dir::new();
    dir.write("file", b"content");
    fs::create_dir(dir.path("made")).unwrap();
    fs::set_permissions(dir.path("made"), fs::Permissions::from_mode(0o777)).unwrap();
    for repository in ["new", "made"] {
        let mut command = Command::new("sh");
        let garret = env!("CARGO_BIN_EXE_garret");
        command.args(["-c", "umask 000; \"$0\" init $1 && \"$0\" create $1::a/b file", garret]);
        let status = command.arg(repository).current_dir(dir.path("")).env_clear();
        let status = status.env("PATH", "/usr/bin:/bin").stdout(std::process::Stdio::null());
        assert!(status.status().unwrap().success());
        modes(&dir.path(repository), 0o600, 0o700);
    }
}
