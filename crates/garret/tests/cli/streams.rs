//! Data that comes or goes in order: a broken producer makes no archive, nobody is read from or written to.
//!
//! Needs `script` and `setpriv` (util-linux).

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Dir, MIB, PASSPHRASE, Ran, fill_noise, tool};

impl Dir {
    /// A line of a shell in which `garret` is the program.
    fn shell(&self, line: &str) -> Ran {
        let garret = self.command(&[]);
        let line = line.replace("garret ", &format!("{} ", garret.get_program().display()));
        let mut command = Command::new("/bin/bash");
        command.args(["-c", &line]).current_dir(self.temp.path()).env_clear();
        command.envs(garret.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
        let output = command.output().unwrap();
        Ran::of(line, output)
    }

    /// What extracting to standard output gives.
    fn content(&self, archive: &str) -> Vec<u8> {
        let ran = self.run(&["extract", "--stdout", archive]);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{archive}");
        ran.stdout
    }

    /// Bytes of all packs: what interrupted runs stored is among them.
    fn pack_bytes(&self) -> u64 {
        super::packs(&self.path("repo")).iter().map(|pack| pack.metadata().unwrap().len()).sum()
    }
}

#[test]
fn the_output_of_a_command_is_stored_whole_and_under_its_name() {
    let dir = Dir::with_repository();
    let mut bytes = vec![0; 9 * MIB + 5];
    fill_noise(&mut bytes, 1);
    dir.write("dump", &bytes);
    dir.write("file", b"a file");
    dir.run(&["create", "--from-command", "cat dump", "repo::a"]).silent();
    assert_eq!(dir.run(&["list", "--short", "repo::a"]).succeeds(), "output\n");
    assert!(dir.content("repo::a") == bytes);
    let words =
        ["create", "--from-command", "head -c 3 dump; printf x", "--stdin-name", "db/all.sql"];
    dir.run(&[&words[..], &["repo::b", "file"]].concat()).silent();
    assert_eq!(dir.run(&["list", "--short", "repo::b"]).succeeds(), "db/all.sql\nfile\n");
    let restored = dir.run(&["extract", "--stdout", "repo::b", "db/all.sql"]);
    assert_eq!(restored.stdout, [&bytes[..3], b"x"].concat());
}

#[test]
fn a_command_that_fails_makes_no_archive_whenever_it_does() {
    let dir = Dir::with_repository();
    dir.write("file", b"a file");
    for (line, why) in [
        ("exit 3", "exit status 3"),
        ("printf x; exit 3", "exit status 3"),
        ("head -c 30000000 /dev/urandom; exit 3", "exit status 3"),
        ("head -c 4194304 /dev/zero; false", "exit status 1"),
        ("head -c 4194304 /dev/zero | { cat; false; } | cat", "exit status 1"),
        ("printf x; kill -9 $$", "signal 9"),
        ("printf x; kill -TERM $$", "signal 15"),
        ("./is-not-there 2>/dev/null", "exit status 127"),
    ] {
        for more in [&["repo::a"][..], &["repo::a", "file"], &["--allow-empty", "repo::a"]] {
            let ran = dir.run(&[&["create", "--from-command", line], more].concat());
            ran.refused(1, &format!("the command \"{line}\" failed ({why}): no archive was made"));
        }
    }
    assert_eq!(dir.archives("repo"), [""; 0]);
    // What it says is seen.
    let ran = dir.run(&["create", "--from-command", "echo no database >&2; exit 1", "repo::a"]);
    assert!(ran.stderr.starts_with("no database\ngarret: Error: the command "), "{}", ran.stderr);
    dir.run(&["prune", "-d", "1", "repo"]).silent();
    assert_eq!(dir.pack_bytes(), 0, "what was stored of it is given back");
}

#[test]
fn a_command_is_not_run_for_an_archive_that_cannot_be() {
    let dir = Dir::with_repository();
    dir.write("file", b"x");
    dir.run(&["create", "repo::a", "file"]).silent();
    let create = |more: &[&str]| {
        dir.run(&[&["create", "--from-command", "touch ran; echo x"], more].concat())
    };
    create(&["repo::a"]).refused(1, "Archive a already exists");
    create(&["repo::.a"]).refused(1, "a part of it begins with a dot");
    create(&["none::a"]).refused(1, "Repository none does not exist");
    create(&["repo"]).refused(2, "No archive specified");
    create(&["repo::b", "-"]).refused(2, "not both");
    assert!(!dir.path("ran").exists());
    create(&["repo::b"]).silent();
    assert!(dir.path("ran").exists());
}

#[test]
fn a_command_has_nothing_to_read_and_does_not_know_our_passphrases() {
    let dir = Dir::new();
    dir.cheap_repository("repo", garret_format::config::KeyMode::Passphrase);
    let secrets =
        ["GARRET_PASSPHRASE", "GARRET_PASSCOMMAND", "GARRET_NEW_PASSPHRASE", "ATTIC_PASSPHRASE"];
    let environment = secrets.map(|name| (name, PASSPHRASE));
    let create = ["create", "--from-command", "cat; env; echo end", "repo::a"];
    dir.run_with(&environment, b"from a pipe", &create).silent();
    let ran = dir.run_with(&environment, b"", &["extract", "--stdout", "repo::a"]);
    let said = String::from_utf8(ran.stdout).unwrap();
    assert!(said.ends_with("end\n") && said.contains("GARRET_CACHE_DIR="), "{said}");
    assert!(!said.contains("_PASS") && !said.contains("from a pipe"), "{said}");
}

#[test]
fn no_process_of_a_command_is_left_behind() {
    let dir = Dir::with_repository();
    let mark = dir.path("mark").display().to_string();
    // The disk of the repository is full before the command is done.
    let line = format!(
        "sh -c 'exec sleep 600 {mark} 2>/dev/null' & (sleep 601; : {mark}) & cat /dev/urandom; wait"
    );
    dir.write("line", line.as_bytes());
    let script =
        "ulimit -f 8192; trap '' XFSZ; garret create --from-command \"$(cat line)\" repo::a";
    let ran = dir.shell(script);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let alive = || {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let lines = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
        lines.filter(|line| String::from_utf8_lossy(line).contains(&mark)).count()
    };
    let began = Instant::now();
    while alive() > 0 {
        assert!(began.elapsed() < Duration::from_secs(60), "{} are left", alive());
        std::thread::yield_now();
    }
    assert_eq!(dir.archives("repo"), [""; 0]);
}

#[test]
fn a_pipe_that_breaks_off_makes_no_archive_of_the_rest_either() {
    let dir = Dir::with_repository();
    dir.write("file", b"a file");
    // A directory can be opened and not be read.
    let ran = dir.shell("garret create repo::a file - < .");
    ran.refused(1, "standard input: cannot read: Is a directory");
    assert_eq!(dir.archives("repo"), [""; 0]);
}

#[test]
fn what_is_empty_is_stored_only_when_that_is_wanted() {
    let dir = Dir::with_repository();
    dir.write("file", b"");
    let from_stdin = "standard input is empty: nothing was stored; --allow-empty stores it";
    dir.run(&["create", "repo::a", "-"]).refused(1, from_stdin);
    dir.run(&["create", "repo::a", "file", "-"]).refused(1, from_stdin);
    dir.shell("true | garret create repo::a -").refused(1, from_stdin);
    let from_command =
        "the output of \"true\" is empty: nothing was stored; --allow-empty stores it";
    dir.run(&["create", "repo::a", "--from-command", "true"]).refused(1, from_command);
    tool("mkfifo", &[dir.path("fifo").to_str().unwrap()]);
    let from_pipe = "fifo is empty: nothing was stored; --allow-empty stores it";
    dir.shell(": > fifo & garret create --read-special repo::a fifo").refused(1, from_pipe);
    assert_eq!(dir.archives("repo"), [""; 0]);
    dir.run(&["create", "--allow-empty", "repo::a", "-"]).silent();
    dir.run(&["create", "--allow-empty", "repo::b", "--from-command", "true"]).silent();
    dir.shell(": > fifo & garret create --allow-empty --read-special repo::c fifo").silent();
    for archive in ["repo::a", "repo::b", "repo::c"] {
        assert_eq!(dir.content(archive), b"", "{archive}");
    }
    // A file that is empty is a file.
    dir.run(&["create", "repo::d", "file"]).silent();
}

#[test]
fn a_closed_descriptor_is_refused_before_anything_is_opened() {
    let dir = Dir::with_repository();
    dir.write("file", b"content");
    dir.run(&["create", "repo::a", "file"]).silent();
    let (stdin, stdout) = ("standard input is closed", "standard output is closed");
    for repository in ["repo", "none"] {
        dir.shell(&format!("garret create {repository}::b - <&-")).refused(2, stdin);
        dir.shell(&format!("garret create --allow-empty {repository}::b - <&-")).refused(2, stdin);
        dir.shell(&format!("garret extract --stdout {repository}::a >&-")).refused(2, stdout);
    }
    assert_eq!(dir.archives("repo"), ["a"]);
    // What does not need them does not mind.
    dir.shell("garret create repo::b file <&- >&-").silent();
    dir.shell("garret extract --stdout repo::a > /dev/null").silent();
    dir.shell("garret create --allow-empty repo::c - < /dev/null").silent();
    assert_eq!(dir.archives("repo"), ["a", "b", "c"]);
}

#[test]
fn a_terminal_is_neither_read_nor_written() {
    let dir = Dir::with_repository();
    dir.write("file", b"content");
    dir.run(&["create", "repo::a", "file"]).silent();
    for (line, why) in [
        ("garret create repo::b -", "standard input is a terminal"),
        ("garret extract --stdout repo::a", "standard output is a terminal"),
    ] {
        dir.write(
            "line",
            line.replace("garret ", &format!("{} ", env!("CARGO_BIN_EXE_garret"))).as_bytes(),
        );
        let ran = dir.shell("script -qec 'sh line; echo exit $?' /dev/null");
        let seen = String::from_utf8_lossy(&ran.stdout).replace('\r', "");
        assert!(seen.starts_with(&format!("garret: Error: {why}: ")), "{seen}");
        assert!(seen.ends_with("\nexit 2\n") && !seen.contains("content"), "{seen}");
    }
    assert_eq!(dir.archives("repo"), ["a"]);
}
