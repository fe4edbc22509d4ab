//! `check` of a part: in slices of time, of some archives, of one file; and what `info` shows of it.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::SystemTime;

use garret_format::config::KeyMode;

use super::{Dir, packs};

/// Three archives, each with a pack of its own; the second shares a file with the first.
fn three_archives() -> Dir {
    let dir = Dir::with_repository();
    dir.image("one.img", 1);
    dir.run(&["create", "repo::one", "one.img"]).silent();
    dir.image("two.img", 2);
    dir.run(&["create", "repo::two", "one.img", "two.img"]).silent();
    dir.image("three.img", 3);
    dir.run(&["create", "repo::three", "three.img"]).silent();
    assert_eq!(packs(&dir.path("repo")).len(), 3);
    dir
}

fn made(path: &Path) -> SystemTime {
    path.metadata().unwrap().modified().unwrap()
}

/// Changes a byte of the pack that archive `one` brought.
fn ruin_pack_of_one(dir: &Dir) {
    let pack = packs(&dir.path("repo")).into_iter().min_by_key(|path| made(path)).unwrap();
    let file = fs::File::options().read(true).write(true).open(pack).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 500_000).unwrap();
    file.write_all_at(&[byte[0] ^ 0x20], 500_000).unwrap();
}

fn verified(dir: &Dir) -> String {
    let info = dir.run(&["info", "repo"]).succeeds();
    info.lines().find(|line| line.starts_with("Verified: ")).unwrap().to_owned()
}

#[test]
fn info_shows_how_much_was_verified_and_since_when() {
    let dir = three_archives();
    assert_eq!(verified(&dir), "Verified: none of 9 packs");
    dir.run(&["check", "repo"]).succeeds();
    assert_eq!(verified(&dir), "Verified: none of 9 packs", "not every byte was read");
    let said = dir.run(&["check", "--verify-data", "--max-duration", "2h", "repo"]).succeeds();
    let today = said.lines().last().unwrap().to_owned();
    assert!(today.starts_with("Verified: all 9 packs since 20"), "{said}");
    assert_eq!(verified(&dir), today);
    let of = |archive: &str| -> String {
        let list = dir.run(&["list", "--verified", "repo"]).succeeds();
        let line = list.lines().find(|line| line.starts_with(&format!("{archive} "))).unwrap();
        line.split_once(" (").unwrap().1.to_owned()
    };
    assert!(of("one").starts_with("verified since 20") && of("one") == of("two"), "{}", of("two"));
    dir.image("four.img", 4);
    dir.run(&["create", "repo::four", "four.img"]).silent();
    let now = verified(&dir);
    assert!(now.starts_with("Verified: 9 of 12 packs since 20"), "{now}");
    assert!(now.ends_with(", 9 of them in the last 30 days; 3 never"), "{now}");
    assert_eq!(of("four"), "not all verified)");
    assert!(of("one").starts_with("verified since 20"));
    dir.run(&["list", "--verified", "repo::one"]).refused(2, "--verified is for a list");
    let json = dir.run(&[
        "info",
        "--format",
        "{packs} {verified_packs} {recently_verified_packs}{NL}",
        "repo",
    ]);
    assert_eq!(json.succeeds(), "12 9 9\n");
    dir.run(&["check", "--verify-data", "repo"]).succeeds();
    assert!(verified(&dir).starts_with("Verified: all 12 packs since 20"));
    ruin_pack_of_one(&dir);
    assert_eq!(dir.run(&["check", "--verify-data", "--max-duration", "1h", "repo"]).code, Some(1));
    assert!(verified(&dir).ends_with("; 1 never"), "what is damaged does not count");
}

#[test]
fn a_repository_that_is_doubted_is_not_written_to_by_a_check() {
    let dir = Dir::new();
    dir.cheap_repository("repo", KeyMode::Passphrase);
    dir.write("file", b"content");
    let environment = [("GARRET_PASSPHRASE", super::PASSPHRASE)];
    let run = |arguments: &[&str]| dir.run_with(&environment, b"", arguments);
    run(&["create", "repo::a", "file"]).silent();
    // Another one in its place, without encryption.
    fs::rename(dir.path("repo"), dir.path("away")).unwrap();
    run(&["init", "-e", "none", "other"]);
    fs::rename(dir.path("other"), dir.path("repo")).unwrap();
    let checked = run(&["check", "--verify-data", "--max-duration", "1h", "repo"]);
    assert!(!dir.path("repo/verified").exists(), "{}", checked.stderr);
}

#[test]
fn one_archive_is_checked_by_what_it_needs_and_nothing_else() {
    let dir = three_archives();
    for arguments in [&["check", "repo::one"][..], &["check", "--verify-data", "repo::one"]] {
        let said = dir.run(arguments).succeeds();
        let expected = "Starting archive consistency check...\nArchive consistency check complete, no problems found.\n";
        assert_eq!(said, expected, "{arguments:?}");
    }
    let pack_of_three = packs(&dir.path("repo")).into_iter().max_by_key(|path| made(path)).unwrap();
    ruin_pack_of_one(&dir);
    for fine in [
        &["check", "--verify-data", "repo::three"][..],
        &["check", "--verify-data", "--newest", "1", "repo"],
        &["check", "--verify-data", "repo::latest"],
        &["check", "--verify-data", "repo::two", "two.img"],
        &["check", "repo::two", "two.img"],
    ] {
        dir.run(fine).succeeds();
    }
    for (arguments, closing) in [
        (
            &["check", "--verify-data", "repo::one"][..],
            "1 of 1 archive cannot be restored whole: one (1 file); run",
        ),
        (
            &["check", "--verify-data", "repo::two", "one.img"],
            "1 of 1 archive cannot be restored whole: two (1 file); run",
        ),
        (
            &["check", "--verify-data", "--newest", "2", "repo"],
            "1 of 2 archives cannot be restored whole: two (1 file); the other 1 can; run garret create of",
        ),
        (
            &["check", "--verify-data", "--newest", "9", "repo"],
            "2 of 3 archives cannot be restored whole: two (1 file), one (1 file); the other 1 can; run",
        ),
    ] {
        let ran = dir.run(arguments);
        assert_eq!(ran.code, Some(1), "{arguments:?}");
        assert!(ran.stderr.contains(closing), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(": one.img: not restored: bytes "), "{}", ran.stderr);
        assert!(ran.stderr.starts_with("garret: backups/"), "{}", ran.stderr);
        assert!(!ran.stderr.contains("three"), "{arguments:?}: {}", ran.stderr);
    }
    // Once it is known to be damaged, who reads nothing is told that he does not know.
    let ran = dir.run(&["check", "--verify-data", "repo"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let ran = dir.run(&["check", "repo::three"]);
    let told = "garret: note: packs of this repository are damaged; --verify-data finds out whether these archives need";
    assert!(ran.stderr.starts_with(told) && ran.code == Some(0), "{}", ran.stderr);
    dir.run(&["check", "--verify-data", "repo::three"]).succeeds();
    // What is gone needs no reading.
    fs::remove_file(pack_of_three).unwrap();
    let ran = dir.run(&["check", "repo::three"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("garret: backups/three: "), "{}", ran.stderr);
    let closing = "1 of 1 archive cannot be restored whole: three (";
    assert!(ran.stderr.contains(closing), "{}", ran.stderr);
}

#[test]
fn what_makes_no_sense_together_is_wrong_use() {
    let dir = three_archives();
    for arguments in [
        &["check", "--max-duration", "1h", "repo"][..],
        &["check", "--verify-data", "--max-duration", "10", "repo"],
        &["check", "--verify-data", "--max-duration", "0s", "repo"],
        &["check", "--newest", "0", "repo"],
        &["check", "--newest", "1", "--repository-only", "repo"],
        &["check", "--newest", "1", "--repair", "repo"],
        &["check", "--newest", "1", "repo::one"],
        &["check", "--repair", "repo::one"],
        &["check", "--verify-data", "--max-duration", "1h", "repo::one"],
        &["check", "repo", "one.img"],
    ] {
        assert_eq!(dir.run(arguments).code, Some(2), "{arguments:?}");
    }
    dir.run(&["check", "repo::nothing"]).refused(1, "Archive nothing does not exist");
    dir.run(&["check", "repo::one", "on.img"]).refused(1, "did you mean one.img?");
}
