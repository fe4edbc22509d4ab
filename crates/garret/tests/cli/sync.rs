//! `garret sync` as a user has it: which archives come, and which go. That they are whole is tested in
//! `tests/tests/transfer.rs`.

use std::path::PathBuf;

use super::{Dir, Ran, files_below, noise};

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

fn packs(dir: &Dir) -> Vec<PathBuf> {
    let directories = std::fs::read_dir(dir.path("repo/packs")).unwrap();
    let entries = directories.flat_map(|found| std::fs::read_dir(found.unwrap().path()).unwrap());
    entries.map(|entry| entry.unwrap().path()).collect()
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
    // What was deleted in the source, or lost, does not come back there.
    dir.run(&["sync", "copy", "repo"]).silent();
    assert_eq!(list(&dir, "repo"), "d e f own ");
}

/// Deleted because it was of no use any more, and the copy has the last one that is.
#[test]
fn what_had_lost_something_before_it_was_deleted_stays_in_the_copy() {
    let dir = Dir::new();
    nights(&dir, &["a", "b", "c", "d", "e"]);
    dir.run(&["sync", "repo", "copy"]).succeeds();
    let before = packs(&dir);
    dir.write("app.raw", &noise(300_000, 9));
    dir.run(&["create", "repo::f", "app.raw"]).silent();
    dir.run(&["sync", "repo", "copy"]).succeeds();
    let data = packs(&dir).into_iter().filter(|path| !before.contains(path));
    let data = data.max_by_key(|path| std::fs::metadata(path).unwrap().len()).unwrap();
    std::fs::remove_file(data).unwrap();
    dir.run(&["delete", "repo::f"]).succeeds();
    dir.run(&["delete", "repo::a"]).silent();
    let said = dir.run(&["sync", "-v", "--delete", "repo", "copy"]).succeeds();
    assert_eq!((said.as_str(), list(&dir, "copy").as_str()), ("deleted a\n", "b c d e f "));
    dir.run(&["check", "--verify-data", "copy"]).succeeds();
}

#[test]
fn what_was_deleted_and_put_back_is_not_followed() {
    let dir = Dir::new();
    nights(&dir, &["a", "b", "c", "d"]);
    dir.run(&["sync", "repo", "copy"]).succeeds();
    let all = list(&dir, "copy");
    let copy = |from: &str, to: &str| {
        let mut command = std::process::Command::new("cp");
        command.arg("-r").args([dir.path(from), dir.path(to)]);
        assert!(command.status().unwrap().success());
    };
    copy("repo", "before");
    dir.run(&["delete", "repo::a", "repo::b", "repo::c"]).silent();
    copy("before/packs", "repo");
    copy("before/backups", "repo");
    let [b, c] = ["b", "c"].map(|name| dir.path("repo/backups").join(name));
    // There, and not to be read: whoever put it back wants it.
    std::fs::write(&c, &std::fs::read(&c).unwrap()[..100]).unwrap();
    let ran = dir.run(&["sync", "-v", "--delete", "repo", "copy"]);
    assert_eq!(
        (ran.stdout.as_slice(), list(&dir, "copy")),
        (&b""[..], all.clone()),
        "{}",
        ran.stderr
    );
    std::fs::remove_file(&c).unwrap();
    // That they were put back is known when something else was deleted, however they go then.
    dir.run(&["delete", "repo::d"]).succeeds();
    std::fs::remove_file(&b).unwrap();
    let said = dir.run(&["sync", "-v", "--delete", "repo", "copy"]).succeeds();
    let left = all.replace("c d ", "");
    assert_eq!((said.as_str(), list(&dir, "copy")), ("deleted c\ndeleted d\n", left));
    dir.run(&["delete", "repo::a"]).succeeds();
    let said = dir.run(&["sync", "-v", "--delete", "repo", "copy"]).succeeds();
    assert_eq!(said, "deleted a\n");
}

#[test]
fn half_of_a_copy_does_not_go_unasked() {
    let dir = Dir::new();
    nights(&dir, &["a", "b", "c"]);
    dir.run(&["sync", "repo", "copy"]).succeeds();
    dir.run(&["delete", "repo::a", "repo::b"]).silent();
    let why = "3 of 5 archives in copy were deleted in repo: nothing is deleted here";
    dir.write("app.raw", b"new");
    dir.run(&["create", "repo::d", "app.raw"]).silent();
    dir.run(&["create", "repo::e", "app.raw"]).silent();
    dir.run(&["delete", "repo::c"]).silent();
    let ran = dir.run(&["sync", "-v", "--delete", "repo", "copy"]);
    // What came is told all the same.
    assert_eq!((ran.code, ran.stdout.as_slice()), (Some(1), &b"d\ne\n"[..]));
    assert!(
        ran.stderr.contains(why) && ran.stderr.contains("whether a, b, c are"),
        "{}",
        ran.stderr
    );
    assert_eq!(list(&dir, "copy"), "a b c d e ");
    misused(&dir.run(&["sync", "--force", "repo", "copy"]), "--delete");
    // As many as fit count, not as many as there are.
    let ran = dir.run(&["sync", "--delete", "--archives", "a", "repo", "copy"]);
    assert!(ran.stderr.contains("1 of 1 archive in copy"), "{}", ran.stderr);
    dir.run(&["sync", "--delete", "--archives", "a", "--force", "repo", "copy"]).succeeds();
    assert_eq!(list(&dir, "copy"), "b c d e ");
    dir.run(&["sync", "--delete", "repo", "copy"]).succeeds();
    assert_eq!(list(&dir, "copy"), "d e ");
}

#[test]
fn a_repository_is_no_copy_of_itself() {
    let dir = Dir::new();
    nights(&dir, &["a"]);
    std::os::unix::fs::symlink("repo", dir.path("link")).unwrap();
    let file = format!("file://{}", dir.path("repo").display());
    for to in ["repo", "./repo/", "link", &file] {
        for more in [&[][..], &["-n"], &["--delete", "--force"]] {
            let words = [&["sync"], more, &["repo", to]].concat();
            dir.run(&words).refused(1, "FROM and TO are one place");
        }
    }
    assert_eq!(list(&dir, "repo"), "a ");
}

/// What is said beforehand is what is done then, or refused because more than half would go.
#[test]
fn a_dry_run_says_what_would_come_and_go_and_changes_nothing() {
    let dir = Dir::new();
    nights(&dir, &["a", "b", "c", "d", "e"]);
    let dry = ["sync", "-n", "--delete", "repo", "copy"];
    let real = ["sync", "-v", "--delete", "repo", "copy"];
    let all = |dir: &Dir| -> Vec<(PathBuf, Vec<u8>)> {
        let files =
            files_below(&dir.path("repo")).into_iter().chain(files_below(&dir.path("copy")));
        files.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
    };
    // What the run says, after the dry run has said so and done nothing.
    let both = |dir: &Dir| {
        let before = all(dir);
        let said = dir.run(&dry);
        assert!(all(dir) == before, "{}", said.stderr);
        let done = dir.run(&real);
        assert_eq!(said.code, done.code, "{}{}", said.stderr, done.stderr);
        let said = String::from_utf8(said.stdout).unwrap().replace("would copy ", "");
        assert_eq!(
            said.replace("would delete", "deleted").as_bytes(),
            done.stdout,
            "{}",
            done.stderr
        );
        (done.code, said)
    };
    let said = dir.run(&["sync", "-n", "--since", "2026-01-04T00:00:00Z", "repo", "copy"]);
    assert_eq!(said.succeeds(), "would copy d\nwould copy e\n");
    assert!(!dir.path("copy").exists());
    dir.run(&["sync", "--since", "2026-01-02T00:00:00Z", "repo", "copy"]).succeeds();
    dir.run(&["protect", "copy::c"]).silent();
    dir.run(&["delete", "repo::b", "repo::c"]).silent();
    assert_eq!(both(&dir), (Some(0), "a\nwould delete b\n".to_owned()));
    assert_eq!(list(&dir, "copy"), "a c d e ");
    // More than half: none of it goes, and what is to come counts.
    dir.run(&["delete", "repo::a", "repo::d", "repo::e"]).silent();
    dir.write("app.raw", b"new");
    dir.run(&["create", "repo::f", "app.raw"]).silent();
    let refused = dir.run(&dry);
    assert!(refused.stderr.contains("3 of 5 archives in copy"), "{}", refused.stderr);
    assert_eq!(both(&dir), (Some(1), "f\n".to_owned()));
    assert_eq!(list(&dir, "copy"), "a c d e f ");
}
