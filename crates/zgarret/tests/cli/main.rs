//! The program as its users meet it: the real binary, real directories, exit codes and every line it says.
//!
//! Needs root, `losetup`, `script` for what a terminal sees, `qemu-img`, and the real `zbackup` to be compared with; a test
//! whose tool is missing fails.
#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod downgrade;
mod errors;
mod exchange;
mod forms;
mod hands;
mod secrets;
mod shared;
mod streams;
mod texts;
mod twin;

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use garret_core::{InitOptions, Input, LocalStore, Secret, Sharing, Silent, Unlocked};
use garret_format::config::KeyMode;
use garret_format::slot::Kdf;
use tempfile::TempDir;

const MIB: usize = 1 << 20;
const PLAIN: &str = "--non-encrypted";

/// A directory of one test, in which the program runs.
struct Dir {
    temp: TempDir,
}

impl Dir {
    fn new() -> Self {
        Dir { temp: TempDir::new().unwrap() }
    }

    /// A directory with an unencrypted repository `repo` in it.
    fn with_repository() -> Self {
        let dir = Self::new();
        dir.run(&[PLAIN, "init", "repo"]).silent();
        dir
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// A repository that costs no seconds to unlock: only its KDF differs from those of `init`. The client knows it.
    fn cheap_repository(&self, name: &str, passphrase: &[u8]) {
        let store = LocalStore::create(&self.path(name), Sharing::Private).unwrap();
        let kdf = Kdf::Argon2id { memory_kib: 64, passes: 1, lanes: 1 };
        let passphrase = passphrase.to_vec();
        let mode = KeyMode::Passphrase;
        let options = InitOptions { mode, passphrase: passphrase.into(), kdf, now: 1_790_000_000 };
        let made = garret_core::init(&store, &options, &mut |_, _| Ok(()));
        let (identity, keys) = made.unwrap();
        garret_cli::state::remember_in(&self.path("state"), &identity, &keys, &self.path(name))
            .unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(&[], b"", arguments)
    }

    /// Backs up bytes from standard input.
    fn feed(&self, stdin: &[u8], arguments: &[&str]) -> Ran {
        self.run_with(&[], stdin, arguments)
    }

    fn run_with(&self, environment: &[(&str, &str)], stdin: &[u8], arguments: &[&str]) -> Ran {
        let mut command = self.command(env!("CARGO_BIN_EXE_zgarret"));
        command.args(arguments).envs(environment.iter().copied());
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        let stdin = stdin.to_vec();
        let feeder = std::thread::spawn(move || drop(pipe.write_all(&stdin)));
        let output = child.wait_with_output().unwrap();
        feeder.join().unwrap();
        Ran::new(&arguments.join(" "), output)
    }

    /// Runs a script of the shell in which `zbackup` is the program `zbackup`, and the library of shell tools works as ever.
    fn shell(&self, zbackup: &Path, script: &str) -> Ran {
        let bin = self.path("bin");
        if !bin.exists() {
            fs::create_dir(&bin).unwrap();
            symlink(zbackup, bin.join("zbackup")).unwrap();
        }
        let mut command = self.command("/bin/bash");
        command.env("PATH", format!("{}:/usr/bin:/bin:/usr/sbin:/sbin", bin.display()));
        let output = command.args(["-c", script]).stdin(Stdio::null()).output().unwrap();
        Ran::new(script, output)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.temp.path()).env_clear();
        command.env("HOME", self.path("home")).env("TZ", "UTC");
        command.env("GARRET_CACHE_DIR", self.path("cache"));
        command.env("GARRET_KEYS_DIR", self.path("keys"));
        command.env("GARRET_STATE_DIR", self.path("state"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// The repository as the library and so `garret` see it.
    fn unlocked(&self, name: &str) -> Unlocked {
        let locked = garret_core::open(LocalStore::open(&self.path(name)).unwrap()).unwrap();
        let keys = locked.unlock(Secret::None).unwrap();
        locked.with(keys)
    }

    /// The archives that `garret list` would show.
    fn archives(&self, name: &str) -> Vec<String> {
        self.unlocked(name).reader(&Silent).unwrap().archive_names().unwrap()
    }

    /// What `garret create` does.
    fn create(&self, repository: &str, archive: &str, paths: &[&str]) {
        let mut repository = self.unlocked(repository).writer(&Silent).unwrap();
        let inputs = paths.iter().map(|path| Input::Path(self.path(path))).collect();
        let options = garret_core::BackupOptions {
            threads: 1,
            base: self.temp.path().to_owned(),
            ..garret_core::BackupOptions::default()
        };
        repository.backup(archive, inputs, &options, &Silent).unwrap();
    }

    /// What restoring to standard output gives.
    #[track_caller]
    fn restored(&self, path: &str) -> Vec<u8> {
        let ran = self.run(&["restore", path]);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{path}");
        ran.stdout
    }
}

/// What a run said and how it ended.
struct Ran {
    what: String,
    code: Option<i32>,
    stdout: Vec<u8>,
    stderr: String,
}

impl Ran {
    fn new(what: &str, output: Output) -> Self {
        Ran {
            what: what.to_owned(),
            code: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// It was fine and had nothing to complain about. Gives stdout.
    #[track_caller]
    fn succeeds(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{}", self.what);
        String::from_utf8(self.stdout).unwrap()
    }

    /// It was fine and said nothing at all.
    #[track_caller]
    fn silent(self) {
        assert_eq!(self.succeeds(), "");
    }

    /// It ended with 1, said exactly `line` on stderr, and printed nothing.
    #[track_caller]
    fn refused(self, line: &str) {
        assert_eq!(self.stderr, format!("{line}\n"), "{}", self.what);
        assert_eq!((self.code, self.stdout.as_slice()), (Some(1), &b""[..]), "{}", self.what);
    }

    /// It was fine and said exactly `text` on stderr, nothing on stdout.
    #[track_caller]
    fn notes(self, text: &str) {
        assert_eq!(self.stderr, text, "{}", self.what);
        assert_eq!((self.code, self.stdout.as_slice()), (Some(0), &b""[..]), "{}", self.what);
    }
}

/// Bytes that do not compress, the same for the same seed.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// The files of a tree, relative to it and sorted.
fn files_below(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match path.symlink_metadata().unwrap().is_dir() {
                true => open.push(path),
                false => found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned()),
            }
        }
    }
    found.sort();
    found
}

/// Bytes of the packs of a repository.
fn pack_bytes(repository: &Path) -> u64 {
    let packs = repository.join("packs");
    files_below(&packs).iter().map(|name| packs.join(name).metadata().unwrap().len()).sum()
}

/// Runs a tool that the test cannot do without.
#[track_caller]
fn tool(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("this test needs {program}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn ours() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_zgarret"))
}
