//! `scrub`: what the host that has the storage can find out without the key.

use std::fs;

use garret_format::config::KeyMode;

use super::{Dir, MIB, packs};
use garret_testkit::program::files_below;

/// An encrypted repository with three packs, and nothing that the client knows of it.
fn stored_elsewhere() -> Dir {
    let dir = Dir::new();
    dir.cheap_repository("repo", KeyMode::Passphrase);
    for seed in 1..=3 {
        dir.image("vm.img", seed);
        let environment = [("GARRET_PASSPHRASE", super::PASSPHRASE)];
        let ran = dir.run_with(&environment, b"", &["create", &format!("repo::{seed}"), "vm.img"]);
        ran.silent();
    }
    for name in ["state", "cache"] {
        fs::remove_dir_all(dir.path(name)).unwrap();
    }
    dir
}

#[test]
fn a_scrub_needs_no_key_says_nothing_when_all_is_well_and_writes_nothing() {
    let dir = stored_elsewhere();
    let state = || {
        let all = files_below(&dir.path("repo")).into_iter();
        let read = |path: std::path::PathBuf| (path.clone(), fs::read(path).unwrap());
        all.map(read).collect::<Vec<_>>()
    };
    let before = state();
    dir.run(&["scrub", "repo"]).silent();
    let said = dir.run(&["scrub", "-v", "repo"]).succeeds();
    assert!(said.starts_with("9 packs, 3 segments of the index and 3 copied archives ("), "{said}");
    for night in 1..=7 {
        dir.run(&["scrub", "--part", &format!("{night}/7"), "repo"]).silent();
    }
    assert!(state() == before);
    assert!(!dir.path("state").exists(), "nothing is remembered either");
}

#[test]
fn a_scrub_names_what_is_damaged_and_says_who_can_do_what() {
    let dir = stored_elsewhere();
    let pack = packs(&dir.path("repo")).remove(1);
    let mut bytes = fs::read(&pack).unwrap();
    bytes[MIB / 2] ^= 4;
    fs::write(&pack, bytes).unwrap();
    let name = pack.strip_prefix(dir.path("repo")).unwrap().to_str().unwrap().to_owned();
    let ran = dir.run(&["scrub", "repo"]);
    let lines: Vec<&str> = ran.stderr.lines().collect();
    let [first, second, last] = lines[..] else { panic!("{}", ran.stderr) };
    assert_eq!(
        first,
        format!(
            "garret: Data integrity error: {name} is damaged at offset 0: its bytes do not hash to its name"
        )
    );
    let told = "garret: 1 of 9 packs damaged; who has the key runs garret check --verify-data, which says which files";
    assert!(second.starts_with(told), "{second}");
    assert_eq!((last, ran.code), (super::CLOSING, Some(1)));
    let part = |number: u32| dir.run(&["scrub", "--part", &format!("{number}/2"), "repo"]).code;
    assert_eq!([part(1), part(2)].iter().filter(|code| **code == Some(1)).count(), 1);
    fs::remove_file(&pack).unwrap();
    let segment = files_below(&dir.path("repo/index")).remove(0);
    let bytes = fs::read(&segment).unwrap();
    fs::write(&segment, &bytes[..bytes.len() - 1]).unwrap();
    let ran = dir.run(&["scrub", "repo"]);
    let told = "1 of 3 segments of the index damaged; who has the key runs garret check --repair, which makes the index anew";
    assert!(ran.stderr.contains(told), "{}", ran.stderr);
}

#[test]
fn what_is_not_the_repository_s_is_passed_over() {
    let dir = stored_elsewhere();
    dir.write("repo/packs/notes.txt", b"x");
    let ran = dir.run(&["scrub", "repo"]);
    ran.notes("garret: passed over packs/notes.txt, which is not the repository's\n");
}

#[test]
fn a_part_that_there_is_not_is_wrong_use() {
    let dir = Dir::with_repository();
    for part in ["0/7", "8/7", "3", "a/7", "3/", "-1/7", "1/0"] {
        let ran = dir.run(&["scrub", &format!("--part={part}"), "repo"]);
        assert_eq!(ran.code, Some(2), "{part}");
        assert!(ran.stderr.contains("it is N/M, N from 1 to M"), "{}", ran.stderr);
    }
    dir.run(&["scrub", "repo::name"]).refused(2, "No archive can be specified");
    dir.run(&["scrub", "nowhere"]).refused(1, "nowhere does not exist");
}
