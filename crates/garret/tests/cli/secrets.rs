//! Passphrases and key files. The KDF of `init` takes most of a second: only the tests that need it pay.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use garret_format::config::KeyMode;

use super::{Dir, PASSPHRASE};

#[test]
fn a_wrong_or_missing_passphrase_ends_at_once() {
    let dir = Dir::new();
    dir.cheap_repository("repo", KeyMode::Passphrase);
    dir.write("file", b"x");
    for arguments in [&["list", "repo"][..], &["create", "repo::a", "file"], &["check", "repo"]] {
        let ran = dir.run_with(&[("GARRET_PASSPHRASE", "wrong")], b"", arguments);
        ran.refused(1, "wrong passphrase");
        dir.run(arguments).refused(1, "set GARRET_PASSPHRASE");
    }
    let both = [("GARRET_PASSPHRASE", PASSPHRASE), ("ATTIC_PASSPHRASE", "wrong")];
    dir.run_with(&both, b"", &["create", "repo::a", "file"]).silent();
    let listed = dir.run_with(&[("ATTIC_PASSPHRASE", PASSPHRASE)], b"", &["list", "repo"]);
    assert!(listed.succeeds().starts_with("a "));
}

#[test]
fn a_passphrase_is_not_read_from_a_pipe() {
    let dir = Dir::new();
    dir.cheap_repository("repo", KeyMode::Passphrase);
    let stdin = format!("{PASSPHRASE}\n");
    let ran = dir.run_with(&[], stdin.as_bytes(), &["list", "repo"]);
    ran.refused(1, "repo needs a passphrase and there is no terminal to ask");
}

#[test]
fn a_prompt_that_is_ended_leaves_a_terminal_that_shows_what_is_typed() {
    let dir = Dir::new();
    dir.cheap_repository("repo", KeyMode::Passphrase);
    let command = dir.command(&[]);
    let program = command.get_program().to_str().unwrap();
    // Whoever started the tests may ignore these.
    let default = "env --default-signal=INT,QUIT";
    // ^C, ^\, and a signal from elsewhere.
    for (before, typed, code) in [
        ("", "half\u{3}", 130),
        ("", "half\u{1c}", 131),
        ("timeout --foreground -s TERM 1 ", "half", 124),
    ] {
        let line = format!(
            "trap : INT QUIT; {default} {before}{program} list repo; echo ended $?; stty -a"
        );
        let (_, seen) = super::attic::line_on_a_terminal(&dir, &command, &line, typed);
        let seen = seen.replace('\r', "");
        assert!(seen.contains("Enter passphrase for repo: "), "{seen}");
        assert!(seen.contains(&format!("ended {code}\n")), "{seen}");
        assert!(seen.contains(" echo ") && !seen.contains("half"), "{seen}");
    }
    let typed = format!("wrong\n{PASSPHRASE}\n");
    let (code, seen) = super::attic::on_a_terminal(&dir, "list repo", &typed);
    assert_eq!(code, Some(0), "{seen}");
    assert!(seen.contains("wrong passphrase, try again") && !seen.contains(PASSPHRASE), "{seen}");
}

#[test]
fn init_without_a_passphrase_makes_nothing() {
    let dir = Dir::new();
    for mode in ["passphrase", "keyfile"] {
        dir.run(&["init", "-e", mode, "repo"]).refused(1, "set GARRET_PASSPHRASE");
        assert!(!dir.path("repo").exists());
    }
    let empty = [("GARRET_PASSPHRASE", "")];
    let ran = dir.run_with(&empty, b"", &["init", "-e", "passphrase", "repo"]);
    ran.refused(1, "the passphrase must not be empty");
    assert!(!dir.path("repo").exists());
}

#[test]
fn a_changed_passphrase_is_the_only_one_that_opens() {
    let dir = Dir::new();
    let old = [("GARRET_PASSPHRASE", "old")];
    let said = dir.run_with(&old, b"", &["init", "-e", "passphrase", "repo"]).succeeds();
    assert!(said.contains("Encryption: passphrase\n"), "{said}");
    let change = [("GARRET_PASSPHRASE", "old"), ("GARRET_NEW_PASSPHRASE", "new")];
    dir.run_with(&change, b"", &["change-passphrase", "repo"]).succeeds();
    dir.run_with(&old, b"", &["list", "repo"]).refused(1, "wrong passphrase");
    dir.run_with(&[("GARRET_PASSPHRASE", "new")], b"", &["list", "repo"]).silent();
    assert_eq!(fs::read_dir(dir.path("repo/keys")).unwrap().count(), 1);
}

#[test]
fn a_key_file_is_private_needed_and_may_get_a_passphrase() {
    let dir = Dir::new();
    let blank = [("GARRET_PASSPHRASE", "")];
    let said = dir.run_with(&blank, b"", &["init", "-e", "keyfile", "repo"]).succeeds();
    let key = super::files_below(&dir.path("keys")).remove(0);
    assert!(said.contains(&format!("Key file: {}\n", key.display())), "{said}");
    let mode = |path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!((mode(key.clone()), mode(dir.path("keys"))), (0o600, 0o700));
    // Blank: nothing to ask for.
    dir.run(&["list", "repo"]).silent();
    let change = [("GARRET_NEW_PASSPHRASE", "new")];
    let said = dir.run_with(&change, b"", &["change-passphrase", "repo"]).succeeds();
    assert_eq!(said, format!("Key file \"{}\" updated\n", key.display()));
    dir.run(&["list", "repo"]).refused(1, "set GARRET_PASSPHRASE");
    dir.run_with(&[("GARRET_PASSPHRASE", "new")], b"", &["list", "repo"]).silent();
    assert_eq!(super::files_below(&dir.path("keys")).len(), 1, "nothing is left beside it");
    fs::remove_file(&key).unwrap();
    let missing =
        format!("No key file for repository repo found in {}.", dir.path("keys").display());
    dir.run(&["list", "repo"]).refused(1, &missing);
}

#[test]
fn a_key_file_of_another_repository_is_refused() {
    let dir = Dir::new();
    dir.cheap_repository("one", KeyMode::Keyfile);
    dir.cheap_repository("two", KeyMode::Keyfile);
    let keys = super::files_below(&dir.path("keys"));
    let other = fs::read(&keys[0]).unwrap();
    fs::write(&keys[1], other).unwrap();
    let unlock = [("GARRET_PASSPHRASE", PASSPHRASE)];
    let codes = ["one", "two"].map(|name| dir.run_with(&unlock, b"", &["list", name]).code);
    assert!(codes == [Some(0), Some(1)] || codes == [Some(1), Some(0)], "{codes:?}");
    fs::write(&keys[1], b"no key").unwrap();
    let refused = ["one", "two"].map(|name| dir.run_with(&unlock, b"", &["list", name]));
    let bad = refused.into_iter().find(|ran| ran.code != Some(0)).unwrap();
    bad.refused(1, ".key");
}

#[test]
fn a_key_file_that_others_can_write_is_refused_and_one_that_they_can_read_is_told_of() {
    let dir = Dir::new();
    let blank = [("GARRET_PASSPHRASE", "")];
    dir.run_with(&blank, b"", &["init", "-e", "keyfile", "repo"]).succeeds();
    let key = super::files_below(&dir.path("keys")).remove(0);
    let chmod = |mode| fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
    for mode in [0o666, 0o620, 0o602] {
        chmod(mode);
        dir.run(&["list", "repo"]).refused(1, "others can write to this key file");
    }
    let told = |words: &str| {
        let ran = dir.run(&["list", "repo"]);
        assert_eq!((ran.code, ran.stderr.lines().count()), (Some(0), 1), "{}", ran.stderr);
        let start = format!("garret: Warning: {}: {words}", key.display());
        assert!(ran.stderr.starts_with(&start), "{}", ran.stderr);
    };
    for mode in [0o644, 0o640] {
        chmod(mode);
        told("others can read this key file");
    }
    chmod(0o600);
    std::os::unix::fs::chown(&key, Some(65534), None).unwrap();
    told("this key file belongs to user 65534, who can exchange it");
    fs::remove_file(&key).unwrap();
    super::tool("mkfifo", &["-m", "600", key.to_str().unwrap()]);
    dir.run(&["list", "repo"]).refused(1, "it is not a file");
    fs::remove_file(&key).unwrap();
    fs::write(&key, vec![7; 1 << 20]).unwrap();
    chmod(0o600);
    dir.run(&["list", "repo"]).refused(1, "it is longer than 320 bytes");
    for bytes in [&b""[..], b"no key"] {
        fs::write(&key, bytes).unwrap();
        let ran = dir.run(&["list", "repo"]);
        assert_eq!(ran.code, Some(1));
        let named = ran.stderr.contains(&format!("{} is damaged at offset 0: ", key.display()));
        assert!(named && ran.stderr.ends_with("put back an intact copy of it\n"), "{}", ran.stderr);
    }
    fs::remove_file(&key).unwrap();
    super::tool("mknod", &["-m", "600", key.to_str().unwrap(), "c", "5", "1"]);
    dir.run(&["list", "repo"]).refused(1, "it is not a file");
}

#[test]
fn a_key_file_where_others_can_exchange_it_is_told_of_whenever_it_is_written_or_read() {
    let dir = Dir::new();
    let blank = [("GARRET_PASSPHRASE", "")];
    fs::create_dir(dir.path("keys")).unwrap();
    fs::set_permissions(dir.path("keys"), fs::Permissions::from_mode(0o777)).unwrap();
    let told = |ran: super::Ran| {
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let line = "others can exchange this key file: a directory that leads there is theirs or open to them\n";
        assert!(ran.stderr.ends_with(line), "{}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    };
    told(dir.run_with(&blank, b"", &["init", "-e", "keyfile", "repo"]));
    told(dir.run(&["list", "repo"]));
    let change = [("GARRET_NEW_PASSPHRASE", "")];
    told(dir.run_with(&change, b"", &["change-passphrase", "repo"]));
    fs::set_permissions(dir.path("keys"), fs::Permissions::from_mode(0o700)).unwrap();
    dir.run(&["list", "repo"]).silent();
}

#[test]
fn an_unencrypted_repository_has_no_passphrase_to_change() {
    let dir = Dir::with_repository();
    dir.run(&["change-passphrase", "repo"]).refused(1, "the repository is not encrypted");
}
