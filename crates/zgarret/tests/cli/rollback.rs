//! A storage that is older than what this client saw is not written to; `rm` in `backups/` is the user's own way to delete,
//! of which nothing is said.

use std::fs;

use super::{Dir, PLAIN, noise, tool};

fn copy(dir: &Dir, from: &str, to: &str) {
    let path = |name: &str| dir.path(name).to_str().unwrap().to_owned();
    if dir.path(to).exists() {
        fs::remove_dir_all(dir.path(to)).unwrap();
    }
    tool("cp", &["-a", &path(from), &path(to)]);
}

#[test]
fn what_was_removed_by_hand_is_nobody_s_business() {
    let dir = Dir::with_repository();
    for (seed, name) in (0..6).zip(["a", "b", "c", "d", "e", "f"]) {
        dir.feed(&noise(100_000, seed), &["backup", &format!("repo/backups/{name}")]).silent();
    }
    let remove = |name: &str| fs::remove_file(dir.path("repo/backups").join(name)).unwrap();
    remove("b");
    assert!(dir.restored("repo/backups/a") == noise(100_000, 0));
    remove("f");
    dir.feed(&noise(100_000, 9), &["backup", "repo/backups/g"]).silent();
    remove("e");
    dir.run(&["gc", "repo"]).silent();
    remove("g");
    // Another host gives the space back, which had seen nothing of it.
    dir.run_with(&[("GARRET_STATE_DIR", "other")], b"", &["gc", "repo"]).silent();
    dir.feed(b"more", &["backup", "repo/backups/h"]).silent();
    assert_eq!(dir.archives("repo"), ["a", "c", "d", "h"]);
    dir.run(&["inspect", "repo/backups/c"]);
    dir.run(&[PLAIN, "init", "to"]).silent();
    dir.run(&["-O", "exchange=backups", "export", "repo", "to"]).silent();
}

#[test]
fn an_older_state_is_not_written_to_until_it_is_accepted() {
    let dir = Dir::with_repository();
    dir.feed(&noise(100_000, 1), &["backup", "repo/backups/a"]).silent();
    copy(&dir, "repo", "old");
    dir.feed(&noise(100_000, 2), &["backup", "repo/backups/b"]).silent();
    copy(&dir, "old", "repo");
    for words in [&["backup", "repo/backups/c"][..], &["gc", "repo"]] {
        let ran = dir.feed(b"x", words);
        assert_eq!((ran.code, ran.stderr.lines().count()), (Some(1), 1), "{}", ran.stderr);
        assert!(ran.stderr.contains("an older state of the repository"), "{}", ran.stderr);
        assert!(ran.stderr.ends_with("nothing was written\n"), "{}", ran.stderr);
    }
    let ran = dir.run(&["--silent", "restore", "repo/backups/a"]);
    assert!(ran.code == Some(0) && ran.stdout == noise(100_000, 1), "{}", ran.stderr);
    assert!(ran.stderr.starts_with("Warning: ") && ran.stderr.contains("archive b, made "));
    dir.feed(b"x", &["backup", "repo/backups/c", "--accept-state"]).silent();
    dir.feed(b"y", &["backup", "repo/backups/d"]).silent();
    assert_eq!(dir.archives("repo"), ["a", "c", "d"]);
}
