//! What shells offer at TAB, and the pages for `man`. Needs bash, zsh, fish, man and mandoc.

use garret_format::config::KeyMode;

use super::attic::line_on_a_terminal;
use super::{Dir, PASSPHRASE};

fn nights() -> Dir {
    let dir = Dir::with_repository();
    dir.image("images/app.raw", 1);
    dir.write("images/old/app.raw", b"x");
    dir.run(&["create", "repo::night-1", "images"]).silent();
    dir.run(&["create", "repo::other", "images"]).silent();
    dir
}

#[test]
fn shells_load_what_completions_prints_without_a_word() {
    let dir = nights();
    let load = "source <(garret completions bash); complete -p garret";
    assert!(dir.in_shell("bash", &["--norc", "-c"], load).contains("garret"));
    let load = "autoload -U compinit; compinit -u -D; source <(garret completions zsh); print $_comps[garret]";
    assert!(dir.in_shell("zsh", &["-f", "-c"], load).contains("garret"));
    let asked = "garret completions fish | source; complete -C";
    for (line, expected) in [
        ("garret list repo::n", "repo::night-1\n"),
        ("garret extract repo::night-1 images/a", "images/app.raw\n"),
        ("garret restore repo images/o", "images/old/\n"),
        ("garret restore repo app --at o", "other\n"),
        ("garret sync repo sf", "sftp://\n"),
        ("garret dri", "drill\tRestore an image to see that it can be restored\n"),
    ] {
        let found = dir.in_shell("fish", &["--no-config", "-c"], &format!("{asked} '{line}'"));
        assert_eq!(found, expected, "{line}");
    }
    assert_eq!(dir.run(&["completions", "tcsh"]).code, Some(2));
}

/// What is on a terminal after this was typed into bash, whose prompt is `] `.
fn typed_into_bash(dir: &Dir, typed: &str) -> String {
    let mut command = dir.other("bash");
    command.env("PS1", "] ");
    let line = format!("PATH={} bash --norc --noprofile -i", dir.search_path());
    let typed = format!("source <(garret completions bash)\n{typed}exit\n");
    let (code, said) = line_on_a_terminal(dir, &command, &line, &typed);
    assert_eq!(code, Some(0), "{said}");
    // Where there are several, it rings.
    said.replace('\u{7}', "")
}

#[test]
fn a_tab_completes_repositories_archives_and_paths_in_them() {
    let dir = nights();
    let said = typed_into_bash(
        &dir,
        "garret list --short rep\t::ni\timages/a\t\ngarret find repo images/o\ta\t\n",
    );
    assert!(said.contains("garret list --short repo::night-1 images/app.raw"), "{said}");
    assert!(said.lines().any(|line| line.trim_end() == "images/app.raw"), "{said}");
    assert!(said.contains("garret find repo images/old/app.raw"), "{said}");
}

/// Whoever may write to a repository gives names, and the administrator presses TAB.
#[test]
fn a_name_that_a_tab_completes_stays_a_name() {
    let dir = Dir::with_repository();
    dir.write("my img.raw", b"x");
    for name in ["d$(touch ran)", "e`touch ran`", "f;touch ran", "g 'a' \"b\""] {
        dir.run(&["create", &format!("repo::{name}"), "my img.raw"]).silent();
    }
    let typed = "garret list --short repo::d\t\ngarret list --short repo::e\t\n\
                 garret list --short repo::f\t\ngarret list --short repo::g\t my\t\n\
                 garret create repo::h my\t\n";
    let said = typed_into_bash(&dir, typed);
    assert!(!dir.path("ran").exists(), "{said}");
    let listed = |line: &str| line.trim_end() == "my img.raw";
    assert_eq!(said.lines().filter(|line| listed(line)).count(), 4, "{said}");
    assert!(dir.archives("repo").contains(&"h".to_owned()), "{said}");
}

#[test]
fn names_of_archives_are_offered_without_a_key_and_what_is_in_them_is_not() {
    let dir = Dir::new();
    dir.cheap_repository("secret", KeyMode::Passphrase);
    dir.write("file", b"x");
    let given = [("GARRET_PASSPHRASE", PASSPHRASE)];
    dir.run_with(&given, b"", &["create", "secret::night-1", "file"]).silent();
    let asked = "garret completions fish | source; complete -C";
    let found =
        |line: &str| dir.in_shell("fish", &["--no-config", "-c"], &format!("{asked} '{line}'"));
    assert_eq!(found("garret list secret::"), "secret::night-1\n");
    assert_eq!(found("garret list secret::night-1 fi"), "");
}

#[test]
fn every_command_has_a_page_that_man_and_mandoc_read_without_a_complaint() {
    let dir = Dir::new();
    dir.run(&["man", "pages"]).silent();
    let pages = dir.sound_pages("pages");
    for name in ["garret.1", "garret-restore.1", "garret-key-add.1"] {
        assert!(pages.iter().any(|page| page.ends_with(name)), "{name}");
    }
    let shown = dir.man().arg("-l").arg(dir.path("pages/garret-restore.1")).output().unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    let example = "  garret restore /srv/backup/vms app.raw -o /var/lib/libvirt/images/app.raw\n";
    assert!(shown.contains(example), "on a line of its own, to be copied:\n{shown}");
}
