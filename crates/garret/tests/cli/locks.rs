//! Two programs on one repository: who waits, for whom, how long.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use super::Dir;

/// What each command says when somebody else is there and it is not to wait.
const NOW: [&str; 2] = ["--lock-wait", "0"];

fn with_archive() -> Dir {
    let dir = Dir::with_repository();
    dir.write("file", b"content");
    dir.run(&["create", "repo::a", "file"]).silent();
    dir
}

#[test]
fn who_will_not_wait_is_told_who_is_there() {
    let dir = with_archive();
    let config = File::open(dir.path("repo/config")).unwrap();
    config.lock().unwrap();
    let pid = std::process::id();
    for arguments in [
        &["list", "repo"][..],
        &["list", "repo::a"],
        &["info", "repo"],
        &["extract", "-n", "repo::a"],
        &["check", "repo"],
        &["scrub", "repo"],
        &["diff", "repo::a", "a"],
        &["compare", "repo::a"],
        &["create", "repo::b", "file"],
        &["delete", "repo::a"],
        &["prune", "-d", "1", "repo"],
    ] {
        let ran = dir.run(&[arguments, &NOW].concat());
        let kind = match arguments[0] {
            "create" | "delete" | "prune" => "write",
            _ => "read",
        };
        let words = format!("garret: Error: Failed to acquire {kind} lock on repo: cannot lock ");
        assert!(ran.stderr.starts_with(&words), "{arguments:?}: {}", ran.stderr);
        let line = ran.stderr.clone();
        ran.refused(1, "repo/config: another program ");
        // File systems that number their devices otherwise do not tell who it is.
        let told = line.contains(&format!("another program (pid {pid}) holds it\n"));
        assert!(told || line.contains("another program holds it\n"), "{line}");
    }
    config.unlock().unwrap();
    config.lock_shared().unwrap();
    for arguments in [&["list", "repo"][..], &["create", "repo::b", "file"], &["check", "repo"]] {
        dir.run(&[arguments, &NOW].concat()).succeeds();
    }
    // Who reads and adds holds up nobody who deletes, nor is he held up; who repairs must be alone.
    dir.run(&["delete", "repo::b", "--lock-wait", "0"]).silent();
    dir.run(&["check", "--repair", "repo", "--lock-wait", "0"]).refused(1, "another program");
    // Not by closing it: a program that another test is starting has it open until it begins.
    config.unlock().unwrap();
    dir.run(&["check", "--repair", "repo", "--lock-wait", "0"]).succeeds();
}

#[test]
fn patience_ends() {
    let dir = with_archive();
    let config = File::open(dir.path("repo/config")).unwrap();
    config.lock().unwrap();
    let ran = dir.run(&["list", "repo", "--lock-wait", "1"]);
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!((ran.code, lines.len()), (Some(1), 2), "{}", ran.stderr);
    assert!(lines[0].starts_with("garret: waiting for another program "), "{}", lines[0]);
    assert!(lines[0].ends_with(" to finish with repo"), "{}", lines[0]);
    assert!(lines[1].contains(" holds it, still after 1 s"), "{}", lines[1]);
}

/// Whoever waits gets the repository that is at the path then.
#[test]
fn who_waits_goes_on_when_the_other_ends_and_looks_again_at_what_is_there() {
    for replaced in [false, true] {
        let dir = with_archive();
        let config = File::open(dir.path("repo/config")).unwrap();
        config.lock().unwrap();
        let mut command = dir.command(&["create", "repo::b", "file"]);
        let mut child = command.stdin(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(lines.next().unwrap().unwrap().contains("waiting for another program"));
        let other = replaced.then(|| {
            fs::copy(dir.path("repo/config"), dir.path("repo/new")).unwrap();
            let other = File::open(dir.path("repo/new")).unwrap();
            other.lock().unwrap();
            fs::rename(dir.path("repo/new"), dir.path("repo/config")).unwrap();
            other
        });
        drop(config);
        if let Some(other) = other {
            assert!(child.try_wait().unwrap().is_none(), "the file at the path is locked");
            drop(other);
        }
        assert!(child.wait().unwrap().success());
        assert_eq!(dir.archives("repo"), ["a", "b"]);
    }
}
