//! What of keys and passphrases is in the memory of a program that works (T27), and who can look there.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305};
use garret_format::config::KeyMode;
use garret_format::slot::{Kdf, Slot};

use super::{Dir, PASSPHRASE, files_below, tool};

/// A program that has unlocked a repository and waits for the lock on it, and the rest of what it says.
struct Waiting {
    child: Child,
    /// Kept open, so that it can write.
    _stderr: BufReader<std::process::ChildStderr>,
    lock: File,
}

impl Waiting {
    fn start(lock: &Path, mut command: Command) -> Self {
        let lock = File::open(lock).unwrap();
        lock.lock().unwrap();
        let mut child = command.stdin(Stdio::null()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        assert!(line.contains("waiting for another program"), "{line}");
        Waiting { child, _stderr: stderr, lock }
    }

    fn proc(&self, name: &str) -> std::path::PathBuf {
        format!("/proc/{}/{name}", self.child.id()).into()
    }

    /// What it can write to in its memory: each mapping's line in `smaps` with what follows, and its bytes.
    fn memory(&self) -> Vec<(String, Vec<u8>)> {
        let memory = File::open(self.proc("mem")).unwrap();
        let maps = fs::read_to_string(self.proc("smaps")).unwrap();
        let is_start = |line: &str| {
            line.split_once('-').is_some_and(|(start, _)| u64::from_str_radix(start, 16).is_ok())
        };
        let mut mappings: Vec<String> = Vec::new();
        for line in maps.lines() {
            match mappings.last_mut() {
                Some(last) if !is_start(line) => *last += &format!("\n{line}"),
                _ => mappings.push(line.to_owned()),
            }
        }
        let read = |text: String| {
            let (start, rest) = text.split_once('-').unwrap();
            let (end, rest) = rest.split_once(' ').unwrap();
            let [start, end] = [start, end].map(|hex| u64::from_str_radix(hex, 16).unwrap());
            let mut bytes = vec![0; (end - start) as usize];
            let is_ours = rest.starts_with("rw");
            (is_ours && memory.read_exact_at(&mut bytes, start).is_ok()).then_some((text, bytes))
        };
        mappings.into_iter().filter_map(read).collect()
    }

    fn end(mut self) {
        drop(self.lock);
        assert!(self.child.wait().unwrap().success());
    }
}

/// The mappings that hold `secret`, once for each time.
fn found<'a>(memory: &'a [(String, Vec<u8>)], secret: &[u8]) -> Vec<&'a str> {
    let hits = |(text, bytes): &'a (String, Vec<u8>)| {
        let count = bytes.windows(secret.len()).filter(|window| *window == secret).count();
        std::iter::repeat_n(text.as_str(), count)
    };
    memory.iter().flat_map(hits).collect()
}

fn only_slot(directory: &Path) -> Slot {
    Slot::decode(&fs::read(files_below(directory).remove(0)).unwrap()).unwrap()
}

/// The master key in a slot, found apart from the program.
fn master(slot: &Slot, wrapping: &[u8; 32]) -> [u8; 32] {
    let (key, tag) = slot.wrapped.split_at(32);
    let mut key: [u8; 32] = key.try_into().unwrap();
    XChaCha20Poly1305::new(wrapping.into())
        .decrypt_inout_detached(
            &slot.nonce.into(),
            &slot.bound(),
            key.as_mut_slice().into(),
            &Tag::try_from(tag).unwrap(),
        )
        .unwrap();
    key
}

/// A key file without a passphrase is the key: when it has opened the repository, nothing of it is left but one page of keys,
/// which is neither swapped nor dumped.
#[test]
fn the_keys_are_in_one_page_and_what_they_came_from_is_wiped() {
    let dir = Dir::new();
    let blank = [("GARRET_PASSPHRASE", "")];
    dir.run_with(&blank, b"", &["init", "-e", "keyfile", "repo"]).succeeds();
    let slot = only_slot(&dir.path("keys"));
    assert_eq!(slot.kdf, Kdf::Blank);
    let wrapping = blake3::derive_key("garret v1 blank passphrase", &slot.salt);
    let master = master(&slot, &wrapping);
    dir.write("file", b"content");
    for arguments in [&["list", "repo"][..], &["create", "repo::a", "file"]] {
        let waiting = Waiting::start(&dir.path("repo/config"), dir.command(arguments));
        let memory = waiting.memory();
        for (what, secret) in [
            ("salt", &slot.salt[..]),
            ("slot", &slot.wrapped),
            ("wrapping", &wrapping),
            ("master", &master),
        ] {
            let hits = found(&memory, secret);
            assert!(hits.is_empty(), "{arguments:?}: {what} is left in {hits:#?}");
        }
        for context in ["chunk id", "chunker", "pack data", "metadata", "client state"] {
            let key = blake3::derive_key(&format!("garret v1 {context}"), &master);
            let hits = found(&memory, &key);
            assert_eq!(hits.len(), 1, "{arguments:?}: the key of {context} is in {hits:#?}");
            let flags = hits[0].lines().find(|line| line.starts_with("VmFlags:")).unwrap();
            let has = |flag: &str| flags.split(' ').any(|word| word == flag);
            assert!(has("lo") && has("dd"), "locked and not dumped: {flags}");
        }
        waiting.end();
    }
}

/// What a guest can make of us: nothing that writes elsewhere or starts a program. A command of the user is free.
#[test]
fn a_backup_is_confined_unless_it_starts_a_command_or_the_user_says_no() {
    let dir = Dir::with_repository();
    dir.write("file", b"content");
    let off = ("GARRET_NO_SANDBOX", "1");
    let none = ("UNUSED", "");
    for (environment, arguments, seccomp) in [
        (none, &["create", "repo::a", "file"][..], "2"),
        (none, &["create", "repo::b", "--from-command", "cat file"], "0"),
        (off, &["create", "repo::c", "file"], "0"),
    ] {
        let mut command = dir.command(arguments);
        command.env(environment.0, environment.1);
        let waiting = Waiting::start(&dir.path("repo/config"), command);
        let status = fs::read_to_string(waiting.proc("status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("Seccomp:")).unwrap();
        assert_eq!(line, format!("Seccomp:\t{seccomp}"), "{arguments:?}");
        waiting.end();
    }
    assert_eq!(dir.archives("repo"), ["a", "b", "c"]);
}

#[test]
fn a_passphrase_is_nowhere_but_in_the_environment() {
    let dir = Dir::new();
    dir.cheap_repository("repo", KeyMode::Passphrase);
    let mut command = dir.command(&["list", "repo"]);
    command.env("GARRET_PASSPHRASE", PASSPHRASE);
    let waiting = Waiting::start(&dir.path("repo/config"), command);
    let memory = waiting.memory();
    let hits = found(&memory, PASSPHRASE.as_bytes());
    assert_eq!(hits.len(), 1, "{hits:#?}");
    assert!(hits[0].lines().next().unwrap().ends_with("[stack]"), "{hits:#?}");
    let mut words = Vec::new();
    File::open(waiting.proc("cmdline")).unwrap().read_to_end(&mut words).unwrap();
    assert!(!words.windows(PASSPHRASE.len()).any(|part| part == PASSPHRASE.as_bytes()));
    waiting.end();
}

/// What gives the passphrase may be a command, and the program is confined all the same, from when it has run.
#[test]
fn a_passphrase_of_a_command_or_a_file_is_nowhere_and_a_backup_is_confined_behind_it() {
    let dir = Dir::new();
    dir.cheap_repository("repo", KeyMode::Passphrase);
    let phrase = dir.write("phrase", PASSPHRASE.as_bytes());
    fs::set_permissions(phrase, fs::Permissions::from_mode(0o600)).unwrap();
    for (command, arguments) in [
        ("cat phrase", &["create", "repo::a", "phrase"][..]),
        ("false", &["create", "--passphrase-file", "phrase", "repo::b", "phrase"]),
    ] {
        let mut program = dir.command(arguments);
        program.env("GARRET_PASSCOMMAND", command).env("PATH", "/usr/bin:/bin");
        let waiting = Waiting::start(&dir.path("repo/config"), program);
        let memory = waiting.memory();
        let hits = found(&memory, PASSPHRASE.as_bytes());
        assert!(hits.is_empty(), "{arguments:?}: {hits:#?}");
        let status = fs::read_to_string(waiting.proc("status")).unwrap();
        assert!(status.contains("\nSeccomp:\t2\n"), "{arguments:?}: {status}");
        waiting.end();
    }
}

/// What the kernel lets nobody but root see belongs to root, whoever runs the program; the same decides whether a core is
/// dumped.
#[test]
fn nobody_else_looks_into_the_program_and_no_core_of_it_is_dumped() {
    let dir = Dir::with_repository();
    tool("chmod", &["-R", "a+rX", dir.path("").to_str().unwrap()]);
    let user = 65534;
    let under = ["setpriv", "--reuid", "65534", "--clear-groups"];
    let plain = Command::new(under[0]).args(&under[1..]).args(["sleep", "600"]).spawn();
    let mut plain = plain.unwrap_or_else(|error| panic!("this test needs setpriv: {error}"));
    // Until it is what it is to be.
    while fs::read(format!("/proc/{}/comm", plain.id())).unwrap() != b"sleep\n" {
        std::thread::yield_now();
    }
    let environment = format!("/proc/{}/environ", plain.id());
    assert_eq!(fs::metadata(environment).unwrap().uid(), user, "an ordinary program");
    plain.kill().unwrap();
    plain.wait().unwrap();
    let mut command = dir.under(&under, &["list", "repo"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let waiting = Waiting::start(&dir.path("repo/config"), command);
    assert_eq!(fs::metadata(waiting.proc("environ")).unwrap().uid(), 0);
    assert_eq!(fs::metadata(waiting.proc("mem")).unwrap().uid(), 0);
    let status = fs::read_to_string(waiting.proc("status")).unwrap();
    let uid = status.lines().find(|line| line.starts_with("Uid:")).unwrap();
    assert!(uid.contains("65534"), "{uid}");
    waiting.end();
}
