//! File systems that cannot do everything, and limits on what may be written.

use super::{Dir, MIB, fill_noise};

/// A big file that does not compress.
fn big(dir: &Dir) -> Vec<u8> {
    let mut bytes = vec![0; 4 * MIB];
    fill_noise(&mut bytes, 1);
    dir.write("big", &bytes);
    bytes
}

#[test]
fn directories_that_cannot_be_synced_are_told_once_and_fail_nothing() {
    let dir = Dir::new();
    let bytes = big(&dir);
    for error in ["EINVAL", "EOPNOTSUPP"] {
        let repository = format!("repo-{error}");
        let inject = format!("inject=fsync:error={error}");
        let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &inject];
        assert_eq!(dir.run_under(&strace, &["init", &repository]).code, Some(0));
        for name in ["a", "b"] {
            let archive = format!("{repository}::{name}");
            let ran = dir.run_under(&strace, &["create", &archive, "big"]);
            assert_eq!(ran.code, Some(0), "{}", ran.stderr);
            assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
            let text = format!("garret: {repository}: directories cannot be synced");
            assert!(ran.stderr.starts_with(&text), "{}", ran.stderr);
        }
        let archive = format!("{repository}::a");
        let ran = dir.run_under(&strace, &["delete", &archive]);
        assert_eq!((ran.code, ran.stderr.lines().count()), (Some(0), 1), "{}", ran.stderr);
        let archive = format!("{repository}::b");
        assert!(dir.run(&["extract", "--stdout", &archive]).stdout == bytes);
        let mut secret = dir.under(&strace, &["init", "-e", "keyfile", &format!("key-{error}")]);
        assert!(secret.env("GARRET_PASSPHRASE", "").output().unwrap().status.success());
    }
}

#[test]
fn a_directory_that_fails_to_be_synced_is_a_failure() {
    let dir = Dir::with_repository();
    big(&dir);
    let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=fsync:error=EIO"];
    let ran = dir.run_under(&strace, &["create", "repo::a", "big"]);
    ran.refused(1, "cannot sync ");
    assert_eq!(dir.archives("repo"), [""; 0]);
}

#[test]
fn a_limit_on_the_length_of_files_is_one_line() {
    let dir = Dir::with_repository();
    big(&dir);
    let limit = ["prlimit", "--fsize=1000000"];
    let ran = dir.run_under(&limit, &["create", "repo::a", "big"]);
    ran.refused(
        1,
        "File too large (os error 27): no file may be that long here (see ulimit -f), no archive made; make room, \
         then run garret prune",
    );
    assert_eq!(dir.archives("repo"), [""; 0]);
    dir.run(&["create", "repo::a", "big"]).silent();
    let ran = dir.run_under(&limit, &["extract", "--destination", "to", "repo::a"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("big: not restored"), "{}", ran.stderr);
    assert!(ran.stderr.contains("File too large"), "{}", ran.stderr);
    assert!(!dir.path("to/big").exists());
}
