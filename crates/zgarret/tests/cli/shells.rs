//! What shells offer at TAB, and the pages for `man`. Needs bash, zsh, fish, man and mandoc.

use std::fs;
use std::path::Path;

use super::Dir;

/// A shell that finds the program; it says nothing on stderr.
#[track_caller]
fn shell(dir: &Dir, program: &str, arguments: &[&str], script: &str) -> String {
    let own = dir.command(&[]).get_program().to_owned();
    let place = Path::new(&own).parent().unwrap().to_str().unwrap().to_owned();
    let mut command = dir.other(program);
    command.env("PATH", format!("{place}:/usr/bin:/bin")).args(arguments).arg(script);
    let output =
        command.output().unwrap_or_else(|error| panic!("this test needs {program}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), stderr.as_ref()), (Some(0), ""), "{program}: {script}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn shells_load_what_completions_prints_without_a_word() {
    let dir = Dir::new();
    let load = "source <(zgarret completions bash); complete -p zgarret";
    assert!(shell(&dir, "bash", &["--norc", "-c"], load).contains("zgarret"));
    let load = "autoload -U compinit; compinit -u -D; source <(zgarret completions zsh); print $_comps[zgarret]";
    assert!(shell(&dir, "zsh", &["-f", "-c"], load).contains("zgarret"));
    let load = "zgarret completions fish | source; complete -C 'zgarret insp'";
    assert_eq!(shell(&dir, "fish", &["--no-config", "-c"], load), "inspect\tInspects a backup\n");
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
    let pages = fs::read_dir(dir.path("pages")).unwrap().map(|entry| entry.unwrap().path());
    let mut count = 0;
    for page in pages {
        let mut man = dir.other("man");
        man.args(["--warnings", "-l"])
            .arg(&page)
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C.UTF-8");
        let output = man.env("MANWIDTH", "100").output().expect("this test needs man");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{}", page.display());
        let mut lint = dir.other("mandoc");
        let output = lint
            .args(["-T", "lint", "-W", "error"])
            .arg(&page)
            .output()
            .expect("this test needs mandoc");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        count += 1;
    }
    assert_eq!(count, 13, "zgarret and twelve commands");
}
