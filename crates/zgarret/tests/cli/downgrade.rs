//! A repository without encryption in the place of one with: nothing is written to it in the clear.

use std::fs;

use super::{Dir, PLAIN};

#[test]
fn what_was_encrypted_is_not_written_to_in_the_clear() {
    let dir = Dir::new();
    dir.write("pw", b"secret\n");
    dir.cheap_repository("repo", "secret");
    dir.feed(b"x", &["--password-file", "pw", "backup", "repo/backups/a"]).silent();
    dir.run(&[PLAIN, "init", "from"]).silent();
    dir.feed(b"canary", &["backup", "from/backups/c"]).silent();
    fs::rename(dir.path("repo"), dir.path("away")).unwrap();
    let elsewhere = Dir::new();
    elsewhere.run(&[PLAIN, "init", "new"]).silent();
    fs::rename(elsewhere.path("new"), dir.path("repo")).unwrap();
    for flags in [&["--password-file", "pw"][..], &[PLAIN], &[]] {
        for words in [&["backup", "repo/backups/b"][..], &["gc", "repo"]] {
            let ran = dir.feed(b"canary", &[flags, words].concat());
            assert_eq!((ran.code, ran.stderr.lines().count()), (Some(1), 1), "{}", ran.stderr);
            assert!(ran.stderr.contains("what this client used there was"), "{}", ran.stderr);
        }
    }
    for exchange in [["export", "from", "repo"], ["import", "repo", "from"]] {
        let ran = dir.run(&[&["--exchange", "backups"], &exchange[..]].concat());
        assert_eq!(ran.code, Some(1));
        assert!(ran.stderr.contains("what this client used there was"), "{}", ran.stderr);
    }
    // From one that is not what it was, only reading is done; it is told.
    dir.run(&[PLAIN, "init", "to"]).silent();
    let ran = dir.run(&["--exchange", "backups", "import", "to", "repo"]);
    assert!(ran.code == Some(0) && ran.stderr.contains("Warning: "), "{}", ran.stderr);
    let ran = dir.run(&[PLAIN, "info", "repo"]);
    assert!(ran.code == Some(0) && ran.stderr.contains("Warning: "), "{}", ran.stderr);
    assert_eq!(dir.archives("repo"), [""; 0]);
}

#[test]
fn one_that_is_unknown_is_not_taken_for_the_one_of_the_password() {
    let elsewhere = Dir::new();
    elsewhere.run(&[PLAIN, "init", "new"]).silent();
    let dir = Dir::new();
    dir.write("pw", b"secret\n");
    fs::rename(elsewhere.path("new"), dir.path("repo")).unwrap();
    let ran = dir.feed(b"canary", &["--password-file", "pw", "backup", "repo/backups/b"]);
    assert_eq!((ran.code, ran.stderr.lines().count()), (Some(1), 1), "{}", ran.stderr);
    assert!(ran.stderr.contains("previously unknown unencrypted repository"), "{}", ran.stderr);
    // Who says that it is not encrypted knows.
    let given = [("GARRET_PASSPHRASE", "secret")];
    dir.run_with(&given, b"x", &[PLAIN, "backup", "repo/backups/b"]).silent();
}
