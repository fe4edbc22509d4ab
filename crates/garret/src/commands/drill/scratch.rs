//! A place for an image that nobody keeps.
//!
//! In: a directory of the user. Out: one of our own in it, which is removed when it is dropped. Promises: what a drill left
//! that was killed is removed by the next one, and nothing else is.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

/// What the names of our directories begin with.
const PREFIX: &str = ".garret-drill-";

/// The directory, locked as long as it is in use.
pub(super) struct Scratch {
    directory: TempDir,
    _lock: File,
}

impl Scratch {
    /// A new one in `home`.
    pub(super) fn new(home: &Path) -> io::Result<Self> {
        remove_stale(home)?;
        let directory = tempfile::Builder::new().prefix(PREFIX).tempdir_in(home)?;
        let lock = File::open(directory.path())?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Scratch { directory, _lock: lock })
    }

    /// Where the image goes.
    pub(super) fn file(&self) -> PathBuf {
        self.directory.path().join("image")
    }
}

/// Removes what is ours and whose lock nobody holds.
fn remove_stale(home: &Path) -> io::Result<()> {
    for entry in fs::read_dir(home)? {
        let entry = entry?;
        // Names of others come and go meanwhile.
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let (path, metadata) = (entry.path(), entry.metadata()?);
        if !metadata.is_dir() || metadata.uid() != rustix::process::geteuid().as_raw() {
            continue;
        }
        let held = File::open(&path)?;
        if flock(&held, FlockOperation::NonBlockingLockExclusive).is_ok() {
            fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}
