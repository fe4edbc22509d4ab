//! qcow2 images through the core, with qemu-img as the oracle: files come back byte for byte, disks as `qemu-img convert`
//! gives them, and a disk shares its chunks with its copies whatever they are kept in.
//!
//! Random cases print their seed; GARRET_QCOW2_SEEDS=1000..2000 runs others.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests, which say their counts"
)]

mod changing;
#[path = "../../../crates/image/tests/common/mod.rs"]
mod common;
mod dedup;
mod hostile;
mod life;
mod raw_form;
mod round_trip;

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use garret_core::{
    AllocationMode, BackupReport, Compression, Destination, FileInfo, Form, Input, MemoryStore,
    Progress, RestoreOptions, RestoreReport, Result, Selection,
};
use garret_format::archive::Item;
use garret_format::config::KeyMode;
use garret_testkit::Lab;

/// A repository without keys: equal content has equal ids in any of them.
fn lab(threads: usize) -> (Lab, MemoryStore) {
    let (mut lab, store) = Lab::memory(KeyMode::None);
    lab.compression = Compression::Lz4;
    lab.threads = threads;
    (lab, store)
}

fn options(lab: &Lab, allocation: AllocationMode, form: Form) -> RestoreOptions {
    let mut options = lab.restore_options();
    options.allocation = allocation;
    options.form = form;
    options
}

/// As `lab.backup_path`, heard by `progress`.
fn backup(lab: &Lab, name: &str, path: &Path, progress: &dyn Progress) -> Result<BackupReport> {
    let mut repository = lab.writer()?;
    let inputs = vec![Input::Path(path.to_owned())];
    repository.backup(name, inputs, &lab.options(), progress)
}

/// Restores what is stored of `path`, or everything, heard by `progress`.
fn restore(
    lab: &Lab,
    name: &str,
    path: Option<&Path>,
    destination: Destination<'_>,
    options: &RestoreOptions,
    progress: &dyn Progress,
) -> Result<RestoreReport> {
    let repository = lab.reader()?;
    let archive = repository.archive(name)?;
    let paths = path.map(|path| path.as_os_str().as_bytes().to_vec());
    let mut selection = Selection::new(paths);
    repository.restore(&archive, &mut selection, destination, options, progress)
}

/// What is written of the file at `path` to a pipe, and how that ended.
fn stream(lab: &Lab, name: &str, path: &Path, form: Form) -> (Vec<u8>, Result<RestoreReport>) {
    let mut bytes = Vec::new();
    let options = options(lab, AllocationMode::Sparse, form);
    let destination = Destination::Stream(&mut bytes);
    let result = restore(lab, name, Some(path), destination, &options, &garret_core::Silent);
    (bytes, result)
}

/// Where a restore to `target` puts what was at `path`.
fn restored(target: &Path, path: &Path) -> PathBuf {
    target.join(path.strip_prefix("/").unwrap())
}

fn with_raw(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".raw");
    name.into()
}

fn items(lab: &Lab, name: &str) -> Vec<Item> {
    let repository = lab.reader().unwrap();
    repository.items(&repository.archive(name).unwrap()).map(Result::unwrap).collect()
}

fn info(lab: &Lab, name: &str, path: &Path) -> FileInfo {
    let repository = lab.reader().unwrap();
    let archive = repository.archive(name).unwrap();
    let stored = path.strip_prefix("/").unwrap().as_os_str().as_bytes();
    repository.file_info(&archive, stored, &garret_core::Silent).unwrap().unwrap()
}

/// The files below a directory, sorted.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(path) = open.pop() {
        for entry in fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() { open.push(entry) } else { found.push(entry) }
        }
    }
    found.sort();
    found
}
