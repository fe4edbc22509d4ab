//! `garret sync` as a user has it: which archives come. That they are whole is tested in `tests/tests/transfer.rs`.

use super::{Dir, Ran, noise};

/// A repository of these nights, the first of long ago.
fn nights(dir: &Dir, names: &[&str]) {
    dir.run(&["init", "-e", "none", "repo"]).succeeds();
    for (number, name) in names.iter().enumerate() {
        dir.write("app.raw", &noise(300_000, number as u64));
        let archive = format!("repo::{name}");
        let time = format!("2026-01-{:02}T00:00:00Z", number + 1);
        dir.run(&["create", "--timestamp", &time, &archive, "app.raw"]).silent();
    }
}

fn misused(ran: &Ran, text: &str) {
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains(text), "{}", ran.stderr);
}

fn list(dir: &Dir, repository: &str) -> String {
    dir.run(&["list", "--short", repository]).succeeds().replace('\n', " ")
}

#[test]
fn archives_before_a_time_stay_where_they_are() {
    let dir = Dir::new();
    nights(&dir, &["a", "b", "c"]);
    dir.run(&["sync", "--since", "2026-01-02T00:00:00Z", "repo", "copy"]).succeeds();
    assert_eq!(list(&dir, "copy"), "b c ");
    dir.run(&["sync", "--since", "1d", "repo", "copy"]).succeeds();
    dir.write("app.raw", b"tonight");
    dir.run(&["create", "repo::d", "app.raw"]).silent();
    dir.run(&["sync", "--since", "1d", "repo", "copy"]).succeeds();
    assert_eq!(list(&dir, "copy"), "b c d ");
    misused(&dir.run(&["sync", "--since", "yesterday", "repo", "copy"]), "as in 2026-11-20");
    // What was left out comes when it is asked for.
    dir.run(&["sync", "repo", "copy"]).succeeds();
    assert_eq!(list(&dir, "copy"), "a b c d ");
}
