//! A repository that is older than what this client saw, or from which archives are gone (T24): who writes is stopped, who
//! reads is told, what somebody deleted is no matter.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use garret_format::config::KeyMode;

use super::{Dir, PASSPHRASE, Ran, files_below, tool};

const UNLOCK: [(&str, &str); 1] = [("GARRET_PASSPHRASE", PASSPHRASE)];
const OLDER: &str = "repo: this is an older state of the repository than this client saw: ";
const ADVICE: &str = "; put the newer one back, or give --accept-state to the next command that writes if this one \
                      is to stay";

fn garret(dir: &Dir, arguments: &[&str]) -> Ran {
    dir.run_with(&UNLOCK, b"", arguments)
}

/// A repository with an archive of each of these files, whose content is their name, many times.
fn with_archives(names: &[&str]) -> Dir {
    let dir = Dir::new();
    dir.cheap_repository("repo", KeyMode::Keyfile);
    names.iter().for_each(|name| create(&dir, name));
    dir
}

fn create(dir: &Dir, name: &str) {
    dir.write(name, name.repeat(1000).as_bytes());
    garret(dir, &["create", &format!("repo::{name}"), name]).silent();
}

fn copy(dir: &Dir, from: &str, to: &str) {
    let path = |name: &str| dir.path(name).to_str().unwrap().to_owned();
    if dir.path(to).exists() {
        fs::remove_dir_all(dir.path(to)).unwrap();
    }
    tool("cp", &["-a", &path(from), &path(to)]);
}

fn remove(dir: &Dir, name: &str) {
    fs::remove_file(dir.path("repo/backups").join(name)).unwrap();
}

fn listed(dir: &Dir) -> Ran {
    garret(dir, &["list", "--short", "repo"])
}

/// It went on, after one line of warning that holds `text`.
#[track_caller]
fn warns(ran: &Ran, text: &str) {
    assert_eq!((ran.code, ran.stderr.lines().count()), (Some(0), 1), "{}", ran.stderr);
    assert!(ran.stderr.starts_with("garret: Warning: repo: "), "{}", ran.stderr);
    assert!(ran.stderr.contains(text), "{}", ran.stderr);
}

const WRITERS: [&[&str]; 4] = [
    &["create", "repo::more", "a"],
    &["prune", "--keep-daily", "1", "repo"],
    &["delete", "repo::a"],
    &["check", "--repair", "repo"],
];

const DRY_RUNS: [&[&str]; 3] = [
    &["prune", "-n", "--keep-daily", "1", "repo"],
    &["compact", "-n", "repo"],
    &["sync", "-n", "repo", "copy"],
];

#[test]
fn an_older_state_is_not_written_to_until_it_is_accepted() {
    let dir = with_archives(&["a"]);
    copy(&dir, "repo", "old");
    ["b", "c"].into_iter().for_each(|name| create(&dir, name));
    copy(&dir, "repo", "new");
    copy(&dir, "old", "repo");
    let how = "2 archives, the newest c, b, are gone together with data";
    let before = files_below(&dir.path("repo"));
    for arguments in WRITERS {
        garret(&dir, arguments).refused(1, &format!("{OLDER}{how}{ADVICE}; nothing was written"));
    }
    assert_eq!(files_below(&dir.path("repo")), before);
    let readers =
        [&["list", "repo"][..], &["check", "repo"], &["info", "repo::a"], &["list", "repo"]];
    for arguments in readers.into_iter().chain(DRY_RUNS) {
        warns(&garret(&dir, arguments), &format!("{OLDER}{how}{ADVICE}\n"));
    }
    for arguments in DRY_RUNS {
        let accepts = garret(&dir, &[arguments, &["--accept-state"]].concat());
        assert_eq!(accepts.code, Some(2), "{}", accepts.stderr);
    }
    assert_eq!(files_below(&dir.path("repo")), before, "nor does a check note anything");
    garret(&dir, WRITERS[0]).refused(1, OLDER);
    dir.write("file", &[7; 5000]);
    garret(&dir, &["create", "--accept-state", "repo::more", "file"]).silent();
    garret(&dir, &["create", "repo::again", "file"]).silent();
    assert_eq!(listed(&dir).succeeds(), "a\nmore\nagain\n");
    // The other one is another state again; of another place nothing was known.
    assert_eq!(garret(&dir, &["list", "--short", "new"]).succeeds(), "a\nb\nc\n");
    copy(&dir, "new", "repo");
    garret(&dir, &["create", "repo::d", "a"]).refused(1, OLDER);
    garret(&dir, &["delete", "--accept-state", "repo::a"]).silent();
    assert_eq!(listed(&dir).succeeds(), "b\nc\n");
}

#[test]
fn deletions_do_not_come_undone() {
    let dir = with_archives(&["a", "b", "c"]);
    copy(&dir, "repo", "old");
    garret(&dir, &["delete", "repo::b"]).silent();
    copy(&dir, "repo", "new");
    copy(&dir, "old", "repo");
    let how = "deletions that were recorded are not any more, or tombstones is damaged";
    garret(&dir, &["create", "repo::d", "a"]).refused(1, &format!("{OLDER}{how}{ADVICE}"));
    warns(&listed(&dir), how);
    copy(&dir, "new", "repo");
    assert_eq!(listed(&dir).succeeds(), "a\nc\n");
    // What happens to one of its files stops nobody.
    dir.write("repo/tombstones", b"garretT\x01 and nothing that opens");
    let ran = garret(&dir, &["create", "repo::d", "a"]);
    assert!(
        ran.stderr.contains("its second copy was used: garret check --repair puts it back"),
        "{}",
        ran.stderr
    );
    garret(&dir, &["check", "--repair", "repo"]);
    garret(&dir, &["check", "repo"]).succeeds();
    // Who takes the record away, or alters it, gains no more.
    for file in ["repo/tombstones", "repo/copies/tombstones"] {
        fs::remove_file(dir.path(file)).unwrap();
    }
    warns(&listed(&dir), how);
    for file in ["repo/tombstones", "repo/copies/tombstones"] {
        dir.write(file, b"garretT\x01 and nothing that opens");
    }
    let ran = garret(&dir, &["create", "repo::e", "a"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("tombstones") && ran.stderr.contains(how), "{}", ran.stderr);
    // The next deletion makes it anew.
    let ran = garret(&dir, &["delete", "--accept-state", "repo::a"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(listed(&dir).succeeds(), "c\nd\n");
}

#[test]
fn an_archive_that_was_removed_by_hand_is_told_of_once() {
    let dir = with_archives(&["a", "b", "c", "d"]);
    remove(&dir, "b");
    let ran = garret(&dir, &["create", "repo::e", "a"]);
    warns(&ran, "repo: archive b, made ");
    let why = " is gone, and no deletion was recorded: removed by hand, or lost or hidden by the storage; look into it if \
               nobody did that\n";
    warns(&ran, why);
    assert_eq!(listed(&dir).succeeds(), "a\nc\nd\ne\n");
    // The newest too is only that, and several are one line.
    remove(&dir, "e");
    remove(&dir, "d");
    warns(&listed(&dir), "2 archives, the newest e, d, are gone, and no deletion");
    listed(&dir).succeeds();
    // Another client, which saw all of them.
    copy(&dir, "state", "other");
    let other = [UNLOCK[0], ("GARRET_STATE_DIR", "other")];
    remove(&dir, "c");
    warns(&garret(&dir, &["prune", "--keep-daily", "9", "repo"]), "archive c, made ");
    // It was recorded by that prune.
    dir.run_with(&other, b"", &["list", "repo"]).succeeds();
    listed(&dir).succeeds();
    // Moved is not gone.
    fs::create_dir(dir.path("repo/backups/old")).unwrap();
    fs::rename(dir.path("repo/backups/a"), dir.path("repo/backups/old/a")).unwrap();
    assert_eq!(listed(&dir).succeeds(), "old/a\n");
}

/// Also by a client that had never seen it: its second copy is there.
#[test]
fn what_was_removed_by_hand_is_recorded_with_one_line_by_whoever_prunes() {
    let dir = with_archives(&["a", "b"]);
    remove(&dir, "b");
    let other = [UNLOCK[0], ("GARRET_STATE_DIR", "other")];
    let ran = dir.run_with(&other, b"", &["prune", "--keep-daily", "9", "repo"]);
    assert_eq!((ran.code, ran.stderr.lines().count()), (Some(0), 1), "{}", ran.stderr);
    let told = "garret: note: of 1 archive there was only the second copy: removed by hand, ";
    assert!(ran.stderr.starts_with(told), "{}", ran.stderr);
    assert_eq!(listed(&dir).succeeds(), "a\n");
    dir.run_with(&other, b"", &["prune", "--keep-daily", "9", "repo"]).silent();
}

#[test]
fn what_others_delete_is_no_matter() {
    let dir = with_archives(&["a", "b", "c", "d"]);
    let other = [UNLOCK[0], ("GARRET_STATE_DIR", "other")];
    dir.run_with(&other, b"", &["delete", "repo::a", "repo::d"]).silent();
    assert_eq!(listed(&dir).succeeds(), "b\nc\n");
    dir.run_with(&other, b"", &["prune", "--keep-daily", "1", "repo"]).silent();
    garret(&dir, &["create", "repo::e", "a"]).silent();
    assert_eq!(listed(&dir).succeeds(), "c\ne\n");
    dir.run_with(&other, b"", &["list", "repo"]).succeeds();
}

/// By a link that leads elsewhere, who holds it puts an older state under the same name.
#[test]
fn a_place_is_known_by_the_name_it_was_given_as_and_by_where_that_leads() {
    let dir = with_archives(&["a"]);
    copy(&dir, "repo", "old");
    create(&dir, "b");
    fs::rename(dir.path("repo"), dir.path("real")).unwrap();
    symlink("real", dir.path("repo")).unwrap();
    listed(&dir).succeeds();
    fs::remove_file(dir.path("repo")).unwrap();
    symlink("old", dir.path("repo")).unwrap();
    garret(&dir, &["create", "repo::c", "a"]).refused(1, OLDER);
    // A copy that lags behind is fine under its own name.
    garret(&dir, &["create", "old::c", "a"]).silent();
}

#[test]
fn what_is_remembered_is_believed_only_if_nobody_else_can_have_written_it() {
    let dir = with_archives(&["a", "b"]);
    let state = files_below(&dir.path("state"));
    let seen = state.iter().find(|path| path.to_str().unwrap().contains(".seen-")).unwrap();
    let whole = fs::read(seen).unwrap();
    let mut altered = whole.clone();
    *altered.last_mut().unwrap() ^= 1;
    let doubted = |why: &str| {
        let ran = garret(&dir, &["create", "repo::c", "a"]);
        ran.refused(1, why);
        let ran = listed(&dir);
        assert_eq!((ran.code, ran.stderr.lines().count()), (Some(0), 1), "{}", ran.stderr);
        assert!(ran.stderr.contains(why) && ran.stderr.contains("Warning: "), "{}", ran.stderr);
    };
    let other = with_archives(&["a"]);
    let theirs = files_below(&other.path("state"));
    let theirs = theirs.iter().find(|path| path.to_str().unwrap().contains(".seen-")).unwrap();
    for bytes in [altered, fs::read(theirs).unwrap(), b"{}".to_vec(), Vec::new()] {
        fs::write(seen, bytes).unwrap();
        doubted("was not written by anybody who has the key");
    }
    fs::write(seen, &whole).unwrap();
    fs::set_permissions(seen, Permissions::from_mode(0o666)).unwrap();
    doubted("others can write there");
    fs::set_permissions(seen, Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(seen).unwrap();
    tool("mkfifo", &[seen.to_str().unwrap()]);
    doubted("cannot be read");
    // As the line says. What was there is learnt anew.
    fs::remove_file(seen).unwrap();
    listed(&dir).succeeds();
    remove(&dir, "b");
    warns(&listed(&dir), "archive b, made ");
}
