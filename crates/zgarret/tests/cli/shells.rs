//! What shells offer at TAB, and the pages for `man`. Needs bash, zsh, fish, man and mandoc.

use super::Dir;

#[test]
fn shells_load_what_completions_prints_without_a_word() {
    let dir = Dir::new();
    let load = "source <(zgarret completions bash); complete -p zgarret";
    assert!(dir.in_shell("bash", &["--norc", "-c"], load).contains("zgarret"));
    let load = "autoload -U compinit; compinit -u -D; source <(zgarret completions zsh); print $_comps[zgarret]";
    assert!(dir.in_shell("zsh", &["-f", "-c"], load).contains("zgarret"));
    let load = "zgarret completions fish | source; complete -C 'zgarret insp'";
    assert_eq!(dir.in_shell("fish", &["--no-config", "-c"], load), "inspect\tInspects a backup\n");
    let ran = dir.run(&["completions", "tcsh"]);
    assert_eq!(
        (ran.code, ran.stderr.as_str()),
        (Some(1), "Usage: zgarret completions bash|fish|zsh\n")
    );
}

#[test]
fn every_command_has_a_page_that_man_and_mandoc_read_without_a_complaint() {
    let dir = Dir::new();
    dir.run(&["man", "pages"]).silent();
    assert_eq!(dir.sound_pages("pages").len(), 13, "zgarret and twelve commands");
}
