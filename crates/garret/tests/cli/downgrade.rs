//! A repository without encryption in the place of one with (T23): nothing is written to it in the clear.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;

use garret_core::{InitOptions, LocalStore, Sharing};
use garret_format::config::{Config, KeyMode};

use super::attic::{on_a_terminal, on_a_terminal_with};
use super::{Dir, PASSPHRASE, Ran, files_below};

const UNLOCK: [(&str, &str); 1] = [("GARRET_PASSPHRASE", PASSPHRASE)];
const CANARY: &[u8] = b"the canary that nobody may read";

/// What the holder of the storage does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attack {
    /// `config` says that there is no key; all else stays.
    Config,
    /// The same, and all else is removed.
    SameId,
    /// Another repository.
    OtherId,
}

const ATTACKS: [Attack; 3] = [Attack::Config, Attack::SameId, Attack::OtherId];
const MODES: [KeyMode; 2] = [KeyMode::Passphrase, KeyMode::Keyfile];

/// An encrypted repository with an archive, which this client has used.
fn used(mode: KeyMode) -> Dir {
    let dir = Dir::new();
    dir.cheap_repository("repo", mode);
    dir.write("canary", CANARY);
    dir.run_with(&UNLOCK, b"", &["create", "repo::before", "canary"]).silent();
    dir
}

fn plain_repository(dir: &Dir, name: &str) {
    let store = LocalStore::create(&dir.path(name), Sharing::Private).unwrap();
    let options = InitOptions::new(KeyMode::None, Default::default(), 1_790_000_000);
    garret_core::init(&store, &options, &mut |_, _| Ok(())).unwrap();
}

fn attack(dir: &Dir, attack: Attack) {
    let config = Config::decode(&dir.read("repo/config")).unwrap();
    if attack != Attack::Config {
        fs::remove_dir_all(dir.path("repo")).unwrap();
    }
    match attack {
        Attack::OtherId => plain_repository(dir, "repo"),
        Attack::Config | Attack::SameId => {
            let config = Config { key_mode: KeyMode::None, cipher: None, ..config };
            dir.write("repo/config", &config.encode());
            dir.write("repo/copies/config", &config.encode());
        }
    }
}

fn contents(dir: &Dir) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = files_below(&dir.path("repo")).into_iter();
    files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn holds_canary(dir: &Dir) -> bool {
    let holds = |bytes: &Vec<u8>| bytes.windows(CANARY.len()).any(|window| window == CANARY);
    contents(dir).values().any(holds)
}

/// It went on, after one line of warning; whatever else it met.
#[track_caller]
fn warned(ran: &Ran, what: &str) {
    let first = ran.stderr.lines().next().unwrap_or_default();
    assert!(first.starts_with("garret: Warning: "), "{what}: {}", ran.stderr);
    assert!(!ran.stderr.contains("Error:"), "{what}: {}", ran.stderr);
    assert_eq!(ran.stderr.matches("Warning: ").count(), 1, "{what}: {}", ran.stderr);
}

const WRITERS: [&[&str]; 5] = [
    &["sync", "repo", "copy"],
    &["create", "--compression", "none", "repo::after", "canary"],
    &["prune", "--keep-daily", "1", "repo"],
    &["delete", "repo::before"],
    &["change-passphrase", "repo"],
];

#[test]
fn what_was_encrypted_is_not_written_to_in_the_clear() {
    for mode in MODES {
        for way in ATTACKS {
            let dir = used(mode);
            attack(&dir, way);
            let before = contents(&dir);
            for environment in [&UNLOCK[..], &[]] {
                for arguments in WRITERS {
                    let what = format!("{mode:?} {way:?} {environment:?} {arguments:?}");
                    let ran = dir.run_with(environment, b"", arguments);
                    assert_eq!(ran.stderr.lines().count(), 1, "{what}: {}", ran.stderr);
                    ran.refused(1, "; nothing was written");
                    assert!(contents(&dir) == before, "{what}");
                    assert!(!dir.path("copy").exists(), "{what}");
                }
                for arguments in [&["list", "repo"][..], &["info", "repo"], &["check", "repo"]] {
                    let what = format!("{mode:?} {way:?} {environment:?} {arguments:?}");
                    let ran = dir.run_with(environment, b"", arguments);
                    warned(&ran, &what);
                    let whole = way != Attack::Config;
                    assert!(!whole || ran.code == Some(0), "{what}: {}", ran.stderr);
                }
            }
            let (code, said) = on_a_terminal(&dir, "create repo::after canary", "y\n");
            assert_eq!(code, Some(1), "{mode:?} {way:?}: {said}");
            assert!(said.contains("nothing was written") && !said.contains("[yN]"), "{said}");
            assert!(contents(&dir) == before && !holds_canary(&dir), "{mode:?} {way:?}");
        }
    }
}

/// A client that lost what it remembered, or is new: the passphrase, the key file, or the slots say what should be.
#[test]
fn a_client_without_memory_goes_by_what_else_it_has() {
    for mode in MODES {
        for way in ATTACKS {
            let dir = used(mode);
            fs::remove_dir_all(dir.path("state")).unwrap();
            attack(&dir, way);
            let before = contents(&dir);
            let ran = dir.run_with(&UNLOCK, b"", WRITERS[0]);
            ran.refused(1, "; nothing was written");
            let named = match (mode, way) {
                (KeyMode::Keyfile, Attack::Config | Attack::SameId) => Some(".key is its key"),
                (KeyMode::Passphrase, Attack::Config) => Some("has keys in keys/"),
                _ => None,
            };
            if let Some(named) = named {
                dir.run(WRITERS[0]).refused(1, named);
                let (code, said) = on_a_terminal(&dir, "create repo::after canary", "y\n");
                assert!(code == Some(1) && said.contains(named), "{said}");
            }
            // What was only warned of is not known afterwards.
            let warning = dir.run_with(&UNLOCK, b"", &["list", "repo"]);
            warned(&warning, &format!("{mode:?} {way:?}"));
            dir.run_with(&UNLOCK, b"", WRITERS[0]).refused(1, "; nothing was written");
            assert!(contents(&dir) == before && !holds_canary(&dir), "{mode:?} {way:?}");
        }
    }
}

#[test]
fn an_unknown_one_is_asked_about_where_a_passphrase_is_given() {
    let unknown = "garret: Error: Attempting to access a previously unknown unencrypted repository repo, though a \
                   passphrase is given; if it is to be so, set GARRET_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes; \
                   nothing was written\n";
    let create = ["create", "repo::a", "canary"];
    for name in ["GARRET", "ATTIC"] {
        let dir = Dir::new();
        plain_repository(&dir, "repo");
        dir.write("canary", CANARY);
        let passphrase = [(&*format!("{name}_PASSPHRASE"), PASSPHRASE)];
        assert_eq!(dir.run_with(&passphrase, b"", &create).stderr, unknown);
        let (code, said) = on_a_terminal_with(&dir, &passphrase, &create.join(" "), "n\n");
        assert!(code == Some(1) && said.contains("Do you want to continue? [yN] "), "{said}");
        assert!(said.contains("Cache initialization aborted: nothing was written"), "{said}");
        assert_eq!(dir.run_with(&passphrase, b"", &create).stderr, unknown);
        let is_ok = format!("{name}_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK");
        dir.run_with(&[passphrase[0], (&is_ok, "yes")], b"", &create).silent();
        // Used is known.
        dir.run_with(&passphrase, b"", &["create", "repo::b", "canary"]).silent();
        dir.run_with(&passphrase, b"", &["delete", "repo::b"]).silent();
    }
    let dir = Dir::new();
    plain_repository(&dir, "repo");
    dir.write("canary", CANARY);
    let (code, said) = on_a_terminal_with(&dir, &UNLOCK, &create.join(" "), "y\n");
    assert_eq!(code, Some(0), "{said}");
    dir.run_with(&UNLOCK, b"", &["list", "repo"]).succeeds();
}

#[test]
fn one_that_was_made_or_used_without_a_passphrase_stays_fine_with_one() {
    let dir = Dir::with_repository();
    dir.write("canary", CANARY);
    dir.run_with(&UNLOCK, b"", &["create", "repo::a", "canary"]).silent();
    plain_repository(&dir, "other");
    dir.run(&["create", "other::a", "canary"]).silent();
    dir.run_with(&UNLOCK, b"", &["create", "other::b", "canary"]).silent();
    // It may be moved, but not to where an encrypted one was.
    fs::rename(dir.path("other"), dir.path("moved")).unwrap();
    dir.run_with(&UNLOCK, b"", &["create", "moved::c", "canary"]).silent();
    dir.cheap_repository("secret", KeyMode::Passphrase);
    dir.run_with(&UNLOCK, b"", &["create", "secret::a", "canary"]).silent();
    fs::rename(dir.path("secret"), dir.path("away")).unwrap();
    fs::rename(dir.path("moved"), dir.path("secret")).unwrap();
    for environment in [&UNLOCK[..], &[]] {
        let ran = dir.run_with(environment, b"", &["create", "secret::d", "canary"]);
        ran.refused(1, "secret: it is not encrypted, and what this client used there was; put that back, or remove ");
    }
    // Nor does another encrypted one get what is meant for the first.
    fs::rename(dir.path("secret"), dir.path("moved")).unwrap();
    let elsewhere = Dir::new();
    elsewhere.cheap_repository("new", KeyMode::Passphrase);
    fs::rename(elsewhere.path("new"), dir.path("secret")).unwrap();
    let ran = dir.run_with(&UNLOCK, b"", &["create", "secret::a", "canary"]);
    ran.refused(1, "secret: it is another than the encrypted one that this client used there");
    // Made anew by oneself it is known.
    fs::remove_dir_all(dir.path("secret")).unwrap();
    dir.run(&["init", "-e", "none", "secret"]).succeeds();
    dir.run(&["create", "secret::a", "canary"]).silent();
}

#[test]
fn a_config_that_changed_is_not_written_to() {
    let dir = Dir::with_repository();
    dir.write("canary", CANARY);
    dir.run(&["create", "repo::a", "canary"]).silent();
    let config = Config::decode(&dir.read("repo/config")).unwrap();
    let config = Config { chunk_max: config.chunk_max * 2, ..config };
    dir.write("repo/config", &config.encode());
    let text = "repo: its config was altered since this client used it; put back config from another copy of it, or \
                remove ";
    dir.run(&["create", "repo::b", "canary"]).refused(1, text);
    let ran = dir.run(&["list", "repo"]);
    warned(&ran, "list");
    assert_eq!(ran.code, Some(0));
    // As the line says.
    files_below(&dir.path("state")).iter().for_each(|path| fs::remove_file(path).unwrap());
    dir.run(&["create", "repo::b", "canary"]).silent();
}

#[test]
fn init_encrypts_when_there_is_a_passphrase_of_ours() {
    let dir = Dir::new();
    let said = dir.run_with(&UNLOCK, b"", &["init", "one"]).succeeds();
    assert!(said.contains("Encryption: passphrase\n"), "{said}");
    dir.write("canary", CANARY);
    dir.run_with(&UNLOCK, b"", &["create", "one::a", "canary"]).silent();
    let said = dir.run_with(&UNLOCK, b"", &["init", "-e", "none", "two"]).succeeds();
    assert!(said.contains("Encryption: none\n"), "{said}");
    let attic = [("ATTIC_PASSPHRASE", PASSPHRASE)];
    let said = dir.run_with(&attic, b"", &["init", "three"]).succeeds();
    assert!(said.contains("Encryption NOT enabled.\n"), "{said}");
    dir.run_with(&attic, b"", &["create", "three::a", "canary"]).silent();
    let empty = [("GARRET_PASSPHRASE", "")];
    dir.run_with(&empty, b"", &["init", "four"]).refused(1, "the passphrase must not be empty");
}

/// Where nothing can be remembered, reading says nothing of it, and writing says it once.
#[test]
fn a_state_that_cannot_be_written_stops_nobody() {
    let dir = used(KeyMode::Keyfile);
    dir.write("file", b"no directory");
    let nowhere = [UNLOCK[0], ("GARRET_STATE_DIR", "file/state")];
    dir.run_with(&nowhere, b"", &["list", "repo"]).succeeds();
    let ran = dir.run_with(&nowhere, b"", &["create", "repo::b", "canary"]);
    assert_eq!((ran.code, ran.stderr.lines().count()), (Some(0), 1), "{}", ran.stderr);
    assert!(ran.stderr.starts_with("garret: note: cannot remember that repo is encrypted: "));
    plain_repository(&dir, "plain");
    dir.run_with(&nowhere[1..], b"", &["create", "plain::b", "canary"]).silent();
    // One that cannot be read is no reason to believe anything.
    dir.run(&["list", "plain"]).succeeds();
    for state in files_below(&dir.path("state")) {
        fs::write(state, b"{}").unwrap();
    }
    for repository in ["repo", "plain"] {
        let archive = format!("{repository}::c");
        let ran = dir.run_with(&UNLOCK, b"", &["create", &archive, "canary"]);
        ran.refused(1, "cannot be read");
    }
    let ran = dir.run(&["list", "plain"]);
    warned(&ran, "list");
    assert_eq!(ran.code, Some(0));
}

/// What is known is written by who has the key, into a directory that is his: else it may say that nothing was encrypted.
#[test]
fn a_state_that_others_wrote_or_could_have_written_is_not_believed() {
    let doubted = |dir: &Dir, words: &str| {
        let before = contents(dir);
        dir.run_with(&UNLOCK, b"", WRITERS[0]).refused(1, words);
        assert!(contents(dir) == before);
        let ran = dir.run_with(&UNLOCK, b"", &["list", "repo"]);
        warned(&ran, "list");
        assert!(ran.code == Some(0) && ran.stderr.contains(words), "{}", ran.stderr);
    };
    for mode in MODES {
        let dir = used(mode);
        let directory = dir.path("state");
        let state = files_below(&directory).remove(0);
        let chmod = |path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        // Whose slot in the repository is cheap to guess needs a client that knows its key.
        let places = [&directory, &state].into_iter().filter(|_| mode == KeyMode::Keyfile);
        for path in places {
            chmod(path, 0o777);
            doubted(&dir, "others can write there");
            chmod(path, 0o700);
            chown(path, Some(65534), None).unwrap();
            doubted(&dir, "others can write there");
            chown(path, Some(0), None).unwrap();
        }
        dir.run_with(&UNLOCK, b"", &["list", "repo"]).succeeds();
        let text = fs::read_to_string(&state).unwrap();
        fs::write(&state, text.replace("/repo\"", "/other\"")).unwrap();
        doubted(&dir, "was not written by anybody who has the key");
        let (before, after) = text.split_once("\"seal\": \"").unwrap();
        fs::write(&state, format!("{before}\"seal\": null{}", &after[65..])).unwrap();
        doubted(&dir, "was not written by anybody who has the key");
        fs::write(&state, text).unwrap();
        dir.run_with(&UNLOCK, b"", &["list", "repo"]).succeeds();
    }
}

/// Who holds the storage makes a slot from a guess: a key that is not the known one opens nothing, and one that costs less
/// than garret's own is not tried by who knows no key.
#[test]
fn a_key_that_is_not_the_known_one_opens_nothing() {
    for mode in MODES {
        let dir = used(mode);
        let state = files_below(&dir.path("state")).remove(0);
        let text = fs::read_to_string(&state).unwrap();
        let (before, rest) = text.split_once("\"key\": \"").unwrap();
        let other = format!("{before}\"key\": \"{}{}", "0".repeat(64), &rest[64..]);
        fs::write(&state, other).unwrap();
        let before = contents(&dir);
        for arguments in [&["list", "repo"][..], WRITERS[0], WRITERS[1], WRITERS[3]] {
            let ran = dir.run_with(&UNLOCK, b"", arguments);
            ran.refused(1, "opens to another key than the one that this repository had");
        }
        fs::remove_file(&state).unwrap();
        match mode {
            KeyMode::Keyfile => {
                dir.run_with(&UNLOCK, b"", &["list", "repo"]).succeeds();
            }
            _ => dir.run_with(&UNLOCK, b"", WRITERS[0]).refused(1, "is cheaper to guess than any"),
        }
        assert!(contents(&dir) == before);
    }
}

/// The place is what it was called, wherever that leads now; and a note of another repository that cannot be read may be
/// of it.
#[test]
fn a_link_or_a_broken_note_hides_no_downgrade() {
    let blank = [("GARRET_PASSPHRASE", "")];
    for attack in ["link", "empty", "pipe", "writable"] {
        let dir = Dir::new();
        dir.run_with(&blank, b"", &["init", "-e", "keyfile", "nas/repo", "-p"]).succeeds();
        dir.write("canary", CANARY);
        dir.run(&["create", "nas/repo::a", "canary"]).silent();
        plain_repository(&dir, "nas/other");
        fs::rename(dir.path("nas/repo"), dir.path("nas/away")).unwrap();
        let note = files_below(&dir.path("state")).remove(0);
        match attack {
            "link" => std::os::unix::fs::symlink("other", dir.path("nas/repo")).unwrap(),
            _ => fs::rename(dir.path("nas/other"), dir.path("nas/repo")).unwrap(),
        }
        match attack {
            "empty" => fs::write(&note, b"").unwrap(),
            "pipe" => {
                fs::remove_file(&note).unwrap();
                super::tool("mkfifo", &["-m", "600", note.to_str().unwrap()]);
            }
            "writable" => fs::set_permissions(&note, Permissions::from_mode(0o666)).unwrap(),
            _ => {}
        }
        let ran = dir.run(&["create", "nas/repo::b", "canary"]);
        let line = ran.stderr.clone();
        ran.refused(1, "nothing was written");
        let why = match attack {
            "link" => "what this client used there was",
            "writable" => "others can write there",
            _ => "cannot be read",
        };
        assert!(line.contains(why), "{attack}: {line}");
        assert!(!dir.path("nas/repo/packs").exists(), "{attack}");
    }
}
