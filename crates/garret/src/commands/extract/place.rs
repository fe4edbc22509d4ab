//! Where a restore goes: looked at before anybody is asked for a passphrase.
//!
//! In: a place that the user named. Out: a [`Place`]; or one line that says why nothing can be restored there, and what to
//! name instead.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use garret_cli::failure::Failure;
use garret_cli::location::Location;
use garret_cli::pipes::{self, Unfit};
use garret_cli::{render, surroundings};
use garret_core::{Destination, FileMetadata};
use garret_format::archive::Item;

/// Where it goes.
pub(in crate::commands) enum Place {
    Directory(PathBuf),
    File(PathBuf),
    Device(PathBuf),
    Stream(File),
    Nowhere,
}

impl Place {
    /// Below a directory, not in the repository at `repository`.
    pub(in crate::commands) fn directory(
        path: &Path,
        repository: &Location,
    ) -> Result<Self, Failure> {
        outside(path, repository)?;
        Ok(Place::Directory(path.to_owned()))
    }

    /// In this file.
    pub(in crate::commands) fn file(path: &Path, repository: &Location) -> Result<Self, Failure> {
        fit_for_file(path)?;
        outside(path, repository)?;
        Ok(Place::File(path.to_owned()))
    }

    /// On standard output.
    pub(super) fn stream() -> Result<Self, Failure> {
        Ok(Place::Stream(standard_output()?))
    }

    pub(super) fn destination(&mut self) -> Destination<'_> {
        match self {
            Place::Directory(path) => Destination::Directory(path.clone()),
            Place::File(path) => {
                Destination::File { path: path.clone(), metadata: FileMetadata::OfItem }
            }
            Place::Device(path) => Destination::Device(path.clone()),
            Place::Stream(out) => Destination::Stream(out),
            Place::Nowhere => Destination::Nowhere,
        }
    }

    /// The directory, the file or the device.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Place::Directory(path) | Place::File(path) | Place::Device(path) => Some(path),
            Place::Stream(_) | Place::Nowhere => None,
        }
    }

    /// Where the one file that is restored will be, if it can be read there again.
    pub(in crate::commands) fn of(&self, item: &Item) -> Option<PathBuf> {
        match self {
            Place::Directory(path) => Some(path.join(OsStr::from_bytes(&item.path))),
            Place::File(path) | Place::Device(path) => Some(path.clone()),
            Place::Stream(_) | Place::Nowhere => None,
        }
    }

    /// What was done with `what`, which is `item` if that is known: `Restored app.raw to ./images/app.raw`.
    pub(super) fn done(&self, what: &str, item: Option<&Item>) -> String {
        let name = |path: &Path| render::name(path.as_os_str().as_bytes());
        match (self, item.and_then(|item| self.of(item))) {
            (Place::Nowhere, _) => format!("Verified {what}"),
            (Place::Stream(_), _) => format!("Restored {what} to standard output"),
            (_, Some(path)) => format!("Restored {what} to {}", name(&path)),
            (Place::File(path) | Place::Device(path), None) => {
                format!("Restored {what} to {}", name(path))
            }
            (Place::Directory(path), None) => format!("Restored {what} below {}", name(path)),
        }
    }
}

/// Refuses a place in the repository: what is written there can damage all that is in it.
pub(in crate::commands) fn outside(place: &Path, repository: &Location) -> Result<(), Failure> {
    match repository.directories().any(|home| surroundings::is_in(place, home)) {
        true => Err(Failure::Fatal(format!(
            "{} is in the repository: restore to another place",
            render::one_line(&place.to_string_lossy())
        ))),
        false => Ok(()),
    }
}

/// Refuses a place where no regular file can be, or that is a mistake.
fn fit_for_file(path: &Path) -> Result<(), Failure> {
    let shown = render::one_line(&path.to_string_lossy());
    if path == "-" {
        return Err(Failure::Usage(
            "-o makes a file: for standard output, give --stdout".to_owned(),
        ));
    }
    let bytes = path.as_os_str().as_bytes();
    if bytes.ends_with(b"/") || path.file_name().is_none() {
        let text = format!("{shown} is a directory: give -o the name of a file in it");
        return Err(Failure::Usage(text));
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let fatal = |why: &str| Err(Failure::Fatal(format!("{shown}: {why}")));
    match fs::metadata(path).map(|metadata| metadata.file_type()) {
        Ok(kind) if kind.is_block_device() => fatal("it is a block device: give it to --to-device"),
        Ok(kind) if !kind.is_file() && !kind.is_dir() => {
            fatal("it is not a regular file; for a stream, give --stdout")
        }
        // Such as /dev/stdout.
        Ok(_) if is_of_the_kernel(parent) => {
            fatal("it is no place for a file; for a stream, give --stdout")
        }
        Ok(_) => Ok(()),
        Err(_) if !parent.is_dir() => fatal("the directory it is to be in does not exist"),
        // A mistyped name of a device would fill the memory.
        Err(_) if is_of_the_kernel(parent) => fatal("there is no such device"),
        Err(_) => Ok(()),
    }
}

/// Whether the kernel makes what is in a directory.
fn is_of_the_kernel(directory: &Path) -> bool {
    directory.canonicalize().is_ok_and(|real| {
        let devices = real.starts_with("/dev") && !real.starts_with("/dev/shm");
        devices || real.starts_with("/proc") || real.starts_with("/sys")
    })
}

/// Standard output, if data may go there.
fn standard_output() -> Result<File, Failure> {
    let why = match pipes::output()? {
        Ok(file) => return Ok(file),
        Err(Unfit::Terminal) => "a terminal",
        Err(Unfit::Closed) => "closed, or /dev/null",
    };
    let text = format!("standard output is {why}: give --stdout a file or a pipe, or --dry-run");
    Err(Failure::Usage(text))
}
