//! File systems that cannot do everything, and limits on what may be written.

use std::process::Command;

use super::{Dir, MIB, Ran, noise};

/// Runs the program below another one.
fn below(dir: &Dir, before: &[&str], arguments: &[&str]) -> Ran {
    let garret = dir.command(arguments);
    let (first, before) = before.split_first().unwrap();
    let mut command = Command::new(first);
    command.args(before).arg(garret.get_program()).args(garret.get_args());
    command.envs(garret.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.current_dir(dir.path("")).output().unwrap();
    Ran {
        what: arguments.join(" "),
        code: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A big file that does not compress.
fn big(dir: &Dir) -> Vec<u8> {
    let mut bytes = vec![0; 4 * MIB];
    noise(&mut bytes, 1);
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
        assert_eq!(below(&dir, &strace, &["init", &repository]).code, Some(0));
        for name in ["a", "b"] {
            let archive = format!("{repository}::{name}");
            let ran = below(&dir, &strace, &["create", &archive, "big"]);
            assert_eq!(ran.code, Some(0), "{}", ran.stderr);
            assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
            let text = format!("garret: {repository}: directories cannot be synced");
            assert!(ran.stderr.starts_with(&text), "{}", ran.stderr);
        }
        let archive = format!("{repository}::a");
        let ran = below(&dir, &strace, &["delete", &archive]);
        assert_eq!((ran.code, ran.stderr.lines().count()), (Some(0), 1), "{}", ran.stderr);
        let archive = format!("{repository}::b");
        assert!(dir.run(&["extract", "--stdout", &archive]).stdout == bytes);
        let mut secret = dir.command(&["init", "-e", "keyfile", &format!("key-{error}")]);
        secret.env("GARRET_PASSPHRASE", "");
        let mut command = Command::new("strace");
        command.args(&strace[1..]).arg(secret.get_program()).args(secret.get_args());
        command.envs(secret.get_envs().filter_map(|(name, value)| Some((name, value?))));
        assert!(command.current_dir(dir.path("")).output().unwrap().status.success());
    }
}

#[test]
fn a_directory_that_fails_to_be_synced_is_a_failure() {
    let dir = Dir::with_repository();
    big(&dir);
    let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=fsync:error=EIO"];
    let ran = below(&dir, &strace, &["create", "repo::a", "big"]);
    ran.refused(1, "cannot sync ");
    assert_eq!(dir.archives("repo"), [""; 0]);
}

#[test]
fn a_limit_on_the_length_of_files_is_one_line() {
    let dir = Dir::with_repository();
    big(&dir);
    let limit = ["prlimit", "--fsize=1000000"];
    let ran = below(&dir, &limit, &["create", "repo::a", "big"]);
    ran.refused(
        1,
        "File too large (os error 27): no file may be that long here (see ulimit -f), no archive made; make room, \
         then run garret prune",
    );
    assert_eq!(dir.archives("repo"), [""; 0]);
    dir.run(&["create", "repo::a", "big"]).silent();
    let ran = below(&dir, &limit, &["extract", "--destination", "to", "repo::a"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("big: not restored"), "{}", ran.stderr);
    assert!(ran.stderr.contains("File too large"), "{}", ran.stderr);
    assert!(!dir.path("to/big").exists());
}
