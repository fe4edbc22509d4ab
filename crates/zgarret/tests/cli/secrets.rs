//! Passwords. The KDF of `init` takes most of a second: only the tests that need it pay.

use super::{Dir, PLAIN};

const INVALID: &str = "Invalid password specified";

fn locked() -> Dir {
    let dir = Dir::new();
    dir.cheap_repository("repo", "secret");
    dir.write("pw", b"secret\n");
    dir.write("bare", b"secret");
    dir.write("two", b"secret\n\n");
    dir.write("wrong", b"Secret\n");
    dir
}

#[test]
fn one_trailing_newline_is_no_part_of_the_password() {
    let dir = locked();
    dir.feed(b"x", &["--password-file", "pw", "backup", "repo/backups/a"]).silent();
    let stdout = dir.run(&["restore", "repo/backups/a", "--password-file", "bare"]).succeeds();
    assert_eq!(stdout, "x");
    for file in ["two", "wrong"] {
        dir.run(&["--password-file", file, "gc", "repo"]).fails_saying(INVALID);
    }
    dir.run(&[PLAIN, "gc", "repo"]).fails_saying(INVALID);
    dir.run(&["--password-file", "none", "gc", "repo"])
        .fails_saying("Can't open none: No such file or directory");
}

#[test]
fn without_a_flag_the_environment_is_asked_and_no_pipe() {
    let dir = locked();
    let known = [("GARRET_PASSPHRASE", "secret")];
    dir.run_with(&known, b"x", &["backup", "repo/backups/a"]).silent();
    dir.run_with(&[("GARRET_PASSPHRASE", "no")], b"", &["gc", "repo"]).fails_saying(INVALID);
    // A flag is nearer than the environment.
    dir.run_with(&known, b"", &["--password-file", "wrong", "gc", "repo"]).fails_saying(INVALID);
    let ran = dir.feed(b"secret\n", &["backup", "repo/backups/b"]);
    assert_eq!((ran.code, ran.stderr.lines().count()), (Some(1), 1));
    assert!(ran.stderr.contains("set GARRET_PASSPHRASE"), "{}", ran.stderr);
    let config = dir.run_with(&known, b"", &["config", "repo"]).succeeds();
    assert!(config.starts_with("chunk {\n"), "{config}");
}

#[test]
fn a_command_in_the_environment_gives_the_password() {
    let dir = locked();
    let command = |line| [("GARRET_PASSCOMMAND", line)];
    // Also where nothing may be started any more, and without what is to be stored.
    dir.run_with(&command("cat >&2; echo secret"), b"x", &["backup", "repo/backups/a"]).silent();
    assert_eq!(
        dir.run_with(&command("echo secret"), b"", &["restore", "repo/backups/a"]).succeeds(),
        "x"
    );
    dir.run_with(&command("exit 2"), b"", &["gc", "repo"])
        .fails_saying("the command in GARRET_PASSCOMMAND failed: exit status 2");
    dir.run_with(&command("echo no"), b"", &["gc", "repo"]).fails_saying(INVALID);
}

#[test]
fn an_empty_password_makes_no_repository() {
    let dir = Dir::new();
    let empty = "The password must not be empty: --non-encrypted makes a repository without one";
    for (name, content) in [("empty", &b""[..]), ("newline", b"\n")] {
        dir.write(name, content);
        dir.run(&["--password-file", name, "init", "repo"]).fails_saying(empty);
    }
    dir.run_with(&[("GARRET_PASSPHRASE", "")], b"", &["init", "repo"]).fails_saying(empty);
    dir.run(&["--password-file", "none", "init", "repo"])
        .fails_saying("Can't open none: No such file or directory");
    assert!(!dir.path("repo").exists());
}

#[test]
fn a_password_file_for_a_plain_repository_is_not_used_and_that_is_said() {
    let dir = Dir::with_repository();
    dir.write("pw", b"secret");
    let place = dir.path("repo").canonicalize().unwrap();
    let note =
        format!("note: {} is not encrypted: the password file is not used\n", place.display());
    dir.feed(b"x", &["--password-file", "pw", "backup", "repo/backups/a"]).notes(&note);
    dir.run(&["--password-file", "pw", "gc", "repo", "--silent"]).silent();
}

#[test]
fn init_and_passwd_make_the_passwords_that_open() {
    let dir = Dir::new();
    dir.write("old", b"old\n");
    dir.write("new", b"new\n");
    dir.write("empty", b"\n");
    dir.run(&["--password-file", "old", "init", "repo"]).silent();
    dir.feed(b"x", &["--password-file", "old", "backup", "repo/backups/a"]).silent();
    let passwd = |first, second| {
        dir.run(&["--password-file", first, "passwd", "--password-file", second, "repo"])
    };
    passwd("new", "old").fails_saying(INVALID);
    passwd("old", "empty").fails_saying(
        "The password must not be empty: --non-encrypted makes a repository without one",
    );
    passwd("old", "new").silent();
    dir.run(&["--password-file", "old", "gc", "repo"]).fails_saying(INVALID);
    let ran = dir.run(&["--password-file", "new", "restore", "repo/backups/a"]);
    assert_eq!(ran.succeeds(), "x");
}

#[test]
fn passwd_does_not_change_whether_there_is_encryption() {
    let dir = locked();
    dir.run(&[PLAIN, "init", "plain"]).silent();
    let other = |current| {
        format!(
            "Changing repo encryption type (non-encrypted to encrypted and vice versa) is possible only via \
             import/export operations. Current repo type: {current}."
        )
    };
    dir.run(&["--password-file", "pw", PLAIN, "passwd", "repo"]).fails_saying(&other("encrypted"));
    dir.run(&[PLAIN, PLAIN, "passwd", "repo"]).fails_saying(&other("encrypted"));
    dir.run(&[PLAIN, "--password-file", "pw", "passwd", "plain"])
        .fails_saying(&other("non-encrypted"));
    dir.run(&[PLAIN, PLAIN, "passwd", "plain"]).fails_saying(
        "the repository is not encrypted: it has no keys and no passphrase to change",
    );
    dir.run(&["--password-file", "pw", "passwd", "repo"]).fails_saying(
        "Specify password flag (--non-encrypted or --password-file) for import/export/passwd operation twice \
         (first for source and second for destination)",
    );
}
