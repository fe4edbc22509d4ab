//! Key files, and other files that nobody else should read or write.
//!
//! In: the key directory (`GARRET_KEYS_DIR`, `ATTIC_KEYS_DIR`), paths. Out: secrets. Promises: one that others can write to
//! is refused, and one that they can read or exchange is told of; what is read leaves no copy behind; a file that is written
//! is on disk, whole and read back, before anything depends on it.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use garret_core::{Cause, Locked, StoreError};
use garret_format::RepositoryId;
use garret_format::slot::SLOT_LEN;
use zeroize::Zeroizing;

use crate::cache::{absolute, variable};
use crate::failure::Failure;
use crate::location::Location;
use crate::trust::{WRITABLE, is_settled, is_trusted};
use crate::ui::Ui;

/// Permissions of group and others.
const READABLE: u32 = 0o044;

/// Where key files are.
fn directory() -> Result<PathBuf, Failure> {
    variable("GARRET_KEYS_DIR")
        .or_else(|| variable("ATTIC_KEYS_DIR"))
        .or_else(|| absolute("XDG_CONFIG_HOME").map(|path| path.join("garret/keys")))
        .or_else(|| absolute("HOME").map(|path| path.join(".config/garret/keys")))
        .ok_or_else(|| Failure::Fatal("set GARRET_KEYS_DIR: HOME is not set either".to_owned()))
}

/// Where the key file of a repository is, or will be.
///
/// # Errors
/// No place for key files is known.
pub fn key_path(id: RepositoryId) -> Result<PathBuf, Failure> {
    Ok(directory()?.join(format!("{id}.key")))
}

/// The same, if the user named no other place.
///
/// # Errors
/// No place for key files is known.
pub fn place(id: RepositoryId, ui: &Ui) -> Result<PathBuf, Failure> {
    ui.secrets().key_file.map_or_else(|| key_path(id), Ok)
}

/// A secret that was read from a file. A key file without a passphrase is the key, so the bytes are wiped.
pub struct SecretFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it says.
    pub bytes: Zeroizing<Vec<u8>>,
    /// Who else could have it, in words.
    doubt: Option<String>,
}

impl SecretFile {
    /// Reads a file that `what` calls, as `key file`.
    ///
    /// # Errors
    /// It cannot be read, is no file, is longer than `len_max`, or others can write to it.
    pub(crate) fn read(path: &Path, what: &str, len_max: usize) -> Result<Self, Failure> {
        let (bytes, metadata) = read_file(path, len_max).map_err(|error| {
            garret_core::Error::from(StoreError::new("read", path.display(), error))
        })?;
        let mode = metadata.mode() & 0o777;
        if mode & WRITABLE != 0 {
            return Err(Failure::Fatal(format!(
                "{}: others can write to this {what} (mode {mode:o}); if it is still yours, `chmod 600` it",
                path.display()
            )));
        }
        Ok(SecretFile { path: path.to_owned(), bytes, doubt: doubt(path, what, &metadata) })
    }

    /// Says who else could have it, if somebody could.
    pub fn tell(&self, ui: &Ui) {
        if let Some(doubt) = &self.doubt {
            ui.complain(&format!("Warning: {}: {doubt}", self.path.display()));
        }
    }
}

/// The key file of a repository, if there is one.
///
/// # Errors
/// It is there and cannot be read, or others can write to it.
pub fn find(locked: &Locked, ui: &Ui) -> Result<Option<SecretFile>, Failure> {
    // Where no place for them is known, there is none.
    let Ok(path) = place(locked.id(), ui) else { return Ok(None) };
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        _ => SecretFile::read(&path, "key file", SLOT_LEN).map(Some),
    }
}

/// That there is none, in attic's words.
pub(crate) fn missing(location: &Location, ui: &Ui) -> Failure {
    let shown = location.display();
    if let Some(place) = ui.secrets().key_file {
        let text = format!("No key file for repository {shown}: {} is not there.", place.display());
        return Failure::Because(Cause::Keys, text);
    }
    match directory() {
        Ok(directory) => Failure::Because(
            Cause::Keys,
            format!("No key file for repository {shown} found in {}.", directory.display()),
        ),
        Err(failure) => failure,
    }
}

fn read_file(path: &Path, len_max: usize) -> io::Result<(Zeroizing<Vec<u8>>, fs::Metadata)> {
    // Looked at first, for opening a device can do something; again when open, and not waiting, for it may be another
    // one then.
    let is_file = |metadata: fs::Metadata| match metadata.is_file() {
        true => Ok(metadata),
        false => Err(io::Error::other("it is not a file")),
    };
    is_file(path.metadata()?)?;
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = File::options().read(true).custom_flags(nonblocking).open(path)?;
    let metadata = is_file(file.metadata()?)?;
    Ok((read_secret(file, len_max)?, metadata))
}

/// Who but this user and root could have a secret file, or put another one in its place.
fn doubt(path: &Path, what: &str, metadata: &fs::Metadata) -> Option<String> {
    let mode = metadata.mode() & 0o777;
    if !is_trusted(metadata.uid()) {
        Some(format!("this {what} belongs to user {}, who can exchange it", metadata.uid()))
    } else if mode & READABLE != 0 {
        Some(format!("others can read this {what} (mode {mode:o}); `chmod 600` it"))
    } else if !is_settled(path) {
        Some(format!(
            "others can exchange this {what}: a directory that leads there is theirs or open to them"
        ))
    } else {
        None
    }
}

/// Says of a key file that was just written who else could have it, if somebody could.
pub fn tell_of(path: &Path, ui: &Ui) {
    if let Some(doubt) =
        path.metadata().ok().and_then(|metadata| doubt(path, "key file", &metadata))
    {
        ui.complain(&format!("Warning: {}: {doubt}", path.display()));
    }
}

/// All of a file of at most `len_max` bytes, where no copy is left behind: the room for it is there before it is read.
///
/// # Errors
/// That it cannot be read or is longer.
pub fn read_secret(file: impl Read, len_max: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; len_max + 1]);
    let mut file = file.take(bytes.len() as u64);
    let mut len = 0;
    while let Some(room) = bytes.get_mut(len..).filter(|room| !room.is_empty()) {
        match file.read(room) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if len > len_max {
        let text = format!("it is longer than {len_max} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    bytes.truncate(len);
    Ok(bytes)
}

/// Writes a key file that only this user can read, in the place of one that may be there. It is whole when this returns, and
/// synced with all directories that lead to it.
///
/// # Errors
/// It cannot be written.
pub fn write(path: &Path, bytes: &[u8]) -> garret_core::Result<()> {
    wrote(path, write_private(path, bytes))
}

/// The same, where there is none yet.
///
/// # Errors
/// It cannot be written, or something has that name.
pub fn write_new(path: &Path, bytes: &[u8]) -> garret_core::Result<()> {
    wrote(path, put_private(path, bytes, |file, path| file.persist_noclobber(path)))
}

fn wrote(path: &Path, written: io::Result<()>) -> garret_core::Result<()> {
    let written = written.and_then(|()| sync_above(path));
    written.map_err(|error| StoreError::new("write key file", path.display(), error).into())
}

/// Syncs the directories above that of a file, whoever made them: another program may have died before it could.
fn sync_above(path: &Path) -> io::Result<()> {
    for above in path.ancestors().skip(2) {
        let synced = match above.as_os_str().is_empty() {
            true => sync_directory(Path::new(".")),
            false => sync_directory(above),
        };
        match synced {
            // Who may not read it did not make it; nothing is made where nothing can be written.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
                ) => {}
            synced => synced?,
        }
    }
    Ok(())
}

fn sync_directory(path: &Path) -> io::Result<()> {
    match File::open(path)?.sync_all() {
        // The file system has no such call for directories.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) =>
        {
            Ok(())
        }
        result => result,
    }
}

/// Writes a file that only this user can read: beside its place, synced, read back, renamed, its directory synced.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    put_private(path, bytes, |file, path| file.persist(path))
}

fn put_private(
    path: &Path,
    bytes: &[u8],
    name: impl FnOnce(tempfile::NamedTempFile, &Path) -> Result<File, tempfile::PersistError>,
) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    // The crate makes it with mode 0600 and removes it unless it is renamed.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    file.as_file().sync_data()?;
    file.rewind()?;
    if *read_secret(&mut file, bytes.len())? != bytes {
        return Err(io::Error::other("what was read back is not what was written"));
    }
    name(file, path)?;
    sync_directory(directory)
}
