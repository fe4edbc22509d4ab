//! BLAKE3 of an image: as an archive has it, and as a disk has it.
//!
//! In: a file of an archive, or one on the disk. Out: its digest. Promises: what a file on the disk is said to be was read
//! from the disk, as far as the system can be told to.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use blake3::{Hash, Hasher};
use garret_cli::failure::Failure;
use garret_cli::ui::Ui;
use garret_core::{
    Destination, NamedArchive, Phase, Progress, Repository, RestoreOptions, RestoreReport,
    Selection,
};
use rustix::fs::{Advice, fadvise};

/// Bytes read at a time.
const READ_LEN: usize = 1 << 20;

/// Restores the file at `path` to nowhere but a digest. There is none if it could not be read, which was reported.
///
/// # Errors
/// Damage, and a repository that cannot be read.
pub(crate) fn stored(
    repository: &Repository,
    archive: &NamedArchive,
    path: &[u8],
    threads: usize,
    ui: &Ui,
) -> Result<(Hash, RestoreReport), Failure> {
    let mut out = Hashed(Hasher::new());
    let mut options = RestoreOptions::default();
    options.threads = threads;
    let mut selection = Selection::new([path.to_vec()]);
    let destination = Destination::Stream(&mut out);
    let report = repository.restore(archive, &mut selection, destination, &options, ui)?;
    Ok((out.0.finalize(), report))
}

/// Reads the first `len` bytes at `path` back from the disk.
///
/// # Errors
/// It cannot be read.
pub(crate) fn on_disk(path: &Path, len: u64, ui: &Ui) -> Result<Hash, Failure> {
    let failed = |error: io::Error| Failure::io(path.display(), &error);
    let mut file = File::open(path).map_err(failed)?.take(len);
    // Where that cannot be asked for, what is in memory is read.
    let _asked = file.get_ref().sync_all();
    let _asked = fadvise(file.get_ref(), 0, None, Advice::DontNeed);
    let task = ui.begin(Phase::Check, Some(len));
    let (mut hasher, mut buffer) = (Hasher::new(), vec![0; READ_LEN]);
    loop {
        let read = match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finalize()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        hasher.update(buffer.get(..read).unwrap_or_default());
        task.advance(read as u64);
    }
}

/// Takes bytes and keeps their digest.
struct Hashed(Hasher);

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
