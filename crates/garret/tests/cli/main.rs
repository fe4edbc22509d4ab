//! The program as its users meet it: the real binary, real directories, exit codes and every line it says.
//!
//! Needs root, `losetup` and `mount` for block devices and full disks, `script` for what a terminal sees, `faketime` and the
//! parser of Prometheus for nights, and what `images`, `places`, `hostile`, `remote` and `shells` say; a test whose tool is
//! missing fails.
#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod attic;
mod bad_nights;
#[cfg(target_arch = "x86_64")]
mod boot;
mod client_copy;
mod compact;
mod copies;
mod cron;
mod damage;
mod demo;
mod differences;
mod dist;
mod downgrade;
mod drill;
mod find;
mod foreign;
mod full_disk;
mod help;
mod hostile;
mod images;
mod init;
mod inside;
mod json;
mod keys;
mod layouts;
mod leaks;
mod links;
mod locks;
mod memory;
mod messages;
mod mount;
mod moving;
mod names;
mod nbd;
mod nightly;
mod nightly_hooks;
mod nightly_month;
mod nightly_own;
mod odd_disks;
mod odd_sources;
mod places;
mod recipes;
mod refusals;
mod remote;
mod report;
mod restore;
mod rollback;
mod round_trip;
mod schema;
mod scrub;
mod secrets;
mod sftp;
mod shared;
mod shells;
mod slices;
mod split;
mod stores;
mod streams;
mod surprises;
mod sync;
mod tags;
mod terminal;
mod texts;
mod trees;

use std::fs::{self, File};
use std::ops::Deref;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use garret_format::config::KeyMode;
use garret_testkit::program::{CLOSING, Ran, files_below, fill_noise, noise, tool};
use garret_testkit::{is_structure, program};

const PASSPHRASE: &str = "correct horse";
const MIB: usize = 1 << 20;

/// A directory of one test, in which `garret` runs.
struct Dir(program::Dir);

impl Deref for Dir {
    type Target = program::Dir;

    fn deref(&self) -> &program::Dir {
        &self.0
    }
}

impl Dir {
    fn new() -> Self {
        Dir(program::Dir::new(env!("CARGO_BIN_EXE_garret")))
    }

    /// A directory with an unencrypted repository `repo` in it.
    fn with_repository() -> Self {
        let dir = Self::new();
        dir.run(&["init", "repo"]).succeeds();
        dir
    }

    /// An image of 4 MiB with a hole, written zeros, noise and text.
    fn image(&self, name: &str, seed: u64) -> Vec<u8> {
        let mut bytes = vec![0; 4 * MIB];
        fill_noise(&mut bytes[..MIB], seed);
        let line = format!("line of image {seed}\n");
        let text = line.bytes().cycle().take(MIB / 2);
        bytes.splice(3 * MIB..3 * MIB + MIB / 2, text);
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        let file = File::create(self.path(name)).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
        file.write_all_at(&bytes[..MIB + 256 * 1024], 0).unwrap();
        file.write_all_at(&bytes[3 * MIB..3 * MIB + MIB / 2], 3 * MIB as u64).unwrap();
        bytes
    }

    /// A repository that costs no seconds to unlock, and that the client knows.
    fn cheap_repository(&self, name: &str, mode: KeyMode) {
        let keep = garret_cli::key_file::write;
        let (identity, keys) = self.0.cheap_repository(name, mode, PASSPHRASE, keep);
        let remembered = garret_cli::state::remember_in(
            &self.path("state"),
            &identity,
            &keys,
            &self.path(name).as_path().into(),
        );
        remembered.unwrap();
    }

    /// This client forgets which archives there were: others are put there, or older ones.
    fn forget_archives(&self) {
        let state = self.path("state");
        let files = if state.exists() { files_below(&state) } else { Vec::new() };
        let seen = |path: &&PathBuf| path.to_str().unwrap().contains(".seen-");
        files.iter().filter(seen).for_each(|path| fs::remove_file(path).unwrap());
    }

    /// The names that `list` gives.
    fn archives(&self, repository: &str) -> Vec<String> {
        let listed = self.run(&["list", repository]).succeeds();
        listed.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
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

/// The packs of a repository that hold chunks of files.
fn packs(repository: &Path) -> Vec<PathBuf> {
    let mut packs = files_below(&repository.join("packs"));
    packs.retain(|pack| !is_structure(&std::fs::read(pack).unwrap()));
    packs
}
