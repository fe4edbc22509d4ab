//! `garret sync` as a user has it: which archives come, and which go. That they are whole is tested in
//! `tests/tests/transfer.rs`.

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

#[test]
fn what_somebody_deleted_goes_in_the_copy_and_nothing_else() {
    let dir = Dir::new();
    nights(&dir, &["a", "b", "c", "d", "e", "f"]);
    dir.run(&["sync", "repo", "copy"]).succeeds();
    dir.run(&["protect", "copy::c"]).silent();
    dir.run(&["delete", "repo::a", "repo::c"]).silent();
    // By hand, and found gone by what deletes next: nobody says that it was meant.
    std::fs::remove_file(dir.path("repo/backups/b")).unwrap();
    let pruned = dir.run(&["prune", "-d", "100", "repo"]);
    assert!(pruned.stderr.contains("removed by hand"), "{}", pruned.stderr);
    // Another archive of the name is another archive.
    dir.write("app.raw", b"new");
    dir.run(&["create", "copy::own", "app.raw"]).silent();
    dir.run(&["sync", "repo", "copy"]).succeeds();
    assert_eq!(list(&dir, "copy"), "a b c d e f own ");
    let said = dir.run(&["sync", "-v", "--delete", "repo", "copy"]).succeeds();
    assert_eq!(said, "deleted a\n");
    assert_eq!(list(&dir, "copy"), "b c d e f own ");
    dir.run(&["check", "--verify-data", "copy"]).succeeds();
    // And stays away.
    dir.run(&["sync", "--delete", "repo", "copy"]).silent();
    assert_eq!(list(&dir, "copy"), "b c d e f own ");
    // What is put back in the source is not followed any more.
    dir.run(&["sync", "copy", "repo"]).silent();
    assert_eq!(list(&dir, "repo"), "d e f own ");
}

#[test]
fn half_of_a_copy_does_not_go_unasked() {
    let dir = Dir::new();
    nights(&dir, &["a", "b", "c"]);
    dir.run(&["sync", "repo", "copy"]).succeeds();
    dir.run(&["delete", "repo::a", "repo::b"]).silent();
    let why = "2 of 3 archives in copy were deleted in repo: nothing is deleted here";
    dir.run(&["sync", "--delete", "repo", "copy"]).refused(1, why);
    assert_eq!(list(&dir, "copy"), "a b c ");
    misused(&dir.run(&["sync", "--force", "repo", "copy"]), "--delete");
    dir.run(&["sync", "--delete", "--archives", "a", "repo", "copy"]).succeeds();
    assert_eq!(list(&dir, "copy"), "b c ");
    dir.run(&["delete", "repo::c"]).silent();
    dir.run(&["sync", "--delete", "--force", "repo", "copy"]).succeeds();
    assert_eq!(list(&dir, "copy"), "");
}
