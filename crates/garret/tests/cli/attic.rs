//! What scripts for attic rely on: its spellings, its messages and where they go, its variables.

use std::fs;

use garret_format::config::KeyMode;
use garret_testkit::both_files;

use super::{Dir, PASSPHRASE, files_below};

fn with_archive() -> Dir {
    let dir = Dir::with_repository();
    dir.image("vm.img", 1);
    dir.run(&["create", "repo::a", "vm.img"]).silent();
    dir
}

#[test]
fn verify_is_a_dry_run_and_says_that_it_is_old() {
    let dir = with_archive();
    let warning = "Warning: \"garret verify\" has been deprecated. \
                   Use \"garret extract --dry-run\" instead.\n";
    fs::remove_file(dir.path("vm.img")).unwrap();
    assert_eq!(dir.run(&["verify", "repo::a"]).succeeds(), warning);
    assert_eq!(dir.run(&["verify", "-v", "repo::a"]).succeeds(), format!("{warning}vm.img\n"));
    assert!(!dir.path("vm.img").exists());
}

#[test]
fn the_old_names_of_rules_are_understood() {
    let dir = with_archive();
    let old = ["prune", "--hourly", "1", "--daily=1", "--weekly", "-1", "--monthly=-1", "repo"];
    let said = dir.run(&old).succeeds();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 4, "{said}");
    for (line, rule) in lines.iter().zip(["hourly", "daily", "weekly", "monthly"]) {
        let expected =
            format!("Warning: \"--{rule}\" has been deprecated. Use \"--keep-{rule}\" instead.");
        assert_eq!(line, &expected);
    }
    assert_eq!(dir.archives("repo"), ["a"]);
}

#[test]
fn every_command_takes_verbose_behind_its_name() {
    let dir = with_archive();
    for line in [
        "init -v new",
        "create --verbose repo::b vm.img",
        "extract -v -n repo::a",
        "list -v repo",
        "info -v repo::a",
        "check --verb repo",
        "prune -v --keep-within 1d repo",
        "delete -v repo::b",
        "diff -v repo::a a",
        "compare -v repo::a",
    ] {
        dir.run(&line.split(' ').collect::<Vec<_>>()).succeeds();
    }
}

/// Attic asks whether one is sure, and takes archives away; here nothing is lost by it, so nothing is asked.
#[test]
fn a_repair_of_what_is_sound_changes_nothing_and_asks_nothing() {
    let dir = with_archive();
    let before = super::files_below(&dir.path("repo"));
    for variable in [&[][..], &[("ATTIC_CHECK_I_KNOW_WHAT_I_AM_DOING", "1")]] {
        let ran = dir.run_with(variable, b"", &["check", "--repair", "repo"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
        assert_eq!(
            String::from_utf8_lossy(&ran.stdout),
            "Starting repository repair...\nRepository repair complete, no problems found.\n\
             Starting archive consistency check...\nArchive consistency check complete, no problems found.\n"
        );
    }
    let mut after = super::files_below(&dir.path("repo"));
    after.retain(|path| !path.ends_with("repo/verified"));
    assert_eq!(after, before);
}

/// The table of attic's fatal messages, as far as they can occur here: each begins with attic's words.
#[test]
fn attic_s_messages_are_ours() {
    let dir = with_archive();
    dir.write("full/file", b"x");
    let says = |arguments: &[&str], text: &str| {
        dir.run(arguments).refused(1, &format!("garret: Error: {text}"));
    };
    for command in ["list", "info", "check", "change-passphrase", "delete"] {
        says(&[command, "none"], "Repository none does not exist");
        says(&[command, "full"], "full is not a valid repository");
    }
    says(&["create", "none::a", "vm.img"], "Repository none does not exist");
    says(&["extract", "none::a"], "Repository none does not exist");
    says(&["prune", "-d", "1", "none"], "Repository none does not exist");
    says(&["init", "repo"], "Repository repo already exists");
    says(&["init", "full"], "Repository full already exists");
    says(&["create", "repo::a", "vm.img"], "Archive a already exists");
    for command in ["extract", "list", "info", "delete", "compare"] {
        says(&[command, "repo::b"], "Archive b does not exist");
    }
    says(&["diff", "repo::a", "b"], "Archive b does not exist");
    says(&["diff", "repo::b", "a"], "Archive b does not exist");
    says(
        &["prune", "repo"],
        "At least one of the \"within\", \"hourly\", \"daily\", \"weekly\", \"monthly\" or \"yearly\" settings must be \
         specified",
    );
    let config = fs::File::open(dir.path("repo/config")).unwrap();
    config.lock().unwrap();
    says(&["list", "--lock-wait", "0", "repo"], "Failed to acquire read lock on repo");
    says(
        &["create", "--lock-wait", "0", "repo::b", "vm.img"],
        "Failed to acquire write lock on repo",
    );
    says(&["delete", "--lock-wait", "0", "repo::a"], "Failed to acquire write lock on repo");
}

#[test]
fn damage_and_loss_are_told_in_attic_s_words_first() {
    let dir = with_archive();
    let sound = dir.read("repo/backups/a");
    let mut bytes = sound.clone();
    bytes[100] ^= 1;
    let both = both_files(&dir.path("repo"), "backups/a");
    both.iter().for_each(|path| fs::write(path, &bytes).unwrap());
    let words = "garret: Error: Data integrity error: backups/a is damaged";
    dir.run(&["info", "repo::a"]).refused(1, words);
    both.iter().for_each(|path| fs::write(path, &sound).unwrap());
    // Also those that have the list.
    for pack in files_below(&dir.path("repo/packs")) {
        fs::remove_file(pack).unwrap();
    }
    let ran = dir.run(&["list", "repo::a"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("garret: Error: Object with key "), "{}", ran.stderr);
    assert!(ran.stderr.contains(" not found in repository"), "{}", ran.stderr);
}

#[test]
fn attic_s_variables_are_read_where_ours_are_not_set() {
    let dir = Dir::new();
    dir.cheap_repository("repo", KeyMode::Keyfile);
    fs::rename(dir.path("keys"), dir.path("attic-keys")).unwrap();
    let run = |environment: &[(&str, &str)]| {
        let mut command = dir.command(&["list", "repo"]);
        command.env_remove("GARRET_KEYS_DIR").env_remove("GARRET_CACHE_DIR");
        command.env("ATTIC_PASSPHRASE", PASSPHRASE).envs(environment.iter().copied());
        command.output().unwrap()
    };
    let attic = [("ATTIC_KEYS_DIR", "attic-keys"), ("ATTIC_CACHE_DIR", "attic-cache")];
    let output = run(&attic);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(dir.path("attic-cache/CACHEDIR.TAG").exists());
    let output = run(&[attic[0], attic[1], ("GARRET_KEYS_DIR", "keys")]);
    assert_eq!(output.status.code(), Some(1), "our own comes first");
    assert!(!dir.path("home").exists());
}

/// Runs the program on a terminal, with `typed` on it.
pub(super) fn on_a_terminal(dir: &Dir, arguments: &str, typed: &str) -> (Option<i32>, String) {
    on_a_terminal_with(dir, &[], arguments, typed)
}

/// The same with something in the environment.
pub(super) fn on_a_terminal_with(
    dir: &Dir,
    environment: &[(&str, &str)],
    arguments: &str,
    typed: &str,
) -> (Option<i32>, String) {
    let mut command = dir.command(&[]);
    command.envs(environment.iter().copied());
    let line = format!("{} {arguments}", command.get_program().to_str().unwrap());
    line_on_a_terminal(dir, &command, &line, typed)
}

/// A line of shell on a terminal, in the environment of `command`.
pub(super) fn line_on_a_terminal(
    dir: &Dir,
    command: &std::process::Command,
    line: &str,
    typed: &str,
) -> (Option<i32>, String) {
    use std::io::{Read, Write};
    let mut script = std::process::Command::new("script");
    script.args(["-q", "-e", "-c", line, "/dev/null"]).current_dir(dir.temp.path()).env_clear();
    script.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    script.env("PATH", "/usr/bin:/bin").env("TERM", "dumb");
    script.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = script.spawn().expect("this test needs script (util-linux)");
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut seen, mut part, mut typed) = (Vec::new(), [0; 4096], Some(typed));
    loop {
        let len = stdout.read(&mut part).unwrap();
        if len == 0 {
            break;
        }
        seen.extend_from_slice(&part[..len]);
        // Before the question is on the terminal, what is typed may be lost, or go to somebody else.
        let is_asked = seen.ends_with(b": ") || seen.ends_with(b"] ");
        if let Some(typed) = typed.take_if(|_| is_asked) {
            // It may have ended without an answer.
            let _unread = stdin.write_all(typed.as_bytes());
        }
    }
    drop(stdin);
    let code = child.wait().unwrap().code();
    (code, String::from_utf8_lossy(&seen).into_owned())
}

#[test]
fn a_whole_repository_is_deleted_only_when_a_terminal_agrees() {
    let dir = with_archive();
    let refused = "\"repo\": No archive specified, and no terminal to ask";
    dir.run(&["delete", "repo"]).refused(2, refused);
    let typed = b"Yes I am sure\n";
    dir.run_with(&[], typed, &["delete", "repo"]).refused(2, refused);
    let (code, said) = on_a_terminal(&dir, "delete repo", "yes\n");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the repository repo and the archive in it, for ever."), "{said}");
    assert!(said.contains("garret: Error: Repository deletion aborted"), "{said}");
    assert_eq!(dir.archives("repo"), ["a"]);
    assert!(!said.contains("Protected"), "{said}");
    dir.run(&["protect", "repo::a"]).silent();
    let (_, said) = on_a_terminal(&dir, "delete repo", "no\n");
    assert!(said.contains("for ever.\r\nProtected archives in it: 1\r\nType "), "{said}");
    dir.write("repo/mine", b"x");
    let (code, said) = on_a_terminal(&dir, "delete repo", "Yes I am sure\n");
    assert!(code == Some(1) && said.contains("cannot remove repo"), "{said}");
    assert_eq!(super::files_below(&dir.path("repo")), [dir.path("repo/mine")]);
    dir.run(&["init", "other"]).succeeds();
    let (code, said) = on_a_terminal(&dir, "delete other", "Yes I am sure\n");
    assert_eq!(code, Some(0), "{said}");
    assert!(!dir.path("other").exists());
}
