//! The program as its users meet it: the real binary, real directories, exit codes and every line it says.
//!
//! Needs root, `losetup` and `mount` for block devices and full disks, `script` for what a terminal sees, and what `images`,
//! `places` and `hostile` say; a test whose tool is missing fails.
#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod attic;
mod bad_nights;
mod client_copy;
mod copies;
mod cron;
mod damage;
mod demo;
mod differences;
mod downgrade;
mod foreign;
mod full_disk;
mod help;
mod hostile;
mod images;
mod init;
mod json;
mod layouts;
mod leaks;
mod links;
mod locks;
mod memory;
mod names;
mod odd_disks;
mod odd_sources;
mod places;
mod refusals;
mod round_trip;
mod secrets;
mod shared;
mod streams;
mod surprises;
mod texts;
mod trees;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use garret_core::{InitOptions, LocalStore, Sharing};
use garret_format::config::KeyMode;
use garret_format::slot::Kdf;
use tempfile::TempDir;

/// What ends a run that had problems.
const CLOSING: &str = "garret: Exiting with failure status due to previous errors";
const PASSPHRASE: &str = "correct horse";
const MIB: usize = 1 << 20;

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
        dir.run(&["init", "repo"]).succeeds();
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

    /// An image of 4 MiB with a hole, written zeros, noise and text.
    fn image(&self, name: &str, seed: u64) -> Vec<u8> {
        let mut bytes = vec![0; 4 * MIB];
        noise(&mut bytes[..MIB], seed);
        let line = format!("line of image {seed}\n");
        let text = line.bytes().cycle().take(MIB / 2);
        bytes.splice(3 * MIB..3 * MIB + MIB / 2, text);
        let file = File::create(self.path(name)).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
        file.write_all_at(&bytes[..MIB + 256 * 1024], 0).unwrap();
        file.write_all_at(&bytes[3 * MIB..3 * MIB + MIB / 2], 3 * MIB as u64).unwrap();
        bytes
    }

    /// A repository that costs no seconds to unlock: only its KDF differs from those of `init`. The client knows it.
    fn cheap_repository(&self, name: &str, mode: KeyMode) {
        let store = LocalStore::create(&self.path(name), Sharing::Private).unwrap();
        let kdf = Kdf::Argon2id { memory_kib: 64, passes: 1, lanes: 1 };
        let passphrase = PASSPHRASE.as_bytes().to_vec();
        let options = InitOptions { mode, passphrase: passphrase.into(), kdf, now: 1_790_000_000 };
        let made = garret_core::init(&store, &options, &mut |id, bytes| {
            garret_cli::secrets::write_key_file(&self.path(&format!("keys/{id}.key")), bytes)
        });
        let (identity, keys) = made.unwrap();
        garret_cli::state::remember_in(&self.path("state"), &identity, &keys, &self.path(name))
            .unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(&[], b"", arguments)
    }

    fn run_with(&self, environment: &[(&str, &str)], stdin: &[u8], arguments: &[&str]) -> Ran {
        let mut command = self.command(arguments);
        command.envs(environment.iter().copied());
        if stdin.is_empty() {
            command.stdin(Stdio::null());
        }
        let mut child = command.spawn().unwrap();
        let feeder = child.stdin.take().map(|mut pipe| {
            let stdin = stdin.to_vec();
            std::thread::spawn(move || drop(pipe.write_all(&stdin)))
        });
        let output = child.wait_with_output().unwrap();
        if let Some(feeder) = feeder {
            feeder.join().unwrap();
        }
        Ran::of(arguments.join(" "), output)
    }

    /// The program, started by a tool that the test cannot do without.
    fn run_under(&self, tool: &[&str], arguments: &[&str]) -> Ran {
        let output = self.under(tool, arguments).output();
        let output = output.unwrap_or_else(|error| panic!("this test needs {}: {error}", tool[0]));
        Ran::of(arguments.join(" "), output)
    }

    /// The same, not started yet.
    fn under(&self, tool: &[&str], arguments: &[&str]) -> Command {
        let garret = self.command(arguments);
        let mut command = Command::new(tool[0]);
        command.args(&tool[1..]).arg(garret.get_program()).args(arguments);
        command.current_dir(self.temp.path()).env_clear();
        command.envs(garret.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("PATH", std::env::var_os("PATH").unwrap());
        command
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_garret"));
        command.args(arguments).current_dir(self.temp.path()).env_clear();
        command.env("HOME", self.path("home")).env("TZ", "UTC");
        command.env("GARRET_CACHE_DIR", self.path("cache"));
        command.env("GARRET_KEYS_DIR", self.path("keys"));
        command.env("GARRET_STATE_DIR", self.path("state"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// The names that `list` gives.
    fn archives(&self, repository: &str) -> Vec<String> {
        let listed = self.run(&["list", repository]).succeeds();
        listed.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
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
    fn of(what: String, output: Output) -> Ran {
        let Output { status, stdout, stderr } = output;
        Ran { what, code: status.code(), stdout, stderr: String::from_utf8(stderr).unwrap() }
    }

    /// It was fine and had nothing to complain about. Gives stdout.
    #[track_caller]
    fn succeeds(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{}", self.what);
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// It was fine and said nothing at all.
    #[track_caller]
    fn silent(self) {
        assert_eq!(self.succeeds(), "");
    }

    /// It ended with `code` and exactly one line that holds `text`, and printed no result.
    #[track_caller]
    fn refused(self, code: i32, text: &str) {
        let Ran { what, code: found, stdout, stderr } = self;
        assert_eq!(found, Some(code), "{what}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{what}: {stderr}");
        assert!(stderr.starts_with("garret: Error: "), "{what}: {stderr}");
        assert!(stderr.contains(text), "{what}: {stderr}");
        assert_eq!(String::from_utf8_lossy(&stdout), "", "{what}");
    }

    /// It went on to the end, but one thing went wrong and was named. Gives stdout.
    #[track_caller]
    fn reports(self, text: &str) -> String {
        let lines: Vec<&str> = self.stderr.lines().collect();
        assert_eq!(self.code, Some(1), "{}: {}", self.what, self.stderr);
        assert_eq!(lines.len(), 2, "{}: {}", self.what, self.stderr);
        assert!(lines[0].starts_with("garret: ") && lines[0].contains(text), "{}", self.stderr);
        assert_eq!(lines[1], CLOSING, "{}", self.what);
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// A loop device, detached in the end.
struct Loop(String);

impl Loop {
    fn over(path: &Path) -> Self {
        Loop(tool("losetup", &["--find", "--show", path.to_str().unwrap()]))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        tool("losetup", &["--detach", &self.0]);
    }
}

/// Fills with bytes that do not compress, the same for the same seed.
fn noise(bytes: &mut [u8], seed: u64) {
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(bytes);
}

/// The files of a tree, relative and sorted.
fn files_below(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap().is_dir() {
                true => open.push(entry.path()),
                false => found.push(entry.path()),
            }
        }
    }
    found.sort();
    found
}

/// The packs of a repository.
fn packs(repository: &Path) -> Vec<PathBuf> {
    files_below(&repository.join("packs"))
}

/// Runs a tool that the test cannot do without.
#[track_caller]
fn tool(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("this test needs {program}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "this test needs root: {program} {arguments:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
