//! The help of every command, word for word: `snapshots/COMMAND.txt`.
//!
//! With `GARRET_SNAPSHOTS=write` in the environment the files are written anew, to be looked at and committed.

use std::fs;
use std::path::Path;

use super::Dir;

/// Every command; `garret` stands for the program itself.
const COMMANDS: [&str; 35] = [
    "init",
    "create",
    "extract",
    "restore",
    "list",
    "info",
    "find",
    "drill",
    "delete",
    "prune",
    "compact",
    "sync",
    "tag",
    "protect",
    "unprotect",
    "nightly",
    "report",
    "check",
    "scrub",
    "change-passphrase",
    "key",
    "diff",
    "compare",
    "nbd",
    "boot",
    "mount",
    "ls",
    "cat",
    "cp",
    "serve",
    "demo",
    "completions",
    "man",
    "help",
    "garret",
];

/// Compares with a file, or writes it.
#[track_caller]
pub(super) fn is_snapshot(name: &str, text: &str) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/snapshots");
    let path = directory.join(format!("{name}.txt"));
    if std::env::var_os("GARRET_SNAPSHOTS").is_some_and(|value| value == "write") {
        fs::create_dir_all(&directory).unwrap();
        fs::write(&path, text).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        text == expected,
        "{} is not what it was; GARRET_SNAPSHOTS=write writes it anew. It says now:\n{text}",
        path.display()
    );
}

#[test]
fn the_help_of_every_command_is_as_it_was() {
    let dir = Dir::new();
    let shown = dir.run(&["help"]).succeeds();
    for name in COMMANDS {
        let help = match name {
            "garret" => shown.clone(),
            _ => dir.run(&["help", name]).succeeds(),
        };
        assert_eq!(help.lines().find(|line| line.len() > 100), None, "{name}");
        if name != "garret" {
            assert_eq!(help, dir.run(&[name, "--help"]).succeeds(), "{name}");
            assert!(shown.contains(&format!("\n  {name} ")), "{name} is in the list");
        }
        is_snapshot(name, &help);
    }
    let listed = shown.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let listed = listed.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    assert_eq!(listed.count(), COMMANDS.len() - 1, "{shown}");
}

#[test]
fn the_help_of_what_is_done_with_keys_is_as_it_was() {
    let dir = Dir::new();
    let mut all = String::new();
    for name in ["list", "add", "remove", "change", "export", "import"] {
        let help = dir.run(&["help", "key", name]).succeeds();
        assert_eq!(help, dir.run(&["key", name, "--help"]).succeeds(), "{name}");
        assert_eq!(help.lines().find(|line| line.len() > 100), None, "{name}");
        all += &format!("{help}\n");
    }
    is_snapshot("key-actions", all.trim_end());
    dir.run(&["help", "key", "nothing"]).refused(2, "No help available on key nothing");
}

#[test]
fn help_has_topics_and_parts() {
    let dir = Dir::new();
    is_snapshot("patterns", &dir.run(&["help", "patterns"]).succeeds());
    let whole = dir.run(&["help", "prune"]).succeeds();
    let epilog = dir.run(&["help", "--epilog-only", "prune"]).succeeds();
    let usage = dir.run(&["help", "prune", "--usage-only"]).succeeds();
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words(&whole).contains(words(&epilog).as_str()), "{epilog}");
    assert!(epilog.contains("-1 is no limit") && !epilog.contains("--keep-daily"), "{epilog}");
    assert!(usage.contains("--keep-daily") && !usage.contains("-1 is no limit"), "{usage}");
    let epilog = dir.run(&["help", "--epi", "init"]).succeeds();
    assert_eq!(epilog, "Make a repository\n");
    dir.run(&["help", "nothing"]).refused(2, "No help available on nothing");
}
