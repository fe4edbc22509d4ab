//! What shells offer at TAB, and the pages for `man`. Needs bash, zsh, fish, man and mandoc.

use std::fs;
use std::path::Path;
use std::process::Command;

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

/// A shell that finds the program; it says nothing on stderr.
#[track_caller]
fn shell(dir: &Dir, program: &str, arguments: &[&str], script: &str) -> String {
    let mut command = with_program(dir, dir.other(program));
    let output = command.args(arguments).arg(script).output();
    let output = output.unwrap_or_else(|error| panic!("this test needs {program}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), stderr.as_ref()), (Some(0), ""), "{program}: {script}");
    String::from_utf8(output.stdout).unwrap()
}

fn with_program(dir: &Dir, mut command: Command) -> Command {
    let program = dir.command(&[]).get_program().to_owned();
    let place = Path::new(&program).parent().unwrap().to_str().unwrap().to_owned();
    command.env("PATH", format!("{place}:/usr/bin:/bin"));
    command
}

#[test]
fn shells_load_what_completions_prints_without_a_word() {
    let dir = nights();
    let load = "source <(garret completions bash); complete -p garret";
    assert!(shell(&dir, "bash", &["--norc", "-c"], load).contains("garret"));
    let load = "autoload -U compinit; compinit -u -D; source <(garret completions zsh); print $_comps[garret]";
    assert!(shell(&dir, "zsh", &["-f", "-c"], load).contains("garret"));
    let asked = "garret completions fish | source; complete -C";
    for (line, expected) in [
        ("garret list repo::n", "repo::night-1\n"),
        ("garret extract repo::night-1 images/a", "images/app.raw\n"),
        ("garret restore repo images/o", "images/old/\n"),
        ("garret restore repo app --at o", "other\n"),
        ("garret dri", "drill\tRestore an image to see that it can be restored\n"),
    ] {
        let found = shell(&dir, "fish", &["--no-config", "-c"], &format!("{asked} '{line}'"));
        assert_eq!(found, expected, "{line}");
    }
    assert_eq!(dir.run(&["completions", "tcsh"]).code, Some(2));
}

/// What is on a terminal after this was typed into bash, whose prompt is `] `.
fn typed_into_bash(dir: &Dir, typed: &str) -> String {
    let mut command = with_program(dir, dir.other("bash"));
    command.env("PS1", "] ");
    let path = command.get_envs().find(|(name, _)| *name == "PATH").unwrap().1.unwrap();
    let line = format!("PATH={} bash --norc --noprofile -i", path.to_str().unwrap());
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

#[test]
fn names_of_archives_are_offered_without_a_key_and_what_is_in_them_is_not() {
    let dir = Dir::new();
    dir.cheap_repository("secret", KeyMode::Passphrase);
    dir.write("file", b"x");
    let given = [("GARRET_PASSPHRASE", PASSPHRASE)];
    dir.run_with(&given, b"", &["create", "secret::night-1", "file"]).silent();
    let asked = "garret completions fish | source; complete -C";
    let found =
        |line: &str| shell(&dir, "fish", &["--no-config", "-c"], &format!("{asked} '{line}'"));
    assert_eq!(found("garret list secret::"), "secret::night-1\n");
    assert_eq!(found("garret list secret::night-1 fi"), "");
}

#[test]
fn every_command_has_a_page_that_man_and_mandoc_read_without_a_complaint() {
    let dir = Dir::new();
    dir.run(&["man", "pages"]).silent();
    let mut pages: Vec<_> =
        fs::read_dir(dir.path("pages")).unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.sort();
    for name in ["garret.1", "garret-restore.1", "garret-key-add.1"] {
        assert!(pages.iter().any(|page| page.ends_with(name)), "{name}");
    }
    for page in &pages {
        let mut man = dir.other("man");
        man.args(["--warnings", "-l"])
            .arg(page)
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C.UTF-8");
        let output = man.env("MANWIDTH", "100").output().expect("this test needs man");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{}", page.display());
        let mut lint = dir.other("mandoc");
        let output = lint
            .args(["-T", "lint", "-W", "error"])
            .arg(page)
            .output()
            .expect("this test needs mandoc");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    let mut man = dir.other("man");
    man.args(["-l"]).arg(dir.path("pages/garret-restore.1")).env("PATH", "/usr/bin:/bin");
    let shown = man.env("MANWIDTH", "100").output().unwrap().stdout;
    let shown = String::from_utf8_lossy(&shown).into_owned();
    let example = "  garret restore /srv/backup/vms app.raw -o /var/lib/libvirt/images/app.raw\n";
    assert!(shown.contains(example), "on a line of its own, to be copied:\n{shown}");
}
