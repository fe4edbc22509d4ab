//! `zgarret restore`: a backup to standard output, or to a file or block device.
//!
//! Promises: only verified bytes are written; stdout has data and nothing besides; a regular file is replaced when the new
//! one is complete.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use garret_cli::failure::Failure;
use garret_cli::pipes::{self, Unfit};
use garret_cli::render::one_line;
use garret_cli::{surroundings, trust};
use garret_core::{
    AllocationMode, Destination, Error, FileMetadata, Form, Progress, RestoreOptions, Selection,
};
use rustix::fs::Mode;

use super::context::{Context, single, wrong_use};
use crate::location::{self, BackupPath, Parents};

/// What a new file may be, before the mask of this process.
const NEW_MODE: u32 = 0o666;

pub(super) fn run(context: &Context<'_>, words: &[OsString]) -> Result<(), Failure> {
    let (from, to) = match words {
        [from] => (from, None),
        [from, to] => (from, Some(Path::new(to))),
        _ => return Err(wrong_use("restore")),
    };
    let place = location::backup(from, Parents::Exist)?;
    if !place.is_taken() {
        return Err(place.missing());
    }
    let mut output = match to {
        Some(path) => Output::at(path, &place)?,
        None => Output::standard()?,
    };
    let repository = context.reader(&place.repository)?;
    let (archive, item) = single(&repository, &place)?;
    if archive.archive.name != archive.name {
        // Renamed by hand, or swapped with another by whoever holds the storage: only the user can tell.
        let (name, made_as) = (one_line(&archive.name), one_line(&archive.archive.name));
        context.ui.notice(&format!("note: {name} was made as {made_as}"));
    }
    let options = options(context.line.runtime.threads());
    let mut selection = Selection::new([item.path]);
    let destination = match &mut output {
        Output::File(path) => {
            let metadata = FileMetadata::OfPlace { mode: NEW_MODE & !mask() };
            Destination::File { path: path.clone(), metadata }
        }
        Output::Device(path) => Destination::Device(path.clone()),
        Output::Stream { file, .. } => Destination::Stream(file),
    };
    let ui = context.ui;
    match repository.restore(&archive, &mut selection, destination, &options, ui) {
        Ok(_) => Ok(()),
        Err(Error::System { source, .. }) if source.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::Fatal(format!("Error writing to {output}")))
        }
        Err(error) => Err(place.failure(error)),
    }
}

/// How contents are read wherever they go.
pub(super) fn options(threads: usize) -> RestoreOptions {
    let mut options = RestoreOptions::default();
    options.allocation = AllocationMode::Sparse;
    options.form = Form::Stored;
    options.threads = threads;
    options.owners = rustix::process::geteuid().is_root();
    options
}

/// Where the data goes.
enum Output {
    /// A file, there or not.
    File(PathBuf),
    /// A block device.
    Device(PathBuf),
    /// Something that takes bytes in their order, and what errors call it.
    Stream { file: File, name: String },
}

impl Output {
    /// Standard output.
    fn standard() -> Result<Self, Failure> {
        let wont = |what: &str| Err(Failure::Fatal(format!("Won't write data to a {what}")));
        match pipes::output()? {
            Ok(file) => Ok(Output::Stream { file, name: "standard output".to_owned() }),
            Err(Unfit::Terminal) => wont("terminal"),
            Err(Unfit::Closed) => wont("closed standard output"),
        }
    }

    /// What is at `path` or will be.
    fn at(path: &Path, from: &BackupPath) -> Result<Self, Failure> {
        let cannot = || Failure::Fatal(format!("Can't open file {}", path.display()));
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        if path.file_name().is_none() {
            return Err(cannot());
        }
        if surroundings::is_in(path, &from.repository) {
            let text = format!("Won't write into the repository: {}", path.display());
            return Err(Failure::Fatal(text));
        }
        let kind = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata.file_type(),
            Err(error) if error.kind() == ErrorKind::NotFound && parent.is_dir() => {
                return Ok(Output::File(path.to_owned()));
            }
            Err(_) => return Err(cannot()),
        };
        if kind.is_file() {
            return Ok(Output::File(path.to_owned()));
        }
        // Only a file is replaced whatever happens to its name meanwhile; what is opened must be what was looked at.
        if !trust::is_settled(path) {
            let text = format!(
                "Can't open file {}: others can exchange it; restore to standard output, or to where only you can write",
                path.display()
            );
            return Err(Failure::Fatal(text));
        }
        let kind = fs::metadata(path).map_or(kind, |metadata| metadata.file_type());
        if kind.is_file() || kind.is_symlink() {
            return Ok(Output::File(path.to_owned()));
        }
        if kind.is_block_device() {
            return Ok(Output::Device(path.to_owned()));
        }
        let file = OpenOptions::new().write(true).open(path).map_err(|_| cannot())?;
        Ok(Output::Stream { file, name: path.display().to_string() })
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Output::File(path) | Output::Device(path) => path.display().fmt(f),
            Output::Stream { name, .. } => f.write_str(name),
        }
    }
}

/// The bits that new files do not get. Asking sets it: for a moment, before any thread of ours makes files.
fn mask() -> u32 {
    let mask = rustix::process::umask(Mode::from_raw_mode(0o077));
    rustix::process::umask(mask);
    mask.as_raw_mode()
}
