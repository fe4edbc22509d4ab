//! A program as its users meet it: the real binary in a directory of its own, its exit code and every line it says.
//!
//! In: where the binary is. Out: what a run printed, and sentences about it that a test asserts. Nothing of the machine that
//! it runs on reaches the program: not its environment, time zone, home, keys, cache.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use garret_core::{Identity, InitOptions, Keys, LocalStore, Result, Sharing};
use garret_format::config::KeyMode;
use tempfile::TempDir;

use crate::lab::{CHEAP_KDF, chunk_size, cipher};

/// What ends a run of `garret` that had problems.
pub const CLOSING: &str = "garret: Exiting with failure status due to previous errors";

/// A directory of one test, in which the program runs.
#[derive(Debug)]
pub struct Dir {
    /// It is removed in the end.
    pub temp: TempDir,
    program: PathBuf,
}

impl Dir {
    /// An empty directory for the binary `program`.
    pub fn new(program: &str) -> Self {
        Dir { temp: TempDir::new().unwrap(), program: program.into() }
    }

    /// A path in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// Writes a file, and the directories above it.
    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Reads a file.
    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// A repository that costs no seconds to unlock: only its KDF differs from those of `init`. `keep` stores a key file.
    pub fn cheap_repository(
        &self,
        name: &str,
        mode: KeyMode,
        passphrase: &str,
        keep: impl Fn(&Path, &[u8]) -> Result<()>,
    ) -> (Identity, Keys) {
        let store = LocalStore::create(&self.path(name), Sharing::Private).unwrap();
        let passphrase = passphrase.as_bytes().to_vec().into();
        let mut options = InitOptions::new(mode, passphrase, 1_790_000_000);
        options.kdf = CHEAP_KDF;
        options.cipher = cipher();
        options.chunk = chunk_size();
        let keep = &mut |id, bytes: &[u8]| keep(&self.path(&format!("keys/{id}.key")), bytes);
        garret_core::init(&store, &options, keep).unwrap()
    }

    /// Runs the program with nothing on standard input.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(&[], b"", arguments)
    }

    /// Runs the program with more in its environment, and with `stdin`.
    pub fn run_with(&self, environment: &[(&str, &str)], stdin: &[u8], arguments: &[&str]) -> Ran {
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

    /// The program, not started yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.other(&self.program);
        command.args(arguments).stdin(Stdio::piped());
        command
    }

    /// Runs the program by a tool that the test cannot do without.
    pub fn run_under(&self, tool: &[&str], arguments: &[&str]) -> Ran {
        let output = self.under(tool, arguments).output();
        let output = output.unwrap_or_else(|error| panic!("this test needs {}: {error}", tool[0]));
        Ran::of(arguments.join(" "), output)
    }

    /// The same, not started yet.
    pub fn under(&self, tool: &[&str], arguments: &[&str]) -> Command {
        let mut command = self.other(tool[0]);
        command.args(&tool[1..]).arg(&self.program).args(arguments);
        command.env("PATH", std::env::var_os("PATH").unwrap()).stdin(Stdio::piped());
        command
    }

    /// Another program where and as this one runs, not started yet.
    pub fn other(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.current_dir(self.temp.path()).env_clear();
        command.env("HOME", self.path("home")).env("TZ", "UTC");
        command.env("GARRET_CACHE_DIR", self.path("cache"));
        command.env("GARRET_KEYS_DIR", self.path("keys"));
        command.env("GARRET_STATE_DIR", self.path("state"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// What completes words and what explains them, as other programs read it.
impl Dir {
    /// Runs a script in a shell that finds the program, and has nothing to complain about. Gives stdout.
    #[track_caller]
    pub fn in_shell(&self, shell: &str, arguments: &[&str], script: &str) -> String {
        let mut command = self.other(shell);
        command.env("PATH", self.search_path()).args(arguments).arg(script);
        Ran::of(format!("{shell}: {script}"), output(&mut command)).succeeds()
    }

    /// Where shells look for programs, with this one first.
    pub fn search_path(&self) -> String {
        let place = self.program.parent().unwrap();
        format!("{}:/usr/bin:/bin", place.to_str().unwrap())
    }

    /// The manual pages in a directory, sorted: `man` and `mandoc` read each of them without a complaint.
    #[track_caller]
    pub fn sound_pages(&self, directory: &str) -> Vec<PathBuf> {
        let pages = files_below(&self.path(directory));
        for page in &pages {
            let shown = Ran::of("man", output(self.man().arg("--warnings").arg("-l").arg(page)));
            assert_eq!((shown.code, shown.stderr.as_str()), (Some(0), ""), "{}", page.display());
            let mut lint = self.other("mandoc");
            lint.args(["-T", "lint", "-W", "error"]).arg(page).env("PATH", self.search_path());
            assert_eq!(Ran::of("mandoc", output(&mut lint)).succeeds(), "", "{}", page.display());
        }
        pages
    }

    /// `man`, not started yet, for 100 columns.
    pub fn man(&self) -> Command {
        let mut man = self.other("man");
        man.env("PATH", self.search_path()).env("LC_ALL", "C.UTF-8").env("MANWIDTH", "100");
        man
    }
}

#[track_caller]
fn output(command: &mut Command) -> Output {
    let output = command.output();
    output.unwrap_or_else(|error| panic!("this test needs {:?}: {error}", command.get_program()))
}

/// What a run said and how it ended.
#[derive(Debug)]
pub struct Ran {
    /// What was run.
    pub what: String,
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// The result.
    pub stdout: Vec<u8>,
    /// What it had to say.
    pub stderr: String,
}

impl Ran {
    /// What came out of `what`.
    pub fn of(what: impl Into<String>, output: Output) -> Ran {
        let Output { status, stdout, stderr } = output;
        let stderr = String::from_utf8(stderr).unwrap();
        Ran { what: what.into(), code: status.code(), stdout, stderr }
    }

    /// It was fine and had nothing to complain about. Gives stdout.
    #[track_caller]
    pub fn succeeds(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{}", self.what);
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// It was fine and said nothing at all.
    #[track_caller]
    pub fn silent(self) {
        assert_eq!(self.succeeds(), "");
    }

    /// `garret` ended with `code` and exactly one line that holds `text`, and printed no result.
    #[track_caller]
    pub fn refused(self, code: i32, text: &str) {
        let Ran { what, code: found, stdout, stderr } = self;
        assert_eq!(found, Some(code), "{what}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{what}: {stderr}");
        assert!(stderr.starts_with("garret: Error: "), "{what}: {stderr}");
        assert!(stderr.contains(text), "{what}: {stderr}");
        assert_eq!(String::from_utf8_lossy(&stdout), "", "{what}");
    }

    /// `garret` went on to the end, but one thing went wrong and was named. Gives stdout.
    #[track_caller]
    pub fn reports(self, text: &str) -> String {
        let lines: Vec<&str> = self.stderr.lines().collect();
        assert_eq!(self.code, Some(1), "{}: {}", self.what, self.stderr);
        assert_eq!(lines.len(), 2, "{}: {}", self.what, self.stderr);
        assert!(lines[0].starts_with("garret: ") && lines[0].contains(text), "{}", self.stderr);
        assert_eq!(lines[1], CLOSING, "{}", self.what);
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// It was fine and said exactly `text` on stderr, nothing on stdout.
    #[track_caller]
    pub fn notes(self, text: &str) {
        assert_eq!(self.stderr, text, "{}", self.what);
        assert_eq!((self.code, self.stdout.as_slice()), (Some(0), &b""[..]), "{}", self.what);
    }

    /// It ended with 1, said exactly `line` on stderr, and printed nothing.
    #[track_caller]
    pub fn fails_saying(self, line: &str) {
        assert_eq!(self.stderr, format!("{line}\n"), "{}", self.what);
        assert_eq!((self.code, self.stdout.as_slice()), (Some(1), &b""[..]), "{}", self.what);
    }
}

/// Bytes that do not compress, the same for the same seed.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fill_noise(&mut bytes, seed);
    bytes
}

/// Fills with the bytes of [`noise`].
pub fn fill_noise(bytes: &mut [u8], seed: u64) {
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(bytes);
}

/// The files of a tree, with its path before them, sorted.
pub fn files_below(root: &Path) -> Vec<PathBuf> {
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

/// Runs a tool that the test cannot do without.
#[track_caller]
pub fn tool(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("this test needs {program}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "this test needs {program}, and may need root: {arguments:?}: {stderr}"
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
