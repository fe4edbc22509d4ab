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
mod rollback;
mod secrets;
mod shared;
mod shells;
mod streams;
mod texts;
mod twin;

use std::fs;
use std::ops::Deref;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;

use garret_core::{Input, LocalStore, Secret, Silent, Unlocked};
use garret_format::config::KeyMode;
use garret_testkit::program;
use garret_testkit::program::{Ran, noise, tool};

const MIB: usize = 1 << 20;
const PLAIN: &str = "--non-encrypted";

/// A directory of one test, in which `zgarret` runs.
struct Dir(program::Dir);

impl Deref for Dir {
    type Target = program::Dir;

    fn deref(&self) -> &program::Dir {
        &self.0
    }
}

impl Dir {
    fn new() -> Self {
        Dir(program::Dir::new(env!("CARGO_BIN_EXE_zgarret")))
    }

    /// A directory with an unencrypted repository `repo` in it.
    fn with_repository() -> Self {
        let dir = Self::new();
        dir.run(&[PLAIN, "init", "repo"]).silent();
        dir
    }

    /// A repository that costs no seconds to unlock, and that the client knows.
    fn cheap_repository(&self, name: &str, passphrase: &str) {
        let keep = garret_cli::key_file::write;
        let (identity, keys) = self.0.cheap_repository(name, KeyMode::Passphrase, passphrase, keep);
        let remembered = garret_cli::state::remember_in(
            &self.path("state"),
            &identity,
            &keys,
            &self.path(name).as_path().into(),
        );
        remembered.unwrap();
    }

    /// Backs up bytes from standard input.
    fn feed(&self, stdin: &[u8], arguments: &[&str]) -> Ran {
        self.run_with(&[], stdin, arguments)
    }

    /// Runs a script of the shell in which `zbackup` is the program `zbackup`, and the library of shell tools works as ever.
    fn shell(&self, zbackup: &Path, script: &str) -> Ran {
        let bin = self.path("bin");
        if !bin.exists() {
            fs::create_dir(&bin).unwrap();
            symlink(zbackup, bin.join("zbackup")).unwrap();
        }
        let mut command = self.other("/bin/bash");
        command.env("PATH", format!("{}:/usr/bin:/bin:/usr/sbin:/sbin", bin.display()));
        let output = command.args(["-c", script]).stdin(Stdio::null()).output().unwrap();
        Ran::of(script, output)
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
        let mut options = garret_core::BackupOptions::default();
        options.threads = 1;
        options.base = self.temp.path().to_owned();
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

/// The files of a tree, relative to it and sorted.
fn files_below(root: &Path) -> Vec<String> {
    let inside = |path: &Path| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
    program::files_below(root).iter().map(|path| inside(path)).collect()
}

/// Bytes of the packs of a repository.
fn pack_bytes(repository: &Path) -> u64 {
    let packs = repository.join("packs");
    files_below(&packs).iter().map(|name| packs.join(name).metadata().unwrap().len()).sum()
}

fn ours() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_zgarret"))
}
